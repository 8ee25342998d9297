"""JSON as others write it, read strictly."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError
from confsec.protocol import json_general
from confsec.protocol.json_general import JsonItem, as_object
from confsec.testing import check_any_bytes

ITEMS: st.SearchStrategy[JsonItem] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4).filter(str.isascii), inner, max_size=4)
    ),
    max_leaves=12,
)


def decode(text: str) -> JsonItem:
    return json_general.decode(text.encode(), what="a text", limit=1 << 20)


@given(ITEMS)
def test_what_is_encoded_decodes_to_the_same(item: JsonItem) -> None:
    assert json_general.decode(json_general.encode(item), what="a text", limit=1 << 20) == item


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    check_any_bytes(lambda each: json_general.decode(each, what="a text", limit=50), data)


@pytest.mark.parametrize(
    "defect, text",
    [
        ("nothing", ""),
        ("bytes after the end", "1 2"),
        ("a member twice", '{"a": 1, "a": 1}'),
        ("a member twice, in two spellings", '{"a": 1, "\\u0061": 2}'),
        ("a member twice, deeper", '[{"a": {"b": 1, "b": 2}}]'),
        ("NaN", "[NaN]"),
        ("infinity", "-Infinity"),
        ("a number beyond all floats", "1e999"),
        ("half a surrogate pair", '"\\ud800"'),
        ("half a surrogate pair in a name", '{"\\ud800": 1}'),
        ("a comment", "/* */ 1"),
        ("a number of a million digits", "1" * 1_000_000),
    ],
)
def test_refuses(defect: str, text: str) -> None:
    with pytest.raises(DecodeError):
        decode(text)


def test_refuses_what_is_not_utf_8() -> None:
    with pytest.raises(DecodeError, match="not JSON"):
        json_general.decode(b'"\xff"', what="a text", limit=99)


@pytest.mark.parametrize(
    "text, limit, match",
    [
        ("[1,2]", 4, "at most 4"),
        ("[" * 40 + "]" * 40, 99, "too deeply"),
        ("[" * 100_000, 1 << 20, "too deeply"),
        ("[" + "0," * 20_000 + "0]", 1 << 20, "too many"),
    ],
)
def test_limits(text: str, limit: int, match: str) -> None:
    with pytest.raises(LimitError, match=match):
        json_general.decode(text.encode(), what="a text", limit=limit)


@pytest.mark.parametrize(
    "worst",
    [
        b"[" + b"[]," * 349_000 + b"0]",
        b"[" * (1 << 20),
        b'"' + b"\\u00e9" * 174_000 + b'"',
        b"[" + b"[" * 1 + b"1]]" * 300_000,
    ],
    ids=["arrays", "deep", "escapes", "junk"],
)
def test_worst_megabyte_is_read_or_refused(worst: bytes) -> None:
    # `python -m benchmarks.worst_inputs` measures how long that takes.
    check_any_bytes(lambda data: json_general.decode(data, what="a text", limit=1 << 20), worst)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, float("nan")])
def test_refuses_to_encode_what_json_cannot_hold(value: JsonItem) -> None:
    with pytest.raises(LocalProtocolError):
        json_general.encode([value])


def test_object_is_an_object() -> None:
    assert as_object({"a": 1}, what="it") == {"a": 1}
    with pytest.raises(DecodeError, match="it is not a JSON object"):
        as_object([], what="it")
