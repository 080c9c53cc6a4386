"""Reads the YAML that a user writes: bounded, plain data only, every refusal naming its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from inference_server import contract
from inference_server.refusal import InputError

MAX_BYTES: Final = 64 * 1024
MAX_WHOLE: Final = 2**64
MAX_DEPTH: Final = 8
_DATE: Final = "tag:yaml.org,2002:timestamp"
_PLAIN: Final = (type(None), bool, int, float, str, list, dict)
# What the library's constructors end in when a value is not what its tag, or its look, says.
_BROKEN_VALUES: Final = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError)


class _Loader(yaml.SafeLoader):
    """Plain data only: no tags that build objects, no anchors (they multiply), no key twice, no deep nesting.

    A date is text, as neither an option nor a setting is one.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Counts the nesting and refuses references before they are followed."""
        if self.check_event(yaml.events.AliasEvent):
            raise refusal("the file", "references (*name) are not read", "one", "write the value out")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise refusal("the file", f"at most {MAX_DEPTH} levels deep", "more", "")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses a key that stands twice, of which YAML would silently keep the last."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise refusal("a key", "a word or a number", f"another in line {key.start_mark.line + 1}", "")
            if key.value in seen:
                raise refusal(str(key.value), "each key once", f"again in line {key.start_mark.line + 1}", "")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Refuses what is neither text, number, list nor map, and numbers that Python would not write out again."""
        value = super().construct_object(node, deep)
        place = f"line {node.start_mark.line + 1}"
        if not isinstance(value, _PLAIN):
            raise refusal(place, "text, a number, true, false, null, a list or a map", type(value).__name__, "")
        if isinstance(value, int) and abs(value) >= MAX_WHOLE:
            raise refusal(place, "a whole number of at most 64 bits", "a larger one", "put it in quotes if it is text")
        return value


_Loader.yaml_implicit_resolvers = {
    first: [one for one in known if one[0] != _DATE] for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def refusal(field: str, rule: str, found: str, remedy: str) -> InputError:
    """What is wrong with a configuration file; ends the process with the exit code that says so."""
    return InputError(field=field, rule=rule, found=found, remedy=remedy, exit_code=contract.EXIT_CONFIG)


def read(path: Path) -> str:
    """The text of a file of at most MAX_BYTES bytes. Raises InputError when it is missing, larger or not UTF-8."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refusal(str(path), "a readable file", error.strerror or "an error", "check the ConfigMap") from error
    if len(raw) > MAX_BYTES:
        raise refusal(str(path), f"at most {MAX_BYTES} bytes", "more", "")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refusal(str(path), "UTF-8 text", f"another byte at {error.start}", "") from error


def load(text: str) -> Any:
    """The document in a file's text, None when it is empty. Raises InputError when it is not plain YAML."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader with further bounds)
    except _BROKEN_VALUES as error:
        raise refusal("the file", "YAML", " ".join(str(error).split()), "") from error
