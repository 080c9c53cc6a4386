"""A page's blocks, the commands behind `$ ` in those that are `console`, and whether they print what is shown."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import define, evolve, frozen

from local_cluster.folders import REPOSITORY
from local_cluster.user_session import UserSession

PAGES: Final[Mapping[str, str]] = {
    "README.md": "test/e2e/test_readme.py",
    "docs/tune-and-serve.md": "test/e2e/test_circle.py",
    "docs/tuning.md": "test/e2e/test_circle.py",
    "docs/adapters.md": "test/e2e/test_circle.py",
    "docs/weights.md": "test/e2e/test_weights.py",
    "docs/serving.md": "test/e2e/test_docs.py",
    "docs/private-models.md": "test/e2e/test_docs.py",
    "docs/air-gapped.md": "test/e2e/test_docs.py",
    "docs/operating.md": "test/e2e/test_docs.py",
}
"""The pages with console blocks, in the order in which they are read, and the test that runs the commands of each."""

CONSOLE: Final = "console"
PROMPT: Final = "$ "
GAP: Final = "…"
"""In what a command prints: anything."""

_FENCE: Final = re.compile(r"\s*```(\S*)\s*")
_EXPORTED: Final = re.compile(r"(?:^| )([A-Za-z_]\w*)=")


@frozen(kw_only=True)
class Block:
    """A fenced block of a page: its language, the line of the page on which its text begins, and that text."""

    language: str
    line: int
    lines: tuple[str, ...]


@frozen(kw_only=True)
class Command:
    """One command, where it stands, and the lines that the page shows as printed by it."""

    place: str
    text: str
    printed: tuple[str, ...] = ()

    def missing_from(self, output: str) -> str | None:
        """The first printed line that `output` does not have behind those before it; None when all are there."""
        at = 0
        for line in self.printed:
            pattern = ".*".join(re.escape(part) for part in line.strip().split(GAP))
            found = re.compile(pattern).search(output, at)
            if found is None:
                return line
            at = found.end()
        return None


@frozen(kw_only=True)
class Outcome:
    """How a command went; `problem` is empty when it did what the page says."""

    output: str
    problem: str


@define
class Console:
    """Somebody who types one command after the other at the root of the checkout; what is exported stays so."""

    session: UserSession

    def type(self, command: Command, *, timeout_s: float = 300.0) -> Outcome:
        """Run a command to its end."""
        with tempfile.NamedTemporaryFile(prefix="kaito-console-") as kept:
            # What is printed comes in the order in which a terminal would show it.
            done = self.session.shell(f"exec 2>&1\n{command.text}\n{_keeping(kept.name)}", timeout_s=timeout_s)
            environment = _environment(kept.read())
        problem = _problem(command, done, environment)
        if not problem and environment:
            self.session = evolve(self.session, environment=environment)
        return Outcome(output=done.stdout, problem=problem)


def pages_of(test: str | Path) -> tuple[Path, ...]:
    """The pages whose commands a test runs, given the test's own file, in their order."""
    name = str(Path(test).resolve().relative_to(REPOSITORY))
    return tuple(REPOSITORY / page for page, runner in PAGES.items() if runner == name)


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, also those that are indented."""
    language, first, inside = "", 0, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        fence = _FENCE.fullmatch(line)
        if fence is None:
            inside.append(line)
        elif not first:
            language, first, inside = fence[1], number + 1, []
        else:
            yield Block(language=language, line=first, lines=tuple(inside))
            first = 0


def commands(page: Path) -> list[Command]:
    """The commands of the console blocks; one goes on behind a backslash at its line's end, and inside quotes."""
    return [one for block in blocks(page) if block.language == CONSOLE for one in _commands(page, block)]


def _commands(page: Path, block: Block) -> Iterator[Command]:
    found: Command | None = None
    for number, line in enumerate(block.lines, start=block.line):
        if line.startswith(PROMPT):
            if found is not None:
                yield found
            found = Command(place=f"{page.name}:{number}", text=line.removeprefix(PROMPT))
        elif found is None:
            raise ValueError(f"{page.name}:{number}: a console block begins with a command behind {PROMPT!r}")
        elif not found.printed and _goes_on(found.text):
            found = evolve(found, text=f"{found.text}\n{line}")
        else:
            found = evolve(found, printed=(*found.printed, line))
    if found is not None:
        yield found


def _goes_on(text: str) -> bool:
    try:
        shlex.split(text)
    except ValueError:  # "No closing quotation", "No escaped character"
        return True
    return text.endswith("\\")


def _keeping(file: str) -> str:
    """Shell words that write down the environment as it is after the command, and end as the command ended."""
    return f"status=$?; env -0 > {file}; exit $status"


def _environment(raw: bytes) -> dict[str, str]:
    pairs = (entry.decode().partition("=") for entry in raw.split(b"\0") if entry)
    return {name: value for name, _, value in pairs if name not in {"_", "SHLVL", "PWD", "OLDPWD"}}


def _problem(command: Command, done: subprocess.CompletedProcess[str], environment: Mapping[str, str]) -> str:
    said = f"{command.place}: {command.text}\n{done.stdout}\n"
    if done.returncode != 0:
        return f"{said}It ended with {done.returncode}."
    if command.text.startswith("export "):
        # The shell's `export` succeeds whatever the command behind the value did.
        empty = [name for name in _EXPORTED.findall(command.text) if environment.get(name) == ""]
        return f"{said}It left empty: {', '.join(empty)}." if empty else ""
    missing = command.missing_from(done.stdout)
    return f"{said}It did not print (behind what the page shows before it): {missing}" if missing is not None else ""
