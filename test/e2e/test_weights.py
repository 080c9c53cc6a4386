"""Weights from a registry on real nodes: an agent before the engine, a pull Secret, a folder that outlives the pod."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from local_cluster import console
from local_cluster.console import Console
from local_cluster.user_session import UserSession

from inference_server import contract
from inference_server.weights.store import Store

pytestmark = pytest.mark.slow

NAME = "tiny-from-registry"
LIMIT_S = 15 * 60.0
ENDS = "kubectl delete workspace"

(PAGE,) = console.pages_of(__file__)


@pytest.fixture
def typed(quickstart: UserSession) -> Iterator[Console]:
    """Somebody who reads docs/weights.md; whatever of it is left goes."""
    yield Console(quickstart)
    quickstart.kubectl.run("delete", "workspace", NAME, "--ignore-not-found", "--timeout=120s")
    quickstart.kubectl.run("delete", "secret", "registry", "--ignore-not-found")


def test_a_model_is_served_from_a_private_registry(quickstart: UserSession, typed: Console) -> None:
    """The page's commands do what it says: the engine, without the Secret, answers what the model was taught."""
    pushed, looked = "", False
    for command in console.commands(PAGE):
        if command.text.startswith(ENDS):
            it_was_fetched_beside_the_engine(quickstart, pushed)
            looked = True
        done = typed.type(command, timeout_s=LIMIT_S)
        assert not done.problem, f"{done.problem}\n{what_stands(quickstart)}"
        if "hack/model/push" in command.text:
            pushed = done.output.split()[-1]
    assert looked


def it_was_fetched_beside_the_engine(quickstart: UserSession, digest: str) -> None:
    """What was pushed, by an agent that started first; and the folder is kept for the next pod."""
    status = quickstart.kubectl.get("workspace", NAME)["status"]["weights"]
    assert (status["state"], status["revision"]) == ("Ready", digest)
    pod = quickstart.kubectl.get("pod", f"{NAME}-0")
    (agent,) = pod["status"]["initContainerStatuses"]
    assert (agent["name"], agent["started"], agent["restartCount"]) == ("agent", True, 0)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    kept = quickstart.kubectl.kubeconfig.parent / "weights"
    uri = quickstart.kubectl.get("workspace", NAME)["metadata"]["annotations"]["kaito.sh/weights"]
    assert Store(kept).finished(contract.weights_folder_name(f"{uri}@{digest}")) is not None


def what_stands(quickstart: UserSession) -> str:
    """For the message of a failure."""
    kubectl = f"{quickstart.summary['kubectl']} --kubeconfig {quickstart.summary['kubeconfig']}"
    questions = (f"get workspace {NAME} -o json", *(f"logs {NAME}-0 -c {one} --tail=40" for one in ("agent", NAME)))
    return "\n".join(quickstart.shell(f"{kubectl} {words}").stdout[-6000:] for words in questions)
