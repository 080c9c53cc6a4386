"""What must hold before a plan can be made: an ordered chain of named checks. Pure.

Each check is ``Question → Blocked | None``; the first that speaks is the Workspace's reason. What the schema and CEL
refuse at apply time stands here too, because objects may be older than the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from kaito_controller.api import labels as keys
from kaito_controller.api.reasons import Reason
from kaito_controller.api.validation import problems
from kaito_controller.api.workspace import NAME_LENGTH, Workspace
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube import metadata
from kaito_controller.kube.selectors import LabelExpression


@frozen(kw_only=True)
class Question:
    """What the checks look at: a well-formed Workspace, what exists for it, and whether this operator makes nodes."""

    workspace: Workspace
    snapshot: Snapshot
    provisions: bool


def examine(snapshot: Snapshot, *, provisions: bool) -> Workspace | Blocked:
    """Return the Workspace when nothing speaks against planning it, else the first reason why not."""
    if snapshot.workspace is None:
        return Blocked(
            reason=Reason.INVALID_SPEC,
            message=f"the object does not have the form of a Workspace: {snapshot.malformed}. Correct the field.",
        )
    question = Question(workspace=snapshot.workspace, snapshot=snapshot, provisions=provisions)
    objections = (found for check in CHECKS if (found := check(question)) is not None)
    return next(objections, snapshot.workspace)


def _name_is_too_long(question: Question) -> Blocked | None:
    name = metadata.name(question.snapshot.raw)
    if len(name) <= NAME_LENGTH:
        return None
    return Blocked(
        reason=Reason.INVALID_SPEC,
        message=(
            f"metadata.name: must be at most {NAME_LENGTH} characters, because the Services and pods of a Workspace "
            f"carry it with a suffix, found {len(name)}. Create it again under a shorter name."
        ),
    )


def _breaks_a_rule(question: Question) -> Blocked | None:
    broken = problems(question.workspace)
    if not broken:
        return None
    return Blocked(reason=Reason.INVALID_SPEC, message="; ".join(str(problem) for problem in broken))


def _brings_a_template(question: Question) -> Blocked | None:
    inference = question.workspace.inference
    if inference is None or inference.preset is not None:
        return None
    return Blocked(
        reason=Reason.FIELDS_NOT_IMPLEMENTED,
        message="inference.template: own pod templates are not implemented in this version. Use inference.preset.",
    )


def _names_an_instance_type_in_vain(question: Question) -> Blocked | None:
    resource = question.workspace.resource
    if question.provisions or not resource.instance_type:
        return None
    return Blocked(
        reason=Reason.INSTANCE_TYPE_REFUSED,
        message=(
            "resource.instanceType: must be empty where the operator makes no nodes (--node-provisioner byo), "
            f"found {resource.instance_type!r}. Leave it out and name existing nodes by resource.labelSelector."
        ),
    )


def _selects_by_reserved_keys(question: Question) -> Blocked | None:
    reserved = sorted({need.key for need in _requirements(question)} & keys.RESERVED_SELECTOR_KEYS)
    if not reserved:
        return None
    return Blocked(
        reason=Reason.SELECTOR_INVALID,
        message=(
            f"resource.labelSelector: {', '.join(reserved)} is set by the operator itself and cannot be selected by. "
            "Use a label of your own."
        ),
    )


def _selects_nothing(question: Question) -> Blocked | None:
    resource = question.workspace.resource
    if resource.instance_type or _requirements(question):
        return None
    return Blocked(
        reason=Reason.SELECTOR_INVALID,
        message=(
            "resource.labelSelector: must require at least one label when resource.instanceType is empty, because it "
            "says which existing nodes to use, found none. Add matchLabels, or name an instance type."
        ),
    )


def _contradicts_itself(question: Question) -> Blocked | None:
    requirements = list(_requirements(question))
    resource = question.workspace.resource
    fixed: dict[str, str] = {keys.OPERATING_SYSTEM: "linux"}
    if resource.instance_type:
        fixed |= {keys.INSTANCE_TYPE: resource.instance_type, keys.NODEPOOL: keys.NODEPOOL_KAITO}
    needs: dict[str, list[LabelExpression]] = {}
    for need in requirements:
        needs.setdefault(need.key, []).append(need)
    for key, found in sorted(needs.items()):
        values = {fixed[key]} if key in fixed else {value for need in found for value in need.values} | {"", "other"}
        if any(all(need.matches(labels) for need in found) for labels in _candidates(key, values, fixed)):
            continue
        wanted = " and ".join(str(need) for need in found)
        against = f" (nodes have {key}={fixed[key]})" if key in fixed else ""
        return Blocked(
            reason=Reason.SELECTOR_INVALID,
            message=f"resource.labelSelector: no node can meet {wanted}{against}. Remove one of the requirements.",
        )
    return None


def _has_a_claim_that_says_nothing(question: Question) -> Blocked | None:
    """Neither counted nor replaced: what cannot be read may be a machine that serves."""
    unfit = question.snapshot.unfit_claims
    if not unfit:
        return None
    return Blocked(
        reason=Reason.NODE_CLAIM_NOT_READY,
        message=f"{unfit[0]}. Correct the field, or delete the NodeClaim to have another one made.",
        waits=True,
    )


def _requirements(question: Question) -> tuple[LabelExpression, ...]:
    return question.workspace.resource.label_selector.requirements()


def _candidates(key: str, values: set[str], fixed: Mapping[str, str]) -> list[Mapping[str, str]]:
    """Return label sets worth trying for one key: every named value, another one, and, unless fixed, no such label."""
    tried: list[Mapping[str, str]] = [{key: value} for value in sorted(values)]
    return tried if key in fixed else [*tried, {}]


CHECKS: Final[tuple[Callable[[Question], Blocked | None], ...]] = (
    _name_is_too_long,
    _breaks_a_rule,
    _brings_a_template,
    _names_an_instance_type_in_vain,
    _selects_by_reserved_keys,
    _selects_nothing,
    _contradicts_itself,
    _has_a_claim_that_says_nothing,
)
