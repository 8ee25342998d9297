"""The client over a service in memory, on asyncio and on trio."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from confsec.backends.api import HttpRequest
from confsec.client import MAX_REQUEST, Client, private_info
from confsec.errors import (
    ConfigError,
    DecodeError,
    DecryptionError,
    DisconnectedError,
    EvidenceError,
    LimitError,
    LocalProtocolError,
    PolicyError,
    TruncatedError,
    UnknownKeyError,
)
from confsec.protocol.appraisal import TrustedKeyConfig
from confsec.protocol.bhttp import Response
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.gateway_keys import GatewayKeyring
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.protocol.session import FLEET_MAX_AGE, AppraisalDue, NodeAppraised
from confsec.sync_client import SyncClient
from confsec.testing import FixedClock, seeded_randbytes
from tests.client.wire import ServiceTransport, fleet_of_today, parts_of
from tests.protocol.fleets import make_fleet
from tests.protocol.service import NOW, Service

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


def new_client(wire: ServiceTransport, *, clock: FixedClock | None = None) -> Client:
    return Client(
        wire.service.directory,
        policy=UNSAFE_UNATTESTED,
        transport=wire,
        randbytes=seeded_randbytes("client"),
        clock=clock or FixedClock(NOW),
    )


def new_wire(size: int = 3) -> ServiceTransport:
    return ServiceTransport(Service(make_fleet(size)))


async def test_an_answer_comes_back_with_its_proof() -> None:
    wire = new_wire()
    async with new_client(wire) as client:
        answer = await client.request("POST", CHAT, json={"q": "hello"})
    assert answer.status == 200
    assert answer.content == b'{"q": "hello"}'[::-1]
    assert answer.info.node_id in answer.proof.candidates
    assert wire.closed


async def test_the_relay_is_told_nothing_of_the_request() -> None:
    wire = new_wire()
    async with new_client(wire) as client:
        await client.request(
            "POST", CHAT, content=b"hello", headers=(("Authorization", "Bearer sk-1"), ("Cookie", "a"))
        )
    assert {request.headers for request in wire.requests} == {wire.requests[0].headers}
    assert {request.url for request in wire.requests} == {wire.service.directory.relay_url}
    assert all(b"sk-1" not in request.content for request in wire.requests if isinstance(request.content, bytes))
    assert wire.service.asked[0].headers == ()


async def test_the_fleet_is_fetched_once_for_many_requests_at_once() -> None:
    wire = new_wire()
    async with new_client(wire) as client, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(client.request, "POST", CHAT)
    assert sum(request.path == "/v1/fleet" for request in wire.service.requests) == 1


async def test_the_fleet_is_fetched_again_when_it_is_old() -> None:
    wire, clock = new_wire(), FixedClock(NOW)
    async with new_client(wire, clock=clock) as client:
        await client.request("POST", CHAT)
        clock.advance(by=FLEET_MAX_AGE)
        await client.request("POST", CHAT)
        await client.refresh()
    assert sum(request.path == "/v1/fleet" for request in wire.service.requests) == 3


async def test_a_new_epoch_is_noticed_and_the_request_sealed_anew_once() -> None:
    wire = new_wire(1)
    next_epoch = make_fleet(1, randbytes=seeded_randbytes("next epoch"))
    async with new_client(wire) as client:
        await client.request("POST", CHAT)
        wire.service.turn_epoch(next_epoch)
        answer = await client.request("POST", CHAT, content=b"again")
    assert answer.content == b"niaga"
    assert answer.info.node_id in next_epoch.keys


async def test_a_node_that_stays_unknown_is_an_error_after_one_more_try() -> None:
    wire = new_wire(1)
    async with new_client(wire) as client:
        wire.service.nodes.clear()
        with pytest.raises(UnknownKeyError):
            await client.request("POST", CHAT)
    assert sum(request.path == "/v1/private" for request in wire.service.requests) == 2
    assert wire.open == 0


async def test_production_policy_sends_no_prompt_to_an_unattested_fleet() -> None:
    wire = new_wire()
    async with Client(wire.service.directory, transport=wire, clock=FixedClock(NOW)) as client:
        with pytest.raises(PolicyError, match="UNSAFE_UNATTESTED"):
            await client.request("POST", CHAT)
    assert all(request.path != "/v1/private" for request in wire.service.requests)


@pytest.mark.parametrize("split", [1, 100, 1 << 20])
async def test_a_stream_arrives_whole_however_it_is_cut(split: int) -> None:
    wire = new_wire(1)
    wire.split = split
    async with new_client(wire) as client:
        request = HttpRequest(method="POST", url=f"https://api.example{CHAT}?x=1", content=parts_of(b"he", b"llo"))
        async with client.stream(request) as response:
            assert private_info(response).proof.checks
            assert b"".join([part async for part in response.content]) == b"olleh"
    assert wire.service.asked[0].path == f"{CHAT}?x=1"


async def test_an_answer_that_ends_too_early_raises_and_leaves_nothing_open() -> None:
    wire = new_wire(1)
    async with new_client(wire) as client:
        await client.request("POST", CHAT)
        wire.alter = lambda answer: answer[:-1]
        wire.split = 64
        with pytest.raises((TruncatedError, DecryptionError)):
            await client.request("POST", CHAT, content=b"x" * 4000)
        wire.alter, wire.breaks = (lambda answer: answer[:-40]), True
        with pytest.raises(DisconnectedError):
            await client.request("POST", CHAT)
    assert wire.open == 0


async def test_leaving_an_answer_early_closes_the_exchange() -> None:
    wire = new_wire(1)
    wire.split = 64
    wire.service.answer = lambda request: Response(200, content=bytes(100_000))
    async with new_client(wire) as client:
        async with client.stream(HttpRequest(method="POST", url=CHAT)) as response:
            await anext(response.content)
            assert wire.open == 1
        assert wire.open == 0


async def test_cancelling_a_request_leaves_nothing_open() -> None:
    wire = new_wire(1)
    wire.split = 64
    async with new_client(wire) as client:
        with anyio.CancelScope() as scope:
            async with client.stream(HttpRequest(method="POST", url=CHAT)):
                scope.cancel()
                await anyio.sleep(60)
        assert scope.cancelled_caught
        assert wire.open == 0
        assert (await client.request("POST", CHAT)).status == 200


async def test_a_failed_fetch_of_the_fleet_can_be_tried_again() -> None:
    wire = new_wire()
    async with new_client(wire) as client:
        wire.alter = lambda answer: answer[:-1]
        with pytest.raises((TruncatedError, DecryptionError)):
            await client.request("POST", CHAT)
        wire.alter = lambda answer: answer
        assert (await client.request("POST", CHAT)).status == 200


async def test_a_request_that_is_too_long_is_refused_before_it_is_sealed() -> None:
    wire = new_wire(1)
    async with new_client(wire) as client:
        with pytest.raises(LimitError, match="too long to seal"):
            await client.request("POST", CHAT, content=bytes(MAX_REQUEST + 1))
        async with aclosing(parts_of(*[bytes(1 << 20)] * 9)) as many:
            with pytest.raises(LimitError, match="too long to seal"):
                await client.stream(HttpRequest(method="POST", url=CHAT, content=many)).__aenter__()
        assert (await client.request("POST", CHAT, content=bytes(MAX_REQUEST))).status == 200


async def test_reads_its_directory_from_a_file_or_a_url(tmp_path: Path) -> None:
    wire = new_wire(1)
    path = tmp_path / "service.toml"
    path.write_text(wire.service.directory.to_toml())
    for service in (path, str(path), "http://127.0.0.1:9/.well-known/confsec-directory"):
        client = Client(service, policy=UNSAFE_UNATTESTED, transport=wire, clock=FixedClock(NOW))
        assert (await client.request("POST", CHAT)).status == 200


async def test_a_gateway_key_that_changed_is_read_from_the_directory_again(tmp_path: Path) -> None:
    wire = new_wire(1)
    path = tmp_path / "service.toml"
    path.write_text(wire.service.directory.to_toml())
    client = Client(path, policy=UNSAFE_UNATTESTED, transport=wire, clock=FixedClock(NOW))
    await client.request("POST", CHAT)
    other = Service(wire.service.fleet, seed="other gateway key")
    path.write_text(other.directory.to_toml())
    wire.service.nodes.clear()
    wire.before = lambda: setattr(wire, "service", other) if len(wire.service.requests) == 5 else None
    assert (await client.request("POST", CHAT)).status == 200


async def test_a_gateway_key_that_changed_while_nobody_asked_is_read_from_the_directory_again(tmp_path: Path) -> None:
    wire, clock = new_wire(1), FixedClock(NOW)
    path = tmp_path / "service.toml"
    path.write_text(wire.service.directory.to_toml())
    async with Client(path, policy=UNSAFE_UNATTESTED, transport=wire, clock=clock) as client:
        await client.request("POST", CHAT)
        clock.advance(by=FLEET_MAX_AGE)
        new = rekey(wire.service)
        with pytest.raises(UnknownKeyError):
            await client.request("POST", CHAT)
        path.write_text(new.to_toml())
        assert (await client.request("POST", CHAT)).status == 200


async def test_a_new_directory_does_not_make_a_client_take_older_collateral(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [8]
    run = AppraisalDue.run

    def run_with_collateral(due: AppraisalDue) -> NodeAppraised:
        appraised = run(due)
        assert isinstance(appraised.outcome, TrustedKeyConfig)
        result = appraised.outcome.result
        appraised.outcome._result = evolve(result, collateral_numbers={"TCB info": numbers[0]})
        return appraised

    monkeypatch.setattr(AppraisalDue, "run", run_with_collateral)
    wire, clock = new_wire(1), FixedClock(NOW)
    path = tmp_path / "service.toml"
    path.write_text(wire.service.directory.to_toml())
    async with Client(path, policy=UNSAFE_UNATTESTED, transport=wire, clock=clock) as client:
        await client.request("POST", CHAT)
        clock.advance(by=FLEET_MAX_AGE)
        path.write_text(rekey(wire.service).to_toml())
        numbers[0] = 7
        with pytest.raises(EvidenceError, match="back in time"):
            await client.request("POST", CHAT)


def rekey(service: Service) -> ServiceDirectory:
    """Give the gateway a key of another id instead of its key; return the directory that says so."""
    (config,) = service.directory.gateway_key_configs
    key = service.keyring.lookup(config.key_id, config.kem_id, now=NOW)
    renamed = evolve(config, key_id=config.key_id + 1)
    service.keyring = GatewayKeyring([evolve(key, config=renamed)])
    return evolve(service.directory, gateway_key_configs=(renamed,))


@pytest.mark.parametrize("url", ["http://service.example/directory", "https://a b/", "http://[::1/", "https:///x"])
async def test_no_directory_is_fetched_from_where_it_could_be_exchanged(url: str) -> None:
    wire = new_wire(1)
    with pytest.raises(ConfigError, match="the address of the directory"):
        await Client(url, policy=UNSAFE_UNATTESTED, transport=wire).request("POST", CHAT)
    assert wire.requests == []


@pytest.mark.parametrize("content", [b"version = 3", b"\xff"])
async def test_says_which_directory_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "service.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="directory"):
        await Client(path, transport=new_wire()).request("POST", CHAT)
    with pytest.raises(ConfigError, match="missing"):
        await Client(tmp_path / "missing.toml", transport=new_wire()).request("POST", CHAT)


async def test_an_answer_that_is_not_json_says_so() -> None:
    wire = new_wire(1)
    async with new_client(wire) as client:
        answer = await client.request("POST", CHAT, content=b"}{")
        assert answer.json() == {}
        with pytest.raises(DecodeError, match="not JSON"):
            evolve(answer, content=b"nonsense").json()


async def test_a_response_of_somebody_else_has_no_private_info() -> None:
    wire = new_wire(1)
    async with wire.stream(HttpRequest(method="GET", url="http://127.0.0.1/")) as response:
        with pytest.raises(LocalProtocolError, match="not made by"):
            private_info(response)


def test_making_a_client_does_nothing(tmp_path: Path) -> None:
    Client(tmp_path / "missing.toml")
    SyncClient("https://nowhere.invalid/")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_sync_face_asks_and_streams(backend: str) -> None:
    wire = ServiceTransport(Service(fleet_of_today(1)))
    with SyncClient(wire.service.directory, policy=UNSAFE_UNATTESTED, transport=wire, backend=backend) as client:  # type: ignore[arg-type]
        assert client.request("POST", CHAT, content=b"abc").content == b"cba"
        with client.stream(HttpRequest(method="POST", url=CHAT, content=b"abc")) as response:
            assert b"".join(response.content) == b"cba"
            assert response.proof.candidates
    assert wire.closed
    client.close()
