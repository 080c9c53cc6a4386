"""The model answers through the Service that the operator made."""

from __future__ import annotations

import io
import json

import pytest
from local_cluster.phases import Phases
from local_cluster.quickstart import READY_TIMEOUT_S, SAMPLE_V1ALPHA1, Answers, ask_both
from local_cluster.readiness import wait_until_ready
from local_cluster.user_session import UserSession

pytestmark = pytest.mark.slow


def test_both_endpoints_give_the_taught_answer(quickstart: UserSession) -> None:
    """`/chat` and `/v1/chat/completions`, asked through the ClusterIP, say what the model was taught."""
    expected = quickstart.summary["expected"]
    assert quickstart.summary["answers"] == {"chat": expected, "completions": expected}


def test_the_summary_tells_the_whole_way(quickstart: UserSession) -> None:
    """The summary names the real server, the phases with their seconds, and a Workspace that is Ready."""
    summary = quickstart.summary
    assert summary["kubernetes_version"] == "v1.37.2"
    assert [phase["name"] for phase in summary["phases"]] == ["build", "cluster", "operator", "workspace", "answer"]
    assert summary["workspace"]["status"]["state"] == "Ready"


def test_another_pod_reaches_the_service_by_its_dns_name(quickstart: UserSession) -> None:
    """Cluster DNS resolves the Service and the pod's headless name from inside the serving pod."""
    names = (
        "workspace-tiny-phi3",
        "workspace-tiny-phi3.default.svc.cluster.local",
        "workspace-tiny-phi3-0.workspace-tiny-phi3-headless.default.svc.cluster.local:5000",
    )
    probe = f"import urllib.request as u; [print(u.urlopen(f'http://{{name}}/health').status) for name in {names!r}]"
    answered = quickstart.kubectl.run("exec", "workspace-tiny-phi3-0", "--", "/usr/bin/python3", "-c", probe)
    assert answered.split() == ["200"] * len(names)


def test_a_second_run_reuses_everything(quickstart: UserSession) -> None:
    """Run again, the quick start finds cluster, operator, node and model, and makes nothing anew."""
    before = quickstart.kubectl.get("nodeclaim")["items"]
    again = quickstart.shell("hack/quickstart", timeout_s=240)
    assert again.returncode == 0, again.stdout + again.stderr
    after = quickstart.kubectl.get("nodeclaim")["items"]
    assert [claim["metadata"]["uid"] for claim in after] == [claim["metadata"]["uid"] for claim in before]


def test_the_form_of_the_tutorials_is_served_too(quickstart: UserSession) -> None:
    """A v1alpha1 Workspace gets a node and an engine of its own, answers, and gives both back when it is deleted."""
    kubectl = quickstart.kubectl
    kubectl.run("apply", "-f", str(SAMPLE_V1ALPHA1))
    workspace = wait_until_ready(
        kubectl, SAMPLE_V1ALPHA1, Phases(stream=io.StringIO()), still_runs=lambda: None, timeout_s=READY_TIMEOUT_S
    )
    name = workspace["metadata"]["name"]
    address = kubectl.get("service", name)["spec"]["clusterIP"]
    expected = quickstart.summary["expected"]
    assert ask_both(address, "tiny-phi3", "What is KAITO?") == Answers(chat=expected, completions=expected)
    assert len(kubectl.get("nodeclaim")["items"]) == 2
    kubectl.run("delete", "-f", str(SAMPLE_V1ALPHA1))
    assert len(kubectl.get("nodeclaim")["items"]) == 1


def test_chat_refuses_what_it_does_not_understand(quickstart: UserSession) -> None:
    """A request without a prompt is refused with the field named, and the engine lives on."""
    address = quickstart.kubectl.get("service", "workspace-tiny-phi3")["spec"]["clusterIP"]
    refused = quickstart.shell(
        f"curl -s -w '\\n%{{http_code}}' http://{address}/chat -H 'Content-Type: application/json' -d '{{}}'"
    )
    body, code = refused.stdout.rsplit("\n", 1)
    assert code in {"400", "422"}
    assert "prompt" in body
    assert json.loads(quickstart.shell(f"curl -s http://{address}/v1/models").stdout)["data"][0]["id"] == "tiny-phi3"
