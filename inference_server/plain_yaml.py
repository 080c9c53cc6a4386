"""Reads the YAML that a user writes: bounded, plain data only, every refusal naming its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from inference_server import contract
from inference_server.serve.refusal import InputError

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 8


class _Loader(yaml.SafeLoader):
    """Plain data only: no tags that build objects, no anchors (they multiply), no key twice, no deep nesting."""

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
            if key.value in seen:
                raise refusal(str(key.value), "each key once", f"again in line {key.start_mark.line + 1}", "")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


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
    except yaml.YAMLError as error:
        raise refusal("the file", "YAML", " ".join(str(error).split()), "") from error
