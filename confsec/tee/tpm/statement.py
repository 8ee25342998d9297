"""What a registrar states: that an AK and an endorsement key are in one TPM.

A statement is canonical CBOR, signed with Ed25519 (docs/spec/attestation.md, Registrars)::

    {"registrar": SHA-256 of the registrar's public key,
     "signature": Ed25519 over "confsec tpm ak statement v1" ‖ 0x00 ‖ statement,
     "statement": CBOR of {"version": 1, "ek_certificate": SHA-256 of the EK's certificate in DER,
                           "ak_name": the AK's name, "issued": seconds since 1970}}

It is public and holds no time but its own. A policy lists the registrars that it believes, by their public keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Self

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from confsec.errors import DecodeError, EvidenceError
from confsec.protocol import cbor

__all__ = ["MAX_STATEMENT", "AkStatement", "SignedAkStatement", "registrar_id"]

MAX_STATEMENT: Final = 1024
"""A signed statement has at most 1 KiB."""

_LABEL: Final = b"confsec tpm ak statement v1\x00"
_SECTION: Final = "docs/spec/attestation.md, Registrars"
_VERSION: Final = 1
_MAX_TIME: Final = 1 << 35
_MEMBERS: Final = ("version", "ek_certificate", "ak_name", "issued")
_SIGNED_MEMBERS: Final = ("registrar", "signature", "statement")


def registrar_id(public_key: bytes) -> bytes:
    """Return the name of a registrar: SHA-256 of its Ed25519 public key of 32 bytes."""
    return hashlib.sha256(public_key).digest()


@frozen(kw_only=True)
class AkStatement:
    """Credential activation has shown that the TPM with this endorsement key has an AK of this name."""

    ek_certificate: bytes
    """SHA-256 of the EK's certificate in DER."""

    ak_name: bytes
    """The AK's name: it hashes the key with all its attributes."""

    issued: datetime
    """When that was shown, to the second."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a statement. Raises `DecodeError`."""
        value = cbor.decode(data, what="an AK statement", limit=MAX_STATEMENT)
        members = cbor.as_map(value, what="an AK statement", keys=_MEMBERS)
        if members["version"] != _VERSION or members["version"] is True:
            raise DecodeError("an AK statement is of another version", want=_VERSION, section=_SECTION)
        ak_name = cbor.as_bytes(members["ak_name"], what="ak_name")
        if not 0 < len(ak_name) <= 66:
            raise DecodeError("an AK's name has another size", got=len(ak_name), want="1 to 66", section=_SECTION)
        issued = cbor.as_uint(members["issued"], what="issued")
        if issued >= _MAX_TIME:
            raise DecodeError("an AK statement is of a time too far away", got=issued, section=_SECTION)
        return cls(
            ek_certificate=cbor.as_bytes(members["ek_certificate"], what="ek_certificate", size=32),
            ak_name=ak_name,
            issued=datetime.fromtimestamp(issued, UTC),
        )

    def encode(self) -> bytes:
        return cbor.encode(
            {
                "version": _VERSION,
                "ek_certificate": self.ek_certificate,
                "ak_name": self.ak_name,
                "issued": int(self.issued.timestamp()),
            }
        )


@frozen(kw_only=True)
class SignedAkStatement:
    """A statement with the signature of whoever states it."""

    registrar: bytes
    """`registrar_id` of the key that signed."""

    statement: bytes
    """An `AkStatement`, as it was signed."""

    signature: bytes = field(repr=False)
    """Ed25519, 64 bytes."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a signed statement, and not yet what is in it. Raises `DecodeError` and `LimitError`."""
        value = cbor.decode(data, what="a signed AK statement", limit=MAX_STATEMENT)
        members = cbor.as_map(value, what="a signed AK statement", keys=_SIGNED_MEMBERS)
        return cls(
            registrar=cbor.as_bytes(members["registrar"], what="registrar", size=32),
            statement=cbor.as_bytes(members["statement"], what="statement"),
            signature=cbor.as_bytes(members["signature"], what="signature", size=64),
        )

    @classmethod
    def sign(cls, statement: AkStatement, *, public_key: bytes, sign: Callable[[bytes], bytes]) -> Self:
        """Sign a statement with an Ed25519 key, wherever `sign` keeps it."""
        encoded = statement.encode()
        return cls(registrar=registrar_id(public_key), statement=encoded, signature=sign(_LABEL + encoded))

    def encode(self) -> bytes:
        return cbor.encode({"registrar": self.registrar, "statement": self.statement, "signature": self.signature})

    def verify_signature(self, public_key: bytes) -> None:
        """Check the signature with a registrar's public key of 32 bytes. Raises `EvidenceError`."""
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(self.signature, _LABEL + self.statement)
        except (InvalidSignature, ValueError) as exc:
            raise EvidenceError("the signature of an AK statement is wrong", section=_SECTION) from exc
