"""Signed notes, their keys, and the checkpoints that are in them."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, mldsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, strategies as st

from confsec.errors import (
    ConfsecError,
    DecodeError,
    LimitError,
    LocalProtocolError,
    UnsupportedError,
    VerificationError,
)
from confsec.protocol.checkpoint import MAX_CHECKPOINT_TEXT, Checkpoint
from confsec.protocol.merkle import EMPTY_ROOT
from confsec.protocol.note import MAX_NOTE, MAX_SIGNATURES, NoteSignature, SignedNote
from confsec.protocol.note_keys import KeyType, NoteKey, Signer, cosigned_message
from confsec.protocol.wire import encode_base64

LOG = Signer("log.example/one", KeyType.ED25519, bytes(32))
WITNESS = Signer("witness.example/w1", KeyType.ED25519_COSIGNATURE, b"1" * 32)
MODERN = Signer("witness.example/w2", KeyType.ML_DSA_44_COSIGNATURE, b"2" * 32)
SIGNERS = (LOG, WITNESS, MODERN)
AT = datetime(2026, 11, 28, 7, 0, 0, tzinfo=UTC)
CHECKPOINT = Checkpoint("log.example/one", 7, bytes(range(32)))
TEXT = CHECKPOINT.encode()
EC_KEY = ec.derive_private_key(7, ec.SECP256R1())
SPKI = EC_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def at_of(signer: Signer) -> datetime | None:
    return AT if signer.key.cosigns else None


def signed() -> SignedNote:
    note = SignedNote(TEXT)
    for signer in SIGNERS:
        note = note.sign(signer, at=at_of(signer))
    return note


# --- Checkpoints


@given(origin=st.text(min_size=1, max_size=20), size=st.integers(0, 2**64), root=st.binary(min_size=31, max_size=33))
def test_a_checkpoint_comes_back_or_cannot_be_made(origin: str, size: int, root: bytes) -> None:
    try:
        checkpoint = Checkpoint(origin, size, root)
        text = checkpoint.encode()
        text.encode()
    except (ConfsecError, UnicodeEncodeError):
        return
    assert Checkpoint.decode(text) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "log\n",
        "log\n1\n",
        f"log\n01\n{encode_base64(bytes(32))}\n",
        f"log\n-1\n{encode_base64(bytes(32))}\n",
        f"log\n1\n{encode_base64(bytes(32))}",
        f"log\n1\n{encode_base64(bytes(31))}\n",
        f"log\n9999999999999999999\n{encode_base64(bytes(32))}\n",
        f"log\n0\n{encode_base64(bytes(32))}\n",
        f"log\n1\n{encode_base64(bytes(32))}\n\n",
        f"\n1\n{encode_base64(bytes(32))}\n",
        f"lo\tg\n1\n{encode_base64(bytes(32))}\n",
        "log\n1\n" + "x" * MAX_CHECKPOINT_TEXT + "\n",
    ],
)
def test_other_text_is_no_checkpoint(text: str) -> None:
    with pytest.raises(DecodeError):
        Checkpoint.decode(text)


def test_an_empty_tree_has_its_root_and_extensions_are_kept() -> None:
    checkpoint = Checkpoint("log", 0, EMPTY_ROOT, ("more", "lines"))
    assert Checkpoint.decode(checkpoint.encode()) == checkpoint


# --- Keys


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda signer: signer.key.type.name)
def test_keys_come_back(signer: Signer) -> None:
    assert NoteKey.decode(signer.key.encode()) == signer.key
    assert Signer.decode(signer.encode()).key == signer.key
    assert encode_base64(b"1" * 32) not in repr(signer)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name+00000000",
        "name+00000000+",
        "name+00000000+AA==",
        "name+00000000+" + encode_base64(b"\x01" + bytes(32)),
        "n\udc80me+00000000+" + encode_base64(b"\x01" + bytes(32)),
        "na me+00000000+" + encode_base64(b"\x01" + bytes(32)),
        "name+00000000+" + encode_base64(b"\x01" + bytes(31)),
        "name+00000000+" + encode_base64(b"\x06" + bytes(32)),
        "name+00000000+" + encode_base64(b"\x02" + bytes(32)),
        "name+00000000+" + encode_base64(b"\x63" + bytes(32)),
        "n" * 256 + "+00000000+" + encode_base64(b"\x01" + bytes(32)),
    ],
)
def test_other_text_is_no_key(text: str) -> None:
    with pytest.raises((DecodeError, UnsupportedError)):
        NoteKey.decode(text)


def test_a_key_on_no_curve_is_refused() -> None:
    spki = ed448.Ed448PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(DecodeError, match="elliptic"):
        NoteKey("name", KeyType.ECDSA, spki)


@pytest.mark.parametrize(
    "text",
    ["", "PUBLIC+KEY+n+00000000+AQ==", "PRIVATE+KEY+n+00000000+" + encode_base64(b"\x01" + bytes(32)),
     "PRIVATE+KEY+n+00000000+" + encode_base64(b"\x01" + bytes(31)),
     "PRIVATE+KEY+n+00000000+" + encode_base64(b"\x02" + bytes(32))],
)  # fmt: skip
def test_other_text_is_no_signing_key(text: str) -> None:
    with pytest.raises((DecodeError, UnsupportedError)):
        Signer.decode(text)


def test_a_cosigner_says_when_and_nobody_else_does() -> None:
    with pytest.raises(LocalProtocolError):
        LOG.sign(TEXT, at=AT)
    with pytest.raises(LocalProtocolError):
        WITNESS.sign(TEXT)


# --- Notes


def test_a_note_says_who_signed_and_when() -> None:
    note = SignedNote.decode(signed().encode())
    found = note.verify([signer.key for signer in SIGNERS])
    assert [(each.key, each.time) for each in found] == [(signer.key, at_of(signer)) for signer in SIGNERS]
    assert note.verify([WITNESS.key])[0].time == AT


def test_nobody_known_and_a_second_signature_of_the_same_key() -> None:
    other = Signer("log.example/one", KeyType.ED25519, b"3" * 32)
    with pytest.raises(VerificationError, match="no key that we know"):
        signed().verify([other.key])
    twice = signed().sign(WITNESS, at=datetime(2027, 1, 1, tzinfo=UTC))
    assert twice.verify([WITNESS.key])[0].time == AT


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda signer: signer.key.type.name)
@pytest.mark.parametrize("at", [0, 7, 8, -1])
def test_a_changed_signature_spoils_the_note(signer: Signer, at: int) -> None:
    (line,) = SignedNote(TEXT).sign(signer, at=at_of(signer)).signatures
    changed = bytearray(line.signature)
    changed[at] ^= 1
    note = SignedNote(TEXT, (NoteSignature(line.name, line.key_id, bytes(changed)),))
    with pytest.raises((VerificationError, DecodeError)):
        note.verify([signer.key])


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda signer: signer.key.type.name)
def test_a_signature_is_of_one_text(signer: Signer) -> None:
    other = Checkpoint("log.example/one", 8, bytes(range(32))).encode()
    note = SignedNote(other, SignedNote(TEXT).sign(signer, at=at_of(signer)).signatures)
    with pytest.raises(VerificationError, match="is wrong"):
        note.verify([signer.key])


def test_what_is_no_checkpoint_is_not_cosigned() -> None:
    for signer in (WITNESS, MODERN):
        with pytest.raises(DecodeError):
            SignedNote("some text\n").sign(signer, at=AT)
    assert SignedNote("some text\n").sign(LOG).verify([LOG.key])


def test_the_message_of_ml_dsa_is_the_standards() -> None:
    message = cosigned_message("w", CHECKPOINT, 5)
    assert message == b"subtree/v1\n\0\x01w" + struct.pack(">Q", 5) + b"\x0flog.example/one" + struct.pack(
        ">QQ", 0, 7
    ) + bytes(range(32))
    public = mldsa.MLDSA44PrivateKey.from_seed_bytes(b"2" * 32).public_key()
    (line,) = SignedNote(TEXT).sign(MODERN, at=AT).signatures
    public.verify(line.signature[8:], cosigned_message(MODERN.key.name, CHECKPOINT, int(AT.timestamp())))


def test_signatures_of_ecdsa_cover_the_text() -> None:
    key = NoteKey("rekor.example", KeyType.ECDSA, SPKI)
    signature = EC_KEY.sign(TEXT.encode(), ec.ECDSA(hashes.SHA256()))
    note = SignedNote(TEXT, (NoteSignature(key.name, key.key_id, signature),))
    assert note.verify([key])[0].time is None


@pytest.mark.parametrize(
    ("head", "error"),
    [(b"\x04\x03", None), (b"\x05\x03", UnsupportedError)],
)
def test_tree_heads_of_certificate_transparency(head: bytes, error: type[Exception] | None) -> None:
    key = NoteKey("log.example/one", KeyType.RFC6962, SPKI)
    message = struct.pack(">BBQQ", 0, 1, 9, 7) + CHECKPOINT.root
    signature = EC_KEY.sign(message, ec.ECDSA(hashes.SHA256()))
    line = struct.pack(">Q", 9) + head + struct.pack(">H", len(signature)) + signature
    note = SignedNote(TEXT, (NoteSignature(key.name, key.key_id, line),))
    if error is None:
        assert note.verify([key])[0].time is None
    else:
        with pytest.raises(error):
            note.verify([key])


def test_a_tree_head_says_nothing_of_extensions() -> None:
    key = NoteKey("log.example/one", KeyType.RFC6962, SPKI)
    for text in (TEXT + "more\n", TEXT.replace("log.example", "other.example")):
        with pytest.raises(VerificationError, match="covers"):
            key.verify(text, bytes(80))


def test_a_time_that_nobody_lives_to_see_is_refused() -> None:
    with pytest.raises(DecodeError, match="time"):
        WITNESS.key.verify(TEXT, b"\x7f" * 72)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\n\n\n",
        b"text\n",
        b"text\n\n",
        b"text\n\n" + "— name AAAAAAA=".encode(),
        b"text\n\n" + "— name AAAAAA==\n".encode(),
        b"text\n\n" + "— na me AAAAAAA=\n".encode(),
        b"text\n\n" + "—  AAAAAAA=\n".encode(),
        b"text\n\n- name AAAAAAA=\n",
        b"te\x00xt\n\n" + "— name AAAAAAA=\n".encode(),
        b"te\txt\n\n" + "— name AAAAAAA=\n".encode(),
        b"text\n\n" + "— name AAAAAAA=\n".encode() * (MAX_SIGNATURES + 1),
        b"x" * (MAX_NOTE + 1),
    ],
)
def test_other_bytes_are_no_note(data: bytes) -> None:
    with pytest.raises(DecodeError):
        SignedNote.decode(data)


def test_limits_have_errors_of_their_own() -> None:
    with pytest.raises(LimitError):
        SignedNote.decode(b"x" * (MAX_NOTE + 1))


@pytest.mark.parametrize("text", ["no end", "a\x01b\n"])
def test_other_text_is_not_signed(text: str) -> None:
    with pytest.raises(DecodeError):
        SignedNote(text).sign(LOG)


def test_a_note_without_signatures_is_not_written() -> None:
    with pytest.raises(DecodeError):
        SignedNote(TEXT).encode()


@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_note_or_an_error(data: bytes) -> None:
    try:
        note = SignedNote.decode(data)
    except ConfsecError:
        return
    assert note.encode() == data


@given(text=st.text(max_size=120))
def test_any_text_after_a_key_gives_a_key_or_an_error(text: str) -> None:
    for read in (NoteKey.decode, Signer.decode):
        try:
            read(text)
        except ConfsecError:
            continue
