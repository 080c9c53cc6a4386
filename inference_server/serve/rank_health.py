"""GET /health of a rank above 0: it serves no API, yet the probes of one pod template ask every rank alike.

It answers from the moment the process joins the others until the process ends, which it does when its part dies.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from inference_server import contract


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """200 without a body for the health path, 404 for the rest."""
        found = self.path.partition("?")[0] == contract.HEALTH_PATH
        self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the inherited name)
        """A probe every few seconds is no news."""


@contextmanager
def answering(host: str, port: int) -> Iterator[int]:
    """Answers on a thread while the block runs; yields the port, a free one for 0. Raises OSError when it is taken."""
    server = ThreadingHTTPServer((host, port), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="rank-health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
