"""Reads one model for a command line: as its user, from that user's own environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.folder import open_folder
from kaito_controller.sources.hub import HubSettings
from kaito_controller.sources.model_files import ModelFiles
from kaito_controller.sources.oci.credentials import LIMIT_BYTES, Credentials
from kaito_controller.sources.reading import read_model
from kaito_controller.sources.reference import Models, parse_reference
from kaito_controller.sources.wording import shown

OFFLINE: Final = frozenset({"1", "on", "yes", "true"})


async def read_once(text: str, environment: Mapping[str, str]) -> ModelFiles:
    """What the files of a folder, a hub's model or an artifact say.

    The environment's HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean to the hub's own client,
    DOCKER_CONFIG what it means to Docker.

    Raises:
        SourceError: they cannot be read, or are no model.
    """
    reference = parse_reference(text)
    if isinstance(reference, Path):
        return await read_model(await open_folder(reference))
    if environment.get("HF_HUB_OFFLINE", "").lower() in OFFLINE:
        remedy = "name a folder (./FOLDER), or unset it"
        raise SourceError(Trouble.UNREACHABLE, f"{shown(text)}: HF_HUB_OFFLINE is set, so no server is asked: {remedy}")
    # aiohttp takes longer to import than a plan takes, and a folder needs none.
    from kaito_controller.sources.http import AioWeb

    hub, registries = HubSettings.from_environment(environment), docker_credentials(environment)
    async with AioWeb() as web:
        return await Models(web=web, hub=hub, registries=registries).read(reference)


def docker_credentials(environment: Mapping[str, str]) -> Credentials:
    """What docker login has left; nothing when there is no such file.

    Raises:
        SourceError: the file is of another form, or cannot be read.
    """
    home = environment.get("DOCKER_CONFIG") or str(Path(environment.get("HOME") or "~").expanduser() / ".docker")
    path = Path(home) / "config.json"
    try:
        with path.open("rb") as file:
            return Credentials.parse(file.read(LIMIT_BYTES + 1), what=str(path))
    except (FileNotFoundError, NotADirectoryError):
        return Credentials()
    except OSError as error:
        raise SourceError(
            Trouble.DENIED, f"{path}: cannot be read ({error.strerror}); mend it or set DOCKER_CONFIG"
        ) from error
