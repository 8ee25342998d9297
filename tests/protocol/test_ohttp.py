"""Oblivious HTTP with whole messages: both machines, every algorithm, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import (
    BusyError,
    DecodeError,
    DecryptionError,
    LimitError,
    LocalProtocolError,
    RemoteProtocolError,
    ReplayError,
    TruncatedError,
    UnknownKeyError,
    UnsupportedError,
)
from confsec.protocol.encapsulation import RequestHeader
from confsec.protocol.kem import KEMS, Kem
from confsec.protocol.key_config import SymmetricSuite
from confsec.protocol.machine import State, Step
from confsec.protocol.ohttp import (
    PROBLEM_DATE,
    PROBLEM_OHTTP_KEY,
    GatewayKey,
    GatewayKeyring,
    OhttpClient,
    OhttpGateway,
    ReplayWindow,
    RequestReceived,
    ResponseReceived,
    encode_problem,
)
from confsec.testing import (
    EPOCH,
    MemoryWire,
    check_all_steps,
    check_any_bytes,
    check_any_cut,
    check_any_split,
    check_round_trip,
    seeded_randbytes,
)
from tests.protocol.ohttp_cases import DAY, SUITES, make_key

KEY = make_key()
KEYRING = GatewayKeyring([KEY])
UNKNOWN = SymmetricSuite(0x7777, 0x0001)


def client(key: GatewayKey = KEY, seed: str = "client", **options: object) -> OhttpClient:
    return OhttpClient(key.config, randbytes=seeded_randbytes(seed), **options)  # type: ignore[arg-type]


def gateway(keyring: GatewayKeyring = KEYRING, **options: object) -> OhttpGateway:
    options = {"now": EPOCH, "randbytes": seeded_randbytes("gateway"), **options}
    return OhttpGateway(keyring, **options)  # type: ignore[arg-type]


def awaiting_response() -> OhttpClient:
    """Return a client whose request is always the same."""
    machine = client()
    machine.encapsulate(b"request")
    return machine


def responding() -> OhttpGateway:
    machine = gateway()
    MemoryWire(machine).send_eof(client().encapsulate(b"request"))
    return machine


ENC_REQUEST = client().encapsulate(b"request")
ENC_RESPONSE = responding().encapsulate_response(b"response")


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: f"aead{suite.aead_id}")
@pytest.mark.parametrize("kem", KEMS, ids=lambda kem: kem.name)
def test_request_and_response_arrive_with_every_algorithm(kem: Kem, suite: SymmetricSuite) -> None:
    key = make_key(kem_id=kem.kem_id)
    sender, receiver = client(key, suite=suite), gateway(GatewayKeyring([key]))
    assert MemoryWire(receiver).send_eof(sender.encapsulate(b"request")) == [RequestReceived(b"request")]
    assert MemoryWire(sender).send_eof(receiver.encapsulate_response(b"response")) == [ResponseReceived(b"response")]
    assert sender.state is receiver.state is State.DONE


@given(st.binary(max_size=500), st.binary(max_size=500))
def test_any_content_arrives(request: bytes, response: bytes) -> None:
    sender, receiver = client(), gateway()
    assert MemoryWire(receiver).send_eof(sender.encapsulate(request)) == [RequestReceived(request)]
    assert MemoryWire(sender).send_eof(receiver.encapsulate_response(response)) == [ResponseReceived(response)]


def test_client_takes_what_its_table_says() -> None:
    def ready_to_end() -> OhttpClient:
        machine = awaiting_response()
        machine.receive_data(ENC_RESPONSE)
        return machine

    def done() -> OhttpClient:
        machine = ready_to_end()
        machine.receive_eof()
        return machine

    makers = {State.READY: client, State.AWAITING_RESPONSE: ready_to_end, State.DONE: done}
    verbs: dict[Step, Callable[[OhttpClient], object]] = {
        Step.ENCAPSULATE: lambda machine: machine.encapsulate(b""),
        Step.RECEIVE: lambda machine: machine.receive_data(b""),
        Step.RECEIVE_EOF: lambda machine: machine.receive_eof(),
    }
    check_all_steps(makers, verbs)


def test_gateway_takes_what_its_table_says() -> None:
    def ready_to_end() -> OhttpGateway:
        machine = gateway()
        machine.receive_data(ENC_REQUEST)
        return machine

    def done() -> OhttpGateway:
        machine = responding()
        machine.encapsulate_response(b"")
        return machine

    makers = {State.AWAITING_REQUEST: ready_to_end, State.RESPONDING: responding, State.DONE: done}
    verbs: dict[Step, Callable[[OhttpGateway], object]] = {
        Step.ENCAPSULATE: lambda machine: machine.encapsulate_response(b""),
        Step.RECEIVE: lambda machine: machine.receive_data(b""),
        Step.RECEIVE_EOF: lambda machine: machine.receive_eof(),
    }
    check_all_steps(makers, verbs)


def test_any_split_gives_the_same_events() -> None:
    check_any_split(gateway, ENC_REQUEST)
    check_any_split(awaiting_response, ENC_RESPONSE)


def test_any_cut_raises() -> None:
    check_any_cut(gateway, ENC_REQUEST, may_end=[len(ENC_REQUEST)])
    check_any_cut(awaiting_response, ENC_RESPONSE, may_end=[len(ENC_RESPONSE)])


def test_request_cut_in_its_header_is_truncated() -> None:
    for cut in range(7 + 32):
        with pytest.raises(TruncatedError, match="ends in its header"):
            MemoryWire(gateway()).send_eof(ENC_REQUEST[:cut])


@pytest.mark.parametrize("make, message", [(gateway, ENC_REQUEST), (awaiting_response, ENC_RESPONSE)])
def test_any_change_raises(make: Callable[[], OhttpGateway | OhttpClient], message: bytes) -> None:
    for at in range(len(message)):
        for bit in (1, 0x80):
            changed = message[:at] + bytes([message[at] ^ bit]) + message[at + 1 :]
            with pytest.raises(RemoteProtocolError):
                MemoryWire(make()).send_eof(changed)


@given(st.data())
def test_any_damage_gives_an_error_or_the_same_request(data: st.DataObject) -> None:
    at, length = data.draw(st.integers(0, len(ENC_REQUEST))), data.draw(st.integers(0, 20))
    changed = ENC_REQUEST[:at] + data.draw(st.binary(max_size=20)) + ENC_REQUEST[at + length :]
    try:
        assert MemoryWire(gateway()).send_eof(changed) == [RequestReceived(b"request")]
    except RemoteProtocolError:
        assert changed != ENC_REQUEST


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    for make in (gateway, awaiting_response):
        with pytest.raises(RemoteProtocolError):
            MemoryWire(make()).send_eof(data)


def test_response_to_another_request_is_refused() -> None:
    other = client(seed="other")
    other.encapsulate(b"request")
    with pytest.raises(DecryptionError):
        MemoryWire(other).send_eof(ENC_RESPONSE)


def test_request_cannot_pose_as_a_response() -> None:
    with pytest.raises(DecryptionError):
        MemoryWire(awaiting_response()).send_eof(ENC_RESPONSE[:16] + ENC_REQUEST[39:])


def test_gateway_refuses_unknown_key_id_at_once() -> None:
    machine = gateway()
    with pytest.raises(UnknownKeyError, match="key 8 of KEM 0x0020"):
        machine.receive_data(b"\x08" + ENC_REQUEST[1:7])
    assert machine.state is State.FAILED


def test_gateway_refuses_key_of_another_kem() -> None:
    with pytest.raises(UnknownKeyError):
        gateway().receive_data(b"\x07\x00\x10" + ENC_REQUEST[3:7])


def test_gateway_refuses_suite_that_it_does_not_offer() -> None:
    with pytest.raises(UnknownKeyError, match="not offered for this suite"):
        gateway().receive_data(ENC_REQUEST[:3] + b"\x00\x01\xff\xff")


def test_gateway_refuses_suite_that_it_offers_and_does_not_have() -> None:
    key = evolve(KEY, config=evolve(KEY.config, suites=(*SUITES, UNKNOWN)))
    with pytest.raises(UnsupportedError):
        gateway(GatewayKeyring([key])).receive_data(ENC_REQUEST[:3] + b"\x77\x77\x00\x01")


def test_gateway_refuses_expired_key() -> None:
    assert MemoryWire(gateway(now=EPOCH + 2 * DAY - DAY / 100)).send_eof(ENC_REQUEST)
    with pytest.raises(UnknownKeyError):
        MemoryWire(gateway(now=EPOCH + 2 * DAY)).send_eof(ENC_REQUEST)


def test_gateway_refuses_request_to_another_key_of_that_id() -> None:
    other = make_key(8)
    swapped = evolve(KEY, config=evolve(other.config, key_id=7), decapsulator=other.decapsulator)
    with pytest.raises(DecryptionError):
        MemoryWire(gateway(GatewayKeyring([swapped]))).send_eof(ENC_REQUEST)


def test_rotation_fails_nobody() -> None:
    new = make_key(8, start=EPOCH + DAY / 2)
    keyring = GatewayKeyring([KEY, new])
    for key in (KEY, new):
        assert MemoryWire(gateway(keyring, now=EPOCH + DAY)).send_eof(client(key).encapsulate(b"x"))


def test_replay_is_refused_before_it_is_opened() -> None:
    replay = ReplayWindow()
    assert MemoryWire(gateway(replay=replay)).send_eof(ENC_REQUEST)
    for now in (EPOCH, EPOCH + 2 * DAY - DAY / 100):
        with pytest.raises(ReplayError, match="arrived before"):
            gateway(replay=replay, now=now).receive_data(ENC_REQUEST[:39])
    other = client(seed="another").encapsulate(b"request")
    assert MemoryWire(gateway(replay=replay, now=EPOCH + 2 * DAY - DAY / 100)).send_eof(other)


def test_replay_begun_before_its_key_expires_is_refused_after() -> None:
    replay = ReplayWindow()
    MemoryWire(gateway(replay=replay)).send_eof(ENC_REQUEST)
    late = gateway(replay=replay, now=EPOCH + 2 * DAY - DAY / 1000)
    new = make_key(8, start=EPOCH + DAY)
    later = gateway(GatewayKeyring([new]), replay=replay, now=EPOCH + 2 * DAY + DAY / 100)
    MemoryWire(later).send_eof(client(new).encapsulate(b"x"))
    assert len(replay) == 1
    with pytest.raises(ReplayError, match="too long to be told from a replay"):
        late.receive_data(ENC_REQUEST)


def test_full_replay_window_refuses() -> None:
    with pytest.raises(BusyError):
        gateway(replay=ReplayWindow(capacity=0)).receive_data(ENC_REQUEST)


def test_replayed_request_is_answered_with_other_keys_where_nobody_minds() -> None:
    answers = []
    for seed in ("one", "two"):
        machine = gateway(randbytes=seeded_randbytes(seed))
        MemoryWire(machine).send_eof(ENC_REQUEST)
        answers.append(machine.encapsulate_response(b"response"))
    assert answers[0][16:] != answers[1][16:]


def test_long_messages_are_refused_before_they_end() -> None:
    assert MemoryWire(gateway(max_request=7)).send_eof(ENC_REQUEST)
    machine = gateway(max_request=6)
    with pytest.raises(LimitError):
        machine.receive_data(ENC_REQUEST)
    limited = client(max_response=8)
    limited.encapsulate(b"request")
    assert MemoryWire(limited).send_eof(ENC_RESPONSE) == [ResponseReceived(b"response")]
    limited = client(max_response=7)
    limited.encapsulate(b"request")
    with pytest.raises(LimitError):
        limited.receive_data(ENC_RESPONSE)


def test_client_takes_the_first_suite_that_it_has() -> None:
    key = evolve(KEY, config=evolve(KEY.config, suites=(UNKNOWN, SUITES[2], SUITES[0])))
    assert client(key).encapsulate(b"")[:7] == b"\x07\x00\x20\x00\x01\x00\x03"
    assert client(key, suite=SUITES[0]).encapsulate(b"")[:7] == b"\x07\x00\x20\x00\x01\x00\x01"


def test_client_refuses_suites_that_cannot_be_used() -> None:
    key = evolve(KEY, config=evolve(KEY.config, suites=(UNKNOWN,)))
    with pytest.raises(UnsupportedError, match="no suite of this key"):
        client(key)
    with pytest.raises(UnsupportedError, match="cannot be used"):
        client(key, suite=UNKNOWN)
    with pytest.raises(LocalProtocolError, match="does not offer this suite"):
        client(key, suite=SUITES[0])


def test_request_header_round_trips() -> None:
    check_round_trip(RequestHeader, ENC_REQUEST[:7])
    assert RequestHeader.decode(ENC_REQUEST[:7]) == RequestHeader(7, 0x0020, SUITES[0])


@given(st.binary(max_size=10))
def test_any_bytes_are_a_request_header_or_an_error(data: bytes) -> None:
    check_any_bytes(RequestHeader.decode, data)
    if len(data) != 7:
        with pytest.raises(DecodeError):
            RequestHeader.decode(data)


@pytest.mark.parametrize("problem_type", [PROBLEM_OHTTP_KEY, PROBLEM_DATE])
def test_problems_name_their_registered_type(problem_type: str) -> None:
    problem = json.loads(encode_problem(problem_type))
    assert problem["type"] == problem_type
    assert problem["title"].lower().endswith("not acceptable")


def test_content_does_not_show() -> None:
    for event in (RequestReceived(b"secret"), ResponseReceived(b"secret")):
        assert "secret" not in repr(event)
