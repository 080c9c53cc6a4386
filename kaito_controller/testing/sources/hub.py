"""A Hugging Face hub on loopback, for what is asked of one here. The real hub cannot be reached where tests run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from aiohttp import web
from attrs import define, field

from kaito_controller.testing.sources.parts import part_of


@define(kw_only=True)
class FakeHub:
    """Models with one branch, main.

    Attributes:
        models: the files of each model by their paths.
        token: what opens gated and private models.
        sizes: what the list of files says of some, instead of the truth.
        damaged: what is sent of some, instead of their content.
        storage: where files of weights are redirected to, as the real hub does; empty to send them itself.
        page: files on one page of a list.
        overrides: the answers of some paths, instead of the usual ones.
        asked: path, Authorization and Range of each request.
    """

    models: dict[str, dict[str, bytes]] = field(factory=dict)
    gated: set[str] = field(factory=set)
    private: set[str] = field(factory=set)
    token: str = "hf_good"  # noqa: S105 - of a server that is not real
    sizes: dict[str, int] = field(factory=dict)
    damaged: dict[str, bytes] = field(factory=dict)
    storage: str = ""
    page: int = 1000
    overrides: dict[str, web.Response] = field(factory=dict)
    asked: list[tuple[str, str, str]] = field(init=False, factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one request."""
        authorization = request.headers.get("Authorization", "")
        self.asked.append((request.raw_path, authorization, request.headers.get("Range", "")))
        if request.path in self.overrides:
            return self.overrides[request.path]
        if authorization not in {"", f"Bearer {self.token}"}:
            return _error(401, "")
        parts = request.path.strip("/").split("/")
        is_description = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if is_description else parts[:2])
        if name not in self.models or (name in self.private and not authorization):
            return _error(404 if authorization else 401, "RepoNotFound")
        if is_description:
            return self._described(request, name, *parts[4:])
        return self._resolved(request, name, *parts[2:])

    def commit(self, name: str) -> str:
        """The commit that main is at."""
        digest = hashlib.sha1(name.encode(), usedforsecurity=False)
        for path, content in sorted(self.models[name].items()):
            digest.update(path.encode() + content)
        return digest.hexdigest()

    def _described(self, request: web.Request, name: str, what: str, revision: str) -> web.Response:
        if revision not in {"main", self.commit(name)}:
            return _error(404, "RevisionNotFound")
        if what == "revision":
            return web.json_response({"id": name, "sha": self.commit(name), "gated": name in self.gated})
        begin = int(request.query.get("cursor", "0"))
        entries = self._entries(self.models[name], recursive=request.query.get("recursive", "").lower() == "true")
        headers = {}
        if begin + self.page < len(entries):
            headers["Link"] = f'<{request.url.with_query(cursor=begin + self.page)}>; rel="next"'
        return web.json_response(entries[begin : begin + self.page], headers=headers)

    def _entries(self, files: Mapping[str, bytes], *, recursive: bool) -> list[dict[str, object]]:
        folders = sorted({path.split("/")[0] for path in files if "/" in path})
        found: list[dict[str, object]] = [
            {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40} for folder in folders
        ]
        for path, content in sorted(files.items()):
            size = self.sizes.get(path, len(content))
            if "/" in path and not recursive:
                continue
            entry: dict[str, object] = {"type": "file", "path": path, "size": size, "oid": blob_id(content)}
            if is_large(path):
                digest = hashlib.sha256(content).hexdigest()
                entry |= {"size": 135, "lfs": {"size": size, "oid": digest, "pointerSize": 135}}
            found.append(entry)
        return found

    def _resolved(self, request: web.Request, name: str, _: str, revision: str, *parts: str) -> web.StreamResponse:
        path = "/".join(parts)
        if name in self.gated and not request.headers.get("Authorization"):
            return _error(401, "GatedRepo")
        if revision not in {"main", self.commit(name)}:
            return _error(404, "RevisionNotFound")
        if path not in self.models[name]:
            return _error(404, "EntryNotFound")
        content = self.models[name][path]
        said = {"X-Repo-Commit": self.commit(name), "ETag": f'"{blob_id(content)}"'}
        if is_large(path):
            said |= {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Linked-Size": str(len(content))}
        if self.storage and is_large(path):
            location = f"{self.storage}/{name}/{path}?signature=a%2Fb"
            return web.Response(status=302, headers={**said, "Location": location})
        answer = part_of(request, self.damaged.get(path, content))
        answer.headers.update(said)
        return answer


def blob_id(content: bytes) -> str:
    """What git calls a file with this content."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def is_large(path: str) -> bool:
    """Whether a file is kept beside the repository, as large ones are."""
    return path.endswith((".safetensors", ".bin"))


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"error": "no"}, status=status, headers={"X-Error-Code": code} if code else {})
