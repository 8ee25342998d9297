"""The attestation report of SEV-SNP, and the levels of firmware that it names (AMD 56860, table 23).

All integers are little-endian. Bytes 0 to 0x29F are signed; behind them are R and S, and what has to be zero. Decoding
takes any 1184 bytes: which of them are allowed, the checks of the verifier say one by one.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final, Self

from attrs import frozen

from confsec.errors import DecodeError, EvidenceError

__all__ = [
    "MEASUREMENT_SIZE",
    "PLATFORM_BITS",
    "POLICY_BITS",
    "REPORT_SIZE",
    "SIGNED_SIZE",
    "VERSIONS",
    "AttestationReport",
    "FirmwareVersion",
    "Product",
    "SigningKey",
    "Tcb",
    "decode_tcb",
    "encode_tcb",
    "possible_products",
]

REPORT_SIZE: Final = 1184
"""A report has 0x4A0 bytes."""

SIGNED_SIZE: Final = 0x2A0
"""The signature is over the first 672 bytes."""

MEASUREMENT_SIZE: Final = 48
"""A launch measurement is a SHA-384."""

VERSIONS: Final = range(2, 6)
"""The versions of reports that we know. 3 brought the CPUID, 5 the mitigation vectors."""

POLICY_BITS: Final = {
    "smt": 16,
    "migrate_ma": 18,
    "debug": 19,
    "single_socket": 20,
    "cxl": 21,
    "mem_aes_256_xts": 22,
    "rapl_disabled": 23,
    "ciphertext_hiding": 24,
    "page_swap_disabled": 25,
}
"""The bits of the guest policy, by name (AMD 56860, table 9). Bit 17 is always set, bits 0 to 15 are the ABI."""

PLATFORM_BITS: Final = {
    "smt": 0,
    "tsme": 1,
    "ecc": 2,
    "rapl_disabled": 3,
    "ciphertext_hiding": 4,
    "alias_check_complete": 5,
    "iommu_write_safe": 6,
    "tio": 7,
}
"""The bits of PLATFORM_INFO, by name (AMD 56860, table 24)."""

_SECTION: Final = "AMD 56860, table 23"
_LAYOUT: Final = struct.Struct("<IIQ16s16sII8sQI4s64s48s32s48s48s32s32s8s3s21s64s8s3ss3ss8sQQ152s512s")
_COMPONENT_SIZE: Final = 72


class Product(Enum):
    """A generation of processors. Each has a root of its own."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


class SigningKey(Enum):
    """What signed a report (KEY_INFO, bits 2 to 4)."""

    VCEK = 0
    """A key of one chip at one level of firmware."""

    VLEK = 1
    """A key that AMD gave a cloud, for any of its chips at one level of firmware."""


@frozen
class FirmwareVersion:
    """The version of the SEV firmware."""

    major: int
    minor: int
    build: int

    @property
    def text(self) -> str:
        """The version as AMD writes it: major.minor.build."""
        return f"{self.major}.{self.minor}.{self.build}"

    def encode(self) -> bytes:
        """Write the version as it stands in a report: 3 bytes."""
        return bytes((self.build, self.minor, self.major))


@frozen(kw_only=True)
class Tcb:
    """The security levels of the parts that a chip trusts (TCB_VERSION; AMD 56860, table 3)."""

    bootloader: int
    tee: int
    snp: int
    microcode: int

    fmc: int = 0
    """The first mutable code: only Turin has it."""

    def meets(self, floor: Tcb) -> bool:
        """Whether each part is at least as high as that of `floor`."""
        return not any(self.behind(floor).values())

    def behind(self, floor: Tcb) -> dict[str, int]:
        """Return by how much each part is lower than that of `floor`."""
        return {name: max(0, value - getattr(self, name)) for name, value in floor.parts.items()}

    @property
    def parts(self) -> dict[str, int]:
        """The levels by name."""
        return {
            "fmc": self.fmc,
            "bootloader": self.bootloader,
            "tee": self.tee,
            "snp": self.snp,
            "microcode": self.microcode,
        }

    @property
    def text(self) -> str:
        """The levels for people."""
        return " ".join(f"{name} {value}" for name, value in self.parts.items())


def decode_tcb(data: bytes, product: Product) -> Tcb:
    """Read TCB_VERSION in the layout of a product. Raises `DecodeError` for reserved bytes that are not zero."""
    if product is Product.TURIN:
        tcb = Tcb(fmc=data[0], bootloader=data[1], tee=data[2], snp=data[3], microcode=data[7])
    else:
        tcb = Tcb(bootloader=data[0], tee=data[1], snp=data[6], microcode=data[7])
    if encode_tcb(tcb, product) != data:
        raise DecodeError("a TCB has reserved bytes that are not zero", got=data.hex(), section="AMD 56860, table 3")
    return tcb


def encode_tcb(tcb: Tcb, product: Product) -> bytes:
    """Write TCB_VERSION in the layout of a product: 8 bytes."""
    if product is Product.TURIN:
        return bytes((tcb.fmc, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode))
    return bytes((tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode))


@frozen(kw_only=True)
class AttestationReport:
    """What the secure processor says of a guest, of any version that we know."""

    version: int
    guest_svn: int
    """The version of the guest that its ID block names."""

    policy: int
    """What the guest's owner demands of the platform: `POLICY_BITS`."""

    family_id: bytes
    image_id: bytes

    vmpl: int
    """The privilege level that asked: 0 is the highest. All ones if the host did."""

    signature_algorithm: int
    """1 is ECDSA on P-384 with SHA-384."""

    current_tcb: bytes
    """The firmware that runs."""

    platform_info: int
    """How the platform is set up: `PLATFORM_BITS`."""

    key_info: int
    """Bit 0: an author key signed the ID key. Bit 1: the chip's id is masked. Bits 2 to 4: the signing key."""

    report_data: bytes
    """What the guest had signed: 64 bytes."""

    measurement: bytes
    """The launch measurement: 48 bytes."""

    host_data: bytes
    """What the host gave at launch: 32 bytes."""

    id_key_digest: bytes
    """SHA-384 of the key that signed the ID block, or zeros."""

    author_key_digest: bytes
    """SHA-384 of the key that signed the ID key, or zeros."""

    report_id: bytes
    """The id of this guest, as long as it runs: 32 bytes."""

    report_id_ma: bytes
    """The id of its migration agent, or all ones."""

    reported_tcb: bytes
    """The levels from which the signing key is derived."""

    cpuid: bytes
    """Family, model and stepping, from version 3 on; before that, zeros."""

    chip_id: bytes
    """The id of the chip: 64 bytes, zeros if masked. Turin uses the first 8."""

    committed_tcb: bytes
    """The levels below which the platform cannot go back."""

    current_version: FirmwareVersion
    committed_version: FirmwareVersion
    launch_tcb: bytes
    """The firmware that ran when the guest was launched or moved here."""

    launch_mitigations: int
    """Which mitigations were in place at launch, from version 5 on."""

    current_mitigations: int
    """Which mitigations are in place, from version 5 on."""

    reserved: tuple[bytes, ...]
    """What no version uses: it has to be zero."""

    signature: bytes
    """R and S with 72 bytes each, then 368 that have to be zero."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a report. Raises `DecodeError` for another size."""
        if len(data) != REPORT_SIZE:
            raise DecodeError("an attestation report has another size", got=len(data), want=REPORT_SIZE)
        values = _LAYOUT.unpack(data)
        fields = dict(zip(_FIELDS, (each for index, each in enumerate(values) if index not in _RESERVED), strict=True))
        for name in _FIRMWARE:
            fields[name] = FirmwareVersion(*reversed(fields[name]))
        return cls(**fields, reserved=tuple(values[index] for index in _RESERVED))

    def encode(self) -> bytes:
        """Write the report: 1184 bytes."""
        values = [getattr(self, name) for name in _FIELDS]
        values = [each.encode() if isinstance(each, FirmwareVersion) else each for each in values]
        for index, value in zip(_RESERVED, self.reserved, strict=True):
            values.insert(index, value)
        return _LAYOUT.pack(*values)

    @property
    def signed(self) -> bytes:
        """What the signature is over: 672 bytes."""
        return self.encode()[:SIGNED_SIZE]

    @property
    def r(self) -> int:
        """The first half of the signature."""
        return int.from_bytes(self.signature[:_COMPONENT_SIZE], "little")

    @property
    def s(self) -> int:
        """The second half of the signature."""
        return int.from_bytes(self.signature[_COMPONENT_SIZE : 2 * _COMPONENT_SIZE], "little")

    @property
    def unused_signature(self) -> bytes:
        """What is behind R and S: 368 bytes, unsigned."""
        return self.signature[2 * _COMPONENT_SIZE :]

    @property
    def signing_key(self) -> SigningKey:
        """The key that signed. Raises `EvidenceError` if KEY_INFO says that none did, or something unknown."""
        number = self.key_info >> 2 & 7
        if number > SigningKey.VLEK.value:
            raise EvidenceError("a report was signed by no key that we know", got=number, section=_SECTION)
        return SigningKey(number)

    @property
    def has_author_key(self) -> bool:
        """Whether the ID key was signed by an author key."""
        return bool(self.key_info & 1)

    @property
    def chip_masked(self) -> bool:
        """Whether the platform hides the id of its chip."""
        return not any(self.chip_id)

    @property
    def abi(self) -> tuple[int, int]:
        """The version of the ABI that the guest's policy asks for: major and minor."""
        return self.policy >> 8 & 0xFF, self.policy & 0xFF


_FIELDS: Final = (
    "version",
    "guest_svn",
    "policy",
    "family_id",
    "image_id",
    "vmpl",
    "signature_algorithm",
    "current_tcb",
    "platform_info",
    "key_info",
    "report_data",
    "measurement",
    "host_data",
    "id_key_digest",
    "author_key_digest",
    "report_id",
    "report_id_ma",
    "reported_tcb",
    "cpuid",
    "chip_id",
    "committed_tcb",
    "current_version",
    "committed_version",
    "launch_tcb",
    "launch_mitigations",
    "current_mitigations",
    "signature",
)
"""The fields in the order of the report, without what is reserved."""

_FIRMWARE: Final = ("current_version", "committed_version")
_RESERVED: Final = (10, 20, 24, 26, 30)
"""Which parts of the layout no version uses: at 0x4C, 0x18B, 0x1EB, 0x1EF and 0x208."""


def possible_products(report: AttestationReport) -> frozenset[Product]:
    """Return of which generations the processor of a report can be; none if it is of one that we do not know.

    From version 3 on the CPUID says it. Before that only Turin can be told: it uses 8 bytes of CHIP_ID.
    """
    if report.version >= 3:
        return _product_of_cpuid(report.cpuid)
    if report.chip_masked:
        return frozenset(Product)
    if not any(report.chip_id[8:]):
        return frozenset({Product.TURIN})
    return frozenset({Product.MILAN, Product.GENOA})


def _product_of_cpuid(cpuid: bytes) -> frozenset[Product]:
    family, model = cpuid[0], cpuid[1]
    for product, of_family, models in _MODELS:
        if family == of_family and model in models:
            return frozenset({product})
    return frozenset()


_MODELS: Final = (
    (Product.MILAN, 0x19, range(0x10)),
    (Product.GENOA, 0x19, range(0x10, 0x20)),
    (Product.GENOA, 0x19, range(0xA0, 0xB0)),
    (Product.TURIN, 0x1A, range(0x12)),
)
"""Families and models, with the extended parts added (AMD 56860, section 3.1; AMD 57230)."""
