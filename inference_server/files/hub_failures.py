"""What huggingface_hub's exceptions mean here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import httpx2
from huggingface_hub import errors as hub

from inference_server.files.clock import Clock
from inference_server.files.disk import told_of
from inference_server.files.errors import FetchError, Kind
from inference_server.files.retry import retry_after_s
from inference_server.files.web import chain

_EXPECTED = (OSError, ValueError, httpx2.HTTPError, hub.RevisionResolutionError)


@contextmanager
def understood(subject: str, clock: Clock, *, has_token: bool) -> Iterator[None]:
    """Turn the exceptions of the library inside into `FetchError`."""
    try:
        yield
    except _EXPECTED as error:
        raise _meaning(error, subject, clock, has_token=has_token) from error


def _meaning(error: Exception, subject: str, clock: Clock, *, has_token: bool) -> FetchError:
    # The library wraps the reason in errors of its own cache: the outermost that says something counts.
    for one in chain(error):
        if isinstance(one, hub.HfHubHTTPError):
            return _of_answer(one, subject, clock, has_token=has_token)
        if isinstance(one, hub.OfflineModeIsEnabled):
            remedy = "set HF_HUB_OFFLINE=0 for what downloads"
            return FetchError(
                kind=Kind.INVALID, subject=subject, found="downloads are switched off (HF_HUB_OFFLINE)", remedy=remedy
            )
        if isinstance(one, httpx2.LocalProtocolError):
            # Its text repeats the header that it refuses, which may be the one with the token.
            return FetchError(kind=Kind.INVALID, subject=subject, found="what the hub is asked is no HTTP request")
        if isinstance(one, httpx2.TransportError):
            found = f"the hub cannot be reached: {one}"
            return FetchError(
                kind=Kind.UNREACHABLE, subject=subject, found=found, remedy="check HF_ENDPOINT and the network"
            )
    return _of_the_library(error, subject)


def _of_the_library(error: Exception, subject: str) -> FetchError:
    if isinstance(error, hub.FileMetadataError):
        found = "what answers is no model hub: its answers have no X-Repo-Commit or ETag"
        return FetchError(kind=Kind.CORRUPT, subject=subject, found=found, remedy="check HF_ENDPOINT and proxies")
    if isinstance(error, OSError) and error.errno is not None:
        return told_of(error, subject)
    first = str(error).partition("\n")[0][:300]
    kind = Kind.CORRUPT if isinstance(error, OSError) else Kind.INVALID
    return FetchError(kind=kind, subject=subject, found=first, remedy="try again" if kind is Kind.CORRUPT else "")


def _of_answer(error: hub.HfHubHTTPError, subject: str, clock: Clock, *, has_token: bool) -> FetchError:
    status = error.response.status_code
    told = f"the hub answers {status}"
    if isinstance(error, hub.GatedRepoError):
        remedy = "accept the model's terms as the token's user" if has_token else "give a token, in a Secret (HF_TOKEN)"
        return FetchError(kind=Kind.DENIED, subject=subject, found=f"{told}: the model is gated", remedy=remedy)
    if isinstance(error, hub.RevisionNotFoundError):
        found = f"{told}: the model has no such revision"
        return FetchError(kind=Kind.NOT_FOUND, subject=subject, found=found, remedy="name a branch, tag or commit")
    if isinstance(error, hub.RepositoryNotFoundError):
        found = f"{told}: there is no such model, or it is private"
        remedy = (
            "check its name and what the token may read" if has_token else "check its name; a private one needs a token"
        )
        return FetchError(kind=Kind.NOT_FOUND, subject=subject, found=found, remedy=remedy)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        remedy = "give a token that may read the model" if has_token else "give a token, in a Secret (HF_TOKEN)"
        return FetchError(kind=Kind.DENIED, subject=subject, found=told, remedy=remedy)
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        after_s = retry_after_s(error.response.headers.get("Retry-After", ""), clock)
        return FetchError(kind=Kind.BUSY, subject=subject, found=told, remedy="try again later", retry_after_s=after_s)
    kind = Kind.NOT_FOUND if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE} else Kind.INVALID
    return FetchError(kind=kind, subject=subject, found=told, remedy="check the name of the model")
