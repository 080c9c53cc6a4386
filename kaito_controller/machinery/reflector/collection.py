"""The objects that a reflector follows: how to ask for them, and which objects are some of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from attrs import field, frozen

from kaito_controller.kube.resource import Resource
from kaito_controller.machinery import codec
from kaito_controller.machinery.client.client import METADATA_API_VERSION, METADATA_KIND, Client, Page, page_of
from kaito_controller.machinery.errors import InvalidAnswerError
from kaito_controller.machinery.log import logger

ITEM_LEVEL = 3
"""Where the objects of a list are, in levels of JSON."""

log = logger(__name__)


@frozen(kw_only=True)
class Collection:
    """The objects of one kind that match, whole or their metadata alone."""

    client: Client
    resource: Resource
    namespace: str | None = None
    label_selector: str = ""
    field_selector: str = ""
    metadata_only: bool = False
    _kind: str = field(init=False)
    _api_version: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Asked once per event, so it is not made anew each time.
        object.__setattr__(self, "_kind", self.resource.kind)
        object.__setattr__(self, "_api_version", self.resource.api_version)

    async def page(self, version: str, limit: int, token: str = "") -> Page:
        """One request of a list; what is no object of the kind in it is left out, with a warning.

        What nests too deep to be read has `codec.CUT`, and is not whole.
        """
        try:
            page = await self.client.list_page(
                self.resource,
                self.namespace,
                label_selector=self.label_selector,
                field_selector=self.field_selector,
                resource_version=version,
                limit=limit,
                continue_token=token,
                metadata_only=self.metadata_only,
            )
        except InvalidAnswerError as error:
            page = self._shortened(error)
        fit = [item for item in page.items if self.holds(item) and item["metadata"].get("name")]
        if len(fit) < len(page.items):
            log.warning("a list holds what is no object; left out", kind=self._kind, count=len(page.items) - len(fit))
            page.items[:] = fit
        return page

    def _shortened(self, error: InvalidAnswerError) -> Page:
        try:
            return page_of(self.resource, codec.shortened(error.data, ITEM_LEVEL))
        except ValueError:
            raise error from None

    def watch(
        self, version: str, seconds: int, *, initial_events: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a watch that the server ends after that many seconds."""
        return self.client.watch(
            self.resource,
            self.namespace,
            label_selector=self.label_selector,
            field_selector=self.field_selector,
            resource_version=version,
            timeout_s=seconds,
            initial_events=initial_events,
            metadata_only=self.metadata_only,
        )

    def holds(self, obj: Any) -> bool:
        """Whether this is an object of the kind, with metadata (RF16). Bare metadata is given the kind it is of."""
        if type(obj) is not dict or type(obj.get("metadata")) is not dict:
            return False
        kind, api_version = obj.get("kind"), obj.get("apiVersion")
        if kind == self._kind and api_version == self._api_version:
            return True
        if not self.metadata_only or kind != METADATA_KIND or api_version != METADATA_API_VERSION:
            return False
        obj["kind"], obj["apiVersion"] = self._kind, self._api_version
        return True
