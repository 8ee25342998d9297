"""When a client reads the logs of its service, and what it does when it cannot."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.client import Client
from confsec.errors import BackendError, ConfsecError, ConnectError, PeerError, StaleLogError, TransparencyError
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.testing import seeded_randbytes
from tests.protocol.fleets import make_fleet
from tests.protocol.log_world import DAY, HOUR
from tests.protocol.logged_service import LoggedService
from tests.protocol.test_session import CHUNKED

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
DIRECTORY = "https://logs.service.example/directory/"


class ServiceTransport:
    """A transport to a service in memory. `down` says why the log of directories cannot be read."""

    def __init__(self, service: LoggedService) -> None:
        self.service = service
        self.read: list[str] = []
        self.status = 200
        self.down: ConfsecError | None = None

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        if request.method == "GET":
            assert request.url.startswith(DIRECTORY)
            self.read.append(request.url.removeprefix(DIRECTORY))
            if self.down is not None:
                raise self.down
            body = self.service.world.directories.files(self.service.now).get(self.read[-1])
            status = 404 if body is None else self.status
            yield HttpResponse(status=status, headers=(), content=_parts(body or b""))
            return
        assert isinstance(request.content, bytes)
        answer = self.service.handle(request.content)
        yield HttpResponse(status=200, headers=(("content-type", CHUNKED),), content=_parts(answer))

    async def aclose(self) -> None:
        """Nothing is open."""


async def _parts(body: bytes) -> AsyncGenerator[bytes]:
    yield body


class Setting:
    """A service, the way to it, and a client with the service's clock."""

    def __init__(self, memory: Path | None = None) -> None:
        self.service = LoggedService()
        self.transport = ServiceTransport(self.service)
        self.client = self.new_client(memory)

    def new_client(self, memory: Path | None = None) -> Client:
        return Client(
            self.service.world.root,
            policy=UNSAFE_UNATTESTED,
            transport=self.transport,
            memory=memory,
            clock=lambda: self.service.now,
            randbytes=seeded_randbytes("client"),
        )

    def pass_time(self, time: timedelta) -> None:
        """Let time pass, with a fleet of its own at the end of it."""
        self.service.now += time
        fleet = make_fleet(3)
        self.service.log_fleet(fleet)
        self.service.nodes = {node_id: self.service.nodes[node_id] for node_id in fleet.keys}

    async def ask(self) -> int:
        """Ask once, and return how often the log of directories was read for it."""
        before = self.transport.read.count("checkpoint")
        answer = await self.client.request("POST", "/v1/chat/completions", json={})
        assert answer.status == 200
        return self.transport.read.count("checkpoint") - before


async def test_the_directory_is_read_once_and_then_twice_a_day() -> None:
    setting = Setting()
    reads = [await setting.ask()]
    for _ in range(8):
        setting.pass_time(6 * HOUR)
        reads.append(await setting.ask())
    assert reads == [1, 0, 1, 0, 1, 0, 1, 0, 1]


async def test_a_log_that_stands_still_is_not_asked_again_and_again() -> None:
    """Its checkpoint stays as it is, so each reading finds the same."""
    setting = Setting()
    await setting.ask()
    frozen = setting.service.world.directories.files(setting.service.now)
    setting.service.world.directories.files = lambda _at, **_: frozen  # type: ignore[method-assign]
    setting.pass_time(13 * HOUR)
    assert [await setting.ask() for _ in range(3)] == [1, 0, 0]


@pytest.mark.parametrize("error", [ConnectError("gone"), PeerError("busy", status=503, section="")])
async def test_a_log_that_cannot_be_read_stops_nobody_while_its_word_counts(error: ConfsecError) -> None:
    setting = Setting()
    await setting.ask()
    setting.transport.down = error
    setting.pass_time(13 * HOUR)
    assert [await setting.ask() for _ in range(3)] == [1, 0, 0]
    setting.pass_time(11 * HOUR)
    with pytest.raises(type(error)):
        await setting.ask()


async def test_an_old_word_is_renewed_when_it_is_old_and_not_by_when_it_was_read() -> None:
    setting = Setting()
    log = setting.service.world.directories
    old = log.files(setting.service.now - 20 * HOUR)
    log.files, true = (lambda _at, **_: old), log.files  # type: ignore[method-assign]
    await setting.ask()
    log.files = true  # type: ignore[method-assign]
    setting.pass_time(5 * HOUR)
    assert await setting.ask() == 1


async def test_a_directory_that_has_ended_is_not_used() -> None:
    setting = Setting()
    setting.service.now += 28 * DAY - MINUTE
    setting.pass_time(timedelta(0))
    assert await setting.ask() == 1
    setting.pass_time(2 * HOUR)
    with pytest.raises(TransparencyError, match="ended"):
        await setting.ask()


async def test_no_peer_makes_a_client_read_the_log() -> None:
    """Whoever could would see from its address whose request he has before him."""
    setting = Setting()
    await setting.ask()
    setting.pass_time(30 * MINUTE)
    setting.service.nodes = {}
    for _ in range(3):
        with pytest.raises(ConfsecError):
            await setting.client.request("POST", "/v1/chat/completions", json={})
    assert setting.transport.read.count("checkpoint") == 1


async def test_a_fleet_that_is_not_remembered_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(tmp_path / "memory.db")
    await setting.ask()
    setting.pass_time(30 * MINUTE)
    memory = setting.client._memory
    advance = memory.advance

    async def fails(origin: str, step: object) -> None:
        await step(await memory.read(origin))  # type: ignore[operator]
        raise BackendError("the disk is full")

    monkeypatch.setattr(memory, "advance", fails)
    for _ in range(2):
        with pytest.raises(BackendError, match="full"):
            await setting.ask()
    monkeypatch.setattr(memory, "advance", advance)
    assert await setting.ask() == 0


async def test_a_word_that_is_too_old_is_refused_at_first_contact() -> None:
    setting = Setting()
    log = setting.service.world.directories
    old = log.files(setting.service.now - DAY - MINUTE)
    log.files = lambda _at, **_: old  # type: ignore[method-assign]
    with pytest.raises(StaleLogError):
        await setting.ask()


async def test_the_directory_can_be_read_anew_at_any_time() -> None:
    setting = Setting()
    await setting.ask()
    await setting.client.reload()
    assert setting.transport.read.count("checkpoint") == 2
