"""Signed envelopes: DSSE, version 1 (secure-systems-lab/dsse, protocol.md and envelope.md).

What is signed is the type of the payload and its bytes, so an envelope may be written in many ways and means one thing:
whoever needs an identity takes the digest of the payload, never of the envelope. An envelope is verified against exact
keys. What it calls its keys nobody signed, so that is only the order in which we try them.

ECDSA signatures are r and s of 32 bytes each, as in the standard's own example. Signatures in DER, as Sigstore writes
them, come in bundles, and those are read elsewhere.

An envelope has the members of the standard and no others, so that nobody can put a second one into it that others read
in its place. There we are stricter than the standard: docs/spec/statements.md, Envelope.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, Self, final

from attrs import evolve, field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from confsec.errors import DecodeError, UnsupportedError, VerificationError
from confsec.protocol import json_general
from confsec.protocol.json_members import list_of, members_of, text_of
from confsec.protocol.signatures import ALGORITHMS, SignatureAlgorithm, SigningKey, sign, verify_signature
from confsec.protocol.wire import decode_base64, decode_base64url_padded, encode_base64

__all__ = ["MAX_ENVELOPE", "MAX_SIGNATURES", "DsseKey", "DsseSignature", "Envelope", "pae"]

MAX_ENVELOPE: Final = 1 << 20
"""An envelope has at most 1 MiB: a directory of 256 KiB in base64, or a model of some thousand files."""

MAX_SIGNATURES: Final = 16
"""Signatures of one envelope: each is tried with each key."""

_MAX_NAME: Final = 255
_MAX_SIGNATURE: Final = 8192  # those of others may be RSA or ML-DSA
_ENVELOPE: Final = "DSSE, envelope.md"
_MEMBERS: Final = ("payload", "payloadType", "signatures")
_PROTOCOL: Final = "DSSE, protocol.md"

_Public = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed: the type and the payload behind their lengths in bytes (protocol.md, PAE)."""
    type_ = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(type_), type_, len(payload), payload)


@final
@frozen
class DsseKey:
    """A public key that signs envelopes: Ed25519, or ECDSA on P-256 with SHA-256."""

    name: str
    """What we call its holder. An exact name, which nobody but us has to know."""

    spki: bytes = field(repr=False)
    """The key as DER of its SubjectPublicKeyInfo, in the one spelling that we write."""

    def __attrs_post_init__(self) -> None:
        if not 0 < len(self.name) <= _MAX_NAME or not self.name.isprintable():
            raise DecodeError("a key has no name, or one that cannot be shown", want=f"1 to {_MAX_NAME} characters")
        if _spki(self._public()) != self.spki:
            raise DecodeError("a key is not in its one spelling", section="RFC 5480, section 2")

    @classmethod
    def of(cls, name: str, key: SigningKey) -> Self:
        """Return the public half of a key. Raises `UnsupportedError` for other curves."""
        return cls(name, _spki(key.public_key()))

    @property
    def key_id(self) -> str:
        """SHA-256 of the SubjectPublicKeyInfo in hex: what we write as `keyid`."""
        return sha256(self.spki).hexdigest()

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check a signature. Raises `VerificationError`."""
        key = self._public()
        verify_signature(_algorithm(key), key, signature=signature, message=message)

    def _public(self) -> _Public:
        try:
            key = load_der_public_key(self.spki)
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise DecodeError("a key is no key in DER", got=f"{len(self.spki)} bytes") from exc
        if isinstance(key, ed25519.Ed25519PublicKey):
            return key
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return key
        raise UnsupportedError("a key does not sign envelopes here", want="Ed25519 or ECDSA on P-256")


@final
@frozen
class DsseSignature:
    """A signature of an envelope, verified or not."""

    signature: bytes = field(repr=False)

    key_id: str = ""
    """What the signer calls the key. A hint that nobody signed; empty for none."""

    @classmethod
    def from_json(cls, value: json_general.JsonItem) -> Self:
        """Read it: a `sig`, perhaps a `keyid`, and nothing else. Raises `DecodeError` and `LimitError`."""
        members = {"keyid": "", **json_general.as_object(value, what="a signature")}
        members = members_of(members, "a signature", ("keyid", "sig"))
        key_id = text_of(members["keyid"], "a keyid", limit=_MAX_NAME)
        return cls(_base64(text_of(members["sig"], "a signature", limit=_MAX_SIGNATURE)), key_id)

    def to_json(self) -> dict[str, json_general.JsonItem]:
        """Write it: without `keyid` where there is none."""
        hint: dict[str, json_general.JsonItem] = {"keyid": self.key_id} if self.key_id else {}
        return {**hint, "sig": encode_base64(self.signature)}


@final
@frozen
class Envelope:
    """An envelope as it was read: nothing in it is verified yet."""

    payload_type: str
    """What the payload is: it is signed with it."""

    payload: bytes = field(repr=False)

    signatures: tuple[DsseSignature, ...] = ()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the JSON envelope. Raises `DecodeError` and `LimitError`.

        "Either standard or URL-safe base64 encodings are allowed" (protocol.md), so there are several spellings. But
        other members, which the standard wants to be ignored (envelope.md, Parsing rules), are refused.
        """
        value = json_general.decode(data, what="an envelope", limit=MAX_ENVELOPE)
        members = members_of(value, "an envelope", _MEMBERS)
        payload_type = text_of(members["payloadType"], "a payload type", limit=_MAX_NAME)
        payload = _base64(text_of(members["payload"], "a payload", limit=MAX_ENVELOPE))
        signatures = list_of(members["signatures"], "signatures", limit=MAX_SIGNATURES, least=1)
        return cls(payload_type, payload, tuple(map(DsseSignature.from_json, signatures)))

    def encode(self) -> bytes:
        """Write the JSON envelope. Raises `DecodeError` for one that nobody signed."""
        if not self.signatures:
            raise DecodeError("an envelope without a signature is none", section=_ENVELOPE)
        return json_general.encode(
            {
                "payload": encode_base64(self.payload),
                "payloadType": self.payload_type,
                "signatures": [each.to_json() for each in self.signatures],
            }
        )

    def sign(self, key: SigningKey) -> Self:
        """Return the envelope with one more signature. Raises `UnsupportedError` for a key on another curve."""
        key_id = DsseKey.of("signer", key).key_id
        signature = sign(_algorithm(key.public_key()), key, pae(self.payload_type, self.payload))
        return evolve(self, signatures=(*self.signatures, DsseSignature(signature, key_id)))

    def verify(self, keys: Iterable[DsseKey], *, threshold: int = 1) -> tuple[DsseKey, ...]:
        """Return those of `keys` that signed, in their order; one key under two names counts once.

        Signatures of others are passed over. Raises `VerificationError` if fewer than `threshold` signed; then the
        payload means nothing (protocol.md, Multi-signature Verification).
        """
        message = pae(self.payload_type, self.payload)
        unique: dict[bytes, DsseKey] = {}
        for key in keys:
            unique.setdefault(key.spki, key)
        signed = tuple(key for key in unique.values() if self._is_signed_by(key, message))
        if len(signed) < max(threshold, 1):
            raise VerificationError(
                "too few of the keys that count signed the envelope",
                got=len(signed), want=f"at least {max(threshold, 1)}", section=_PROTOCOL,
            )  # fmt: skip
        return signed

    def _is_signed_by(self, key: DsseKey, message: bytes) -> bool:
        for each in sorted(self.signatures[:MAX_SIGNATURES], key=lambda each: each.key_id != key.key_id):
            try:
                key.verify(each.signature, message)
            except VerificationError:
                continue
            return True
        return False


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise UnsupportedError("a key does not sign envelopes here", want="Ed25519 or ECDSA on P-256")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _algorithm(key: _Public) -> SignatureAlgorithm:
    return ALGORITHMS["ESP256" if isinstance(key, ec.EllipticCurvePublicKey) else "Ed25519"]


def _base64(text: str) -> bytes:
    """Decode either alphabet, and of each its one spelling (protocol.md, Protocol)."""
    return decode_base64url_padded(text) if "-" in text or "_" in text else decode_base64(text)
