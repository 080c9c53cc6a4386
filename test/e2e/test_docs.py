"""Every console command of the pages that are about the Workspace which the quick start leaves, page by page."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_cluster import console
from local_cluster.console import Console
from local_cluster.user_session import UserSession

from kaito_controller.testing.eventually import eventually

pytestmark = pytest.mark.slow

SERVED = "workspace-tiny-phi3"


@pytest.mark.parametrize("page", console.pages_of(__file__), ids=lambda page: page.stem)
def test_the_page_is_true(quickstart: UserSession, page: Path) -> None:
    """Each command exits 0 and prints what the page shows; what is there for others stays as it was."""
    before = serving(quickstart)
    typed = Console(quickstart)
    for command in console.commands(page):
        done = typed.type(command)
        assert not done.problem, done.problem
    assert serving(quickstart) == before, "the page changed the quick start's own Workspace"
    eventually("nothing else is left", lambda: names(quickstart, "workspace") == {SERVED}, timeout_s=60)
    assert names(quickstart, "secret") == set()


def serving(quickstart: UserSession) -> tuple[str, int, int]:
    """The serving pod's identity, how often it was started anew, and which spec the Workspace has."""
    pod = quickstart.kubectl.get("pod", f"{SERVED}-0")
    restarts = sum(one["restartCount"] for one in pod["status"]["containerStatuses"])
    return pod["metadata"]["uid"], restarts, quickstart.kubectl.get("workspace", SERVED)["metadata"]["generation"]


def names(quickstart: UserSession, kind: str) -> set[str]:
    """Of all objects of a kind in the namespace."""
    return {one["metadata"]["name"] for one in quickstart.kubectl.get(kind)["items"]}
