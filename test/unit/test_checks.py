"""The checks by their names: hack/test runs them, tox.ini and the contributor's page list them."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def checks() -> set[str]:
    """What `hack/test` names when it is asked for a check that does not exist."""
    done = subprocess.run([ROOT / "hack" / "test", "no-such-check"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    found = re.search(r"^checks: (.*); without one, all of them$", done.stderr, re.MULTILINE)
    assert found is not None, done.stderr
    return set(found[1].split())


def test_tox_has_every_check() -> None:
    """`tox -e NAME` works for each."""
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    assert {name.strip() for name in tox["tox"]["env_list"].split(",")} == checks()


def test_the_contributor_s_page_tells_what_every_check_proves() -> None:
    """The table of CONTRIBUTING.md has each."""
    rows = [line for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == checks()


def test_every_folder_of_tests_is_a_check() -> None:
    """No test is left out of CI."""
    rooms = {path.parent.relative_to(ROOT / "test").parts[0] for path in (ROOT / "test").rglob("test_*.py")}
    assert rooms - checks() == set()
