"""A transport that leads to a service in memory whose directory and fleets are in logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.client import Client
from confsec.protocol.ohttp import MEDIA_TYPE_CHUNKED_RESPONSE
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.service_reader import Service, ServiceReader
from tests.protocol.logged_service import LoggedService


class LoggedWire:
    """Answers who reads the log of directories, and hands every POST to the service."""

    def __init__(self, service: LoggedService | None = None) -> None:
        self.service = service or LoggedService()
        self.overlay: dict[str, bytes | None] = {}
        """Files of the log of directories that are shown instead of the true ones."""
        self.status = 200
        self.asked: list[str] = []

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        body: bytes | None
        if request.method == "GET":
            self.asked.append(request.url)
            body = self._file(urlsplit(request.url).path)
        else:
            assert isinstance(request.content, bytes)
            body = self.service.handle(request.content)
        status = 404 if body is None else self.status
        async with aclosing(_parts(body or b"")) as content:
            headers = (("content-type", MEDIA_TYPE_CHUNKED_RESPONSE), ("location", "http://127.0.0.1:1/elsewhere"))
            yield HttpResponse(status=status, headers=headers, content=content)

    def _file(self, path: str) -> bytes | None:
        if not path.startswith("/directory/"):
            return self.overlay.get(path)
        files = {**self.service.world.directories.files(self.service.now), **self.overlay}
        return files.get(path.removeprefix("/directory/"))

    async def aclose(self) -> None:
        """Nothing is open."""

    def reader(self, described: Service | None = None, *, pin: bytes = b"", memory: SqliteTrustedLogs) -> ServiceReader:
        """Return what a client reads the directory with."""
        return ServiceReader(
            self.service.world.root if described is None else described,
            pin=pin, transport=lambda: self, memory=memory, clock=lambda: self.service.now,
        )  # fmt: skip

    def client(self, described: Service | None = None, *, memory: Path | None = None) -> Client:
        """Return an honest client, with randomness of its own."""
        return Client(
            self.service.world.root if described is None else described,
            policy=UNSAFE_UNATTESTED, transport=self, memory=memory, clock=lambda: self.service.now,
        )  # fmt: skip


async def _parts(content: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(content), 65_536):
        yield content[start : start + 65_536]
