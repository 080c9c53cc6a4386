"""``hack/test mutants [NAME...]``: breaks one line at a time in a copy of the checkout, and runs tests that must fail.

A mutant that survives means that a promise of the machinery is held by no test; one whose line is gone has to be
written anew for the code that replaced it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import frozen
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.yaml")
COPIED = ("kaito_controller", "inference_server", "test", "tox.ini")
TESTS_FAILED = 1
"""pytest's exit code when tests ran and some failed; any other says that the mutant broke something else."""
TEST_TIMEOUT_S = 60
"""A mutant may well make a test wait for ever: that is noticed, too."""
TIMEOUT_S = 1200
"""For all tests of one mutant on a machine that is busy otherwise: nothing is learnt from a slow one."""


@frozen(kw_only=True)
class Mutant:
    """One line broken: in ``file`` the text ``find``, which stands there once, becomes ``replace``."""

    name: str
    holds: tuple[str, ...]
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]


class MutantError(ValueError):
    """A mutant cannot be made; the message says which, and what to do."""


def mutants(path: Path = LIST) -> tuple[Mutant, ...]:
    """The mutants of the list, in its order."""
    found: list[dict[str, Any]] = YAML(typ="safe").load(path.read_text())
    return tuple(
        Mutant(
            name=one["name"],
            holds=tuple(one["holds"]),
            file=one["file"],
            find=one["find"],
            replace=one["replace"],
            tests=tuple(one["tests"]),
        )
        for one in found
    )


def broken(mutant: Mutant, source: str) -> str:
    """The source with the mutant's line broken.

    Raises:
        MutantError: the line does not stand there exactly once.
    """
    count = source.count(mutant.find)
    if count != 1:
        raise MutantError(
            f"{mutant.name}: {mutant.file} must have {mutant.find!r} once, found {count} times: write the mutant anew"
        )
    return source.replace(mutant.find, mutant.replace)


def survives(mutant: Mutant, folder: Path) -> str:
    """What is wrong with the tests, or empty when they notice the mutant. ``folder`` is for the broken copy."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    target = folder / mutant.file
    target.write_text(broken(mutant, target.read_text()))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
    # By a thread: the usual signal raises wherever the test happens to be, and an event loop swallows that.
    command += [f"--timeout={TEST_TIMEOUT_S}", "--timeout-method=thread", f"--basetemp={folder / 'scratch'}"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"nothing learnt: {' '.join(mutant.tests)} took more than {TIMEOUT_S} s"
    if done.returncode == TESTS_FAILED or "Timeout" in done.stdout + done.stderr:
        return ""
    if done.returncode == 0:
        return f"survives {' '.join(mutant.tests)}: no test holds {', '.join(mutant.holds)}"
    return f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def main(argv: list[str] | None = None) -> int:
    """Try the mutants that are named, or all."""
    parser = argparse.ArgumentParser(prog="hack/test mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="mutants at a time (default: 2)")
    options = parser.parse_args(argv)
    chosen = [mutant for mutant in mutants() if not options.names or mutant.name in options.names]

    def attempt(mutant: Mutant) -> str:
        with tempfile.TemporaryDirectory() as folder:
            return survives(mutant, Path(folder))

    failed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, problem in zip(chosen, pool.map(attempt, chosen), strict=True):
            failed += bool(problem)
            print(f"{'SURVIVED' if problem else 'noticed':<9} {', '.join(mutant.holds):<12} {mutant.name}", flush=True)
            if problem:
                print(f"          {problem}", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
