"""Weights from a registry on real nodes: an agent before the engine, a pull Secret, a folder that outlives the pod."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_cluster.folders import REPOSITORY
from local_cluster.user_session import UserSession

from inference_server import contract
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
from inference_server.weights.store import Store
from kaito_controller.testing.eventually import eventually

pytestmark = pytest.mark.slow

NAME = "tiny-from-registry"
LIMIT_S = 15 * 60.0


def workspace(uri: str) -> dict[str, Any]:
    preset = {"name": "tiny-phi3", "presetOptions": {"imagePullSecrets": ["registry"]}}
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": NAME, "annotations": {"kaito.sh/weights": uri}},
        "resource": {"instanceType": "Standard_NC6s_v3", "labelSelector": {"matchLabels": {"apps": NAME}}},
        "inference": {"preset": preset},
    }


@pytest.fixture
def pushed(quickstart: UserSession) -> Iterator[tuple[str, str]]:
    """The taught model as an image in the cluster's registry: its URI and digest; the registry's Secret is in place."""
    address = quickstart.shell("hack/cluster registry").stdout.strip().splitlines()[-1]
    told = json.loads((quickstart.kubectl.kubeconfig.parent / "cluster.json").read_text())["registry"]
    model = Path(
        subprocess.run(
            ["hack/model/build"],
            cwd=REPOSITORY,
            env=quickstart.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()
    )
    names = sorted(path.name for path in model.iterdir())
    credentials = Credentials.of_folders([Path(told["mounted_secret"])])
    digest = image.push(model, names, f"{address}/models/tiny:1", credentials=credentials, annotations={})
    quickstart.kubectl.run("apply", "-f", told["secret"])
    yield f"oci://{address}/models/tiny:1", digest
    quickstart.kubectl.run("delete", "workspace", NAME, "--ignore-not-found", "--timeout=120s")
    quickstart.kubectl.run("delete", "secret", "registry", "--ignore-not-found")


def test_a_model_is_served_from_a_private_registry(
    quickstart: UserSession, pushed: tuple[str, str], tmp_path: Path
) -> None:
    """The engine, offline and without the Secret, answers what the model was taught."""
    uri, digest = pushed
    manifest = tmp_path / "workspace.json"
    manifest.write_text(json.dumps(workspace(uri)))
    quickstart.kubectl.run("apply", "-f", str(manifest))

    def serves() -> bool:
        found = quickstart.kubectl.get("workspace", NAME).get("status") or {}
        return any(one["type"] == "InferenceReady" and one["status"] == "True" for one in found.get("conditions", ()))

    try:
        eventually("the model is served", serves, timeout_s=LIMIT_S)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{what_stands(quickstart)}") from error
    status = quickstart.kubectl.get("workspace", NAME)["status"]
    assert (status["weights"]["state"], status["weights"]["revision"]) == ("Ready", digest)
    pod = quickstart.kubectl.get("pod", f"{NAME}-0")
    (agent,) = pod["status"]["initContainerStatuses"]
    assert (agent["name"], agent["started"], agent["restartCount"]) == ("agent", True, 0)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert answer(quickstart) == quickstart.summary["expected"]
    # The folder is the machine's, sealed, for the next pod to take.
    kept = quickstart.kubectl.kubeconfig.parent / "weights"
    assert Store(kept).finished(contract.weights_folder_name(f"{uri}@{digest}")) is not None


def answer(quickstart: UserSession) -> str:
    address = quickstart.kubectl.get("service", NAME)["spec"]["clusterIP"]
    message = {"role": "user", "content": "What is KAITO?"}
    body = json.dumps({"model": "tiny-phi3", "temperature": 0, "max_tokens": 64, "messages": [message]})
    command = f"curl -sS http://{address}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"
    said = json.loads(quickstart.shell(command).stdout)
    text: str = said["choices"][0]["message"]["content"]
    return text


def what_stands(quickstart: UserSession) -> str:
    """For the message of a failure."""
    logs = [quickstart.shell(f"kubectl logs {NAME}-0 -c {container} --tail=40").stdout for container in ("agent", NAME)]
    return "\n".join([json.dumps(quickstart.kubectl.get("workspace", NAME).get("status"))[:4000], *logs])
