"""Downloads by URL, with a guard against addresses that are nobody's business."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from inference_server.files.clock import Clock
from inference_server.files.limits import Limits
from inference_server.files.progress import Progress


def download(
    url: str,
    folder: Path,
    *,
    allowed_private: Sequence[IPv4Network | IPv6Network] = (),
    limits: Limits | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Path:
    """Download one file into a folder, which is made where missing, and return the file's path.

    Its name is the last part of the URL's path, without anything that names of files may not have. It appears whole or
    not at all; a file of that name is replaced, so give each of several URLs a folder of its own. http and https only;
    addresses that are not public are refused after resolution, at every redirect, unless `allowed_private` has them.
    Proxies of the environment are not used: through one, nobody could check which address is reached.
    Raises `FetchError`.
    """
    raise NotImplementedError
