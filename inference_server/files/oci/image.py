"""Pulls and pushes images and artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from inference_server import contract
from inference_server.files.clock import Clock
from inference_server.files.limits import Limits
from inference_server.files.oci.credentials import Credentials
from inference_server.files.progress import Progress


@frozen(kw_only=True)
class Pulled:
    """What a pull brought.

    Attributes:
        digest: of the manifest the files are from, `sha256:…`; of an index, the chosen platform's.
        annotations: the manifest's own.
        files: paths below the folder, with `/`, sorted.
    """

    digest: str
    annotations: Mapping[str, str] = field(factory=dict)
    files: tuple[str, ...] = ()


def pull(
    reference: str,
    folder: Path,
    *,
    credentials: Credentials,
    subfolder: str = contract.IMAGE_DATA_DIRECTORY,
    limits: Limits | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Pulled:
    """Put what lies below `/subfolder` of an image, or the titled files of an artifact, into `folder`.

    The folder appears whole or not at all; an older one is replaced. A folder that is a mount point, which cannot be
    replaced, is filled instead: each of its entries appears whole. Files are 0644 and folders 0755 whatever the image
    says, links outside the folder are refused, and nothing is executable.

    A registry on a loopback address may speak plain HTTP; every other is spoken to by HTTPS.
    Raises `FetchError`.
    """
    raise NotImplementedError


def resolve(
    reference: str, *, credentials: Credentials, limits: Limits | None = None, clock: Clock | None = None
) -> str:
    """The digest that a tag points to now; of an index, the index's own. Raises `FetchError`."""
    raise NotImplementedError


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

    The files lie below `data/` in one gzip layer. The bytes depend on the files' contents, names and the annotations
    alone, so that the same result pushed twice is the same image. A reference with a digest is refused.
    Raises `FetchError`.
    """
    raise NotImplementedError
