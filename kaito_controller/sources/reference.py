"""What a user may write for a model that no preset names, and how its files are opened."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from kaito_controller.sources.files import Files
from kaito_controller.sources.folder import open_folder
from kaito_controller.sources.hub import Hub, HubId, HubSettings
from kaito_controller.sources.model_files import ModelFiles
from kaito_controller.sources.oci.artifact import open_artifact
from kaito_controller.sources.oci.credentials import Credentials
from kaito_controller.sources.oci.reference import SCHEME, OciReference
from kaito_controller.sources.reading import read_model
from kaito_controller.sources.web import Web

ModelReference = HubId | OciReference | Path

FOLDERS = ("/", "./", "../", "~")


def parse_reference(text: str) -> ModelReference:
    """A folder when it begins as a path does, an artifact when it begins with oci://, else a hub's id.

    Raises:
        SourceError: it is none of them.
    """
    if text.startswith(FOLDERS) or text in {".", ".."}:
        return Path(text)
    return OciReference.parse(text) if text.startswith(SCHEME) else HubId.parse(text)


@frozen(kw_only=True)
class Models:
    """Reads models from wherever they are, as one user."""

    web: Web
    hub: HubSettings = field(factory=HubSettings)
    registries: Credentials = field(factory=Credentials)

    async def read(self, reference: ModelReference) -> ModelFiles:
        """What a model's files say.

        Raises:
            SourceError: they cannot be read, or are no model.
        """
        return await read_model(await self._open(reference))

    async def _open(self, reference: ModelReference) -> Files:
        if isinstance(reference, Path):
            return await open_folder(reference)
        if isinstance(reference, OciReference):
            return await open_artifact(self.web, reference, self.registries)
        return await Hub(self.web, self.hub).open(reference)
