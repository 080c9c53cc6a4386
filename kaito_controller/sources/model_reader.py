"""Reads a Workspace's model with that Workspace's own token, for the resolver."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, field, frozen

from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.hub import HubSettings
from kaito_controller.sources.model_files import ModelFiles
from kaito_controller.sources.oci.credentials import Credentials
from kaito_controller.sources.oci.reference import OciReference
from kaito_controller.sources.reference import Models, parse_reference
from kaito_controller.sources.secret_access import TokenSecrets
from kaito_controller.sources.web import Web
from kaito_controller.sources.wording import shown


@frozen(kw_only=True)
class ModelKey:
    """What is read, and as whom: an answer that one namespace's token opened is no answer for another namespace.

    `reference` as a user writes it, with @COMMIT once it is known; `namespace` and `secret` are empty without a token.
    `pull_secrets` are those of an artifact's registry.
    """

    reference: str
    namespace: str = ""
    secret: str = ""
    pull_secrets: tuple[str, ...] = ()


@frozen(kw_only=True)
class ModelReader:
    """Reads models for the Workspaces of a cluster.

    `hub` and `registries` are the operator's own: what they open, every Workspace may see. `allowed_registries` are the
    only hosts that are asked for artifacts; any is when there are none.
    """

    web: Web
    secrets: TokenSecrets
    hub: HubSettings = field(factory=HubSettings)
    registries: Credentials = field(factory=Credentials)
    allowed_registries: tuple[str, ...] = ()

    async def read(self, key: ModelKey) -> ModelFiles:
        """What a model's files say.

        Raises:
            SourceError: they cannot be read, or are no model; or the Secret cannot be.
        """
        reference = parse_reference(key.reference)
        if isinstance(reference, Path):
            rule = "must be on a hub or in a registry: the operator reads no folder of its own machine for a Workspace"
            raise SourceError(Trouble.UNSUPPORTED, f"{shown(key.reference)}: {rule}")
        registries = Credentials()
        if isinstance(reference, OciReference):
            self._refuse_unknown(reference)
            registries = await self._registries(key, reference)
        hub = self.hub
        if key.secret:
            hub = evolve(hub, token=await self.secrets.token(key.namespace, key.secret))
        return await Models(web=self.web, hub=hub, registries=registries).read(reference)

    async def _registries(self, key: ModelKey, reference: OciReference) -> Credentials:
        """What opens a registry: the first Secret that names it, and last what the operator has itself.

        That is not sent to whom only a Secret vouches for: its author could stand in for the registry.
        """
        found = Credentials()
        for name in key.pull_secrets:
            found = found.before(await self.secrets.docker_config(key.namespace, name))
        return found if found.authority(reference.registry) else found.before(self.registries)

    def _refuse_unknown(self, reference: OciReference) -> None:
        allowed = self.allowed_registries
        if allowed and reference.registry not in allowed:
            rule = f"the operator asks {', '.join(allowed)} only"
            raise SourceError(Trouble.DENIED, f"{reference}: {rule}; found {reference.registry}")
