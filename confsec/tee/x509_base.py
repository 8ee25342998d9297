"""What certificates and revocation lists have in common: SIGNED{}, extensions, and PEM (RFC 5280; RFC 7468)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Final

from attrs import field, frozen
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from confsec.errors import DecodeError, EvidenceError, LimitError
from confsec.protocol.wire import decode_base64
from confsec.tee.der import decode, encode

__all__ = [
    "MAX_EXTENSIONS",
    "Extension",
    "ExtensionSyntax",
    "Signed",
    "decode_extensions",
    "decode_signed",
    "is_pem",
    "pem_blocks",
    "same_algorithm",
    "verify_no_critical",
    "whole_bytes",
]

MAX_EXTENSIONS: Final = 64
"""A certificate or a list has at most 64 extensions. AMD's certificates have 13."""

_SECTION: Final = "RFC 5280, section 4.1"
_WHITE: Final = b" \t\r\n"
_WITHOUT_WHITE: Final = re.compile(rb"[ \t\r\n]+")


@asn1.sequence
class Signed:
    """SIGNED{} (RFC 5280, sections 4.1 and 5.1): a certificate or a revocation list."""

    tbs: asn1.TLV
    signature_algorithm: asn1.TLV
    signature: asn1.BitString


@asn1.sequence
class ExtensionSyntax:
    """An extension, as the standard declares it (RFC 5280, section 4.1)."""

    oid: ObjectIdentifier
    critical: Annotated[bool, asn1.Default(value=False)]
    value: bytes


@frozen
class Extension:
    """An extension of a certificate or a revocation list."""

    critical: bool
    """Who does not know it has to refuse the certificate."""

    value: bytes = field(repr=False)
    """The value in DER, in most cases."""


def decode_signed(data: bytes, *, what: str, limit: int) -> Signed:
    """Take SIGNED{} apart. Raises `DecodeError`, and `LimitError` for more than `limit` bytes."""
    if len(data) > limit:
        raise LimitError(f"{what} is too long", got=f"{len(data)} bytes", want=f"at most {limit}")
    return decode(data, Signed, what)


def same_algorithm(signed: Signed, inside: asn1.TLV, what: str) -> bytes:
    """Return the AlgorithmIdentifier. "This field MUST contain the same algorithm identifier" as the signed part."""
    algorithm = encode(signed.signature_algorithm)
    if algorithm != encode(inside):
        raise DecodeError(f"{what} names two algorithms", section="RFC 5280, section 4.1.1.2")
    return algorithm


def whole_bytes(bits: asn1.BitString, what: str) -> bytes:
    """Return the bytes of a signature. Raises `DecodeError` if it is no whole number of them."""
    if bits.padding_bits():
        raise DecodeError(f"{what} has a signature that is no whole number of bytes", section=_SECTION)
    return bits.as_bytes()


def decode_extensions(extensions: list[ExtensionSyntax] | None, what: str) -> dict[str, Extension]:
    """Return extensions by object identifier. Raises `DecodeError` for one that is there twice, and `LimitError`."""
    if extensions is not None and len(extensions) > MAX_EXTENSIONS:
        raise LimitError(f"{what} has too many extensions", got=len(extensions), want=f"at most {MAX_EXTENSIONS}")
    found: dict[str, Extension] = {}
    for extension in extensions or ():
        oid = extension.oid.dotted_string
        if oid in found:
            raise DecodeError(f"{what} has an extension twice", got=oid, section="RFC 5280, section 4.2")
        found[oid] = Extension(extension.critical, extension.value)
    return found


def verify_no_critical(extensions: Mapping[str, Extension], known: Collection[str], what: str) -> None:
    """Check that no extension is critical beside those known. Raises `EvidenceError`."""
    unknown = sorted(oid for oid, extension in extensions.items() if extension.critical and oid not in known)
    if unknown:
        raise EvidenceError(
            f"{what} has a critical extension that we do not know",
            got=", ".join(unknown),
            section="RFC 5280, section 4.2",
        )


def pem_blocks(data: bytes, label: str, *, limit: int) -> tuple[bytes, ...]:
    """Return the contents of a PEM file that has only blocks of one label, in order (RFC 7468).

    `limit` is for the whole file, in bytes. Raises `DecodeError` for anything else between them than white space.
    """
    if len(data) > limit:
        raise LimitError("a PEM file is too long", got=f"{len(data)} bytes", want=f"at most {limit}")
    begin, end = f"-----BEGIN {label}-----".encode(), f"-----END {label}-----".encode()
    data = data.strip(_WHITE)
    blocks: list[bytes] = []
    at = 0
    while at < len(data):
        stop = data.find(end, at)
        if not data.startswith(begin, at) or stop < 0:
            raise DecodeError("bytes are not PEM", want=label, section="RFC 7468, section 3")
        body = _WITHOUT_WHITE.sub(b"", data[at + len(begin) : stop])
        blocks.append(decode_base64(body.decode("latin-1")))
        after = _WITHOUT_WHITE.match(data, stop + len(end))
        at = after.end() if after else stop + len(end)
    return tuple(blocks)


def is_pem(data: bytes) -> bool:
    """Tell whether bytes begin as PEM does."""
    return data.lstrip(_WHITE).startswith(b"-----BEGIN ")
