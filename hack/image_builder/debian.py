"""Debian packages for a root file system: fetched through apt, whose signed lists vouch for them, and unpacked.

No maintainer script runs, so nothing needs root, and a package that is not there cannot be called: no shell, no package
manager, no setuid program comes in.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from attrs import frozen
from local_cluster.problem import Problem

from image_builder.recipe import USER, Recipe

_RELEASE = ("debian", "12")
_MERGED = ("bin", "sbin", "lib", "lib64")
"""Folders that are links into /usr on a merged system; Debian 12's packages still name some files by them."""

_DROPPED = (
    "usr/share/locale/*",
    "usr/share/man/*",
    "usr/share/lintian/*",
    "usr/share/bug/*",
    "usr/share/bash-completion/*",
    "usr/share/menu/*",
    "usr/share/applications/*",
    "usr/share/pixmaps/*",
    "usr/share/binfmts/*",
    "usr/share/info/*",
    "usr/share/doc/*/[!c]*",
    "usr/share/doc/*/changelog*",
    "usr/share/base-files/*",
    "usr/sbin/*",
    "usr/bin/pydoc*",
    "usr/bin/pygettext*",
    "usr/bin/2to3*",
    "etc/ca-certificates/*",
    "etc/init.d/*",
    "etc/update-motd.d/*",
    "etc/profile.d/*",
    "var/*",
    "usr/local/*",
    "usr/games/*",
    "usr/src/*",
    "usr/lib/binfmt.d/*",
    # Python converts character sets by itself, and OpenSSL's engines are for hardware.
    "usr/lib/*/gconv/*",
    "usr/lib/*/engines-3/*",
    # Those of the standard library that no server needs: its own tests and editor, and modules for a terminal.
    "usr/lib/python3.11/test/*",
    "usr/lib/python3.11/idlelib/*",
    "usr/lib/python3.11/pydoc_data/*",
    "usr/lib/python3.11/lib2to3/*",
    "usr/lib/python3.11/turtledemo/*",
    "usr/lib/python3.11/lib-dynload/_curses*",
    "usr/lib/python3.11/lib-dynload/readline*",
    "usr/lib/python3.11/lib-dynload/_dbm*",
    "usr/lib/python3.11/lib-dynload/nis*",
    "usr/lib/python3.11/lib-dynload/_test*",
)
_URI = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<digest>[0-9a-f]{64})")


@frozen(kw_only=True, order=True)
class Package:
    """One version of a package, and the SHA-256 of its file."""

    name: str
    version: str
    architecture: str
    file: str
    sha256: str


def resolve(names: Sequence[str]) -> list[Package]:
    """Return the versions that apt would install now, sorted by name. Raises `Problem`."""
    _require_release()
    found = _candidates(names)
    if len(found) < len(names):
        _apt("update")
        found = _candidates(names)
    missing = sorted(set(names) - {package.name for package in found})
    if missing:
        raise Problem(f"apt knows no package {', '.join(missing)}: check its sources, and run apt-get update")
    return sorted(found)


def fetch(packages: Sequence[Package], cache: Path) -> list[Path]:
    """Return the packages' files, from the cache or from apt, each checked against its digest. Raises `Problem`."""
    cache.mkdir(parents=True, exist_ok=True)
    wanted = [package for package in packages if not (cache / package.sha256).exists()]
    if wanted:
        folder = cache / f".fetching-{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            _apt("download", *(f"{package.name}={package.version}" for package in wanted), folder=folder)
            for package in wanted:
                _take(folder / package.file, package, cache)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return [cache / package.sha256 for package in packages]


def unpack(recipe: Recipe, packages: Sequence[Package], archives: Sequence[Path], root: Path) -> None:
    """Lay the packages' files under `root`, with the accounts and settings that scripts would have made."""
    for folder in _MERGED:
        (root / "usr" / folder).mkdir(parents=True, exist_ok=True)
        (root / folder).symlink_to(f"usr/{folder}")
    records = root / "var" / "lib" / "dpkg" / "status.d"
    records.mkdir(parents=True)
    for package, archive in zip(packages, archives, strict=True):
        _unpack_one(archive, root, recipe.debian_files.get(package.name))
        # Where scanners look for the packages of an image that has no package manager.
        (records / package.name).write_bytes(_dpkg_deb("--field", str(archive)))
    _settle(root)


def _unpack_one(archive: Path, root: Path, only: Sequence[str] | None) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                path = merged(member.name)
                if _is_wanted(path, only):
                    _lay(tar, member, root / path)
    if process.returncode:
        raise Problem(f"{archive} is no Debian package: remove it and build again")


def merged(name: str) -> str:
    """Return a member's path from the root, as a merged system has it."""
    path = PurePosixPath(name.removeprefix("./").lstrip("/"))
    if ".." in path.parts:
        raise Problem(f"a Debian package holds the path {name}, which leads out of the root: it is not installed")
    return str("usr" / path if path.parts and path.parts[0] in _MERGED else path)


def _is_wanted(path: str, only: Sequence[str] | None) -> bool:
    if only is not None and path not in only and not path.endswith("/copyright"):
        return False
    return not any(fnmatch.fnmatchcase(path, pattern) for pattern in _DROPPED)


def _lay(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if member.isdir():
        # Folders come with the files in them: empty ones are of no use here.
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if member.issym():
        target.symlink_to(member.linkname)
    elif member.isreg() or member.islnk():
        content = tar.extractfile(member)
        if content is None:
            raise Problem(f"a Debian package holds the link {member.name} to a file that is not in it")
        with target.open("wb") as stream:
            shutil.copyfileobj(content, stream)
        target.chmod(0o755 if member.mode & 0o100 else 0o644)
    else:
        raise Problem(f"a Debian package holds {member.name}, which is no file, folder or link")


def _settle(root: Path) -> None:
    user, group = USER.split(":")
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    # Runtimes give HOME=/tmp, the one folder that is writable in a pod with a read-only root.
    accounts = f"root:x:0:0:root:/root:/usr/sbin/nologin\nnonroot:x:{user}:{group}:nonroot:/tmp:/usr/sbin/nologin\n"
    (etc / "passwd").write_text(accounts)
    (etc / "group").write_text(f"root:x:0:\nnonroot:x:{group}:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    certificates = sorted((root / "usr" / "share" / "ca-certificates").rglob("*.crt"))
    if certificates:
        bundle = etc / "ssl" / "certs" / "ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_bytes(b"".join(path.read_bytes().rstrip() + b"\n" for path in certificates))
        default = root / "usr" / "lib" / "ssl" / "cert.pem"
        default.parent.mkdir(parents=True, exist_ok=True)
        default.symlink_to("/etc/ssl/certs/ca-certificates.crt")
    for name in ("dev", "proc", "sys", "tmp"):
        (root / name).mkdir(exist_ok=True)


def _take(file: Path, package: Package, cache: Path) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "missing"
    if digest != package.sha256:
        raise Problem(f"apt brought {file.name} with SHA-256 {digest}, its lists say {package.sha256}: build again")
    file.rename(cache / package.sha256)


def _candidates(names: Sequence[str]) -> list[Package]:
    done = _run("apt-get", "--print-uris", "download", *names)
    return [_package(found["file"], found["digest"]) for found in _URI.finditer(done.stdout)]


def _package(file: str, digest: str) -> Package:
    name, version, architecture = file.removesuffix(".deb").split("_")
    return Package(name=name, version=unquote(version), architecture=architecture, file=file, sha256=digest)


def _apt(command: str, *arguments: str, folder: Path | None = None) -> None:
    # As root, apt would fetch as a user of its own, who may not write into our folder.
    options = ("--quiet=2", "--option=APT::Sandbox::User=root")
    done = _run("apt-get", *options, command, *arguments, folder=folder)
    if done.returncode and command == "download":
        # Lists of another day name versions that the mirror no longer has.
        raise Problem(f"apt-get download failed ({_last(done)}): run apt-get update, then build again")
    if done.returncode:
        raise Problem(f"apt-get {command} failed ({_last(done)}): run it as root, or check apt's sources")


def _run(*command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _last(done: subprocess.CompletedProcess[str]) -> str:
    return " / ".join((done.stderr or done.stdout).strip().splitlines()[-2:])


def _dpkg_deb(*arguments: str) -> bytes:
    return subprocess.run(["dpkg-deb", *arguments], capture_output=True, check=True).stdout


def _require_release(release: Path = Path("/etc/os-release")) -> None:
    lines = release.read_text().splitlines() if release.exists() else []
    values = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
    found = (values.get("ID", "unknown"), values.get("VERSION_ID", ""))
    if found != _RELEASE or not shutil.which("dpkg-deb"):
        raise Problem(
            f"images are built from the packages of Debian 12, and this is {' '.join(found).strip()}: build there, or "
            "with deploy/docker from a base image"
        )
