"""Answers with a file, or with the part of it that a request's Range header asks for."""

from __future__ import annotations

from aiohttp import web


def part_of(request: web.Request, content: bytes) -> web.Response:
    """200 with all of it, 206 with a part, 416 for a part that lies behind its end."""
    span = request.http_range
    if span.start is None and span.stop is None:
        return web.Response(body=content)
    start, stop = span.start or 0, min(span.stop or len(content), len(content))
    if start >= len(content):
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
    said = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
    return web.Response(status=206, body=content[start:stop], headers=said)
