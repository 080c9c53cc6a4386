"""docs/machinery-scenarios.md: every numbered scenario of the machinery, and the tests that prove it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = ROOT / "test" / "machinery" / "scenarios.yaml"
PAGE = "docs/machinery-scenarios.md"

_HEAD = """# The machinery's scenarios

<!-- Made by hack/codegen/generate from test/machinery/scenarios.yaml and the marks of the tests. -->

What users of client-go and controller-runtime rely on, numbered, and the tests that hold it here.
"""


class ScenarioError(ValueError):
    """The scenarios and the tests do not fit together; the message says which number, where, and what to do."""


def files() -> dict[str, str]:
    """The generated page."""
    return {PAGE: page(YAML(typ="safe").load(SCENARIOS.read_text()), claims(ROOT / "test"))}


def claims(folder: Path) -> dict[str, list[str]]:
    """The tests that claim a number, by number, as ``path::name``; found in the source, nothing is imported."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text(), filename=str(path))
        where = path.relative_to(folder.parent).as_posix()
        for name, numbers in _marked(tree):
            for number in numbers:
                found[number].append(f"{where}::{name}")
    return dict(found)


def page(declared: Mapping[str, Any], claimed: Mapping[str, list[str]]) -> str:
    """The page's text.

    Raises:
        ScenarioError: a test claims an unknown number, or a number has neither a test nor a reason, or has both.
    """
    untested, notes = declared["untested"], declared["notes"]
    known = [number for group in declared["groups"] for number in group["scenarios"]]
    _check(known, claimed, untested, notes)
    tested = sum(number in claimed for number in known)
    lines = [_HEAD, f"{len(known)} scenarios; {tested} have tests, {len(known) - tested} a reason why not.\n"]
    for group in declared["groups"]:
        lines += [f"## {group['title']}\n", f"After {group['source']}.\n"]
        lines += ["| Id | Scenario | Held by |", "|---|---|---|"]
        for number, claim in group["scenarios"].items():
            note = f" *{notes[number]}*" if number in notes else ""
            held = "<br>".join(_link(test) for test in claimed.get(number, ())) or f"No test: {untested[number]}"
            lines.append(f"| {number} | {claim}{note} | {held} |")
        lines.append("")
    return "\n".join(lines)


def _check(
    known: list[str], claimed: Mapping[str, list[str]], untested: Mapping[str, str], notes: Mapping[str, str]
) -> None:
    problems = [f"{number}: claimed by {tests[0]}, but not in scenarios.yaml" for number, tests in claimed.items()
                if number not in known]  # fmt: skip
    for number in known:
        if number not in claimed and number not in untested:
            problems.append(f"{number}: no test claims it: mark one, or give the reason under `untested`")
        if number in claimed and number in untested:
            problems.append(f"{number}: {claimed[number][0]} claims it: drop the reason under `untested`")
    problems += [f"{number}: has a note or a reason, but is no scenario" for number in (*untested, *notes)
                 if number not in known]  # fmt: skip
    if problems:
        raise ScenarioError("\n".join(problems))


def _marked(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Every test with the numbers that it, its class or its module is marked with."""
    whole_file = [number for node in tree.body if _assigns(node, "pytestmark") for number in _numbers(node)]
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            of_class = [*whole_file, *_decorations(node)]
            yield from ((f"{node.name}::{name}", [*of_class, *numbers]) for name, numbers in _functions(node.body))
        elif _assigns(node, "Test"):
            # A state machine of hypothesis: `TestQueue = pytest.mark.scenario("WQ1")(QueueMachine.TestCase)`.
            yield ast.unparse(node).partition(" = ")[0], [*whole_file, *_numbers(node)]
    yield from ((name, [*whole_file, *numbers]) for name, numbers in _functions(tree.body))


def _functions(body: list[ast.stmt]) -> Iterator[tuple[str, list[str]]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield node.name, _decorations(node)


def _assigns(node: ast.stmt, prefix: str) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith(prefix)


def _decorations(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [number for decorator in node.decorator_list for number in _numbers(decorator)]


def _numbers(node: ast.AST) -> list[str]:
    """The literal arguments of every ``pytest.mark.scenario(...)`` below a node."""
    found = []
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.scenario":
            found += [str(ast.literal_eval(argument)) for argument in call.args]
    return found


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name}](../{path})"
