"""JWS and JWK: what verifies, and what an attacker would like to verify."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, strategies as st

from confsec.errors import (
    ConfsecError,
    DecodeError,
    LimitError,
    LocalProtocolError,
    UnsupportedError,
    VerificationError,
)
from confsec.protocol import json_general
from confsec.protocol.jose import MAX_JWS, Jws, public_key_from_jwk, sign_jws, verify_jws
from confsec.protocol.json_general import JsonItem
from confsec.protocol.signatures import ALGORITHMS, SigningKey, sign
from confsec.protocol.wire import encode_base64url
from confsec.testing import check_any_bytes
from tests.protocol.token_keys import ED25519, OTHER, P256, P384, P521

JWS = sign_jws(b'{"a":1}', P256, algorithm="ES256", header={"typ": "JWT"})
PAIRS = [(P256, "ES256"), (P384, "ES384"), (P521, "ES512"), (ED25519, "EdDSA"), (ED25519, "Ed25519")]


def with_header(header: dict[str, JsonItem]) -> Jws:
    """Sign with any header, also such as `sign_jws` would not write."""
    unsigned = Jws(protected=encode_base64url(json_general.encode(header)), payload="AAAA", signature=b"")
    signature = sign(ALGORITHMS["ES256"], P256, unsigned.to_be_signed())
    return Jws(protected=unsigned.protected, payload=unsigned.payload, signature=signature)


@pytest.mark.parametrize("key, algorithm", PAIRS)
def test_signed_text_verifies(key: SigningKey, algorithm: str) -> None:
    token = sign_jws(b"payload", key, algorithm=algorithm).encode()
    jws = Jws.decode(token)
    assert jws.encode() == token
    verified = verify_jws(jws, key.public_key(), algorithms=[algorithm])
    assert (verified.payload, verified.header) == (b"payload", {"alg": algorithm})
    with pytest.raises(VerificationError):
        verify_jws(jws, OTHER.public_key())


@given(st.integers(0, len(JWS.encode()) - 1), st.sampled_from("ABab01-_."))
def test_changed_character_is_refused(place: int, character: str) -> None:
    token = JWS.encode()
    changed = token[:place] + character + token[place + 1 :]
    if changed == token:
        return
    with pytest.raises(ConfsecError):
        verify_jws(Jws.decode(changed), P256.public_key())


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS256", "ESP256", "", None, 7, ["ES256"], "E" * 1000])
def test_algorithm_that_is_not_allowed_is_refused(algorithm: JsonItem) -> None:
    with pytest.raises(VerificationError, match="not allowed"):
        verify_jws(with_header({"alg": algorithm}), P256.public_key())


def test_algorithm_is_not_the_one_of_the_token_but_one_of_the_caller() -> None:
    with pytest.raises(VerificationError, match="got ES256, want EdDSA"):
        verify_jws(JWS, P256.public_key(), algorithms=["EdDSA"])
    with pytest.raises(VerificationError, match="not allowed"):
        verify_jws(with_header({}), P256.public_key())
    with pytest.raises(VerificationError, match="not allowed"):
        verify_jws(with_header({"alg": "HS256"}), P256.public_key(), algorithms=["HS256"])


def test_curve_belongs_to_the_algorithm() -> None:
    with pytest.raises(VerificationError, match="another curve"):
        verify_jws(with_header({"alg": "ES384"}), P256.public_key())
    with pytest.raises(LocalProtocolError):
        sign_jws(b"", P384, algorithm="ES256")
    with pytest.raises(LocalProtocolError):
        sign_jws(b"", ED25519, algorithm="ES256")


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": True}]
)
def test_critical_header_is_refused(header: dict[str, JsonItem]) -> None:
    with pytest.raises(UnsupportedError, match="critical header"):
        verify_jws(with_header({"alg": "ES256", **header}), P256.public_key())


def test_critical_header_that_nobody_signed_is_refused() -> None:
    odd = Jws(protected=JWS.protected, payload=JWS.payload, signature=JWS.signature, unprotected={"crit": ["a"]})
    with pytest.raises(UnsupportedError):
        verify_jws(odd, P256.public_key())


@pytest.mark.parametrize(
    "defect, token",
    [
        ("nothing", ""),
        ("two parts", "e30.e30"),
        ("four parts", ".e30.e30.AA"),
        ("a header that is no JSON", "AAAA.e30.AA"),
        ("a header that is an array", f"{encode_base64url(b'[]')}.e30.AA"),
        ("a header with a member twice", encode_base64url(b'{"alg":"a","alg":"b"}') + ".e30.AA"),
        ("an empty header", ".e30.AA"),
        ("padding", "e30=.e30.AA"),
        ("another alphabet", "e30.e3+/.AA"),
        ("a payload of one character", "e30.e.AA"),
        ("pad bits in the payload", "e30.e31.AA"),
        ("pad bits in the signature", "e30.e30.AB"),
        ("a space", "e30.e30. AA"),
        ("a letter beyond ASCII", "e30.é30.AA"),
    ],
)
def test_refuses(defect: str, token: str) -> None:
    with pytest.raises(DecodeError):
        Jws.decode(token)


def test_refuses_what_is_too_long() -> None:
    with pytest.raises(LimitError):
        Jws.decode("A" * (MAX_JWS + 1))


@given(st.text(max_size=60))
def test_any_text_gives_a_value_or_our_error(text: str) -> None:
    check_any_bytes(lambda data: Jws.decode(data.decode()), text.encode("utf-8", "replace"))


# --- the flattened form


def flattened(**changes: JsonItem) -> bytes:
    members: dict[str, JsonItem] = {
        "protected": JWS.protected,
        "payload": JWS.payload,
        "signature": encode_base64url(JWS.signature),
    }
    members.update(changes)
    return json_general.encode({name: value for name, value in members.items() if value is not None})


def test_flattened_form_is_the_same_signature() -> None:
    jws = Jws.decode_flattened(flattened(header={"kid": "1"}))
    assert verify_jws(jws, P256.public_key()).payload == b'{"a":1}'
    assert jws.unprotected == {"kid": "1"}
    with pytest.raises(LocalProtocolError):
        jws.encode()
    assert Jws.decode_flattened(flattened()).encode() == JWS.encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": None},
        {"signature": 1},
        {"protected": {}},
        {"signatures": []},
        {"header": []},
        {"header": {"alg": "none"}},
        {"payload": "e31"},
    ],
)
def test_flattened_form_with_a_defect_is_refused(changes: dict[str, JsonItem]) -> None:
    with pytest.raises(DecodeError):
        Jws.decode_flattened(flattened(**changes))


# --- signing


@pytest.mark.parametrize("algorithm", ["none", "HS256", "PS256", "ESP256"])
def test_refuses_to_sign_with_an_algorithm_that_we_do_not_sign_with(algorithm: str) -> None:
    with pytest.raises(LocalProtocolError):
        sign_jws(b"", P256, algorithm=algorithm)


def test_header_of_the_caller_does_not_change_the_algorithm() -> None:
    assert sign_jws(b"", P256, algorithm="ES256", header={"alg": "none", "kid": "1"}).header == {
        "alg": "ES256",
        "kid": "1",
    }


# --- keys


def jwk(key: ec.EllipticCurvePrivateKey, crv: str) -> dict[str, JsonItem]:
    point = key.public_key().public_numbers()
    size = (key.curve.key_size + 7) // 8
    x, y = (encode_base64url(number.to_bytes(size, "big")) for number in (point.x, point.y))
    return {"kty": "EC", "crv": crv, "x": x, "y": y}


OKP: dict[str, JsonItem] = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": encode_base64url(ED25519.public_key().public_bytes_raw()),
}


@pytest.mark.parametrize("key, crv", [(P256, "P-256"), (P384, "P-384"), (P521, "P-521")])
def test_reads_a_key_on_a_curve(key: ec.EllipticCurvePrivateKey, crv: str) -> None:
    assert public_key_from_jwk(jwk(key, crv)) == key.public_key()


def test_reads_other_keys() -> None:
    assert public_key_from_jwk({**OKP, "use": "sig", "kid": "1", "key_ops": ["verify"]}) == ED25519.public_key()
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    n = encode_base64url(public.public_numbers().n.to_bytes(256, "big"))
    assert public_key_from_jwk({"kty": "RSA", "n": n, "e": "AQAB"}) == public


@pytest.mark.parametrize(
    "defect, members",
    [
        ("no type", {}),
        ("a secret", {"kty": "oct", "k": "AAAA"}),
        ("another type", {**OKP, "kty": "AKP"}),
        ("a type that is a number", {**OKP, "kty": 1}),
        ("a private key", {**OKP, "d": "AAAA"}),
        ("for encryption", {**OKP, "use": "enc"}),
        ("for signing only", {**OKP, "key_ops": ["sign"]}),
        ("operations that are text", {**OKP, "key_ops": "verify"}),
        ("another curve of the type", {**OKP, "crv": "Ed448"}),
        ("a short key", {**OKP, "x": "AAAA"}),
        ("no key", {"kty": "OKP", "crv": "Ed25519"}),
        ("another curve", {**jwk(P256, "P-256"), "crv": "secp256k1"}),
        ("a curve that is a number", {**jwk(P256, "P-256"), "crv": 1}),
        ("the size of another curve", {**jwk(P256, "P-256"), "crv": "P-384"}),
        ("a point beside the curve", {**jwk(P256, "P-256"), "x": encode_base64url(bytes(32))}),
        ("padding", {**jwk(P256, "P-256"), "x": encode_base64url(bytes(32)) + "="}),
        ("RSA with an even exponent", {"kty": "RSA", "n": "AAAA", "e": "Ag"}),
        ("RSA without n", {"kty": "RSA", "e": "AQAB"}),
        ("RSA that is too long", {"kty": "RSA", "e": "AQAB", "n": "A" * 40_000}),
    ],
)
def test_refuses_a_key(defect: str, members: dict[str, JsonItem]) -> None:
    with pytest.raises((DecodeError, UnsupportedError)):
        public_key_from_jwk(members)
