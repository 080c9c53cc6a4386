"""The controller of docs/machinery.md, as a reader would copy it, against a real API server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaito_controller.kube.metadata import Object
from kaito_controller.testing.apiserver import REPOSITORY, APIServer
from kaito_controller.testing.eventually import eventually

GUIDE = REPOSITORY / "docs" / "machinery.md"
LONGEST = 30
"""Lines of code, imports apart: what the heading promises."""


def example() -> str:
    """The guide's one Python program."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    return str(program)


@pytest.fixture
def mirror(apiserver: APIServer, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program, running."""
    script = tmp_path / "mirror.py"
    script.write_text(example())
    environment = {**os.environ, "KUBECONFIG": str(apiserver.kubeconfig), "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, str(script)], env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def copy_of(server: APIServer, namespace: str) -> Object | None:
    """The copy of the ConfigMap `a`, if there is one."""
    found = server.get("configmaps", f"--namespace={namespace}", "--selector=copy=true")["items"]
    return next(iter(found), None)


def test_the_guide_s_controller_does_what_the_guide_says(
    apiserver: APIServer, namespace: str, mirror: subprocess.Popen[bytes]
) -> None:
    """Given a marked ConfigMap, when its copy is edited and deleted, then it comes back; SIGTERM ends it with 0."""
    head = {"name": "a", "namespace": namespace, "labels": {"mirror": "true"}}
    apiserver.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": {"text": "one"}})

    def copied() -> bool:
        copy = copy_of(apiserver, namespace)
        return copy is not None and copy["data"] == {"text": "one"}

    eventually("there is a copy", copied)
    copy = copy_of(apiserver, namespace)
    assert copy is not None
    assert copy["metadata"]["name"] == "a-copy"
    assert copy["metadata"]["ownerReferences"][0]["name"] == "a"

    apiserver.kubectl("patch", "configmap", "a-copy", f"--namespace={namespace}", "--patch", '{"data":{"text":"two"}}')
    eventually("the edit is undone", copied)
    apiserver.kubectl("delete", "configmap", "a-copy", f"--namespace={namespace}")
    eventually("the copy is back", copied)

    mirror.send_signal(signal.SIGTERM)
    assert mirror.wait(timeout=30) == 0


def test_the_guide_s_controller_is_as_short_as_it_says() -> None:
    """Thirty lines are promised: those that are neither blank nor an import."""
    lines = [line for line in example().splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(lines) <= LONGEST
