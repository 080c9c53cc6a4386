"""How much is taken from elsewhere, and how long it is waited for."""

from __future__ import annotations

from typing import Final

from attrs import frozen

MANIFEST_MAX_BYTES: Final = 4 * 2**20
"""What registries must take at least, by the OCI distribution specification 1.1 ("Pushing Manifests")."""

DOCUMENT_MAX_BYTES: Final = 2**20
"""Tokens, errors and docker's credential files are far below."""


@frozen(kw_only=True)
class Limits:
    """Bounds of one call.

    Attributes:
        max_bytes: of all files together, as they lie on the disk.
        max_files: in one image, folders and links included.
        max_ratio: bytes unpacked for each byte of a compressed layer. gzip reaches 1032 on zeros; text stays below 20,
            so what is above this is made to fill disks.
        attempts: of each request, the first included.
        connect_timeout_s: until a connection stands.
        read_timeout_s: until the next bytes come.
        min_bytes_per_second: a body that is slower over `slow_window_s` is given up.
        slow_window_s: see above.
        max_wait_s: the longest wait between attempts; who asks for more (Retry-After) ends the call as busy.
    """

    max_bytes: int = 64 * 2**30
    max_files: int = 10_000
    max_ratio: int = 200
    attempts: int = 5
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    min_bytes_per_second: int = 1024
    slow_window_s: float = 60.0
    max_wait_s: float = 60.0
