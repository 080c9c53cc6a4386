"""The two places that files are fetched from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from attrs import field, frozen

from inference_server.files import hub
from inference_server.files.clock import Clock
from inference_server.files.hub_files import PROGRAM_PATTERNS
from inference_server.files.limits import Limits
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
from inference_server.files.progress import Progress
from inference_server.weights.keeper import Origin
from inference_server.weights.needed import needed
from inference_server.weights.source import Scheme, Source

# The largest open models have some 2 TB; what is larger is no model.
LIMITS: Final = Limits(max_bytes=4 * 2**40, max_files=20_000)
# Below which an image holds its files: KAITO's data images, and what model packers use.
FOLDERS_OF_IMAGES: Final = ("data", "models", "model")


@frozen(kw_only=True)
class HubOrigin:
    """A hub.

    `with_code` also brings the model's own programs, which run only where trust_remote_code is asked for; `mistral`
    says that of two formats the engine reads Mistral's.
    """

    token: str | None = field(default=None, repr=False)
    with_code: bool = False
    mistral: bool = False
    clock: Clock | None = None

    def resolve(self, source: Source) -> str:
        """The commit of a branch or tag; of neither, the default branch's."""
        return hub.resolve(source.reference, token=self.token, clock=self.clock)

    def fetch(self, source: Source, folder: Path, progress: Progress) -> None:
        """Download the files that a safe model needs."""
        patterns = (*hub.SAFE_PATTERNS, *(PROGRAM_PATTERNS if self.with_code else ()))
        hub.fetch(
            source.reference,
            folder,
            token=self.token,
            patterns=patterns,
            keep=lambda paths: needed(paths, mistral=self.mistral),
            limits=LIMITS,
            progress=progress,
            clock=self.clock,
        )


@frozen(kw_only=True)
class RegistryOrigin:
    """Registries. The Secrets' folders are read at every attempt: a corrected Secret is mounted anew by the kubelet."""

    secrets: Sequence[Path] = ()
    clock: Clock | None = None

    def resolve(self, source: Source) -> str:
        """The digest of a tag."""
        return image.resolve(source.reference, credentials=self._credentials(), clock=self.clock)

    def fetch(self, source: Source, folder: Path, progress: Progress) -> None:
        """Pull an artifact's files, or those below one of the usual folders of an image."""
        image.pull(
            source.reference,
            folder,
            credentials=self._credentials(),
            subfolder=FOLDERS_OF_IMAGES,
            limits=LIMITS,
            progress=progress,
            clock=self.clock,
            resume=True,
        )

    def _credentials(self) -> Credentials:
        return Credentials.of_folders(self.secrets) if self.secrets else Credentials.anonymous()


def origin_of(hub_origin: HubOrigin, registry_origin: RegistryOrigin) -> Callable[[Source], Origin]:
    """What brings the files of a source, by its scheme."""

    def choose(source: Source) -> Origin:
        return hub_origin if source.scheme is Scheme.HUB else registry_origin

    return choose
