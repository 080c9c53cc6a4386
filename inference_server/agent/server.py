"""GET /report, /metrics and /health of the agent. Read-only: who may reach the port learns states and no secrets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from attrs import frozen

Body = tuple[HTTPStatus, str, bytes]
TIMEOUT_S: Final = 10


@frozen
class Pages:
    """Path → what makes the page."""

    by_path: Mapping[str, Callable[[], Body]]

    def page(self, path: str) -> Body:
        """The page at this path, without its query."""
        make = self.by_path.get(path.partition("?")[0])
        return make() if make else (HTTPStatus.NOT_FOUND, "text/plain", b"")


@contextmanager
def answering(host: str, port: int, pages: Pages) -> Iterator[int]:
    """Answers on threads while the block runs; yields the port, a free one for 0. Raises OSError when it is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_S

        def do_GET(self) -> None:
            """One page."""
            status, kind, body = pages.page(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the inherited name)
            """A look every few seconds is no news."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="pages", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
