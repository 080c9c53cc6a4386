"""The list of wanted adapters, which the operator writes and this reads as untrusted data: bounded and checked.

`{"adapters": [{"name": "a", "image": "registry/x:tag", "pullSecrets": ["s"], "strength": "0.5"}, …]}`; each has exactly
one of `image`, `folder` (mounted from a volume) and `hub` (`organisation/model[@revision]`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, Final

from attrs import frozen

from inference_server import contract
from inference_server.refusal import InputError, shown

MAX_BYTES: Final = 1024 * 1024
MAX_ADAPTERS: Final = 256
# A name is also the name of a folder and of a model in requests; DNS-1123 subdomains are what Kubernetes lets in.
NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
STRENGTH: Final = re.compile(r"[0-9]{0,3}(\.[0-9]{0,12})?")
HUB: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[\w./-]{1,128})?", re.ASCII)
SOURCES: Final = ("image", "folder", "hub")


@frozen(kw_only=True)
class WantedAdapter:
    """One adapter: where it comes from and how much of it counts (`strength` as text, so that it is kept exactly)."""

    name: str
    image: str | None = None
    folder: str | None = None
    hub: str | None = None
    pull_secrets: tuple[str, ...] = ()
    strength: str = "1"

    @property
    def source(self) -> str:
        """What a reader recognises it by."""
        return self.image or self.folder or f"hf://{self.hub}"

    @property
    def factor(self) -> Fraction:
        """The strength as an exact number from 0 to 1."""
        return Fraction(self.strength)


@frozen(kw_only=True)
class Wanted:
    """What is wanted, and by name the entries that cannot be understood."""

    adapters: Mapping[str, WantedAdapter]
    refused: Mapping[str, InputError]


def parse(text: bytes) -> Wanted:
    """Raises InputError when the list as a whole is none; a wrong entry is told by its name and spares the others."""
    if len(text) > MAX_BYTES:
        raise InputError(field=contract.WANTED_FILE_NAME, rule=f"at most {MAX_BYTES} bytes", found="more")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(field=contract.WANTED_FILE_NAME, rule="JSON", found=str(error) or "too deep") from error
    entries = document.get("adapters") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InputError(field="adapters", rule="a list", found=shown(entries))
    if len(entries) > MAX_ADAPTERS:
        raise InputError(field="adapters", rule=f"at most {MAX_ADAPTERS}", found=str(len(entries)))
    adapters: dict[str, WantedAdapter] = {}
    refused: dict[str, InputError] = {}
    for number, entry in enumerate(entries):
        name = f"adapters[{number}]"
        try:
            name = _name(name, entry)
            adapter = _adapter(name, entry, taken=name in adapters or name in refused)
        except InputError as refusal:
            adapters.pop(name, None)
            refused[name] = refusal
        else:
            adapters[name] = adapter
    return Wanted(adapters=adapters, refused=refused)


def _name(field: str, entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
        raise InputError(field=f"{field}.name", rule="a DNS-1123 subdomain", found=shown(name))
    return name


def _adapter(name: str, entry: Mapping[str, Any], *, taken: bool) -> WantedAdapter:
    if taken:
        raise InputError(field=name, rule="every name once", found="the name twice")
    given = [key for key in SOURCES if entry.get(key) is not None]
    if len(given) != 1:
        rule = f"exactly one of {', '.join(SOURCES)}"
        raise InputError(field=name, rule=rule, found=" and ".join(given) or "none")
    return WantedAdapter(
        name=name,
        image=_text(name, entry, "image"),
        folder=_folder(name, entry),
        hub=_hub(name, entry),
        pull_secrets=_secrets(name, entry.get("pullSecrets") or []),
        strength=_strength(name, "1" if entry.get("strength") is None else entry["strength"]),
    )


def _text(name: str, entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 1024 or not value.isprintable():  # noqa: PLR2004 (the rule)
        raise InputError(field=f"{name}.{key}", rule="a line of at most 1024 characters", found=shown(value))
    return value


def _folder(name: str, entry: Mapping[str, Any]) -> str | None:
    value = _text(name, entry, "folder")
    if value is not None and (not value.startswith("/") or ".." in PurePosixPath(value).parts):
        raise InputError(field=f"{name}.folder", rule="an absolute path", found=shown(value))
    return value


def _hub(name: str, entry: Mapping[str, Any]) -> str | None:
    value = _text(name, entry, "hub")
    if value is not None and not HUB.fullmatch(value):
        raise InputError(field=f"{name}.hub", rule="organisation/model or organisation/model@revision", found=value)
    return value


def _secrets(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and NAME.fullmatch(one) for one in value):
        raise InputError(field=f"{name}.pullSecrets", rule="names of Secrets", found=shown(value))
    return tuple(value)


def _strength(name: str, value: Any) -> str:
    fits = isinstance(value, str) and any(map(str.isdigit, value)) and STRENGTH.fullmatch(value)
    if not fits or Fraction(value) > 1:
        rule = 'a decimal number from "0" to "1", as text'
        raise InputError(field=f"{name}.strength", rule=rule, found=shown(value))
    return str(value)
