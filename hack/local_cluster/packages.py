"""Debian packages that real nodes need, installed where this is Debian, we are root, and they are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from kaito_controller.providers.local import programs
from local_cluster.problem import Problem

_LISTS = Path("/var/lib/apt/lists")


def missing() -> list[str]:
    """Return the Debian packages whose programs real nodes need and this machine lacks."""
    needed = programs.PACKAGES.items()
    lacking = [package for program, package in needed if not shutil.which(program, path=programs.PATH)]
    if programs.cni_folder() is None:
        lacking.append("containernetworking-plugins")
    return list(dict.fromkeys(lacking))


def ensure(say: Callable[[str], None]) -> None:
    """Install what is missing. Raises `Problem` when that cannot be done; does nothing when nothing is missing."""
    packages = missing()
    if not packages:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get", path=programs.PATH):
        raise Problem(programs.problem() or f"real nodes need {', '.join(packages)}: install them")
    say(f"installing the Debian packages {' '.join(packages)}")
    if not any(_LISTS.glob("*_Packages*")):
        _apt("update")
    try:
        _apt("install", *packages)
    except Problem:
        # Lists of another day name versions that the mirror no longer has.
        _apt("update")
        _apt("install", *packages)


def _apt(command: str, *packages: str) -> None:
    options = ["--yes", "--no-install-recommends"] if packages else []
    done = subprocess.run(
        ["apt-get", "--quiet", "--quiet", command, *options, *packages],
        env={**os.environ, "PATH": programs.PATH, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = " / ".join(done.stdout.strip().splitlines()[-3:])
        raise Problem(
            f"apt-get {' '.join([command, *packages])} failed ({said}): install these packages by hand, or take "
            "simulated nodes with --nodes 0 --kwok-nodes N"
        )


def main() -> int:
    """Install what is missing, for a script that is about to need it; a user who is not root is left as he is."""
    if os.geteuid() == 0:
        try:
            ensure(lambda what: print(what, file=sys.stderr))
        except Problem as problem:
            print(f"packages: {problem}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
