"""docs/reference/plans.md: what the plan says of every preset on every instance type."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kaito_controller.catalog import loader
from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.loader import Catalog
from kaito_controller.catalog.model import EngineDevice, EngineName, Preset
from kaito_controller.sizing.candidates import MOST_NODES, Candidate, candidates
from kaito_controller.sizing.inference import InferencePlan
from kaito_controller.sizing.memory import GIB
from kaito_controller.sizing.misfit import DoesNotFit, Misfit

PAGE = "docs/reference/plans.md"
FIRST = "vllm-cuda"

_HEAD = f"""# Plans

<!-- Made by hack/codegen/generate from the catalogue; change that or the plan, then run it again. -->

What `kubectl kaito plan` says of each model of the catalogue on each instance type, where nobody asks for a context:
how many nodes (at most {MOST_NODES}), how the model is cut, and the longest context that fits, as the engine finds it.
"2 x TP4" are two nodes, each of which cuts its layers over four GPUs; "DP8" are eight copies. How these numbers come
about is told in [sizing.md](../sizing.md). V100 GPUs take the runtime vllm-cuda-v100, all others vllm-cuda.

## Machines

The answer depends on the GPUs of a machine, so instance types with the same ones stand together.
"""


def files() -> dict[str, str]:
    """The generated page."""
    return {PAGE: page(loader.load())}


def page(catalog: Catalog) -> str:
    """The page's text."""
    machines = machines_of(catalog.skus)
    vllm = (one for one in catalog.runtimes if one.engine is EngineName.VLLM)
    runtimes = [one for one in vllm if one.accelerator.device is EngineDevice.CUDA]
    runtimes.sort(key=lambda one: (one.name != FIRST, one.name))
    answers = {
        preset.name: {one.sku.name: one for one in candidates(preset, catalog.skus, runtimes)}
        for preset in catalog.presets
    }
    never = _never(machines, answers)
    lines = [_HEAD, "| Machine | Instance types |", "|---|---|"]
    lines += [f"| {name} | {', '.join(sku.name for sku in skus)} |" for name, skus in machines.items()]
    lines += ["", f"No model runs on these: {runtimes[0].name} is for {runtimes[0].accelerator.resource} alone.", ""]
    lines += [
        f"- {name}: {', '.join(sku.name for sku in machines[name])} ({resource})" for name, resource in never.items()
    ]
    lines += ["", "## Models", ""]
    rest = {name: skus for name, skus in machines.items() if name not in never}
    for preset in sorted(catalog.presets, key=lambda one: (one.family, one.name)):
        lines += [*_section(preset, rest, answers[preset.name]), ""]
    return "\n".join(lines)


def machines_of(skus: Iterable[SKU]) -> dict[str, list[SKU]]:
    """The instance types with the same GPUs, by a name for them."""
    found: dict[str, list[SKU]] = {}
    for sku in sorted(skus, key=lambda one: (one.gpu.vendor, one.gpu.name, one.gpu_count, one.name)):
        own = f" ({sku.own_memory_bytes / GIB:g}Gi of it)" if sku.own_memory_bytes is not None else ""
        found.setdefault(f"{sku.gpu_count} x {sku.gpu.name}{own}", []).append(sku)
    return found


def _never(machines: Mapping[str, Sequence[SKU]], answers: Mapping[str, Mapping[str, Candidate]]) -> dict[str, str]:
    """The machines that are refused whatever the model, and what is in them."""
    found = {}
    for name, skus in machines.items():
        outcomes = [by_type[sku.name].outcome for by_type in answers.values() for sku in skus]
        if all(isinstance(one, DoesNotFit) and one.reason is Misfit.ACCELERATOR for one in outcomes):
            found[name] = f"{skus[0].gpu_model}, {skus[0].resource}"
    return found


def _section(preset: Preset, machines: Mapping[str, Sequence[SKU]], by_type: Mapping[str, Candidate]) -> Iterator[str]:
    fitting: dict[tuple[str, str], list[str]] = {}
    refused: dict[str, list[str]] = {}
    for name, skus in machines.items():
        one = by_type[skus[0].name]
        if isinstance(one.outcome, InferencePlan):
            cut = (_cut(one.outcome), f"{one.outcome.max_model_len:,}")
            fitting.setdefault(cut, []).append(name)
        else:
            rule, found = _refusal(preset, one)
            refused.setdefault(rule, []).append(f"{name}{found}")
    yield f"### {preset.name}"
    yield ""
    if fitting:
        yield "| Plan | Context | Machines |"
        yield "|---|---|---|"
        yield from (f"| {cut} | {length} | {', '.join(names)} |" for (cut, length), names in fitting.items())
    if fitting and refused:
        yield ""
    yield from (f"- Refused: {rule} {', '.join(names)}." for rule, names in refused.items())


def _cut(plan: InferencePlan) -> str:
    copies = f" x DP{plan.data_parallel}" if plan.data_parallel > 1 else ""
    dtype = f", {plan.dtype}" if plan.dtype == "float16" else ""
    return f"{plan.node_count} x TP{plan.tensor_parallel}{copies}{dtype}"


def _refusal(preset: Preset, one: Candidate) -> tuple[str, str]:
    """Why a model is refused, in words that hold of other machines too, and what is the machine's own."""
    outcome = one.outcome
    if not isinstance(outcome, DoesNotFit):
        return "", ""
    if outcome.reason is Misfit.GPU_MEMORY:
        needed, has = (f"{count / GIB:.1f}" for count in (outcome.needed_bytes, outcome.available_bytes))
        return (
            "too large for as many nodes as there may be (GiB that a GPU of one node would need, of how many):",
            f" ({needed} of {has})",
        )
    model = re.escape(one.sku.gpu_model)
    text = re.sub(rf"{model} has [\d.]+", "the GPU is older", outcome.message.removeprefix(f"{preset.name}: "))
    return f"{text.replace(one.sku.name, 'it').partition(': ')[0]}:", ""
