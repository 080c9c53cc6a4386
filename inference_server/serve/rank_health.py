"""GET /health of a rank above 0: it serves no API, yet the probes of one pod template ask every rank alike.

It answers from the moment the process joins the others until the process ends, which it does when its part dies.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from http import HTTPStatus

from inference_server import contract, pages


def answering(host: str, port: int) -> AbstractContextManager[int]:
    """Answers while the block runs, as `pages.answering` does."""
    return pages.answering(host, port, pages.Pages({contract.HEALTH_PATH: lambda: (HTTPStatus.OK, "text/plain", b"")}))
