"""DSSE envelopes: the standard's own example, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, UnsupportedError, VerificationError
from confsec.protocol.dsse import MAX_ENVELOPE, MAX_SIGNATURES, DsseKey, DsseSignature, Envelope, pae
from confsec.testing import check_any_bytes
from tests.protocol.statement_cases import ALICE, BOB
from tests.protocol.token_keys import ED25519, K1, OTHER, P256, P384

# The example of secure-systems-lab/dsse, protocol.md, "Test Vectors" (commit 0110cc2e89df500345148a36c780d883922443ca).
VECTOR_X = 46950820868899156662930047687818585632848591499744589407958293238635476079160
VECTOR_Y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
VECTOR_D = 97358161215184420915383655311931858321456579547487070936769975997791359926199
VECTOR_PAE = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
VECTOR = b"""{"payload": "aGVsbG8gd29ybGQ=",
 "payloadType": "http://example.com/HelloWorld",
 "signatures": [{"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]}
"""
VECTOR_KEY = ec.derive_private_key(VECTOR_D, ec.SECP256R1())

SIGNED = Envelope("text/x", "grüß".encode()).sign(ED25519).sign(P256)


def spki_of(key: ed448.Ed448PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def changed(**members: Any) -> bytes:
    return json.dumps({**json.loads(SIGNED.encode()), **members}).encode()


def test_the_example_of_the_standard_verifies() -> None:
    key = DsseKey.of("example", VECTOR_KEY)
    assert VECTOR_KEY.public_key().public_numbers() == ec.EllipticCurvePublicNumbers(VECTOR_X, VECTOR_Y, ec.SECP256R1())
    envelope = Envelope.decode(VECTOR)
    assert envelope.payload == b"hello world"
    assert pae(envelope.payload_type, envelope.payload) == VECTOR_PAE
    assert envelope.verify([key]) == (key,)


def test_we_sign_the_example_as_the_standard_does() -> None:
    signed = Envelope("http://example.com/HelloWorld", b"hello world").sign(VECTOR_KEY)
    assert [each.signature for each in signed.signatures] == [
        each.signature for each in Envelope.decode(VECTOR).signatures
    ]


# Published in testvectors/vectors.json of secure-systems-lab/dsse (commit 82043adf78bb4e67c208f9ffa72b38804ea6a0c4).
# The keys are those of RFC 8032, section 7.1: tests 1 and 2.
IN_TOTO = "application/vnd.in-toto+json"
BODY = "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ=="
KEY_A = ed25519.Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
KEY_B = ed25519.Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
)
SIG_A = "2WAfaHm5jluo0w+0rk8uVkluELJYWjSmU9x7EUzx+AyteDGJ4/nqyJXfmAUVFIAoQafWm7AxBZNw5M9ixNHiCA=="
SIG_B = "c1+67/aT0yqEpwx8PsVY3MLHsj9D0CZ014/Fv/QlG59P+9CobUZ7xECJ/V3USG0Ob9CiE5LjReEZUzNF2l7eBw=="
SIG_URL_SAFE = "P-_KHICeR7tI6S_YyejJTRtrXhcQyQ2LYPaL8h90KjC9qN8HU_svOQ6TuDOT1HIrsGW886DbWNWcCmX5twLrAw=="
SIG_UMLAUT = "xmSk/ug66ysT7ayhkCIjhAq42zgZXSsEWuzUaNL7w2eGAdF/NU6/fRXPtmfN+5DNSAs5/i2lUnHjbbjPsu0tAw=="
SIG_EMPTY = "gSggCAaTLTYyRH6FIDBem6meyIynsYy8RTHVzwx9tnTb7Bg/1jMWnuVgI/gffqmbsC2VX5/jHfkkDqsj7CDbDg=="
SIG_NO_TYPE = "iC3q/+3Rm0+lpAJRueDmDh15PnwCfxKmS0NAfKsbv+zgulXQC/WM9trc+j1XEqlwDIg/vf/uNfebeD6sxInrDg=="


@pytest.mark.parametrize(
    ("payload_type", "payload", "signatures", "threshold"),
    [
        (IN_TOTO, BODY, [{"sig": SIG_A, "keyid": "A"}], 1),
        (IN_TOTO, "-_-_Pj8=", [{"sig": SIG_URL_SAFE, "keyid": "A"}], 1),
        ("application/vnd.exämple+json", BODY, [{"sig": SIG_UMLAUT, "keyid": "A"}], 1),
        (IN_TOTO, "", [{"sig": SIG_EMPTY, "keyid": "A"}], 1),
        ("", BODY, [{"sig": SIG_NO_TYPE, "keyid": "A"}], 1),  # well signed; what type is taken is for the policy
        (IN_TOTO, BODY, [{"sig": SIG_A, "keyid": "A"}, {"sig": SIG_B, "keyid": "B"}], 2),
        (IN_TOTO, BODY, [{"sig": SIG_A}, {"sig": SIG_B}], 2),
    ],
)
def test_published_envelopes_verify(payload_type: str, payload: str, signatures: list[Any], threshold: int) -> None:
    keys = DsseKey.of("A", KEY_A), DsseKey.of("B", KEY_B)
    envelope = Envelope.decode(changed(payloadType=payload_type, payload=payload, signatures=signatures))
    assert envelope.verify(keys, threshold=threshold) == keys[:threshold]
    again = Envelope(envelope.payload_type, envelope.payload).sign(KEY_A)
    assert again.signatures[0].signature == envelope.signatures[0].signature


@pytest.mark.parametrize(
    ("payload_type", "signatures", "threshold"),
    [
        ("application/vnd.example.other+json", [{"sig": SIG_A, "keyid": "A"}], 1),
        (IN_TOTO, [{"sig": SIG_A, "keyid": "A"}] * 2, 2),
    ],
)
def test_published_envelopes_are_refused(payload_type: str, signatures: list[Any], threshold: int) -> None:
    keys = DsseKey.of("A", KEY_A), DsseKey.of("B", KEY_B)
    envelope = Envelope.decode(changed(payloadType=payload_type, payload=BODY, signatures=signatures))
    with pytest.raises(VerificationError):
        envelope.verify(keys, threshold=threshold)


@pytest.mark.parametrize("member", ["more", "mediaType", "dsseEnvelope", "payload_type"])
def test_members_that_others_might_read_are_refused(member: str) -> None:
    signatures = [{**each, member: {}} for each in json.loads(SIGNED.encode())["signatures"]]
    for members in ({member: 1}, {"signatures": signatures}):
        with pytest.raises(DecodeError, match="other members"):
            Envelope.decode(changed(**members))


def test_a_signature_of_another_kind_beside_ours_is_passed_over() -> None:
    others = (DsseSignature(b""), DsseSignature(bytes(3309)), DsseSignature(bytes(512), ALICE.key_id))
    envelope = Envelope(SIGNED.payload_type, SIGNED.payload, (*others, *SIGNED.signatures))
    assert Envelope.decode(envelope.encode()).verify([ALICE, BOB], threshold=2) == (ALICE, BOB)


@given(type_=st.text(st.characters(exclude_categories=["Cs"]), max_size=9), payload=st.binary(max_size=9))
def test_lengths_are_those_of_bytes(type_: str, payload: bytes) -> None:
    size, _, rest = pae(type_, payload).removeprefix(b"DSSEv1 ").partition(b" ")
    encoded, rest = rest[: int(size)], rest[int(size) + 1 :]
    assert encoded.decode() == type_
    assert rest == b"%d %b" % (len(payload), payload)


def test_an_envelope_comes_back() -> None:
    assert Envelope.decode(SIGNED.encode()) == SIGNED
    without = Envelope("t", b"", (DsseSignature(b"s"),))
    assert b"keyid" not in without.encode()
    assert Envelope.decode(without.encode()) == without


def test_both_alphabets_of_base64_are_read() -> None:
    envelope = Envelope("t", b"\xfb\xff\xfe", (DsseSignature(b"\xfb\xff"),))
    assert b"+/" in envelope.encode()
    assert Envelope.decode(envelope.encode().replace(b"+", b"-").replace(b"/", b"_")) == envelope


@given(st.binary(max_size=80))
def test_any_bytes_give_an_envelope_or_our_error(data: bytes) -> None:
    check_any_bytes(Envelope.decode, data)


@given(payload=st.text(max_size=8), sig=st.text(max_size=8), key_id=st.text(max_size=8))
def test_any_members_give_an_envelope_or_our_error(payload: str, sig: str, key_id: str) -> None:
    check_any_bytes(Envelope.decode, changed(payload=payload, signatures=[{"sig": sig, "keyid": key_id}]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"payload":"","payloadType":"t"}',
        changed(payload=7),
        changed(payload="YQ"),
        changed(payload="YR=="),
        changed(payload="YQ==\n"),
        changed(payload="-+=="),
        changed(payloadType=1),
        changed(payloadType="t" * 256),
        changed(signatures=[]),
        changed(signatures={}),
        changed(signatures=["c2ln"]),
        changed(signatures=[{"keyid": "a"}]),
        changed(signatures=[{"sig": "A" * 8196}]),
        changed(signatures=[{"sig": "c2ln", "keyid": 1}]),
        changed(signatures=[{"sig": "c2ln"}] * (MAX_SIGNATURES + 1)),
        b" " * (MAX_ENVELOPE + 1),
    ],
)
def test_other_bytes_are_no_envelope(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Envelope.decode(data)


def test_an_envelope_that_nobody_signed_is_not_written() -> None:
    with pytest.raises(DecodeError, match="without a signature"):
        Envelope("t", b"").encode()


def test_those_who_signed_are_returned_in_the_order_of_the_keys() -> None:
    stranger = DsseKey.of("stranger", OTHER)
    assert SIGNED.verify([BOB, stranger, ALICE], threshold=2) == (BOB, ALICE)
    with pytest.raises(VerificationError, match="got 2, want at least 3"):
        SIGNED.verify([BOB, stranger, ALICE], threshold=3)


@pytest.mark.parametrize("threshold", [1, 0, -1])
def test_strangers_alone_never_suffice(threshold: int) -> None:
    with pytest.raises(VerificationError):
        SIGNED.verify([DsseKey.of("stranger", OTHER)], threshold=threshold)
    with pytest.raises(VerificationError):
        SIGNED.verify([], threshold=threshold)


def test_one_key_under_two_names_counts_once() -> None:
    with pytest.raises(VerificationError):
        SIGNED.verify([ALICE, DsseKey("bob", ALICE.spki)], threshold=2)
    assert Envelope("t", b"").sign(ED25519).sign(ED25519).verify([ALICE]) == (ALICE,)


@pytest.mark.parametrize("key_id", ["", "nonsense", BOB.key_id])
def test_the_keyid_proves_nothing_and_spoils_nothing(key_id: str) -> None:
    alice, bob = SIGNED.signatures
    envelope = Envelope(SIGNED.payload_type, SIGNED.payload, (DsseSignature(alice.signature, key_id), bob))
    assert envelope.verify([ALICE, BOB], threshold=2) == (ALICE, BOB)
    with pytest.raises(VerificationError):
        Envelope("t", b"", (DsseSignature(bytes(64), ALICE.key_id),)).verify([ALICE])


@pytest.mark.parametrize(("type_", "payload"), [("text/y", SIGNED.payload), (SIGNED.payload_type, b"gruss")])
def test_signatures_are_of_one_payload_of_one_type(type_: str, payload: bytes) -> None:
    with pytest.raises(VerificationError):
        Envelope(type_, payload, SIGNED.signatures).verify([ALICE, BOB])


@pytest.mark.parametrize("size", [0, 1, 63, 65, 72])
def test_signatures_of_another_size_are_passed_over(size: int) -> None:
    with pytest.raises(VerificationError):
        Envelope("t", b"", (DsseSignature(bytes(size)),)).verify([ALICE, BOB])


def test_keys_of_other_kinds_are_refused() -> None:
    for key in (ed448.Ed448PrivateKey.generate(), K1, P384):
        with pytest.raises(UnsupportedError):
            DsseKey("name", spki_of(key))
    with pytest.raises(UnsupportedError):
        SIGNED.sign(P384)
    with pytest.raises(UnsupportedError):
        DsseKey.of("name", ed448.Ed448PrivateKey.generate())  # type: ignore[arg-type] # what a caller may do wrong


@pytest.mark.parametrize("spki", [b"", bytes(44), ALICE.spki + b"\0", BOB.spki[:-1]])
def test_other_bytes_are_no_key(spki: bytes) -> None:
    with pytest.raises(DecodeError):
        DsseKey("name", spki)


def test_a_key_has_one_spelling() -> None:
    point = P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    with pytest.raises(DecodeError, match="one spelling"):
        DsseKey("bob", prefix + point)


@pytest.mark.parametrize("name", ["", "a\nb", "n" * 256])
def test_a_key_has_a_name_that_can_be_shown(name: str) -> None:
    with pytest.raises(DecodeError, match="name"):
        DsseKey(name, ALICE.spki)


def test_too_many_signatures_are_a_limit() -> None:
    with pytest.raises(LimitError):
        Envelope.decode(changed(signatures=[{"sig": "c2ln"}] * (MAX_SIGNATURES + 1)))
