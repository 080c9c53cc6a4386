"""GET and HEAD of a few pages beside a program's work: reports, metrics, health. They tell states and no secret.

Nobody who connects can hold it up: a client that says nothing is let go, and only so many are answered at a time.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from attrs import frozen

from inference_server import contract
from inference_server.refusal import InputError

Body = tuple[HTTPStatus, str, bytes]
TIMEOUT_S: Final = 10.0
# Probes, a scraper and the operator need a handful.
MOST_CLIENTS: Final = 100


@frozen
class Pages:
    """Path → what makes the page."""

    by_path: Mapping[str, Callable[[], Body]]

    def page(self, path: str) -> Body:
        """The page at this path, without its query."""
        make = self.by_path.get(path.partition("?")[0])
        return make() if make else (HTTPStatus.NOT_FOUND, "text/plain", b"")


class _Handler(BaseHTTPRequestHandler):
    pages: Pages

    def do_GET(self) -> None:
        status, kind, body = self.pages.page(self.path)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 (the name that http.server calls)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the inherited name)
        """A look every few seconds is no news."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[_Handler], most: int) -> None:
        self._places = threading.BoundedSemaphore(most)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news either."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def answering(
    host: str, port: int, pages: Pages, *, timeout_s: float = TIMEOUT_S, most: int = MOST_CLIENTS
) -> Iterator[int]:
    """Answers on threads while the block runs; yields the port, a free one for 0. Raises InputError for one in use."""
    handler = type("Handler", (_Handler,), {"pages": pages, "timeout": timeout_s})
    try:
        server = _Server((host, port), handler, most)
    except (OSError, OverflowError) as error:
        found = f"{port}: {getattr(error, 'strerror', None) or error}"
        raise InputError(field=contract.ARG_PORT, rule="a free port", found=found) from error
    thread = threading.Thread(target=server.serve_forever, name="pages", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
