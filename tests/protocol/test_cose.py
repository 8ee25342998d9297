"""COSE_Sign1: what verifies, what does not, and keys."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, LocalProtocolError, UnsupportedError, VerificationError
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem, CborKey, Tag
from confsec.protocol.cose import CoseSign1, public_key_from_cose_key, sign1, verify_sign1
from confsec.protocol.signatures import (
    ALGORITHMS,
    PublicKey,
    SigningKey,
    default_algorithm,
    sign,
    verify_signature,
)
from confsec.testing import check_any_bytes
from tests.protocol.token_keys import ED25519, K1, OTHER, P256, P384, P521

MESSAGE = sign1(b"payload", P256, algorithm="ES256", unprotected={4: b"11"})
PAIRS = [
    (P256, "ES256"),
    (P384, "ES384"),
    (P521, "ES512"),
    (P256, "ES512"),
    (P256, "ESP256"),
    (P384, "ESP384"),
    (P521, "ESP512"),
    (ED25519, "EdDSA"),
    (ED25519, "Ed25519"),
]


def headers(item: CborItem) -> bytes:
    return cbor_general.encode(item)


def message(*parts: CborItem, tag: int | None = 18) -> bytes:
    item: CborItem = list(parts)
    return cbor_general.encode(item if tag is None else Tag(tag, item))


def signed(protected: dict[CborKey, CborItem], unprotected: dict[CborKey, CborItem] | None = None) -> CoseSign1:
    """Sign with any headers, also such as `sign1` would not write."""
    unsigned = CoseSign1(protected=headers(protected), unprotected=unprotected or {}, payload=b"x", signature=b"")
    signature = sign(ALGORITHMS["ES256"], P256, unsigned.to_be_signed())
    return CoseSign1(protected=unsigned.protected, unprotected=unsigned.unprotected, payload=b"x", signature=signature)


# --- signatures


@pytest.mark.parametrize("key, algorithm", PAIRS)
def test_signed_message_verifies_and_says_its_payload(key: SigningKey, algorithm: str) -> None:
    encoded = sign1(b"payload", key, algorithm=algorithm, external_aad=b"outside").encode()
    decoded = CoseSign1.decode(encoded)
    assert decoded.encode() == encoded
    assert verify_sign1(decoded, key.public_key(), external_aad=b"outside", algorithms=[algorithm]) == b"payload"
    with pytest.raises(VerificationError, match="does not verify"):
        verify_sign1(decoded, key.public_key())


def test_signatures_are_the_same_each_time() -> None:
    assert sign1(b"payload", P256, algorithm="ES256") == sign1(b"payload", P256, algorithm="ES256")


@pytest.mark.parametrize(
    "name, digest", [("PS256", hashes.SHA256()), ("PS384", hashes.SHA384()), ("PS512", hashes.SHA512())]
)
def test_rsa_pss_verifies(name: str, digest: hashes.HashAlgorithm) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    unsigned = CoseSign1(protected=headers({1: ALGORITHMS[name].cose_id}), payload=b"x", signature=b"")
    pss = padding.PSS(padding.MGF1(digest), salt_length=digest.digest_size)
    signature = key.sign(unsigned.to_be_signed(), pss, digest)
    good = CoseSign1(protected=unsigned.protected, payload=b"x", signature=signature)
    assert verify_sign1(good, key.public_key()) == b"x"
    other = next(row for row in ALGORITHMS if row.startswith("PS") and row != name)
    with pytest.raises(VerificationError, match="another algorithm than agreed"):
        verify_sign1(good, key.public_key(), algorithm=other)


def test_small_rsa_key_is_refused() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(VerificationError, match="1024 bits"):
        verify_signature(ALGORITHMS["PS256"], key.public_key(), signature=bytes(128), message=b"")


@given(st.integers(0, len(MESSAGE.encode()) * 8 - 1))
def test_flipped_bit_is_refused_unless_nobody_signed_it(bit: int) -> None:
    data = bytearray(MESSAGE.encode())
    data[bit // 8] ^= 1 << bit % 8
    try:
        changed = CoseSign1.decode(bytes(data))
        assert verify_sign1(changed, P256.public_key()) == b"payload"
    except ConfsecError:
        return
    assert changed.unprotected != MESSAGE.unprotected


@pytest.mark.parametrize(
    "key, match",
    [
        (OTHER.public_key(), "does not verify"),
        (P384.public_key(), "wrong length"),
        (ED25519.public_key(), "not one of the algorithm"),
    ],
)
def test_other_key_is_refused(key: PublicKey, match: str) -> None:
    with pytest.raises(VerificationError, match=match):
        verify_sign1(MESSAGE, key)


def test_curve_is_fixed_where_the_name_of_the_algorithm_says_it() -> None:
    wrong = CoseSign1(protected=headers({1: -9}), payload=b"x", signature=bytes(96))
    with pytest.raises(VerificationError, match="another curve"):
        verify_sign1(wrong, P384.public_key())
    with pytest.raises(UnsupportedError, match="secp256k1"):
        verify_sign1(MESSAGE, K1.public_key())


def test_signature_of_zeros_is_refused() -> None:
    zeros = CoseSign1(protected=MESSAGE.protected, payload=b"payload", signature=bytes(64))
    with pytest.raises(VerificationError):
        verify_sign1(zeros, P256.public_key())


# --- which algorithm


def test_algorithm_has_to_be_among_the_allowed_ones() -> None:
    with pytest.raises(VerificationError, match="got ES256, want ES384"):
        verify_sign1(MESSAGE, P256.public_key(), algorithms=["ES384"])


def test_algorithm_that_nobody_signed_does_not_count() -> None:
    unprotected = signed({}, {1: -7})
    with pytest.raises(VerificationError, match="nothing signed says which algorithm"):
        verify_sign1(unprotected, P256.public_key())
    assert verify_sign1(unprotected, P256.public_key(), algorithm="ES256") == b"x"
    with pytest.raises(VerificationError, match="nothing signed says"):
        verify_sign1(unprotected, P256.public_key(), algorithm="none")


@pytest.mark.parametrize("algorithm", [-999, "ES256", 5, 1 << 60])
def test_algorithm_that_we_do_not_have_is_unsupported(algorithm: int | str) -> None:
    with pytest.raises(UnsupportedError):
        verify_sign1(signed({1: algorithm}), P256.public_key(), algorithm="ES256")


# --- payload


def test_detached_payload_is_signed_too() -> None:
    detached = CoseSign1.decode(sign1(b"payload", P256, algorithm="ES256", detached=True).encode())
    assert detached.payload is None
    assert verify_sign1(detached, P256.public_key(), detached_payload=b"payload") == b"payload"
    with pytest.raises(VerificationError):
        verify_sign1(detached, P256.public_key(), detached_payload=b"another")
    with pytest.raises(LocalProtocolError, match="either in the message or beside it"):
        verify_sign1(detached, P256.public_key())
    with pytest.raises(LocalProtocolError, match="either in the message or beside it"):
        verify_sign1(MESSAGE, P256.public_key(), detached_payload=b"payload")


@pytest.mark.parametrize("empty", [b"", b"\xa0"])
def test_empty_protected_headers_are_signed_as_nothing(empty: bytes) -> None:
    unsigned = CoseSign1(protected=empty, payload=b"x", signature=b"")
    assert unsigned.to_be_signed() == cbor_general.encode(["Signature1", b"", b"", b"x"])


# --- structure


@pytest.mark.parametrize(
    "defect, data",
    [
        ("another tag", message(b"", {}, b"", b"", tag=98)),
        ("no array", cbor_general.encode(Tag(18, {}))),
        ("three items", message(b"", {}, b"")),
        ("five items", message(b"", {}, b"", b"", b"")),
        ("protected headers that are a map", message({1: -7}, {}, b"", b"")),
        ("protected headers that hold an array", message(headers([1, -7]), {}, b"", b"")),
        ("protected headers with bytes after them", message(headers({1: -7}) + b"\0", {}, b"", b"")),
        ("protected headers with a label twice", message(bytes.fromhex("a201260126"), {}, b"", b"")),
        ("unprotected headers that are an array", message(b"", [], b"", b"")),
        ("a payload that is text", message(b"", {}, "", b"")),
        ("a signature that is nothing", message(b"", {}, b"", None)),
        ("a label that is bytes", message(headers({b"1": -7}), {}, b"", b"")),
        ("a label in both maps", message(headers({4: b"1"}), {4: b"1"}, b"", b"")),
        ("crit that nobody signed", message(b"", {2: [4]}, b"", b"")),
        ("crit that is no array", message(headers({2: 4}), {}, b"", b"")),
        ("an algorithm that is true", message(headers({1: True}), {}, b"", b"")),
        ("an algorithm that is bytes", message(headers({1: b""}), {}, b"", b"")),
        ("a kid that is text", message(b"", {4: "11"}, b"", b"")),
        ("x5chain that is text", message(b"", {33: "11"}, b"", b"")),
        ("too many headers", message(b"", {number + 100: 0 for number in range(65)}, b"", b"")),
        ("bytes after it", message(b"", {}, b"", b"") + b"\0"),
    ],
)
def test_refuses(defect: str, data: bytes) -> None:
    with pytest.raises(DecodeError):
        CoseSign1.decode(data)


@given(st.binary(max_size=80))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    check_any_bytes(CoseSign1.decode, data)


def test_message_may_come_without_its_tag() -> None:
    bare = CoseSign1.decode(message(b"", {}, b"x", b"y", tag=None))
    assert not bare.tagged
    assert bare.encode() == message(b"", {}, b"x", b"y", tag=None)


def test_hints_are_read_from_either_map() -> None:
    assert MESSAGE.key_id == b"11"
    assert MESSAGE.algorithm == -7
    assert MESSAGE.x5chain == ()
    both = CoseSign1(protected=headers({33: [b"leaf", b"root"]}), unprotected={}, payload=b"", signature=b"")
    assert (both.x5chain, both.key_id, both.algorithm) == ((b"leaf", b"root"), None, None)
    assert CoseSign1(protected=b"", unprotected={33: b"leaf"}, payload=b"", signature=b"").x5chain == (b"leaf",)


# --- critical headers


def test_critical_headers_have_to_be_understood() -> None:
    known = signed({1: -7, 2: [4, 3], 3: 0, 4: b"11"})
    assert verify_sign1(known, P256.public_key()) == b"x"
    new = signed({1: -7, 2: ["new", 99], "new": 1, 99: 2})
    with pytest.raises(UnsupportedError, match="critical header"):
        verify_sign1(new, P256.public_key(), understood=["new"])
    assert verify_sign1(new, P256.public_key(), understood=["new", 99]) == b"x"


@pytest.mark.parametrize("crit", [[], [5], [True], [[1]]])
def test_critical_header_has_to_be_there(crit: list[CborItem]) -> None:
    with pytest.raises(DecodeError, match="crit"):
        verify_sign1(signed({1: -7, 2: crit}), P256.public_key(), understood=[5])


# --- signing


@pytest.mark.parametrize(
    "key, algorithm", [(P256, "none"), (P256, "EdDSA"), (ED25519, "ES256"), (P256, "PS256"), (K1, "ES256")]
)
def test_refuses_to_sign_with_a_key_of_another_algorithm(key: SigningKey, algorithm: str) -> None:
    with pytest.raises(LocalProtocolError):
        sign1(b"", key, algorithm=algorithm)


def test_header_of_the_caller_does_not_change_the_algorithm() -> None:
    assert sign1(b"", P256, algorithm="ES256", protected={1: -8, 3: 0}).headers == {1: -7, 3: 0}


def test_default_algorithm_is_the_one_of_the_key() -> None:
    keys: list[SigningKey] = [P256, P384, P521, ED25519]
    assert [default_algorithm(key) for key in keys] == ["ES256", "ES384", "ES512", "EdDSA"]
    with pytest.raises(LocalProtocolError):
        default_algorithm(K1)


# --- keys


def numbers(key: ec.EllipticCurvePrivateKey, crv: int) -> dict[CborKey, CborItem]:
    point = key.public_key().public_numbers()
    size = (key.curve.key_size + 7) // 8
    return {1: 2, -1: crv, -2: point.x.to_bytes(size, "big"), -3: point.y.to_bytes(size, "big")}


OKP: dict[CborKey, CborItem] = {1: 1, -1: 6, -2: ED25519.public_key().public_bytes_raw()}


@pytest.mark.parametrize("key, crv", [(P256, 1), (P384, 2), (P521, 3)])
def test_reads_a_key_on_a_curve(key: ec.EllipticCurvePrivateKey, crv: int) -> None:
    members = numbers(key, crv)
    assert public_key_from_cose_key(headers(members)) == key.public_key()
    sign_of_y = bool(key.public_key().public_numbers().y & 1)
    assert public_key_from_cose_key(headers({**members, -3: sign_of_y})) == key.public_key()


def test_reads_other_keys() -> None:
    assert public_key_from_cose_key(headers(OKP)) == ED25519.public_key()
    assert public_key_from_cose_key(headers({**OKP, 4: [1, 2], 2: b"kid"})) == ED25519.public_key()
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    members: CborItem = {1: 3, -1: public.public_numbers().n.to_bytes(256, "big"), -2: b"\1\0\1"}
    assert public_key_from_cose_key(headers(members)) == public


@pytest.mark.parametrize(
    "defect, members",
    [
        ("no type", {}),
        ("a type that is text", {**OKP, 1: "OKP"}),
        ("another type", {**OKP, 1: 4}),
        ("not for verifying", {**OKP, 4: [1]}),
        ("operations that are no array", {**OKP, 4: 2}),
        ("another curve of the type", {**OKP, -1: 4}),
        ("a short key", {**OKP, -2: bytes(31)}),
        ("no key", {1: 1, -1: 6}),
        ("a private key", {**OKP, -4: bytes(32)}),
        ("another curve", {**numbers(P256, 1), -1: 8}),
        ("a curve by its name", {**numbers(P256, 1), -1: "P-256"}),
        ("the point of another curve", {**numbers(P256, 1), -2: bytes(32)}),
        ("a short x", {**numbers(P256, 1), -2: bytes(31)}),
        ("a short y", {**numbers(P256, 1), -3: bytes(31)}),
        ("no y", {1: 2, -1: 1, -2: bytes(32)}),
        ("a private key on a curve", {**numbers(P256, 1), -4: bytes(32)}),
        ("an x that is on no point", {**numbers(P256, 1), -2: b"\xff" * 32, -3: True}),
        ("RSA without e", {1: 3, -1: b"\1" * 256}),
        ("a private RSA key", {1: 3, -1: b"\1" * 256, -2: b"\3", -3: b"\1"}),
        ("RSA with an even exponent", {1: 3, -1: b"\1" * 256, -2: b"\2"}),
    ],
)
def test_refuses_a_key(defect: str, members: dict[CborKey, CborItem]) -> None:
    with pytest.raises((DecodeError, UnsupportedError)):
        public_key_from_cose_key(headers(members))


@given(st.binary(max_size=60))
def test_any_bytes_give_a_key_or_our_error(data: bytes) -> None:
    check_any_bytes(public_key_from_cose_key, data)
