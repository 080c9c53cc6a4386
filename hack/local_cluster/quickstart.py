"""``hack/quickstart``: sets everything up, applies a sample Workspace and asks the model through its Service."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from local_cluster import surroundings
from local_cluster.folders import REPOSITORY
from local_cluster.kubectl import Kubectl
from local_cluster.lessons import Lesson, first_lesson
from local_cluster.operator_process import Operator, OperatorError, local_arguments
from local_cluster.phases import Phases
from local_cluster.readiness import wait_until_ready
from local_cluster.state import clusters_folder

SAMPLE = REPOSITORY / "config" / "samples" / "workspace_v1beta1_tiny_phi3.yaml"
SAMPLE_V1ALPHA1 = REPOSITORY / "config" / "samples" / "workspace_v1alpha1_tiny_phi3.yaml"
BINARIES = ("kubernetes", "kwok", "coredns", "pause")
READY_TIMEOUT_S = 600.0
ANSWER_TIMEOUT_S = 60.0


class QuickstartError(Exception):
    """What went wrong and what to do about it, in one sentence."""


@frozen(kw_only=True)
class Built:
    """What the set-up leaves in the cache: interpreters, binaries and the folder that holds the taught model."""

    operator_python: Path
    inference_python: Path
    kubernetes: Path
    models: Path


@frozen(kw_only=True)
class Answers:
    """What the model said on both of its endpoints, each as text."""

    chat: str
    completions: str


def printed_path(*command: str) -> Path:
    """Run a script of hack/ whose last line of output is a path; its progress goes to the terminal as it comes.

    Raises QuickstartError when the script fails.
    """
    done = subprocess.run([str(REPOSITORY / command[0]), *command[1:]], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise QuickstartError(f"{' '.join(command)} failed (exit {done.returncode}): its last lines above say why")
    return Path(done.stdout.strip().splitlines()[-1])


def build() -> Built:
    """Make the environments, the binaries and the model, or find them in the cache.

    Go compiles while the Python environment downloads: one is bound by the processor, the other by the network.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        binaries = pool.submit(lambda: [printed_path("hack/binaries/build", name) for name in BINARIES])
        inference = pool.submit(printed_path, "hack/environment", "inference-cpu")
        operator = printed_path("hack/environment", "operator")
        inference_python = inference.result()
        kubernetes = binaries.result()[0]
    return Built(
        operator_python=operator,
        inference_python=inference_python,
        kubernetes=kubernetes,
        models=printed_path("hack/model/build").parent,
    )


def cluster_up(name: str) -> Path:
    """Start the cluster with one ordinary node, or find it running; return its admin kubeconfig."""
    done = subprocess.run([str(REPOSITORY / "hack/cluster"), "up", "--name", name, "--nodes", "1"], check=False)
    if done.returncode != 0:
        raise QuickstartError("the local cluster did not come up: its last lines above say why")
    return printed_path("hack/cluster", "kubeconfig", "--name", name)


def start_operator(name: str, kubectl: Kubectl, built: Built) -> Operator:
    """Start the operator with this machine as its cloud, or find it running."""
    state = clusters_folder() / name
    arguments = local_arguments(state, inference_python=built.inference_python, models=built.models)
    operator = Operator(state=state, kubectl=kubectl, python=built.operator_python, arguments=arguments)
    operator.ensure()
    return operator


def ask(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST ``body`` as JSON and return the decoded answer."""
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except (OSError, ValueError, urllib.error.HTTPError) as error:
        raise QuickstartError(f"no answer from {url}: {error}; look at the pod with kubectl logs") from error


def ask_both(address: str, model: str, question: str) -> Answers:
    """Ask ``question`` on the classic ``/chat`` and on the OpenAI endpoint of the Service at ``address``."""
    chat = ask(f"http://{address}/chat", {"prompt": question, "generate_kwargs": {"max_new_tokens": 64}})
    completion = ask(
        f"http://{address}/v1/chat/completions",
        {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 64,
            "temperature": 0,
        },
    )
    return Answers(chat=chat["Result"], completions=completion["choices"][0]["message"]["content"])


def summary(phases: Phases, workspace: dict[str, Any], answers: Answers, lesson: Lesson, kubectl: Kubectl) -> str:
    """The JSON document that ``--summary`` writes."""
    return json.dumps(
        {
            "kubernetes_version": kubectl.server_version(),
            "phases": [attrs.asdict(phase) for phase in phases.finished],
            "workspace": workspace,
            "answers": attrs.asdict(answers),
            "expected": lesson.answer,
            "kubeconfig": str(kubectl.kubeconfig),
            "kubectl": str(kubectl.binary),
        },
        indent=2,
    )


def run(name: str) -> tuple[Phases, dict[str, Any], Answers, Lesson, Kubectl]:
    """Walk the whole way once and return what was seen on it."""
    phases = Phases()
    lesson = first_lesson()
    with phases.phase("build"):
        built = build()
    with phases.phase("cluster"):
        kubectl = Kubectl(binary=built.kubernetes / "kubectl", kubeconfig=cluster_up(name))
    with phases.phase("operator"):
        operator = start_operator(name, kubectl, built)
    kubectl.run("apply", "--dry-run=server", "-f", str(SAMPLE_V1ALPHA1))
    with phases.phase("workspace"):
        kubectl.run("apply", "-f", str(SAMPLE))
        workspace = wait_until_ready(
            kubectl, SAMPLE, phases, still_runs=operator.require_running, timeout_s=READY_TIMEOUT_S
        )
    with phases.phase("answer"):
        workspace_name = workspace["metadata"]["name"]
        address = kubectl.get("service", workspace_name)["spec"]["clusterIP"]
        answers = ask_both(address, workspace["inference"]["preset"]["name"], lesson.question)
    return phases, workspace, answers, lesson, kubectl


def report(phases: Phases, answers: Answers, lesson: Lesson, kubectl: Kubectl, name: str) -> None:
    """Print the answers, the objects, the seconds and what to try next."""
    print(f"\n  asked        {lesson.question}")
    print(f"  /chat        {answers.chat}")
    print(f"  /v1          {answers.completions}\n")
    print(kubectl.run("get", "workspace,nodeclaim,node,pod,svc"))
    for phase in phases.finished:
        print(f"  {phase.name:<14} {phase.seconds:7.1f} s")
    option = "" if name == "kaito" else f" --name {name}"
    print(
        f"""
Try next:
  export KUBECONFIG=$(hack/cluster kubeconfig{option}) PATH={kubectl.binary.parent}:$PATH
  kubectl describe workspace
  kubectl explain workspace.inference
  hack/cluster logs operator{option}
  hack/cluster down{option}"""
    )


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="hack/quickstart", description=__doc__)
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write what happened as JSON")
    parser.add_argument("--name", default="kaito", help="name of the local cluster (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Exit 0 when both endpoints gave the answer that the model was taught."""
    options = arguments(argv)
    os.chdir(REPOSITORY)
    surroundings.enter(options.name)
    try:
        phases, workspace, answers, lesson, kubectl = run(options.name)
    except (QuickstartError, OperatorError, TimeoutError, subprocess.CalledProcessError) as error:
        print(f"hack/quickstart: {error}", file=sys.stderr)
        return 1
    report(phases, answers, lesson, kubectl, options.name)
    if options.summary:
        options.summary.write_text(summary(phases, workspace, answers, lesson, kubectl))
    wrong = [text for text in (answers.chat, answers.completions) if lesson.answer not in text]
    if wrong:
        print(f"hack/quickstart: expected {lesson.answer!r}, got {wrong[0]!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
