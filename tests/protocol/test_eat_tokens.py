"""Signed claims, and claims-sets that travel apart from the token with their digests."""

from __future__ import annotations

from hashlib import sha256, sha384, sha512

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, UnsupportedError, VerificationError
from confsec.protocol import cbor_general, json_general
from confsec.protocol.cbor_general import CborItem, CborKey, Tag
from confsec.protocol.claims import DebugStatus, DetachedDigest, NestedToken
from confsec.protocol.cose import CoseSign1
from confsec.protocol.eat_tokens import (
    DetachedBundle,
    decode_cwt,
    sign_cwt,
    sign_jwt,
    verify_cwt,
    verify_detached,
    verify_jwt,
)
from confsec.protocol.jose import Jws, sign_jws
from confsec.protocol.json_general import JsonItem
from confsec.protocol.wire import encode_base64url
from confsec.testing import check_any_bytes
from tests.protocol.token_keys import ED25519, OTHER, P256

CLAIMS = {"iss": "joe", "dbgstat": DebugStatus.DISABLED, "ueid": bytes(7)}
CWT = sign_cwt(CLAIMS, P256, algorithm="ES256")
DETACHED = b"\xa0"


def test_signed_claims_come_back() -> None:
    assert verify_cwt(CWT, P256.public_key()) == CLAIMS
    assert verify_jwt(sign_jwt(CLAIMS, ED25519, algorithm="EdDSA"), ED25519.public_key()) == CLAIMS
    assert Jws.decode(sign_jwt(CLAIMS, ED25519, algorithm="EdDSA")).header == {"alg": "EdDSA", "typ": "JWT"}


def test_claims_of_another_key_or_algorithm_are_refused() -> None:
    with pytest.raises(VerificationError):
        verify_cwt(CWT, OTHER.public_key())
    with pytest.raises(VerificationError):
        verify_cwt(CWT, P256.public_key(), algorithms=["EdDSA"])
    token = sign_jwt(CLAIMS, P256, algorithm="ES256")
    with pytest.raises(VerificationError):
        verify_jwt(token, OTHER.public_key())
    with pytest.raises(VerificationError):
        verify_jwt(token, P256.public_key(), algorithms=["EdDSA"])


def test_signature_is_checked_before_claims_are_read() -> None:
    token = sign_jws(b"no claims", P256, algorithm="ES256").encode()
    with pytest.raises(VerificationError):
        verify_jwt(token, OTHER.public_key())
    with pytest.raises(DecodeError):
        verify_jwt(token, P256.public_key())


def test_cwt_may_have_its_tag() -> None:
    tagged = cbor_general.encode(Tag(61, cbor_general.decode(CWT, what="a CWT", limit=999)))
    assert verify_cwt(tagged, P256.public_key()) == CLAIMS
    bare = CoseSign1.decode(CWT).to_item()
    assert isinstance(bare, Tag)
    assert decode_cwt(cbor_general.encode(bare.value)).payload == decode_cwt(CWT).payload
    for item in (Tag(61, bare.value), Tag(61, Tag(61, bare)), Tag(17, bare.value), Tag(62, bare)):
        with pytest.raises(DecodeError):
            decode_cwt(cbor_general.encode(item))


# --- bundles


def bundle(*digests: DetachedDigest, **claims_sets: bytes) -> tuple[dict[str, object], DetachedBundle]:
    submods = dict(zip(("a", "b"), digests, strict=False))
    return {"submods": submods}, DetachedBundle(NestedToken("CBOR", CWT), claims_sets)


@pytest.mark.parametrize(
    "algorithm, digest",
    [
        ("SHA-256", sha256(DETACHED).digest()),
        (-16, sha256(DETACHED).digest()),
        ("SHA-384", sha384(DETACHED).digest()),
        (-43, sha384(DETACHED).digest()),
        ("SHA-512", sha512(DETACHED).digest()),
        (-44, sha512(DETACHED).digest()),
    ],
)
def test_detached_claims_have_the_digest_that_was_signed(algorithm: str | int, digest: bytes) -> None:
    claims, good = bundle(DetachedDigest(algorithm, digest), a=DETACHED)
    assert verify_detached(claims, good) == {"a": DETACHED}
    claims, bad = bundle(DetachedDigest(algorithm, digest), a=b"\xa1\0\0")
    with pytest.raises(VerificationError, match="not the one that was signed"):
        verify_detached(claims, bad)


def test_claims_set_without_a_digest_is_refused() -> None:
    claims, _ = bundle(DetachedDigest("SHA-256", sha256(DETACHED).digest()))
    for name in ("b", "c"):
        with pytest.raises(VerificationError, match="nobody signed"):
            verify_detached({**claims, "x": 1}, DetachedBundle(NestedToken("CBOR", CWT), {name: DETACHED}))
    with pytest.raises(VerificationError, match="nobody signed"):
        verify_detached({}, DetachedBundle(NestedToken("CBOR", CWT), {"a": DETACHED}))


def test_digest_by_another_hash_is_unsupported() -> None:
    claims, other = bundle(DetachedDigest("SHA-1", bytes(20)), a=DETACHED)
    with pytest.raises(UnsupportedError, match="SHA-1"):
        verify_detached(claims, other)


def cbor_bundle(main: CborItem, detached: CborItem, tag: int | None = 602) -> bytes:
    item: CborItem = [main, detached]
    return cbor_general.encode(item if tag is None else Tag(tag, item))


@pytest.mark.parametrize("tag", [602, None])
def test_bundle_in_cbor(tag: int | None) -> None:
    assert DetachedBundle.decode_cbor(cbor_bundle(CWT, {"a": DETACHED}, tag)) == DetachedBundle(
        NestedToken("CBOR", CWT), {"a": DETACHED}
    )
    jwt = DetachedBundle.decode_cbor(cbor_bundle('["JWT", "e30.e30.AA"]', {"a": DETACHED}, tag))
    assert jwt.main_token == NestedToken("JWT", b"e30.e30.AA")


def test_bundle_in_json() -> None:
    item: JsonItem = [["CBOR", encode_base64url(CWT)], {"a": "e30"}]
    assert DetachedBundle.decode_json(json_general.encode(item)) == DetachedBundle(
        NestedToken("CBOR", CWT), {"a": b"{}"}
    )


@pytest.mark.parametrize(
    "defect, data",
    [
        ("another tag", cbor_bundle(CWT, {"a": b""}, tag=601)),
        ("a token that is a claims-set", cbor_bundle({}, {"a": b""})),
        ("a token that is a digest", cbor_bundle(["SHA-256", b""], {"a": b""})),
        ("a token that is a number", cbor_bundle(1, {"a": b""})),
        ("no claims-sets", cbor_bundle(CWT, {})),
        ("claims-sets in an array", cbor_bundle(CWT, [b""])),
        ("a claims-set by number", cbor_bundle(CWT, {1: b""})),
        ("a claims-set that is text", cbor_bundle(CWT, {"a": ""})),
        ("a claims-set that is too long", cbor_bundle(CWT, {"a": bytes(300_000)})),
        ("three items", cbor_general.encode([CWT, {"a": b""}, 1])),
    ],
)
def test_refuses_a_bundle_in_cbor(defect: str, data: bytes) -> None:
    with pytest.raises(DecodeError):
        DetachedBundle.decode_cbor(data)


@pytest.mark.parametrize(
    "item",
    [
        {},
        [["JWT", "e30.e30.AA"]],
        [{}, {"a": "e30"}],
        [["DIGEST", ["SHA-256", "AA"]], {"a": "e30"}],
        [["JWT", "e30.e30.AA"], {"a": 1}],
        [["JWT", "e30.e30.AA"], {"a": "e31"}],
        [["JWT", "e30.e30.AA"], {}],
        [["JWT", "e30.e30.AA"], []],
    ],
)
def test_refuses_a_bundle_in_json(item: JsonItem) -> None:
    with pytest.raises(DecodeError):
        DetachedBundle.decode_json(json_general.encode(item))


def test_bundle_has_a_limit() -> None:
    many: dict[CborKey, CborItem] = {str(number): b"" for number in range(65)}
    with pytest.raises(LimitError):
        DetachedBundle.decode_cbor(cbor_bundle(CWT, many))


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    check_any_bytes(decode_cwt, data)
    check_any_bytes(DetachedBundle.decode_cbor, data)
    check_any_bytes(DetachedBundle.decode_json, data)
