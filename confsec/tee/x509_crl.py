"""Revocation lists (RFC 5280, section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Self

from attrs import field, frozen
from cryptography.hazmat import asn1

from confsec.errors import DecodeError, LimitError
from confsec.tee.der import decode, encode, encode_tlv, header_size, split_elements
from confsec.tee.x509_base import (
    Extension,
    ExtensionSyntax,
    decode_extensions,
    decode_signed,
    is_pem,
    pem_blocks,
    same_algorithm,
    whole_bytes,
)
from confsec.tee.x509_names import Name, decode_name

__all__ = ["MAX_CRL", "RevocationList"]

MAX_CRL: Final = 1 << 20
"""A revocation list has at most 1 MiB."""

_WHAT: Final = "a revocation list"
_TRUE: Final = b"\x01\x01\xff"
"""TRUE: what makes an extension critical. Where it is not, no entry needs to be read for that."""

_MAX_CRITICAL_ENTRIES: Final = 64

_MAX_REVOKED: Final = 1 << 16
"""A list of a megabyte has fewer entries that say anything."""

_MAX_EXTENSIONS: Final = 16 << 10
"""All extensions of a list have at most 16 KiB together. Nobody has signed them yet when they are read."""

_SEQUENCE: Final = 0x30
_EXTENSIONS: Final = 0xA0
_HEAD: Final = 5
"""What stands before the entries: version, algorithm, issuer and two times."""


@asn1.sequence
class _Head:
    version: int
    signature_algorithm: asn1.TLV
    issuer: asn1.TLV
    this_update: asn1.UTCTime | asn1.GeneralizedTime
    next_update: asn1.UTCTime | asn1.GeneralizedTime


@asn1.sequence
class _Extensions:
    """SEQUENCE { Extensions }, of which the outer one stands for the tag [0]."""

    extensions: list[ExtensionSyntax]


@asn1.sequence
class _RevokedCertificate:
    serial: int
    date: asn1.UTCTime | asn1.GeneralizedTime
    extensions: list[ExtensionSyntax] | None


@frozen(kw_only=True)
class RevocationList:
    """A revocation list (RFC 5280, section 5). Its entries are read only when somebody asks for one."""

    encoded: bytes = field(repr=False)
    """The list in DER."""

    tbs: bytes = field(repr=False)
    """What is signed, as it came."""

    issuer: Name

    this_update: datetime
    """When it was issued."""

    next_update: datetime
    """When the next one is due: after that, this one says nothing."""

    signature_algorithm: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    extensions: Mapping[str, Extension] = field(hash=False)
    """The extensions by object identifier."""

    entries: tuple[bytes, ...] = field(repr=False, eq=False, hash=False)
    """The revoked certificates in DER, each still to be read."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a revocation list in DER or PEM. Raises `DecodeError`, and `LimitError` for more than 1 MiB of DER."""
        if is_pem(data):
            data = _only(pem_blocks(data, "X509 CRL", limit=2 * MAX_CRL))
        signed = decode_signed(data, what=_WHAT, limit=MAX_CRL)
        parts = list(split_elements(bytes(signed.tbs.data), limit=_HEAD + 2))
        extensions = parts.pop() if parts and parts[-1][0] == _EXTENSIONS else b""
        revoked = parts.pop() if len(parts) > _HEAD else b""
        tbs = decode(encode_tlv(_SEQUENCE, b"".join(parts)), _Head, _WHAT)
        if tbs.version != 1:
            raise DecodeError("a revocation list is of another version", want=2, section="RFC 5280, section 5.1")
        return cls(
            encoded=data,
            tbs=encode(signed.tbs),
            issuer=decode_name(encode(tbs.issuer)),
            this_update=tbs.this_update.as_datetime(),
            next_update=tbs.next_update.as_datetime(),
            signature_algorithm=same_algorithm(signed, tbs.signature_algorithm, _WHAT),
            signature=whole_bytes(signed.signature, _WHAT),
            extensions=_decode_extensions(extensions),
            entries=_split_entries(revoked),
        )

    @property
    def revoked_serials(self) -> frozenset[int]:
        """All serial numbers that are revoked. Raises `DecodeError`."""
        return frozenset(decode(entry, _RevokedCertificate, _WHAT).serial for entry in self.entries)

    @property
    def critical_entry_extensions(self) -> frozenset[str]:
        """The critical extensions of entries. Raises `DecodeError`, and `LimitError` for more than 64 such entries."""
        if _TRUE not in self.tbs:
            return frozenset()
        entries = [entry for entry in self.entries if _TRUE in entry]
        if len(entries) > _MAX_CRITICAL_ENTRIES:
            raise LimitError("a revocation list has too many entries with critical extensions", got=len(entries))
        parsed = (decode(entry, _RevokedCertificate, _WHAT).extensions for entry in entries)
        return frozenset(each.oid.dotted_string for found in parsed for each in found or () if each.critical)

    def entry_for(self, serial: int) -> bytes | None:
        """Return the entry of the certificate with this serial number, or None if it is not revoked."""
        start = asn1.encode_der(serial)
        if start not in self.tbs:
            return None
        return next((entry for entry in self.entries if entry.startswith(start, header_size(entry))), None)


def _split_entries(revoked: bytes) -> tuple[bytes, ...]:
    """Take the list apart, and the entries not yet."""
    if not revoked:
        return ()
    if revoked[0] != _SEQUENCE:
        raise DecodeError("a revocation list has no list of entries", section="RFC 5280, section 5.1")
    return split_elements(bytes(decode(revoked, asn1.TLV, _WHAT).data), limit=_MAX_REVOKED)


def _decode_extensions(part: bytes) -> dict[str, Extension]:
    if not part:
        return {}
    if len(part) > _MAX_EXTENSIONS:
        raise LimitError(f"{_WHAT} has extensions that are too long", got=f"{len(part)} bytes")
    content = bytes(decode(part, asn1.TLV, _WHAT).data)
    return decode_extensions(decode(encode_tlv(_SEQUENCE, content), _Extensions, _WHAT).extensions, _WHAT)


def _only(blocks: Sequence[bytes]) -> bytes:
    if len(blocks) != 1:
        raise DecodeError("a PEM file has another number of blocks", got=len(blocks), want=1)
    return blocks[0]
