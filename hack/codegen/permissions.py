"""config/rbac: the operator's ServiceAccount and exactly the rights that the code declares in RULES."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from typing import Any

from codegen.documents import kustomization, yaml_text
from kaito_controller.api import labels
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube.core import EVENTS, LEASES, SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS
from kaito_controller.kube.rbac import READ, Rule, policy_rules
from kaito_controller.providers.registry import PROVIDERS

NAMESPACE = "kaito-system"
SERVICE_ACCOUNT = "kaito-controller"
LABELS = {"app.kubernetes.io/name": "kaito-controller", labels.MANAGED_BY: "kustomize"}

MACHINERY = (
    Rule(resource=EVENTS, verbs=("create", "patch"), why="the story of each object"),
    Rule(resource=LEASES, verbs=("get", "create", "update", "patch"), own_namespace=True, why="leader election"),
    Rule(resource=TOKEN_REVIEWS, verbs=("create",), why="who asks for metrics"),
    Rule(resource=SUBJECT_ACCESS_REVIEWS, verbs=("create",), why="whether he may have them"),
)
METRICS_READER = Rule(non_resource_urls=("/metrics",), verbs=("get",), why="what Prometheus needs")

# Role name, and the module whose RULES it grants.
_CONTROLLERS = (
    ("kaito-workspace-controller", "kaito_controller.controllers.workspace.controller"),
    ("kaito-node-provisioner", "kaito_controller.controllers.nodeclaim.controller"),
)

_API_GROUP = "rbac.authorization.k8s.io"


def files() -> dict[str, str]:
    """Every file of config/rbac."""
    made = {
        "namespace.yaml": yaml_text(namespace()),
        "service_account.yaml": yaml_text(_object("v1", "ServiceAccount", SERVICE_ACCOUNT, namespaced=True)),
        "users.yaml": yaml_text(*_user_roles()),
        "metrics_reader.yaml": yaml_text(_cluster_role("kaito-metrics-reader", [METRICS_READER])),
    }
    for role, rules in sorted(declared_rules().items()):
        made[f"{role.removeprefix('kaito-').replace('-', '_')}.yaml"] = yaml_text(*_role(role, rules))
    made["kustomization.yaml"] = kustomization(["namespace.yaml", *sorted(set(made) - {"namespace.yaml"})])
    return {f"config/rbac/{name}": text for name, text in made.items()}


def namespace() -> dict[str, Any]:
    """The operator's namespace, held to the strictest Pod Security level."""
    made = _object("v1", "Namespace", NAMESPACE)
    made["metadata"]["labels"] |= {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
    }
    return made


def declared_rules() -> dict[str, tuple[Rule, ...]]:
    """What each part of the operator declares, by the name of the role that grants it."""
    made: dict[str, tuple[Rule, ...]] = {"kaito-controller": MACHINERY}
    for role, module in _CONTROLLERS:
        made[role] = _rules_of(module)
    made |= {f"kaito-provider-{entry.name}": _rules_of(entry.module) for entry in PROVIDERS.values()}
    return {role: rules for role, rules in made.items() if rules}


def _rules_of(module: str) -> tuple[Rule, ...]:
    """RULES of a module; none when the module is not part of this release."""
    parent = module.rpartition(".")[0]
    if importlib.util.find_spec(parent) is None or importlib.util.find_spec(module) is None:
        return ()
    found: tuple[Rule, ...] = getattr(importlib.import_module(module), "RULES", ())
    return found


def _role(name: str, rules: Iterable[Rule]) -> list[Mapping[str, Any]]:
    """A ClusterRole with its binding, and a Role with its binding for what stays in the operator's namespace."""
    wide = [rule for rule in rules if not rule.own_namespace]
    narrow = [rule for rule in rules if rule.own_namespace]
    made: list[Mapping[str, Any]] = []
    if wide:
        made.append(_cluster_role(name, wide))
        made.append(_binding("ClusterRoleBinding", name, "ClusterRole"))
    if narrow:
        made.append(_object(f"{_API_GROUP}/v1", "Role", name, namespaced=True) | {"rules": policy_rules(narrow)})
        made.append(_binding("RoleBinding", name, "Role"))
    return made


def _cluster_role(name: str, rules: Iterable[Rule]) -> dict[str, Any]:
    return _object(f"{_API_GROUP}/v1", "ClusterRole", name) | {"rules": policy_rules(rules)}


def _binding(kind: str, name: str, role_kind: str) -> dict[str, Any]:
    return _object(f"{_API_GROUP}/v1", kind, name, namespaced=kind == "RoleBinding") | {
        "roleRef": {"apiGroup": _API_GROUP, "kind": role_kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": NAMESPACE}],
    }


def _user_roles() -> list[Mapping[str, Any]]:
    """What the built-in roles view, edit and admin allow on our kinds; else only cluster administrators see them."""
    every = (*READ, "create", "update", "patch", "delete", "deletecollection")
    view = [Rule(resource=kind, verbs=READ) for kind in (WORKSPACES, NODE_CLAIMS)]
    edit = [Rule(resource=WORKSPACES, verbs=every)]
    roles = (("kaito-view", view, ("view", "edit", "admin")), ("kaito-edit", edit, ("edit", "admin")))
    return [_aggregated(name, rules, into) for name, rules, into in roles]


def _aggregated(name: str, rules: Iterable[Rule], into: Iterable[str]) -> Mapping[str, Any]:
    made = _object(f"{_API_GROUP}/v1", "ClusterRole", name)
    made["metadata"]["labels"] |= {f"{_API_GROUP}/aggregate-to-{role}": "true" for role in into}
    return made | {"rules": policy_rules(rules)}


def _object(api_version: str, kind: str, name: str, *, namespaced: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": dict(LABELS)}
    if namespaced:
        metadata["namespace"] = NAMESPACE
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
