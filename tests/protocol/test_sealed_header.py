"""The header of a sealed request: one spelling, read as it arrives."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, LimitError, LocalProtocolError, TruncatedError, UnsupportedError
from confsec.protocol.kem import kem_from_id
from confsec.protocol.machine import State
from confsec.protocol.sealed_header import (
    ENC_SIZES,
    HeaderReceived,
    Recipient,
    SealedHeaderReader,
    SealedRequestHeader,
    read_header,
)
from tests.vectors.make_sealed_vectors import seeded


def recipient(number: int, enc_size: int = 1120) -> Recipient:
    return Recipient(seeded(f"id {number}", 32), seeded(f"enc {number}", enc_size), seeded(f"secret {number}", 48))


def header(count: int) -> SealedRequestHeader:
    """Make a header whose recipients have both KEMs in turn."""
    made = [recipient(number, (1120, 1153)[number % 2]) for number in range(count)]
    return SealedRequestHeader(tuple(sorted(made, key=lambda each: each.node_id)))


HEADERS = st.integers(1, 16).map(header)


def read(data: bytes, cuts: list[int]) -> list[HeaderReceived]:
    """Feed a reader with `data` cut at these places, until it has the header."""
    reader = SealedHeaderReader()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        if events := reader.receive_data(data[start:end]):
            return events
    return reader.receive_eof()


@given(HEADERS)
def test_header_round_trips(value: SealedRequestHeader) -> None:
    encoded = value.encode()
    assert SealedRequestHeader.decode(encoded) == value
    assert len(encoded) == 2 + sum(82 + len(each.enc) for each in value.recipients)
    assert value.digest == hashlib.sha256(encoded).digest()
    assert value.node_ids == tuple(each.node_id for each in value.recipients)


@given(HEADERS, st.binary(max_size=40))
def test_header_is_read_from_the_front_of_a_request(value: SealedRequestHeader, body: bytes) -> None:
    assert read_header(value.encode() + body) == value


def test_header_with_something_behind_it_is_refused() -> None:
    with pytest.raises(DecodeError, match="after its end"):
        SealedRequestHeader.decode(header(1).encode() + b"\x00")


@given(HEADERS, st.lists(st.integers(0, 25000), max_size=12), st.binary(max_size=40))
def test_any_split_gives_the_same_header(value: SealedRequestHeader, cuts: list[int], body: bytes) -> None:
    [event] = read(value.encode() + body, cuts)
    assert event.header == value
    assert body.startswith(event.rest)


@pytest.mark.parametrize("size", [1, 7])
def test_reader_takes_a_header_in_small_parts(size: int) -> None:
    data = header(3).encode() + b"chunks"
    [event] = read(data, list(range(0, len(data), size)))
    assert event.header == header(3)
    assert len(event.rest) < size


@given(HEADERS, st.integers(0, 25000))
def test_any_cut_raises(value: SealedRequestHeader, cut: int) -> None:
    data = value.encode()
    data = data[: cut % len(data)]
    with pytest.raises(TruncatedError):
        SealedRequestHeader.decode(data)
    with pytest.raises(TruncatedError):
        read(data, [])


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"\x01\x02" + data))
def test_any_bytes_are_a_header_or_an_error(data: bytes) -> None:
    with suppress(ConfsecError):
        assert SealedRequestHeader.decode(data).encode() == data
    with suppress(ConfsecError):
        [event] = read(data, [])
        assert event.header.encode() + event.rest == data


@given(st.integers(0, 4 * 1204 - 1), st.integers(1, 255))
def test_reader_refuses_what_decode_refuses(position: int, change: int) -> None:
    data = bytearray(header(4).encode())
    data[position] ^= change
    try:
        value = SealedRequestHeader.decode(bytes(data))
    except ConfsecError:
        with pytest.raises(ConfsecError):
            read(bytes(data), [])
    else:
        assert [event.header for event in read(bytes(data), [])] == [value]


@pytest.mark.parametrize(
    "front, error",
    [
        (b"\x02\x01", UnsupportedError),
        (b"\x00\x01", UnsupportedError),
        (b"\x01\x00", DecodeError),
        (b"\x01\x11", LimitError),
        (b"\x01\x01" + bytes(32) + b"\xff\xff", DecodeError),
        (b"\x01\x01" + bytes(32) + b"\x00\x00", DecodeError),
    ],
)
def test_reader_refuses_as_soon_as_the_field_is_whole(front: bytes, error: type[ConfsecError]) -> None:
    reader = SealedHeaderReader()
    with pytest.raises(error):
        reader.receive_data(front)
    assert reader.state is State.FAILED


def test_reader_refuses_an_order_before_the_recipient_is_whole() -> None:
    first, second = header(2).recipients
    reader = SealedHeaderReader()
    reader.receive_data(b"\x01\x02" + second.encode())
    with pytest.raises(DecodeError, match="not ascending"):
        reader.receive_data(first.encode()[:34])


def test_reader_reads_one_header() -> None:
    reader = SealedHeaderReader()
    assert reader.receive_data(b"") == []
    assert len(reader.receive_data(header(1).encode())) == 1
    assert reader.state is State.DONE
    with pytest.raises(LocalProtocolError):
        reader.receive_data(b"")
    with pytest.raises(LocalProtocolError):
        reader.receive_eof()


def test_reader_that_failed_stays_failed() -> None:
    reader = SealedHeaderReader()
    with pytest.raises(TruncatedError):
        reader.receive_eof()
    with pytest.raises(LocalProtocolError):
        reader.receive_data(header(1).encode())


@pytest.mark.parametrize(
    "node_id_size, enc_size, secret_size", [(31, 1120, 48), (32, 1119, 48), (32, 1152, 48), (32, 1120, 47)]
)
def test_recipient_of_other_sizes_cannot_be_made(node_id_size: int, enc_size: int, secret_size: int) -> None:
    with pytest.raises(DecodeError):
        Recipient(bytes(node_id_size), bytes(enc_size), bytes(secret_size))


def test_enc_sizes_are_those_of_the_kems() -> None:
    assert {kem_id: kem_from_id(kem_id).enc_size for kem_id in ENC_SIZES} == dict(ENC_SIZES)
