"""Manifests and indexes of OCI and Docker as values, read as untrusted.

Sources: opencontainers/image-spec v1.1 (manifest.md, image-index.md, layer.md, annotations.md); distribution's
image manifest v2, schema 2; ORAS for titled files and packed folders; modelpack/model-spec v0.0.7 for models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from attrs import field, frozen

from inference_server.files.errors import FetchError, Kind

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFESTS: Final = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
ACCEPT: Final = ", ".join((*MANIFESTS, *INDEXES))
TITLE: Final = "org.opencontainers.image.title"
MODEL_PATH: Final = "org.cncf.model.filepath"
MODEL_TYPES: Final = "application/vnd.cncf.model."
UNPACK: Final = "io.deis.oras.content.unpack"
PLATFORM: Final = "linux/amd64"
_ATTESTATION: Final = "vnd.docker.reference.type"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_ENTRIES: Final = 1000
_MAX_ANNOTATIONS: Final = 1000
_MAX_SIZE: Final = 2**50


class Form(Enum):
    """What the bytes of a layer are."""

    FILE = "file"
    TAR = "tar"
    GZIP = "tar+gzip"
    ZSTD = "tar+zstd"


@frozen(kw_only=True)
class Descriptor:
    """A blob or a manifest: what it is called by, how long it is and what it holds.

    Attributes:
        media_type: what it says it is.
        digest: `sha256:…`.
        size: bytes.
        annotations: its own.
        platform: `os/architecture`; empty where none is given.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(factory=dict)
    platform: str = ""

    @property
    def title(self) -> str:
        """The file or folder that a layer of an artifact is; empty for layers of images."""
        return self.annotations.get(TITLE, "") or self.annotations.get(MODEL_PATH, "")

    @property
    def form(self) -> Form:
        """What a layer's bytes are: a titled one is a file, unless it is marked, or typed, as a packed folder."""
        is_packed = self.media_type.startswith(MODEL_TYPES) and not self.media_type.endswith(".raw")
        if self.title and self.annotations.get(UNPACK) != "true" and not is_packed:
            return Form.FILE
        if self.media_type.endswith(("+gzip", ".gzip", "gzip")):
            return Form.GZIP
        if self.media_type.endswith("+zstd"):
            return Form.ZSTD
        return Form.TAR


@frozen(kw_only=True)
class Manifest:
    """One image or artifact: its layers, the lowest first."""

    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Index:
    """The same thing for several platforms."""

    entries: tuple[Descriptor, ...]


def parse(raw: bytes, subject: str) -> Manifest | Index:
    """Read a manifest or an index; raises `FetchError` (corrupt)."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise _corrupt(subject, "its manifest is not JSON") from None
    if isinstance(document, dict) and document.get("schemaVersion") == 1:
        raise _corrupt(subject, "its manifest is of docker's schema 1, which is no longer read", "push the image anew")
    if isinstance(document, dict) and isinstance(document.get("manifests"), list):
        return Index(entries=_descriptors(document["manifests"], subject))
    if isinstance(document, dict) and isinstance(document.get("layers"), list):
        layers = _descriptors(document["layers"], subject)
        return Manifest(layers=layers, annotations=_texts(document.get("annotations")))
    raise _corrupt(subject, "its manifest has neither layers nor manifests")


def chosen(index: Index, subject: str) -> Descriptor:
    """The entry to pull: for linux/amd64, else one that names no platform, else the first for linux.

    What is pulled here is data, so that another architecture's is as good. Raises `FetchError` (not_found).
    """
    entries = [one for one in index.entries if _ATTESTATION not in one.annotations]
    for fits in (
        lambda one: one.platform == PLATFORM,
        lambda one: not one.platform,
        lambda one: one.platform.startswith("linux/"),
    ):
        if found := next((one for one in entries if one.media_type in (*MANIFESTS, *INDEXES) and fits(one)), None):
            return found
    offered = ", ".join(sorted({one.platform for one in entries}))[:200] or "nothing"
    raise FetchError(
        kind=Kind.NOT_FOUND,
        subject=subject,
        found=f"its index has no image for {PLATFORM}; it has {offered}",
        remedy=f"push one for {PLATFORM}, or without a platform",
    )


def is_digest(text: object) -> bool:
    """Whether it is a digest such as those we check; sha512 is none."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def _descriptors(raw: Sequence[Any], subject: str) -> tuple[Descriptor, ...]:
    if len(raw) > _MAX_ENTRIES:
        raise _corrupt(subject, f"its manifest names {len(raw)} things, and {_MAX_ENTRIES} are read at most")
    return tuple(_descriptor(one, subject) for one in raw)


def _descriptor(raw: Any, subject: str) -> Descriptor:
    fields: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    digest, size = fields.get("digest"), fields.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise _corrupt(subject, f"its manifest has the digest {str(digest)[:80]!r}, and sha256 digests are read")
    if type(size) is not int or not 0 <= size <= _MAX_SIZE:
        raise _corrupt(subject, f"its manifest has the size {str(size)[:40]!r}, which is no number of bytes")
    platform = fields.get("platform")
    return Descriptor(
        media_type=str(fields.get("mediaType") or "")[:200],
        digest=digest,
        size=size,
        annotations=_texts(fields.get("annotations")),
        platform=_platform(platform) if isinstance(platform, dict) else "",
    )


def _platform(raw: Mapping[str, Any]) -> str:
    """`os/architecture`; empty for a platform that says nothing."""
    parts = [str(raw.get(key) or "")[:40] for key in ("os", "architecture")]
    return "/".join(parts) if any(parts) else ""


def _texts(raw: Any) -> Mapping[str, str]:
    items = list(raw.items())[:_MAX_ANNOTATIONS] if isinstance(raw, dict) else []
    return {key: value for key, value in items if isinstance(value, str)}


def _corrupt(subject: str, found: str, remedy: str = "") -> FetchError:
    return FetchError(kind=Kind.CORRUPT, subject=subject, found=found, remedy=remedy)
