"""Downloads from a model hub (Hugging Face's, or one that speaks like it, named by HF_ENDPOINT)."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from attrs import field, frozen
from huggingface_hub import HfApi, hf_hub_download

from inference_server.files import disk, hub_files
from inference_server.files.clock import Clock, SystemClock
from inference_server.files.errors import FetchError, Kind
from inference_server.files.hub_failures import understood
from inference_server.files.hub_files import HubFile, Keep
from inference_server.files.hub_progress import Total
from inference_server.files.limits import Limits
from inference_server.files.progress import Progress, silent
from inference_server.files.staging import files_of, staged
from inference_server.files.web import is_token

SAFE_PATTERNS: Final = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.md")
"""Weights as safetensors, and what tokenizers and configurations are kept in: no pickle (.bin, .pt), no program."""

ENDPOINT_VARIABLE: Final = "HF_ENDPOINT"
DEFAULT_ENDPOINT: Final = "https://huggingface.co"

# What the hub lets repositories be called, and git its references.
_MODEL: Final = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION: Final = re.compile(r"[A-Za-z0-9][\w./+-]{0,199}", re.ASCII)
# They write down URLs of the store, which are signed, and what they warn of comes back as an error.
for _name, _level in (("httpx2", logging.WARNING), ("huggingface_hub", logging.ERROR)):
    logging.getLogger(_name).setLevel(_level)

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_AT_A_TIME: Final = 4


@frozen(kw_only=True)
class Fetched:
    """What was brought.

    Attributes:
        revision: the commit, 40 hexadecimal digits, whatever branch or tag was asked for.
        files: paths below the folder, with `/`, sorted.
    """

    revision: str
    files: tuple[str, ...]


def fetch(
    reference: str,
    folder: Path,
    *,
    token: str | None = None,
    patterns: Sequence[str] = SAFE_PATTERNS,
    keep: Keep | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Fetched:
    """Download `organization/model[@revision]` into `folder`, pinned to one commit.

    Of the files that `patterns` match, `keep` says which are needed; all are when it is not given.

    The folder appears whole or not at all; an older one is replaced. What a broken attempt brought stays in a hidden
    sibling, and the next attempt goes on from there. Every file is compared with the digest that the hub lists for it.
    A file that `patterns` matches but that is a pickle or a program is refused, but for *.py where they ask for that.
    huggingface_hub, which does the talking, takes proxies from the environment, and tries again and waits by itself.
    Raises `FetchError`.
    """
    wanted = _Wanted.parse(reference, token)
    download = _Download(
        wanted=wanted, limits=limits or Limits(), progress=progress or silent, clock=clock or SystemClock()
    )
    return download.run(folder, patterns, keep)


def resolve(reference: str, *, token: str | None = None, clock: Clock | None = None) -> str:
    """The commit that `organization/model[@revision]` stands for now. Raises `FetchError`."""
    wanted = _Wanted.parse(reference, token)
    api = HfApi(endpoint=wanted.endpoint, token=wanted.token or False)
    with understood(wanted.subject, clock or SystemClock(), has_token=bool(wanted.token)):
        return _commit(api, wanted)


def _commit(api: HfApi, wanted: _Wanted) -> str:
    commit = api.model_info(wanted.model, revision=wanted.revision).sha or ""
    if not _COMMIT.fullmatch(commit):
        raise FetchError(kind=Kind.CORRUPT, subject=wanted.subject, found="the hub names no commit")
    return commit


@frozen(kw_only=True)
class _Wanted:
    """What is asked, of which hub, and as whom. `repr` holds no secret."""

    model: str
    revision: str
    endpoint: str
    token: str = field(default="", repr=False)

    @classmethod
    def parse(cls, reference: str, token: str | None) -> Self:
        model, at, revision = reference.partition("@")
        if not _MODEL.fullmatch(model) or ".." in reference or (at and not _REVISION.fullmatch(revision)):
            raise FetchError(
                kind=Kind.INVALID,
                subject=repr(reference[:200]),
                found="this is no name of a model",
                remedy="write it as organization/model or organization/model@revision",
            )
        endpoint = os.environ.get(ENDPOINT_VARIABLE, "").rstrip("/") or DEFAULT_ENDPOINT
        if token and not _is_confidential(endpoint):
            raise FetchError(
                kind=Kind.UNSAFE,
                subject=reference,
                found=f"a token is given, and {ENDPOINT_VARIABLE} has no https: everybody on the way could read it",
                remedy="use an https address, or leave the token away",
            )
        # A line end at its end is what `echo TOKEN | base64` puts into a Secret.
        plain = (token or "").strip()
        if not is_token(plain):
            raise FetchError(
                kind=Kind.INVALID,
                subject=reference,
                found="the token has spaces, line ends or letters that no header can carry",
                remedy="put the token alone into the Secret",
            )
        return cls(model=model, revision=revision or "main", endpoint=endpoint, token=plain)

    @property
    def subject(self) -> str:
        return f"{self.model}@{self.revision}"


@frozen(kw_only=True)
class _Download:
    """One repository on its way."""

    wanted: _Wanted
    limits: Limits
    progress: Progress
    clock: Clock

    def run(self, folder: Path, patterns: Sequence[str], keep: Keep | None) -> Fetched:
        subject = self.wanted.subject
        commit, files = self._listed(patterns, keep)
        total = Total(progress=self.progress, bytes_total=sum(file.size for file in files))
        with staged(folder, subject, keep=True) as stage:
            content = stage.content
            with disk.writing(subject):
                there = _bytes_in(content)
                # Before room is asked for, so that who is told may make some.
                self.progress(there, total.bytes_total)
                disk.require_room(content, total.bytes_total - there, subject)
            self._bring_all(files, commit, content, total)
            with disk.writing(subject):
                _leave_only(content, {file.path for file in files})
            found = files_of(content)
        return Fetched(revision=commit, files=found)

    def _listed(self, patterns: Sequence[str], keep: Keep | None) -> tuple[str, tuple[HubFile, ...]]:
        """The commit that the revision names now, and the files of it that are wanted."""
        wanted = self.wanted
        api = HfApi(endpoint=wanted.endpoint, token=wanted.token or False)
        with self._understood():
            commit = _commit(api, wanted)
            listed = api.list_repo_tree(wanted.model, revision=commit, recursive=True)
            return commit, hub_files.chosen(listed, patterns, self.limits, wanted.subject, keep=keep)

    def _bring_all(self, files: Sequence[HubFile], commit: str, content: Path, total: Total) -> None:
        pool = ThreadPoolExecutor(max_workers=_AT_A_TIME, thread_name_prefix="hub")
        waits = True
        try:
            for done in [pool.submit(self._bring, file, commit, content, total) for file in files]:
                done.result()
        except (KeyboardInterrupt, SystemExit):
            waits = False
            raise
        finally:
            # After a failure nobody may still write when the next attempt begins. A process that is told to end has no
            # time for that.
            pool.shutdown(wait=waits, cancel_futures=True)

    def _bring(self, file: HubFile, commit: str, content: Path, total: Total) -> None:
        with self._understood():
            hf_hub_download(
                self.wanted.model,
                file.path,
                revision=commit,
                local_dir=content,
                endpoint=self.wanted.endpoint,
                token=self.wanted.token or False,
                tqdm_class=total.bar(file.path),
            )
            path = content / file.path
            if not file.agrees(path):
                path.unlink()
                raise FetchError(
                    kind=Kind.CORRUPT,
                    subject=self.wanted.subject,
                    found=f"{file.path[:200]!r} is not what the hub lists: its length or digest differs",
                    remedy="try again",
                )
        total.finished(file.path, file.size)

    def _understood(self) -> AbstractContextManager[None]:
        return understood(self.wanted.subject, self.clock, has_token=bool(self.wanted.token))


def _is_confidential(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _leave_only(content: Path, wanted: set[str]) -> None:
    """Remove the library's own notes, and what an attempt at another commit brought."""
    shutil.rmtree(content / ".cache", ignore_errors=True)
    for name in files_of(content):
        if name not in wanted:
            (content / name).unlink()
    for path in sorted(content.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
