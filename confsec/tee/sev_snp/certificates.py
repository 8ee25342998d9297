"""The certificates of SEV-SNP: AMD's roots, what a chip's certificate says, and the table that a host hands out.

A root (ARK) signs an intermediate (ASK for chips, ASVK for clouds), which signs the certificate of the key that signs
reports: a VCEK of one chip, or a VLEK of one cloud (AMD 57230).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, Self
from uuid import UUID

from attrs import frozen
from cryptography.hazmat import asn1

from confsec.errors import DecodeError, LimitError
from confsec.protocol.wire import decode_hex
from confsec.tee import der
from confsec.tee.sev_snp.evidence import Product, SigningKey, Tcb
from confsec.tee.x509 import Certificate, decode_chain, encode_chain

__all__ = [
    "AMD_ROOTS",
    "ARK_GUID",
    "ASK_GUID",
    "VCEK_GUID",
    "VLEK_GUID",
    "CertificateTable",
    "ChipCertificate",
    "kds_url",
]

AMD_ROOTS: Final[Mapping[str, bytes]] = {
    "amd-milan": decode_hex("69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"),
    "amd-genoa": decode_hex("4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"),
    "amd-turin": decode_hex("1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"),
}
"""SHA-256 of each ARK in DER, by the name that a policy may use for it (https://kdsintf.amd.com)."""

VCEK_GUID: Final = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
"""What the table of certificates calls that of a chip's key."""

VLEK_GUID: Final = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
"""… and that of a cloud's key."""

ASK_GUID: Final = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
"""… and the intermediate's."""

ARK_GUID: Final = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
"""… and the root's."""

_SECTION: Final = "AMD 57230, section 3"
_ARC: Final = "1.3.6.1.4.1.3704.1"
_PRODUCT_NAME: Final = f"{_ARC}.2"
_HWID: Final = f"{_ARC}.4"
_CSP_ID: Final = f"{_ARC}.5"
_LEVELS: Final = {"bootloader": 1, "tee": 2, "snp": 3, "microcode": 8}
_FMC: Final = 9
_RESERVED_LEVELS: Final = (4, 5, 6, 7)
_HWID_SIZES: Final = (8, 64)
_OCTET_STRING: Final = 0x04
_ENTRY: Final = struct.Struct("<16sII")
_MAX_ENTRIES: Final = 16
_MAX_TABLE: Final = 1 << 17


@frozen(kw_only=True)
class ChipCertificate:
    """What AMD says of a signing key in the extensions of its certificate (AMD 57230, table 8)."""

    product: Product

    tcb: Tcb
    """The level of firmware that the key belongs to. It cannot be had at a lower one."""

    hwid: bytes | None
    """The chip, in a VCEK: 64 bytes, for Turin 8."""

    csp_id: str | None
    """The cloud, in a VLEK."""

    @classmethod
    def of(cls, certificate: Certificate) -> Self:
        """Read the extensions. Raises `DecodeError` if one is missing, malformed, or not of this product."""
        name = _text(certificate, _PRODUCT_NAME)
        product = _product_named(name)
        has_fmc = f"{_ARC}.3.{_FMC}" in certificate.extensions
        if has_fmc != (product is Product.TURIN):
            raise DecodeError("a chip's certificate has the levels of another product", got=name, section=_SECTION)
        levels = _LEVELS | ({"fmc": _FMC} if has_fmc else {})
        if any(_level(certificate, number) for number in _RESERVED_LEVELS if _has_level(certificate, number)):
            raise DecodeError("a chip's certificate has a reserved level that is not zero", section=_SECTION)
        return cls(
            product=product,
            tcb=Tcb(**{part: _level(certificate, number) for part, number in levels.items()}),
            hwid=_hwid(certificate),
            csp_id=_text(certificate, _CSP_ID) if _CSP_ID in certificate.extensions else None,
        )


def kds_url(product: Product, key: SigningKey, *, hwid: bytes = b"", tcb: Tcb | None = None) -> str:
    """Return where AMD has the chain of a product, or with `hwid` and `tcb` the certificate of a chip (AMD 57230)."""
    path = f"https://kdsintf.amd.com/{key.name.lower()}/v1/{product.value}"
    if tcb is None:
        return f"{path}/cert_chain"
    levels = {"blSPL": tcb.bootloader, "teeSPL": tcb.tee, "snpSPL": tcb.snp, "ucodeSPL": tcb.microcode}
    if product is Product.TURIN:
        levels = {"fmcSPL": tcb.fmc, **levels}
        hwid = hwid[:8]
    return f"{path}/{hwid.hex()}?" + "&".join(f"{name}={level:02d}" for name, level in levels.items())


@frozen
class CertificateTable:
    """What a host gives its guests beside a report: the auxblob of configfs-tsm."""

    entries: Mapping[UUID, bytes]
    """Certificates in DER or PEM by what they are."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a table. What follows the certificates is filler. Raises `DecodeError` and `LimitError`."""
        if len(data) > _MAX_TABLE:
            raise LimitError("a table of certificates is too long", got=f"{len(data)} bytes")
        entries: dict[UUID, bytes] = {}
        for index in range(_MAX_ENTRIES):
            guid, offset, size = _entry(data, index)
            if not any(guid):
                return cls(entries)
            if offset + size > len(data) or UUID(bytes=guid) in entries:
                raise DecodeError("a table of certificates has an entry that it cannot have", section=_SECTION)
            entries[UUID(bytes=guid)] = data[offset : offset + size]
        raise LimitError("a table of certificates has too many entries", want=f"at most {_MAX_ENTRIES}")

    def encode(self) -> bytes:
        """Write a table."""
        offset = _ENTRY.size * (len(self.entries) + 1)
        head, body = b"", b""
        for guid, certificate in self.entries.items():
            head += _ENTRY.pack(guid.bytes, offset + len(body), len(certificate))
            body += certificate
        return head + bytes(_ENTRY.size) + body

    def chain(self) -> bytes:
        """Return the certificates as endorsements: DER, one after the other, the signing key's first."""
        found: list[Certificate] = []
        for guid in (VCEK_GUID, VLEK_GUID, ASK_GUID, ARK_GUID):
            found += decode_chain(self.entries.get(guid, b""))
        return encode_chain(found)


def _entry(data: bytes, index: int) -> tuple[bytes, int, int]:
    part = data[index * _ENTRY.size : (index + 1) * _ENTRY.size]
    if len(part) < _ENTRY.size:
        raise DecodeError("a table of certificates has no end", section=_SECTION)
    guid, offset, size = _ENTRY.unpack(part)
    return guid, offset, size


def _product_named(name: str) -> Product:
    """Return the product of a name such as `Milan-B0`."""
    for product in Product:
        if name.partition("-")[0] == product.value:
            return product
    raise DecodeError("a chip's certificate is of a product that we do not know", got=name[:32], section=_SECTION)


def _value(certificate: Certificate, oid: str) -> bytes:
    extension = certificate.extensions.get(oid)
    if extension is None:
        raise DecodeError("a chip's certificate lacks an extension", want=oid, section=_SECTION)
    return extension.value


def _text(certificate: Certificate, oid: str) -> str:
    return der.decode(_value(certificate, oid), asn1.IA5String, "a chip's certificate").as_str()


def _has_level(certificate: Certificate, number: int) -> bool:
    return f"{_ARC}.3.{number}" in certificate.extensions


def _level(certificate: Certificate, number: int) -> int:
    value = der.decode(_value(certificate, f"{_ARC}.3.{number}"), int, "a chip's certificate")
    if not 0 <= value <= 0xFF:
        raise DecodeError("a level in a chip's certificate is no byte", want="0 to 255", section=_SECTION)
    return value


def _hwid(certificate: Certificate) -> bytes | None:
    """Return the chip's id. AMD writes its bytes alone; some certificates have them in an OCTET STRING."""
    extension = certificate.extensions.get(_HWID)
    if extension is None:
        return None
    value = extension.value
    if len(value) - 2 in _HWID_SIZES and value[:2] == bytes((_OCTET_STRING, len(value) - 2)):
        value = value[2:]
    if len(value) not in _HWID_SIZES:
        raise DecodeError("the chip's id has another size", got=len(value), want="8 or 64", section=_SECTION)
    return value
