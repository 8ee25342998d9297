"""The node: what it opens, what it asks the engine, and what nobody else learns."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import anyio
import pytest
from attrs import evolve

from confsec.backends.api import HttpRequest, header
from confsec.backends.asgi import AsgiTransport
from confsec.errors import BusyError, DisconnectedError, EngineError
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.cmw import CMW_COLLECTION_TYPE, Evidence
from confsec.protocol.key_config import KeyConfig, decode_key_configs
from confsec.protocol.sealed import SealedClient, SealedContentReceived
from confsec.roles.node import Node, NodeConfig
from confsec.testing import FixedClock
from tests.roles.chain import CHAT, FakeEngine
from tests.roles.support import fetch, read

pytestmark = pytest.mark.anyio

SEALED = (("content-type", "message/confsec-sealed-req"),)
NOW = datetime(2026, 11, 23, 12, 5, tzinfo=UTC)
MARKER = b"marker-4711"


class Served:
    def __init__(self, node: Node, engine: FakeEngine) -> None:
        self.node = node
        self.engine = engine
        self.transport = AsgiTransport(node, client=("127.0.0.77", 4711))

    async def key_config(self) -> KeyConfig:
        request = HttpRequest(method="GET", url="http://node/v1/evidence")
        async with self.transport.stream(request) as response:
            assert header(response.headers, "content-type") == CMW_COLLECTION_TYPE
            evidence = Evidence.decode(await read(response))
        assert list(evidence.items) == ["key-config"]
        [config] = decode_key_configs(evidence.item("key-config", "application/ohttp-keys"))
        return config

    async def seal(self, request: Request | None = None) -> tuple[SealedClient, bytes]:
        from confsec.backends.system import randbytes

        client = SealedClient([await self.key_config()], randbytes=randbytes)
        return client, client.seal((request or chat()).encode())

    async def post(self, sealed: bytes) -> tuple[int, bytes]:
        return await fetch(
            self.transport, HttpRequest(method="POST", url="http://node/v1/sealed", headers=SEALED, content=sealed)
        )

    async def ask(self, request: Request | None = None) -> Response:
        client, sealed = await self.seal(request)
        status, body = await self.post(sealed)
        assert status == 200
        return open_answer(client, body)

    async def refused(self, sealed: bytes) -> tuple[int, str]:
        status, body = await self.post(sealed)
        return status, json.loads(body)["code"]


def open_answer(client: SealedClient, body: bytes) -> Response:
    events = client.receive_data(body) + client.receive_eof()
    return Response.decode(b"".join(event.data for event in events if isinstance(event, SealedContentReceived)))


def chat(content: bytes = b'{"prompt": "%s"}' % MARKER, *, method: str = "POST", path: str = CHAT) -> Request:
    headers = (("content-type", "application/json"), ("authorization", "Bearer me"), ("cookie", "me"))
    return Request(method, "https", "engine", path, headers, content)


@asynccontextmanager
async def serving(clock: FixedClock | None = None, **changes: object) -> AsyncGenerator[Served]:
    engine = FakeEngine()
    node = Node(NodeConfig(**changes), engine, attester=None, clock=clock or FixedClock(NOW))  # type: ignore[arg-type]
    async with node.lifespan():
        yield Served(node, engine)


@pytest.mark.parametrize("kem, kem_id", [("MLKEM768-X25519", 0x647A), ("MLKEM768-P256", 0x0050)])
async def test_request_is_opened_and_the_answer_sealed(kem: str, kem_id: int) -> None:
    async with serving(kem=kem) as served:
        assert (await served.key_config()).kem_id == kem_id
        response = await served.ask()
        assert (response.status, response.content) == (200, b"data: hello\n\ndata: [DONE]\n\n")
        assert response.headers == (("content-type", "text/event-stream"),)


async def test_engine_sees_only_what_it_needs() -> None:
    async with serving() as served:
        await served.ask()
        [request] = served.engine.requests
        assert request.headers == (("content-type", "application/json"),)
        assert (request.method, request.url, request.content) == ("POST", CHAT, b'{"prompt": "%s"}' % MARKER)


async def test_tokens_do_not_wait_for_each_other() -> None:
    async with serving() as served:
        served.engine.hold = anyio.Event()
        client, sealed = await served.seal()
        request = HttpRequest(method="POST", url="http://node/v1/sealed", headers=SEALED, content=sealed)
        with anyio.fail_after(5):
            async with served.transport.stream(request) as response:
                opened = b""
                async for part in response.content:
                    for event in client.receive_data(part):
                        if isinstance(event, SealedContentReceived):
                            opened += event.data
                    if b"data: hel" in opened and not served.engine.hold.is_set():
                        assert b"lo\n\n" not in opened
                        served.engine.hold.set()
                client.receive_eof()


@pytest.mark.parametrize(
    "request_, status, code",
    [
        (chat(path="/metrics", method="GET"), 404, "not_allowed"),
        (chat(path="/v1/chat/completions/../models"), 404, "not_allowed"),
        (evolve(chat(), trailers=(("x-a", "b"),)), 400, "decode"),
    ],
)
async def test_what_engines_are_not_asked_is_told_to_the_client_alone(
    request_: Request, status: int, code: str
) -> None:
    async with serving() as served:
        response = await served.ask(request_)
        assert (response.status, json.loads(response.content)["code"]) == (status, code)
        assert served.engine.requests == []


async def test_content_that_is_no_request_is_told_to_the_client_alone() -> None:
    from confsec.backends.system import randbytes

    async with serving() as served:
        client = SealedClient([await served.key_config()], randbytes=randbytes)
        status, body = await served.post(client.seal(b"\x09no message"))
        response = open_answer(client, body)
        assert (status, response.status, json.loads(response.content)["code"]) == (200, 400, "decode")


async def test_engine_that_fails_is_told_to_the_client_alone() -> None:
    async with serving() as served:
        served.engine.error = EngineError("the engine is out of order")
        response = await served.ask()
        assert (response.status, json.loads(response.content)["code"]) == (502, "engine")


async def test_full_engine_is_told_to_the_router() -> None:
    async with serving() as served:
        served.engine.error = BusyError("the engine is full")
        _, sealed = await served.seal()
        assert await served.refused(sealed) == (503, "busy")


async def test_engine_that_breaks_off_leaves_the_answer_without_its_end() -> None:
    async with serving() as served:
        served.engine.broken_after = 1
        _, sealed = await served.seal()
        with pytest.raises(DisconnectedError):
            await served.post(sealed)


async def test_refusals_before_opening_say_what_anybody_could_know() -> None:
    async with serving() as served:
        _, sealed = await served.seal()
        foreign = sealed[:2] + bytes(32) + sealed[34:]
        assert await served.refused(foreign) == (422, "unknown_key")
        assert await served.refused(sealed[:-1]) == (400, "decryption")
        assert await served.refused(sealed) == (409, "replay")  # its enc was reserved by the cut one
        assert await served.refused(b"\x02\x01") == (501, "unsupported")
        assert await served.refused(b"") == (400, "truncated")
        request = HttpRequest(method="POST", url="http://node/v1/sealed", content=sealed)
        assert (await fetch(served.transport, request))[0] == 415


async def test_same_request_is_answered_once() -> None:
    async with serving() as served:
        _, sealed = await served.seal()
        assert (await served.post(sealed))[0] == 200
        assert await served.refused(sealed) == (409, "replay")


async def test_full_replay_set_is_busy() -> None:
    async with serving(replay_limit=1) as served:
        await served.ask()
        _, sealed = await served.seal()
        assert await served.refused(sealed) == (503, "busy")


async def test_too_large_a_request_is_refused() -> None:
    async with serving(max_body=8192) as served:
        _, sealed = await served.seal(chat(bytes(10_000)))
        assert await served.refused(sealed) == (413, "limit")


async def test_key_lives_for_its_epoch_and_the_next() -> None:
    clock = FixedClock(NOW)
    async with serving(clock) as served:
        client, first = await served.seal()
        _, second = await served.seal()
        clock.advance(timedelta(minutes=10))
        await served.node.begin_epoch()
        status, body = await served.post(first)
        assert (status, open_answer(client, body).status) == (200, 200)
        clock.advance(timedelta(minutes=10))
        await served.node.begin_epoch()
        assert await served.refused(second) == (422, "unknown_key")


async def test_turn_of_the_epoch_disturbs_no_answer() -> None:
    async with serving() as served:
        served.engine.hold = anyio.Event()
        client, sealed = await served.seal()
        request = HttpRequest(method="POST", url="http://node/v1/sealed", headers=SEALED, content=sealed)
        async with served.transport.stream(request) as response:
            body = await anext(response.content)
            for _ in range(3):
                await served.node.begin_epoch()
            served.engine.hold.set()
            body += await read(response)
        assert open_answer(client, body).content == b"data: hello\n\ndata: [DONE]\n\n"


async def test_epochs_begin_by_themselves() -> None:
    node = Node(NodeConfig(epoch=1), FakeEngine(), attester=None)
    async with node.lifespan():
        first = node._keys.current.node_id
        with anyio.fail_after(10):
            while first in node._keys.node_ids:
                await anyio.sleep(0.05)
        assert len(node._keys.node_ids) == 2


async def test_health_is_the_engines() -> None:
    async with serving() as served:
        url = HttpRequest(method="GET", url="http://node/healthz")
        assert (await fetch(served.transport, url))[0] == 200
        served.engine.healthy = EngineError("out of order")
        status, body = await fetch(served.transport, url)
        assert (status, json.loads(body)["state"]) == (503, "engine")


async def test_node_that_ended_has_no_keys() -> None:
    async with serving() as served:
        _, sealed = await served.seal()
    assert served.engine.left.is_set()
    assert await served.refused(sealed) == (422, "unknown_key")
    assert (await fetch(served.transport, HttpRequest(method="GET", url="http://node/v1/evidence")))[0] == 503


async def test_client_that_goes_away_cancels_the_engine() -> None:
    async with serving() as served:
        served.engine.hold = anyio.Event()
        _, sealed = await served.seal()
        request = HttpRequest(method="POST", url="http://node/v1/sealed", headers=SEALED, content=sealed)
        async with served.transport.stream(request) as response:
            await anext(response.content)  # the head, and what the engine gave before it holds
            await served.engine.holding.wait()
        with anyio.fail_after(1):
            await served.engine.left.wait()


async def test_no_content_in_any_log(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    class Buggy(FakeEngine):
        def stream(self, request: HttpRequest) -> NoReturn:
            raise ValueError(f"cannot do {request.content!r}")

    with caplog.at_level(logging.DEBUG):
        async with serving() as served:
            await served.ask()
            served.engine.error = EngineError("out of order")
            await served.ask()
            served.node._engine = Buggy()
            _, sealed = await served.seal()
            assert await served.refused(sealed) == (500, "error")
    output = caplog.text + "".join(capsys.readouterr())
    assert "ValueError" in output
    assert MARKER.decode() not in output
