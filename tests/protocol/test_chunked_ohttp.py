"""Chunked Oblivious HTTP: both machines in all their states, and every way in which a stream can be wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from confsec.errors import (
    DecryptionError,
    LimitError,
    LocalProtocolError,
    RemoteProtocolError,
    ReplayError,
    TruncatedError,
    UnknownKeyError,
)
from confsec.protocol.chunked_ohttp import (
    ChunkedOhttpClient,
    ChunkedOhttpEvent,
    ChunkedOhttpGateway,
    ChunkReceived,
    RequestFinished,
    ResponseFinished,
)
from confsec.protocol.chunks import MAX_CHUNK_SIZE, encode_chunk
from confsec.protocol.gateway_keys import GatewayKeyring
from confsec.protocol.kem import KEMS, Kem
from confsec.protocol.key_config import SymmetricSuite
from confsec.protocol.machine import State, Step
from confsec.protocol.ohttp import OhttpClient, OhttpGateway, ReplayWindow
from confsec.testing import (
    EPOCH,
    MemoryWire,
    check_all_steps,
    check_any_cut,
    check_any_damage,
    check_any_split,
    cut_at_random,
    seeded_randbytes,
)
from tests.protocol.ohttp_cases import SUITES, content, make_key

KEY = make_key()
KEYRING = GatewayKeyring([KEY])
Machine = ChunkedOhttpClient | ChunkedOhttpGateway


def client(seed: str = "client", **options: int) -> ChunkedOhttpClient:
    return ChunkedOhttpClient(KEY.config, randbytes=seeded_randbytes(seed), **options)  # type: ignore[arg-type]


def gateway(replay: ReplayWindow | None = None, **options: int) -> ChunkedOhttpGateway:
    randbytes = seeded_randbytes("gateway")
    return ChunkedOhttpGateway(KEYRING, randbytes=randbytes, now=EPOCH, replay=replay, **options)


def request_parts(machine: ChunkedOhttpClient) -> list[bytes]:
    return [machine.begin(), machine.send(b"one"), machine.send(b"two"), machine.send_eof(b"three")]


REQUEST = request_parts(client())


def opened() -> ChunkedOhttpClient:
    """Return a client whose request is always the same, and still open."""
    machine = client()
    machine.begin()
    return machine


def receiving() -> ChunkedOhttpGateway:
    """Return a gateway whose request has begun."""
    machine = gateway()
    MemoryWire(machine).send(*REQUEST[:2])
    return machine


def responding() -> ChunkedOhttpGateway:
    machine = gateway()
    MemoryWire(machine).send_eof(*REQUEST)
    return machine


def response_parts() -> list[bytes]:
    machine = responding()
    return [machine.begin(), machine.send(b"eins"), machine.send(b"zwei"), machine.send_eof(b"drei")]


RESPONSE = response_parts()


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: f"aead{suite.aead_id}")
@pytest.mark.parametrize("kem", KEMS, ids=lambda kem: kem.name)
def test_both_directions_arrive_with_every_algorithm(kem: Kem, suite: SymmetricSuite) -> None:
    key = make_key(kem_id=kem.kem_id)
    sender = ChunkedOhttpClient(key.config, suite=suite, randbytes=seeded_randbytes("client"))
    receiver = ChunkedOhttpGateway(GatewayKeyring([key]), randbytes=seeded_randbytes("gateway"), now=EPOCH)
    events = MemoryWire(receiver).send_eof(sender.begin(), sender.send(b"question"), sender.send_eof())
    assert events == [ChunkReceived(b"question"), RequestFinished()]
    events = MemoryWire(sender).send_eof(receiver.begin(), receiver.send(b"answer"), receiver.send_eof())
    assert events == [ChunkReceived(b"answer"), ResponseFinished()]
    assert sender.state is receiver.state is State.DONE


@given(st.lists(st.binary(max_size=100)), st.binary(max_size=100), st.integers(1, 40), st.integers(1, 60))
def test_any_content_arrives_however_it_is_cut(parts: list[bytes], last: bytes, chunk_size: int, longest: int) -> None:
    sender, receiver = client(chunk_size=chunk_size), gateway(chunk_size=chunk_size)
    for source, sink in ((sender, receiver), (receiver, sender)):
        wire: MemoryWire[ChunkedOhttpEvent] = MemoryWire(
            sink, alter=cut_at_random(seeded_randbytes(str(longest)), longest=longest)
        )
        events = wire.send_eof(source.begin(), *(source.send(part) for part in parts), source.send_eof(last))
        assert content(events) == b"".join(parts) + last
        assert all(len(event.data) <= chunk_size for event in events if isinstance(event, ChunkReceived))
        assert isinstance(events[-1], RequestFinished | ResponseFinished)


def test_response_may_begin_and_end_before_the_request_has_ended() -> None:
    sender, receiver = client(), gateway()
    to_gateway, to_client = MemoryWire(receiver), MemoryWire(sender)
    assert to_gateway.send(sender.begin(), sender.send(b"ping")) == [ChunkReceived(b"ping")]
    assert to_client.send(receiver.begin(), receiver.send(b"pong")) == [ChunkReceived(b"pong")]
    assert to_gateway.send(sender.send(b"ping")) == [ChunkReceived(b"ping")]
    assert to_client.send_eof(receiver.send_eof(b"end")) == [ChunkReceived(b"end"), ResponseFinished()]
    assert (sender.state, receiver.state) == (State.HALF_CLOSED_REMOTE, State.HALF_CLOSED_LOCAL)
    assert to_gateway.send(sender.send(b"more")) == [ChunkReceived(b"more")]
    assert to_gateway.send_eof(sender.send_eof()) == [RequestFinished()]
    assert sender.state is receiver.state is State.DONE


def test_client_takes_what_its_table_says() -> None:
    def answered() -> ChunkedOhttpClient:
        """Return a client that has everything of the response but the end of input."""
        machine = opened()
        MemoryWire(machine).send(*RESPONSE)
        return machine

    def closed(machine: ChunkedOhttpClient, *, local: bool = False, remote: bool = False) -> ChunkedOhttpClient:
        if local:
            machine.send_eof()
        if remote:
            machine.receive_eof()
        return machine

    makers = {
        State.READY: client,
        State.OPEN: answered,
        State.HALF_CLOSED_LOCAL: lambda: closed(answered(), local=True),
        State.HALF_CLOSED_REMOTE: lambda: closed(answered(), remote=True),
        State.DONE: lambda: closed(answered(), local=True, remote=True),
    }
    verbs: dict[Step, Callable[[ChunkedOhttpClient], object]] = {
        Step.BEGIN: lambda machine: machine.begin(),
        Step.SEND: lambda machine: machine.send(b"x"),
        Step.SEND_EOF: lambda machine: machine.send_eof(),
        Step.RECEIVE: lambda machine: machine.receive_data(b""),
        Step.RECEIVE_EOF: lambda machine: machine.receive_eof(),
    }
    check_all_steps(makers, verbs)


def test_gateway_takes_what_its_table_says() -> None:
    def received() -> ChunkedOhttpGateway:
        """Return a gateway that has everything of the request but the end of input."""
        machine = gateway()
        MemoryWire(machine).send(*REQUEST)
        return machine

    def after(*verbs: Callable[[ChunkedOhttpGateway], object]) -> Callable[[], ChunkedOhttpGateway]:
        def make() -> ChunkedOhttpGateway:
            machine = received()
            for verb in verbs:
                verb(machine)
            return machine

        return make

    verbs: dict[Step, Callable[[ChunkedOhttpGateway], object]] = {
        Step.BEGIN: lambda machine: machine.begin(),
        Step.SEND: lambda machine: machine.send(b"x"),
        Step.SEND_EOF: lambda machine: machine.send_eof(),
        Step.RECEIVE: lambda machine: machine.receive_data(b""),
        Step.RECEIVE_EOF: lambda machine: machine.receive_eof(),
    }
    begin, send_eof, receive_eof = verbs[Step.BEGIN], verbs[Step.SEND_EOF], verbs[Step.RECEIVE_EOF]
    makers = {
        State.RECEIVING: received,
        State.RESPONDING: after(receive_eof),
        State.OPEN: after(begin),
        State.HALF_CLOSED_LOCAL: after(begin, send_eof),
        State.HALF_CLOSED_REMOTE: after(begin, receive_eof),
        State.DONE: after(begin, send_eof, receive_eof),
    }
    check_all_steps(makers, verbs)


def test_any_split_gives_the_same_events() -> None:
    check_any_split(gateway, b"".join(REQUEST))
    check_any_split(opened, b"".join(RESPONSE))


def test_any_cut_raises() -> None:
    check_any_cut(gateway, b"".join(REQUEST), may_end=[len(b"".join(REQUEST))])
    check_any_cut(opened, b"".join(RESPONSE), may_end=[len(b"".join(RESPONSE))])


def test_any_damage_raises() -> None:
    check_any_damage(gateway, REQUEST)
    check_any_damage(opened, RESPONSE)


@pytest.mark.parametrize("make, parts", [(gateway, REQUEST), (opened, RESPONSE)])
def test_truncation_is_refused(make: Callable[[], Machine], parts: list[bytes]) -> None:
    for kept in ([], [parts[0][:5]], parts[:1], parts[:2], parts[:3], [*parts[:3], b"\x00"]):
        with pytest.raises(TruncatedError):
            MemoryWire(make()).send_eof(*kept)


@pytest.mark.parametrize("make, parts", [(gateway, REQUEST), (opened, RESPONSE)])
def test_reordering_is_refused(make: Callable[[], Machine], parts: list[bytes]) -> None:
    front, one, two, end = parts
    with pytest.raises(DecryptionError):
        MemoryWire(make()).send_eof(front, two, one, end)


@pytest.mark.parametrize("make, parts", [(gateway, REQUEST), (opened, RESPONSE)])
def test_data_after_the_end_is_refused(make: Callable[[], Machine], parts: list[bytes]) -> None:
    for more in (b"x", parts[1], parts[3]):
        with pytest.raises(DecryptionError):
            MemoryWire(make()).send_eof(*parts, more)


@pytest.mark.parametrize("make, parts", [(gateway, REQUEST), (opened, RESPONSE)])
def test_empty_chunk_before_the_end_is_refused(make: Callable[[], Machine], parts: list[bytes]) -> None:
    for empty in (b"\x01x", encode_chunk(bytes(16))):
        with pytest.raises(DecryptionError, match="empty chunk"):
            MemoryWire(make()).send_eof(parts[0], empty, *parts[1:])


def test_chunk_of_another_exchange_is_refused() -> None:
    other = request_parts(client("other"))
    for at in range(4):
        spliced = [*REQUEST[:at], other[at], *REQUEST[at + 1 :]]
        with pytest.raises(DecryptionError):
            MemoryWire(gateway()).send_eof(*spliced)
    with pytest.raises(DecryptionError):
        MemoryWire(gateway()).send_eof(other[0], *REQUEST[1:])


def test_chunk_of_the_other_direction_is_refused() -> None:
    with pytest.raises(DecryptionError):
        MemoryWire(opened()).send_eof(RESPONSE[0], REQUEST[1], *RESPONSE[2:])
    with pytest.raises(DecryptionError):
        MemoryWire(gateway()).send_eof(REQUEST[0], RESPONSE[1], *REQUEST[2:])


def test_response_to_another_request_is_refused() -> None:
    other = client("other")
    other.begin()
    with pytest.raises(DecryptionError):
        MemoryWire(other).send_eof(*RESPONSE)


def test_chunked_and_whole_messages_do_not_open_each_other() -> None:
    whole = OhttpClient(KEY.config, randbytes=seeded_randbytes("client"))
    body = whole.encapsulate(b"question")
    with pytest.raises(DecryptionError):
        MemoryWire(gateway()).send_eof(body[:39], encode_chunk(body[39:]))
    chunked = REQUEST[0] + REQUEST[1][1:]
    with pytest.raises(DecryptionError):
        MemoryWire(OhttpGateway(KEYRING, randbytes=seeded_randbytes("x"), now=EPOCH)).send_eof(chunked)


def test_error_in_one_direction_ends_both() -> None:
    machine = receiving()
    machine.begin()
    with pytest.raises(DecryptionError):
        machine.receive_data(encode_chunk(bytes(20)))
    with pytest.raises(LocalProtocolError, match="this exchange is over"):
        machine.send(b"x")


def test_gateway_answers_nobody_before_the_first_chunk_opened() -> None:
    for parts in ([], [REQUEST[0][:7]], [REQUEST[0]], [REQUEST[0], REQUEST[1][:-1]]):
        machine = gateway()
        MemoryWire(machine).send(*parts)
        with pytest.raises(LocalProtocolError, match="nothing to respond to yet"):
            machine.begin()
        assert machine.state is State.FAILED


def test_gateway_refuses_unknown_key_id_at_once() -> None:
    with pytest.raises(UnknownKeyError):
        gateway().receive_data(b"\x08" + REQUEST[0][1:7])


def test_replay_is_refused_at_its_header() -> None:
    replay = ReplayWindow()
    MemoryWire(gateway(replay)).send_eof(*REQUEST)
    with pytest.raises(ReplayError):
        gateway(replay).receive_data(REQUEST[0])


@pytest.mark.parametrize("size", [16384, MAX_CHUNK_SIZE])
def test_chunks_that_everybody_must_support_are_accepted(size: int) -> None:
    sender, receiver = client(chunk_size=size), gateway(chunk_size=size)
    for source, sink in ((sender, receiver), (receiver, sender)):
        events = MemoryWire(sink).send_eof(source.begin(), source.send(bytes(size)), source.send_eof(bytes(size)))
        assert [len(event.data) for event in events if isinstance(event, ChunkReceived)] == [size, size]


def test_too_long_chunks_are_refused_in_both_directions() -> None:
    with pytest.raises(LimitError, match="chunk too long"):
        MemoryWire(gateway(max_chunk=2)).send(*REQUEST)
    machine = client(max_chunk=3)
    machine.begin()
    with pytest.raises(LimitError, match="chunk too long"):
        MemoryWire(machine).send(*RESPONSE)


def test_too_many_chunks_are_refused_in_both_directions() -> None:
    with pytest.raises(LimitError, match="too many chunks"):
        MemoryWire(gateway(max_chunks=2)).send_eof(*REQUEST)
    machine = client(max_chunks=2)
    machine.begin()
    with pytest.raises(LimitError, match="too many chunks"):
        MemoryWire(machine).send_eof(*RESPONSE)


def test_what_does_not_fit_the_final_chunk_goes_before_it() -> None:
    for size, chunks in ((0, 0), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3)):
        machine = client(chunk_size=10)
        events = MemoryWire(gateway()).send_eof(machine.begin(), machine.send_eof(bytes(size)))
        assert content(events) == bytes(size)
        assert len(events) == chunks + 1


def test_chunks_of_no_size_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="at least one byte"):
        client(chunk_size=0)


def test_sending_nothing_sends_nothing() -> None:
    machine = opened()
    assert machine.send(b"") == b""


@given(st.data())
def test_any_damage_gives_an_error_or_the_same_request(data: st.DataObject) -> None:
    wire = b"".join(REQUEST)
    at, length = data.draw(st.integers(0, len(wire))), data.draw(st.integers(0, 40))
    changed = wire[:at] + data.draw(st.binary(max_size=40)) + wire[at + length :]
    try:
        assert content(MemoryWire(gateway()).send_eof(changed)) == b"onetwothree"
    except RemoteProtocolError:
        assert changed != wire


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    for machine in (gateway(), opened()):
        with pytest.raises(RemoteProtocolError):
            MemoryWire(machine).send_eof(data)


def test_content_does_not_show() -> None:
    assert "secret" not in repr(ChunkReceived(b"secret"))
