"""TokenReview and SubjectAccessReview, answered from what a test has written down about users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import define, field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.request import ADMIN, Request
from kaito_controller.testing.fake.status import Cause

MASTERS = "system:masters"
_TOKEN_REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
_ACCESS = "/apis/authorization.k8s.io/v1/"


@frozen(kw_only=True)
class User:
    """Somebody who can show a token."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


ADMINISTRATOR = User(name=ADMIN, groups=(MASTERS, "system:authenticated"))


@define
class Users:
    """Who is known, and who may do what; members of `system:masters` may do everything.

    Attributes:
        tokens: whose token is which.
        grants: user, verb and path or resource (`/metrics`, `pods`) of everything that is allowed.
    """

    tokens: dict[str, User] = field(factory=dict)
    grants: set[tuple[str, str, str]] = field(factory=set)

    def of(self, token: str) -> User:
        """Who shows this token; the administrator shows none. Raises a `RefusalError` 401 for an unknown one."""
        if not token:
            return ADMINISTRATOR
        if token not in self.tokens:
            raise status.unauthorized()
        return self.tokens[token]

    def allows(self, name: str, groups: tuple[str, ...], attributes: Mapping[str, Any]) -> bool:
        """Whether a user may do what the attributes of a review tell."""
        what = attributes.get("path") or attributes.get("resource") or ""
        return MASTERS in groups or (name, attributes.get("verb", ""), what) in self.grants

    def answer(self, request: Request, user: User) -> Object | None:
        """The review at a path; None when it is no path of a review."""
        reviews: dict[str, Callable[[Object], Object]] = {
            _TOKEN_REVIEW: self._token_review,
            f"{_ACCESS}subjectaccessreviews": self._access_review,
            f"{_ACCESS}selfsubjectaccessreviews": partial(self._own_access_review, user),
        }
        if request.path not in reviews:
            return None
        if request.method != "POST":
            raise status.method_not_allowed()
        body = request.body if isinstance(request.body, dict) else {}
        return reviews[request.path](body)

    def _token_review(self, body: Object) -> Object:
        spec = body.get("spec") or {}
        token = spec.get("token")
        if not token:
            raise status.bad_request("token is required for TokenReview in authentication")
        found = self.tokens.get(token)
        outcome: Object = {"user": {}, "error": "invalid bearer token"}
        if found:
            user = {"username": found.name, "uid": found.uid, "groups": list(found.groups)}
            outcome = {"authenticated": True, "user": {key: value for key, value in user.items() if value}}
        return _review("TokenReview", "authentication.k8s.io/v1", spec, outcome)

    def _access_review(self, body: Object) -> Object:
        spec = body.get("spec") or {}
        return self._decided("SubjectAccessReview", spec, spec.get("user") or "", tuple(spec.get("groups") or ()))

    def _own_access_review(self, user: User, body: Object) -> Object:
        return self._decided("SelfSubjectAccessReview", body.get("spec") or {}, user.name, user.groups)

    def _decided(self, kind: str, spec: Object, name: str, groups: tuple[str, ...]) -> Object:
        attributes = [spec[key] for key in ("nonResourceAttributes", "resourceAttributes") if spec.get(key)]
        if len(attributes) != 1:
            why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            cause = Cause(field="spec", reason="FieldValueInvalid", message=f"Invalid value: null: {why}")
            raise status.invalid("authorization.k8s.io", "", "", [cause])
        return _review(kind, "authorization.k8s.io/v1", spec, {"allowed": self.allows(name, groups, attributes[0])})


def _review(kind: str, api_version: str, spec: Object, outcome: Object) -> Object:
    return {"kind": kind, "apiVersion": api_version, "metadata": {}, "spec": spec, "status": outcome}
