"""Reading and writing bytes: what fits comes back, and what has another spelling is refused."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError, TruncatedError
from confsec.protocol.wire import (
    MAX_VARINT,
    Reader,
    decode_base64,
    decode_base64url,
    decode_base64url_padded,
    decode_hex,
    encode_base64,
    encode_base64url,
    encode_base64url_padded,
    encode_uint,
    encode_varint,
    encode_varint_vector,
    encode_vector,
    varint_size,
)

# RFC 9000, appendix A.1, and the edges of the four sizes.
VARINTS = [
    ("c2197c5eff14e88c", 151_288_809_941_952_652),
    ("9d7f3e7d", 494_878_333),
    ("7bbd", 15_293),
    ("25", 37),
    ("00", 0),
    ("3f", 0x3F),
    ("4040", 0x40),
    ("7fff", 0x3FFF),
    ("80004000", 0x4000),
    ("bfffffff", 0x3FFF_FFFF),
    ("c000000040000000", 0x4000_0000),
    ("ffffffffffffffff", MAX_VARINT),
]
TEXT_CODECS: list[tuple[Callable[[bytes], str], Callable[[str], bytes]]] = [
    (bytes.hex, decode_hex),
    (encode_base64, decode_base64),
    (encode_base64url, decode_base64url),
    (encode_base64url_padded, decode_base64url_padded),
]


@pytest.mark.parametrize(("encoded", "value"), VARINTS)
def test_varint_is_encoded_as_in_rfc_9000(encoded: str, value: int) -> None:
    assert encode_varint(value).hex() == encoded
    assert Reader(bytes.fromhex(encoded)).varint(minimal=True) == value
    assert varint_size(value) == len(encoded) // 2


def test_longer_spelling_of_a_varint_is_read_unless_it_must_be_minimal() -> None:
    data = bytes.fromhex("4025")
    assert Reader(data).varint() == 37
    with pytest.raises(DecodeError, match="not minimal"):
        Reader(data).varint(minimal=True)


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_number_that_no_varint_holds_is_refused(value: int) -> None:
    with pytest.raises(LocalProtocolError, match="varint"):
        encode_varint(value)


@pytest.mark.parametrize("value", [-1, 0x1_0000])
def test_number_that_does_not_fit_its_field_is_refused(value: int) -> None:
    with pytest.raises(LocalProtocolError, match="does not fit its field"):
        encode_uint(value, 2)


@given(st.integers(0, 0xFFFF_FFFF))
def test_uint_comes_back(value: int) -> None:
    assert Reader(encode_uint(value, 4)).uint(4) == value


def test_reader_takes_values_in_order_and_knows_where_it_is() -> None:
    reader = Reader(b"\x01" + encode_vector(b"ab", 2) + encode_varint_vector(b"c") + b"de")
    assert reader.peek() == 1
    assert reader.uint(1) == 1
    assert reader.vector(2) == b"ab"
    assert reader.varint_vector() == b"c"
    assert (reader.position, reader.remaining) == (7, 2)
    assert reader.rest() == b"de"
    reader.finish()


@pytest.mark.parametrize(
    "take",
    [
        lambda reader: reader.take(3),
        lambda reader: reader.uint(3),
        lambda reader: reader.vector(1),
        lambda reader: reader.varint_vector(),
    ],
    ids=["take", "uint", "vector", "varint vector"],
)
def test_bytes_that_end_early_are_truncated(take: Callable[[Reader], object]) -> None:
    with pytest.raises(TruncatedError, match="thing ends early"):
        take(Reader(b"\x05a", "thing"))


def test_nothing_to_peek_at_is_truncated() -> None:
    with pytest.raises(TruncatedError, match="want 1 byte"):
        Reader(b"").peek()


def test_vector_longer_than_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(LimitError, match="got 5 bytes, want at most 4"):
        Reader(b"\x05").vector(1, limit=4)
    with pytest.raises(LimitError, match="got 5 bytes, want at most 4"):
        Reader(b"\x05").varint_vector(limit=4)
    assert Reader(b"\x04abcd").vector(1, limit=4) == b"abcd"


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(DecodeError, match="1 bytes more"):
        Reader(b"a").finish()


@pytest.mark.parametrize(("encode", "decode"), TEXT_CODECS)
@given(data=st.binary(max_size=40))
def test_text_form_comes_back(encode: Callable[[bytes], str], decode: Callable[[str], bytes], data: bytes) -> None:
    assert decode(encode(data)) == data


@pytest.mark.parametrize(("encode", "decode"), TEXT_CODECS)
@given(text=st.one_of(st.text(max_size=12), st.text("ABab01-_+/= \n", max_size=12)))
def test_any_text_is_refused_or_is_the_one_spelling(
    encode: Callable[[bytes], str], decode: Callable[[str], bytes], text: str
) -> None:
    with suppress(DecodeError):
        assert encode(decode(text)) == text


@pytest.mark.parametrize(
    ("decode", "text"),
    [
        (decode_hex, "AB"),
        (decode_hex, "abc"),
        (decode_hex, "ab "),
        (decode_base64, "YQ"),
        (decode_base64, "YR=="),
        (decode_base64, "YQ==\n"),
        (decode_base64, "ÿ"),
        (decode_base64url, "YQ=="),
        (decode_base64url, "YR"),
        (decode_base64url, "Y"),
        (decode_base64url, "+/"),
        (decode_base64url_padded, "YQ"),
        (decode_base64url_padded, "YQ="),
        (decode_base64url_padded, "YQ==="),
    ],
)
def test_other_spelling_is_refused(decode: Callable[[str], bytes], text: str) -> None:
    with pytest.raises(DecodeError):
        decode(text)


def test_alphabets_are_those_of_rfc_4648() -> None:
    data = bytes(range(256))
    assert encode_base64(data) == base64.b64encode(data).decode()
    assert encode_base64url_padded(data) == base64.urlsafe_b64encode(data).decode()
    assert encode_base64url(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")
