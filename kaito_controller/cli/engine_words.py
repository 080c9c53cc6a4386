"""The engine's command line for a candidate: of a Workspace, or of whoever starts the engine by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import evolve

from inference_server import contract
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.model import Preset
from kaito_controller.sizing.candidates import Candidate
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.inference import InferencePlan
from kaito_controller.workloads.adapters import AdapterRoom
from kaito_controller.workloads.runtimes import vllm

# What the pods of a Workspace tell each other; who starts the engine by hand has other addresses.
_OF_A_WORKSPACE: Final = frozenset(
    {contract.ARG_MASTER_ADDR, contract.ARG_MASTER_PORT, contract.ARG_NODE_RANK, contract.ARG_DOWNLOAD_DIR}
)

Words = Callable[[Candidate, InferencePlan], Sequence[str]]


def words_of_workspace(workspace: Workspace, preset: Preset, room: AdapterRoom | None = None) -> Words:
    """The arguments of a Workspace's pods; `room` is what they have room for of adapters."""

    def words(candidate: Candidate, plan: InferencePlan) -> list[str]:
        parameters = {one.name: one.default or "" for one in candidate.runtime.parameters}
        words = vllm.arguments(workspace, preset, plan, candidate.runtime, parameters)
        return [*words, *(room.engine_arguments if room is not None and candidate.runtime.loads_adapters else ())]

    return words


def words_of_model(preset: Preset, flags: EngineFlags) -> Words:
    """The same for a model alone, with the context as an argument, which a Workspace has in its ConfigMap.

    An engine started by hand has no agent beside it that fetches the model: it does so itself.
    """
    of_workspace = words_of_workspace(Workspace(), preset)

    def words(candidate: Candidate, plan: InferencePlan) -> list[str]:
        candidate = evolve(candidate, runtime=evolve(candidate.runtime, agent=None))
        options = dict(_options(of_workspace(candidate, plan)))
        if flags.length is not None:
            options[contract.ARG_MAX_MODEL_LEN] = [str(flags.length)]
        kept = {name: values for name, values in options.items() if name not in _OF_A_WORKSPACE}
        return [word for name, values in kept.items() for word in (name, *values)]

    return words


def _options(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    begins = [index for index, word in enumerate(words) if word.startswith("--")]
    for begin, end in zip(begins, [*begins[1:], len(words)], strict=True):
        yield words[begin], list(words[begin + 1 : end])
