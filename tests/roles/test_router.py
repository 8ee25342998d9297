"""The router: the fleet as its nodes are, and one live candidate for each request."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import ClassVar

import anyio
import anyio.abc
import pytest

from confsec.backends.api import HttpRequest, header
from confsec.backends.asgi import AsgiTransport
from confsec.errors import BusyError, ConfigError, ConnectError, DisconnectedError, TokenError
from confsec.protocol.cmw import Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.key_config import KeyConfig, decode_key_configs
from confsec.protocol.policy import PRODUCTION
from confsec.protocol.sealed import SealedClient, node_id
from confsec.roles.asgi import Exchange, Role
from confsec.roles.config import RoleConfig
from confsec.roles.epochs import EVIDENCE_FIELD
from confsec.roles.node import Node, NodeConfig
from confsec.roles.router import Router, RouterConfig
from confsec.testing import seeded_randbytes
from tests.roles.chain import CHAT, FakeEngine, Wire
from tests.roles.support import fetch, read

pytestmark = pytest.mark.anyio

SEALED = ("content-type", "message/confsec-sealed-req")
TOKEN = ("authorization", 'PrivateToken token="x"')


class Tokens:
    """Notes what is spent and released."""

    www_authenticate = 'PrivateToken challenge="x"'

    def __init__(self) -> None:
        self.log: list[tuple[str, str | None, bytes]] = []
        self.error: Exception | None = None
        self.closed = False

    async def watch(self) -> None:
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        self.closed = True

    async def spend(self, authorization: str | None, header_digest: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.log.append(("spend", authorization, header_digest))

    async def release(self, authorization: str | None, header_digest: bytes) -> None:
        self.log.append(("release", authorization, header_digest))

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _, _ in self.log]


class Served:
    def __init__(self, wire: Wire, router: Router, nodes: list[Node], tokens: Tokens) -> None:
        self.wire = wire
        self.router = router
        self.nodes = nodes
        self.tokens = tokens
        self.transport = AsgiTransport(router)
        self.sealed: SealedClient

    async def record(self) -> FleetRecord:
        status, body = await self.get("/v1/fleet")
        assert status == 200
        return FleetRecord.decode(body)

    async def get(self, path: str) -> tuple[int, bytes]:
        return await fetch(self.transport, HttpRequest(method="GET", url="http://router" + path))

    async def key_configs(self) -> list[KeyConfig]:
        configs = []
        for node in (await self.record()).nodes:
            _, body = await self.get(f"/v1/evidence/{node.evidence_digest.hex()}")
            assert Evidence.decode(body).digest == node.evidence_digest
            [config] = decode_key_configs(Evidence.decode(body).items["key-config"].value)
            assert node_id(config) == node.node_id
            configs.append(config)
        return configs

    async def seal(self, content: bytes = b"x") -> bytes:
        from confsec.protocol.bhttp import Request

        self.sealed = SealedClient(await self.key_configs(), randbytes=seeded_randbytes("client"))
        headers = (("content-type", "application/json"),)
        return self.sealed.seal(Request("POST", "https", "engine", CHAT, headers, content).encode())

    async def post(self, content: bytes | AsyncIterator[bytes], *headers: tuple[str, str]) -> tuple[int, bytes]:
        request = HttpRequest(
            method="POST", url="http://router/v1/private", headers=headers or (SEALED, TOKEN), content=content
        )
        return await fetch(self.transport, request)

    async def refused(self, content: bytes, *headers: tuple[str, str]) -> tuple[int, str, str | None]:
        status, body = await self.post(content, *headers)
        problem = json.loads(body)
        assert problem["status"] == status
        return status, problem["code"], problem.get("token_state")


@asynccontextmanager
async def serving(count: int = 2, **changes: object) -> AsyncGenerator[Served]:
    wire, tokens = Wire(), Tokens()
    nodes = [Node(NodeConfig(), FakeEngine(), attester=None) for _ in range(count)]
    wire.roles = {f"node-{number}": node for number, node in enumerate(nodes)}
    urls = tuple(f"http://node-{number}" for number in range(count))
    settings = {"nodes": urls, "poll_interval": 0.05, "poll_timeout": 1.0, "unsafe_unattested": True} | changes
    router = Router(RouterConfig(**settings), wire, tokens=tokens)  # type: ignore[arg-type]
    async with anyio.create_task_group() as tasks:
        for node in nodes:
            # Each in a task of its own, so that a test may end one before the others.
            await tasks.start(_live, node)
        async with router.lifespan():
            yield Served(wire, router, nodes, tokens)
        tasks.cancel_scope.cancel()


async def _live(node: Node, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    async with node.lifespan():
        task_status.started()
        await anyio.sleep_forever()


async def test_fleet_lists_live_nodes_and_serves_their_evidence() -> None:
    async with serving(3) as served:
        record = await served.record()
        assert len(record.nodes) == 3
        assert Epoch.from_beacon(record.beacon).began.timestamp() % 600 == 0
        assert len(await served.key_configs()) == 3


async def test_unknown_evidence_is_not_found() -> None:
    async with serving() as served:
        for name in ("00" * 32, "0", "XX", "00" * 31 + "0G"):
            assert (await served.get(f"/v1/evidence/{name}"))[0] == 404


async def until(served: Served, size: int) -> FleetRecord:
    """Wait until the record has `size` nodes."""
    with anyio.fail_after(5):
        while True:
            status, body = await served.get("/v1/fleet")
            record = FleetRecord.decode(body) if status == 200 else None
            if record is not None and len(record.nodes) == size:
                return record
            if record is None and size == 0:
                return FleetRecord(b"", ())
            await anyio.sleep(0.02)


async def test_draining_and_dead_nodes_leave_the_record_and_come_back() -> None:
    async with serving() as served:
        served.nodes[0].draining = True
        await until(served, 1)
        gone = served.wire.roles.pop("node-1")
        await until(served, 0)
        assert (await served.get("/healthz"))[0] == 503
        served.nodes[0].draining = False
        served.wire.roles["node-1"] = gone
        await until(served, 2)
        assert (await served.get("/healthz"))[0] == 200


async def test_node_with_a_broken_engine_leaves_the_record() -> None:
    async with serving() as served:
        engine = served.nodes[0]._engine
        assert isinstance(engine, FakeEngine)
        engine.healthy = ConnectError("no engine")
        await until(served, 1)


async def test_drained_node_gets_nothing() -> None:
    async with serving(2, drained=("http://node-0",)) as served:
        [config] = await served.key_configs()
        assert config == served.nodes[1]._keys.current.key_config


async def test_new_epoch_changes_the_record_and_the_old_key_still_leads_to_its_node() -> None:
    async with serving(1) as served:
        before = await served.record()
        sealed = await served.seal()
        await served.nodes[0].begin_epoch()
        with anyio.fail_after(5):
            while await served.record() == before:
                await anyio.sleep(0.02)
        assert (await served.get(f"/v1/evidence/{before.nodes[0].evidence_digest.hex()}"))[0] == 200
        assert (await served.post(sealed))[0] == 200


class Shows(Role):
    """A node that shows other evidence than its own."""

    name: ClassVar = "node"

    def __init__(self, node: Node, evidence: bytes, endorsements: bytes = Endorsements.of({}).encoded) -> None:
        self.evidence = evidence
        self.endorsements = endorsements
        super().__init__(
            RoleConfig(),
            node._routes
            | {("GET", "/v1/evidence"): self._get_evidence, ("GET", "/v1/endorsements"): self._get_endorsements},
        )

    async def _get_evidence(self, exchange: Exchange) -> None:
        await exchange.answer(200, (), self.evidence)

    async def _get_endorsements(self, exchange: Exchange) -> None:
        await exchange.answer(200, ((EVIDENCE_FIELD, sha256(self.evidence).hexdigest()),), self.endorsements)


async def test_evidence_that_is_none_keeps_a_node_out() -> None:
    async with serving() as served:
        served.wire.roles["node-0"] = Shows(served.nodes[0], b"no evidence")
        await until(served, 1)


async def test_request_is_answered_and_its_token_spent_for_its_header() -> None:
    async with serving() as served:
        sealed = await served.seal()
        request = HttpRequest(method="POST", url="http://router/v1/private", headers=(SEALED, TOKEN), content=sealed)
        async with served.transport.stream(request) as response:
            assert response.status == 200
            assert header(response.headers, "content-type") == "message/confsec-sealed-res"
            events = served.sealed.receive_data(await read(response)) + served.sealed.receive_eof()
        assert events
        assert served.tokens.log == [("spend", TOKEN[1], served.sealed.header_digest)]


async def test_nothing_but_the_media_type_goes_to_the_node() -> None:
    async with serving(1) as served:
        sealed = await served.seal()
        served.wire.requests.clear()
        await served.post(sealed, SEALED, TOKEN, ("x-forwarded-for", "me"))
        [request] = [request for request in served.wire.requests if request.method == "POST"]
        assert request.headers == (SEALED, ("content-length", str(len(sealed))))


async def test_refusals_say_what_became_of_the_token() -> None:
    async with serving() as served:
        sealed = await served.seal()
        foreign = bytearray(sealed)
        foreign[2:34] = bytes(32)
        second = 2 + 32 + 2 + 1120 + 48
        foreign[second : second + 32] = b"\1" * 32
        assert await served.refused(bytes(foreign)) == (422, "unknown_key", "not_spent")
        assert await served.refused(b"\x02" + sealed[1:]) == (501, "unsupported", "not_spent")
        assert await served.refused(sealed[:100]) == (400, "truncated", "not_spent")
        assert await served.refused(sealed, ("content-type", "text/plain"), TOKEN) == (
            415,
            "unsupported_media_type",
            "not_spent",
        )
        assert await served.refused(sealed[:100], SEALED) == (400, "truncated", None)
        assert served.tokens.log == []
        # A node received bytes: then the token is gone, whatever was in them.
        assert await served.refused(sealed[:-1] + b"?") == (400, "decryption", "spent")
        assert served.tokens.verbs == ["spend"]


async def test_token_that_does_not_pay_is_refused_before_a_node_hears_of_it() -> None:
    async with serving() as served:
        sealed = await served.seal()
        served.tokens.error = TokenError("spent before")
        served.wire.requests.clear()
        assert await served.refused(sealed) == (401, "token", "not_spent")
        assert not [request for request in served.wire.requests if request.method == "POST"]


async def test_token_comes_back_if_no_node_could_be_reached() -> None:
    async with serving() as served:
        sealed = await served.seal()
        served.wire.roles.clear()
        assert await served.refused(sealed) == (503, "busy", "not_spent")
        assert served.tokens.verbs in (["spend", "release"], [])


async def test_dead_candidate_is_passed_over() -> None:
    async with serving(3, poll_interval=60.0) as served:
        sealed = await served.seal()
        for name in ("node-0", "node-1"):
            served.wire.roles.pop(name)
        assert (await served.post(sealed))[0] == 200


class Failing(Node):
    """A node that reads a request and then fails in the way that a test sets."""

    how: str = ""
    asked = 0

    async def _sealed(self, exchange: Exchange) -> None:
        type(self).asked += 1
        await exchange.read()
        if self.how == "busy":
            raise BusyError("full")
        if self.how == "type":
            await exchange.answer(200, (("content-type", "text/html"),), b"<p>")
        if self.how == "begun":
            await exchange.start(200, (("content-type", "message/confsec-sealed-res"),))
            await exchange.write(b"x")
        if self.how == "replay":
            from confsec.errors import ReplayError

            raise ReplayError("again")


@asynccontextmanager
async def one_failing(how: str, **changes: object) -> AsyncGenerator[Served]:
    """Serve one node that works and eight that fail, so that a failing one is nearly always asked first."""
    Failing.how, Failing.asked = how, 0
    # Asked how they are only once: on a busy machine a node could miss its time and be left out.
    async with serving(9, **{"poll_interval": 60.0} | changes) as served:
        for node in served.nodes[1:]:
            node.__class__ = Failing
            node._routes["POST", "/v1/sealed"] = node._sealed
        yield served


@pytest.mark.parametrize("how", ["busy", "type", "disconnect"])
async def test_another_candidate_is_asked_while_nothing_was_sent(how: str) -> None:
    async with one_failing(how) as served:
        sealed = await served.seal()
        assert (await served.post(sealed))[0] == 200
        assert served.tokens.verbs == ["spend"]


async def test_all_candidates_busy_is_busy_and_spent() -> None:
    async with one_failing("busy") as served:
        served.nodes[0].__class__ = Failing
        served.nodes[0]._routes["POST", "/v1/sealed"] = served.nodes[0]._sealed
        sealed = await served.seal()
        assert await served.refused(sealed) == (503, "busy", "spent")
        assert Failing.asked == 9


async def test_no_other_candidate_is_asked_after_a_replay_or_a_beginning() -> None:
    async with one_failing("replay") as served:
        served.wire.roles.pop("node-0")
        assert await served.refused(await served.seal()) == (409, "replay", "spent")
        assert Failing.asked == 1
    async with one_failing("begun") as served:
        served.wire.roles.pop("node-0")
        with pytest.raises(DisconnectedError):
            await served.post(await served.seal())
        assert Failing.asked == 1


async def test_request_beyond_the_retry_buffer_goes_to_one_candidate_only() -> None:
    async with one_failing("busy", retry_buffer=1000) as served:
        served.wire.roles.pop("node-0")
        sealed = await served.seal(bytes(100_000))

        async def parts() -> AsyncIterator[bytes]:
            for start in range(0, len(sealed), 4096):
                yield sealed[start : start + 4096]

        assert (await served.post(parts()))[0] == 503
        assert Failing.asked == 1


async def test_client_that_goes_away_is_seen_by_the_engine() -> None:
    async with serving(1) as served:
        engine = served.nodes[0]._engine
        assert isinstance(engine, FakeEngine)
        engine.hold = anyio.Event()
        sealed = await served.seal()
        request = HttpRequest(method="POST", url="http://router/v1/private", headers=(SEALED,), content=sealed)
        async with served.transport.stream(request) as response:
            await anext(response.content)
            await engine.holding.wait()
        with anyio.fail_after(5):
            await engine.left.wait()


def test_router_without_tokens_has_to_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="tokens"):
        Router(RouterConfig(nodes=("http://node",), unsafe_unattested=True))
    Router(RouterConfig(nodes=("http://node",), unsafe_no_tokens=True, unsafe_unattested=True))
    with pytest.raises(ConfigError, match="nodes"):
        Router(RouterConfig(nodes=(), unsafe_no_tokens=True))


def test_router_without_a_policy_has_to_be_asked_for() -> None:
    config = RouterConfig(nodes=("http://node",), unsafe_no_tokens=True)
    with pytest.raises(ConfigError, match="a router needs a policy"):
        Router(config)
    Router(config, policy=PRODUCTION)
