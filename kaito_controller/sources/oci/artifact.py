"""The files of a model in a registry, whether they are layers themselves or lie in uncompressed archives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

from attrs import field, frozen

from kaito_controller.sources.errors import SourceError, Trouble, malformed
from kaito_controller.sources.model_files import CONFIG, PARAMS
from kaito_controller.sources.oci.archive import members
from kaito_controller.sources.oci.credentials import Credentials
from kaito_controller.sources.oci.manifest import Descriptor, Form, Manifest, Manifests, chosen, parse
from kaito_controller.sources.oci.reference import OciReference
from kaito_controller.sources.oci.registry import Registry
from kaito_controller.sources.web import Span, Web
from kaito_controller.sources.wording import listed

DIGEST_HEADER: Final = "docker-content-digest"


@frozen(kw_only=True)
class Place:
    """Where a file's bytes are: in a blob, from a start on."""

    blob: Descriptor
    start: int
    size: int

    @property
    def is_whole_blob(self) -> bool:
        """Whether the blob is the file, so that its digest is the file's."""
        return self.start == 0 and self.size == self.blob.size


@frozen(kw_only=True)
class ArtifactFiles:
    """The files of one folder of an artifact, by the digest of its manifest."""

    model_id: str
    revision: str
    source: str
    places: Mapping[str, Place] = field(repr=False)
    registry: Registry = field(repr=False)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each file by its name."""
        return {name: place.size for name, place in self.places.items()}

    async def whole(self, name: str, limit_bytes: int) -> bytes:
        """All of a file, held against its digest where it has one of its own."""
        place, what = self.places[name], f"{self.model_id}, {name}"
        if not place.is_whole_blob:
            return await self.part(name, 0, place.size)
        body = await self.registry.blob(place.blob.digest, what, limit_bytes)
        _refuse_other_bytes(body, place.blob.digest, what)
        return body

    async def part(self, name: str, start: int, length: int) -> bytes:
        """That many bytes from there on; a part has no digest, so the registry is believed."""
        place = self.places[name]
        length = min(length, place.size - start)
        if length <= 0:
            return b""
        span = Span(start=place.start + start, length=length)
        return await self.registry.blob(place.blob.digest, f"{self.model_id}, {name}", length, span)


async def open_artifact(web: Web, reference: OciReference, credentials: Credentials | None = None) -> ArtifactFiles:
    """The files of the model that a reference names now.

    Raises:
        SourceError: there is no such artifact, it holds no model, or only in a form that cannot be read in parts.
    """
    registry = Registry(web, reference, credentials or Credentials())
    manifest, digest = await _manifest(registry, reference)
    places = await _places(registry, manifest, str(reference))
    return ArtifactFiles(
        model_id=reference.model_id,
        revision=digest,
        source=f"{reference.registry}/{reference.repository}@{digest}",
        places=_model_folder(places, manifest, str(reference)),
        registry=registry,
    )


async def _manifest(registry: Registry, reference: OciReference) -> tuple[Manifest, str]:
    """The manifest and its digest; of an index, that of the model in it."""
    found, digest = await _document(registry, reference.wanted, reference.digest)
    if isinstance(found, Manifests):
        entry = chosen(found.entries, what=str(reference))
        found, digest = await _document(registry, entry.digest, entry.digest)
    if isinstance(found, Manifests):
        raise malformed(f"{reference}: an index must name manifests; its entry is an index again")
    return found, digest


async def _document(registry: Registry, wanted: str, expected: str) -> tuple[Manifest | Manifests, str]:
    answer = await registry.manifest(wanted)
    what = str(registry.reference)
    digest = expected or answer.headers.get(DIGEST_HEADER, "")
    if digest.startswith("sha"):
        _refuse_other_bytes(answer.body, digest, what)
    else:
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    return parse(answer.body, what=f"{what}, manifest"), digest


def _refuse_other_bytes(body: bytes, digest: str, what: str) -> None:
    algorithm, _, expected = digest.partition(":")
    if algorithm not in {"sha256", "sha512"} or hashlib.new(algorithm, body).hexdigest() != expected:
        raise malformed(f"{what}: must have the digest that names it; the registry sends other bytes")


async def _places(registry: Registry, manifest: Manifest, what: str) -> dict[str, Place]:
    """Every file by its path: what a later layer has hides what an earlier one has."""
    found: dict[str, Place] = {}
    for layer in manifest.layers:
        if layer.form is Form.FILE:
            found[_path(layer.path)] = Place(blob=layer, start=0, size=layer.size)
    archives = [layer for layer in reversed(manifest.layers) if layer.form is Form.ARCHIVE]
    for layer in archives:
        if _folders(found):
            # The layers below are the operating system's: they may have ten thousands of files.
            break
        for path, place in (await _archived(registry, layer, what)).items():
            found.setdefault(path, place)
    return found


async def _archived(registry: Registry, layer: Descriptor, what: str) -> dict[str, Place]:
    async def read(start: int, length: int) -> bytes:
        return await registry.blob(layer.digest, what, length, Span(start=start, length=length))

    inside = await members(read, layer.size, what=f"{what}, layer {layer.digest[:19]}")
    return {_path(one.path): Place(blob=layer, start=one.start, size=one.size) for one in inside}


def _path(text: str) -> str:
    parts = [part for part in PurePosixPath(text).parts if part not in {"/", "."}]
    # A path that leads out is no file of the model: under this name nothing looks for it.
    return "" if ".." in parts else "/".join(parts)


def _folders(paths: Iterable[str]) -> set[str]:
    """The folders that hold a model: a configuration, and weights beside it."""
    parents: dict[str, set[str]] = {}
    for path in paths:
        parent, _, name = path.rpartition("/")
        parents.setdefault(parent, set()).add(name)
    return {
        parent
        for parent, names in parents.items()
        if not names.isdisjoint({CONFIG, PARAMS}) and any(name.endswith(".safetensors") for name in names)
    }


def _model_folder(places: Mapping[str, Place], manifest: Manifest, what: str) -> Mapping[str, Place]:
    folders = _folders(places)
    if not folders:
        raise _no_model(places, manifest, what)
    depth = min(folder.count("/") + bool(folder) for folder in folders)
    nearest = sorted(folder for folder in folders if folder.count("/") + bool(folder) == depth)
    if len(nearest) > 1:
        raise malformed(f"{what}: must hold one model; found {len(nearest)}, in {listed(nearest)}: pack them apart")
    prefix = f"{nearest[0]}/" if nearest[0] else ""
    inside = {path.removeprefix(prefix): place for path, place in places.items() if path.startswith(prefix)}
    return {name: place for name, place in inside.items() if name and "/" not in name}


def _no_model(places: Mapping[str, Place], manifest: Manifest, what: str) -> SourceError:
    compressed = [layer for layer in manifest.layers if layer.form is Form.COMPRESSED]
    if compressed:
        rule = "layers are read in parts, which compression does not allow"
        remedy = "push the files as they are (as ModelPack's raw layers, or with oras), or without compression"
        found = f"{len(compressed)} of {len(manifest.layers)} layers are compressed"
        return SourceError(Trouble.UNSUPPORTED, f"{what}: {rule}; {found}: {remedy}")
    found = listed(sorted(places)) if places else "no files"
    rule = f"must hold a {CONFIG} and .safetensors files in one folder"
    return SourceError(Trouble.MISSING, f"{what}: {rule}; found {found}")
