"""Which files of the data folder are read, and how."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from attrs import frozen

from inference_server import contract
from inference_server.refusal import InputError, nearest, shown
from inference_server.tune import csv_rows, json_rows, parquet_rows
from inference_server.tune.rows import Fault, Row

KINDS: Final = {
    "json": ("json", "jsonl", "ndjson"),
    "csv": ("csv",),
    "parquet": ("parquet",),
}
_KIND_OF: Final = {suffix: kind for kind, suffixes in KINDS.items() for suffix in suffixes}
_MOUNT: Final = PurePosixPath("/mnt")


@frozen(kw_only=True)
class DataFile:
    """One file: where it is, the name that it has in messages, and the kind that it is read as."""

    path: Path
    name: str
    kind: str

    def rows(self, wanted: Collection[str]) -> Iterator[Row | Fault]:
        """Its rows; columns that nobody `wanted` may be left out."""
        if self.kind == "parquet":
            return parquet_rows.read(self.path, self.name, wanted)
        read = csv_rows.read if self.kind == "csv" else json_rows.read
        return read(self.path, self.name)


def refusal(field: str, rule: str, found: str, remedy: str = "") -> InputError:
    """Data that cannot be learnt from; ends the process with the exit code that says so."""
    return InputError(field=field, rule=rule, found=found, remedy=remedy, exit_code=contract.EXIT_DATA)


def choose(folder: Path, *, path: str | None, extension: str | None) -> tuple[DataFile, ...]:
    """The files to learn from, in the order of their names.

    `path` (DatasetConfig.dataset_path) narrows to a file or folder below `folder`, `extension` to one kind of file.
    Raises InputError where there is none, or where files of different kinds leave open which are meant.
    """
    kind = _kind(extension)
    start = _start(folder, path)
    found = [one for file in _files(start) if (one := _data_file(file, folder, kind, named=file == start))]
    kinds = sorted({one.kind for one in found})
    if not found:
        raise refusal("data", f"a file that ends in {_suffixes(kind)}", _listed(folder, start), "see docs/tuning.md")
    if len(kinds) > 1:
        raise refusal(
            "data",
            "files of one kind",
            f"{', '.join(kinds)} files",
            "name the one that is meant in DatasetConfig.dataset_extension or DatasetConfig.dataset_path",
        )
    return tuple(found)


def _kind(extension: str | None) -> str | None:
    if extension is None:
        return None
    suffix = extension.lower().lstrip(".")
    if suffix not in _KIND_OF:
        remedy = nearest(suffix, _KIND_OF) or "convert the data"
        raise refusal("DatasetConfig.dataset_extension", f"one of {', '.join(_KIND_OF)}", shown(extension), remedy)
    return _KIND_OF[suffix]


def _start(folder: Path, path: str | None) -> Path:
    """What is meant: KAITO puts a relative path below /mnt, people put it below the data's folder."""
    if path is None:
        return folder
    found = [place for place in (Path(_MOUNT) / path, folder / path) if place.exists()]
    inside = [place for place in found if _is_below(place, folder)]
    if not inside:
        what = f"{shown(path)} outside it" if found else f"no {shown(path)}"
        raise refusal("DatasetConfig.dataset_path", f"a file or folder below {folder}", what)
    return inside[0]


def _is_below(place: Path, folder: Path) -> bool:
    return place.resolve().is_relative_to(folder.resolve())


def _files(start: Path) -> Iterator[Path]:
    """All files from here on, by name; hidden ones and what volumes keep for themselves left out."""
    if start.is_file():
        yield start
        return
    try:
        places = sorted(start.iterdir())
    except OSError as error:
        raise refusal(f"data folder {start}", "readable", error.strerror or "an error") from error
    for place in places:
        if place.name.startswith(".") or place.name == "lost+found":
            continue
        if place.is_file():
            yield place
        elif place.is_dir() and not place.is_symlink():
            yield from _files(place)


def _data_file(path: Path, folder: Path, kind: str | None, *, named: bool) -> DataFile | None:
    suffix = path.suffix.lower().lstrip(".")
    own = _KIND_OF.get(suffix)
    # A file without an ending, as downloads often are, or one that was named: it is what the user says that it is.
    if own is None and kind is not None and (named or not suffix):
        own = kind
    if own is None or kind not in (None, own):
        return None
    if not _is_below(path, folder):
        raise refusal(f"data file {path.name}", f"a file below {folder}", "a link to somewhere else")
    name = str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
    return DataFile(path=path, name=name, kind=own)


def _suffixes(kind: str | None) -> str:
    names = [f".{suffix}" for suffix in (KINDS[kind] if kind else _KIND_OF)]
    return " or ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _listed(folder: Path, start: Path) -> str:
    names = [str(path.relative_to(folder)) for path, _ in zip(_files(start), range(6), strict=False)]
    return f"only {', '.join(names)[:300]}" if names else "an empty folder"
