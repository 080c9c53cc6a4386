"""What a controller declares that it must be allowed to do; the manifests under config/rbac are made from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource

READ = ("get", "list", "watch")
"""What an informer needs."""

VERBS = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"})


@frozen(kw_only=True)
class Rule:
    """One permission. `own_namespace` limits it to the operator's namespace (a Role, not a ClusterRole).

    `resource` None goes with `non_resource_urls`; `resource_names` narrows to named objects. `why` is for the reader of
    the generated manifest.
    """

    resource: Resource | None = None
    verbs: tuple[str, ...]
    subresource: str = ""
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()
    own_namespace: bool = False
    why: str = ""

    def __attrs_post_init__(self) -> None:
        unknown = [verb for verb in self.verbs if verb not in VERBS]
        if unknown or not self.verbs:
            raise ValueError(f"verbs: expected some of {sorted(VERBS)}, found {list(self.verbs)}")
        if (self.resource is None) == (not self.non_resource_urls):
            raise ValueError("resource, non_resource_urls: exactly one of them must be given")

    def as_policy_rule(self) -> Object:
        """The same permission in the form of rbac.authorization.k8s.io/v1 PolicyRule."""
        if self.resource is None:
            return {"nonResourceURLs": list(self.non_resource_urls), "verbs": list(self.verbs)}
        plural = f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
        rule: dict[str, Any] = {"apiGroups": [self.resource.group], "resources": [plural], "verbs": list(self.verbs)}
        if self.resource_names:
            rule["resourceNames"] = list(self.resource_names)
        return rule


def policy_rules(rules: Iterable[Rule]) -> list[Object]:
    """The rules as PolicyRules: verbs of equal targets joined, in an order that makes manifests reproducible."""
    joined: dict[tuple[Any, ...], set[str]] = {}
    for rule in rules:
        group = rule.resource.group if rule.resource else ""
        plural = rule.resource.plural if rule.resource else ""
        target = (rule.resource is None, group, plural, rule.subresource, rule.resource_names, rule.non_resource_urls)
        joined.setdefault(target, set()).update(rule.verbs)
    made = []
    for target in sorted(joined):
        is_url, group, plural, subresource, names, urls = target
        resource = None if is_url else Resource(group=group, version="", kind="", plural=plural, namespaced=False)
        verbs = tuple(sorted(joined[target], key=_verb_order))
        rule = Rule(
            resource=resource, verbs=verbs, subresource=subresource, resource_names=names, non_resource_urls=urls
        )
        made.append(rule.as_policy_rule())
    return made


def _verb_order(verb: str) -> int:
    return ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection").index(verb)
