"""What a kube-apiserver fills in, keeps and counts when an object is written."""

from __future__ import annotations

import random
import uuid
from datetime import datetime

from kaito_controller.kube.metadata import Object, deletion_timestamp, finalizers, generation
from kaito_controller.kube.timestamps import format_timestamp
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.kinds import EVERYTHING, Kind
from kaito_controller.testing.fake.routes import Target
from kaito_controller.testing.fake.status import Cause

_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")
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
    head = {key: value for key, value in body["metadata"].items() if key not in {"resourceVersion", *_KEPT}}
    head |= {"name": target.name, "uid": new_uid(rng), "creationTimestamp": format_timestamp(now)}
    if target.namespace:
        head["namespace"] = target.namespace
    if kind.generation:
        head["generation"] = 1
    obj = body | {"apiVersion": target.resource.api_version, "kind": target.resource.kind, "metadata": head}
    if kind.has_status:
        obj.pop("status", None)
    return kind.initial(obj) if kind.initial else obj


def updated(target: Target, old: Object, body: Object) -> Object:
    """The object as it replaces another: what the path may not change stays as it was."""
    if target.subresource == "status":
        obj = _without(old, "status") | ({"status": body["status"]} if "status" in body else {})
        managed = body["metadata"].get("managedFields")
        head = old["metadata"] | ({"managedFields": managed} if managed else {})
        return obj | {"metadata": head}
    head = {key: value for key, value in body["metadata"].items() if key not in {"resourceVersion", *_KEPT}}
    head |= {key: old["metadata"][key] for key in _KEPT if key in old["metadata"]}
    head["resourceVersion"] = old["metadata"]["resourceVersion"]
    for part in ("name", "namespace"):
        if part in old["metadata"]:
            head[part] = old["metadata"][part]
    obj = body | {"apiVersion": target.resource.api_version, "kind": target.resource.kind, "metadata": head}
    if target.kind.has_status:
        obj = _without(obj, "status") | ({"status": old["status"]} if "status" in old else {})
    if _counts(target.kind, old, obj):
        head["generation"] = generation(old) + 1
    _check_finalizers(target, old, obj)
    return obj


def marked(old: Object, now: datetime, grace_s: int) -> Object:
    """The object once its deletion was asked for; generations count that, too."""
    head = old["metadata"] | {"deletionTimestamp": format_timestamp(now), "deletionGracePeriodSeconds": grace_s}
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


def _check_finalizers(target: Target, old: Object, new: Object) -> None:
    if deletion_timestamp(old) is None:
        return
    added = sorted(set(finalizers(new)) - set(finalizers(old)))
    if added:
        listed = ", ".join(f'"{name}"' for name in added)
        message = (
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers"
            f" []string{{{listed}}}"
        )
        cause = Cause(field="metadata.finalizers", reason="FieldValueForbidden", message=message)
        raise status.invalid(target.resource.group, target.resource.kind, target.name, [cause])


def _without(obj: Object, *keys: str) -> Object:
    return {key: value for key, value in obj.items() if key not in keys}
