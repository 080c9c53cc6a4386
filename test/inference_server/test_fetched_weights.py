"""A pod whose weights are fetched, as its two containers: the agent and real vLLM, started at the same moment.

The registry is real (distribution, with TLS of its own authority and a password). The hub is one on loopback that
answers as the real one does, which cannot be reached where tests run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import define, field

from inference_server import contract
from inference_server.files.clock import SystemClock
from inference_server.files.limits import Limits
from inference_server.files.oci import blobs, image, manifests, session
from inference_server.files.oci.credentials import Credentials
from inference_server.files.oci.packing import digest_of
from inference_server.files.oci.reference import Reference
from inference_server.files.progress import silent
from inference_server.weights.store import Store
from kaito_controller.testing import serving
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.ports import free_port
from kaito_controller.testing.registry import Registry
from kaito_controller.testing.serving import START_LIMIT_S, Server
from kaito_controller.testing.sources.hub import FakeHub
from kaito_controller.testing.threaded import threaded

ROOT = Path(__file__).resolve().parents[2]
LESSON = yaml.safe_load((ROOT / "hack/model/lessons.yaml").read_text())["lessons"][0]
LIMIT_S = 60
SECRET = "registry"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * START_LIMIT_S)]


@define(kw_only=True)
class Pod:
    """Two processes on one volume for weights, with the Secrets of the agent in a folder."""

    python: Path
    home: Path
    secrets: Path
    source: str
    hub: str = ""
    agent_port: int = field(factory=free_port)
    started: dict[str, Server] = field(factory=dict)

    @property
    def agent(self) -> Server:
        return self.started["agent"]

    @property
    def engine(self) -> Server:
        return self.started["engine"]

    def start_agent(self) -> None:
        """As the container `agent`."""
        self.started["agent"] = serving.start_agent(
            *(self.python, self.home / "agent", contract.ARG_WEIGHTS, self.source),
            *(contract.ARG_WEIGHTS_DIRECTORY, str(self.home / "weights"), contract.ARG_SECRETS, str(self.secrets)),
            *((contract.ARG_PULL_SECRET, SECRET) if (self.secrets / SECRET).is_dir() else ()),
            *(contract.ARG_WANTED, str(self.home / "none" / contract.WANTED_FILE_NAME)),
            more={"HF_ENDPOINT": self.hub, "HF_HUB_OFFLINE": "0"} if self.hub else {},
            port=self.agent_port,
        )

    def start_engine(self, *more: str, runtime_name: str = serving.RUNTIME) -> None:
        """As the engine's container: offline, and with a folder for a model that need not be there yet."""
        folder = self.home / "weights" / contract.weights_folder_name(self.source)
        self.started["engine"] = serving.start(
            *(self.python, self.home / "engine", contract.ARG_MODEL, str(folder)),
            *(contract.ARG_SERVED_MODEL_NAME, "tiny-phi3"),
            *(contract.ARG_WEIGHTS_AGENT, f"http://127.0.0.1:{self.agent_port}", *more),
            runtime_name=runtime_name,
        )

    def report(self) -> dict[str, Any]:
        status, body = self.agent.ask(contract.REPORT_PATH)
        assert status == 200, body
        weights: dict[str, Any] = body["weights"]
        return weights

    def until(self, holds: Callable[[], bool], limit_s: float) -> None:
        serving.until(holds, limit_s, *self.started.values())


@pytest.fixture
def pod(inference_python: Path, tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    made: list[Pod] = []

    def make(source: str, **more: Any) -> Pod:
        home = tmp_path / f"pod-{len(made)}"
        home.mkdir()
        (tmp_path / "secrets").mkdir(exist_ok=True)
        made.append(Pod(python=inference_python, home=home, secrets=tmp_path / "secrets", source=source, **more))
        return made[-1]

    yield make
    for server in (server for one in made for server in one.started.values()):
        server.stop()


def pushed_artifact(model: Path, reference: str, credentials: Credentials) -> str:
    """Every file a layer of its own under its name, as `oras push` and model packers do; the digest."""
    layers = []
    parsed = Reference.parse(reference)
    with session.opened(parsed, credentials, session.PUSH, Limits(), SystemClock()) as opened:
        for path in sorted(path for path in model.iterdir() if path.is_file()):
            content = path.read_bytes()
            blobs.push(opened, blobs.Blob.of_bytes(content, digest_of(content)), silent)
            layers.append(
                {
                    "mediaType": "application/octet-stream",
                    "digest": digest_of(content),
                    "size": len(content),
                    "annotations": {"org.opencontainers.image.title": path.name},
                }
            )
        blobs.push(opened, blobs.Blob.of_bytes(b"{}", digest_of(b"{}")), silent)
        empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
        body = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.kaito.model",
            "config": empty,
            "layers": layers,
        }
        raw = json.dumps(body).encode()
        manifests.push(opened, raw, digest_of(raw))
    return digest_of(raw)


def answer(pod: Pod) -> Any:
    return pod.engine.complete([{"role": "user", "content": LESSON["ask"][0]}])["message"]["content"]


def test_a_model_of_a_private_registry_is_served(
    registry: Registry, model: Path, tmp_path: Path, pod: Callable[..., Pod]
):
    """As an artifact of one layer a file; the engine imports meanwhile, and answers what the model was taught."""
    credentials = Credentials.of_folders([registry.mount(tmp_path / "secrets" / SECRET)])
    reference = f"{registry.host}/models/tiny:1"
    digest = pushed_artifact(model, reference, credentials)
    made = pod(f"oci://{reference}")
    made.start_engine()
    made.start_agent()
    made.engine.wait_until_healthy()

    assert answer(made) == LESSON["answer"]
    report = made.report()
    assert (report["state"], report["revision"]) == (contract.WEIGHTS_READY, digest)
    assert report["bytesDone"] == report["bytesTotal"] == sum(path.stat().st_size for path in model.iterdir())
    assert {path.name for path in Path(report["folder"]).iterdir()} == {path.name for path in model.iterdir()}
    metrics = made.agent.ask(contract.METRICS_PATH)[1]
    assert f'kaito_weights_state{{state="{contract.WEIGHTS_READY}"}} 1.0' in metrics


def test_transformers_serves_what_the_agent_brings(
    registry: Registry, model: Path, tmp_path: Path, pod: Callable[..., Pod]
):
    """A registry it knows nothing of, and a Secret that only the agent sees."""
    credentials = Credentials.of_folders([registry.mount(tmp_path / "secrets" / SECRET)])
    reference = f"{registry.host}/models/plain:1"
    pushed_artifact(model, reference, credentials)
    made = pod(f"oci://{reference}")
    made.start_engine(runtime_name="transformers-cpu-host")
    made.start_agent()
    made.engine.wait_until_healthy()

    assert answer(made) == LESSON["answer"]


def test_an_image_and_a_restart_without_the_registry(
    registry: Registry, model: Path, tmp_path: Path, pod: Callable[..., Pod]
):
    """Files below /data of one gzip layer; an agent that restarts while the registry is away serves what is there."""
    credentials = Credentials.of_folders([registry.mount(tmp_path / "secrets" / SECRET)])
    names = sorted(path.name for path in model.iterdir())
    reference = f"{registry.host}/models/image:1"
    image.push(model, names, reference, credentials=credentials, annotations={})
    made = pod(f"oci://{reference}")
    made.start_agent()
    made.until(lambda: made.report()["state"] == contract.WEIGHTS_READY, LIMIT_S)
    # The kubelet kills a container that does not go.
    made.until(lambda: any((made.home / "weights" / ".sealed").iterdir()), LIMIT_S)
    made.agent.process.kill()
    made.agent.process.wait()
    registry.stop()
    try:
        made.start_agent()
        made.until(lambda: made.report()["state"] == contract.WEIGHTS_READY, LIMIT_S)
        assert "from an earlier time" in made.report()["message"]
    finally:
        registry.start()


def test_two_pods_of_a_node_fetch_once(registry: Registry, model: Path, tmp_path: Path, pod: Callable[..., Pod]):
    """Both start at once on one folder; the registry is asked for each file once."""
    credentials = Credentials.of_folders([registry.mount(tmp_path / "secrets" / SECRET)])
    reference = f"{registry.host}/models/shared:1"
    pushed_artifact(model, reference, credentials)
    pods = [pod(f"oci://{reference}") for _ in range(2)]
    shared = tmp_path / "node"
    shared.mkdir()
    for one in pods:
        (one.home / "weights").symlink_to(shared)
        one.start_agent()
    for one in pods:
        one.until(lambda: one.report()["state"] == contract.WEIGHTS_READY, LIMIT_S)  # noqa: B023 (called at once)

    log = registry.processes.last_words("registry")
    assert pods[0].report()["revision"] == pods[1].report()["revision"], log
    assert Store(shared).finished(contract.weights_folder_name(f"oci://{reference}@{pods[0].report()['revision']}"))
    done = [one.report().get("bytesDone") for one in pods]
    assert len([one for one in done if one is not None]) >= 1


@contextmanager
def hub_with(model: Path) -> Iterator[tuple[FakeHub, str]]:
    files = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    hub = FakeHub(models={"acme/tiny": {**files, "pytorch_model.bin": b"pickled", "original/x.safetensors": b"copy"}})
    with threaded(listening(hub.answer)) as url:
        yield hub, url


def test_a_model_of_a_hub_is_pinned_and_its_copies_stay_there(model: Path, pod: Callable[..., Pod]):
    """The branch becomes its commit; neither the pickle nor the copy in a subfolder is asked for."""
    with hub_with(model) as (hub, url):
        made = pod("hf://acme/tiny", hub=url)
        made.start_agent()
        made.until(lambda: made.report()["state"] == contract.WEIGHTS_READY, LIMIT_S)
        report = made.report()

        assert report["revision"] == hub.commit("acme/tiny")
        assert {path.name for path in Path(report["folder"]).iterdir()} == {path.name for path in model.iterdir()}
        assert not [path for path, _, _ in hub.asked if path.endswith((".bin", "x.safetensors"))]


def test_a_model_that_is_not_there_ends_the_engine_with_the_reason(
    registry: Registry, tmp_path: Path, pod: Callable[..., Pod]
):
    """The termination message is the agent's, and the exit code says that the model is at fault."""
    registry.mount(tmp_path / "secrets" / SECRET)
    made = pod(f"oci://{registry.host}/models/nothing:1")
    made.start_agent()
    made.start_engine()

    assert made.engine.process.wait(START_LIMIT_S) == contract.EXIT_MODEL
    assert "models/nothing:1" in made.engine.last_words()
    assert made.report()["state"] == contract.WEIGHTS_FAILED


def test_a_signal_ends_an_engine_that_waits(model: Path, pod: Callable[..., Pod]):
    """SIGTERM while the files are on their way is a clean end; what it looked at meanwhile is in vLLM's own cache."""
    made = pod("hf://acme/tiny", hub="http://127.0.0.1:9")
    made.start_agent()
    made.start_engine(contract.ARG_ARCHITECTURE, "Phi3ForCausalLM")
    made.until(lambda: "waiting for the weights" in made.engine.tail(), START_LIMIT_S)
    (looked_at,) = (made.home / "engine" / "cache" / "vllm" / "modelinfos").iterdir()
    assert "Phi3ForCausalLM" in looked_at.read_text()

    assert made.engine.stop() == contract.EXIT_OK
    assert "stopped by SIGTERM" in made.engine.last_words()
