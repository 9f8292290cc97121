"""A real HTTP server on a loopback address that can misbehave on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

Route = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Shelf:
    """What the server serves; `asked` keeps the path and Range header of every request."""

    base: str = ""
    routes: dict[str, Route] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return self.base + path

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def bytes(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        """Serve a body, ranges not supported."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            told = {name.replace("_", "-"): value for name, value in headers.items()}
            for name, value in {"Content-Length": str(len(body)), **told}.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(body)

        self.routes[path] = answer

    def resumable(self, path: str, body: bytes, etag: str | None = '"v1"', cut_after: int | None = None) -> None:
        """Serve a body with ranges; the first answer breaks off after `cut_after` bytes."""
        cuts = [] if cut_after is None else [cut_after]

        def answer(request: BaseHTTPRequestHandler) -> None:
            wish, start = request.headers.get("Range"), 0
            if wish and request.headers.get("If-Range") in (None, etag):
                start = int(wish.removeprefix("bytes=").rstrip("-"))
            if start >= len(body) > 0 and start:
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(body)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206 if start else 200)
            if start:
                request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            request.send_header("Content-Length", str(len(body) - start))
            if etag:
                request.send_header("ETag", etag)
            request.end_headers()
            request.wfile.write(body[start : cuts.pop()] if cuts else body[start:])

        self.routes[path] = answer

    def redirect(self, path: str, target: str) -> None:
        self.bytes(path, b"", 302, Location=target)

    def sequence(self, path: str, *routes: Route) -> None:
        """The first request gets the first answer, and so on; the last one stays."""
        left = list(routes)

        def answer(request: BaseHTTPRequestHandler) -> None:
            (left.pop(0) if len(left) > 1 else left[0])(request)

        self.routes[path] = answer


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            shelf.asked.append((self.path, self.headers.get("Range")))
            self.close_connection = True
            route = shelf.routes.get(self.path)
            if route is None:
                self.send_error(404)
            else:
                try:
                    route(self)
                except (BrokenPipeError, ConnectionResetError):
                    return  # the client had enough

        def end_headers(self) -> None:
            # Said aloud: a client that is not told sends its next request into a connection that is just closing.
            self.send_header("Connection", "close")
            super().end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    shelf.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield shelf
    shelf.closing.set()
    server.shutdown()
    server.server_close()
