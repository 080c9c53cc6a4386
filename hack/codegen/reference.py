"""docs/reference: the pages that tell users every field, rule, condition and reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kaito_controller.api import kinds, validation
from kaito_controller.api.annotation_rules import RULES
from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.reasons import Reason
from kaito_controller.kube import schema
from kaito_controller.kube.crd import CustomKind

_MADE = "<!-- Made by hack/codegen/generate; change the code it is made from, then run that again. -->\n"


def files() -> dict[str, str]:
    """Every generated page."""
    return {
        "docs/reference/workspace.md": _kind_page(kinds.WORKSPACE) + _metadata_section() + _idle_section(),
        "docs/reference/nodeclaim.md": _kind_page(kinds.NODE_CLAIM),
        "docs/reference/conditions.md": _conditions_page(),
    }


def _kind_page(kind: CustomKind) -> str:
    made = schema.of_class(kind.cls)
    resource = kind.resource
    served = ", ".join(f"`{resource.group}/{version.name}`" for version in kind.versions)
    lines = [
        f"# {resource.kind}\n",
        _MADE,
        f"{made['description']}\n",
        f"Served as {served}; stored as `{resource.api_version}`. "
        f"{'Namespaced' if resource.namespaced else 'Cluster-scoped'}."
        + (f" Short names: {', '.join(kind.short_names)}." if kind.short_names else "")
        + "\n",
        "## Fields\n",
        "| Field | Type | Meaning |\n| --- | --- | --- |",
    ]
    lines += [
        f"| `{path}` | {_type(node)} | {_meaning(node, required=required)} |" for path, node, required in _walk(made)
    ]
    lines += [
        "\n## Rules\n",
        "Beyond types and bounds the API server checks, at apply time:\n",
        *(f"- {path + ': ' if path else ''}{rule['message']}" for path, rule in _rules(made)),
        "",
    ]
    return "\n".join(lines)


def _metadata_section() -> str:
    lines = ["\n## Annotations and labels\n", "| Key | Values | Meaning |\n| --- | --- | --- |"]
    for rule in RULES:
        values = ", ".join(f"`{value}`" for value in rule.values) or "any"
        place = "label" if rule.is_label else "annotation"
        lines.append(f"| `{rule.key}` ({place}) | {values} | {rule.meaning} |")
    return "\n".join(lines) + "\n"


def _idle_section() -> str:
    lines = [
        "\n## Accepted without effect in this version\n",
        "Deprecated, or for what is to come. Where one asks for something, `SpecHonored` is False and names it.\n",
        *(f"- `{path}`" for path in validation.paths_without_effect()),
    ]
    return "\n".join(lines) + "\n"


def _conditions_page() -> str:
    lines = ["# Conditions and reasons\n", _MADE, "## Conditions\n", "| Type | Of | True means |\n| --- | --- | --- |"]
    lines += [f"| `{one}` | {', '.join(one.kinds)} | {one.meaning} |" for one in ConditionType]
    lines += [
        "\n## Reasons\n",
        "A condition or an event carries one of these.\n",
        "| Reason | Meaning | Cause | Remedy |\n| --- | --- | --- | --- |",
    ]
    lines += [f"| `{one}` | {one.meaning} | {one.cause} | {_cell(one.remedy)} |" for one in sorted(Reason)]
    correctable = ", ".join(f"`{one}`" for one in Reason if one.correctable)
    lines.append(f"\nWhile one of these stands, otherwise immutable fields may be corrected in place: {correctable}.")
    return "\n".join(lines) + "\n"


def _walk(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Every property below a schema, depth first: its path, its schema, whether it is required."""
    required = node.get("required", ())
    for name, child in node.get("properties", {}).items():
        if not path and name in ("apiVersion", "kind", "metadata"):
            continue
        where = f"{path}.{name}" if path else name
        yield where, child, name in required
        yield from _walk(child, where)
        yield from _walk(child.get("items", {}), f"{where}[]")
        held = child.get("additionalProperties", {})
        yield from _walk(held, f"{where}[*]")


def _rules(node: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    nodes = [("", node), *((path, child) for path, child, _ in _walk(node))]
    nodes += [(f"{path}[]", child["items"]) for path, child, _ in _walk(node) if "items" in child]
    for path, child in nodes:
        for rule in child.get("x-kubernetes-validations", ()):
            yield (f"`{path}`" if path else ""), rule


def _type(node: Mapping[str, Any]) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in node:
        return f"list of {_type(node['items'])}"
    if "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}"
    return str(node.get("type", "object"))


def _meaning(node: Mapping[str, Any], *, required: bool) -> str:
    parts = ["Required."] if required else []
    parts.append(node.get("description", ""))
    if "enum" in node:
        parts.append("One of " + ", ".join(f"`{value}`" for value in node["enum"]) + ".")
    if "default" in node:
        parts.append(f"Default `{node['default']}`.")
    bounds = {"minimum": "at least {}", "maximum": "at most {}", "maxLength": "at most {} characters"}
    told = [form.format(node[key]) for key, form in {**bounds, "maxItems": "at most {} items"}.items() if key in node]
    if told:
        parts.append(f"({', '.join(told)})")
    return _cell(" ".join(part for part in parts if part))


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ").replace("<", "&lt;")
