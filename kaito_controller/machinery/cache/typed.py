"""Typed views of cached objects: made when asked for, once per version, and none of what does not fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from attrs import frozen

from kaito_controller.kube.metadata import Object, resource_version, uid
from kaito_controller.kube.serde import SerdeError, structure
from kaito_controller.machinery.cache.unfit import UnfitObjects
from kaito_controller.machinery.recent import Recent

T = TypeVar("T")

KEPT: Final = 1024
"""Views kept; the longest unused goes first. A view takes several times the room of what it is made from."""


@frozen
class View(Generic[T]):
    """An object as a class sees it: the value, or why there is none."""

    value: T | None
    fault: str = ""


class Typed(Generic[T]):
    """Sees objects as instances of one attrs class.

    One that does not fit is reported once, on the object and in the metrics, and otherwise left alone: it neither
    raises nor keeps its neighbours from being seen.

    Args:
        cls: the class; what it does not declare is ignored, null is absent.
        reader: who looks, for the report: "the Workspace controller".
        unfit: where to report; that of the cache.
        tells: whether the report is an event on the object, too. False where the reader itself tells its user.
    """

    def __init__(self, cls: type[T], reader: str, unfit: UnfitObjects, *, tells: bool = True, kept: int = KEPT) -> None:
        self._class = cls
        self._reader = reader
        self._unfit = unfit
        self._tells = tells
        self._views: Recent[str, tuple[str, View[T]]] = Recent(kept)

    def read(self, obj: Object) -> View[T]:
        """The object as the class sees it. Asked again for the same version it answers with the same view."""
        try:
            identity, version = uid(obj), resource_version(obj)
        except AttributeError:
            identity, version = "", ""
        known = self._views.get(identity)
        if known is not None and known[0] == version:
            return known[1]
        view = self._made(obj)
        if identity and version:
            self._views.put(identity, (version, view))
        return view

    def value(self, obj: Object) -> T | None:
        """The object as an instance of the class, or None when it does not fit."""
        return self.read(obj).value

    def fitting(self, objects: Iterable[Object]) -> tuple[Object, ...]:
        """Those of the objects that fit, as they are."""
        return tuple(obj for obj in objects if not self.read(obj).fault)

    def _made(self, obj: Object) -> View[T]:
        try:
            return View(structure(self._class, obj))
        except SerdeError as error:
            fault = str(error)
        self._unfit.report(obj, self._reader, fault, tells=self._tells)
        return View(None, fault)
