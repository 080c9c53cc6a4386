"""config/admission: the rules on labels and annotations, which CRD rules cannot see, as admission policies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from codegen.documents import kustomization, yaml_text
from codegen.permissions import LABELS
from kaito_controller.api.annotation_rules import RULES, MetadataRule
from kaito_controller.api.workspace import WORKSPACES, WORKSPACES_V1ALPHA1

_GROUP = "admissionregistration.k8s.io/v1"
REFUSES = "workspace-metadata.kaito.sh"
ADVISES = "workspace-advice.kaito.sh"


def files() -> dict[str, str]:
    """Every file of config/admission."""
    refusals = [_validation(rule) for rule in RULES if (rule.values or rule.pattern) and not rule.advice]
    advice = [_validation(rule) for rule in RULES if rule.values and rule.advice]
    made = {
        "workspace_metadata.yaml": yaml_text(*_policy(REFUSES, refusals, "Deny")),
        "workspace_advice.yaml": yaml_text(*_policy(ADVISES, advice, "Warn")),
    }
    made["kustomization.yaml"] = kustomization(sorted(made))
    return {f"config/admission/{name}": text for name, text in made.items()}


def _policy(name: str, validations: Iterable[Mapping[str, Any]], action: str) -> list[Mapping[str, Any]]:
    """A policy with the binding that puts it to work everywhere."""
    matches = {
        "apiGroups": [WORKSPACES.group],
        "apiVersions": [WORKSPACES_V1ALPHA1.version, WORKSPACES.version],
        "operations": ["CREATE", "UPDATE"],
        "resources": [WORKSPACES.plural],
    }
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [matches]},
        "variables": [
            {"name": place, "expression": f"object.metadata.?{place}.orValue({{}})"}
            for place in ("annotations", "labels")
        ]
        + [
            {
                "name": f"old_{place}",
                "expression": f"oldObject == null ? {{}} : oldObject.metadata.?{place}.orValue({{}})",
            }
            for place in ("annotations", "labels")
        ],
        "validations": list(validations),
    }
    binding = {"policyName": name, "validationActions": [action]}
    return [
        {"apiVersion": _GROUP, "kind": "ValidatingAdmissionPolicy", "metadata": _metadata(name), "spec": spec},
        {
            "apiVersion": _GROUP,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": _metadata(name),
            "spec": binding,
        },
    ]


def _metadata(name: str) -> dict[str, Any]:
    return {"name": name, "labels": dict(LABELS)}


def _validation(rule: MetadataRule) -> dict[str, Any]:
    """The value is one of those that mean something, or was already there."""
    place = "labels" if rule.is_label else "annotations"
    key = json.dumps(rule.key)
    value = f"variables.{place}[{key}]"
    means = _listed(rule, value) if rule.values else _matching(rule, value)
    words = ", ".join(rule.values) or rule.forms
    remedy = "has no effect with another value" if rule.advice else "correct or remove it"
    message = f"{rule.place}[{rule.key}]: must be one of {words}; {remedy}"
    return {
        "expression": (
            f"!({key} in variables.{place}) || ({key} in variables.old_{place}"
            f" && variables.old_{place}[{key}] == {value}) || {means}"
        ),
        "message": message,
        "messageExpression": f"{json.dumps(message + '; found ')} + {value}",
        "reason": "Invalid",
    }


def _listed(rule: MetadataRule, value: str) -> str:
    compared = f"{value}.trim().lowerAscii()" if rule.fold_case else value
    return f"{compared} in [" + ", ".join(json.dumps(one) for one in rule.values) + "]"


def _matching(rule: MetadataRule, value: str) -> str:
    return f"({value}.matches({json.dumps(rule.pattern)}) && !{value}.contains('..'))"
