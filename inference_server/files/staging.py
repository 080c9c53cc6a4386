"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define

from inference_server.files import disk


@define
class Stage:
    """A folder at work. `content` is what appears at the end; `scratch` is for whatever is needed until then."""

    content: Path
    scratch: Path


@contextmanager
def staged(folder: Path, subject: str, *, keep: bool = False) -> Iterator[Stage]:
    """Give a folder to fill; its content takes the place of `folder` when the block ends well, else it is removed.

    It is a hidden sibling, or lies inside a mount point, which cannot be replaced: its entries then move one by one.
    With `keep`, what a failed attempt has filled stays there, and the next one gets it back.
    One process at a time fills a folder. Raises `FetchError` (disk_full) for what the disk refuses.
    """
    place = place_of(folder)
    stage = Stage(content=place / "content", scratch=place / "scratch")
    with disk.writing(subject):
        if not keep:
            _remove(place)
        for made in (stage.content, stage.scratch):
            made.mkdir(parents=True, exist_ok=True)
            made.chmod(0o755)
    try:
        yield stage
        with disk.writing(subject):
            disk.sync(stage.content)
            _publish(stage.content, folder)
            _remove(place)
    except BaseException:
        if not keep:
            _remove(place)
        raise


def place_of(folder: Path) -> Path:
    """Where a folder is filled before it appears."""
    return folder / ".fetching" if os.path.ismount(folder) else folder.with_name(f".{folder.name}.fetching")


def leftovers_of(folder: Path) -> tuple[Path, Path]:
    """What an attempt that was broken off may leave beside a folder."""
    return place_of(folder), _aside_of(folder)


def _aside_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.replaced")


def files_of(folder: Path) -> tuple[str, ...]:
    """The files below a folder by their paths, with `/`, sorted."""
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))


def _publish(content: Path, folder: Path) -> None:
    if os.path.ismount(folder):
        for entry in sorted(content.iterdir()):
            _replace(entry, folder / entry.name)
    else:
        _replace(content, folder)


def _replace(new: Path, old: Path) -> None:
    """Put one in the place of the other, which may be a folder with something in it."""
    aside = _aside_of(old)
    _remove(aside)
    if old.is_dir() and not old.is_symlink():
        old.rename(aside)
    new.rename(old)
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
