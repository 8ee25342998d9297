"""Statements in their one spelling, and those of others."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LocalProtocolError
from confsec.protocol.dsse import Envelope
from confsec.protocol.json_general import JsonItem
from confsec.protocol.json_members import digest_of, encode_time, hex_of, list_of, text_of, time_of, uint_of
from confsec.protocol.statement import (
    MAX_SUBJECTS,
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    Statement,
    Subject,
    check_name,
    encode_canonical,
)
from confsec.testing import check_any_bytes
from tests.protocol.statement_cases import AT, digest

SUBJECT = Subject("a", digest("a"))
STATEMENT = Statement(
    (SUBJECT, Subject("ä", digest("b"))), "https://example.com/p/v1", {"z": [1, True, None], "a": "ü"}
)
TEXT = (
    '{"_type":"https://in-toto.io/Statement/v1","predicate":{"a":"ü","z":[1,true,null]},'
    '"predicateType":"https://example.com/p/v1","subject":['
    f'{{"digest":{{"sha256":"{"a" * 64}"}},"name":"a"}},{{"digest":{{"sha256":"{"b" * 64}"}},"name":"ä"}}]}}'
)
ITEMS: st.SearchStrategy[JsonItem] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53) + 1, (1 << 53) - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


def changed(**members: Any) -> bytes:
    return encode_canonical({**json.loads(TEXT), **members})


def subject(**members: Any) -> list[dict[str, Any]]:
    return [{"digest": {"sha256": "a" * 64}, "name": "a", **members}]


def test_a_statement_has_one_spelling() -> None:
    assert STATEMENT.encode() == TEXT.encode()
    assert Statement.decode(TEXT.encode()) == STATEMENT
    assert STATEMENT.digest == sha256(TEXT.encode()).digest()


@given(st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=4), ITEMS, max_size=3))
def test_whatever_is_said_comes_back(predicate: dict[str, JsonItem]) -> None:
    statement = Statement((SUBJECT,), "p", predicate)
    assert Statement.decode(statement.encode()) == statement
    assert Statement.decode_foreign(statement.encode()) == statement


@given(st.binary(max_size=80))
def test_any_bytes_give_a_statement_or_our_error(data: bytes) -> None:
    check_any_bytes(Statement.decode, data)
    check_any_bytes(Statement.decode_foreign, data)


@given(st.sampled_from(["_type", "subject", "predicate", "predicateType"]), ITEMS)
def test_any_members_give_a_statement_or_our_error(name: str, value: JsonItem) -> None:
    check_any_bytes(Statement.decode, changed(**{name: value}))
    check_any_bytes(Statement.decode_foreign, changed(**{name: value}))
    check_any_bytes(Statement.decode_foreign, changed(subject=[{name: value, "digest": value, "name": value}]))


@pytest.mark.parametrize(
    "text",
    [
        TEXT + "\n",
        " " + TEXT,
        TEXT.replace(":", ": ", 1),
        TEXT.replace("ü", "\\u00fc"),
        TEXT.replace("[1,", "[1.0,"),
        TEXT.replace("[1,", "[-0,"),
        TEXT.replace("[1,", "[1e0,"),
        TEXT.replace("[1,", "[9007199254740992,"),
        TEXT.replace('"a":"ü","z":[1,true,null]', '"z":[1,true,null],"a":"ü"'),
        TEXT.replace('"z"', '"ö"'),
        TEXT.replace("a" * 64, "A" * 64),
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    assert text != TEXT
    with pytest.raises(DecodeError):
        Statement.decode(text.encode())


@pytest.mark.parametrize(
    "data",
    [
        changed(_type="https://in-toto.io/Statement/v0.1"),
        changed(subject=[]),
        changed(subject={}),
        changed(subject=subject() * 2),
        changed(subject=[*subject(), *subject(digest={"sha256": "b" * 64})]),
        changed(subject=subject(name="")),
        changed(subject=subject(name="a\nb")),
        changed(subject=subject(name=1)),
        changed(subject=subject(digest={})),
        changed(subject=subject(digest={"sha256": "aa"})),
        changed(subject=subject(digest={"sha256": ""})),
        changed(subject=[{"name": f"{number}", "digest": {"sha256": "a" * 64}} for number in range(MAX_SUBJECTS + 1)]),
        changed(predicate=[]),
        changed(predicateType=""),
        changed(predicateType=None),
        b"{}",
        b"null",
    ],
)
def test_what_is_no_statement_is_refused_from_everybody(data: bytes) -> None:
    for decode in (Statement.decode, Statement.decode_foreign):
        with pytest.raises(DecodeError):
            decode(data)


@pytest.mark.parametrize(
    "data",
    [
        changed(more=1),
        changed(subject=subject(annotations={})),
        changed(subject=subject(digest={"sha256": "a" * 64, "sha512": "b" * 128})),
        json.dumps({name: value for name, value in json.loads(TEXT).items() if name != "predicate"}).encode(),
        json.dumps(json.loads(TEXT), indent=1).encode(),
    ],
)
def test_more_is_taken_from_others_only(data: bytes) -> None:
    assert Statement.decode_foreign(data).subjects[0] == SUBJECT
    with pytest.raises(DecodeError):
        Statement.decode(data)


@pytest.mark.parametrize("value", [1.5, 1 << 53, {"ä": 1}, {1: 1}, b"", (), [[object()]], "\ud800"])
def test_what_has_no_one_spelling_is_not_written(value: object) -> None:
    with pytest.raises(LocalProtocolError):
        encode_canonical(value)


def test_a_statement_is_put_into_an_envelope() -> None:
    assert STATEMENT.to_envelope() == Envelope(PAYLOAD_TYPE, TEXT.encode())
    assert json.loads(TEXT)["_type"] == STATEMENT_TYPE


def test_a_subject_has_a_digest_of_sha_256() -> None:
    with pytest.raises(DecodeError):
        Subject("a", bytes(20))


# --- Members


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-11-28", "2026-11-28T07:00:00", "2026-11-28T07:00:00+00:00", "2026-11-28t07:00:00z",
        "2026-11-28T07:00:00.0Z", "2026-11-28 07:00:00Z", "2026-13-28T07:00:00Z", "2026-11-28T24:00:00Z",
        "2026-11-28T07:00:60Z", "２026-11-28T07:00:00Z", "2026-11-28T07:00:00Z\n", None, 7,
    ],
)  # fmt: skip
def test_other_text_is_no_time(text: JsonItem) -> None:
    with pytest.raises(DecodeError):
        time_of(text, "a time")


def test_midnight_of_the_day_before_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer Pythons read 24:00:00; this is what they make of it."""
    monkeypatch.setattr("confsec.protocol.json_members.encode_time", lambda _: "2026-11-29T00:00:00Z")
    with pytest.raises(DecodeError, match="one spelling"):
        time_of("2026-11-28T23:00:00Z", "a time")


def test_times_come_back() -> None:
    assert encode_time(AT) == "2026-11-28T07:00:00Z"
    assert time_of(encode_time(AT), "a time") == AT


@pytest.mark.parametrize("value", [-1, 11, True, 1.0, "1", None])
def test_other_values_are_no_number_of_the_range(value: JsonItem) -> None:
    with pytest.raises(DecodeError):
        uint_of(value, "a number", limit=10)


def test_members_have_their_types_and_sizes() -> None:
    assert uint_of(10, "a number", limit=10) == 10
    assert hex_of("00ff", "a value", limit=2) == b"\0\xff"
    for wrong in (
        lambda: text_of(1, "a text", limit=3),
        lambda: text_of("four", "a text", limit=3),
        lambda: text_of("", "a text", limit=3, least=1),
        lambda: list_of("abc", "a list", limit=3),
        lambda: list_of([1, 2], "a list", limit=1),
        lambda: list_of([], "a list", limit=1, least=1),
        lambda: hex_of("000000", "a value", limit=2),
        lambda: hex_of("FF", "a value", limit=2),
        lambda: digest_of("00", "a digest"),
        lambda: check_name("n" * 1025),
        lambda: check_name("\u202e"),
    ):
        with pytest.raises(DecodeError):
            wrong()
