"""hack/cluster's registry answers pods as it answers this machine, and opens with the Secret it comes with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from local_cluster.image_push import push

from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.real_cluster import RealCluster, hack_cluster

ASK = """
import json, ssl, sys, urllib.request
folder, reference = sys.argv[1:]
(host, entry), = json.load(open(f"{folder}/.dockerconfigjson"))["auths"].items()
url = f"https://{host}/v2/{reference}"
wanted = {"Authorization": f"Basic {entry['auth']}", "Accept": "application/vnd.oci.image.manifest.v1+json"}
context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
with urllib.request.urlopen(urllib.request.Request(url, headers=wanted), context=context, timeout=20) as answer:
    print(answer.headers["Docker-Content-Digest"])
"""
MOUNTS = {"/usr": ("usr", None), "/lib": ("usr", "lib"), "/bin": ("usr", "bin"), "/lib64": ("lib64", None)}


def asking(reference: str) -> dict[str, Any]:
    """A pod out of this machine's own programs that asks for a manifest."""
    mounts = [
        {"name": volume, "mountPath": path, "readOnly": True, **({"subPath": part} if part else {})}
        for path, (volume, part) in MOUNTS.items()
    ]
    container = {
        "name": "ask",
        "image": "kaito.local/pause:1",
        "imagePullPolicy": "Never",
        "command": ["/usr/bin/python3", "-c", ASK, "/mnt/secret", reference],
        "volumeMounts": [*mounts, {"name": "secret", "mountPath": "/mnt/secret"}],
    }
    volumes = [
        {"name": "usr", "hostPath": {"path": "/usr"}},
        {"name": "lib64", "hostPath": {"path": "/lib64"}},
        {"name": "secret", "secret": {"secretName": "registry"}},
    ]
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ask"}, "spec": spec}


def pulling(name: str, image: str, secrets: list[dict[str, str]]) -> dict[str, Any]:
    """A pod on the second node, which nothing was pushed from."""
    container = {"name": "pause", "image": image, "imagePullPolicy": "Always"}
    node = {"kubernetes.io/hostname": "base-2"}
    spec = {"containers": [container], "imagePullSecrets": secrets, "nodeSelector": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def waits_for(cluster: RealCluster, pod: str) -> str:
    """Why its container waits."""
    statuses = cluster.get("pod", pod).get("status", {}).get("containerStatuses", [])
    return "".join(status["state"].get("waiting", {}).get("reason", "") for status in statuses)


def test_a_pod_finds_in_the_registry_what_this_machine_pushed(cluster: RealCluster, tmp_path: Path) -> None:
    state = cluster.folder.parents[1]
    address = hack_cluster(state, "registry", "--name", cluster.folder.name).strip()
    told = json.loads(cluster.document.read_text())["registry"]
    assert told["address"] == address
    # Asked again, it is the one that runs.
    assert hack_cluster(state, "registry", "--name", cluster.folder.name).strip() == address
    (tmp_path / "adapter_config.json").write_text("{}")
    digest = image.push(
        tmp_path,
        ["adapter_config.json"],
        f"{address}/adapters/a:1",
        credentials=Credentials.of_folders([Path(told["mounted_secret"])]),
        annotations={},
    )
    cluster.kubectl("apply", f"--filename={told['secret']}")
    cluster.apply(asking("adapters/a/manifests/1"))
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/ask", "--timeout=120s")
    assert cluster.kubectl("logs", "pod/ask").strip() == digest
    cluster.kubectl("delete", "pod/ask", "secret/registry", "--now")


def test_a_node_pulls_an_image_from_the_registry_with_the_secret_alone(cluster: RealCluster) -> None:
    """Nodes that ran before the registry did trust its certificate; whom it lets in, the pod's Secret says."""
    state = cluster.folder.parents[1]
    hack_cluster(state, "registry", "--name", cluster.folder.name)
    told = json.loads(cluster.document.read_text())["registry"]
    image = push(cluster.local, cluster.folder / "images" / "pause-1.tar")
    cluster.kubectl("apply", f"--filename={told['secret']}")
    cluster.apply(pulling("stranger", image, []), pulling("guest", image, [{"name": "registry"}]))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/guest", "--timeout=120s")
    (status,) = cluster.get("pod", "guest")["status"]["containerStatuses"]
    assert status["imageID"].startswith(f"{told['address']}/pause@sha256:")
    eventually("the stranger is not let in", lambda: "ImagePull" in waits_for(cluster, "stranger"), timeout_s=60)
    cluster.kubectl("delete", "pod/stranger", "pod/guest", "secret/registry", "--now")
