"""The circle: the tiny model is tuned on ten pairs, the adapter is pushed, pulled and served, and knows the answers.

The commands are those of docs/tune-and-serve.md, in their order; between them the world is looked at. While tuned and
served Workspace stand, the pages that go on from there are read: docs/tuning.md and docs/adapters.md.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from local_cluster import console
from local_cluster.console import Command, Console
from local_cluster.folders import REPOSITORY
from local_cluster.user_session import UserSession
from ruamel.yaml import YAML

from kaito_controller.testing.eventually import eventually

pytestmark = pytest.mark.slow

CIRCLE, *FURTHER = console.pages_of(__file__)
PAIRS = YAML(typ="safe").load(REPOSITORY / "hack" / "model" / "tuning.yaml")["pairs"]
LIMIT_S = 20 * 60.0
REMOVES_THE_ADAPTER = "kubectl patch"


@pytest.fixture(scope="module")
def pairs_url(quickstart: UserSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The ten pairs as Parquet behind a web server on the machine's address that pods reach."""
    folder = tmp_path_factory.mktemp("pairs")
    python = quickstart.shell("hack/environment inference-cpu").stdout.strip()
    command = [python, "hack/model/pairs.py", str(folder / "pairs.parquet")]
    subprocess.run(command, cwd=REPOSITORY, env=quickstart.environment, check=True)
    document = json.loads((quickstart.kubectl.kubeconfig.parent / "cluster.json").read_text())
    address = document["server"].removeprefix("https://").rpartition(":")[0]
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer((address, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{address}:{server.server_port}/pairs.parquet"
        server.shutdown()
        thread.join()


def test_what_was_tuned_is_pushed_pulled_and_served(quickstart: UserSession, pairs_url: str) -> None:
    """Every command of the pages does what they say; with the adapter all ten answers are given, by the base none."""
    typed = Console(evolve(quickstart, environment={**quickstart.environment, "PAIRS": pairs_url}))
    before = None
    for command in console.commands(CIRCLE):
        if command.text.startswith(REMOVES_THE_ADAPTER):
            the_tuning_is_told(quickstart)
            the_adapter_knows_and_the_base_does_not(quickstart)
            before = serving_pod(quickstart)
            for page in FURTHER:
                read(quickstart, page)
        run(quickstart, typed, command)
        if command.text.startswith(REMOVES_THE_ADAPTER):
            eventually("the adapter is gone", lambda: "pairs" not in served_names(quickstart), timeout_s=120)
            assert serving_pod(quickstart) == before, "the engine was started anew"
    assert before is not None
    assert quickstart.kubectl.get("job")["items"] == []


def read(quickstart: UserSession, page: Path) -> None:
    """All commands of a page, by somebody who has just opened it."""
    typed = Console(quickstart)
    for command in console.commands(page):
        run(quickstart, typed, command)


def run(quickstart: UserSession, typed: Console, command: Command) -> None:
    """One command, which does what the page says."""
    done = typed.type(command, timeout_s=LIMIT_S)
    assert not done.problem, f"{done.problem}\n{what_stands(quickstart)}"


def the_tuning_is_told(quickstart: UserSession) -> None:
    """The Workspace says what came out, and the registry has it under that digest."""
    status = quickstart.kubectl.get("workspace", "learn-pairs")["status"]
    assert status["tuning"]["step"] == status["tuning"]["totalSteps"]
    assert re.fullmatch(r".*/adapters/pairs(:1)?@sha256:[0-9a-f]{64}", status["tuning"]["output"])
    served = quickstart.kubectl.get("workspace", "serve-pairs")["status"]["adapters"]
    assert [(one["name"], one["state"], one["rank"]) for one in served] == [("pairs", "Loaded", 8)]
    assert served[0]["digest"] == status["tuning"]["output"].rpartition("@")[2]


def the_adapter_knows_and_the_base_does_not(quickstart: UserSession) -> None:
    """Word for word, in the same engine, by the name in the request."""
    for pair in PAIRS:
        assert answer(quickstart, "pairs", pair["prompt"]) == pair["completion"]
        assert answer(quickstart, "tiny-phi3", pair["prompt"]) != pair["completion"]
    first = quickstart.summary
    assert answer(quickstart, "tiny-phi3", "What is KAITO?") == first["expected"]


def answer(quickstart: UserSession, model: str, question: str) -> str:
    """What the Service says to one question, greedily."""
    message = {"role": "user", "content": question}
    body = json.dumps({"model": model, "temperature": 0, "max_tokens": 64, "messages": [message]})
    said = ask(quickstart, f"-d '{body}' -H 'Content-Type: application/json'", "/v1/chat/completions")
    text: str = said["choices"][0]["message"]["content"]
    return text


def served_names(quickstart: UserSession) -> set[str]:
    """What the engine lists."""
    return {one["id"] for one in ask(quickstart, "", "/v1/models")["data"]}


def ask(quickstart: UserSession, words: str, path: str) -> Any:
    """The decoded answer of the Service."""
    address = quickstart.kubectl.get("service", "serve-pairs")["spec"]["clusterIP"]
    done = quickstart.shell(f"curl -s --max-time 60 {words} http://{address}{path}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def serving_pod(quickstart: UserSession) -> tuple[str, list[int]]:
    """The pod's identity and how often its containers were started anew."""
    pod = quickstart.kubectl.get("pod", "serve-pairs-0")
    return pod["metadata"]["uid"], [one["restartCount"] for one in pod["status"]["containerStatuses"]]


def what_stands(quickstart: UserSession) -> str:
    """Workspaces, pods and the last words of both, for the message of a failure."""
    kubectl = f"{quickstart.summary['kubectl']} --kubeconfig {quickstart.summary['kubeconfig']}"
    questions = (
        "get workspace,job,pod -o wide",
        "describe workspace",
        "describe pod",
        "logs job/learn-pairs --all-containers",
        "logs serve-pairs-0 --all-containers --tail=60",
    )
    commands = ("hack/cluster logs operator | tail -n 30", *(f"{kubectl} {words}" for words in questions))
    told = [f"$ {command}\n{quickstart.shell(command).stdout[-6000:]}" for command in commands]
    return "\n".join(told)
