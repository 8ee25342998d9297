"""A web server for tests: files that may change meanwhile, odd answers, and what was posted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

__all__ = ["Site", "serving"]


class Site:
    """What a server answers."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.files = {} if files is None else files
        self.statuses: dict[str, int] = {}
        """By path: an answer other than the file's."""
        self.posted: list[bytes] = []
        self.post_statuses: list[int] = []
        """What the next posts get; 204 when there are none."""
        self.asked: list[str] = []
        self.url = ""


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    class Handler(_Handler):
        served = site

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: ClassVar[Site]
    protocol_version = "HTTP/1.0"  # so that no connection outlives its answer

    def do_GET(self) -> None:
        path = self.path.removeprefix("/")
        self.served.asked.append(path)
        if path in self.served.statuses:
            self._answer(self.served.statuses[path], b"")
        elif path in self.served.files:
            self._answer(200, self.served.files[path])
        else:
            self._answer(404, b"no such file")

    def do_POST(self) -> None:
        self.served.posted.append(self.rfile.read(int(self.headers["content-length"])))
        statuses = self.served.post_statuses
        self._answer(statuses.pop(0) if statuses else 204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("location", f"{self.served.url}/elsewhere")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""
