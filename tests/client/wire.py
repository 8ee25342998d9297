"""A transport that leads to a service in memory: what a relay would be, without a relay."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

from attrs import evolve

from confsec.backends import system
from confsec.backends.api import HttpRequest, HttpResponse
from confsec.errors import DisconnectedError
from confsec.protocol.epoch import Epoch
from confsec.protocol.ohttp import MEDIA_TYPE_CHUNKED_RESPONSE
from tests.protocol.fleets import Fleet, make_fleet
from tests.protocol.service import Service


def fleet_of_today(size: int) -> Fleet:
    """Make a fleet whose epoch has just begun, for clients with the system's clock."""
    fleet = make_fleet(size)
    epoch = Epoch.local(int(system.now().timestamp()))
    return evolve(fleet, record=evolve(fleet.record, beacon=epoch.beacon))


class ServiceTransport:
    """Hand every POST to the service. What it does to an answer on its way can be set."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.requests: list[HttpRequest] = []
        self.open = 0
        """How many exchanges are under way."""
        self.closed = False
        self.split = 1 << 20
        """Bytes of each part."""
        self.alter: Callable[[bytes], bytes] = lambda answer: answer
        self.breaks = False
        """Whether the connection breaks instead of ending."""
        self.before: Callable[[], None] = lambda: None
        """Called before each request is handled."""

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        self.requests.append(request)
        self.before()
        if request.method == "GET":
            content = self.service.directory.to_toml().encode()
        else:
            assert isinstance(request.content, bytes)
            content = self.alter(self.service.handle(request.content))
        self.open += 1
        try:
            headers = (("content-type", MEDIA_TYPE_CHUNKED_RESPONSE),)
            async with aclosing(self._parts(content)) as parts:
                yield HttpResponse(status=200, headers=headers, content=parts)
        finally:
            self.open -= 1

    async def _parts(self, content: bytes) -> AsyncGenerator[bytes]:
        for start in range(0, len(content), self.split):
            yield content[start : start + self.split]
        if self.breaks:
            raise DisconnectedError("the connection broke")

    async def aclose(self) -> None:
        self.closed = True


async def parts_of(*parts: bytes) -> AsyncGenerator[bytes]:
    """Return a body that comes in parts."""
    for part in parts:
        yield part
