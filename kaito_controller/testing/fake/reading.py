"""GET of an object and of a collection: versions, pages and their expiry."""

from __future__ import annotations

import base64
import json
import re

from attrs import frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.request import Request
from kaito_controller.testing.fake.routes import Target
from kaito_controller.testing.fake.selectors import Selection, selection
from kaito_controller.testing.fake.status import Cause
from kaito_controller.testing.fake.storage import Storage

EXACT = "Exact"
NOT_OLDER_THAN = "NotOlderThan"
LATEST = -1
"""The version in a continue token that takes up an expired list at whatever is current by then."""
_FORMAT = "meta.k8s.io/v1"


@frozen(kw_only=True)
class Listed:
    """A page of a collection."""

    items: list[Object]
    version: int
    next_page: str = ""
    remaining: int | None = None


@frozen
class Reading:
    """Reads from the storage as a watch cache in front of etcd answers them."""

    storage: Storage

    async def get(self, target: Target, request: Request) -> Object:
        """One object; a version asks for one that is not older, and is waited for."""
        await self.storage.wait_for(version_of(request))
        return self.current(target)

    def current(self, target: Target) -> Object:
        """One object as it is now; raises a `RefusalError` 404 when it is not there."""
        found = self.storage.collection(target.kind.group_resource).objects.get(target.key)
        if found is None:
            raise status.not_found(target.resource.group, target.resource.plural, target.name)
        return found

    async def list(self, target: Target, request: Request) -> Listed:
        """A collection or a page of it."""
        selected = selection(target.kind, target.namespace, target.name, request.query)
        check_list_options(request)
        version, start, limit = self._asked_for(request)
        if version > 0:
            await self.storage.wait_for(version)
        exactly = bool(start and version > 0) or self._is_exact(request)
        if exactly and version < self.storage.compacted:
            raise self._expired(request, start)
        shown = version if exactly else self.storage.revision
        return self._page(target, selected, shown, start, limit, exactly=exactly)

    def _asked_for(self, request: Request) -> tuple[int, str, int]:
        limit = _number(request.query.get("limit", "0"))
        token = request.query.get("continue", "")
        if token:
            if request.query.get("resourceVersion", "") not in {"", "0"}:
                raise status.bad_request("specifying resource version is not allowed when using continue")
            version, start = decode_continue(token)
            return version, start, limit
        version = version_of(request)
        ignored = request.query.get("resourceVersion") == "0" or request.query.get("resourceVersionMatch") == (
            NOT_OLDER_THAN
        )
        return version, "", 0 if ignored else limit

    def _is_exact(self, request: Request) -> bool:
        """A version is meant exactly when said so, and, of old, when a limit comes with it."""
        match = request.query.get("resourceVersionMatch", "")
        version = request.query.get("resourceVersion", "")
        legacy = not match and version not in {"", "0"} and bool(_number(request.query.get("limit", "0")))
        return match == EXACT or legacy

    def _page(
        self, target: Target, selected: Selection, version: int, start: str, limit: int, *, exactly: bool
    ) -> Listed:
        collection = self.storage.collection(target.kind.group_resource)
        if not exactly:
            self.storage.read_through(collection)
        if exactly and version < self.storage.revision:
            objects = collection.at(version)
        else:
            objects = {key: collection.objects[key] for key in collection.keys}
        scope = f"{selected.namespace}/" if selected.namespace else ""
        keys = [key for key in objects if key >= start and key.startswith(scope)]
        items: list[Object] = []
        for index, key in enumerate(keys):
            if selected.matches(objects[key]):
                items.append(objects[key])
            if limit and len(items) == limit and index + 1 < len(keys):
                left = len(keys) - index - 1
                token = encode_continue(version, key + "\0")
                remaining = left if selected.everything else None
                return Listed(items=items, version=version, next_page=token, remaining=remaining)
        return Listed(items=items, version=version)

    def _expired(self, request: Request, start: str) -> status.RefusalError:
        if request.query.get("continue"):
            message = (
                "The provided continue parameter is too old to display a consistent list result: start a new list"
                " without it, or use the token in this answer to go on with an inconsistent one"
            )
            return status.expired(message, continue_token=encode_continue(LATEST, start))
        return status.expired("The resourceVersion for the provided list is too old.")


def version_of(request: Request) -> int:
    """The resource version that a request names; 0 for none. Raises a `RefusalError` when it is no number."""
    text = request.query.get("resourceVersion", "")
    if text and not re.fullmatch(r"\d+", text):
        raise status.bad_request(f'resourceVersion: Invalid value: "{text}": must be a number')
    return int(text or 0)


def encode_continue(version: int, start: str) -> str:
    """A token that names the version of the list and the first key that is still to come."""
    data = json.dumps({"v": _FORMAT, "rv": version, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def decode_continue(token: str) -> tuple[int, str]:
    """Version and first key of a token; raises a `RefusalError` when it is none."""
    try:
        data = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, start = int(data["rv"]), str(data["start"])
    except (ValueError, TypeError, KeyError) as error:
        raise status.bad_request("continue key is not valid") from error
    if data.get("v") != _FORMAT or not version or not start:
        raise status.bad_request("continue key is not valid")
    return version, start


def check_list_options(request: Request) -> None:
    """Refuse what cannot be combined in a list."""
    query = request.query
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    wrong: list[Cause] = []
    if match:
        if not version:
            wrong.append(_forbidden("resourceVersionMatch", "it needs a resourceVersion"))
        if query.get("continue"):
            wrong.append(_forbidden("resourceVersionMatch", "it cannot go with continue"))
        if match not in {EXACT, NOT_OLDER_THAN}:
            supported = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
            wrong.append(Cause(field="resourceVersionMatch", reason="FieldValueNotSupported", message=supported))
        if match == EXACT and version == "0":
            wrong.append(_forbidden("resourceVersionMatch", 'Exact cannot go with resourceVersion "0"'))
    if "sendInitialEvents" in query:
        wrong.append(_forbidden("sendInitialEvents", "it is for watches"))
    if wrong:
        raise status.invalid("meta.k8s.io", "ListOptions", "", wrong)


def _forbidden(field: str, why: str) -> Cause:
    return Cause(field=field, reason="FieldValueForbidden", message=f"Forbidden: {why}")


def _number(text: str) -> int:
    try:
        return int(text or 0)
    except ValueError as error:
        raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error
