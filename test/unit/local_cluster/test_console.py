from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from local_cluster import console
from local_cluster.console import Block, Command, Console
from local_cluster.folders import REPOSITORY
from local_cluster.kubectl import Kubectl
from local_cluster.user_session import UserSession

DOCS = sorted((REPOSITORY / "docs").rglob("*.md"))
READ = [REPOSITORY / "README.md", *DOCS]
ELSEWHERE = "sh"
"""The language of commands for another cluster, or another machine, than the quick start's."""
DATA = {"", "yaml", "json", "python"}
"""The languages of what nobody types into a shell: files, bodies, answers."""
PROGRAM = re.compile(
    r"\s*(\$ |(sudo |\w+=\S+ )*(\.?/?hack/|\$\(hack/)?"
    r"(kubectl|curl|helm|docker|podman|oras|skopeo|ctr|crane|hf|git|pip3?|python3?|kaito-controller|kustomize|export|sed|cat"
    r"|mkdir|cp|cd|openssl|base64|quickstart|cluster|test|images|bench|environment|model/|binaries/|measure-fit) )"
)


@pytest.fixture
def session() -> UserSession:
    nowhere = Kubectl(binary=Path("/nowhere"), kubeconfig=Path("/nowhere"))
    return UserSession(summary={}, printed="", environment=dict(os.environ), kubectl=nowhere)


def page(folder: Path, text: str) -> Path:
    made = folder / "page.md"
    made.write_text(text)
    return made


def test_commands_are_what_stands_behind_the_prompt(tmp_path: Path):
    """With the lines that they go on in, what they print, and where they stand; other blocks are left alone."""
    text = "a\n```console\n$ one \\\n    more\nout\n$ two '{\n}'\n```\n"
    text += "```yaml\n$ three\n```\n  ```console\n$ four\n  ```\n"
    assert console.commands(page(tmp_path, text)) == [
        Command(place="page.md:3", text="one \\\n    more", printed=("out",)),
        Command(place="page.md:6", text="two '{\n}'"),
        Command(place="page.md:13", text="four"),
    ]
    assert list(console.blocks(page(tmp_path, "```sh\nx\n```\n"))) == [Block(language="sh", line=2, lines=("x",))]


def test_a_console_block_that_begins_with_output_is_refused(tmp_path: Path):
    """It would be shown and never be run."""
    with pytest.raises(ValueError, match=r"page.md:2: a console block begins with a command"):
        console.commands(page(tmp_path, "```console\nkubectl get pod\n```\n"))


@pytest.mark.parametrize(
    ("printed", "missing"),
    [(("b…d", "e"), None), (("e", "b"), "b"), (("a.c",), "a.c"), ((), None)],
    ids=["in order, with a gap", "in another order", "no pattern", "nothing shown"],
)
def test_what_is_shown_must_have_been_printed(printed: tuple[str, ...], missing: str | None):
    """Line by line, in that order; other lines may stand between."""
    assert Command(place="", text="", printed=printed).missing_from("abc d\nabcd\ne\n") == missing


def test_what_is_exported_is_there_for_the_next_command(session: UserSession):
    """Its value is found once, not again at each command."""
    typed = Console(session)
    assert typed.type(Command(place="", text="export ONCE=$(date +%N) B=b")).problem == ""
    first, second = (typed.type(Command(place="", text="echo $ONCE $B")).output for _ in range(2))
    assert first == second
    assert first.endswith(" b\n")


@pytest.mark.parametrize(
    ("text", "printed", "problem"),
    [
        ("exit 3", (), "It ended with 3."),
        ("false | cat", (), "It ended with 1."),
        ("export GOOD=1 BAD=$(exit 3)", (), "It left empty: BAD."),
        ("echo no", ("yes",), "yes"),
    ],
)
def test_a_command_that_does_otherwise_than_the_page_says_is_a_problem(
    session: UserSession, text: str, printed: tuple[str, ...], problem: str
):
    """It ends badly, exports nothing, or prints something else."""
    found = Console(session).type(Command(place="page.md:1", text=text, printed=printed)).problem
    assert found.startswith(f"page.md:1: {text}\n")
    assert found.endswith(problem)


def test_every_page_with_console_commands_is_run_by_a_test():
    """`PAGES` names each of them and no other, and its test takes it from there."""
    shown = {str(one.relative_to(REPOSITORY)) for one in READ if console.commands(one)}
    assert shown == set(console.PAGES)
    for test in set(console.PAGES.values()):
        assert "console.pages_of(__file__)" in (REPOSITORY / test).read_text(), test
        assert console.pages_of(REPOSITORY / test)


@pytest.mark.parametrize("one", READ, ids=lambda one: str(one.relative_to(REPOSITORY)))
def test_a_command_stands_in_a_console_block_or_says_that_it_is_for_elsewhere(one: Path):
    """A block is `console`, `sh`, or holds no command."""
    for block in console.blocks(one):
        place = f"{one.name}:{block.line}"
        assert block.language in DATA | {console.CONSOLE, ELSEWHERE}, f"{place}: {block.language}"
        if block.language in DATA:
            typed = [line for line in block.lines if PROGRAM.match(line)]
            assert not typed, f"{place}: mark it as console, and a test runs it, or as {ELSEWHERE}: {typed}"


@pytest.mark.parametrize("line", ["kubectl get pod", "curl -s x", "  hack/test e2e", "A=b docker build .", "$ x"])
def test_commands_are_told_from_data(line: str):
    """What the test above looks for."""
    assert PROGRAM.match(line)
    assert not PROGRAM.match("testing: cluster")


@pytest.mark.parametrize("one", READ, ids=lambda one: str(one.relative_to(REPOSITORY)))
def test_links_lead_somewhere(one: Path):
    """Each file that a page links to is there."""
    prose = re.sub(r"```.*?```", "", one.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)", prose)
    assert [target for target in targets if not (one.parent / target).exists()] == []


def test_the_readme_lists_every_page():
    """But those that only a contributor needs, which CONTRIBUTING.md or ARCHITECTURE.md names."""
    named = "".join((REPOSITORY / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"))
    assert [one.name for one in DOCS if str(one.relative_to(REPOSITORY)) not in named] == []
