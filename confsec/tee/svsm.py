"""The services manifest of an SVSM: what runs at VMPL 0 beside the guest (AMD 58019, section 7).

::

    GUID 63849ebb-… (16) | size of all (4) | number of services (4)
    for each service: GUID (16) | offset (4) | size (4)
    the manifests of the services

Integers are little-endian, GUIDs in the mixed order of Microsoft. The SVSM has SHA-512(nonce ‖ manifest) signed as
report data, so whoever knows the nonce knows which manifest the report is about. The vTPM's own manifest is a
TPMT_PUBLIC. Which key it is, is up to the SVSM: it helps us only if it is the attestation key.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Final, Self
from uuid import UUID

from attrs import frozen

from confsec.errors import DecodeError, EvidenceError, LimitError

__all__ = ["MAX_MANIFEST", "SERVICES_MANIFEST_GUID", "VTPM_GUID", "ServicesManifest", "svsm_report_data"]

SERVICES_MANIFEST_GUID: Final = UUID("63849ebb-3d92-4670-a1ff-58f9c94b87bb")
"""What a services manifest begins with."""

VTPM_GUID: Final = UUID("c476f1eb-0123-45a5-9641-b4e7dde5bfe3")
"""The service that is a TPM."""

MAX_MANIFEST: Final = 16 << 10
"""A manifest has at most 16 KiB."""

_SECTION: Final = "AMD 58019, section 7"
_ENTRY: Final = struct.Struct("<16sII")


@frozen
class ServicesManifest:
    """The services of an SVSM, each with what it says of itself."""

    services: Mapping[UUID, bytes]
    """The manifests by service, in their order."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a manifest whose parts follow one another without gaps. Raises `DecodeError` and `LimitError`."""
        if len(data) > MAX_MANIFEST:
            raise LimitError(
                "a services manifest is too long", got=f"{len(data)} bytes", want=f"at most {MAX_MANIFEST}"
            )
        guid, size, count = _entry(data, 0)
        if UUID(bytes_le=guid) != SERVICES_MANIFEST_GUID or size != len(data):
            raise DecodeError("bytes are no services manifest", got=f"{len(data)} bytes", section=_SECTION)
        services: dict[UUID, bytes] = {}
        expected = _ENTRY.size * (count + 1)
        for index in range(1, count + 1):
            guid, offset, size = _entry(data, index)
            service = UUID(bytes_le=guid)
            if service in services or offset != expected or offset + size > len(data):
                raise DecodeError("a services manifest has an entry that it cannot have", section=_SECTION)
            services[service] = data[offset : offset + size]
            expected += size
        if expected != len(data):
            raise DecodeError("a services manifest has bytes of no service", section=_SECTION)
        return cls(services)

    def encode(self) -> bytes:
        """Write the manifest."""
        offset = _ENTRY.size * (len(self.services) + 1)
        size = offset + sum(map(len, self.services.values()))
        head = _ENTRY.pack(SERVICES_MANIFEST_GUID.bytes_le, size, len(self.services))
        for service, manifest in self.services.items():
            head += _ENTRY.pack(service.bytes_le, offset, len(manifest))
            offset += len(manifest)
        return head + b"".join(self.services.values())

    @property
    def vtpm_key(self) -> bytes:
        """The TPMT_PUBLIC that the vTPM says is its key. Raises `EvidenceError` where there is no vTPM."""
        key = self.services.get(VTPM_GUID)
        if key is None:
            raise EvidenceError("the SVSM has no vTPM", want=str(VTPM_GUID), section=_SECTION)
        return key


def svsm_report_data(nonce: bytes, manifest: bytes) -> bytes:
    """Return what an SVSM has signed for a nonce of 64 bytes: SHA-512 of it and the manifest."""
    return hashlib.sha512(nonce + manifest).digest()


def _entry(data: bytes, index: int) -> tuple[bytes, int, int]:
    part = data[index * _ENTRY.size : (index + 1) * _ENTRY.size]
    if len(part) < _ENTRY.size:
        raise DecodeError("a services manifest ends early", got=f"{len(data)} bytes", section=_SECTION)
    guid, first, second = _ENTRY.unpack(part)
    return guid, first, second
