"""What a kube-apiserver fills in, keeps and counts when an object is written."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import datetime

from kaito_controller.kube.core import NAMESPACES
from kaito_controller.kube.metadata import Object, deletion_timestamp, finalizers, generation
from kaito_controller.kube.timestamps import format_timestamp
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.kinds import EVERYTHING, Kind
from kaito_controller.testing.fake.routes import Target
from kaito_controller.testing.fake.status import Cause, RefusalError

_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")
_NEVER_EMPTY = {"data", "binaryData", "stringData"}
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_BASE_LENGTH = 63 - _SUFFIX_LENGTH


def generated(prefix: str, rng: random.Random) -> str:
    """A name for a `generateName`: the prefix, cut to fit, and five letters without vowels."""
    return prefix[:_BASE_LENGTH] + "".join(rng.choices(_SUFFIX, k=_SUFFIX_LENGTH))


def new_uid(rng: random.Random) -> str:
    """A UID out of the server's generator."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def created(target: Target, body: Object, now: datetime, rng: random.Random) -> Object:
    """The object as it is first stored."""
    kind = target.kind
    head = {key: value for key, value in body["metadata"].items() if key not in {"resourceVersion", *_KEPT} and value}
    head |= {"name": target.name, "uid": new_uid(rng), "creationTimestamp": format_timestamp(now)}
    if target.namespace:
        head["namespace"] = target.namespace
    if kind.generation:
        head["generation"] = 1
    obj = _tidied(body) | {"apiVersion": target.resource.api_version, "kind": target.resource.kind, "metadata": head}
    if kind.has_status:
        obj.pop("status", None)
    return obj


def updated(target: Target, old: Object, body: Object) -> Object:
    """The object as it replaces another: what the path may not change stays as it was."""
    if target.subresource == "status":
        return _with_status(target, old, body)
    if target.subresource == "finalize":
        return old | {"spec": body.get("spec") or {}}
    head = {key: value for key, value in body["metadata"].items() if key not in {"resourceVersion", *_KEPT} and value}
    head |= {key: old["metadata"][key] for key in _KEPT if key in old["metadata"]}
    head["resourceVersion"] = old["metadata"]["resourceVersion"]
    for part in ("name", "namespace"):
        if part in old["metadata"]:
            head[part] = old["metadata"][part]
    obj = _tidied(body) | {"apiVersion": target.resource.api_version, "kind": target.resource.kind, "metadata": head}
    if target.kind.has_status:
        obj = _without(obj, "status") | ({"status": old["status"]} if "status" in old else {})
    if _counts(target.kind, old, obj):
        head["generation"] = generation(old) + 1
    return obj


def _with_status(target: Target, old: Object, body: Object) -> Object:
    """The old object with a new status; built-in kinds take labels and annotations along."""
    obj = _without(old, "status") | ({"status": body["status"]} if "status" in body else {})
    head = dict(old["metadata"])
    if not target.kind.custom:
        for part in ("labels", "annotations"):
            head.pop(part, None)
            if part in body["metadata"]:
                head[part] = body["metadata"][part]
    return obj | {"metadata": head}


def is_kept(target: Target, obj: Object) -> bool:
    """Whether something still holds on to an object that is to be deleted: a finalizer, or a grace period."""
    if target.resource == NAMESPACES and (obj.get("spec") or {}).get("finalizers"):
        return True
    return bool(finalizers(obj) or obj["metadata"].get("deletionGracePeriodSeconds"))


def check_version(target: Target, old: Object, head: Object) -> None:
    """Refuse a write that is meant for another version (409)."""
    wanted, found = head.get("resourceVersion") or "", old["metadata"]["resourceVersion"]
    if wanted and wanted != found:
        raise status.conflict(target.resource.group, target.resource.plural, target.name, status.MODIFIED)


def check_uid(target: Target, old: Object, head: Object) -> None:
    """Refuse an update that is meant for another object of the same name (409)."""
    wanted, found = head.get("uid") or "", old["metadata"]["uid"]
    if wanted and wanted != found:
        why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
        raise status.conflict(target.resource.group, target.resource.plural, target.name, why)


def check_same_uid(target: Target, old: Object, head: Object) -> None:
    """Refuse a patch that would change the UID (422)."""
    wanted = head.get("uid") or ""
    if wanted and wanted != old["metadata"]["uid"]:
        message = f'Invalid value: "{wanted}": field is immutable'
        raise _invalid(target, Cause(field="metadata.uid", reason="FieldValueInvalid", message=message))


def nothing_with_uid(target: Target, uid: str) -> RefusalError:
    """409: what was applied names a UID, and there is no object at all."""
    why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
    return status.conflict(target.resource.group, target.resource.plural, target.name, why)


def version_required(target: Target) -> RefusalError:
    """422: this kind is never updated blindly."""
    message = "Invalid value: 0: must be specified for an update"
    cause = Cause(field="metadata.resourceVersion", reason="FieldValueInvalid", message=message)
    return status.invalid(target.resource.group, target.resource.plural, target.name, [cause])


def name_required(target: Target) -> RefusalError:
    """422: neither a name nor the beginning of one."""
    message = "Required value: name or generateName is required"
    return _invalid(target, Cause(field="metadata.name", reason="FieldValueRequired", message=message))


def _invalid(target: Target, cause: Cause) -> RefusalError:
    return status.invalid(target.resource.group, target.resource.kind, target.name, [cause])


def marked(old: Object, moment: datetime, grace_s: int | None) -> Object:
    """The object once its deletion was asked for; generations count that, too."""
    head = old["metadata"] | {"deletionTimestamp": format_timestamp(moment)}
    if grace_s is not None:
        head["deletionGracePeriodSeconds"] = grace_s
    if generation(old):
        head["generation"] = generation(old) + 1
    return old | {"metadata": head}


def same(old: Object, new: Object) -> bool:
    """Whether a write changes nothing: no new version, no event. Times of field managers do not count."""
    return _bare(old) == _bare(new)


def _bare(obj: Object) -> Object:
    head = {key: value for key, value in obj["metadata"].items() if key not in {"resourceVersion", "managedFields"}}
    managed = [{key: value for key, value in entry.items() if key != "time"} for entry in _managed(obj)]
    return obj | {"metadata": head, "managed": managed}


def _tidied(obj: Object) -> Object:
    """Without the maps that a kube-apiserver does not keep when they are empty."""
    return {key: value for key, value in obj.items() if value or key not in _NEVER_EMPTY}


def _managed(obj: Object) -> list[Object]:
    return obj["metadata"].get("managedFields") or []


def _counts(kind: Kind, old: Object, new: Object) -> bool:
    if kind.generation == EVERYTHING:
        ignored = {"metadata", "apiVersion", "kind"}
        return _without(old, *ignored) != _without(new, *ignored)
    for part in kind.generation:
        before, after = (obj["metadata"] if part == "annotations" else obj for obj in (old, new))
        if (before.get(part) or {}) != (after.get(part) or {}):
            return True
    return False


def added_finalizers(old: Object, new: Object) -> Iterator[Cause]:
    """What is wrong with an update of an object that is being deleted: it may lose finalizers, and gain none."""
    if deletion_timestamp(old) is None:
        return
    added = sorted(set(finalizers(new)) - set(finalizers(old)))
    if added:
        listed = ", ".join(f'"{name}"' for name in added)
        message = (
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers"
            f" []string{{{listed}}}"
        )
        yield Cause(field="metadata.finalizers", reason="FieldValueForbidden", message=message)


def _without(obj: Object, *keys: str) -> Object:
    return {key: value for key, value in obj.items() if key not in keys}
