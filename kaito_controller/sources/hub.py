"""A model on a Hugging Face hub, or on a mirror that speaks its wire format: a commit, its files, and parts of them.

GET /api/models/ID/revision/REVISION  the commit that a branch or tag names
GET /api/models/ID/tree/COMMIT        the files of the top folder with their sizes
GET /ID/resolve/COMMIT/FILE           a file, or a part of it (Range)

Source: huggingface_hub, `HfApi.model_info`, `HfApi.list_repo_tree`, `hf_hub_url` and `hf_raise_for_status`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import quote, urljoin

from attrs import field, frozen

from kaito_controller.sources.errors import SourceError, Trouble, malformed, too_large
from kaito_controller.sources.json_text import decode_object
from kaito_controller.sources.token import Token
from kaito_controller.sources.web import Answer, Ask, Span, Web, host_of, origin, refuse_open_secret
from kaito_controller.sources.wording import shown

ENDPOINT: Final = "https://huggingface.co"
MAIN: Final = "main"
NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
REVISION: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,253}[A-Za-z0-9_-])?")
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
INFO_LIMIT_BYTES: Final = 8 * 2**20
"""A model's description lists every file of every folder; the longest have a few thousand."""
PAGE_LIMIT_BYTES: Final = 8 * 2**20
PAGES: Final = 20
NEXT: Final = re.compile(r'<([^<>]{1,4096})>\s*;\s*rel="?next"?')


@frozen(kw_only=True)
class HubId:
    """A model of a hub, at a branch, a tag or a commit."""

    name: str
    revision: str = MAIN

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ORG/NAME or ORG/NAME@REVISION.

        Raises:
            SourceError: it is neither.
        """
        name, at, revision = text.partition("@")
        owner, _, model = name.partition("/")
        if not (NAME.fullmatch(owner) and NAME.fullmatch(model)) or "--" in name or ".." in name:
            rule = "a model's id is ORG/NAME, of letters, digits, '-', '_' and '.'"
            raise malformed(
                f"{shown(text)}: {rule}; for a folder write ./FOLDER, for a registry oci://REGISTRY/NAME:TAG"
            )
        if at and (not REVISION.fullmatch(revision) or ".." in revision or "//" in revision):
            raise malformed(f"{shown(text)}: what follows '@' must be a branch, a tag or a commit of the hub")
        return cls(name=name, revision=revision if at else MAIN)

    def __str__(self) -> str:
        return self.name if self.revision == MAIN else f"{self.name}@{self.revision}"


@frozen(kw_only=True)
class HubSettings:
    """Which hub is asked, and as whom."""

    endpoint: str = ENDPOINT
    token: Token | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """HF_ENDPOINT and HF_TOKEN, as the hub's own client reads them.

        Raises:
            SourceError: one of them cannot be used.
        """
        endpoint = environment.get("HF_ENDPOINT", "").strip().rstrip("/") or ENDPOINT
        if not _is_address(endpoint):
            # It is not repeated: somebody may have written a password into it.
            raise malformed(f"HF_ENDPOINT: must be the address of a hub, such as {ENDPOINT}, without user or query")
        text = environment.get("HF_TOKEN", "")
        return cls(endpoint=endpoint, token=Token.parse(text, what="HF_TOKEN") if text.strip() else None)


@frozen(kw_only=True)
class HubFiles:
    """The files of a model's top folder at one commit."""

    model_id: str
    revision: str
    source: str
    sizes: Mapping[str, int]
    hub: Hub

    async def whole(self, name: str, limit_bytes: int) -> bytes:
        """All of a file."""
        return await self.hub.file(self, name, limit_bytes, None)

    async def part(self, name: str, start: int, length: int) -> bytes:
        """That many bytes from there on."""
        return await self.hub.file(self, name, length, Span(start=start, length=length))


@frozen
class Hub:
    """Asks one hub as one user."""

    web: Web
    settings: HubSettings = field(factory=HubSettings)

    async def open(self, model: HubId) -> HubFiles:
        """A model's files, at the commit that its revision names now.

        Raises:
            SourceError: the hub has no such model or revision, does not show it, or cannot be asked.
        """
        commit = model.revision if COMMIT.fullmatch(model.revision) else await self._commit(model)
        return HubFiles(
            model_id=model.name,
            revision=commit,
            source=f"{self.settings.endpoint}/{model.name}",
            sizes=await self._sizes(model, commit),
            hub=self,
        )

    async def file(self, files: HubFiles, name: str, limit_bytes: int, span: Span | None) -> bytes:
        """A file, or a part of it. Raises SourceError."""
        path = f"/{quote(files.model_id)}/resolve/{files.revision}/{quote(name, safe='')}"
        return (await self._get(path, f"{files.model_id}, {name}", limit_bytes, files.model_id, span)).body

    async def _commit(self, model: HubId) -> str:
        path = f"/api/models/{quote(model.name)}/revision/{quote(model.revision, safe='')}"
        answer = await self._get(path, str(model), INFO_LIMIT_BYTES, model.name)
        commit = decode_object(answer.body, what=f"{model}, description on the hub").get("sha")
        if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
            rule = f"{host_of(self.settings.endpoint)} must name the commit of a revision"
            raise malformed(f"{model}: {rule} (sha); found {shown(commit)}: is HF_ENDPOINT a hub?")
        return commit

    async def _sizes(self, model: HubId, commit: str) -> Mapping[str, int]:
        path = f"/api/models/{quote(model.name)}/tree/{commit}"
        sizes: dict[str, int] = {}
        for _ in range(PAGES):
            answer = await self._get(path, f"{model}, list of files", PAGE_LIMIT_BYTES, model.name)
            sizes.update(_entries(answer.body, f"{model}, list of files"))
            following = NEXT.search(answer.headers.get("link", ""))
            if following is None:
                return sizes
            path = self._same_hub(following[1], path, model)
        raise too_large(f"{model}: the top folder is read up to {PAGES} pages of files; it has more")

    def _same_hub(self, link: str, path: str, model: HubId) -> str:
        """The path of the next page: a token goes to the hub that it is for, and to no other."""
        target = urljoin(self.settings.endpoint + path, link)
        if not target.startswith(f"{self.settings.endpoint}/"):
            raise malformed(f"{model}: the list of files must go on at {host_of(self.settings.endpoint)}; it does not")
        return target.removeprefix(self.settings.endpoint)

    async def _get(self, path: str, what: str, limit_bytes: int, model: str, span: Span | None = None) -> Answer:
        url, token = self.settings.endpoint + path, self.settings.token
        if token is not None:
            refuse_open_secret(what, url)
        authorization = f"Bearer {token.value}" if token is not None else ""
        ask = Ask(url=url, what=what, limit_bytes=limit_bytes, authorization=authorization, span=span)
        answer = await self.web.get(ask)
        if answer.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return answer
        raise self._refusal(answer, what, model)

    def _refusal(self, answer: Answer, what: str, model: str) -> SourceError:
        """The error of an answer that is no success; the hub says in a header which of several reasons it has."""
        code, host = answer.headers.get("x-error-code", ""), host_of(self.settings.endpoint)
        known = self.settings.token is not None
        if code == "GatedRepo":
            remedy = (
                f"accept its licence at {self.settings.endpoint}/{model} with the token's account"
                if known
                else f"accept its licence at {self.settings.endpoint}/{model} and give a token: in HF_TOKEN, or in the "
                "Secret that inference.preset.presetOptions.modelAccessSecret names"
            )
            return SourceError(Trouble.DENIED, f"{what}: {model} is gated on {host}: {remedy}")
        if code == "RevisionNotFound":
            return SourceError(Trouble.MISSING, f"{what}: {model} has no such branch, tag or commit on {host}")
        if code == "EntryNotFound":
            return SourceError(Trouble.MISSING, f"{what}: there is no such file at this commit on {host}")
        if code == "DisabledRepo":
            return SourceError(Trouble.DENIED, f"{what}: {host} has disabled {model}: choose another model")
        return _by_status(answer.status, what, model, host, known=known)


def _by_status(status: int, what: str, model: str, host: str, *, known: bool) -> SourceError:
    if status == HTTPStatus.UNAUTHORIZED and known:
        return SourceError(Trouble.DENIED, f"{what}: {host} does not accept the token (401): make a new one")
    if status == HTTPStatus.FORBIDDEN:
        remedy = "the token must be allowed to read it" if known else "give a token in HF_TOKEN"
        return SourceError(Trouble.DENIED, f"{what}: {host} does not show {model} (403): {remedy}")
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        # The hub answers alike for what is not there and for what is private.
        remedy = "check the name" if known else "check the name, or give a token in HF_TOKEN if it is private"
        return SourceError(Trouble.MISSING, f"{what}: {host} has no model {model}, or does not show it: {remedy}")
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return malformed(f"{what}: the file must be as long as the list of files says; {host} has less of it")
    return malformed(f"{what}: {host} must answer as a hub does; it answers {status}: is HF_ENDPOINT a hub?")


def _is_address(url: str) -> bool:
    try:
        origin(url)
    except ValueError:
        return False
    return all("!" <= character <= "~" and character not in "@?#\\" for character in url)


def _entries(raw: bytes, what: str) -> dict[str, int]:
    """Names and sizes of one page: a list, which is decoded as the one field of an object."""
    entries = decode_object(b'{"entries":' + raw + b"}", what=what)["entries"]
    if not isinstance(entries, list):
        raise malformed(f"{what}: must be a list; found {shown(entries)}")
    sizes = {}
    for entry in entries:
        if isinstance(entry, dict) and entry.get("type") == "file":
            name, size = entry.get("path"), _size(entry)
            if not isinstance(name, str) or size is None:
                raise malformed(f"{what}: each file must have a path and a size; found {shown(name)}")
            if "/" not in name:
                sizes[name] = size
    return sizes


def _size(entry: Mapping[str, Any]) -> int | None:
    """The file's own size, not that of the pointer that git holds in its place."""
    stored = entry.get("lfs")
    size = stored.get("size") if isinstance(stored, dict) else entry.get("size")
    return size if type(size) is int and size >= 0 else None
