"""Pulls and pushes images and artifacts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import field, frozen

from inference_server import contract
from inference_server.files import disk
from inference_server.files.clock import Clock, SystemClock
from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import Limits
from inference_server.files.oci import blobs, manifests, packing, session
from inference_server.files.oci.credentials import Credentials
from inference_server.files.oci.manifest import Descriptor, Form, Manifest
from inference_server.files.oci.reference import Reference
from inference_server.files.oci.root import Root
from inference_server.files.oci.session import Session
from inference_server.files.progress import Progress, silent
from inference_server.files.staging import Stage, files_of, staged

_SCRATCH: Final = ".pushing"


@frozen(kw_only=True)
class Pulled:
    """What a pull brought.

    Attributes:
        digest: of the manifest the files are from, `sha256:…`; of an index, the chosen platform's.
        named: of what the reference itself names, as `resolve` says it; another than `digest` where that is an index.
        annotations: the manifest's own.
        files: paths below the folder, with `/`, sorted.
    """

    digest: str
    named: str = ""
    annotations: Mapping[str, str] = field(factory=dict)
    files: tuple[str, ...] = ()


def pull(
    reference: str,
    folder: Path,
    *,
    credentials: Credentials,
    subfolder: str | Sequence[str] = contract.IMAGE_DATA_DIRECTORY,
    limits: Limits | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
    resume: bool = False,
) -> Pulled:
    """Put what lies below `/subfolder` of an image, or the titled files of an artifact, into `folder`.

    Of several subfolders the first that the image has counts. With `resume` a call that fails leaves in a hidden
    sibling what it brought of an artifact's files or of a layer, and the next call goes on from there.

    The folder appears whole or not at all; an older one is replaced. A folder that is a mount point, which cannot be
    replaced, is filled instead: each of its entries appears whole. Files are 0644 and folders 0755 whatever the image
    says, links outside the folder are refused, and nothing is executable.

    A registry on a loopback address may speak plain HTTP; every other is spoken to by HTTPS.
    Raises `FetchError`.
    """
    parsed, bounds = Reference.parse(reference), limits or Limits()
    with session.opened(parsed, credentials, session.PULL, bounds, clock or SystemClock()) as opened:
        chosen = manifests.chosen(opened)
        with staged(folder, str(parsed), keep=resume) as stage:
            wanted = (subfolder,) if isinstance(subfolder, str) else tuple(subfolder)
            _fill(opened, chosen.manifest, stage, wanted, progress or silent, resume=resume)
            files = files_of(stage.content)
    return Pulled(digest=chosen.digest, named=chosen.named, annotations=chosen.manifest.annotations, files=files)


def resolve(
    reference: str, *, credentials: Credentials, limits: Limits | None = None, clock: Clock | None = None
) -> str:
    """The digest that a tag points to now; of an index, the index's own. Raises `FetchError`."""
    parsed = Reference.parse(reference)
    with session.opened(parsed, credentials, session.PULL, limits or Limits(), clock or SystemClock()) as opened:
        return manifests.digest(opened)


def push(
    folder: Path,
    names: Sequence[str],
    reference: str,
    *,
    credentials: Credentials,
    annotations: Mapping[str, str],
    limits: Limits | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> str:
    """Push the named files of a folder as one image and return its digest, `sha256:…`.

    The files lie below `data/` in one gzip layer, which is packed in a hidden folder beside them. The bytes depend on
    the files' contents, names and the annotations alone, so that the same result pushed twice is the same image.
    A reference with a digest is refused. Raises `FetchError`.
    """
    parsed, bounds = Reference.parse(reference), limits or Limits()
    if parsed.digest:
        raise FetchError(
            kind=Kind.INVALID,
            subject=str(parsed),
            found="an image is pushed under a tag, and this names a digest",
            remedy="leave the digest away",
        )
    with _scratch(folder / _SCRATCH, str(parsed)) as place:
        packed = packing.pack(folder, names, place / "layer", annotations, str(parsed))
        with session.opened(parsed, credentials, session.PUSH, bounds, clock or SystemClock()) as opened:
            blobs.push(opened, blobs.Blob.of_file(packed.layer, packed.layer_digest), progress or silent)
            blobs.push(opened, blobs.Blob.of_bytes(packed.config, packed.config_digest), silent)
            manifests.push(opened, packed.manifest, packed.digest)
    return packed.digest


@contextmanager
def _scratch(place: Path, subject: str) -> Iterator[Path]:
    """An empty folder, gone afterwards. Its name is always the same, so that what a killed push left goes as well."""
    with disk.writing(subject):
        if place.exists():
            shutil.rmtree(place)
        place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fill(
    opened: Session, manifest: Manifest, stage: Stage, subfolders: Sequence[str], progress: Progress, *, resume: bool
) -> None:
    """Bring and apply the layers; the stage's content is then what is wanted of them."""
    subject, limits = str(opened.reference), opened.web.limits
    is_artifact = any(layer.title for layer in manifest.layers)
    if resume and not all(layer.form is Form.FILE for layer in manifest.layers):
        # Layers lie over one another, so that half of them applied is no beginning; what came of one still is.
        with disk.writing(subject):
            shutil.rmtree(stage.content)
            stage.content.mkdir()
    root = Root(folder=stage.content, only=() if is_artifact else tuple(subfolders), limits=limits, subject=subject)
    for layer, told in blobs.in_turn(manifest.layers, progress, limits.max_bytes, subject):
        if resume and root.has(layer):
            told(layer.size, layer.size)
            continue
        file = stage.scratch / layer.digest.replace(":", "-")
        blobs.pull(opened, layer, file, told, resume=resume)
        _apply(root, layer, file)
        file.unlink(missing_ok=True)
    root.finish()
    below = next((stage.content / one for one in subfolders if (stage.content / one).is_dir()), None)
    if below is not None:
        stage.content = below
    elif not is_artifact:
        wanted = " and no ".join(f"/{one}" for one in subfolders)
        raise FetchError(
            kind=Kind.INVALID,
            subject=subject,
            found=f"the image has no folder {wanted}",
            remedy=f"put the files into /{subfolders[0]}, as in FROM scratch, COPY . /{subfolders[0]}",
        )


def _apply(root: Root, layer: Descriptor, file: Path) -> None:
    match layer.form:
        case Form.FILE:
            root.place(layer.title, file)
        case Form.GZIP | Form.TAR:
            root.apply(file, is_gzip=layer.form is Form.GZIP)
        case Form.ZSTD:
            raise FetchError(
                kind=Kind.INVALID,
                subject=root.subject,
                found="it has a layer compressed by zstd, which is not read",
                remedy="push it with gzip layers",
            )
