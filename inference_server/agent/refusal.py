"""Why an adapter is not loaded: a reason for programs, and a message that says what was found and what to do."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from inference_server import contract

MAX_MESSAGE: int = 300


class Reason(StrEnum):
    """In the words of the report; the operator hands them through to the status of the Workspace."""

    SPEC_INVALID = "SpecInvalid"
    FETCH_DENIED = "FetchDenied"
    SOURCE_NOT_FOUND = "SourceNotFound"
    FETCH_FAILED = "FetchFailed"
    FILES_INVALID = "FilesInvalid"
    UNSUPPORTED = "AdapterUnsupported"
    RANK_TOO_HIGH = contract.REASON_RANK_TOO_HIGH
    WRONG_BASE_MODEL = "WrongBaseModel"
    NAME_TAKEN = "NameTaken"
    LOAD_REFUSED = "LoadRefused"
    ENGINE_UNREACHABLE = "EngineUnreachable"


@frozen(kw_only=True)
class AdapterRefusedError(Exception):
    """The adapter, as it is, cannot be loaded. `digest` and `rank` are known when its files were read so far."""

    reason: Reason
    message: str
    digest: str | None = None
    rank: int | None = None
    retryable: bool = False

    def __str__(self) -> str:
        """One printable line."""
        return line(self.message)


def line(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text as one printable line of at most `limit` characters: parts of it come from others."""
    flat = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"
