"""Layers hold names and content, and nothing that differs from machine to machine or that a pod must not have."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from image_builder import layer


def tree(root: Path) -> None:
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    (root / "usr" / "bin" / "tool").write_bytes(b"\x7fELF")
    (root / "usr" / "bin" / "tool").chmod(0o6777)
    (root / "usr" / "notes").write_text("x")
    (root / "usr" / "notes").chmod(0o666)
    (root / "bin").symlink_to("usr/bin")


def test_two_trees_of_the_same_content_make_the_same_bytes(tmp_path: Path) -> None:
    """Dates, modes beside the executable bit and the order of creation do not count."""
    for name in ("a", "b"):
        tree(tmp_path / name)
    os.utime(tmp_path / "b" / "usr" / "notes", (1, 1))
    (tmp_path / "b" / "usr" / "notes").chmod(0o600)
    for name in ("a", "b"):
        layer.write(tmp_path / name, tmp_path / f"{name}.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_nothing_is_setuid_or_open_to_everybody_but_the_sticky_tmp(tmp_path: Path) -> None:
    """Whatever the modes on disk were."""
    tree(tmp_path / "a")
    layer.write(tmp_path / "a", tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        modes = {member.name: member.mode for member in tar if not member.issym()}
        assert {(member.uid, member.gid, member.mtime) for member in tar.getmembers()} == {(0, 0, 0)}
    assert modes == {"tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755, "usr/bin/tool": 0o755, "usr/notes": 0o644}


def test_links_stay_links(tmp_path: Path) -> None:
    tree(tmp_path / "a")
    layer.write(tmp_path / "a", tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getmember("bin").linkname == "usr/bin"
