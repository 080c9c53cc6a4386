"""Go modules are built once, whole, under a key that their content decides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from local_cluster import binaries
from local_cluster.problem import Problem

MAIN = 'package main\n\nimport "fmt"\n\nvar version string\n\nfunc main() { fmt.Print(version) }\n'


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A folder with one small module called `hello`, whose program also answers to `greet`."""
    folder = tmp_path / "modules" / "hello"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module example.org/hello\n\ngo 1.20\n")
    (folder / "main.go").write_text(MAIN)
    (folder / "module.json").write_text(
        '{"programs": ["hello", "greet"], "links": {"hello": ["greet"]}, "disk_gib": 0.1}'
    )
    return folder.parent


def test_key_follows_content_and_toolchain(modules: Path) -> None:
    """The key changes with any file and with the Go version, and with nothing else."""
    module = binaries.module("hello", modules=modules)
    first = module.key("go1.26.0")
    assert module.key("go1.26.0") == first
    assert module.key("go1.26.1") != first
    (module.folder / "main.go").write_text(MAIN + "\n")
    assert module.key("go1.26.0") != first


def test_the_version_is_stamped_from_go_mod(modules: Path) -> None:
    """What go.mod requires is what the linker is told, so that the two never disagree."""
    folder = modules / "hello"
    (folder / "go.mod").write_text("module x\n\ngo 1.20\n\nrequire (\n\texample.org/a v1.37.2\n)\n")
    (folder / "module.json").write_text(
        '{"programs": ["hello"], "version_of": "example.org/a", "disk_gib": 1,'
        ' "stamp": {"main.v": "{version}", "main.m": "{minor}"}}'
    )
    module = binaries.module("hello", modules=modules)
    assert module.version == "v1.37.2"
    assert module.linker_flags() == "-s -w -X main.v=v1.37.2 -X main.m=37"


def test_unknown_module_is_refused_with_the_known_ones(modules: Path) -> None:
    """A name that is no module gets the names there are."""
    with pytest.raises(Problem, match=r"'helo': choose one of hello"):
        binaries.module("helo", modules=modules)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed, and the test brings none")
def test_builds_once_and_keeps_nothing_half_done(modules: Path, tmp_path: Path) -> None:
    """The first call builds, the second finds; a build that fails leaves no folder and says what the compiler said."""
    cache = tmp_path / "cache"
    folder = binaries.build("hello", modules=modules, cache=cache)
    assert subprocess.run([folder / "greet"], check=True).returncode == 0
    built_at = (folder / "hello").stat().st_mtime_ns
    assert binaries.build("hello", modules=modules, cache=cache) == folder
    assert (folder / "hello").stat().st_mtime_ns == built_at

    (modules / "hello" / "main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(Problem, match="undefined: nonsense"):
        binaries.build("hello", modules=modules, cache=cache)
    assert sorted(path.name for path in (cache / "binaries").iterdir()) == sorted([folder.name, "hello.lock"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed, and the test brings none")
def test_two_callers_build_once(modules: Path, tmp_path: Path) -> None:
    """Of two calls at the same time one builds, the other waits, and both get the same folder."""
    code = (
        "import sys, pathlib\nfrom local_cluster import binaries\n"
        "print(binaries.build('hello', modules=pathlib.Path(sys.argv[1]), cache=pathlib.Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(modules), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": str(binaries.REPOSITORY / "hack")}
    pair = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert sum("building with Go" in errors for _, errors in said) == 1
