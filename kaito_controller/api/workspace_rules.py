"""What the API server itself checks of a Workspace, as CEL; each message names field, rule and remedy.

CRD rules see the schema's fields and metadata.name. The immutability of an optional field sits on its parent, since a
rule on the field does not run when the field comes or goes. Rules that a blocked plan suspends need the status, so they
sit on the root.
"""

from __future__ import annotations

from kaito_controller.api.labels import RESERVED_SELECTOR_KEYS
from kaito_controller.api.reasons import Reason
from kaito_controller.api.weights_uri import OCI_PATTERN
from kaito_controller.kube.declaration import CelRule

NAME_LENGTH = 52
"""`<name>-headless` and the StatefulSet's `<name>-<hash>` label must stay within 63 characters."""

MAX_ADAPTERS = 10

HUB_URL = "^hf://[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}(@[A-Za-z0-9._/-]{1,128})?$"
"""A repository of a Hugging Face hub, at a revision or at its default branch."""

ADAPTER_NAME_LENGTH = 45
"""An adapter's name becomes part of container and volume names, which end at 63."""

_DNS_LABEL = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_DNS_SUBDOMAIN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_RECREATE = "delete the Workspace and create it anew"

_CORRECTABLE = ", ".join(f"'{reason}'" for reason in Reason if reason.correctable)
# A spec that the operator refused to plan made nothing yet, so nothing is lost by correcting it in place.
_BLOCKED = (
    "(has(oldSelf.status) && has(oldSelf.status.conditions) && oldSelf.status.conditions.exists(c,"
    f" c.status == 'False' && has(c.reason) && c.reason in [{_CORRECTABLE}]))"
)

_IMMUTABLE = "immutable, except while a condition says that it cannot be planned; "


def _unchanged(parent: str, field: str) -> str:
    """An optional field of an optional parent is as it was: there or not there, and equal."""
    new, old = f"self.{parent}", f"oldSelf.{parent}"
    return (
        f"!has({new}) || !has({old}) || (has({new}.{field}) == has({old}.{field})"
        f" && (!has({new}.{field}) || {new}.{field} == {old}.{field}))"
    )


def _change(parent: str, field: str, within: str = "") -> str:
    """What such a field is and was, for a message."""
    return " + ' instead of ' + ".join(
        f"(has({side}.{parent}) && has({side}.{parent}.{field}) ? {side}.{parent}.{field}{within} : 'nothing')"
        for side in ("self", "oldSelf")
    )


WORKSPACE = (
    CelRule(
        f"self.metadata.name.size() <= {NAME_LENGTH} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name: becomes part of the names of Services, pods and labels, so it has at most 52 characters: a"
        " lower-case letter, then lower-case letters, digits and '-', ending in a letter or digit; choose such a name",
        "self.metadata.name",
    ),
    CelRule(
        "has(self.inference) != has(self.tuning)",
        "inference, tuning: exactly one of them must be given; give inference to serve a model, or tuning to fine-tune"
        " one, and remove the other",
        "has(self.inference) ? 'both' : 'neither'",
    ),
    CelRule(
        "has(self.resource)",
        "resource: required; give it a labelSelector, and an instanceType when nodes are to be made",
    ),
    CelRule(
        "has(self.inference) == has(oldSelf.inference) && has(self.tuning) == has(oldSelf.tuning)",
        f"inference, tuning: which of the two is used cannot change; {_RECREATE}",
    ),
    CelRule(
        "!has(oldSelf.resource) || !has(oldSelf.resource.instanceType) || oldSelf.resource.instanceType == ''"
        " || (has(self.resource) && has(self.resource.instanceType)"
        f" && self.resource.instanceType == oldSelf.resource.instanceType) || {_BLOCKED}",
        f"resource.instanceType: once set, {_IMMUTABLE}{_RECREATE}",
        _change("resource", "instanceType"),
    ),
    CelRule(
        f"{_unchanged('resource', 'labelSelector')} || {_BLOCKED}",
        f"resource.labelSelector: {_IMMUTABLE}{_RECREATE}",
    ),
    CelRule(
        f"{_unchanged('inference', 'preset')} || {_BLOCKED}",
        f"inference.preset: {_IMMUTABLE}{_RECREATE}",
        _change("inference", "preset", ".name"),
    ),
    CelRule(
        f"{_unchanged('tuning', 'preset')} || {_BLOCKED}",
        f"tuning.preset: {_IMMUTABLE}{_RECREATE}",
        _change("tuning", "preset", ".name"),
    ),
    CelRule(
        "!has(self.tuning) || !has(self.resource) || !has(self.resource.count) || self.resource.count <= 1",
        "resource.count: tuning runs on one node; leave count out or set it to 1",
    ),
    CelRule(
        "!has(self.tuning) || !has(self.resource) || !has(self.resource.partition)",
        "resource.partition: not for tuning, which needs whole GPUs; remove it",
    ),
)

_SIGN = "self == 0 ? 'zero' : 'a negative number'"

COUNT = (CelRule("self >= 1", "count: must be at least 1; leave it out to let the plan decide", _SIGN),)

RESOURCE = (
    CelRule(
        "has(self.labelSelector)",
        "labelSelector: required; name at least one label under matchLabels, such as apps: my-model",
    ),
    CelRule(
        "(has(self.instanceType) && self.instanceType != '') || !has(self.labelSelector)"
        " || (has(self.labelSelector.matchLabels) && self.labelSelector.matchLabels.size() > 0)"
        " || (has(self.labelSelector.matchExpressions) && self.labelSelector.matchExpressions.size() > 0)",
        "labelSelector: without instanceType it chooses among existing nodes, and an empty one would match every node;"
        " name at least one label",
    ),
    CelRule(
        "has(self.partition) == has(oldSelf.partition)"
        " && (!has(self.partition) || self.partition == oldSelf.partition)",
        f"partition: immutable; {_RECREATE}",
    ),
    CelRule(
        "!has(self.partition) || !has(self.instanceType) || self.instanceType == ''",
        "partition: only for existing nodes, as nodes that are made are used whole; remove partition or instanceType",
    ),
)

_RESERVED = "[" + ", ".join(f"'{key}'" for key in sorted(RESERVED_SELECTOR_KEYS)) + "]"

SELECTOR = (
    CelRule(
        f"(!has(self.matchLabels) || !self.matchLabels.exists(key, key in {_RESERVED}))"
        f" && (!has(self.matchExpressions) || !self.matchExpressions.exists(e, e.key in {_RESERVED}))",
        "labelSelector: keys that the operator sets itself, such as kaito.sh/workspace, cannot be selected by; use a"
        " label of your own",
    ),
    CelRule(
        "!has(self.matchLabels) || !has(self.matchExpressions) || self.matchExpressions.all(e,"
        " !(e.key in self.matchLabels) || (e.operator == 'In' ? has(e.values) && self.matchLabels[e.key] in e.values"
        " : e.operator == 'NotIn' ? !has(e.values) || !(self.matchLabels[e.key] in e.values)"
        " : e.operator == 'Exists'))",
        "labelSelector: matchExpressions contradicts matchLabels, so no node can match; remove one of the two",
    ),
)

PARTITION = (
    CelRule(
        "self.mode != 'mig' || (has(self.profile) && self.profile.matches('^[1-7]g[.][0-9]{1,3}gb$'))",
        "profile: mode mig needs a MIG profile such as 1g.10gb; give the profile of the slice",
        "has(self.profile) ? self.profile : 'nothing'",
    ),
    CelRule("self.mode != 'mig' || !has(self.count)", "count: only for mode accelerator; remove it for mode mig"),
    CelRule(
        "self.mode != 'accelerator' || has(self.count)",
        "count: mode accelerator needs the number of whole GPUs; give it",
    ),
    CelRule(
        "self.mode != 'accelerator' || !has(self.profile) || self.profile == ''",
        "profile: only for mode mig; remove it for mode accelerator",
    ),
)

PRESET_NAME = (
    CelRule(
        "self.matches('^([A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?(/[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?"
        f"(@[A-Za-z0-9][-A-Za-z0-9._]*)?)?|{OCI_PATTERN})$')",
        "name: is the name of a model, organisation/model with or without @revision, or oci://registry/name:tag; use"
        " letters, digits, '-', '_', '.' and one '/', or the full reference of an artifact",
        "self",
    ),
)

SECRET_NAME = (
    CelRule(
        f"self == '' || self.matches('{_DNS_SUBDOMAIN}')",
        "must be the name of a Secret: lower-case letters, digits, '-' and '.'; give the Secret's name alone",
        "self",
    ),
)

SECRET_NAMES = (
    CelRule(
        f"self.all(s, s.matches('{_DNS_SUBDOMAIN}'))",
        "each must be the name of a Secret, since folders are called so too: lower-case letters, digits, '-' and '.';"
        " correct those that are not",
    ),
)

CONFIG_MAP_NAME = (
    CelRule(
        f"self == '' || self.matches('{_DNS_SUBDOMAIN}')",
        "config: must be the name of a ConfigMap in this namespace: lower-case letters, digits, '-' and '.'; give the"
        " name alone",
        "self",
    ),
)

IMAGE = (
    CelRule(
        "self == '' || self.matches('^[A-Za-z0-9][-A-Za-z0-9._:/@]*$')",
        "image: must be an OCI reference such as registry.example.com/team/data:1; correct it",
        "self",
    ),
)

URLS = (
    CelRule(
        "self.all(u, isURL(u) && url(u).getScheme() in ['http', 'https', 'hf'] && url(u).getHostname() != '')",
        "urls: each must be an http or https URL with a host, or for an adapter hf://organisation/name; correct those"
        " that are not",
    ),
)

_VOLUME = "(has(self.volumeSource) ? 1 : 0)"
_IMAGE = "(has(self.image) && self.image != '' ? 1 : 0)"
_URLS = "(has(self.urls) && self.urls.size() > 0 ? 1 : 0)"

DATA_SOURCE = (
    CelRule(
        f"{_URLS} + {_VOLUME} + {_IMAGE} == 1",
        "urls, volumeSource, image: exactly one of them must be given; keep the one that holds the data",
        f"{_URLS} + {_VOLUME} + {_IMAGE} == 0 ? 'none' : 'more than one'",
    ),
)

DATA_DESTINATION = (
    CelRule(
        f"{_VOLUME} + {_IMAGE} == 1",
        "volumeSource, image: exactly one of them must be given; keep the one that takes the result",
        f"{_VOLUME} + {_IMAGE} == 0 ? 'none' : 'both'",
    ),
    CelRule(
        f"{_IMAGE} == 0 || (has(self.imagePushSecret) && self.imagePushSecret != '')",
        "imagePushSecret: required with image; name the Secret that opens the registry for writing",
    ),
)

ADAPTER = (
    CelRule("has(self.source)", "source: required; say which image, volume or hub holds the adapter"),
    CelRule(
        "!has(self.source) || (has(self.source.name) && self.source.name.size() <= "
        f"{ADAPTER_NAME_LENGTH} && self.source.name.matches('{_DNS_LABEL}'))",
        f"source.name: required, at most {ADAPTER_NAME_LENGTH} lower-case letters, digits and '-', since containers and"
        " volumes are named after it; give the adapter such a name",
        "has(self.source.name) ? self.source.name : 'nothing'",
    ),
    CelRule(
        "!has(self.source) || !has(self.source.urls) || self.source.urls.size() == 0 || (self.source.urls.size() == 1"
        f" && self.source.urls[0].matches('{HUB_URL}'))",
        "source.urls: not for adapters, but for one of a hub, hf://organisation/name or hf://organisation/name@revision;"
        " give such a one, an image or a volumeSource",
    ),
)

STRENGTH = (
    CelRule(
        "self.matches('^([0-9]+[.]?[0-9]*|[.][0-9]+)$') && double(self) >= 0.0 && double(self) <= 1.0",
        'strength: must be a number from 0 to 1 in quotes, such as "0.5"; correct it',
        "self",
    ),
)

ADAPTERS = (
    CelRule(
        f"self.size() <= {MAX_ADAPTERS}",
        f"adapters: at most {MAX_ADAPTERS} fit beside a model; remove some",
    ),
    CelRule(
        "self.all(a, !has(a.source) || !has(a.source.name) || self.exists_one(b, has(b.source) && has(b.source.name)"
        " && b.source.name == a.source.name))",
        "adapters: source.name must be unique, as requests choose an adapter by it; rename one of the equal ones",
    ),
)

INFERENCE = (
    CelRule(
        "has(self.preset) != has(self.template)",
        "preset, template: exactly one of them must be given; name a preset of the catalogue or give a pod of your own",
        "has(self.preset) ? 'both' : 'neither'",
    ),
    CelRule(
        "has(self.template) == has(oldSelf.template)",
        f"template: cannot be added or removed later; {_RECREATE}",
    ),
    CelRule(
        "!has(self.template) || !has(self.adapters) || self.adapters.size() == 0",
        "adapters: only beside a preset, since a template brings its own server; remove adapters or use a preset",
    ),
)

METHOD = (
    CelRule(
        "self.lowerAscii() in ['lora', 'qlora']",
        "method: must be lora or qlora; choose one",
        "self",
    ),
)

TUNING = (
    CelRule("has(self.preset)", "preset: required; name the model of the catalogue to tune"),
    CelRule("has(self.method)", "method: required; choose lora or qlora"),
    CelRule(
        "!has(self.input.urls) || self.input.urls.all(u, !u.startsWith('hf:'))",
        "input.urls: each must be an http or https URL; download what a hub has to a volume",
    ),
    CelRule(
        "!has(oldSelf.method) || (has(self.method) && self.method.lowerAscii() == oldSelf.method.lowerAscii())",
        f"method: immutable; {_RECREATE}",
    ),
    CelRule(
        "!has(oldSelf.input.name) || (has(self.input.name) && self.input.name == oldSelf.input.name)",
        f"input.name: immutable; {_RECREATE}",
    ),
)
