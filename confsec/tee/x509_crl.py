"""Revocation lists (RFC 5280, section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Self

from attrs import field, frozen
from cryptography.hazmat import asn1

from confsec.errors import DecodeError, LimitError
from confsec.tee.der import encode, parse
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

_TRUE: Final = b"\x01\x01\xff"
"""TRUE: what makes an extension critical. Where it is not, no entry needs to be read for that."""

_MAX_CRITICAL_ENTRIES: Final = 64


@asn1.sequence
class _TbsCertList:
    version: int | None
    signature_algorithm: asn1.TLV
    issuer: asn1.TLV
    this_update: asn1.UTCTime | asn1.GeneralizedTime
    next_update: asn1.UTCTime | asn1.GeneralizedTime
    revoked: list[asn1.TLV] | None
    extensions: Annotated[list[ExtensionSyntax] | None, asn1.Explicit(0)]


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

    entries: Sequence[asn1.TLV] = field(repr=False, eq=False, hash=False)
    """The revoked certificates, each still to be read."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a revocation list in DER or PEM. Raises `DecodeError`, and `LimitError` for more than 1 MiB of DER."""
        if is_pem(data):
            data = _only(pem_blocks(data, "X509 CRL", limit=2 * MAX_CRL))
        signed = decode_signed(data, what="a revocation list", limit=MAX_CRL)
        tbs = parse(signed.tbs, _TbsCertList, "a revocation list")
        if tbs.version != 1:
            raise DecodeError("a revocation list is of another version", want=2, section="RFC 5280, section 5.1")
        return cls(
            encoded=data,
            tbs=encode(signed.tbs),
            issuer=decode_name(encode(tbs.issuer)),
            this_update=tbs.this_update.as_datetime(),
            next_update=tbs.next_update.as_datetime(),
            signature_algorithm=same_algorithm(signed, tbs.signature_algorithm, "a revocation list"),
            signature=whole_bytes(signed.signature, "a revocation list"),
            extensions=decode_extensions(tbs.extensions, "a revocation list"),
            entries=tuple(tbs.revoked or ()),
        )

    @property
    def revoked_serials(self) -> frozenset[int]:
        """All serial numbers that are revoked. Raises `DecodeError`."""
        return frozenset(parse(entry, _RevokedCertificate, "a revocation list").serial for entry in self.entries)

    @property
    def critical_entry_extensions(self) -> frozenset[str]:
        """The critical extensions of entries. Raises `DecodeError`, and `LimitError` for more than 64 such entries."""
        if _TRUE not in self.tbs:
            return frozenset()
        entries = [entry for entry in self.entries if _TRUE in bytes(entry.data)]
        if len(entries) > _MAX_CRITICAL_ENTRIES:
            raise LimitError("a revocation list has too many entries with critical extensions", got=len(entries))
        parsed = (parse(entry, _RevokedCertificate, "a revocation list").extensions for entry in entries)
        return frozenset(each.oid.dotted_string for found in parsed for each in found or () if each.critical)

    def entry_for(self, serial: int) -> asn1.TLV | None:
        """Return the entry of the certificate with this serial number, or None if it is not revoked."""
        start = asn1.encode_der(serial)
        size = len(start)
        return next((entry for entry in self.entries if entry.data[:size] == start), None)


def _only(blocks: Sequence[bytes]) -> bytes:
    if len(blocks) != 1:
        raise DecodeError("a PEM file has another number of blocks", got=len(blocks), want=1)
    return blocks[0]
