"""The machines of the sealed request, joined by a wire in memory."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import pytest
from attrs import evolve
from hypothesis import given, settings, strategies as st

from confsec.errors import (
    ConfsecError,
    DecodeError,
    DecryptionError,
    LimitError,
    LocalProtocolError,
    ReplayError,
    TruncatedError,
    UnknownKeyError,
    UnsupportedError,
)
from confsec.protocol.machine import Machine, State, Step
from confsec.protocol.node_keys import NodeKeys, node_key_config
from confsec.protocol.sealed import (
    SealedClient,
    SealedContentReceived,
    SealedEvent,
    SealedKeyReserved,
    SealedNode,
    SealedNodeEvent,
    SealedRequestOpened,
    SealedResponseFinished,
    SealedResponseStarted,
    read_header,
)
from confsec.protocol.sealed_response import ResponseSecret, SealedResponseOpener
from tests.protocol.sealed_cases import (
    EPOCH,
    NOW,
    counting_randbytes,
    feed_node,
    new_client,
    new_node,
    node_keys,
    open_request,
    seeded_key,
)
from tests.vectors.make_sealed_vectors import Sealed, make_node, request_keys, seal, split

_M = TypeVar("_M", bound=Machine)

CHUNK = 1042
"""A response chunk on the wire: 2 bytes of length, 1024 bytes, a tag of 16."""


def content_of(events: list[SealedEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, SealedContentReceived))


def answer(node: SealedNode, *parts: bytes, eof: bytes = b"") -> bytes:
    return node.begin() + b"".join(map(node.send, parts)) + node.send_eof(eof)


def receive(client: SealedClient, data: bytes) -> list[SealedEvent]:
    return client.receive_data(data) + client.receive_eof()


def exchange(request: bytes = b"question", *parts: bytes) -> tuple[SealedClient, bytes]:
    """Seal to one node and return the client and the node's sealed response."""
    keys = node_keys("a")
    client, node = new_client(keys), new_node(keys)
    open_request(node, client.seal(request))
    return client, answer(node, *parts)


# --- Who can open, and what ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 16])
def test_any_recipient_can_open_and_answer(count: int) -> None:
    nodes = [node_keys(str(number)) for number in range(count)]
    for keys in (nodes[0], nodes[-1]):
        client, node = new_client(*nodes), new_node(keys)
        events = open_request(node, client.seal(b"question"))
        assert events == [SealedKeyReserved(keys.current.node_id), SealedRequestOpened(b"question")]
        assert receive(client, answer(node, b"an", b"swer")) == [
            SealedResponseStarted(keys.current.node_id),
            SealedContentReceived(b"an"),
            SealedContentReceived(b"swer"),
            SealedResponseFinished(),
        ]


def test_both_kems_of_nodes_in_one_request() -> None:
    software, tpm = NodeKeys(), NodeKeys()
    software.rotate(seeded_key("software"), NOW)
    tpm.rotate(seeded_key("tpm", 0x0050), NOW)
    for keys in (software, tpm):
        client, node = new_client(software, tpm), new_node(keys)
        open_request(node, client.seal(b"question"))
        assert content_of(receive(client, answer(node, b"answer"))) == b"answer"


@given(st.binary(max_size=20000), st.lists(st.binary(max_size=3000), max_size=4), st.binary(max_size=3000))
@settings(max_examples=15)
def test_any_request_and_any_answer_come_through(request: bytes, parts: list[bytes], eof: bytes) -> None:
    keys = node_keys("a")
    client, node = new_client(keys), new_node(keys)
    assert open_request(node, client.seal(request))[-1] == SealedRequestOpened(request)
    assert content_of(receive(client, answer(node, *parts, eof=eof))) == b"".join(parts) + eof


def test_order_of_recipients_does_not_matter() -> None:
    nodes = [node_keys(label) for label in "abc"]
    headers = [read_header(new_client(*order).seal(b"")) for order in (nodes, nodes[::-1])]
    assert headers[0].node_ids == headers[1].node_ids == tuple(sorted(headers[0].node_ids))


@pytest.mark.parametrize("count", [0, 17])
def test_client_refuses_no_and_too_many_recipients(count: int) -> None:
    with pytest.raises(LocalProtocolError, match="this many"):
        new_client(*[node_keys("a")] * count)


def test_client_refuses_a_recipient_that_occurs_twice() -> None:
    with pytest.raises(LocalProtocolError, match="twice"):
        new_client(node_keys("a"), node_keys("b"), node_keys("a"))


def test_client_refuses_what_is_no_key_of_a_node() -> None:
    gateway = evolve(node_key_config(seeded_key("a")), key_id=7)
    with pytest.raises(DecodeError):
        SealedClient([gateway], randbytes=counting_randbytes())
    other = evolve(gateway, key_id=0, suites=gateway.suites * 2)
    with pytest.raises(UnsupportedError):
        SealedClient([other], randbytes=counting_randbytes())


def test_client_names_what_a_token_and_an_answer_belong_to() -> None:
    client = new_client(node_keys("a"), node_keys("b"))
    assert client.header_digest == client.request_hash == b""
    sealed_request = client.seal(b"question")
    header = read_header(sealed_request)
    assert client.header_digest == header.digest == hashlib.sha256(header.encode()).digest()
    assert client.request_hash == hashlib.sha256(sealed_request).digest()


def test_two_requests_have_nothing_in_common_but_node_ids() -> None:
    one, other = (read_header(new_client(node_keys("a"), label=label).seal(b"question")) for label in "xy")
    assert one.node_ids == other.node_ids
    assert one.recipients[0].enc != other.recipients[0].enc
    assert one.recipients[0].wrapped_secret != other.recipients[0].wrapped_secret


# --- Lengths ---------------------------------------------------------------------------------------------------------


def test_requests_of_one_bucket_have_one_length() -> None:
    keys = node_keys("a")
    sizes = {len(new_client(keys).seal(bytes(size))) for size in (0, 1, 1000, 4095)}
    assert sizes == {1204 + 1 + 4096 + 16}
    assert len(new_client(keys).seal(bytes(4096))) == 1204 + 1 + 8192 + 16


def test_request_longer_than_a_chunk_is_split() -> None:
    sealed_request = new_client(node_keys("a")).seal(bytes(40000))
    assert len(sealed_request) == 1204 + 3 * (4 + 16384 + 16) + (1 + 16384 + 16)


def test_client_refuses_a_request_larger_than_its_buckets() -> None:
    client = SealedClient([node_keys("a").current.key_config], randbytes=counting_randbytes(), buckets=(256, 512))
    with pytest.raises(LocalProtocolError, match="largest bucket"):
        client.seal(bytes(512))
    assert client.state is State.FAILED


@pytest.mark.parametrize("max_body", [32767, 16384])
def test_node_refuses_a_body_over_its_limit(max_body: int) -> None:
    keys = node_keys("a")
    sealed_request = new_client(keys).seal(bytes(20000))
    node = new_node(keys, max_body=max_body)
    with pytest.raises(LimitError, match="too large"):
        open_request(node, sealed_request)


def test_node_takes_a_body_of_its_limit() -> None:
    keys = node_keys("a")
    assert open_request(new_node(keys, max_body=32768), new_client(keys).seal(bytes(20000)))[-1] == SealedRequestOpened(
        bytes(20000)
    )


@given(st.lists(st.binary(max_size=5000), max_size=6), st.binary(max_size=5000))
@settings(max_examples=20)
def test_all_chunks_of_an_answer_have_one_length(parts: list[bytes], eof: bytes) -> None:
    node = opened_node()
    node.begin()
    for part in parts:
        assert len(node.send(part)) == -(-len(part) // 1023) * CHUNK
    assert len(node.send_filler()) == CHUNK
    assert len(node.send_eof(eof)) == max(1, -(-len(eof) // 1023)) * CHUNK - 1


@pytest.mark.parametrize("size", [0, 255, 65537])
def test_node_refuses_to_answer_in_chunks_of_that_size(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        new_node(node_keys("a"), chunk_size=size)


def test_node_answers_in_chunks_of_its_own_size() -> None:
    keys = node_keys("a")
    client, node = new_client(keys), new_node(keys, chunk_size=65536)
    open_request(node, client.seal(b"question"))
    assert content_of(receive(client, answer(node, bytes(70000)))) == bytes(70000)


def test_no_token_waits_for_the_next() -> None:
    keys = node_keys("a")
    client, node = new_client(keys), new_node(keys)
    open_request(node, client.seal(b"question"))
    client.receive_data(node.begin())
    for token in (b"Its", b" ", b"weight", b"."):
        assert content_of(client.receive_data(node.send(token))) == token


def test_filler_is_no_event() -> None:
    keys = node_keys("a")
    client, node = new_client(keys), new_node(keys)
    open_request(node, client.seal(b"question"))
    assert client.receive_data(node.begin()) == []
    assert client.receive_data(node.send_filler()) == [SealedResponseStarted(keys.current.node_id)]
    assert client.receive_data(node.send_filler()) == []
    assert client.receive_data(node.send_eof()) == []
    assert client.receive_eof() == [SealedResponseFinished()]


# --- Order -----------------------------------------------------------------------------------------------------------


def test_node_does_not_answer_before_the_final_chunk_opened() -> None:
    keys = node_keys("a")
    node = new_node(keys)
    feed_node(node, lambda events: None, new_client(keys).seal(b"question"))
    with pytest.raises(LocalProtocolError):
        node.begin()
    node.receive_eof()
    node.begin()


def test_node_reserves_enc_before_it_uses_its_key() -> None:
    keys = node_keys("a")
    header = read_header(new_client(keys).seal(b"question")).encode()
    assert new_node(keys).receive_data(header) == [SealedKeyReserved(keys.current.node_id)]
    with pytest.raises(ReplayError):
        new_node(keys).receive_data(header)


def test_request_runs_once() -> None:
    keys = node_keys("a")
    sealed_request = new_client(keys).seal(b"question")
    open_request(new_node(keys), sealed_request)
    with pytest.raises(ReplayError):
        open_request(new_node(keys), sealed_request)


def test_key_that_is_erased_while_its_request_waits_does_not_open() -> None:
    keys = node_keys("a")
    node = new_node(keys)
    node.receive_data(new_client(keys).seal(b"question"))
    keys.erase()
    with pytest.raises(UnknownKeyError, match="erased"):
        node.open_key()


def test_epoch_turns_over_in_the_middle_of_a_request_and_nobody_notices() -> None:
    keys = node_keys("a")
    client, node = new_client(keys), new_node(keys)
    sealed_request = client.seal(bytes(20000))
    feed_node(node, lambda events: None, sealed_request[:9000])
    keys.rotate(seeded_key("b"), NOW + EPOCH)
    keys.rotate(seeded_key("c"), NOW + 2 * EPOCH)
    node.receive_data(sealed_request[9000:])
    assert node.receive_eof() == [SealedRequestOpened(bytes(20000))]
    assert content_of(receive(client, answer(node, b"answer"))) == b"answer"


# --- Co-recipients ---------------------------------------------------------------------------------------------------


def test_co_recipient_who_puts_another_question_gains_nothing() -> None:
    nodes = [make_node("one"), make_node("two")]
    sealed = seal(nodes, split(b"May I?"))
    # The co-recipient knows the request secret, and writes other chunks under the same header.
    substituted = evolve(sealed, plaintexts=tuple(split(b"Do it!"))).whole
    keys = node_keys()
    keys.rotate(nodes[0].key, NOW)
    node = new_node(keys)
    assert open_request(node, substituted)[-1] == SealedRequestOpened(b"Do it!")
    # 1. The answer belongs to other bytes: the client does not open it.
    with pytest.raises(DecryptionError):
        response_opener(sealed).receive_data(answer(node, b"Done."))
    # 2. The client's own question cannot be put to that node any more.
    with pytest.raises(ReplayError):
        open_request(new_node(keys), sealed.whole)


def response_opener(sealed: Sealed) -> SealedResponseOpener:
    exporter_context = b"confsec sealed response v1\x00" + sealed.request_hash
    return SealedResponseOpener(
        {each.node_id: ResponseSecret(each.enc, each.context.export(exporter_context, 32)) for each in sealed.entries}
    )


def test_co_recipient_cannot_answer_in_the_name_of_another() -> None:
    one, two = node_keys("a"), node_keys("b")
    client, node = new_client(one, two), new_node(two)
    open_request(node, client.seal(b"question"))
    response = answer(node, b"answer")
    with pytest.raises(DecryptionError):
        client.receive_data(one.current.node_id + response[32:])


def test_co_recipient_cannot_read_the_answer() -> None:
    keys = [node_keys("a"), node_keys("b")]
    client = new_client(*keys)
    sealed_request = client.seal(b"question")
    node, co_recipient = (new_node(each) for each in keys)
    open_request(node, sealed_request)
    open_request(co_recipient, sealed_request)
    # Same request, same nonce: what differs is the HPKE context.
    response = answer(node, b"answer")
    own = SealedResponseOpener({keys[0].current.node_id: ResponseSecret(b"", co_recipient._response_secret)})
    with pytest.raises(DecryptionError):
        own.receive_data(response)


def test_answer_of_a_node_that_is_no_recipient_is_refused() -> None:
    client = new_client(node_keys("a"))
    client.seal(b"question")
    _, response = exchange()
    stranger = node_keys("b").current.node_id
    with pytest.raises(DecodeError, match="no recipient"):
        client.receive_data(stranger + response[32:])


def test_answer_to_another_request_to_the_same_node_is_refused() -> None:
    client, _ = exchange()
    _, response = exchange(b"another question")
    with pytest.raises(DecryptionError):
        receive(client, response)


def test_two_answers_to_one_request_do_not_mix() -> None:
    client, response = exchange(b"question", b"answer", b"more")
    other_nonce = response[:32] + bytes(32) + response[64:]
    with pytest.raises(DecryptionError):
        receive(client, other_nonce)


def test_node_is_not_believed_before_a_chunk_opened() -> None:
    client, response = exchange(b"question", b"answer")
    assert client.receive_data(response[: 64 + CHUNK - 1]) == []
    assert client.receive_data(response[64 + CHUNK - 1 : 64 + CHUNK])[0] == SealedResponseStarted(response[:32])


# --- Splits, cuts and changes ----------------------------------------------------------------------------------------

CUTS = st.lists(st.integers(0, 30000), max_size=10)


def in_parts(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


@given(CUTS)
def test_any_split_of_a_request_gives_the_same_events(cuts: list[int]) -> None:
    keys = node_keys("a")
    sealed_request = new_client(keys).seal(bytes(range(256)) * 70)
    node = new_node(keys)
    events: list[SealedNodeEvent] = []
    for part in in_parts(sealed_request, cuts):
        feed_node(node, events.extend, part)
    events += node.receive_eof()
    assert events == [SealedKeyReserved(keys.current.node_id), SealedRequestOpened(bytes(range(256)) * 70)]


def test_request_and_answer_come_through_byte_by_byte() -> None:
    keys = node_keys("a")
    client, node = new_client(keys), new_node(keys)
    assert open_request(node, client.seal(b"question"), cut=1)[-1] == SealedRequestOpened(b"question")
    response = answer(node, b"answer")
    events = [event for byte in response for event in client.receive_data(bytes((byte,)))]
    assert content_of(events + client.receive_eof()) == b"answer"


@given(CUTS)
def test_any_split_of_an_answer_gives_the_same_events(cuts: list[int]) -> None:
    client, response = exchange(b"question", b"one", b"two" * 1000, b"three")
    events = [event for part in in_parts(response, cuts) for event in client.receive_data(part)]
    events += client.receive_eof()
    assert events == receive(*exchange(b"question", b"one", b"two" * 1000, b"three"))


@given(st.integers(0, 40000))
def test_any_cut_of_a_request_raises(cut: int) -> None:
    keys = node_keys("a")
    sealed_request = new_client(keys).seal(bytes(20000))
    node = new_node(keys)
    with pytest.raises((TruncatedError, DecryptionError)):
        open_request(node, sealed_request[: cut % len(sealed_request)])
    assert node.state is State.FAILED


@given(st.integers(0, 10000))
def test_any_cut_of_an_answer_raises(cut: int) -> None:
    client, response = exchange(b"question", b"answer" * 500, b"more")
    with pytest.raises((TruncatedError, DecryptionError)):
        receive(client, response[: cut % len(response)])
    assert client.state is State.FAILED


@given(st.integers(0, 10000), st.integers(1, 255))
def test_any_changed_byte_of_a_request_is_refused(position: int, change: int) -> None:
    keys, other = node_keys("a"), node_keys("b")
    sealed_request = bytearray(new_client(keys, other).seal(b"question"))
    sealed_request[position % len(sealed_request)] ^= change
    with pytest.raises(ConfsecError):
        open_request(new_node(keys), bytes(sealed_request))


@given(st.integers(0, 10000), st.integers(1, 255))
def test_any_changed_byte_of_an_answer_is_refused(position: int, change: int) -> None:
    client, response = exchange(b"question", b"answer", b"more")
    changed = bytearray(response)
    changed[position % len(changed)] ^= change
    with pytest.raises(ConfsecError):
        receive(client, bytes(changed))


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_by_node_and_client(data: bytes) -> None:
    keys = node_keys("a")
    with pytest.raises(ConfsecError):
        open_request(new_node(keys), data)
    client = new_client(keys)
    client.seal(b"question")
    with pytest.raises(ConfsecError):
        receive(client, keys.current.node_id + data)


def test_call_that_raises_yields_no_events() -> None:
    client, response = exchange(b"question", b"answer")
    with pytest.raises(DecryptionError):
        receive(client, response + b"\x00")
    assert client.state is State.FAILED
    with pytest.raises(LocalProtocolError):
        client.receive_eof()


# --- All states × all steps ------------------------------------------------------------------------------------------


def reserved_node() -> SealedNode:
    keys = node_keys("a")
    node = new_node(keys)
    node.receive_data(new_client(keys).seal(b"question"))
    return node


def receiving_node() -> SealedNode:
    node = reserved_node()
    node.open_key()
    return node


def opened_node() -> SealedNode:
    node = receiving_node()
    node.receive_eof()
    return node


def answering_node() -> SealedNode:
    node = opened_node()
    node.begin()
    return node


def finished_node() -> SealedNode:
    node = answering_node()
    node.send_eof()
    return node


def failed_node() -> SealedNode:
    node = new_node(node_keys("a"))
    with pytest.raises(UnsupportedError):
        node.receive_data(b"\x02\x01")
    return node


NODES: dict[State, Callable[[], SealedNode]] = {
    State.AWAITING_REQUEST: lambda: new_node(node_keys("a")),
    State.AWAITING_KEY: reserved_node,
    State.RECEIVING: receiving_node,
    State.RESPONDING: opened_node,
    State.SENDING: answering_node,
    State.DONE: finished_node,
    State.FAILED: failed_node,
}
NODE_CALLS: list[tuple[Step, Callable[[SealedNode], object]]] = [
    (Step.RECEIVE, lambda node: node.receive_data(b"")),
    (Step.RECEIVE_EOF, lambda node: node.receive_eof()),
    (Step.OPEN_KEY, lambda node: node.open_key()),
    (Step.BEGIN, lambda node: node.begin()),
    (Step.SEND, lambda node: node.send(b"token")),
    (Step.SEND, lambda node: node.send_filler()),
    (Step.SEND_EOF, lambda node: node.send_eof()),
]


@pytest.mark.parametrize("step, call", NODE_CALLS)
@pytest.mark.parametrize("state", NODES)
def test_node_takes_the_steps_of_its_table_and_no_others(
    state: State, step: Step, call: Callable[[SealedNode], object]
) -> None:
    check_step(NODES[state](), state, step, call)


def sealed_client() -> SealedClient:
    client = new_client(node_keys("a"))
    client.seal(b"question")
    return client


def finished_client() -> SealedClient:
    client, response = exchange()
    receive(client, response)
    return client


def failed_client() -> SealedClient:
    client = sealed_client()
    with pytest.raises(TruncatedError):
        client.receive_eof()
    return client


CLIENTS: dict[State, Callable[[], SealedClient]] = {
    State.READY: lambda: new_client(node_keys("a")),
    State.AWAITING_RESPONSE: sealed_client,
    State.DONE: finished_client,
    State.FAILED: failed_client,
}
CLIENT_CALLS: list[tuple[Step, Callable[[SealedClient], object]]] = [
    (Step.SEAL, lambda client: client.seal(b"question")),
    (Step.RECEIVE, lambda client: client.receive_data(b"")),
    (Step.RECEIVE_EOF, lambda client: client.receive_eof()),
]


@pytest.mark.parametrize("step, call", CLIENT_CALLS)
@pytest.mark.parametrize("state", CLIENTS)
def test_client_takes_the_steps_of_its_table_and_no_others(
    state: State, step: Step, call: Callable[[SealedClient], object]
) -> None:
    check_step(CLIENTS[state](), state, step, call)


def check_step(machine: _M, state: State, step: Step, call: Callable[[_M], object]) -> None:
    """Check that a call is refused, and changes nothing, exactly where the table has no such step."""
    assert machine.state is state
    after = machine.STEPS.get((state, step))
    if after is None:
        with pytest.raises(LocalProtocolError, match=f"cannot {step.value}"):
            call(machine)
        assert machine.state is state
        return
    try:
        call(machine)
    except (TruncatedError, DecryptionError):
        assert step is Step.RECEIVE_EOF
        assert machine.state is State.FAILED
    else:
        assert machine.state is after


def test_every_state_of_the_tables_is_tried() -> None:
    assert {state for state, _ in SealedNode.STEPS} <= set(NODES)
    assert {state for state, _ in SealedClient.STEPS} <= set(CLIENTS)
    assert {step for _, step in SealedNode.STEPS} == {step for step, _ in NODE_CALLS}
    assert {step for _, step in SealedClient.STEPS} == {step for step, _ in CLIENT_CALLS}


@pytest.mark.parametrize("copy_of", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("make", [sealed_client, answering_node])
def test_machines_cannot_be_copied(make: Callable[[], Machine], copy_of: Callable[[object], object]) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be copied"):
        copy_of(make())


def test_no_secret_is_shown() -> None:
    keys = node_keys("a")
    client, node = new_client(keys), new_node(keys)
    events = open_request(node, client.seal(b"a very private question"))
    events_back = receive(client, answer(node, b"a very private answer"))
    assert "private" not in repr([client, node, events, events_back])
    assert "secret" not in repr(ResponseSecret(b"", b"secret")).replace("ResponseSecret", "")


def test_chunk_keys_are_bound_to_the_header() -> None:
    assert request_keys(bytes(32), b"a") != request_keys(bytes(32), b"b")
