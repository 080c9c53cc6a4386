"""The locked environment of an image, made for the image's own interpreter and not for one of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from local_cluster.problem import Problem

from image_builder.recipe import PREFIX, SITE_PACKAGES, Recipe

_GLIBC = "manylinux_2_36"
"""The C library of Debian 12, which decides what wheels run there."""

_SHARDS = 4
"""Fixed, so that the compiled files do not depend on how many cores the machine has."""

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def install(recipe: Recipe, lock: Path, root: Path, *, cache: Path) -> None:
    """Install the lock file below `root`, each file checked against its hash. Raises `Problem`."""
    site = root / SITE_PACKAGES.lstrip("/")
    site.mkdir(parents=True)
    wanted = root / "requirements.txt"
    wanted.write_text(without(lock.read_text(), recipe.left_out))
    uv = Path(sys.executable).parent / "uv"
    platform = f"{os.uname().machine}-{_GLIBC}"
    command = [str(uv), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:",
               "--no-config", f"--python={sys.executable}", "--python-version=3.11", f"--python-platform={platform}",
               f"--target={site}", f"--requirements={wanted}"]  # fmt: skip
    environment = {**os.environ, "UV_CACHE_DIR": str(cache)}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    wanted.unlink()
    if done.returncode:
        raise Problem(f"the environment {recipe.lock} could not be installed: {done.stderr.strip()[-800:]}")
    _forget_this_machine(site)
    for pattern in recipe.pruned:
        found = list(site.glob(pattern))
        if not found:
            raise Problem(f"the recipe removes {pattern}, which nothing matches: correct it")
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _link_interpreter(root)


def without(lock: str, names: Sequence[str]) -> str:
    """Return a lock file's text without some packages; raises `Problem` when one is not in it."""
    starts = [*(match.start() for match in _REQUIREMENT.finditer(lock)), len(lock)]
    blocks = {}
    for start, end in pairwise(starts):
        match = _REQUIREMENT.match(lock, start)
        assert match is not None  # noqa: S101 - it starts there
        blocks[match[1]] = lock[start:end]
    unknown = sorted(set(names) - set(blocks))
    if unknown:
        raise Problem(f"the recipe leaves out {', '.join(unknown)}, which the lock file does not have: correct it")
    return "".join(block for name, block in blocks.items() if name not in names)


def compile_ahead(system: Path, root: Path, *folders: str) -> None:
    """Compile the Python files of some folders below `root` by the interpreter that lies below `system`."""
    script = Path(__file__).with_name("bytecode.py")
    chosen = [str(root / folder.lstrip("/")) for folder in folders]

    def run(shard: int) -> subprocess.CompletedProcess[str]:
        command = [*interpreter(system), "-S", "-B", script, root, str(shard), str(_SHARDS), *chosen]
        environment = {"PYTHONHOME": str(system / "usr"), "PYTHONHASHSEED": "0"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(run, range(_SHARDS)):
            if done.returncode:
                raise Problem(f"the image's Python does not run here: {done.stderr.strip()[-800:]}")


def interpreter(system: Path) -> list[str | Path]:
    """Return the words that run the Python of an unpacked root file system where it lies, with its own C library."""
    libraries = sorted((system / "usr" / "lib").glob("*-linux-gnu"))
    loaders = [loader for folder in libraries for loader in folder.glob("ld-linux-*.so.*")]
    if not loaders:
        raise Problem(f"{system} holds no dynamic loader: libc6 must be among the recipe's packages")
    return [loaders[0], "--library-path", ":".join(map(str, libraries)), system / "usr" / "bin" / "python3.11"]


def _forget_this_machine(site: Path) -> None:
    """Remove the console scripts, which name the interpreter that installed them, from disk and from the records."""
    for script in sorted((site / "bin").glob("*")):
        script.unlink()
    if (site / "bin").exists():
        (site / "bin").rmdir()
    for record in site.glob("*.dist-info/RECORD"):
        lines = record.read_text().splitlines(keepends=True)
        # The file is uv's own, shared with its cache by a hard link: it is replaced, never written to.
        record.unlink()
        record.write_text("".join(line for line in lines if not line.startswith(("bin/", "../"))))


def _link_interpreter(root: Path) -> None:
    prefix = root / PREFIX.lstrip("/")
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python3").symlink_to("/usr/bin/python3.11")
    (prefix / "bin" / "python").symlink_to("python3")
