"""The files that a connection's TLS is made of, and noticing that somebody replaced them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

TLS_CHECK_S = 60.0
"""How often the files are looked at (RC5); client-go does every five minutes."""


@frozen(kw_only=True)
class TlsState:
    """Digests of what connections are made with: who is trusted, and who we are."""

    trust: str
    identity: str

    @classmethod
    def read(cls, ca: str | None, certificate: str | None, key: str | None) -> TlsState:
        """The state of the files now; None for one that is not used.

        Raises:
            OSError: one of them cannot be read.
        """
        return cls(trust=_digest(ca), identity=_digest(certificate, key))


@contextmanager
def as_files(certificate: str, key: str) -> Iterator[tuple[str, str]]:
    """Paths of two files with these contents, for as long as the context lasts: ssl loads a key from nowhere else."""
    # In a Pod with a read-only root this is an emptyDir, as for the library's own files of embedded data.
    with tempfile.TemporaryDirectory(prefix="kaito-tls-") as folder:
        paths = (os.path.join(folder, "tls.crt"), os.path.join(folder, "tls.key"))  # noqa: PTH118 - ssl takes strings
        for path, content in zip(paths, (certificate, key), strict=True):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(content)
        yield paths


def _digest(*paths: str | None) -> str:
    total = hashlib.sha256()
    for path in paths:
        content = Path(path).read_bytes() if path else b""
        total.update(len(content).to_bytes(8, "big") + content)
    return total.hexdigest()
