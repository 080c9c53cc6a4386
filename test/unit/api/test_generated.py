from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from ruamel.yaml import YAML

from kaito_controller.api.kinds import KINDS, NODE_CLAIM, WORKSPACE

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "config"
FILES = sorted(path for path in CONFIG.glob("*/*.yaml") if path.name != "kustomization.yaml")


def documents(path: Path) -> list[dict[str, Any]]:
    return [dict(one) for one in YAML(typ="safe", pure=True).load_all(path.read_text())]


EVERY = [(path, document) for path in FILES for document in documents(path)]
OURS = {"Workspace"}


@pytest.mark.parametrize(
    "document",
    [one for _, one in EVERY if one["kind"] not in OURS],
    ids=lambda one: f"{one['kind']}-{one['metadata']['name']}",
)
def test_a_manifest_fits_the_strict_model_of_its_kind(document):
    """The client's generated models know every field and refuse what lacks a required one."""
    version = document["apiVersion"].rpartition("/")[2].capitalize()
    reader = client.ApiClient(client.Configuration())
    model = reader.deserialize(json.dumps(document), f"{version}{document['kind']}", "application/json")
    assert _pruned(document) == _pruned(reader.sanitize_for_serialization(model))


def _pruned(value: Any) -> Any:
    """Without empty values, which the models leave out or add as they like."""
    if isinstance(value, dict):
        kept = {key: _pruned(one) for key, one in value.items()}
        return {key: one for key, one in kept.items() if one not in ({}, [], None, "")}
    return [_pruned(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
def test_the_files_say_what_the_classes_say(kind):
    """A changed class with stale files is caught here, before anything is applied."""
    path = CONFIG / "crd" / f"{kind.resource.group}_{kind.resource.plural}.yaml"
    assert [json.loads(json.dumps(kind.definition()))] == json.loads(json.dumps(documents(path)))


def test_both_versions_of_a_workspace_have_one_schema():
    """So that no field is lost between them; only the columns differ."""
    first, second = WORKSPACE.definition()["spec"]["versions"]
    assert first["schema"] == second["schema"]
    assert (first["name"], first["storage"], second["name"], second["storage"]) == ("v1alpha1", False, "v1beta1", True)


def test_count_and_instance_type_have_no_default():
    """Upstream wrote count 1 everywhere, so a default could not be told from a wish."""
    resource = WORKSPACE.definition()["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["resource"]
    assert "default" not in resource["properties"]["count"]
    assert "default" not in resource["properties"]["instanceType"]


def test_the_definition_of_node_claims_is_marked_as_ours():
    """To tell it from one that a Karpenter installed; kustomize never applies it over that one."""
    assert NODE_CLAIM.definition()["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "kaito-controller"}
    (listed,) = documents(CONFIG / "crd" / "kustomization.yaml")
    assert listed["resources"] == ["kaito.sh_workspaces.yaml"]


def nodes(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, child in schema.get("properties", {}).items():
        found += nodes(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            found += nodes(schema[keyword], f"{path}[]")
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
def test_every_field_is_described_and_bounded(kind):
    """Descriptions make `kubectl explain`; bounds keep the cost of rules within the API server's budget."""
    schema = kind.definition()["spec"]["versions"][-1]["schema"]["openAPIV3Schema"]
    standard = (".apiVersion", ".kind", ".metadata")
    for path, node in nodes(schema):
        if path.startswith(standard):
            continue
        assert node.get("description") or path.endswith("[]"), path
        bounded = {"maxLength", "enum", "format", "pattern"} & set(node)
        assert node.get("type") != "string" or bounded or path.endswith("[]"), path
        assert node.get("type") != "array" or "maxItems" in node, path
        assert "additionalProperties" not in node or "maxProperties" in node, path


def test_the_operator_passes_pod_security_restricted():
    """Its namespace enforces that, so it would not start otherwise."""
    (deployment,) = documents(CONFIG / "manager" / "deployment.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)


def test_the_rights_have_no_wildcard_and_no_cluster_wide_secrets():
    """A stolen token reads nobody's Secrets."""
    roles = [one for path, one in EVERY if path.parent.name == "rbac" and one["kind"] in ("ClusterRole", "Role")]
    assert roles
    for role in roles:
        for rule in role["rules"]:
            words = [*rule.get("apiGroups", []), *rule.get("resources", []), *rule["verbs"]]
            assert "*" not in words, role["metadata"]["name"]
            assert role["kind"] == "Role" or "secrets" not in rule.get("resources", []), role["metadata"]["name"]
