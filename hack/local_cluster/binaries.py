"""Go programs from hack/binaries, built once into the cache outside the checkout.

A module is a folder with go.mod, go.sum, its commands and module.json, which says the names the programs are called by,
the version stamped into them and the disk space a cold build takes. The key of a build is the hash of those files and
of the Go version; a build appears under its key at once, whole, or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from attrs import field, frozen

from local_cluster import toolchain
from local_cluster.folders import REPOSITORY, cache_folder, require_room
from local_cluster.problem import Problem

MODULES = REPOSITORY / "hack" / "binaries"
_PROGRESS_SECONDS = 15.0
_BUILT_SHARE = 0.05
_LINK_SHARE = 0.2


@frozen(kw_only=True)
class Module:
    """What module.json says about one Go module."""

    folder: Path
    programs: tuple[str, ...]
    disk_gib: float
    version_of: str | None = None
    links: Mapping[str, tuple[str, ...]] = field(factory=dict)
    stamp: Mapping[str, str] = field(factory=dict)

    @property
    def name(self) -> str:
        """The name that hack/binaries/build takes."""
        return self.folder.name

    @property
    def version(self) -> str | None:
        """The version in go.mod of the module whose programs these are, such as v1.37.2."""
        if self.version_of is None:
            return None
        requirement = rf"^\s*(?:require )?{re.escape(self.version_of)} (v\S+)"
        found = re.search(requirement, self._go_mod.read_text(), re.MULTILINE)
        if found is None:
            raise Problem(f"{self._go_mod} does not require {self.version_of}, which module.json names: add it")
        return found[1]

    @property
    def _go_mod(self) -> Path:
        return self.folder / "go.mod"

    def linker_flags(self) -> str:
        """Return what the linker is told: no symbol table, and the version where the module takes one."""
        flags = ["-s", "-w"]
        if version := self.version:
            major, minor = version.removeprefix("v").split(".")[:2]
            for variable, pattern in self.stamp.items():
                flags += ["-X", f"{variable}={pattern.format(version=version, major=major, minor=minor)}"]
        return " ".join(flags)

    def key(self, go_version: str) -> str:
        """Return the hash of everything that decides what comes out of a build."""
        digest = hashlib.sha256(f"{go_version} {os.uname().machine}".encode())
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            digest.update(f"\0{path.relative_to(self.folder)}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:12]


def module(name: str, *, modules: Path = MODULES) -> Module:
    """Read one module; raises `Problem` with the names there are."""
    folder = modules / name
    if not name or not (folder / "module.json").is_file():
        known = ", ".join(sorted(path.parent.name for path in modules.glob("*/module.json")))
        raise Problem(f"no Go module is called {name!r}: choose one of {known}")
    data = json.loads((folder / "module.json").read_text())
    return Module(
        folder=folder,
        programs=tuple(data["programs"]),
        disk_gib=data["disk_gib"],
        version_of=data.get("version_of"),
        links={target: tuple(names) for target, names in data.get("links", {}).items()},
        stamp=data.get("stamp", {}),
    )


def build(name: str, *, modules: Path = MODULES, cache: Path | None = None) -> Path:
    """Return the folder with the programs of a module; build it first when the cache does not have it.

    Callers that come while another one builds wait for it. Raises `Problem` for what a person can remedy.
    """
    wanted = module(name, modules=modules)
    go = toolchain.choose(wanted.folder / "go.mod")
    builds = (cache or cache_folder()) / "binaries"
    target = builds / f"{name}-{wanted.key(go.version)}"
    if target.is_dir():
        return target
    builds.mkdir(parents=True, exist_ok=True)
    with _locked(builds / f"{name}.lock", waiting_for=name):
        if not target.is_dir():
            program = toolchain.install(go)
            _require_room(wanted, program, builds)
            _build(wanted, program, builds, target)
    return target


def _require_room(wanted: Module, go: Path, builds: Path) -> None:
    purpose = f"building {wanted.name}"
    # Most of it is what the compiler keeps; the linker works in the temporary folder.
    require_room(toolchain.build_cache(go), wanted.disk_gib, purpose, environment_variable="GOCACHE")
    require_room(builds, _BUILT_SHARE * wanted.disk_gib, purpose)
    require_room(Path(tempfile.gettempdir()), _LINK_SHARE * wanted.disk_gib, purpose, environment_variable="TMPDIR")


def _build(wanted: Module, go: Path, builds: Path, target: Path) -> None:
    for left_over in builds.glob(f".{wanted.name}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    started = time.monotonic()
    _say(f"{' '.join(filter(None, (wanted.name, wanted.version)))}: building with Go (once, kept in the cache)")
    temporary = Path(tempfile.mkdtemp(prefix=f".{wanted.name}-", dir=builds))
    try:
        _compile(wanted, go, temporary)
        for program, names in wanted.links.items():
            for link in names:
                (temporary / link).symlink_to(program)
        missing = [program for program in wanted.programs if not (temporary / program).is_file()]
        if missing:
            raise Problem(f"building {wanted.name} made no {', '.join(missing)}: correct its module.json")
        temporary.chmod(0o755)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _say(f"{wanted.name}: built in {time.monotonic() - started:.0f} s")


def _compile(wanted: Module, go: Path, folder: Path) -> None:
    settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    output = ["-ldflags", wanted.linker_flags(), "-o", f"{folder}/"]
    command = [str(go), "build", "-v", "-trimpath", "-buildvcs=false", *output, "./..."]
    with subprocess.Popen(
        command, cwd=wanted.folder, env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None  # noqa: S101 - it was asked for
        try:
            said = _follow(process.stderr, wanted.name)
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
    if status:
        raise Problem(_failure(wanted.name, "\n".join(said)))


def _follow(lines: IO[str], name: str) -> deque[str]:
    """Read what `go build -v` says until its end, with a line of progress now and then; return its last lines."""
    said: deque[str] = deque(maxlen=15)
    seen = 0
    started = time.monotonic()
    done = threading.Event()

    def tick() -> None:
        while not done.wait(_PROGRESS_SECONDS):
            _say(f"{name}: {time.monotonic() - started:4.0f} s, {seen} packages fetched or compiled")

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        for line in lines:
            seen += 1
            said.append(line.rstrip())
    finally:
        done.set()
        ticker.join()
    return said


def _failure(name: str, said: str) -> str:
    if "no space left on device" in said:
        return (
            f"building {name} filled the disk: free some space, or point KAITO_CACHE, GOCACHE, GOMODCACHE and TMPDIR "
            "to folders on a larger one"
        )
    if "dial tcp" in said or "lookup " in said or "connection refused" in said:
        return f"building {name} could not fetch its Go modules: check the network and GOPROXY\n{said}"
    return f"building {name} failed:\n{said}"


@contextmanager
def _locked(path: Path, *, waiting_for: str) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{waiting_for}: somebody else is building it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"binaries: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Print the folder of one module's programs."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        names = "|".join(sorted(path.parent.name for path in MODULES.glob("*/module.json")))
        print(f"usage: hack/binaries/build {names}", file=sys.stderr)
        return 2
    try:
        print(build(arguments[0]))
    except (Problem, KeyboardInterrupt) as error:
        print(f"hack/binaries/build: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
