"""Vectors of binary HTTP: schema bhttp-message, and the two forms of our own in tests/vectors.

A case without a name for its kind is a response if the lowest bit of its framing indicator is set (RFC 9292, section
3.3). Messages have several spellings, so what is encoded is compared where ours has as many bytes as the stated one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from confsec.conformance.cases import (
    Case,
    MismatchError,
    Schema,
    check_refused,
    check_same,
    has_members,
    is_hex,
    list_cases,
    unhex,
)
from confsec.protocol.bhttp import InformationalResponse, Request, Response
from confsec.protocol.bhttp_fields import Fields
from confsec.protocol.bhttp_http1 import request_from_http1, response_from_http1

__all__ = ["SCHEMAS", "check_message", "check_refused_message"]

_KINDS: Final[dict[str, type[Request | Response]]] = {"request": Request, "response": Response}
_RESPONSE: Final = 1
_INDETERMINATE: Final = 2


def check_message(case: Case) -> None:
    """Check that a message decodes to what is stated and back, or is refused; or that HTTP/1.1 converts as stated."""
    if "http1" in case:
        _check_http1(case)
    elif "encoded" not in case:
        raise MismatchError("the case has no message")
    if "encoded" in case and not ("http1" in case and not _is_valid(case)):
        _check_encoded(case)


def check_refused_message(case: Case) -> None:
    """Check that a message with a defect is refused, as the stated kind and with the stated code."""
    kind, encoded = _KINDS[case["kind"]], unhex(case, "encoded")
    check_refused(lambda: kind.decode(encoded), code=case.get("code", ""))


def _check_encoded(case: Case) -> None:
    encoded = unhex(case, "encoded")
    kind = _kind_of(encoded)
    if not _is_valid(case):
        check_refused(lambda: kind.decode(encoded))
        return
    want = _message(case["decoded"] if "decoded" in case else case["message"])
    _check_same_message(kind.decode(encoded), want)
    for loss in (*case.get("truncatable_by", ()), *case.get("may_lose", ())):
        _check_same_message(kind.decode(encoded[: len(encoded) - loss]), want)
    _check_encoding(want, encoded)


def _check_encoding(message: Request | Response, stated: bytes) -> None:
    ours = message.encode(indeterminate=bool(stated[0] & _INDETERMINATE))
    _check_same_message(type(message).decode(ours), message)
    # Truncation takes away, and padding adds, nothing but zeros at the end. What is left differs in length only where
    # content comes in several chunks, or a length is written in a longer form than needed.
    got, want = ours.rstrip(b"\0"), stated.rstrip(b"\0")
    if len(got) == len(want):
        check_same("encoding", got, want)


def _check_http1(case: Case) -> None:
    data = case["http1"].encode("latin-1")
    convert = response_from_http1 if data.startswith(b"HTTP/") else request_from_http1
    if not _is_valid(case):
        check_refused(lambda: convert(data).encode(), locally=True)
        return
    message = convert(data)
    converted = type(message).decode(message.encode())
    sections = [converted.headers, converted.trailers]
    if isinstance(converted, Response):
        sections += [response.headers for response in converted.informational]
    names = {name for fields in sections for name, _ in fields}
    kept = names & {name.lower() for name in case.get("absent_fields", ())}
    if kept:
        raise MismatchError(f"fields of the connection were kept: {', '.join(sorted(kept))}")


def _is_valid(case: Case) -> bool:
    valid = case.get("valid", "error" not in case)
    if not isinstance(valid, bool):
        raise MismatchError("valid is neither true nor false")
    return valid


def _kind_of(encoded: bytes) -> type[Request | Response]:
    return _KINDS["response" if encoded and encoded[0] & _RESPONSE else "request"]


def _check_same_message(got: Request | Response, want: Request | Response) -> None:
    if type(got) is not type(want):
        raise MismatchError(f"got a {type(got).__name__}, want a {type(want).__name__}")
    for name in (each.name for each in type(want).__attrs_attrs__):
        check_same(name, getattr(got, name), getattr(want, name))


def _message(decoded: Any) -> Request | Response:
    """Make the message that a case describes."""
    headers, trailers = _fields(decoded.get("headers", ())), _fields(decoded.get("trailers", ()))
    content = decoded.get("content", "").encode("latin-1")
    if "status" not in decoded:
        control = (decoded["method"], decoded["scheme"], decoded["authority"], decoded["path"])
        return Request(*control, headers, content, trailers)
    informational = tuple(
        InformationalResponse(status, _fields(fields)) for status, fields in decoded.get("informational", ())
    )
    return Response(decoded["status"], headers, content, trailers, informational)


def _fields(pairs: Any) -> Fields:
    return tuple((name, value) for name, value in pairs)


def _is_bhttp(document: object) -> bool:
    """Recognise messages in hex with what they decode to, HTTP/1.1 to convert, or messages that are all refused."""
    cases = [case for _, case in list_cases(document) if isinstance(case, Mapping)]
    if any(isinstance(case.get("http1"), str) or _is_good(case) for case in cases):
        return True
    encoded = [case["encoded"] for case in cases if case.get("valid") is False and "encoded" in case]
    return any(encoded) and all(is_hex(each) for each in encoded)


def _is_good(case: Case) -> bool:
    return is_hex(case.get("encoded")) and isinstance(case.get("decoded", case.get("message")), Mapping)


_schema = partial(Schema, list_cases=list_cases)

SCHEMAS: Final = (
    _schema(name="bhttp-defects", recognises=has_members("encoded defect kind"), check=check_refused_message),
    _schema(name="bhttp-message", recognises=_is_bhttp, check=check_message),
)
"""Messages with a defect, and messages."""
