"""CBOR as others write it: what is read, what is refused, and within which limits."""

from __future__ import annotations

import math

import cbor2
import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError, TruncatedError
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem, Tag, as_array, as_map
from confsec.testing import check_any_bytes

LIMIT = 1 << 20
KEYS = st.integers(-(1 << 64), (1 << 64) - 1) | st.text(max_size=8) | st.binary(max_size=8)
ITEMS: st.SearchStrategy[CborItem] = st.recursive(
    st.none() | st.booleans() | KEYS | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.builds(Tag, st.integers(0, (1 << 64) - 1), inner)
    ),
    max_leaves=12,
)


def decode(text: str) -> CborItem:
    return cbor_general.decode(bytes.fromhex(text.replace(" ", "")), what="an item", limit=LIMIT)


@given(ITEMS)
def test_what_is_encoded_decodes_to_the_same(item: CborItem) -> None:
    encoded = cbor_general.encode(item)
    assert cbor_general.decode(encoded, what="an item", limit=LIMIT) == item
    assert cbor_general.encode(cbor_general.decode(encoded, what="an item", limit=LIMIT)) == encoded


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    check_any_bytes(lambda each: cbor_general.decode(each, what="an item", limit=50), data)


@given(st.binary(max_size=40))
def test_reads_what_cbor2_reads_where_both_read(data: bytes) -> None:
    """Untagged items: tags are left alone here, and become dates and sets there."""
    try:
        ours = cbor_general.decode(data, what="an item", limit=LIMIT)
        theirs = cbor2.loads(data)
    except (DecodeError, cbor2.CBORDecodeError):
        return
    if "Tag(" not in repr(ours) and "nan" not in repr(ours):
        assert ours == theirs


@pytest.mark.parametrize(
    "text, want",
    [
        ("1818", 24),
        ("1900ff", 255),
        ("1bffffffffffffffff", (1 << 64) - 1),
        ("3bffffffffffffffff", -(1 << 64)),
        ("9f 01 02 ff", [1, 2]),
        ("bf 01 02 ff", {1: 2}),
        ("5f 41 01 41 02 ff", b"\1\2"),
        ("7f 61 61 60 61 62 ff", "ab"),
        ("5f ff", b""),
        ("c1 1a5afd322e", Tag(1, 1526542894)),
        ("c2 41 01", Tag(2, b"\1")),
        ("d8 1c 80", Tag(28, [])),
        ("f4", False),
        ("f6", None),
        ("f93e00", 1.5),
        ("fa3fc00000", 1.5),
        ("fb3ff8000000000000", 1.5),
        ("a3 01 02 20 03 61 61 04", {1: 2, -1: 3, "a": 4}),
        ("a1 41 01 f5", {b"\1": True}),
    ],
)
def test_reads(text: str, want: CborItem) -> None:
    got = decode(text)
    assert got == want
    assert type(got) is type(want)


def test_reads_what_is_no_number() -> None:
    value = decode("f97e00")
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    "defect, text",
    [
        ("nothing", ""),
        ("bytes after the end", "00 00"),
        ("a key twice", "a2 01 00 01 00"),
        ("a key twice, in two spellings", "a2 01 00 1801 00"),
        ("a key twice, in a map without a length", "bf 01 00 01 00 ff"),
        ("a key that is true", "a1 f5 00"),
        ("a key that is an array", "a1 80 00"),
        ("a key that is a tag", "a1 c1 00 00"),
        ("a key that is a float", "a1 f93c00 00"),
        ("undefined", "f7"),
        ("a simple value", "f0"),
        ("a simple value of two bytes", "f8ff"),
        ("a break alone", "ff"),
        ("a reserved length", "1c"),
        ("an integer without a length", "1f"),
        ("a tag without a number", "df"),
        ("text that is not UTF-8", "61ff"),
        ("half a surrogate pair", "63eda080"),
        ("a chunk of another type", "5f 61 61 ff"),
        ("a chunk without a length", "5f 5f ff ff"),
        ("a string without an end", "5f 41 01"),
        ("an array without an end", "9f 01"),
        ("a map without an end", "bf 01 02"),
        ("a break in a pair", "bf 01 ff"),
        ("an array that is cut", "82 01"),
        ("an array as long as memory", "9bffffffffffffffff"),
        ("a string as long as memory", "5b7fffffffffffffff"),
    ],
)
def test_refuses(defect: str, text: str) -> None:
    with pytest.raises(DecodeError):
        decode(text)


def test_bytes_that_are_missing_are_told_apart() -> None:
    for text in ("19 01", "43 01", "9f", "5f"):
        with pytest.raises(TruncatedError):
            decode(text)


def test_limits_are_in_bytes_items_and_levels() -> None:
    with pytest.raises(LimitError, match="at most 3"):
        cbor_general.decode(b"\x43abc", what="an item", limit=3)
    with pytest.raises(LimitError, match="too many items"):
        cbor_general.decode(b"\x83\0\0\0", what="an item", limit=9, max_items=3)
    with pytest.raises(LimitError, match="too deeply"):
        cbor_general.decode(b"\x81" * 40 + b"\0", what="an item", limit=99)
    assert cbor_general.decode(b"\x81" * 32 + b"\0", what="an item", limit=99)


@pytest.mark.parametrize(
    "worst",
    [
        b"\x9a\x00\x0f\xff\xfb" + b"\0" * 1048571,
        b"\x9a\x00\x0f\xff\xfb" + b"\x80" * 1048571,
        b"\x9f" + b"\xc6\0" * 524287 + b"\xff",
        b"\x9f" * 31 + b"\x9f\xff" * 524000,
        b"\x5f" + b"\x40" * 1048574 + b"\xff",
        b"\xbf" + b"".join(b"\x1a" + number.to_bytes(4, "big") + b"\0" for number in range(174762)) + b"\xff",
        b"\x81" * (1 << 20),
        b"\x5a\x00\x0f\xff\xfb" + bytes(1048571),
    ],
    ids=["integers", "arrays", "tags", "nested", "chunks", "map", "deep", "bytes"],
)
def test_worst_megabyte_is_read_or_refused(worst: bytes) -> None:
    # `python -m benchmarks.worst_inputs` measures how long that takes.
    check_any_bytes(lambda data: cbor_general.decode(data, what="an item", limit=LIMIT), worst)


def test_keys_stand_in_the_bytewise_order_of_their_encoding() -> None:
    encoded = cbor_general.encode({"aa": 1, 1000: 1, -1: 1, "b": 1, b"c": 1, 10: 1})
    assert encoded.hex() == "a6" + "0a01" + "1903e801" + "2001" + "416301" + "616201" + "62616101"


@pytest.mark.parametrize("item", [1 << 64, -(1 << 64) - 1, {1, 2}, (1,)])
def test_refuses_to_encode_what_is_no_item(item: CborItem) -> None:
    with pytest.raises(LocalProtocolError):
        cbor_general.encode([item])


def test_refuses_to_encode_what_is_nested_too_deeply() -> None:
    item: CborItem = 0
    for _ in range(40):
        item = [item]
    with pytest.raises(LocalProtocolError, match="too deeply"):
        cbor_general.encode(item)


def test_parts_are_of_the_kind_and_size_that_is_asked_for() -> None:
    assert as_map({1: 2}, what="it") == {1: 2}
    assert as_array([1], what="it") == as_array([1], what="it", sizes=range(1, 3)) == [1]
    for refused in (lambda: as_map([], what="it"), lambda: as_array({}, what="it")):
        with pytest.raises(DecodeError):
            refused()
    with pytest.raises(DecodeError, match="got 1, want 2 to 3"):
        as_array([1], what="it", sizes=range(2, 4))
    with pytest.raises(DecodeError, match="got 1, want 4"):
        as_array([1], what="it", sizes=range(4, 5))
