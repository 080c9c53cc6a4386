"""Manifests and indexes of OCI and Docker, as values; what is a file of a model by itself, and what an archive of some.

Sources: opencontainers/image-spec (manifest.md, image-index.md, annotations.md); modelpack/model-spec (docs/spec.md,
specs-go/v1/mediatype.go and annotations.go), formerly CloudNativeAI; ORAS for how it marks packed folders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final

from attrs import field, frozen

from kaito_controller.sources.errors import SourceError, Trouble, malformed
from kaito_controller.sources.json_text import decode_object
from kaito_controller.sources.oci.reference import DIGEST
from kaito_controller.sources.wording import shown

MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
ACCEPT: Final = ", ".join((*MANIFESTS, *INDEXES))
LIMIT_BYTES: Final = 4 * 2**20
"""The most that the distribution specification asks a registry to take."""
LAYERS: Final = 4000
PATHS: Final = ("org.cncf.model.filepath", "org.cnai.model.filepath", "org.opencontainers.image.title")
UNPACK: Final = "io.deis.oras.content.unpack"
MODEL_TYPES: Final = ("application/vnd.cncf.model.", "application/vnd.cnai.model.")
PLATFORM: Final = ("linux", "amd64")


class Form(Enum):
    """What the bytes of a layer are."""

    FILE = auto()
    ARCHIVE = auto()
    COMPRESSED = auto()
    OTHER = auto()


@frozen(kw_only=True)
class Descriptor:
    """A blob or a manifest: what it is called by, how long it is and what it holds."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(factory=dict)
    artifact_type: str = ""
    platform: tuple[str, str] | None = None

    @property
    def path(self) -> str:
        """The file that a layer is, if it is one; empty when nothing says so."""
        return next((self.annotations[key] for key in PATHS if self.annotations.get(key)), "")

    @property
    def form(self) -> Form:
        """What a layer's bytes are.

        ORAS calls a plain file a tar layer, too; that one has a title and is not to be unpacked.
        """
        kind = self.media_type
        if kind.endswith(("gzip", "zstd", ".br", "lz4")):
            return Form.COMPRESSED
        is_archive = kind.endswith((".tar", ".v1.tar", "/x-tar"))
        if is_archive and (self.annotations.get(UNPACK) == "true" or kind.startswith(MODEL_TYPES) or not self.path):
            return Form.ARCHIVE
        return Form.FILE if self.path else Form.OTHER


@frozen(kw_only=True)
class Manifest:
    """One artifact or image: its layers, the lowest first."""

    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Manifests:
    """An index: the same thing for several platforms."""

    entries: tuple[Descriptor, ...]


def parse(raw: bytes, *, what: str) -> Manifest | Manifests:
    """Read a manifest or an index.

    Raises:
        SourceError: it is neither.
    """
    document = decode_object(raw, what=what)
    if isinstance(document.get("layers"), list):
        layers = _descriptors(document["layers"], f"{what}: layers")
        return Manifest(layers=layers, annotations=_texts(document.get("annotations")))
    if isinstance(document.get("manifests"), list):
        return Manifests(entries=_descriptors(document["manifests"], f"{what}: manifests"))
    rule = "must be a manifest with layers, or an index with manifests"
    raise malformed(f"{what}: {rule}; found {shown(document.get('mediaType', 'neither'))}")


def chosen(entries: Sequence[Descriptor], *, what: str) -> Descriptor:
    """The one of an index that holds a model: marked as one, or for the platform that GPUs are on, or the only one.

    Raises:
        SourceError: none is.
    """
    tests = (
        lambda one: one.artifact_type.startswith(MODEL_TYPES),
        lambda one: one.platform == PLATFORM,
        lambda one: one.platform is None,
    )
    for test in tests:
        found = next((one for one in entries if one.media_type in MANIFESTS and test(one)), None)
        if found is not None:
            return found
    raise SourceError(Trouble.MISSING, f"{what}: must have a manifest for {'/'.join(PLATFORM)}; it has none")


def _descriptors(raw: Sequence[Any], what: str) -> tuple[Descriptor, ...]:
    if len(raw) > LAYERS:
        raise malformed(f"{what}: up to {LAYERS} are read; found {len(raw)}")
    return tuple(_descriptor(one, f"{what}[{index}]") for index, one in enumerate(raw))


def _descriptor(raw: Any, what: str) -> Descriptor:
    fields: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    digest, size = fields.get("digest"), fields.get("size")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise malformed(f"{what}.digest: must be a digest such as sha256:...; found {shown(digest)}")
    if type(size) is not int or size < 0:
        raise malformed(f"{what}.size: must be a number of bytes; found {shown(size)}")
    platform = fields.get("platform")
    return Descriptor(
        media_type=str(fields.get("mediaType") or ""),
        digest=digest,
        size=size,
        annotations=_texts(fields.get("annotations")),
        artifact_type=str(fields.get("artifactType") or ""),
        platform=_platform(platform) if isinstance(platform, dict) else None,
    )


def _platform(raw: Mapping[str, Any]) -> tuple[str, str]:
    return str(raw.get("os") or ""), str(raw.get("architecture") or "")


def _texts(raw: Any) -> Mapping[str, str]:
    items: Iterable[tuple[str, Any]] = raw.items() if isinstance(raw, dict) else ()
    return {key: value for key, value in items if isinstance(value, str)}
