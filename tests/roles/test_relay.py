"""The relay passes on what it cannot read, and nothing that tells clients apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NoReturn

import anyio
import pytest

from confsec.backends.api import HttpRequest, header
from confsec.backends.asgi import AsgiTransport
from confsec.errors import BackendError, ConfigError, DisconnectedError, RemoteProtocolError
from confsec.roles.asgi import Exchange
from confsec.roles.relay import Relay, RelayConfig
from tests.roles.chain import Wire
from tests.roles.support import Echo, fetch, read

pytestmark = pytest.mark.anyio

CHUNKED = "message/ohttp-chunked-req"


def new_relay(gateway: Echo, *, path: str = "/echo", **options: int) -> AsgiTransport:
    wire = Wire()
    wire.roles["gateway"] = gateway
    relay = Relay(RelayConfig(gateways=(f"http://gateway{path}", "/none=http://nobody/"), **options), wire)  # type: ignore[arg-type]
    return AsgiTransport(relay, client=("127.0.0.77", 4711))


def post(content: bytes | AsyncIterator[bytes], *headers: tuple[str, str], path: str = "/") -> HttpRequest:
    return HttpRequest(
        method="POST", url="http://relay" + path, headers=headers or (("content-type", CHUNKED),), content=content
    )


async def test_only_media_type_and_incremental_go_on() -> None:
    gateway = Echo()
    request = post(
        b"sealed",
        ("content-type", CHUNKED + "; client=7"),
        ("incremental", "?1"),
        ("authorization", "Bearer me"),
        ("cookie", "me"),
        ("forwarded", "for=me"),
        ("user-agent", "me"),
        ("via", "me"),
        ("x-forwarded-for", "me"),
        path="/?client=7",
    )
    async with new_relay(gateway).stream(request) as response:
        assert await read(response) == b"sealed"
        assert response.headers == (("content-type", CHUNKED),)
    [(path, headers)] = gateway.seen
    assert path == "/echo"
    assert headers == (
        ("host", "gateway"),
        ("content-type", CHUNKED),
        ("incremental", "?1"),
        ("content-length", "6"),
    )


@pytest.mark.parametrize("kind", ["message/ohttp-req", CHUNKED])
async def test_both_media_types_are_relayed(kind: str) -> None:
    assert await fetch(new_relay(Echo()), post(b"x", ("content-type", kind))) == (200, b"x")


@pytest.mark.parametrize(
    "request_, status",
    [
        (post(b"x", ("content-type", "application/json")), 415),
        (post(b"x", ("x-a", "no type")), 415),
        (post(b"x", path="/other"), 404),
        (post(b"x", path="/none"), 502),
        (HttpRequest(method="GET", url="http://relay/"), 405),
        (post(bytes(200)), 413),
    ],
)
async def test_refusals_are_bare(request_: HttpRequest, status: int) -> None:
    assert await fetch(new_relay(Echo(), max_body=100), request_) == (status, b"")


async def test_body_is_cut_at_the_limit_while_it_streams() -> None:
    async def much() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield bytes(10)

    async with new_relay(Echo(), max_body=100).stream(post(much())) as response:
        # The gateway had begun to answer, so the client sees a broken answer; else it would see 413.
        if response.status == 200:
            with pytest.raises(DisconnectedError):
                await read(response)
        else:
            assert response.status == 413


async def test_parts_are_passed_on_as_they_come() -> None:
    heard: list[bytes] = []

    async def questions() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number
            while len(heard) <= number:
                await anyio.sleep(0.001)

    with anyio.fail_after(5):
        async with new_relay(Echo()).stream(post(questions())) as response:
            async for part in response.content:
                heard.append(part)  # noqa: PERF401  # the other side waits for each
    assert heard == [b"0", b"1", b"2"]


@pytest.mark.parametrize("error", [RemoteProtocolError("no HTTP"), BackendError("broken")])
async def test_gateway_that_breaks_the_protocol_is_a_bad_gateway(error: Exception) -> None:
    class Broken(Wire):
        def stream(self, request: HttpRequest) -> NoReturn:
            raise error

    relay = Relay(RelayConfig(gateways=("http://gateway/",)), Broken())
    assert await fetch(AsgiTransport(relay), post(b"x")) == (502, b"")


async def test_gateway_that_breaks_off_is_seen_by_the_client() -> None:
    class Cutting(Echo):
        async def _echo(self, exchange: Exchange) -> None:
            await self._cut(exchange)

    with pytest.raises(DisconnectedError):
        await fetch(new_relay(Cutting()), post(b"x"))


async def test_client_that_goes_away_is_seen_by_the_gateway() -> None:
    class Waiting(Echo):
        async def _echo(self, exchange: Exchange) -> None:
            await exchange.read()
            await self._slow(exchange)

    gateway = Waiting()
    async with new_relay(gateway).stream(post(b"x")) as response:
        assert await anext(response.content) == b"a beginning"
    with anyio.fail_after(5):
        await gateway.cancelled.wait()


async def test_answer_has_only_what_ohttp_needs() -> None:
    class Chatty(Echo):
        async def _echo(self, exchange: Exchange) -> None:
            headers = (
                ("content-type", "message/ohttp-chunked-res"),
                ("set-cookie", "me"),
                ("cache-control", "no-store"),
            )
            await exchange.answer(200, headers, b"x")

    async with new_relay(Chatty()).stream(post(b"x")) as response:
        assert header(response.headers, "set-cookie") is None
        assert response.headers == (("content-type", "message/ohttp-chunked-res"), ("cache-control", "no-store"))
        await read(response)


@pytest.mark.parametrize("gateways", [(), ("http://a/", "http://b/"), ("/x=http://a/", "/x=http://b/")])
def test_gateways_have_paths_of_their_own(gateways: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="gateways"):
        Relay(RelayConfig(gateways=gateways))


async def test_relay_closes_its_transport() -> None:
    closed = anyio.Event()

    class Closing(Wire):
        async def aclose(self) -> None:
            closed.set()

    async with Relay(RelayConfig(gateways=("http://gateway/",)), Closing()).lifespan():
        pass
    assert closed.is_set()
