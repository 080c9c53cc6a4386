"""A Workspace's own token, which the operator reads only where somebody in that namespace has allowed it.

The operator has no right to read Secrets. A Role in the Workspace's namespace that allows `get` on the one Secret gives
it; without one, the API server answers 403, and the message is the Role to create.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from attrs import frozen

from inference_server import contract
from kaito_controller.kube.core import SECRETS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.sources.errors import SourceError, Trouble, malformed
from kaito_controller.sources.oci.credentials import Credentials
from kaito_controller.sources.token import Token
from kaito_controller.sources.trust import trusting

KEY: Final = "HF_TOKEN"
"""The Secret's key, as in KAITO."""


@frozen(kw_only=True)
class ServiceAccount:
    """Who the operator is to the API server."""

    name: str
    namespace: str


@frozen(kw_only=True)
class TokenSecrets:
    """Reads tokens from Secrets, as one service account."""

    client: Client
    operator: ServiceAccount

    async def token(self, namespace: str, name: str, key: str = KEY) -> Token:
        """The token in a Secret.

        Raises:
            SourceError: DENIED with the Role to create, where no Role allows the reading; MISSING without the Secret
                or its key; MALFORMED when it holds no token; UNREACHABLE or BUSY when the API server does not answer.
        """
        what = f"Secret {namespace}/{name}, {key}"
        data = await self._data(namespace, name, key, "the hub's token")
        return Token.parse(_text(_decoded(data[key], what), what), what=what)

    async def docker_config(self, namespace: str, name: str) -> Credentials:
        """What a Secret of type kubernetes.io/dockerconfigjson opens, and the `ca.crt` beside it. Raises as `token`."""
        key = contract.SECRET_DOCKER_CONFIG
        data = await self._data(namespace, name, key, "what docker login writes")
        what = f"Secret {namespace}/{name}"
        return Credentials.parse(
            _decoded(data[key], f"{what}, {key}"), what=f"{what}, {key}", authority=_authority(data, what)
        )

    async def _data(self, namespace: str, name: str, key: str, holding: str) -> Mapping[str, object]:
        what = f"Secret {namespace}/{name}"
        try:
            secret = await self.client.get(SECRETS, name, namespace)
        except ApiError as error:
            raise self._refusal(error, namespace, name, f"{holding} in {key}") from error
        except ApiConnectionError as error:
            raise SourceError(Trouble.UNREACHABLE, f"{what}: the API server does not answer ({error})") from error
        data = secret.get("data") or {}
        if key not in data:
            raise SourceError(Trouble.MISSING, f"{what}: must have a key {key} with {holding}; it has none")
        return dict(data)

    def _refusal(self, error: ApiError, namespace: str, name: str, content: str) -> SourceError:
        what = f"Secret {namespace}/{name}"
        if error.status == HTTPStatus.FORBIDDEN:
            remedy = permission(namespace, name, self.operator)
            return SourceError(Trouble.DENIED, f"{what}: no Role lets the operator read it. Create this one:\n{remedy}")
        if error.status == HTTPStatus.NOT_FOUND:
            return SourceError(Trouble.MISSING, f"{what}: does not exist; create it with {content}")
        busy = f"{what}: the API server answers {error.status}: it is asked again later"
        return SourceError(Trouble.BUSY, busy, retry_after_s=error.retry_after_s)


def _decoded(text: object, what: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        raise malformed(f"{what}: must be in base64") from None


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise malformed(f"{what}: must be a token in base64") from None


def _authority(data: Mapping[str, object], what: str) -> str:
    """The certificates of who signed a registry's own; empty where the Secret holds none."""
    key = contract.SECRET_CERTIFICATE
    if key not in data:
        return ""
    try:
        text = _decoded(data[key], f"{what}, {key}").decode("ascii")
        trusting(text)
    except (UnicodeDecodeError, ValueError):
        raise malformed(f"{what}, {key}: must be certificates in PEM") from None
    return text


def permission_objects(namespace: str, secret: str, operator: ServiceAccount) -> tuple[Object, Object]:
    """The Role and RoleBinding that let the operator read one Secret."""
    name = f"kaito-read-{secret}"
    metadata = {"name": name, "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}
    role: Object = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}
    subject = {"kind": "ServiceAccount", "name": operator.name, "namespace": operator.namespace}
    binding: Object = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [subject],
    }
    return role, binding


def permission(namespace: str, secret: str, operator: ServiceAccount) -> str:
    """The same as YAML to apply, in the fewest lines: it stands in a condition."""
    role, binding = permission_objects(namespace, secret, operator)
    return "\n---\n".join(_yaml(one) for one in (role, binding))


def _yaml(value: Object) -> str:
    return "\n".join(f"{key}: {_flow(part)}" for key, part in value.items())


def _flow(value: object) -> str:
    """YAML in one line. Names of Kubernetes need no quotes, except those that YAML takes for something else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(part) for part in value) + "]"
    text = str(value)
    return text if text[:1].isalpha() and text.lower() not in _WORDS else f'"{text}"'


_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
