"""hack/cluster's registry answers pods as it answers this machine, and opens with the Secret it comes with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
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
