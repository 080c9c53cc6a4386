"""Reads `inference_config.yaml`, the file a user writes: bounded, safe, every refusal naming its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from inference_server import contract, plain_yaml
from inference_server.plain_yaml import refusal
from inference_server.refusal import nearest, shown

# Keys of KAITO's file that this server takes without acting on them.
WITHOUT_EFFECT: Final = ("kv_cache_cpu_memory_utilization", "max_probe_steps")
# Options that KAITO's stock file and examples still set, and that vLLM has given up (vllm-project/vllm#36216).
RETIRED: Final = frozenset({"swap-space", "num-scheduler-steps", "max-seq-len-to-capture"})


@frozen(kw_only=True)
class ConfigFile:
    """The file's content: options for vLLM, and the keys that were read and do nothing."""

    vllm: Mapping[str, Any]
    without_effect: tuple[str, ...] = ()


def read(path: Path) -> ConfigFile:
    """Reads and checks the file. Raises InputError when it is missing, too large, not YAML or not of this shape."""
    return parse(plain_yaml.read(path))


def parse(text: str) -> ConfigFile:
    """The content of a file's text; an empty text is an empty configuration."""
    document = plain_yaml.load(text)
    document = {} if document is None else document
    if not isinstance(document, dict):
        raise refusal("the file", f"a map with the key `{contract.CONFIG_SECTION}`", shown(document), "")
    known = (contract.CONFIG_SECTION, *WITHOUT_EFFECT)
    for key in document:
        if key not in known:
            remedy = nearest(str(key), known) or f"vLLM's options stand under `{contract.CONFIG_SECTION}:`"
            raise refusal(str(key), f"one of {', '.join(known)}", "an unknown key", remedy)
    options = document.get(contract.CONFIG_SECTION)
    options = {} if options is None else options
    if not isinstance(options, dict):
        raise refusal(contract.CONFIG_SECTION, "a map of option names to values", shown(options), "")
    for key in options:
        if not isinstance(key, str):
            raise refusal(f"{contract.CONFIG_SECTION}.{key}", "a name as key", shown(key), "put it in quotes")
    idle = [key for key in WITHOUT_EFFECT if key in document]
    retired = [key for key in options if key.replace("_", "-") in RETIRED]
    return ConfigFile(
        vllm={key: value for key, value in options.items() if key not in retired},
        without_effect=(*idle, *(f"{contract.CONFIG_SECTION}.{key}" for key in retired)),
    )
