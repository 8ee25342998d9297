"""Signed CoRIMs: the signature first, then the times, then the content."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, LimitError, UnsupportedError, VerificationError
from confsec.protocol.cbor_general import CborItem, CborKey, Tag, encode
from confsec.protocol.corim import Corim
from confsec.protocol.corim_common import Validity
from confsec.protocol.corim_signed import (
    CORIM_TYPE,
    CorimMeta,
    CorimSigner,
    SignedCorim,
    SignedHeader,
    open_signed_corim,
)
from confsec.protocol.cose import sign1
from tests.protocol.corim_cases import NOW, corim_item, encode_corim

KEY = ec.derive_private_key(7, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(8, ec.SECP256R1())
SECONDS = int(NOW.timestamp())
SIGNER: CborItem = {0: {0: "ACME Ltd.", 1: Tag(32, "https://acme.example")}}
META = encode(SIGNER)
CONTENT = encode_corim(corim_item())


def headers(**changes: Any) -> dict[CborKey, CborItem]:
    """Return protected headers; others stand under `h` and their number, and None takes one away."""
    changed = {3: CORIM_TYPE, 8: META} | {int(name[1:]): value for name, value in changes.items()}
    return {key: value for key, value in changed.items() if value is not None}


def signed(payload: bytes = CONTENT, *, detached: bool = False, **changes: Any) -> bytes:
    return sign1(payload, KEY, algorithm="ES256", protected=headers(**changes), detached=detached).encode()


def opened(data: bytes, *, key: ec.EllipticCurvePrivateKey = KEY, **others: Any) -> Corim:
    return open_signed_corim(SignedCorim.decode(data), key.public_key(), **({"now": NOW} | others))


def test_a_signed_corim_opens_to_what_was_signed() -> None:
    assert opened(signed()) == Corim.decode(CONTENT)


def test_a_signed_corim_comes_back() -> None:
    data = signed()
    assert SignedCorim.decode(data).encode() == data


def test_the_headers_say_who_signed() -> None:
    meta = CorimMeta(CorimSigner("ACME Ltd.", "https://acme.example"))
    assert SignedCorim.decode(signed()).header == SignedHeader(
        meta=meta, cwt_issuer=None, cwt_validity=None, hashed=False
    )
    claims = {1: "ACME Ltd.", 2: "x", 4: SECONDS, 5: SECONDS - 1}
    assert SignedCorim.decode(signed(h8=None, h15=claims)).header == SignedHeader(
        meta=None, cwt_issuer="ACME Ltd.", cwt_validity=Validity(NOW, NOW - timedelta(seconds=1)), hashed=False
    )
    assert SignedCorim.decode(signed(h15={1: "ACME Ltd."})).header.cwt_validity is None


def test_headers_that_are_critical_and_known_are_understood() -> None:
    assert opened(signed(h2=[8])) == Corim.decode(CONTENT)
    with pytest.raises(UnsupportedError):
        opened(signed(h2=[99], h99=1))


def test_another_key_is_refused_before_the_content_is_read() -> None:
    with pytest.raises(VerificationError, match="does not verify"):
        opened(signed(b"not even CBOR"), key=OTHER_KEY)


def test_an_algorithm_that_the_caller_does_not_allow_is_refused() -> None:
    with pytest.raises(VerificationError, match="not allowed"):
        opened(signed(), algorithms=("ES384",))


@given(place=st.integers(0, len(signed()) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused(place: int, bit: int) -> None:
    data = bytearray(signed())
    data[place] ^= 1 << bit
    with pytest.raises(ConfsecError):
        opened(bytes(data))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_an_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        SignedCorim.decode(data)


def test_what_is_signed_and_no_corim_is_refused() -> None:
    with pytest.raises(DecodeError, match="does not have its tag"):
        opened(signed(encode(corim_item())))


@pytest.mark.parametrize(
    "changes",
    [
        {"h8": encode({0: {0: "x"}, 1: {1: Tag(1, SECONDS - 1)}})},
        {"h8": encode({0: {0: "x"}, 1: {0: Tag(1, SECONDS + 1), 1: Tag(1, SECONDS + 2)}})},
        {"h15": {1: "x", 4: SECONDS - 1}},
        {"h15": {1: "x", 5: SECONDS + 1}},
        {"payload": encode_corim(corim_item(m4={1: Tag(1, SECONDS - 1)}))},
    ],
)
def test_a_signature_or_content_out_of_its_time_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match=r"has expired|not valid yet"):
        opened(signed(**changes))


def test_times_that_hold_are_accepted() -> None:
    meta = encode({0: {0: "x", -1: 1}, 1: {0: Tag(1, SECONDS), 1: Tag(1, SECONDS)}})
    assert opened(signed(h8=meta, h15={1: "x", 4: SECONDS, 5: float(SECONDS)})) == Corim.decode(CONTENT)
    assert opened(signed(h8=None, h15={1: "x", 4: SECONDS})) == Corim.decode(CONTENT)


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"h3": None}, "content type"),
        ({"h3": "application/corim-unsigned+cbor"}, "content type"),
        ({"h8": None}, "does not say who signed"),
        ({"h8": SIGNER}, "not encoded CBOR"),
        ({"h8": encode({})}, "lacks signer"),
        ({"h8": encode({0: {}})}, "lacks signer_name"),
        ({"h8": encode({0: {0: "x", 1: "https://x"}})}, "tag 32"),
        ({"h8": encode({0: {0: "x"}, 2: 1})}, "does not have"),
        ({"h15": []}, "not a map"),
        ({"h15": {"iss": "x"}}, "not a map"),
        ({"h15": {2: "x"}}, "text string"),
        ({"h15": {1: "x", 4: "later"}}, "not a number"),
        ({"h15": {1: "x", 4: True}}, "not a number"),
        ({"h15": {1: "x", 5: float("nan")}}, "not a number"),
        ({"h15": {1: "x", 5: -1}}, "outside of the years"),
        ({"h15": {1: "x", 5: 1 << 40}}, "outside of the years"),
        ({"h258": -16, "h259": CORIM_TYPE}, "content type of its own"),
    ],
)
def test_headers_that_break_their_rule_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        SignedCorim.decode(signed(**changes))


def test_a_message_without_algorithm_is_refused() -> None:
    with pytest.raises(DecodeError, match="lacks alg"):
        SignedHeader.from_map(headers())


def test_a_message_without_its_tag_is_refused() -> None:
    message = SignedCorim.decode(signed()).message.to_item()
    assert isinstance(message, Tag)
    with pytest.raises(DecodeError, match="tag of COSE_Sign1"):
        SignedCorim.decode(encode(message.value))


@pytest.mark.parametrize("detached, changes", [(True, {}), (False, {"h3": None, "h258": -16, "h259": CORIM_TYPE})])
def test_content_that_travels_elsewhere_is_not_opened(*, detached: bool, changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="travels elsewhere"):
        opened(signed(detached=detached, **changes))


def test_a_signed_corim_beyond_a_mebibyte_is_refused() -> None:
    with pytest.raises(LimitError):
        SignedCorim.decode(bytes((1 << 20) + 1))
