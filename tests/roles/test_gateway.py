"""The gateway: two forms of encapsulation, an allow-list, keys that turn over, and errors that say nothing outside."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from confsec.backends.api import HttpRequest, header
from confsec.backends.asgi import AsgiTransport
from confsec.errors import ConfigError, DisconnectedError, NotAllowedError
from confsec.protocol.bhttp import Request, Response, encode_content, encode_end, encode_request_head
from confsec.protocol.bhttp_decoder import RequestHead
from confsec.protocol.chunked_ohttp import ChunkedOhttpClient, ChunkReceived
from confsec.protocol.key_config import KeyConfig, SymmetricSuite, decode_key_configs
from confsec.protocol.ohttp import OhttpClient, ResponseReceived
from confsec.roles.gateway import Gateway, GatewayConfig
from confsec.roles.keys import GatewayKeyFile
from confsec.roles.targets import Targets
from confsec.testing import FixedClock, seeded_randbytes
from tests.roles.chain import Wire
from tests.roles.support import Echo, fetch, read

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHUNKED = "message/ohttp-chunked-req"
ONE_SHOT = "message/ohttp-req"
TARGETS = ("router.example=http://target", "gone.example=http://nobody")
ALLOW = ("POST /echo", "GET /endless", "GET /bug", "GET /busy", "GET /cut", "POST /cut", "GET /v1/evidence/*")


class Served:
    """A gateway before an echoing target, and the machines that speak with it."""

    def __init__(self, gateway: Gateway, target: Echo, key_config: KeyConfig) -> None:
        self.gateway = gateway
        self.target = target
        self.transport = AsgiTransport(gateway)
        self.key_config = key_config
        self._clients = 0

    async def post(self, content: bytes | AsyncIterator[bytes], kind: str = CHUNKED) -> tuple[int, str | None, bytes]:
        request = HttpRequest(
            method="POST", url="http://gateway/gateway", headers=(("content-type", kind),), content=content
        )
        async with self.transport.stream(request) as response:
            return response.status, header(response.headers, "content-type"), await read(response)

    def new_client(self) -> ChunkedOhttpClient:
        self._clients += 1
        return ChunkedOhttpClient(self.key_config, randbytes=seeded_randbytes(f"client {self._clients}"))

    async def ask(self, request: Request) -> Response:
        """Send one request in chunks; return what was encapsulated."""
        client = self.new_client()
        status, kind, body = await self.post(client.begin() + client.send_eof(request.encode()))
        assert (status, kind) == (200, "message/ohttp-chunked-res")
        return open_chunked(client, body)

    async def ask_one_shot(self, request: Request) -> Response:
        client = OhttpClient(self.key_config, randbytes=seeded_randbytes("one-shot"))
        status, kind, body = await self.post(client.encapsulate(request.encode()), ONE_SHOT)
        assert (status, kind) == (200, "message/ohttp-res")
        client.receive_data(body)
        [event] = client.receive_eof()
        assert isinstance(event, ResponseReceived)
        return Response.decode(event.content)


def open_chunked(client: ChunkedOhttpClient, body: bytes) -> Response:
    events = client.receive_data(body) + client.receive_eof()
    return Response.decode(b"".join(event.data for event in events if isinstance(event, ChunkReceived)))


@asynccontextmanager
async def serving(config: GatewayConfig | None = None, clock: FixedClock | None = None) -> AsyncGenerator[Served]:
    wire, target = Wire(), Echo()
    wire.roles["target"] = target
    config = config or GatewayConfig(targets=TARGETS, allow=ALLOW)
    gateway = Gateway(config, wire, clock=clock or FixedClock(NOW), randbytes=seeded_randbytes("gateway"))
    async with gateway.lifespan():
        status, keys = await fetch(AsgiTransport(gateway), HttpRequest(method="GET", url="http://gateway/ohttp-keys"))
        assert status == 200
        yield Served(gateway, target, decode_key_configs(keys)[0])


def request(
    path: str = "/echo", content: bytes = b"hello", *, method: str = "", authority: str = "router.example"
) -> Request:
    return Request(method or ("POST" if content else "GET"), "https", authority, path, content=content)


async def test_keys_are_published_with_their_media_type() -> None:
    async with serving() as served:
        url = HttpRequest(method="GET", url="http://gateway/ohttp-keys")
        async with served.transport.stream(url) as response:
            assert header(response.headers, "content-type") == "application/ohttp-keys"
            configs = decode_key_configs(await read(response))
        assert sorted(config.kem_id for config in configs) == [0x0020, 0x647A]


async def test_both_forms_reach_the_target_and_come_back() -> None:
    async with serving() as served:
        for response in (await served.ask(request()), await served.ask_one_shot(request())):
            assert (response.status, response.content) == (200, b"hello")
            assert ("x-secret", "1") in response.headers


async def test_only_listed_fields_reach_the_target() -> None:
    async with serving() as served:
        headers = (("authorization", "PrivateToken token=x"), ("content-type", "a/b"), ("cookie", "me"), ("via", "v"))
        await served.ask(evolve(request(), headers=headers))
        [(_, seen)] = served.target.seen
        assert [name for name, _ in seen] == ["host", "authorization", "content-type", "content-length"]


@pytest.mark.parametrize(
    "changed, status, code",
    [
        (request(authority="other.example"), 404, "not_allowed"),
        (request(authority=""), 404, "not_allowed"),
        (request(path="/other"), 404, "not_allowed"),
        (request(path="/echo/"), 404, "not_allowed"),
        (request(path="/x/../echo"), 404, "not_allowed"),
        (request(path="/echo?a=\\"), 404, "not_allowed"),
        (request(method="PUT"), 404, "not_allowed"),
        (request(path="/v1/evidence/..", method="GET", content=b""), 404, "not_allowed"),
        (request(path="/v1/evidence/*", method="GET", content=b""), 404, "not_allowed"),
        (request(path="/endless", method="GET"), 404, "not_allowed"),
        (request(authority="gone.example"), 502, "connect"),
        (request(path="/busy", content=b""), 503, "busy"),
        (request(path="/bug", content=b""), 500, "error"),
    ],
)
async def test_errors_are_told_inside(changed: Request, status: int, code: str) -> None:
    async with serving() as served:
        for response in (await served.ask(changed), await served.ask_one_shot(changed)):
            assert response.status == status
            assert ("content-type", "application/problem+json") in response.headers
            assert json.loads(response.content)["code"] == code


async def test_outside_all_failures_look_alike() -> None:
    async with serving() as served:
        answers = set()
        changes: list[Callable[[bytes], bytes]] = [
            lambda whole: whole[:40],  # cut in the header
            lambda whole: whole[:-40],  # without its end
            lambda whole: whole[:60] + bytes([whole[60] ^ 1]) + whole[61:],  # another enc
            lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),  # another final chunk
            lambda whole: whole + b"more",
            lambda whole: b"",
        ]
        for change in changes:
            client = served.new_client()
            answers.add(await served.post(change(client.begin() + client.send_eof(request().encode()))))
        one_shot = OhttpClient(served.key_config, randbytes=seeded_randbytes("one")).encapsulate(request().encode())
        answers.add(await served.post(one_shot[:-1] + bytes([one_shot[-1] ^ 1]), ONE_SHOT))
        assert answers == {(400, None, b"")}
        # A replay looks no different either.
        client = served.new_client()
        whole = client.begin() + client.send_eof(request().encode())
        assert (await served.post(whole))[0] == 200
        assert await served.post(whole) == (400, None, b"")


async def test_unknown_key_and_suite_have_their_problem_type() -> None:
    async with serving() as served:
        other_suite = (SymmetricSuite(kdf_id=2, aead_id=2),)
        for changed in (evolve(served.key_config, key_id=200), evolve(served.key_config, suites=other_suite)):
            client = ChunkedOhttpClient(changed, randbytes=seeded_randbytes("client"))
            status, kind, body = await served.post(client.begin() + client.send_eof(b"x"))
            assert (status, kind) == (400, "application/problem+json")
            assert json.loads(body)["type"] == "https://iana.org/assignments/http-problem-types#ohttp-key"


async def test_other_media_types_are_refused() -> None:
    async with serving() as served:
        assert await served.post(b"x", "application/json") == (415, None, b"")


async def test_bad_binary_http_is_told_inside() -> None:
    async with serving() as served:
        client = served.new_client()
        _, _, body = await served.post(client.begin() + client.send_eof(b"\x09 no message"))
        response = open_chunked(client, body)
        assert (response.status, json.loads(response.content)["code"]) == (400, "decode")


async def test_request_streams_through_while_it_is_made() -> None:
    heard: list[bytes] = []
    async with serving() as served:
        client = served.new_client()
        head = RequestHead("POST", "https", "router.example", "/echo")

        async def chunks() -> AsyncIterator[bytes]:
            yield client.begin() + client.send(encode_request_head(head))
            for number in range(3):
                yield client.send(encode_content(b"part %d" % number))
                while len(heard) <= number:
                    await anyio.sleep(0.001)
            yield client.send_eof(encode_end())

        content = HttpRequest(
            method="POST", url="http://gateway/gateway", headers=(("content-type", CHUNKED),), content=chunks()
        )
        with anyio.fail_after(5):
            async with served.transport.stream(content) as response:
                async for part in response.content:
                    for event in client.receive_data(part):
                        assert isinstance(event, ChunkReceived)
                        if b"part" in event.data:
                            heard.append(event.data[-6:])
                client.receive_eof()
        assert heard == [b"part 0", b"part 1", b"part 2"]


async def test_answer_that_breaks_off_has_no_final_chunk() -> None:
    async with serving() as served:
        client = served.new_client()
        content = client.begin() + client.send_eof(request("/cut", b"").encode())
        with pytest.raises(DisconnectedError):
            await served.post(content)


async def test_too_large_an_answer_to_one_shot_is_told_inside() -> None:
    async with serving(GatewayConfig(targets=TARGETS, allow=ALLOW, max_one_shot=1 << 20)) as served:
        response = await served.ask_one_shot(request("/endless", b""))
        assert (response.status, json.loads(response.content)["code"]) == (413, "limit")


async def test_client_that_goes_away_is_seen_by_the_target() -> None:
    async with serving() as served:
        client = served.new_client()
        content = HttpRequest(
            method="POST",
            url="http://gateway/gateway",
            headers=(("content-type", CHUNKED),),
            content=client.begin() + client.send_eof(request("/endless", b"").encode()),
        )
        async with served.transport.stream(content) as response:
            await anext(response.content)
        with anyio.fail_after(5):
            await served.target.cancelled.wait()


async def test_full_replay_window_is_busy() -> None:
    async with serving(GatewayConfig(targets=TARGETS, allow=ALLOW, replay_capacity=1)) as served:
        await served.ask(request())
        client = served.new_client()
        status, _, body = await served.post(client.begin() + client.send_eof(request().encode()))
        assert (status, body) == (503, b"")


async def test_request_is_remembered_for_the_window() -> None:
    clock = FixedClock(NOW)
    async with serving(GatewayConfig(targets=TARGETS, allow=ALLOW, replay_window=600.0), clock) as served:
        client = served.new_client()
        whole = client.begin() + client.send_eof(request().encode())
        assert (await served.post(whole))[0] == 200
        clock.advance(timedelta(seconds=590))
        assert (await served.post(whole))[0] == 400


async def test_keys_turn_over_and_old_ones_open_for_a_while() -> None:
    config = GatewayConfig(targets=TARGETS, allow=ALLOW, key_lifetime=1000.0, key_overlap=500.0)
    clock = FixedClock(NOW)
    async with serving(config, clock) as served:
        clock.advance(timedelta(seconds=1000))
        served.gateway._turn_over()
        assert (await served.ask(request())).status == 200  # sealed to the first key
        clock.advance(timedelta(seconds=600))
        client = ChunkedOhttpClient(served.key_config, randbytes=seeded_randbytes("late"))
        status, kind, _ = await served.post(client.begin() + client.send_eof(request().encode()))
        assert (status, kind) == (400, "application/problem+json")


async def test_keys_turn_over_by_themselves() -> None:
    config = GatewayConfig(targets=TARGETS, allow=ALLOW, key_lifetime=1.0)
    async with serving(config) as served:
        with anyio.fail_after(10):
            while len(served.gateway._keyring._keys) < 4:
                await anyio.sleep(0.05)


async def test_keys_come_from_files(tmp_path: Path) -> None:
    path = tmp_path / "key.toml"
    lifetime = timedelta(days=1)
    file = GatewayKeyFile.generate(
        "MLKEM768-X25519", 9, now=NOW, lifetime=lifetime, overlap=lifetime, randbytes=seeded_randbytes("file")
    )
    file.write(path)
    clock = FixedClock(NOW)
    async with serving(GatewayConfig(targets=TARGETS, allow=ALLOW, keys=(str(path),)), clock) as served:
        assert served.key_config == file.to_key().config
        assert (await served.ask(request())).status == 200
        clock.advance(lifetime)
        for path_ in ("/healthz", "/ohttp-keys"):
            assert (await fetch(served.transport, HttpRequest(method="GET", url="http://gateway" + path_)))[0] == 503


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": ()},
        {"targets": ("a=http://b", "a=http://c")},
        {"targets": ("http://b",)},
        {"targets": ("A B=http://b",)},
        {"allow": ("/v1/private",)},
        {"allow": ("GET /a*",)},
        {"allow": ("GET /*/b",)},
        {"kems": ("RSA",)},
    ],
)
def test_bad_settings_are_refused(changes: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ConfigError):
        Gateway(GatewayConfig(**{"targets": TARGETS, "allow": ALLOW} | changes))  # type: ignore[arg-type]


def test_targets_compare_letter_by_letter() -> None:
    targets = Targets(("r=http://t/base/",), ("GET /a/*", "GET /b"))
    head = RequestHead("GET", "https", "", "/a/x?q=1", (("host", "r"),))
    assert targets.url_for(head) == "http://t/base/a/x?q=1"
    assert targets.url_for(evolve(head, path="/b")) == "http://t/base/b"
    for path in ("/a/", "/a/.", "/a/..", "/a/.x", "/a/%2e", "/a/x/y", "/a//x", "//a/x", "/A/x", "/a/*", "/b*", "/a/é"):
        with pytest.raises(NotAllowedError):
            targets.url_for(evolve(head, path=path))
