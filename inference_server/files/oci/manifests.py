"""Manifests of one repository: asked for, checked against their digest, and pushed."""

from __future__ import annotations

from typing import Final

from attrs import evolve, frozen

from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import MANIFEST_MAX_BYTES
from inference_server.files.oci import manifest
from inference_server.files.oci.manifest import Index, Manifest
from inference_server.files.oci.packing import digest_of
from inference_server.files.oci.session import Session
from inference_server.files.web import Answer, Ask, refusal_of

_MAX_NESTING: Final = 3
_OK: Final = 200
_CREATED: Final = 201


@frozen(kw_only=True)
class Chosen:
    """The manifest that a reference leads to.

    Attributes:
        named: the digest of what the reference itself names, which may be an index.
        digest: of the manifest.
        manifest: what it says.
    """

    named: str
    digest: str
    manifest: Manifest


def chosen(session: Session) -> Chosen:
    """The manifest that the reference names, or the one its index has for us. Raises `FetchError`."""
    subject, wanted = str(session.reference), session.reference.wanted
    named = ""
    for _ in range(_MAX_NESTING):
        digest, raw = _get(session, wanted)
        named = named or digest
        found = manifest.parse(raw, subject)
        if isinstance(found, Manifest):
            return Chosen(named=named, digest=digest, manifest=found)
        wanted = _next(found, subject)
    raise FetchError(kind=Kind.CORRUPT, subject=subject, found=f"its indexes lie more than {_MAX_NESTING} deep")


def digest(session: Session) -> str:
    """The digest of what the reference names now. Raises `FetchError`."""
    ask = _ask(session, session.reference.wanted)
    answer = session.read(evolve(ask, method="HEAD"), MANIFEST_MAX_BYTES)
    told = answer.headers.get("Docker-Content-Digest", "")
    if answer.status == _OK and manifest.is_digest(told):
        return _agreed(session, session.reference.digest, told)
    # Registries may leave the header out, and some know no HEAD.
    return _get(session, session.reference.wanted)[0]


def push(session: Session, content: bytes, expected: str) -> None:
    """Put a manifest under the reference's tag. Raises `FetchError`."""
    ask = session.ask(
        session.url(f"manifests/{session.reference.tag}"),
        method="PUT",
        headers={"Content-Type": manifest.OCI_MANIFEST},
    )
    answer = session.read(evolve(ask, content=lambda: [content]), MANIFEST_MAX_BYTES)
    if answer.status not in {_OK, _CREATED}:
        raise refusal_of(answer, ask)
    _agreed(session, expected, answer.headers.get("Docker-Content-Digest") or expected)


def _get(session: Session, wanted: str) -> tuple[str, bytes]:
    ask = _ask(session, wanted)
    answer: Answer = session.read(ask, MANIFEST_MAX_BYTES)
    if answer.status != _OK:
        raise refusal_of(answer, ask)
    found = digest_of(answer.body)
    # By a tag, only the registry itself says what it means to send.
    told = wanted if manifest.is_digest(wanted) else answer.headers.get("Docker-Content-Digest", "")
    return _agreed(session, told if manifest.is_digest(told) else "", found), answer.body


def _ask(session: Session, wanted: str) -> Ask:
    return session.ask(session.url(f"manifests/{wanted}"), headers={"Accept": manifest.ACCEPT})


def _next(index: Index, subject: str) -> str:
    return manifest.chosen(index, subject).digest


def _agreed(session: Session, expected: str, found: str) -> str:
    if expected not in {"", found}:
        raise FetchError(
            kind=Kind.CORRUPT,
            subject=str(session.reference),
            found=f"its manifest has the digest {found[:100]}, and {expected} is announced",
            remedy="try again, or push the image anew",
        )
    return found
