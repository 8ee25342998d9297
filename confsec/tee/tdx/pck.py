"""What Intel writes about a platform into its PCK certificate: the SGX extension (1.2.840.113741.1.13.1).

The numbers that decide which TCB level a platform has come from here, where Intel signed them, and not from what the
platform says of itself.
"""

from __future__ import annotations

from typing import Final, Self

from attrs import frozen
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from confsec.errors import DecodeError, EvidenceError, LimitError
from confsec.tee import der
from confsec.tee.x509 import Certificate

__all__ = ["SGX_EXTENSION", "PckExtension"]

SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
"""The object identifier of the extension; each of its parts has one below it."""

_SECTION: Final = "Intel SGX PCK Certificate and CRL Profile, section 1.3.5"
_TCB: Final = f"{SGX_EXTENSION}.2"
_CONFIGURATION: Final = f"{SGX_EXTENSION}.7"
_COMPONENTS: Final = 16
_MAX_SIZE: Final = 4096  # Intel's has 554 bytes

_WHAT: Final = "the SGX extension"


@asn1.sequence
class _Pair:
    oid: ObjectIdentifier
    value: asn1.TLV


@asn1.sequence
class _Pairs:
    """SEQUENCE { SEQUENCE OF _Pair }: the library reads lists inside of sequences only."""

    pairs: list[_Pair]


@frozen(kw_only=True)
class PckExtension:
    """What a PCK certificate says of its platform."""

    ppid: bytes
    """The id of the platform: 16 bytes, the same in all its certificates."""

    components: tuple[int, ...]
    """SVNs of the 16 components of the SGX TCB, each 0 to 255."""

    pce_svn: int
    """SVN of the provisioning certification enclave."""

    cpu_svn: bytes
    """The CPUSVN as the processor has it: 16 bytes."""

    pce_id: bytes
    """2 bytes."""

    fmspc: bytes
    """Family, model, stepping, platform type and custom SKU: 6 bytes. It selects the TCB info."""

    sgx_type: int
    """0 standard, 1 scalable, 2 scalable with integrity."""

    platform_instance_id: bytes | None = None
    """16 bytes; only under the Platform CA, as are the flags below."""

    dynamic_platform: bool | None = None
    """Processors may be added to the platform."""

    cached_keys: bool | None = None
    """Intel keeps the platform's root keys."""

    smt_enabled: bool | None = None
    """Two threads may share a core."""

    @classmethod
    def of(cls, certificate: Certificate) -> Self:
        """Read the extension of a PCK certificate. Raises `EvidenceError` if it has none, and `DecodeError`."""
        extension = certificate.extensions.get(SGX_EXTENSION)
        if extension is None:
            raise EvidenceError("the certificate is no PCK certificate", want=SGX_EXTENSION, section=_SECTION)
        return cls.decode(extension.value)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the extension from DER. Parts that we do not know are passed over: Intel adds some."""
        parts = _pairs(data)
        tcb = _pairs(der.encode(_part(parts, _TCB)))
        flags = _pairs(der.encode(parts[_CONFIGURATION])) if _CONFIGURATION in parts else {}
        instance = f"{SGX_EXTENSION}.6"
        return cls(
            ppid=_octets(parts, f"{SGX_EXTENSION}.1", 16),
            components=tuple(_svn(tcb, f"{_TCB}.{index}", 0xFF) for index in range(1, _COMPONENTS + 1)),
            pce_svn=_svn(tcb, f"{_TCB}.17", 0xFFFF),
            cpu_svn=_octets(tcb, f"{_TCB}.18", 16),
            pce_id=_octets(parts, f"{SGX_EXTENSION}.3", 2),
            fmspc=_octets(parts, f"{SGX_EXTENSION}.4", 6),
            sgx_type=_enumerated(parts, f"{SGX_EXTENSION}.5"),
            platform_instance_id=_octets(parts, instance, 16) if instance in parts else None,
            dynamic_platform=_flag(flags, f"{_CONFIGURATION}.1"),
            cached_keys=_flag(flags, f"{_CONFIGURATION}.2"),
            smt_enabled=_flag(flags, f"{_CONFIGURATION}.3"),
        )


def _pairs(data: bytes) -> dict[str, asn1.TLV]:
    """Read a SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, ANY }. An identifier may stand in it once."""
    if len(data) > _MAX_SIZE:
        raise LimitError("the SGX extension is too long", got=f"{len(data)} bytes", want=f"at most {_MAX_SIZE}")
    pairs = der.decode(der.encode_tlv(0x30, data), _Pairs, _WHAT).pairs
    found = {pair.oid.dotted_string: pair.value for pair in pairs}
    if len(found) != len(pairs):
        raise DecodeError("the SGX extension has a part twice", section=_SECTION)
    return found


def _part(parts: dict[str, asn1.TLV], oid: str) -> asn1.TLV:
    if oid not in parts:
        raise DecodeError("the SGX extension lacks a part", want=oid, section=_SECTION)
    return parts[oid]


def _octets(parts: dict[str, asn1.TLV], oid: str, size: int) -> bytes:
    value = der.parse(_part(parts, oid), bytes, _WHAT)
    if len(value) != size:
        raise DecodeError("the SGX extension has a part of another size", got=len(value), want=size, section=_SECTION)
    return value


def _svn(parts: dict[str, asn1.TLV], oid: str, maximum: int) -> int:
    value = der.parse(_part(parts, oid), int, _WHAT)
    if not 0 <= value <= maximum:
        raise DecodeError("the SGX extension has an SVN that is none", want=f"0 to {maximum}", section=_SECTION)
    return value


def _enumerated(parts: dict[str, asn1.TLV], oid: str) -> int:
    """Read an ENUMERATED of one byte."""
    value = der.encode(_part(parts, oid))
    if len(value) != 3 or value[:2] != b"\x0a\x01" or value[2] > 0x7F:
        raise DecodeError("the SGX extension has a type that is none", section=_SECTION)
    return value[2]


def _flag(parts: dict[str, asn1.TLV], oid: str) -> bool | None:
    return der.parse(parts[oid], bool, _WHAT) if oid in parts else None
