"""Every rule that the API server checks for us is broken once, and its message is read."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from attrs import frozen
from kubernetes import client, config

from kaito_controller.api.kinds import KINDS
from kaito_controller.api.reasons import Reason
from kaito_controller.testing.apiserver import APIServer

_numbers = itertools.count(1)

WORKSPACE: dict[str, Any] = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "Workspace",
    "metadata": {"name": "w"},
    "resource": {"instanceType": "Standard_NC6s_v3", "labelSelector": {"matchLabels": {"apps": "x"}}},
    "inference": {"preset": {"name": "tiny-phi3"}},
}
EXISTING = {"instanceType": None, "labelSelector": {"matchLabels": {"apps": "x"}}}
TUNING = {
    "inference": None,
    "tuning": {
        "preset": {"name": "phi-4"},
        "method": "lora",
        "input": {"name": "lessons", "urls": ["https://example.com/lessons.parquet"]},
        "output": {"image": "example.com/team/adapter:1", "imagePushSecret": "push"},
    },
}
TEMPLATE = {"preset": None, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}
CLAIM: dict[str, Any] = {
    "apiVersion": "karpenter.sh/v1",
    "kind": "NodeClaim",
    "metadata": {"name": "c"},
    "spec": {
        "nodeClassRef": {"group": "kaito.sh", "kind": "KaitoNodeClass", "name": "default"},
        "requirements": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["Standard_NC6s_v3"]}],
        "resources": {"requests": {"storage": "100Gi", "nvidia.com/gpu": 1}},
    },
}


def merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch, applied."""
    made = copy.deepcopy(dict(base))
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(made.get(key), Mapping):
            made[key] = merged(made[key], value)
        else:
            made[key] = copy.deepcopy(value)
    return made


@frozen
class Break:
    """A change that breaks a rule: `says` stands in the refusal. With `before`, it is an update of that."""

    says: str
    change: Mapping[str, Any]
    found: str = ""
    before: Mapping[str, Any] | None = None
    base: Mapping[str, Any] = WORKSPACE


def selecting(**selector: Any) -> dict[str, Any]:
    return {"resource": {"labelSelector": {"matchLabels": None, **selector}}}


def partition(**parts: Any) -> dict[str, Any]:
    return {"resource": {**EXISTING, "partition": parts}}


def adapters(*parts: Mapping[str, Any]) -> dict[str, Any]:
    return {"inference": {"adapters": list(parts)}}


def adapter(name: str = "hat", **change: Any) -> dict[str, Any]:
    return merged({"source": {"name": name, "image": "example.com/hat:1"}}, change)


def tuning(**change: Any) -> dict[str, Any]:
    return merged(TUNING, {"tuning": change})


def requirement(**change: Any) -> dict[str, Any]:
    return {"spec": {"requirements": [{"key": "example.com/size", "operator": "In", "values": ["1"], **change}]}}


BREAKS = [
    Break("metadata.name: becomes part of", {"metadata": {"name": "a" * 53}}, "found " + "a" * 53),
    Break("metadata.name: becomes part of", {"metadata": {"name": "4-mini"}}, "found 4-mini"),
    Break("metadata.name: becomes part of", {"metadata": {"name": "phi.4"}}, "found phi.4"),
    Break("inference, tuning: exactly one", {"inference": None}, "found neither"),
    Break("inference, tuning: exactly one", {"tuning": TUNING["tuning"]}, "found both"),
    Break("resource: required; give it a labelSelector", {"resource": None}),
    Break("labelSelector: required; name at least one label", {"resource": {"labelSelector": None}}),
    Break(
        "labelSelector: without instanceType",
        {"resource": {"instanceType": None, "labelSelector": {"matchLabels": {"apps": None}}}},
    ),
    Break(
        "labelSelector: matchExpressions contradicts",
        {"resource": {"labelSelector": {"matchExpressions": [{"key": "apps", "operator": "NotIn", "values": ["x"]}]}}},
    ),
    Break(
        "labelSelector: matchExpressions contradicts",
        {"resource": {"labelSelector": {"matchExpressions": [{"key": "apps", "operator": "DoesNotExist"}]}}},
    ),
    Break("labelSelector: keys that the operator sets itself", selecting(matchLabels={"kaito.sh/workspace": "w"})),
    Break(
        "labelSelector: keys that the operator sets itself",
        selecting(matchExpressions=[{"key": "kaito.sh/ragengine", "operator": "Exists"}]),
    ),
    Break(
        "values: In and NotIn need at least one value",
        selecting(matchExpressions=[{"key": "a", "operator": "In"}]),
        "found operator In",
    ),
    Break(
        "values: In and NotIn need at least one value",
        selecting(matchExpressions=[{"key": "a", "operator": "Exists", "values": ["b"]}]),
        "found operator Exists",
    ),
    Break("matchLabels: keys and values must be", selecting(matchLabels={"a b": "c"})),
    Break("matchLabels: keys and values must be", selecting(matchLabels={"a": "-c"})),
    Break("key: must be a label's key", selecting(matchExpressions=[{"key": "/a", "operator": "Exists"}]), "found /a"),
    Break(
        "values: each must be a label's",
        selecting(matchExpressions=[{"key": "a", "operator": "In", "values": ["b c"]}]),
    ),
    Break("count: must be at least 1", {"resource": {"count": 0}}, "found zero"),
    Break("count: must be at least 1", {"resource": {"count": -2}}, "found a negative number"),
    Break("partition: only for existing nodes", {"resource": {"partition": {"mode": "mig", "profile": "1g.10gb"}}}),
    Break("profile: mode mig needs a MIG profile", partition(mode="mig", profile="half"), "found half"),
    Break("profile: mode mig needs a MIG profile", partition(mode="mig"), "found nothing"),
    Break("count: only for mode accelerator", partition(mode="mig", profile="1g.10gb", count=1)),
    Break("count: mode accelerator needs the number", partition(mode="accelerator")),
    Break("profile: only for mode mig", partition(mode="accelerator", count=1, profile="1g.10gb")),
    Break("preset, template: exactly one", {"inference": {"preset": None}}, "found neither"),
    Break("preset, template: exactly one", {"inference": {"template": {}}}, "found both"),
    Break("name: is the name of a model", {"inference": {"preset": {"name": "a/b/c"}}}, "found a/b/c"),
    Break(
        "must be the name of a Secret",
        {"inference": {"preset": {"presetOptions": {"modelAccessSecret": "A b"}}}},
        "found A b",
    ),
    Break(
        "each must be the name of a Secret",
        {"inference": {"preset": {"presetOptions": {"imagePullSecrets": ["fine", "-x"]}}}},
    ),
    Break("each must be the name of a Secret", adapters(adapter(source={"imagePullSecrets": ["../../mnt/wanted"]}))),
    Break("config: must be the name of a ConfigMap", {"inference": {"config": "ns/map"}}, "found ns/map"),
    Break("adapters: only beside a preset", {"inference": {**TEMPLATE, "adapters": [adapter()]}}),
    Break("adapters: at most 10", adapters(*(adapter(f"hat-{index}") for index in range(11)))),
    Break("adapters: source.name must be unique", adapters(adapter(), adapter())),
    Break("source: required; say which image", adapters({"strength": "1"})),
    Break("source.name: required, at most 45", adapters(adapter("a" * 46)), "found " + "a" * 46),
    Break("source.name: required, at most 45", adapters(adapter("Hat")), "found Hat"),
    Break("source.name: required, at most 45", adapters({"source": {"image": "a/b"}}), "found nothing"),
    Break("source.urls: not for adapters", adapters({"source": {"name": "hat", "urls": ["https://example.com/a"]}})),
    Break("source.urls: not for adapters", adapters({"source": {"name": "hat", "urls": ["hf://a/b", "hf://a/c"]}})),
    Break("source.urls: not for adapters", adapters({"source": {"name": "hat", "urls": ["hf://onlyone"]}})),
    Break("input.urls: each must be an http or https URL", tuning(input={"urls": ["hf://a/b"]})),
    Break("strength: must be a number from 0 to 1", adapters(adapter(strength="2")), "found 2"),
    Break("strength: must be a number from 0 to 1", adapters(adapter(strength="NaN")), "found NaN"),
    Break("strength: must be a number from 0 to 1", adapters(adapter(strength="-0.1")), "found -0.1"),
    Break(
        "urls, volumeSource, image: exactly one",
        adapters(adapter(source={"volumeSource": {"emptyDir": {}}})),
        "found more than one",
    ),
    Break("urls, volumeSource, image: exactly one", tuning(input={"urls": None}), "found none"),
    Break("image: must be an OCI reference", adapters(adapter(source={"image": "a b"})), "found a b"),
    Break("urls: each must be an http or https URL", tuning(input={"urls": ["ftp://example.com/a"]})),
    Break("urls: each must be an http or https URL", tuning(input={"urls": ["https:///a"]})),
    Break("volumeSource, image: exactly one", tuning(output={"image": None, "imagePushSecret": None}), "found none"),
    Break("volumeSource, image: exactly one", tuning(output={"volumeSource": {"emptyDir": {}}}), "found both"),
    Break("imagePushSecret: required with image", tuning(output={"imagePushSecret": None})),
    Break("preset: required; name the model", tuning(preset=None)),
    Break("method: required; choose", tuning(method=None)),
    Break("method: must be lora or qlora", tuning(method="full"), "found full"),
    Break("resource.count: tuning runs on one node", {**TUNING, "resource": {"count": 2}}),
    Break("resource.partition: not for tuning", {**TUNING, **partition(mode="accelerator", count=1)}),
    # Updates.
    Break("inference, tuning: which of the two is used", TUNING, before={}),
    Break(
        "resource.instanceType: once set",
        {"resource": {"instanceType": "Standard_NC12s_v3"}},
        "found Standard_NC12s_v3 instead of Standard_NC6s_v3",
        {},
    ),
    Break(
        "resource.instanceType: once set",
        {"resource": {"instanceType": None}},
        "found nothing instead of Standard_NC6s_v3",
        {},
    ),
    Break(
        "resource.labelSelector: immutable", {"resource": {"labelSelector": {"matchLabels": {"apps": "y"}}}}, before={}
    ),
    Break(
        "inference.preset: immutable",
        {"inference": {"preset": {"name": "phi-4"}}},
        "found phi-4 instead of tiny-phi3",
        {},
    ),
    Break("inference.preset: immutable", {"inference": TEMPLATE}, "found nothing instead of tiny-phi3", {}),
    Break(
        "template: cannot be added or removed",
        {"inference": {"template": None, "preset": {"name": "phi-4"}}},
        before={"inference": TEMPLATE},
    ),
    Break(
        "partition: immutable",
        partition(mode="mig", profile="2g.20gb"),
        before=partition(mode="mig", profile="1g.10gb"),
    ),
    Break("partition: immutable", {"resource": {"partition": None}}, before=partition(mode="mig", profile="1g.10gb")),
    Break("tuning.preset: immutable", tuning(preset={"name": "phi-2"}), "found phi-2 instead of phi-4", TUNING),
    Break("method: immutable", tuning(method="qlora"), before=TUNING),
    Break("input.name: immutable", tuning(input={"name": "other"}), before=TUNING),
    # NodeClaims.
    Break("group: may not be empty", {"spec": {"nodeClassRef": {"group": ""}}}, base=CLAIM),
    Break("group: is a group without a version", {"spec": {"nodeClassRef": {"group": "kaito.sh/v1"}}}, base=CLAIM),
    Break("kind: may not be empty", {"spec": {"nodeClassRef": {"kind": ""}}}, base=CLAIM),
    Break("name: may not be empty", {"spec": {"nodeClassRef": {"name": ""}}}, base=CLAIM),
    Break(
        "key: of the domain karpenter.sh only",
        requirement(key="karpenter.sh/other"),
        "found karpenter.sh/other",
        base=CLAIM,
    ),
    Break("key: of the domain karpenter.sh only", requirement(key="my.karpenter.sh/other"), base=CLAIM),
    Break("key: kubernetes.io/hostname may not", requirement(key="kubernetes.io/hostname"), base=CLAIM),
    Break("requirements: operator In needs", requirement(values=[]), base=CLAIM),
    Break("requirements: operators Gt, Lt, Gte and Lte", requirement(operator="Gt", values=["a"]), base=CLAIM),
    Break("requirements: operators Gt, Lt, Gte and Lte", requirement(operator="Lt", values=["1", "2"]), base=CLAIM),
    Break("requirements: minValues may not exceed", requirement(minValues=2), base=CLAIM),
    Break("spec: immutable; delete the NodeClaim", {"spec": {"expireAfter": "Never"}}, before={}, base=CLAIM),
]

MISFITS = [
    Break(
        "spec.resources.requests.storage: Invalid value",
        {"spec": {"resources": {"requests": {"storage": "10 Gigs"}}}},
        base=CLAIM,
    ),
    Break("spec.expireAfter: Invalid value", {"spec": {"expireAfter": "1 day"}}, base=CLAIM),
    Break("spec.requirements: Required value", {"spec": {"requirements": None}}, base=CLAIM),
    Break(
        "spec.taints[0].effect: Unsupported value", {"spec": {"taints": [{"key": "a", "effect": "Never"}]}}, base=CLAIM
    ),
    Break("resource.count: Invalid value", {"resource": {"count": "two"}}),
    Break("inference.preset.name: Required value", {"inference": {"preset": {"name": None}}}),
    Break("resource.partition.mode: Unsupported value", {"resource": {"partition": {"mode": "half"}}}),
    Break("tuning.input: Required value", tuning(input=None)),
]


@frozen
class Objects:
    """Writes objects of our kinds in one namespace, and returns what the API server says against it."""

    api: client.CustomObjectsApi
    namespace: str

    def create(self, body: Mapping[str, Any], *, dry_run: bool = True) -> str:
        """The refusal; empty when admitted."""
        return self._refusal(self._call("create", body, "All" if dry_run else None))

    def replace(self, body: Mapping[str, Any]) -> str:
        """The refusal of an update; empty when admitted. Nothing is kept."""
        name = body["metadata"]["name"]
        current = self._call("get", body, None, name)
        updated = merged(body, {"metadata": {"resourceVersion": current["metadata"]["resourceVersion"]}})
        return self._refusal(self._call("replace", updated, "All", name))

    def set_status(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Write the status as an operator would."""
        group, version, plural = self._coordinates(body)
        self.api.patch_namespaced_custom_object_status(
            group, version, self.namespace, plural, body["metadata"]["name"], {"status": status}
        )

    def _call(self, verb: str, body: Mapping[str, Any], dry_run: str | None, name: str = "") -> Any:
        scope = "cluster" if body["kind"] == "NodeClaim" else "namespaced"
        place = [] if scope == "cluster" else [self.namespace]
        arguments = [*self._coordinates(body)[:2], *place, self._coordinates(body)[2]]
        arguments += [name] if name else []
        arguments += [] if verb == "get" else [body]
        options = {"dry_run": dry_run} if dry_run else {}
        try:
            return getattr(self.api, f"{verb}_{scope}_custom_object")(*arguments, **options)
        except client.ApiException as error:
            return error

    @staticmethod
    def _coordinates(body: Mapping[str, Any]) -> tuple[str, str, str]:
        group, _, version = body["apiVersion"].partition("/")
        return group, version, f"{body['kind'].lower()}s"

    @staticmethod
    def _refusal(answer: Any) -> str:
        return str(json.loads(answer.body)["message"]) if isinstance(answer, client.ApiException) else ""


@pytest.fixture(scope="module")
def connection(apiserver: APIServer) -> client.ApiClient:
    return config.new_client_from_config(str(apiserver.kubeconfig))


@pytest.fixture(scope="module")
def objects(apiserver: APIServer, connection: client.ApiClient) -> Objects:
    """One namespace for all: every object that is kept has a name of its own."""
    return Objects(client.CustomObjectsApi(connection), apiserver.create_namespace("api-rules"))


def named(body: dict[str, Any]) -> dict[str, Any]:
    """The object under a name of its own, so that cluster-scoped ones do not meet."""
    return merged(body, {"metadata": {"name": f"{body['metadata']['name']}-{next(_numbers)}"}})


@pytest.mark.parametrize("case", [*BREAKS, *MISFITS], ids=lambda case: f"{case.says[:40]}{case.found[:30]}")
def test_a_broken_rule_is_refused_with_a_message_that_teaches(objects, case):
    """The refusal names the field, the rule, what was found where that can be said, and the remedy."""
    if case.before is None:
        refusal = objects.create(merged(case.base, case.change))
    else:
        old = named(merged(case.base, case.before))
        assert objects.create(old, dry_run=False) == ""
        refusal = objects.replace(merged(old, case.change))
    assert case.says in refusal
    assert case.found in refusal


def rules_of(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from schema.get("x-kubernetes-validations", ())
    for child in schema.get("properties", {}).values():
        yield from rules_of(child)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from rules_of(schema[keyword])


def test_every_rule_is_broken_by_a_case():
    """A new rule without a case fails here."""
    declared = {
        rule["message"]
        for kind in KINDS
        for version in kind.definition()["spec"]["versions"]
        for rule in rules_of(version["schema"]["openAPIV3Schema"])
    }
    untested = {message for message in declared if not any(message.startswith(case.says) for case in BREAKS)}
    assert untested == set()


ADMITTED = [
    WORKSPACE,
    merged(WORKSPACE, {"metadata": {"name": "a" * 52}}),
    merged(WORKSPACE, {"resource": {"count": 1}}),
    merged(WORKSPACE, {"resource": EXISTING}),
    merged(WORKSPACE, {"resource": {"instanceType": ""}}),
    merged(WORKSPACE, {"inference": {"preset": {"name": "microsoft/Phi-4-mini-instruct"}, "config": ""}}),
    merged(WORKSPACE, {"inference": {"preset": {"name": f"oci://registry.example:5000/team/phi:4@sha256:{'a' * 64}"}}}),
    merged(WORKSPACE, {"inference": TEMPLATE}),
    merged(WORKSPACE, adapters(*(adapter(f"hat-{index}", strength=f"0.{index}") for index in range(10)))),
    merged(WORKSPACE, partition(mode="accelerator", count=2)),
    merged(WORKSPACE, TUNING),
    merged(WORKSPACE, tuning(method="QLoRA")),
    CLAIM,
    merged(CLAIM, requirement(operator="Gt", values=["3"])),
]


@pytest.mark.parametrize("body", ADMITTED, ids=range(len(ADMITTED)))
def test_what_keeps_the_rules_is_admitted(objects, body):
    """In both versions."""
    assert objects.create(body) == ""
    if body["kind"] == "Workspace":
        assert objects.create({**body, "apiVersion": "kaito.sh/v1alpha1"}) == ""


CHANGES = [
    ({}, {"resource": {"count": 3}}),
    ({}, {"inference": {"config": "other"}}),
    ({}, adapters(adapter())),
    ({}, adapters({"source": {"name": "hat", "urls": ["hf://organisation/hat@refs/pr/1"]}})),
    ({"resource": {"instanceType": None}}, {"resource": {"instanceType": "Standard_NC6s_v3"}}),
    ({"inference": TEMPLATE}, {"inference": {"template": {"spec": {"containers": []}}}}),
    (TUNING, tuning(method="LoRA", input={"urls": ["https://example.com/more.parquet"]})),
]


@pytest.mark.parametrize(("before", "change"), CHANGES, ids=range(len(CHANGES)))
def test_what_may_change_can_be_changed(objects, before, change):
    """Count, configuration, adapters, template and data; an instance type once, where there was none."""
    old = named(merged(WORKSPACE, before))
    assert objects.create(old, dry_run=False) == ""
    assert objects.replace(merged(old, change)) == ""


@pytest.mark.parametrize("reason", [reason.value for reason in Reason if reason.correctable])
def test_what_cannot_be_planned_can_be_corrected_in_place(objects, reason):
    """While the operator says that it cannot plan, immutable fields may change; afterwards they may not."""
    old = named(WORKSPACE)
    assert objects.create(old, dry_run=False) == ""
    corrections = [
        {"inference": {"preset": {"name": "phi-4"}}},
        {"resource": {"instanceType": "Standard_NC24ads_A100_v4"}},
        {"resource": {"labelSelector": {"matchLabels": {"apps": "y"}}}},
    ]
    condition = {"type": "WorkspaceSucceeded", "status": "False", "lastTransitionTime": "2026-11-22T12:00:00Z"}
    objects.set_status(old, {"conditions": [{**condition, "reason": reason}]})
    assert [objects.replace(merged(old, change)) for change in corrections] == ["", "", ""]
    objects.set_status(old, {"conditions": [{**condition, "reason": "workspacePending"}]})
    assert all("immutable" in objects.replace(merged(old, change)) for change in corrections)
