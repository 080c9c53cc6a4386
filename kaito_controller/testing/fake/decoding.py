"""Bodies as objects of the kind they were sent for, and what makes a body unfit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from kaito_controller.kube.core import EVENTS, LEASES
from kaito_controller.kube.metadata import Object
from kaito_controller.testing.fake import schema, status
from kaito_controller.testing.fake.request import Request
from kaito_controller.testing.fake.routes import Target
from kaito_controller.testing.fake.status import Cause, RefusalError

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_APPLY = "application/apply-patch+yaml"
_IDENTITY = ("name", "namespace", "uid", "resourceVersion")


def decoded(target: Target, body: Any, *, nulls: bool = False) -> Object:
    """A body as an object of the target's kind and place; raises a `RefusalError` 400 when it is another.

    `nulls` are kept when the body is a merge of the server's own, which it does not read again.
    """
    resource = target.resource
    if not isinstance(body, dict):
        raise status.bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
    found = (body.get("apiVersion") or "", body.get("kind") or "")
    wanted = (resource.api_version, resource.kind)
    if target.kind.custom:
        _check_custom_type(target, body, found, wanted)
    elif any(value and value != expected for value, expected in zip(found, wanted, strict=True)):
        raise status.bad_request(f'{found[1]} in version "{found[0]}" cannot be handled as a {resource.kind}')
    head = body.get("metadata") or {}
    namespace = head.get("namespace") or target.namespace
    if namespace != target.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    whole = body | {"apiVersion": wanted[0], "kind": wanted[1], "metadata": head}
    if target.kind.stored:
        return target.kind.stored(whole)
    return schema.filled(target.kind.schema, whole, nulls=nulls) if target.kind.schema else whole


def _check_custom_type(target: Target, body: Object, found: tuple[str, str], wanted: tuple[str, str]) -> None:
    if found[0] != wanted[0]:
        raise status.bad_request(
            f"the API version in the data ({found[0]}) does not match the expected API version ({wanted[0]})"
        )
    if found[1] != wanted[1]:
        message = f'Invalid value: "{found[1]}": must be {wanted[1]}'
        cause = Cause(field="kind", reason="FieldValueInvalid", message=message)
        name = (body.get("metadata") or {}).get("name") or ""
        raise status.invalid(target.resource.group, found[1], name, [cause])


def without_nulls(value: Any) -> Any:
    """A value as typed kinds read it: what is null is not there."""
    if isinstance(value, dict):
        return {name: without_nulls(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def check(target: Target, obj: Object, causes: Iterable[Cause] = ()) -> None:
    """Refuse an object whose name or content is not allowed, with further causes that are known (422)."""
    wrong = list(causes)
    if not re.fullmatch(_SUBDOMAIN, target.name):
        message = f'Invalid value: "{target.name}": a lowercase RFC 1123 subdomain is needed, such as example.com'
        wrong.append(Cause(field="metadata.name", reason="FieldValueInvalid", message=message))
    if target.kind.schema:
        wrong += schema.mistakes(target.kind.schema, obj)
    if target.resource == LEASES:
        wrong += _mistakes_of_lease(obj)
    if target.resource == EVENTS:
        wrong += _mistakes_of_event(obj)
    if wrong:
        raise status.invalid(target.resource.group, target.resource.kind, target.name, wrong)


def _mistakes_of_lease(obj: Object) -> Iterator[Cause]:
    found = (obj.get("spec") or {}).get("leaseDurationSeconds", 1)
    if found <= 0:
        message = f"Invalid value: {found}: must be greater than 0"
        yield Cause(field="spec.leaseDurationSeconds", reason="FieldValueInvalid", message=message)


def _mistakes_of_event(obj: Object) -> Iterator[Cause]:
    for name in ("eventTime", "reportingController", "reportingInstance", "action", "reason"):
        if not obj.get(name):
            yield Cause(field=name, reason="FieldValueRequired", message="Required value")
    found = obj.get("type") or ""
    if found not in {"Normal", "Warning"}:
        yield Cause(field="type", reason="FieldValueInvalid", message=f'Invalid value: "{found}"')


def check_name(target: Target, obj: Object) -> None:
    """Refuse a body that is of another name than the path (400)."""
    found = obj["metadata"].get("name") or ""
    if not found:
        raise status.bad_request(
            f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
        )
    if found != target.name:
        raise status.bad_request(f"the name of the object ({found}) does not match the name on the URL ({target.name})")


def configuration(target: Target, body: Any) -> Object:
    """A body as what is applied through this path: what the path does not write is left out."""
    if not isinstance(body, dict):
        raise status.bad_request("error decoding YAML: an object is needed")
    found = (body.get("apiVersion") or "", body.get("kind") or "")
    if found != (target.resource.api_version, target.resource.kind):
        raise status.bad_request(f"invalid object type: {found[0]}, Kind={found[1]}")
    head = body.get("metadata") or {}
    if head.get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    if target.kind.schema and (nameless := list(schema.unknown(target.kind.schema, body))):
        raise cannot_type(target, f"{nameless[0]}: field not declared in schema")
    if target.subresource == "status":
        identity = {key: head[key] for key in _IDENTITY if key in head}
        kept = {"apiVersion": found[0], "kind": found[1], "metadata": identity}
        return kept | ({"status": body["status"]} if "status" in body else {})
    dropped = {"status"} if target.kind.has_status else set()
    return {key: value for key, value in body.items() if key not in dropped} | {"metadata": head}


def cannot_type(target: Target, why: str) -> RefusalError:
    """500 without a reason: how a kube-apiserver refuses an applied body that does not fit the schema."""
    kind = f"{target.resource.api_version}, Kind={target.resource.kind}"
    return status.unexpected(f"failed to create typed patch object ({target.key}; {kind}): {why}")


def check_patch_options(request: Request, content_type: str) -> None:
    """Refuse options that do not go with the kind of patch (422)."""
    wrong: Cause | None = None
    if content_type == _APPLY and not request.query.get("fieldManager"):
        message = "Required value: is required for apply patch"
        wrong = Cause(field="fieldManager", reason="FieldValueRequired", message=message)
    elif content_type != _APPLY and "force" in request.query:
        message = "Forbidden: may not be specified for non-apply patch"
        wrong = Cause(field="force", reason="FieldValueForbidden", message=message)
    if wrong:
        raise status.invalid("meta.k8s.io", "PatchOptions", "", [wrong])
