"""Downloads by URL, with a guard against addresses that are nobody's business."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from inference_server.files import disk
from inference_server.files.addresses import Network, Policy
from inference_server.files.clock import Clock, SystemClock
from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import Limits
from inference_server.files.progress import Progress, silent
from inference_server.files.transfer import Wanted, save
from inference_server.files.transport import client
from inference_server.files.web import Ask, Web, shown

_MAX_NAME_BYTES: Final = 200
_NAMELESS: Final = "download"
_UNFIT: Final = re.compile(r"[^\w.+=@ -]")


def download(
    url: str,
    folder: Path,
    *,
    allowed_private: Sequence[Network] = (),
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
    bounds, subject = limits or Limits(), shown(url)
    name = file_name(_parsed(url, subject))
    ask = Ask(url=url, subject=subject, denied="sign the URL, or make the file public")
    with disk.writing(subject):
        folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.fetching"
    with client(Policy(allowed=allowed_private), bounds) as http:
        web = Web(client=http, limits=bounds, clock=clock or SystemClock())
        save(web, ask, part, Wanted(max_bytes=bounds.max_bytes), progress or silent)
    with disk.writing(subject):
        return part.replace(folder / name)


def file_name(url: httpx.URL) -> str:
    """The name of the file that a URL is for: without folders, control characters or a dot first."""
    last = unquote(url.raw_path.decode("ascii").partition("?")[0]).replace("\\", "/").rstrip("/").rpartition("/")[2]
    name = _UNFIT.sub("_", last).strip(" .")
    stem, dot, ending = name.rpartition(".")
    while len(name.encode()) > _MAX_NAME_BYTES:
        stem, ending = (stem[:-1], ending[:20]) if dot and stem else ("", name[:-1])
        name = f"{stem}.{ending}" if stem else ending
    return name.strip(" .") or _NAMELESS


def _parsed(url: str, subject: str) -> httpx.URL:
    try:
        urlsplit(url)  # it looks at brackets, which httpx does not
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise FetchError(kind=Kind.INVALID, subject=subject, found=f"this is no URL: {error}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise FetchError(
            kind=Kind.INVALID,
            subject=subject,
            found="this is no web address",
            remedy="give one that begins with https:// or http://",
        )
    return parsed
