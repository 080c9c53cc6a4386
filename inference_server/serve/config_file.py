"""Reads `inference_config.yaml`, the file a user writes: bounded, safe, every refusal naming its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from attrs import frozen

from inference_server import contract
from inference_server.serve.refusal import InputError, nearest, shown

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 8
# Keys of KAITO's file that this server takes without acting on them.
WITHOUT_EFFECT: Final = ("kv_cache_cpu_memory_utilization", "max_probe_steps")
# Options that KAITO's stock file and examples still set, and that vLLM has given up (vllm-project/vllm#36216).
RETIRED: Final = frozenset({"swap-space", "num-scheduler-steps", "max-seq-len-to-capture"})


@frozen(kw_only=True)
class ConfigFile:
    """The file's content: options for vLLM, and the keys that were read and do nothing."""

    vllm: Mapping[str, Any]
    without_effect: tuple[str, ...] = ()


class _Loader(yaml.SafeLoader):
    """Plain data only: no tags that build objects, no anchors (they multiply), no key twice, no deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Counts the nesting and refuses references before they are followed."""
        if self.check_event(yaml.events.AliasEvent):
            raise _refusal("the file", "references (*name) are not read", "one", "write the value out")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _refusal("the file", f"at most {MAX_DEPTH} levels deep", "more", "")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses a key that stands twice, of which YAML would silently keep the last."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise _refusal(str(key.value), "each key once", f"again in line {key.start_mark.line + 1}", "")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refusal(field: str, rule: str, found: str, remedy: str) -> InputError:
    return InputError(field=field, rule=rule, found=found, remedy=remedy, exit_code=contract.EXIT_CONFIG)


def read(path: Path) -> ConfigFile:
    """Reads and checks the file. Raises InputError when it is missing, too large, not YAML or not of this shape."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refusal(str(path), "a readable file", error.strerror or "an error", "check the ConfigMap") from error
    if len(raw) > MAX_BYTES:
        raise _refusal(str(path), f"at most {MAX_BYTES} bytes", "more", "")
    try:
        return parse(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _refusal(str(path), "UTF-8 text", f"another byte at {error.start}", "") from error


def parse(text: str) -> ConfigFile:
    """The content of a file's text; an empty text is an empty configuration."""
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader with further bounds)
    except yaml.YAMLError as error:
        raise _refusal("the file", "YAML", " ".join(str(error).split()), "") from error
    document = {} if document is None else document
    if not isinstance(document, dict):
        raise _refusal("the file", f"a map with the key `{contract.CONFIG_SECTION}`", shown(document), "")
    known = (contract.CONFIG_SECTION, *WITHOUT_EFFECT)
    for key in document:
        if key not in known:
            remedy = nearest(str(key), known) or f"vLLM's options stand under `{contract.CONFIG_SECTION}:`"
            raise _refusal(str(key), f"one of {', '.join(known)}", "an unknown key", remedy)
    options = document.get(contract.CONFIG_SECTION)
    options = {} if options is None else options
    if not isinstance(options, dict):
        raise _refusal(contract.CONFIG_SECTION, "a map of option names to values", shown(options), "")
    for key in options:
        if not isinstance(key, str):
            raise _refusal(f"{contract.CONFIG_SECTION}.{key}", "a name as key", shown(key), "put it in quotes")
    idle = [key for key in WITHOUT_EFFECT if key in document]
    retired = [key for key in options if key.replace("_", "-") in RETIRED]
    return ConfigFile(
        vllm={key: value for key, value in options.items() if key not in retired},
        without_effect=(*idle, *(f"{contract.CONFIG_SECTION}.{key}" for key in retired)),
    )
