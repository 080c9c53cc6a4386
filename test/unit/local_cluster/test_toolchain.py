"""Which Go builds a module is decided by the versions alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_cluster import toolchain
from local_cluster.problem import Problem


def go_that_says(folder: Path, version: str) -> Path:
    """A program `go` that says it is of a version."""
    program = folder / "go"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return program


def go_mod(folder: Path, version: str) -> Path:
    path = folder / "go.mod"
    path.write_text(f"module example.org/x\n\ngo {version}\n")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go1.26.8", (1, 26, 8)),
        ("1.26", (1, 26, 0)),
        ("go1.27rc1", (1, 27, 0)),
        ("go1.9", (1, 9, 0)),
        ("devel", None),
        ("", None),
    ],
)
def test_versions_are_read_from_what_go_says(text: str, expected: tuple[int, ...] | None) -> None:
    """Every form that a go command or a go.mod line has is read as numbers."""
    assert toolchain.parse_version(text) == expected


def test_a_new_enough_go_is_used(tmp_path: Path) -> None:
    """The installed toolchain is chosen when it is at least what go.mod names, by number and not by text."""
    program = go_that_says(tmp_path, "go1.100.0")
    assert toolchain.choose(go_mod(tmp_path, "1.26.0"), installed=program) == toolchain.Go(
        program=program, version="go1.100.0"
    )


def test_an_old_go_is_passed_over_for_the_one_of_pypi(tmp_path: Path) -> None:
    """A toolchain older than go.mod asks for is not used; the pinned one from PyPI is, and is not installed yet."""
    program = go_that_says(tmp_path, "go1.19.8")
    assert toolchain.choose(go_mod(tmp_path, "1.26.0"), installed=program) == toolchain.Go(
        program=None, version=f"go{toolchain.PYPI_VERSION}"
    )


def test_a_go_that_does_not_run_counts_as_missing(tmp_path: Path) -> None:
    """A broken installation does not stop the build."""
    chosen = toolchain.choose(go_mod(tmp_path, "1.26.0"), installed=tmp_path / "none")
    assert chosen.program is None


def test_a_module_newer_than_every_known_go_is_refused(tmp_path: Path) -> None:
    """When neither toolchain is new enough, the message says which version is needed."""
    with pytest.raises(Problem, match=r"needs Go 1\.99\.0"):
        toolchain.choose(go_mod(tmp_path, "1.99.0"), installed=go_that_says(tmp_path, "go1.26.0"))
