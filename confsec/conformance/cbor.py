"""Vectors of CBOR: schema cbor-appendix-a.

Our codec reads a deterministic subset: integers, strings, arrays, maps with text keys, booleans and null. A case in it
has to give the stated value and the same bytes again. A case outside of it has to be refused, and counts as skipped:
refusing says nothing about the value that it states. Which is which is decided here from the bytes, without our codec.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from confsec.conformance.cases import (
    Case,
    CaseSkippedError,
    MismatchError,
    Schema,
    check_refused,
    check_same,
    has_members,
    list_cases,
    or_refused,
    unhex,
)
from confsec.protocol import cbor
from confsec.protocol.wire import Reader

__all__ = ["SCHEMAS", "check_cbor"]

_LIMIT: Final = 1 << 20
_MAX_DEPTH: Final = 64
_SIMPLE: Final = {20: False, 21: True, 22: None}
_FLOATS: Final = range(25, 28)
_TEXT: Final = 3


def check_cbor(case: Case) -> None:
    """Check one encoding: its value and the same bytes again, or that our subset leaves it out."""
    data = unhex(case, "hex")
    if "cbor" in case:
        check_same("cbor and hex", base64.b64decode(case["cbor"], validate=True), data)
    reader = Reader(data, "the encoding")
    outside = _outside_of_subset(reader)
    if not outside:
        reader.finish()
        if case.get("roundtrip", True) is not True:
            raise MismatchError("the encoding is deterministic, and is stated not to be")
        _check_value(case, data)
        return
    check_refused(lambda: cbor.decode(data, what="the encoding", limit=_LIMIT))
    raise CaseSkippedError(f"{outside}: outside of our deterministic subset, and refused")


def _check_value(case: Case, data: bytes) -> None:
    value = cbor.decode(data, what="the encoding", limit=_LIMIT)
    if "decoded" in case:
        _check_same_value(value, case["decoded"])
    elif match := re.fullmatch(r"h'([0-9a-f]*)'", str(case.get("diagnostic"))):
        check_same("value", value, bytes.fromhex(match[1]))
    else:
        raise CaseSkippedError("the value is stated in a notation that we do not read")
    check_same("encoding", cbor.encode(value), data)


def _check_same_value(got: object, want: object) -> None:
    """Compare in depth: for Python, 1 is True and 1.0."""
    if isinstance(got, list) and isinstance(want, list):
        check_same("length of an array", len(got), len(want))
        for ours, stated in zip(got, want, strict=True):
            _check_same_value(ours, stated)
    elif isinstance(got, dict) and isinstance(want, dict):
        check_same("keys of a map", sorted(got), sorted(want))
        for key, stated in want.items():
            _check_same_value(got[key], stated)
    else:
        check_same("value", got, want)


def _outside_of_subset(reader: Reader, depth: int = 0) -> str:
    """Take one item and say what it has that our subset leaves out: the empty string if nothing.

    What is left out ends the walk: the bytes after it are not looked at.
    """
    if depth > _MAX_DEPTH:
        return "nesting as deep as this"
    major, minor = divmod(reader.uint(1), 32)
    if major in {6, 7}:
        return "tags" if major == 6 else _outside_simple(minor)
    if minor > 27:
        return "indefinite lengths" if minor == 31 else "reserved lengths"
    number = minor if minor < 24 else reader.uint(1 << (minor - 24))
    if minor >= 24 and number < (24 if minor == 24 else 1 << (4 << (minor - 24))):
        return "numbers in a longer form than needed"
    return _outside_content(reader, major, number, depth)


def _outside_simple(minor: int) -> str:
    if minor in _SIMPLE:
        return ""
    return "floating-point numbers" if minor in _FLOATS else "such simple values"


def _outside_content(reader: Reader, major: int, number: int, depth: int) -> str:
    """Take what belongs to a head: nothing for an integer, so many bytes or items for the others."""
    if major in {2, _TEXT}:
        reader.take(number)
        return ""
    if number > reader.remaining and major in {4, 5}:
        raise MismatchError("an array or a map is longer than the encoding")
    for _ in range(number if major in {4, 5} else 0):
        if major == 5 and reader.peek() >> 5 != _TEXT:
            return "map keys that are no text"
        outside = (_outside_of_subset(reader, depth + 1) if major == 5 else "") or _outside_of_subset(reader, depth + 1)
        if outside:
            return outside
    return ""


SCHEMAS: Final = (
    Schema(
        name="cbor-appendix-a",
        recognises=has_members("hex roundtrip", "hex cbor"),
        check=or_refused(check_cbor),
        list_cases=list_cases,
    ),
)
"""One form."""
