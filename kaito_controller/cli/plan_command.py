"""``kubectl kaito plan``: what hardware a model needs, and why."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import evolve, field, frozen

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.loader import Catalog
from kaito_controller.cli.bad_input import BadInputError
from kaito_controller.cli.engine_words import Words, words_of_model, words_of_workspace
from kaito_controller.cli.known import known
from kaito_controller.cli.machines import named_type, parts_of, prices_of, wishes_of
from kaito_controller.cli.named_model import NamedModel, find_model
from kaito_controller.cli.output import MACHINES, written
from kaito_controller.cli.receipt import Receipt
from kaito_controller.sizing.candidates import Candidate, Wishes, candidates, chosen
from kaito_controller.sizing.fit import Demand
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.misfit import DoesNotFit
from kaito_controller.sizing.report import report

NOTHING_FITS: Final = 2
# What a Workspace and its ConfigMap say themselves.
_OF_A_MODEL: Final = ("context", "gpu_memory_utilization", "nodes", "revision")


@frozen(kw_only=True)
class Question:
    """A model, what is wanted of it and on which machines, and the engine's words for an answer.

    `options` are those of this command, by the names that a refusal has for them.
    """

    model: NamedModel
    demand: Demand
    wishes: Wishes
    skus: Sequence[SKU]
    words: Words
    notes: tuple[str, ...] = ()
    options: Mapping[str, str] = field(factory=dict)


def run(parsed: argparse.Namespace) -> int:
    """Print the plan; return 0 when something fits, 2 when nothing does.

    Raises:
        BadInputError: something that was given cannot be used.
    """
    prices = prices_of(parsed)
    catalog = known()
    asked = _of_workspace(parsed, catalog) if parsed.filename is not None else _of_model(parsed, catalog)
    found = candidates(
        asked.model.preset, asked.skus, asked.model.runtimes, demand=asked.demand, wishes=asked.wishes, prices=prices
    )
    found = tuple(_in_our_words(one, asked.options) for one in found)
    if not found:
        raise BadInputError("no instance type is left: name fewer clouds, or an instance type of a cloud that is named")
    if parsed.output in MACHINES:
        for note in (*asked.notes, *asked.model.notes):
            print(f"kubectl kaito: note: {note}", file=sys.stderr)
        print(written(report(asked.model.preset.model_id, found, arguments=asked.words), parsed.output), end="")
    else:
        receipt = Receipt(
            preset=asked.model.preset,
            demand=asked.demand,
            found=found,
            words=asked.words,
            notes=(*asked.notes, *asked.model.notes),
            wide=parsed.output == "wide",
        )
        print("\n".join(receipt.lines()))
    return 0 if chosen(found) is not None else NOTHING_FITS


def _of_model(parsed: argparse.Namespace, catalog: Catalog) -> Question:
    wishes = wishes_of(parsed, catalog)
    model = find_model(parsed.model, catalog, revision=parsed.revision)
    flags = EngineFlags(max_model_len=parsed.context, gpu_memory_utilization=parsed.gpu_memory_utilization)
    return Question(
        model=model,
        demand=Demand(flags=flags, concurrency=parsed.concurrency),
        wishes=wishes,
        skus=catalog.skus,
        words=words_of_model(model.preset, flags),
        notes=_without_zones(wishes),
        options={"resource.count": "--nodes", "max-model-len": "--context"},
    )


def _of_workspace(parsed: argparse.Namespace, catalog: Catalog) -> Question:
    from kaito_controller.cli.workspace_file import read_workspace

    for name in _OF_A_MODEL:
        if getattr(parsed, name) is not None:
            raise BadInputError(f"--{name.replace('_', '-')}: is for --model; a Workspace says it itself: leave it out")
    file = read_workspace(parsed.filename)
    resource = file.workspace.resource
    wishes, notes = wishes_of(parsed, catalog), list[str]()
    if resource.instance_type:
        if wishes.instance_types:
            found = f"the Workspace names {resource.instance_type[:80]}"
            raise BadInputError(f"--instance-type: {found}: leave the option out, or the field resource.instanceType")
        only = named_type(resource.instance_type, catalog, "resource.instanceType").name
        wishes = evolve(wishes, instance_types=(only,))
    elif not wishes.instance_types:
        notes.append(
            "the Workspace names no instanceType, so the labels of its nodes decide; these are all that could be"
        )
    model = find_model(file.model, catalog)
    return Question(
        model=model,
        demand=Demand(flags=file.flags, concurrency=parsed.concurrency),
        wishes=evolve(wishes, node_count=resource.count),
        skus=parts_of(catalog.skus, resource.partition),
        words=words_of_workspace(file.workspace, model.preset, file.room),
        notes=(*notes, *_without_zones(wishes)),
    )


def _in_our_words(one: Candidate, options: Mapping[str, str]) -> Candidate:
    """A candidate whose refusal names what was given on the command line."""
    if not isinstance(one.outcome, DoesNotFit):
        return one
    message = one.outcome.message
    for theirs, ours in options.items():
        message = message.replace(theirs, ours)
    return evolve(one, outcome=evolve(one.outcome, message=message))


def _without_zones(wishes: Wishes) -> tuple[str, ...]:
    if not wishes.zones or wishes.offered:
        return ()
    return ("--zone rules nothing out, as nobody has said which zones have which instance types: give --offered T=Z",)
