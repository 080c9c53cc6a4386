"""The table of scenarios is made from the marks of the tests, and a number that nobody holds is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from codegen import scenarios

SOURCE = '''
import pytest
pytestmark = pytest.mark.scenario("RF1")

@pytest.mark.scenario("RF2", "RF3")
async def test_a():
    """A."""

@pytest.mark.scenario("RF4")
class TestB:
    @pytest.mark.parametrize("x", [1])
    @pytest.mark.scenario("RF5")
    def test_c(self, x):
        """C."""

TestMachine = pytest.mark.scenario("RF6")(Machine.TestCase)
'''


def declared(**more: object) -> dict[str, object]:
    """Two scenarios of one group."""
    group = {"title": "Reflector", "source": "upstream", "scenarios": {"RF1": "One.", "RF2": "Two."}}
    return {"groups": [group], "untested": {}, "notes": {}, **more}


def test_marks_of_function_class_module_and_state_machine_are_found(tmp_path: Path) -> None:
    """Every way in which pytest lets a test be marked counts, and nothing is imported for it."""
    folder = tmp_path / "test"
    folder.mkdir()
    (folder / "test_x.py").write_text(SOURCE)
    tests = "test/test_x.py::"
    assert scenarios.claims(folder) == {
        "RF1": [f"{tests}TestB::test_c", f"{tests}TestMachine", f"{tests}test_a"],
        "RF2": [f"{tests}test_a"],
        "RF3": [f"{tests}test_a"],
        "RF4": [f"{tests}TestB::test_c"],
        "RF5": [f"{tests}TestB::test_c"],
        "RF6": [f"{tests}TestMachine"],
    }


def test_a_page_links_each_number_to_its_tests_or_gives_the_reason() -> None:
    """A reader gets from a number to the test, or learns why there is none."""
    text = scenarios.page(declared(untested={"RF2": "there is no queue."}), {"RF1": ["test/m/test_x.py::test_a"]})
    assert "| RF1 | One. | [test_a](../test/m/test_x.py) |" in text
    assert "| RF2 | Two. | No test: there is no queue. |" in text
    assert "2 scenarios; 1 have tests, 1 a reason why not." in text


@pytest.mark.parametrize(
    ("more", "claimed", "problem"),
    [
        ({}, {"RF1": ["t::a"]}, "RF2: no test claims it"),
        ({"untested": {"RF2": "why"}}, {"RF1": ["t::a"], "RF2": ["t::b"]}, "RF2: t::b claims it"),
        ({}, {"RF1": ["t::a"], "RF2": ["t::b"], "RF9": ["t::c"]}, "RF9: claimed by t::c, but not in"),
        ({"notes": {"RF8": "x"}}, {"RF1": ["t::a"], "RF2": ["t::b"]}, "RF8: has a note or a reason"),
    ],
)
def test_a_number_nobody_holds_and_a_claim_of_none_are_errors(
    more: dict[str, object], claimed: dict[str, list[str]], problem: str
) -> None:
    """So the table cannot go stale without a failure."""
    with pytest.raises(scenarios.ScenarioError, match=problem):
        scenarios.page(declared(**more), claimed)
