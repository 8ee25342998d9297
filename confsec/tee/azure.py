"""What Azure's paravisor (OpenHCL) puts between hardware and guest: the HCL report and its runtime data.

::

    header (32): "HCLA" | version (4) | report size (4) | request type (4) | status (4) | reserved (12)
    hardware report (1184): an SNP report, or a TD report of 1024 bytes and zeros
    data size (4) | version (4) | report type (4) | hash (4) | size of the runtime data (4)
    runtime data: JSON

Integers are little-endian. The paravisor puts the hash of the runtime data, byte for byte, into the report data of the
hardware report, and what the guest wrote to the vTPM's index 0x01400002 into the member `user-data`. So it is the
paravisor's word that the AK is that of its vTPM, and that the guest wrote `user-data`.
"""

from __future__ import annotations

import hashlib
import re
import struct
from enum import Enum
from typing import Final, Self

from attrs import field, frozen

from confsec.errors import DecodeError, EvidenceError
from confsec.protocol import json_general
from confsec.protocol.json_general import JsonItem
from confsec.protocol.wire import decode_base64url
from confsec.tee.tpm.structures import PublicArea, RsaKey

__all__ = [
    "HARDWARE_REPORT_SIZE",
    "MAX_RUNTIME_DATA",
    "HclReport",
    "HclReportType",
    "JwkRsa",
    "RuntimeData",
    "azure_report_data",
]

HARDWARE_REPORT_SIZE: Final = 1184
"""The area of the hardware report: as long as a report of SEV-SNP."""

MAX_RUNTIME_DATA: Final = 16 << 10
"""Runtime data has at most 16 KiB."""

_SECTION: Final = "openhcl_attestation_protocol, igvm_attest"
_HEADER: Final = struct.Struct("<4sIIII12s")
_REQUEST: Final = struct.Struct("<IIIII")
_AK: Final = "HCLAkPub"
_SHA256: Final = 1


class HclReportType(Enum):
    """Which hardware report is inside."""

    SNP = 2
    TDX = 4


@frozen(kw_only=True)
class HclReport:
    """The report that a guest reads from the vTPM's index 0x01400001."""

    kind: HclReportType

    hardware_report: bytes = field(repr=False)
    """The area of the hardware report: 1184 bytes."""

    runtime_data: bytes = field(repr=False)
    """JSON, as it was hashed."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a report; what follows the runtime data is filler of the index. Raises `DecodeError`."""
        start = _HEADER.size + HARDWARE_REPORT_SIZE
        if len(data) < start + _REQUEST.size or data[:4] != b"HCLA":
            raise DecodeError("bytes are no HCL report", got=f"{len(data)} bytes", section=_SECTION)
        _, _, kind, hash_kind, size = _REQUEST.unpack_from(data, start)
        if kind not in {each.value for each in HclReportType} or hash_kind != _SHA256:
            raise DecodeError("an HCL report of another kind", got=f"type {kind}, hash {hash_kind}", section=_SECTION)
        start += _REQUEST.size
        if size > MAX_RUNTIME_DATA or start + size > len(data):
            raise DecodeError("an HCL report has runtime data of another size", got=size, section=_SECTION)
        return cls(
            kind=HclReportType(kind),
            hardware_report=data[_HEADER.size : _HEADER.size + HARDWARE_REPORT_SIZE],
            runtime_data=data[start : start + size],
        )


@frozen
class JwkRsa:
    """A public RSA key as the runtime data has it (RFC 7517)."""

    n: int
    e: int

    def is_key_of(self, public: PublicArea) -> bool:
        """Whether a TPM's public area is of this key. Its attributes are not part of the runtime data."""
        if not isinstance(public.key, RsaKey):
            return False
        return (self.n, self.e) == (int.from_bytes(public.key.modulus, "big"), public.key.exponent or 65537)


@frozen(kw_only=True)
class RuntimeData:
    """What the paravisor says of the guest."""

    ak: JwkRsa
    """The attestation key of its vTPM: `HCLAkPub`."""

    user_data: bytes
    """What the guest wrote: 64 bytes."""

    configuration: dict[str, JsonItem]
    """How the machine is set up: `secure-boot`, `tpm-enabled`, …"""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the JSON. Raises `DecodeError`, and `LimitError` for more than 16 KiB."""
        members = json_general.as_object(
            json_general.decode(data, what="runtime data", limit=MAX_RUNTIME_DATA), what="runtime data"
        )
        configuration = members.get("vm-configuration", {})
        return cls(
            ak=_ak(members.get("keys")),
            user_data=_user_data(members.get("user-data")),
            configuration=json_general.as_object(configuration, what="vm-configuration"),
        )


def azure_report_data(runtime_data: bytes) -> bytes:
    """Return what the paravisor has signed: SHA-256 of the runtime data as it came, and 32 zero bytes."""
    return hashlib.sha256(runtime_data).digest() + bytes(32)


def _ak(keys: JsonItem) -> JwkRsa:
    if not isinstance(keys, list):
        raise DecodeError("runtime data has no list of keys", section=_SECTION)
    named = [key for key in keys if isinstance(key, dict) and key.get("kid") == _AK]
    if len(named) != 1:
        raise EvidenceError("runtime data has not one attestation key", got=len(named), want=_AK, section=_SECTION)
    if named[0].get("kty") != "RSA":
        raise DecodeError("the attestation key in runtime data is no RSA key", section=_SECTION)
    return JwkRsa(n=_number(named[0].get("n")), e=_number(named[0].get("e")))


def _number(value: JsonItem) -> int:
    if not isinstance(value, str):
        raise DecodeError("a key in runtime data lacks a number", section="RFC 7518, section 6.3.1")
    return int.from_bytes(decode_base64url(value), "big")


def _user_data(value: JsonItem) -> bytes:
    """Return 64 bytes. The paravisor writes hex in capitals; its forerunner wrote small letters."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Fa-f]{128}", value):
        raise DecodeError("runtime data has no user-data of 64 bytes", section=_SECTION)
    return bytes.fromhex(value)
