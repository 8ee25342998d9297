"""The keys of signed notes: how they are written, what they sign, and how that is verified (C2SP signed-note).

A key has a name, a type, and an ID that follows from both. The types differ in what is signed: the text of the note
(Ed25519, ECDSA), the text and a time (cosignatures), or the numbers in it (ML-DSA cosignatures, RFC 6962). So a
signature with a time is a value of its own, and what has no time has none.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import IntEnum
from hashlib import sha256
from typing import Final, Self, final

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from confsec.errors import DecodeError, LocalProtocolError, UnsupportedError, VerificationError
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.wire import Reader, decode_base64, encode_base64, encode_uint, encode_vector

__all__ = ["MAX_KEY_NAME", "KeyType", "NoteKey", "Signer", "check_key_name", "cosigned_message"]

MAX_KEY_NAME: Final = 255
"""Bytes of a key's name: what fits into the message of an ML-DSA cosignature."""

_NOTE: Final = "C2SP signed-note, Signatures"
_COSIGNATURE: Final = "C2SP tlog-cosignature, Format"
_NAME: Final = re.compile(r"[^\s+\x00-\x20\x7f\ud800-\udfff]+")
_PRIVATE: Final = ("PRIVATE", "KEY")
_TIMESTAMP: Final = 8
_MAX_TIMESTAMP: Final = 253_402_300_799  # the last second of the year 9999, which datetime knows


class KeyType(IntEnum):
    """The type byte of a key (C2SP signed-note, Signature types)."""

    ED25519 = 0x01
    ECDSA = 0x02
    ED25519_COSIGNATURE = 0x04
    RFC6962 = 0x05
    ML_DSA_44_COSIGNATURE = 0x06


_COSIGNING: Final = frozenset({KeyType.ED25519_COSIGNATURE, KeyType.ML_DSA_44_COSIGNATURE})


def check_key_name(name: str) -> str:
    """Return a name that a key may have, or raise `DecodeError` (C2SP signed-note, Format)."""
    if not _NAME.fullmatch(name) or len(name.encode()) > MAX_KEY_NAME:
        raise DecodeError(
            "a key has no name, or one with spaces or a plus", want=f"1 to {MAX_KEY_NAME} bytes", section=_NOTE
        )
    return name


@final
@frozen
class NoteKey:
    """A public key whose signatures we can verify. Two with the same name and ID are the same key."""

    name: str
    type: KeyType
    public: bytes = field(repr=False)
    """The key itself: 32 bytes for Ed25519, 1312 for ML-DSA-44, else DER of a SubjectPublicKeyInfo."""

    def __attrs_post_init__(self) -> None:
        check_key_name(self.name)
        _LOADERS[self.type](self.public)  # a key that is none is refused here and not at its first signature

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read a key from `name+id+key` (C2SP signed-note, Verifier keys). Raises `DecodeError`, `UnsupportedError`."""
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise DecodeError("a verifier key is not of this form", want="name+id+key", section=_NOTE)
        name, key_id, encoded = parts
        key = cls(name, *_typed(decode_base64(encoded)))
        if key.key_id.hex() != key_id:
            raise DecodeError("the ID of a verifier key does not belong to it", got=key_id, section=_NOTE)
        return key

    def encode(self) -> str:
        """Write the key as `name+id+key`."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.type]) + self.public)}"

    @property
    def key_id(self) -> bytes:
        """Four bytes that with the name say which key it is; they prove nothing."""
        if self.type is KeyType.ECDSA:
            return sha256(self.public).digest()[:4]
        material = self.public
        if self.type is KeyType.RFC6962:  # the ID of the log, as Certificate Transparency has it
            material = sha256(self.public).digest()
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + material).digest()[:4]

    @property
    def cosigns(self) -> bool:
        """Whether its signatures have a time."""
        return self.type in _COSIGNING

    def verify(self, text: str, signature: bytes) -> datetime | None:
        """Check a signature over the text of a note, and return its time if it has one.

        Raises `VerificationError` for a wrong one, and `DecodeError` for one that cannot be read, or for a text that
        has to be a checkpoint and is none.
        """
        reader = Reader(signature, "a signature")
        if self.type is KeyType.RFC6962:
            message = _tree_head(self.name, text, reader.uint(_TIMESTAMP))
            self._check(message, _digitally_signed(reader))
            return None
        time = _time(reader.uint(_TIMESTAMP)) if self.cosigns else None
        self._check(_message(self, text, time), reader.rest())
        return time

    def _check(self, message: bytes, signature: bytes) -> None:
        key = _LOADERS[self.type](self.public)
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            else:
                key.verify(signature, message)
        except InvalidSignature as exc:
            raise VerificationError(f"the signature of {self.name} over a note is wrong", section=_NOTE) from exc


@final
class Signer:
    """A private key that signs notes: a log's own (Ed25519), or a cosigner's (Ed25519 or ML-DSA-44)."""

    def __init__(self, name: str, type: KeyType, seed: bytes) -> None:  # noqa: A002 - the standard's word
        """Make it from the 32 bytes that the key is derived from. Raises `DecodeError`, `UnsupportedError`."""
        if len(seed) != 32:
            raise DecodeError("a private key has another size", got=len(seed), want="32 bytes", section=_NOTE)
        self._private = _private(type, seed)
        self._seed = seed
        self.key: Final = NoteKey(name, type, self._private.public_key().public_bytes_raw())
        """The public half."""

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read it from `PRIVATE+KEY+name+id+seed`, as Go's sumdb/note writes it. Raises `DecodeError`."""
        parts = text.split("+", 4)
        if len(parts) != 5 or tuple(parts[:2]) != _PRIVATE:
            raise DecodeError("a signing key is not of this form", want="PRIVATE+KEY+name+id+key", section=_NOTE)
        type_, seed = _typed(decode_base64(parts[4]))
        signer = cls(parts[2], type_, seed)
        if signer.key.key_id.hex() != parts[3]:
            raise DecodeError("the ID of a signing key does not belong to it", section=_NOTE)
        return signer

    def encode(self) -> str:
        """Write it as `PRIVATE+KEY+name+id+seed`. This is the secret."""
        head = "+".join((*_PRIVATE, self.key.name, self.key.key_id.hex()))
        return f"{head}+{encode_base64(bytes([self.key.type]) + self._seed)}"

    def sign(self, text: str, *, at: datetime | None = None) -> bytes:
        """Return the signature over the text of a note. A cosigner says `at` what time, in whole seconds."""
        if (at is None) is self.key.cosigns:
            raise LocalProtocolError("a cosignature has a time, and no other signature has one", section=_COSIGNATURE)
        if at is None:
            return self._private.sign(_message(self.key, text, None))
        at = at.replace(microsecond=0)
        timestamp = encode_uint(int(at.timestamp()), _TIMESTAMP)
        return timestamp + self._private.sign(_message(self.key, text, at))

    def __repr__(self) -> str:
        return f"Signer({self.key.name!r})"


def cosigned_message(name: str, checkpoint: Checkpoint, timestamp: int, *, start: int = 0) -> bytes:
    """Return what an ML-DSA-44 cosigner signs of a checkpoint, or of the subtree from `start` (tlog-cosignature)."""
    return (
        b"subtree/v1\n\x00"
        + encode_vector(name.encode(), 1)
        + encode_uint(timestamp, _TIMESTAMP)
        + encode_vector(checkpoint.origin.encode(), 1)
        + encode_uint(start, 8)
        + encode_uint(checkpoint.size, 8)
        + checkpoint.root
    )


def _message(key: NoteKey, text: str, time: datetime | None) -> bytes:
    """Return what is signed of a text."""
    if time is None:
        return text.encode()
    timestamp = int(time.timestamp())
    checkpoint = Checkpoint.decode(text)  # only checkpoints are cosigned
    if key.type is KeyType.ML_DSA_44_COSIGNATURE:
        return cosigned_message(key.name, checkpoint, timestamp)
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _tree_head(name: str, text: str, timestamp: int) -> bytes:
    """Return what a Certificate Transparency log signs, which covers neither origin nor extensions (RFC 6962, 3.5)."""
    checkpoint = Checkpoint.decode(text)
    if checkpoint.origin != name or checkpoint.extensions:
        raise VerificationError(
            "a checkpoint says more than its signature covers", got=checkpoint.origin, want=name,
            section="C2SP static-ct-api, Checkpoints",
        )  # fmt: skip
    return struct.pack(">BBQQ", 0, 1, timestamp, checkpoint.size) + checkpoint.root


def _digitally_signed(reader: Reader) -> bytes:
    """Take an ECDSA signature with SHA-256 (RFC 5246, section 4.7)."""
    if reader.take(2) != b"\x04\x03":
        raise UnsupportedError("a tree head is signed with another algorithm", want="ECDSA with SHA-256")
    signature = reader.vector(2, limit=256)
    reader.finish()
    return signature


def _time(timestamp: int) -> datetime:
    if timestamp > _MAX_TIMESTAMP:
        raise DecodeError("a cosignature has a time that nobody lives to see", section=_COSIGNATURE)
    return datetime.fromtimestamp(timestamp, UTC)


def _typed(data: bytes) -> tuple[KeyType, bytes]:
    try:
        return KeyType(data[0]), data[1:]
    except (IndexError, ValueError) as exc:
        raise UnsupportedError("a key of a note is of a type that we do not know", section=_NOTE) from exc


# --- The primitives ---------------------------------------------------------------------------------------------------

_Public = ed25519.Ed25519PublicKey | mldsa.MLDSA44PublicKey | ec.EllipticCurvePublicKey


def _private(type_: KeyType, seed: bytes) -> ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey:
    match type_:
        case KeyType.ED25519 | KeyType.ED25519_COSIGNATURE:
            return ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        case KeyType.ML_DSA_44_COSIGNATURE:
            return mldsa.MLDSA44PrivateKey.from_seed_bytes(seed)
        case _:
            raise UnsupportedError("we do not sign notes with such a key", got=type_.name)


def _ed25519(data: bytes) -> _Public:
    try:
        return ed25519.Ed25519PublicKey.from_public_bytes(data)
    except ValueError as exc:
        raise DecodeError("a key is no Ed25519 key", got=f"{len(data)} bytes", want="32", section=_NOTE) from exc


def _ml_dsa_44(data: bytes) -> _Public:
    try:
        return mldsa.MLDSA44PublicKey.from_public_bytes(data)
    except ValueError as exc:
        raise DecodeError("a key is no ML-DSA-44 key", got=f"{len(data)} bytes", want="1312", section=_NOTE) from exc


def _ecdsa(data: bytes) -> _Public:
    try:
        key = load_der_public_key(data)
    except ValueError as exc:
        raise DecodeError("a key is no key in DER", section=_NOTE) from exc
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise DecodeError("a key is not on an elliptic curve", section=_NOTE)
    return key


_LOADERS: Final[Mapping[KeyType, Callable[[bytes], _Public]]] = {
    KeyType.ED25519: _ed25519,
    KeyType.ECDSA: _ecdsa,
    KeyType.ED25519_COSIGNATURE: _ed25519,
    KeyType.RFC6962: _ecdsa,
    KeyType.ML_DSA_44_COSIGNATURE: _ml_dsa_44,
}
