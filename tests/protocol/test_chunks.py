"""The framing of sealed chunks: what is cut, moved, taken from elsewhere or too much is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from confsec.errors import (
    DecodeError,
    DecryptionError,
    LimitError,
    LocalProtocolError,
    RemoteProtocolError,
    TruncatedError,
)
from confsec.protocol.aead import Aead, AeadSequence
from confsec.protocol.chunks import (
    DEFAULT_CHUNK_SIZE,
    MAX_CHUNK_SIZE,
    MAX_CHUNKS,
    ChunkOpener,
    ChunkSealer,
    ChunkSplitter,
    encode_chunk,
)
from confsec.protocol.machine import State, Step
from confsec.protocol.wire import encode_varint
from confsec.testing import check_all_steps, check_any_cut, check_any_damage, check_any_split

KEY = bytes(range(16))


def sequence(key: bytes = KEY) -> AeadSequence:
    return AeadSequence(Aead.AES_128_GCM, key, bytes(12))


def open_all(wire: bytes, *, max_chunks: int = MAX_CHUNKS) -> bytes:
    opener = ChunkOpener(sequence(), max_chunks=max_chunks)
    return b"".join([*opener.receive_data(wire), *opener.receive_eof()])


def three_chunks() -> list[bytes]:
    sealer = ChunkSealer(sequence())
    return [sealer.seal(b"one"), sealer.seal(b"two"), sealer.seal_final(b"three")]


def test_chunks_stand_behind_their_lengths() -> None:
    first, second, final = three_chunks()
    assert first == b"\x13" + sequence().seal(b"", b"one")
    assert len(second) == 1 + 3 + 16
    assert final[:1] == b"\x00"
    assert open_all(first + second + final) == b"onetwothree"


@given(st.binary(max_size=300), st.integers(1, 100), st.binary(max_size=50))
def test_many_chunks_are_the_same_as_one_after_the_other(data: bytes, chunk_size: int, rest: bytes) -> None:
    many, single = ChunkSealer(sequence()), ChunkSealer(sequence())
    wire = many.seal_many(data, chunk_size)
    assert wire == b"".join(single.seal(data[at : at + chunk_size]) for at in range(0, len(data), chunk_size))
    assert open_all(wire + many.seal_final(rest)) == data + rest


def test_default_chunk_size_is_what_every_receiver_supports() -> None:
    sealer = ChunkSealer(sequence())
    wire = sealer.seal_many(bytes(2 * DEFAULT_CHUNK_SIZE + 1)) + sealer.seal_final()
    opener = ChunkOpener(sequence())
    assert [len(data) for data in opener.receive_data(wire)] == [16384, 16384, 1]
    assert opener.receive_eof() == [b""]


def test_nothing_to_seal_is_nothing_to_send() -> None:
    assert ChunkSealer(sequence()).seal_many(b"") == b""


def test_sealer_takes_what_its_table_says() -> None:
    def done() -> ChunkSealer:
        sealer = ChunkSealer(sequence())
        sealer.seal_final()
        return sealer

    makers = {State.SENDING: lambda: ChunkSealer(sequence()), State.DONE: done}
    send: list[Callable[[ChunkSealer], object]] = [
        lambda sealer: sealer.seal(b"x"),
        lambda sealer: sealer.seal_many(b"x"),
    ]
    for verb in send:
        check_all_steps(makers, {Step.SEND: verb, Step.SEND_EOF: lambda sealer: sealer.seal_final()})


def test_opener_takes_what_its_table_says() -> None:
    final = ChunkSealer(sequence()).seal_final()

    def receiving() -> ChunkOpener:
        opener = ChunkOpener(sequence())
        opener.receive_data(final)
        return opener

    def done() -> ChunkOpener:
        opener = receiving()
        opener.receive_eof()
        return opener

    verbs: dict[Step, Callable[[ChunkOpener], object]] = {
        Step.RECEIVE: lambda opener: opener.receive_data(b""),
        Step.RECEIVE_EOF: lambda opener: opener.receive_eof(),
    }
    check_all_steps({State.RECEIVING: receiving, State.DONE: done}, verbs)


def test_any_split_gives_the_same_chunks() -> None:
    sealer = ChunkSealer(sequence())
    wire = sealer.seal_many(bytes(range(250)), 60) + sealer.seal_final(b"end")
    check_any_split(lambda: ChunkOpener(sequence()), wire)


def test_large_chunks_may_arrive_in_pieces() -> None:
    sealer = ChunkSealer(sequence())
    wire = sealer.seal_many(bytes(150_000), MAX_CHUNK_SIZE) + sealer.seal_final(bytes(MAX_CHUNK_SIZE))
    opener = ChunkOpener(sequence())
    parts = [wire[at : at + 7001] for at in range(0, len(wire), 7001)]
    assert [len(data) for part in parts for data in opener.receive_data(part)] == [65536, 65536, 18928]
    assert opener.receive_eof() == [bytes(65536)]


def test_any_cut_raises() -> None:
    check_any_cut(lambda: ChunkOpener(sequence()), b"".join(three_chunks()), may_end=[20 + 20 + 22])


def test_any_damage_raises() -> None:
    check_any_damage(lambda: ChunkOpener(sequence()), three_chunks())


def test_truncation_is_refused() -> None:
    first, second, final = three_chunks()
    for wire in (b"", first, first + second, first + second + final[:1], first + second + final[:16]):
        with pytest.raises(TruncatedError):
            open_all(wire)
    with pytest.raises(DecryptionError):
        open_all(first + second + final[:-1])


def test_chunk_before_the_end_cannot_pose_as_the_end() -> None:
    first, second, _ = three_chunks()
    with pytest.raises(DecryptionError):
        open_all(first + b"\x00" + second[1:])


def test_end_cannot_pose_as_a_chunk_before_it() -> None:
    first, second, final = three_chunks()
    with pytest.raises(DecryptionError):
        open_all(first + second + encode_chunk(final[1:]))


def test_reordering_is_refused() -> None:
    first, second, final = three_chunks()
    with pytest.raises(DecryptionError):
        open_all(second + first + final)


def test_repetition_is_refused() -> None:
    first, second, final = three_chunks()
    with pytest.raises(DecryptionError):
        open_all(first + first + second + final)


def test_chunk_of_another_stream_is_refused() -> None:
    first, _, final = three_chunks()
    other = ChunkSealer(sequence(bytes(16)))
    other.seal(b"one")
    with pytest.raises(DecryptionError):
        open_all(first + other.seal(b"two") + final)


@pytest.mark.parametrize("wire", [b"\x01a", b"\x0f" + bytes(15), b"\x40\x10" + bytes(16)])
def test_empty_chunk_before_the_end_is_refused(wire: bytes) -> None:
    with pytest.raises(DecryptionError, match="empty chunk"):
        open_all(wire)


def test_authentic_empty_chunk_before_the_end_is_refused() -> None:
    with pytest.raises(DecryptionError, match="empty chunk"):
        open_all(encode_chunk(sequence().seal(b"", b"")))


def test_sealer_refuses_an_empty_chunk_before_the_end() -> None:
    sealer = ChunkSealer(sequence())
    with pytest.raises(LocalProtocolError, match="cannot be empty"):
        sealer.seal(b"")
    assert sealer.state is State.FAILED


def test_data_after_the_end_is_refused() -> None:
    with pytest.raises(DecryptionError):
        open_all(b"".join(three_chunks()) + b"x")


def test_data_after_the_end_of_input_is_refused() -> None:
    opener = ChunkOpener(sequence())
    opener.receive_data(b"".join(three_chunks()))
    opener.receive_eof()
    with pytest.raises(LocalProtocolError, match="this exchange is over"):
        opener.receive_data(b"x")


@pytest.mark.parametrize("size", [16384, MAX_CHUNK_SIZE])
def test_chunks_up_to_the_limit_are_accepted(size: int) -> None:
    sealer = ChunkSealer(sequence())
    assert open_all(sealer.seal(bytes(size)) + sealer.seal_final(bytes(size))) == bytes(2 * size)


def test_too_long_a_chunk_is_refused_at_its_length() -> None:
    opener = ChunkOpener(sequence(), max_chunk=100)
    with pytest.raises(LimitError, match="want at most 116"):
        opener.receive_data(encode_varint(117))
    assert opener.state is State.FAILED


def test_largest_length_of_all_is_refused() -> None:
    with pytest.raises(LimitError, match=f"got {2**62 - 1} bytes"):
        open_all(b"\xff" * 8)


def test_too_long_a_final_chunk_is_refused_before_it_ends() -> None:
    opener = ChunkOpener(sequence(), max_chunk=100)
    assert opener.receive_data(b"\x00" + bytes(116)) == []
    with pytest.raises(LimitError, match="chunk too long"):
        opener.receive_data(b"x")


def test_too_many_chunks_are_refused() -> None:
    wire = b"".join(three_chunks())
    assert open_all(wire, max_chunks=3) == b"onetwothree"
    with pytest.raises(LimitError, match="too many chunks"):
        open_all(wire, max_chunks=2)
    with pytest.raises(LimitError, match="too many chunks"):
        open_all(wire, max_chunks=1)


def test_too_many_chunks_are_refused_when_they_arrive() -> None:
    first, second, _ = three_chunks()
    with pytest.raises(LimitError, match="too many chunks"):
        ChunkOpener(sequence(), max_chunks=1).receive_data(first + second)


def test_sealer_keeps_a_chunk_to_end_with() -> None:
    sealer = ChunkSealer(sequence(), max_chunks=3)
    sealer.seal_many(b"xx", 1)
    sealer.seal_final()
    tries: list[Callable[[ChunkSealer], object]] = [
        lambda sealer: sealer.seal(b"x"),
        lambda sealer: sealer.seal_many(b"x"),
    ]
    for verb in tries:
        with pytest.raises(LocalProtocolError, match="no chunks are left"):
            verb(ChunkSealer(sequence(), max_chunks=1))
    with pytest.raises(LocalProtocolError, match="no chunks are left"):
        ChunkSealer(sequence(), max_chunks=0).seal_final()


def test_sealer_refuses_chunks_of_no_size() -> None:
    sealer = ChunkSealer(sequence())
    with pytest.raises(LocalProtocolError, match="at least one byte"):
        sealer.seal_many(b"x", 0)
    assert sealer.state is State.FAILED


def test_lengths_may_be_spelled_longer_than_needed() -> None:
    first, second, final = three_chunks()
    for length in (b"\x40\x13", b"\x80\x00\x00\x13", b"\xc0\x00\x00\x00\x00\x00\x00\x13"):
        assert open_all(length + first[1:] + second + final) == b"onetwothree"
    assert open_all(first + second + b"\x40\x00" + final[1:]) == b"onetwothree"


def test_longer_spelling_is_refused_where_the_format_has_one_spelling() -> None:
    first, second, final = three_chunks()
    opener = ChunkOpener(sequence(), minimal=True)
    assert opener.receive_data(first + second + final) == [b"one", b"two"]
    assert opener.receive_eof() == [b"three"]
    for wire in (b"\x40\x13" + first[1:], b"\x40\x00" + final[1:]):
        with pytest.raises(DecodeError, match="not minimal"):
            ChunkOpener(sequence(), minimal=True).receive_data(wire)


def test_opener_holds_no_more_than_a_chunk() -> None:
    splitter = ChunkSplitter(max_size=1000)
    wire = b"".join(encode_chunk(bytes([number]) * 1000) for number in range(100))
    assert [
        bytes(chunk[:1]) for at in range(0, len(wire), 99) for chunk in splitter.receive_data(wire[at : at + 99])
    ] == [bytes([number]) for number in range(100)]
    assert len(splitter._buffer) <= 8
    assert len(splitter._chunk) == 1000


def test_what_seals_or_opens_cannot_be_copied_or_pickled() -> None:
    duplicates: list[Callable[[object], object]] = [copy.copy, copy.deepcopy, pickle.dumps]
    for machine in (sequence(), ChunkSealer(sequence()), ChunkOpener(sequence())):
        for duplicate in duplicates:
            with pytest.raises(LocalProtocolError, match="cannot be copied"):
                duplicate(machine)


def test_sequence_number_cannot_be_rewound() -> None:
    numbers = sequence()
    numbers.seal(b"", b"")
    with pytest.raises(AttributeError):
        numbers.sequence = 0  # type: ignore[misc]


@given(st.data())
def test_any_change_of_the_bytes_gives_an_error_or_the_same_content(data: st.DataObject) -> None:
    wire = b"".join(three_chunks())
    at, length = data.draw(st.integers(0, len(wire))), data.draw(st.integers(0, 20))
    changed = wire[:at] + data.draw(st.binary(max_size=20)) + wire[at + length :]
    try:
        assert open_all(changed) == b"onetwothree"
    except RemoteProtocolError:
        assert changed != wire


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        open_all(wire)
