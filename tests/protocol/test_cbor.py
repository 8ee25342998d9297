"""CBOR in one spelling."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError
from confsec.protocol import cbor
from confsec.testing import check_any_bytes

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=40) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=40), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_encoded_decodes_to_the_same_value(value: cbor.CborValue) -> None:
    assert cbor.decode(cbor.encode(value), what="a value", limit=1 << 20) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    check_any_bytes(lambda each: cbor.decode(each, what="a value", limit=100), data)


@given(st.dictionaries(st.text(max_size=30), st.integers(0, 300), max_size=12))
def test_keys_stand_in_bytewise_order_of_their_encoding(value: dict[str, int]) -> None:
    keys = [cbor2.dumps(key) for key in cbor2.loads(cbor.encode(dict(value)))]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("defect", "hexadecimal"),
    [
        ("a longer integer than needed", "1800"),
        ("an indefinite length", "9f01ff"),
        ("keys out of order", "a2616201616101"),
        ("a duplicate key", "a2616101616101"),
        ("bytes after the end", "0100"),
        ("a tag", "c249010000000000000000"),
        ("a float", "f93e00"),
        ("undefined", "f7"),
        ("a key that is a number", "a10101"),
        ("an array that never ends", "9f"),
        ("text that is not UTF-8", "61ff"),
        ("nothing", ""),
    ],
)
def test_refuses(defect: str, hexadecimal: str) -> None:
    with pytest.raises(DecodeError):
        cbor.decode(bytes.fromhex(hexadecimal), what=defect, limit=100)


def test_refuses_what_is_longer_than_its_limit() -> None:
    with pytest.raises(LimitError, match="at most 3"):
        cbor.decode(b"\x43abc", what="a value", limit=3)


@pytest.mark.parametrize("depth", [17, 100, 5000])
def test_refuses_deep_nesting(depth: int) -> None:
    with pytest.raises(DecodeError):
        cbor.decode(b"\x81" * depth + b"\x01", what="a value", limit=10_000)


@pytest.mark.parametrize("value", [1.5, {1: 2}, object(), 1 << 64, [{"a": -(1 << 65)}]])
def test_does_not_encode_what_it_would_not_decode(value: object) -> None:
    with pytest.raises(LocalProtocolError):
        cbor.encode(value)  # type: ignore[arg-type]


def test_members_are_checked_for_their_kind() -> None:
    with pytest.raises(DecodeError, match="a, b"):
        cbor.as_map({"a": 1}, what="it", keys=("b", "a"))
    with pytest.raises(DecodeError):
        cbor.as_map([], what="it", keys=())
    with pytest.raises(DecodeError):
        cbor.as_array({}, what="it", limit=1)
    with pytest.raises(LimitError):
        cbor.as_array([1, 2], what="it", limit=1)
    with pytest.raises(DecodeError):
        cbor.as_bytes("text", what="it")
    with pytest.raises(DecodeError, match="32 bytes"):
        cbor.as_bytes(b"short", what="it", size=32)
    with pytest.raises(DecodeError):
        cbor.as_text(b"bytes", what="it")
    for wrong in (-1, True, "1"):
        with pytest.raises(DecodeError):
            cbor.as_uint(wrong, what="it")


def test_a_value_becomes_json_with_bytes_in_hex() -> None:
    value: cbor.CborValue = {"a": [b"\x01\xff", 7, None], "b": {"c": "text", "d": True}}
    assert cbor.to_json(value) == {"a": ["01ff", 7, None], "b": {"c": "text", "d": True}}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (cbor2.dumps([0] * cbor.MAX_ITEMS), "too many items"),
        (cbor2.dumps([1000] * 5 + [0] * cbor.MAX_ITEMS), "too many items"),
        (cbor2.dumps([b""] * (cbor.MAX_ITEMS - 1) + [bytes(9)]), "too many items"),
        (cbor2.dumps([[]] * cbor.MAX_CONTAINERS), "too many arrays"),
    ],
)
def test_refuses_more_than_our_structures_have(data: bytes, why: str) -> None:
    with pytest.raises(LimitError if "items" in why else DecodeError, match=why):
        cbor.decode(data, what="it", limit=1 << 20)


def test_long_strings_are_few_items() -> None:
    encoded = cbor.encode([bytes(2 * cbor.MAX_ITEMS), "x" * cbor.MAX_ITEMS, 1 << 40])
    assert cbor.encode(cbor.decode(encoded, what="it", limit=1 << 20)) == encoded
