"""Listing a collection: in one piece where the server has it in memory, in pages where it reads it from etcd."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import PAGE_SIZE, Page
from kaito_controller.machinery.errors import ApiError, is_gone
from kaito_controller.machinery.reflector.collection import Collection

ANY_VERSION = "0"
"""Whatever the server has in memory."""
NEWEST = ""
"""What etcd has now, by a quorum read."""


@define(kw_only=True, eq=False)
class ListPager:
    """Lists a collection again and again, and remembers how the server answers.

    Attributes:
        collection: what to list.
        keep: what is kept of an object, asked page by page; None for nothing.
        page_size: objects a page, always; None decides by the version asked for (RF2).
    """

    collection: Collection
    keep: Callable[[Object], Object | None]
    page_size: int | None = None
    _is_paged: bool = field(init=False, default=False)

    def limit(self, version: str) -> int:
        """Objects a page for a list that first asks for a version; 0 takes all at once.

        A watch cache serves a list at a version, but only one without a limit; with one, it goes on to etcd.
        """
        if self.page_size:
            return self.page_size
        return PAGE_SIZE if self._is_paged or version in {NEWEST, ANY_VERSION} else 0

    async def read(self, version: str, limit: int) -> tuple[list[Object], str]:
        """All objects, no older than the version, and the version that they are of (RF3).

        Raises:
            ApiError: the server refused.
            ApiConnectionError: no answer came.
        """
        page = await self.collection.page(version, limit)
        objects, first, is_paged = self._kept(page), page, bool(page.continue_token)
        while page.continue_token:
            try:
                page = await self.collection.page(NEWEST, limit, page.continue_token)
            except ApiError as error:
                if not is_gone(error):
                    raise
                # The snapshot that the pages are cut from is gone, so it is all at once or never (RF4).
                page = first = await self.collection.page(version, 0)
                objects = self._kept(page)
                break
            objects += self._kept(page)
        if is_paged and version == ANY_VERSION:
            # Only a server without a watch cache cuts this one into pages: no use asking it for lists in one piece.
            self._is_paged = True
        return objects, first.resource_version

    def _kept(self, page: Page) -> list[Object]:
        kept = []
        # Taken out one by one, so that what is not kept of one is gone before the next is looked at.
        page.items.reverse()
        while page.items:
            made = self.keep(page.items.pop())
            if made is not None:
                kept.append(made)
        return kept
