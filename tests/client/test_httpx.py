"""The transports for httpx2 and for httpx over a service in memory: one body, so one set of tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.httpx import (
    async_transport,
    legacy_async_transport,
    legacy_transport,
    transport,
)
from confsec.client import PrivateInfo
from confsec.errors import (
    BusyError,
    ConfsecError,
    ConnectError,
    DeadlineError,
    DecryptionError,
    DisconnectedError,
    EvidenceError,
    LimitError,
    MissingExtraError,
    PeerError,
    PolicyError,
    TruncatedError,
)
from confsec.protocol.bhttp import Response
from confsec.protocol.policy import PRODUCTION
from tests.client.engine import new_client, new_wire
from tests.client.wire import ServiceTransport
from tests.protocol.service import echo

URL = "https://api.example/v1/chat/completions?q=1"

SYNC: dict[ModuleType, Any] = {httpx2: transport, httpx: legacy_transport}
ASYNC: dict[ModuleType, Any] = {httpx2: async_transport, httpx: legacy_async_transport}

each_library = pytest.mark.parametrize("library", [httpx2, httpx], ids=lambda library: library.__name__)


@pytest.fixture
def wire() -> ServiceTransport:
    wire = new_wire()
    wire.service.answer = echo
    return wire


class Failing:
    """A transport of ours that fails, at once or in the middle of an answer; or never answers at all."""

    def __init__(self, error: Exception | None, *, late: bool = False) -> None:
        self.error = error
        self.late = late
        self.closed = False

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._stream()

    @asynccontextmanager
    async def _stream(self) -> AsyncGenerator[HttpResponse]:
        if not self.late:
            await self._fail()
        yield HttpResponse(status=200, headers=(), content=self._parts())

    async def _parts(self) -> AsyncGenerator[bytes]:
        yield b"one part"
        await self._fail()

    async def _fail(self) -> None:
        if self.error is not None:
            raise self.error
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        self.closed = True


@each_library
def test_sync_asks_and_streams(wire: ServiceTransport, library: ModuleType) -> None:
    wire.split = 50
    with library.Client(transport=SYNC[library](new_client(wire))) as client:
        assert client.post(URL, content=b"hello").content == b"olleh"
        with client.stream("POST", URL, content=iter([b"hel", b"lo"])) as response:
            assert response.headers["content-type"] == "text/plain"
            assert isinstance(response.extensions["confsec"], PrivateInfo)
            assert b"".join(response.iter_bytes()) == b"olleh"
    assert wire.closed
    assert wire.open == 0
    assert {(each.method, each.path) for each in wire.service.asked} == {("POST", "/v1/chat/completions?q=1")}


@pytest.mark.anyio
@each_library
async def test_async_asks_and_streams(wire: ServiceTransport, library: ModuleType) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"hel"
        yield b"lo"

    wire.split = 50
    async with library.AsyncClient(transport=ASYNC[library](new_client(wire))) as client:
        assert (await client.post(URL, content=b"hello")).content == b"olleh"
        async with client.stream("POST", URL, content=parts()) as response:
            assert isinstance(response.extensions["confsec"], PrivateInfo)
            assert b"".join([part async for part in response.aiter_bytes()]) == b"olleh"
    assert wire.closed
    assert wire.open == 0


@each_library
def test_only_allowed_header_fields_travel(wire: ServiceTransport, library: ModuleType) -> None:
    def set_cookie(request: Any) -> Response:
        return Response(200, (("set-cookie", "id=secret"), ("content-type", "text/plain")))

    wire.service.answer = set_cookie
    with library.Client(transport=SYNC[library](new_client(wire)), auth=("me", "secret")) as client:
        for _ in range(2):
            client.post(
                URL, json={}, headers={"Cookie": "a=secret", "Accept": "text/plain", "X-Forwarded-For": "10.1.1.1"}
            )
    for asked in wire.service.asked:
        assert asked.headers == (("accept", "text/plain"), ("content-type", "application/json"))
        assert asked.authority == "engine.confsec.invalid"


@each_library
def test_a_redirect_of_the_engine_leads_nowhere_else(wire: ServiceTransport, library: ModuleType) -> None:
    wire.service.answer = lambda request: (
        Response(307, (("location", "https://evil.example/steal"),)) if "steal" not in request.path else echo(request)
    )
    with library.Client(transport=SYNC[library](new_client(wire)), follow_redirects=True) as client:
        assert client.post(URL, content=b"hello").content == b"olleh"
    assert [each.path for each in wire.service.asked] == ["/v1/chat/completions?q=1", "/steal"]


THEIRS = [
    (ConnectError("x"), "ConnectError"),
    (DeadlineError("x"), "ReadTimeout"),
    (DisconnectedError("x"), "ReadError"),
    (TruncatedError("x"), "ReadError"),
    (BusyError("x"), "RemoteProtocolError"),
    (PeerError("x", status=503), "RemoteProtocolError"),
]
OURS = [
    PolicyError("x"),
    EvidenceError("x"),
    DecryptionError("x"),
    LimitError("x"),
    PeerError("x", status=400),
    LookupError("a bug"),
]


@each_library
@pytest.mark.parametrize("late", [False, True], ids=["at once", "in the middle"])
@pytest.mark.parametrize(("error", "name"), THEIRS, ids=lambda value: str(getattr(value, "code", value)))
def test_a_fault_of_the_road_is_an_exception_of_the_library(
    library: ModuleType, error: ConfsecError, name: str, *, late: bool
) -> None:
    with (
        library.Client(transport=SYNC[library](Failing(error, late=late))) as client,
        pytest.raises(library.RequestError) as caught,
    ):
        client.get(URL)
    assert type(caught.value) is getattr(library, name)
    assert caught.value.__cause__ is error


@pytest.mark.anyio
@pytest.mark.parametrize("late", [False, True], ids=["at once", "in the middle"])
@pytest.mark.parametrize(("error", "name"), THEIRS[:1])
async def test_a_fault_of_the_road_is_an_exception_of_the_library_in_async_code(
    error: ConfsecError, name: str, *, late: bool
) -> None:
    async with httpx2.AsyncClient(transport=async_transport(Failing(error, late=late))) as client:
        with pytest.raises(httpx2.ConnectError) as caught:
            await client.get(URL)
    assert caught.value.__cause__ is error


@each_library
@pytest.mark.parametrize("late", [False, True], ids=["at once", "in the middle"])
@pytest.mark.parametrize("error", OURS, ids=lambda error: getattr(error, "code", "bug"))
def test_all_else_is_raised_as_it_is(library: ModuleType, error: Exception, *, late: bool) -> None:
    with (
        library.Client(transport=SYNC[library](Failing(error, late=late))) as client,
        pytest.raises(type(error)) as caught,
    ):
        client.get(URL)
    assert caught.value is error


def test_production_policy_lets_no_prompt_out(wire: ServiceTransport) -> None:
    with httpx2.Client(transport=transport(new_client(wire, PRODUCTION))) as client, pytest.raises(PolicyError):
        client.post(URL, content=b"hello")
    assert wire.service.asked == []


@pytest.mark.anyio
@each_library
@pytest.mark.parametrize("late", [False, True], ids=["head", "body"])
async def test_the_read_timeout_of_the_library_holds(library: ModuleType, *, late: bool) -> None:
    timeout = library.Timeout(None, read=0.01)
    async with library.AsyncClient(transport=ASYNC[library](Failing(None, late=late)), timeout=timeout) as client:
        with pytest.raises(library.ReadTimeout):
            await client.get(URL)
    sync_client = library.Client(transport=SYNC[library](Failing(None, late=late)), timeout=timeout)
    with sync_client, pytest.raises(library.ReadTimeout):
        sync_client.get(URL)


@pytest.mark.anyio
async def test_cancelling_leaves_nothing_open(wire: ServiceTransport) -> None:
    async with httpx2.AsyncClient(transport=async_transport(new_client(wire))) as client:
        with anyio.CancelScope() as scope:
            async with client.stream("POST", URL, content=b"hello"):
                assert wire.open == 1
                scope.cancel()
                await anyio.sleep(60)
        assert wire.open == 0
        assert (await client.post(URL, content=b"hello")).content == b"olleh"


def test_the_thread_ends_when_the_client_is_closed_and_closing_twice_is_harmless() -> None:
    ours = Failing(ConnectError("x"))
    client = httpx2.Client(transport=transport(ours))
    with pytest.raises(httpx2.ConnectError):
        client.get(URL)
    client.close()
    client.close()
    assert ours.closed


def test_an_unused_transport_starts_no_thread() -> None:
    ours = Failing(None)
    transport(ours).close()
    assert not ours.closed


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"{name}.*confsec-protocol\[httpx\]"):
        (transport if name == "httpx2" else legacy_transport)(Failing(None))


def test_parts_arrive_as_they_come() -> None:
    client = httpx2.Client(transport=transport(Failing(DisconnectedError("x"), late=True)))
    with client, client.stream("GET", URL) as response:
        parts: Iterator[bytes] = response.iter_raw()
        assert next(parts) == b"one part"
        with pytest.raises(httpx2.ReadError):
            next(parts)
