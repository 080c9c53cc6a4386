"""An OCI registry on loopback, for what is asked of one here, and for faults that no real registry commits.

A real one, `distribution`, is a Go module; it serves its own suite. This one answers within unit tests.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from attrs import define, field

from kaito_controller.testing.sources.parts import part_of

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(content: bytes) -> str:
    """The digest that content is called by."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@define(kw_only=True)
class FakeRegistry:
    """Repositories share their blobs.

    Attributes:
        manifests: content and media type of each, by tag and by digest.
        user: USER:PASSWORD that opens it; empty lets everybody in.
        scheme: how it wants to be asked, Bearer or Basic.
        storage: where blobs are redirected to; empty to send them itself.
        ranges: whether parts of blobs can be had.
        asked: path, Authorization and Range of each request.
    """

    blobs: dict[str, bytes] = field(factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(factory=dict)
    user: str = ""
    scheme: str = "Bearer"
    storage: str = ""
    ranges: bool = True
    asked: list[tuple[str, str, str]] = field(init=False, factory=list)

    def push_blob(
        self, content: bytes, media_type: str, annotations: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Take a blob, and return what a manifest says of it."""
        digest = digest_of(content)
        self.blobs[digest] = content
        described: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(content)}
        return described | ({"annotations": dict(annotations)} if annotations else {})

    def push(self, tag: str, layers: Sequence[Mapping[str, Any]], **more: Any) -> str:
        """Take an artifact, and return its digest."""
        config = self.push_blob(b"{}", "application/vnd.oci.empty.v1+json")
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers), **more}
        return self.push_manifest(tag, body, MANIFEST)

    def push_index(self, tag: str, entries: Sequence[Mapping[str, Any]]) -> str:
        """Take an index, and return its digest."""
        return self.push_manifest(tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}, INDEX)

    def push_manifest(self, tag: str, body: Mapping[str, Any], media_type: str) -> str:
        """Take a manifest as it is, and return its digest."""
        content = json.dumps(body).encode()
        digest = digest_of(content)
        self.manifests[tag] = self.manifests[digest] = (content, media_type)
        return digest

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one request."""
        authorization = request.headers.get("Authorization", "")
        self.asked.append((request.path, authorization, request.headers.get("Range", "")))
        if request.path == "/token":
            return self._token(request)
        if self.user and authorization != self._wanted:
            return web.Response(status=401, headers={"WWW-Authenticate": self._challenge(request)})
        _, what, wanted = request.path.rsplit("/", 2)
        if what == "manifests" and wanted in self.manifests:
            content, media_type = self.manifests[wanted]
            headers = {"Docker-Content-Digest": digest_of(content), "Content-Type": media_type}
            return web.Response(body=content, headers=headers)
        if what == "blobs" and wanted in self.blobs:
            return self._blob(request, wanted)
        return web.json_response({"errors": [{"code": "NAME_UNKNOWN"}]}, status=404)

    def _blob(self, request: web.Request, digest: str) -> web.Response:
        if self.storage:
            return web.Response(status=307, headers={"Location": f"{self.storage}/{digest}?signature=a%2Fb"})
        return part_of(request, self.blobs[digest]) if self.ranges else web.Response(body=self.blobs[digest])

    @property
    def _basic(self) -> str:
        return f"Basic {base64.b64encode(self.user.encode()).decode()}"

    @property
    def _wanted(self) -> str:
        return self._basic if self.scheme == "Basic" else "Bearer opened"

    def _challenge(self, request: web.Request) -> str:
        if self.scheme == "Basic":
            return 'Basic realm="registry"'
        realm = request.url.with_path("/token").with_query(None)
        return f'Bearer realm="{realm}",service="registry",scope="repository:any:pull"'

    def _token(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != self._basic:
            return web.Response(status=401)
        return web.json_response({"token": "opened", "expires_in": 300})
