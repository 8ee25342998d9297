"""A secure processor of AMD that anybody can be: its roots' private keys are published, so its reports prove nothing.

Reports, certificates and revocation lists are bit for bit of AMD's form, and the production verifier reads them; only
the names, the critical mark and the root are others. What a verifier has to refuse is made by changing one argument, or
one field of a report before it is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha384, sha512
from typing import Final

from attrs import evolve, frozen
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from confsec.protocol.policy import UNSAFE_ANY
from confsec.tee.sev_snp.evidence import (
    PLATFORM_BITS,
    POLICY_BITS,
    AttestationReport,
    FirmwareVersion,
    Product,
    SigningKey,
    Tcb,
    encode_tcb,
)
from confsec.tee.sev_snp.policy import SnpPolicy, TcbFloor
from confsec.tee.simulated.amd_keys import ark_pem, ask_pem, asvk_pem, load_key
from confsec.tee.simulated.issue import (
    SIMULATED_MARK,
    Signer,
    issue_certificate,
    issue_revocation_list,
    make_name,
    public_key_info,
)
from confsec.tee.simulated.roots import SIMULATED_AMD_ROOTS
from confsec.tee.x509 import Certificate, Extension, Name, RevocationList, encode_chain

__all__ = [
    "SIMULATED_CHIP",
    "SIMULATED_MEASUREMENT",
    "SIMULATED_TCB",
    "UNSAFE_SIMULATED_SNP",
    "VALID",
    "IssuedKey",
    "SimulatedAmd",
    "amd_name",
]

VALID: Final = (datetime(2025, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC))
"""From and until when everything that is simulated is valid, if nothing else is asked for."""

SIMULATED_CHIP: Final = sha512(b"confsec simulated chip").digest()
"""The id of the chip, if none is given: 64 bytes. Turin uses the first 8."""

SIMULATED_MEASUREMENT: Final = sha384(b"confsec simulated guest").digest()
"""The launch measurement, if none is given."""

SIMULATED_TCB: Final = Tcb(bootloader=4, tee=1, snp=30, microcode=220)
"""The level of all firmware, if none is given. Turin has 1 as its first mutable code beside."""

_ARC: Final = "1.3.6.1.4.1.3704.1"
_SIGNATURE_SIZE: Final = 512
_COMPONENT_SIZE: Final = 72
_CPUS: Final = {
    Product.MILAN: bytes((0x19, 0x01, 0x01)),
    Product.GENOA: bytes((0x19, 0x11, 0x01)),
    Product.TURIN: bytes((0x1A, 0x02, 0x01)),
}
_FIRMWARE: Final = FirmwareVersion(1, 58, 3)
_P384_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973


def amd_name(common_name: str) -> Name:
    """Return a name in the form of AMD's, which says that it is none."""
    return make_name(
        (
            ("2.5.4.11", "SIMULATED - NOT AMD"),
            ("2.5.4.6", "US"),
            ("2.5.4.7", "Nowhere"),
            ("2.5.4.8", "CA"),
            ("2.5.4.10", "confsec simulated TEE"),
            ("2.5.4.3", common_name),
        )
    )


@frozen
class IssuedKey:
    """A key that signs reports, and its certificate."""

    certificate: Certificate
    key: ec.EllipticCurvePrivateKey

    def sign(self, report: AttestationReport) -> AttestationReport:
        """Return the report with a signature, whatever it says."""
        signature = self.key.sign(report.signed, ec.ECDSA(SHA384(), deterministic_signing=True))
        components = (each.to_bytes(_COMPONENT_SIZE, "little") for each in decode_dss_signature(signature))
        return evolve(report, signature=b"".join(components).ljust(_SIGNATURE_SIZE, b"\0"))


@frozen
class SimulatedAmd:
    """AMD for one product: it certifies keys, revokes, and signs what a guest asks for."""

    product: Product = Product.MILAN

    @property
    def ark(self) -> Certificate:
        """The root."""
        return Certificate.decode_pem(ark_pem(self.product))

    @property
    def ask(self) -> Certificate:
        """The intermediate that issues certificates of chips."""
        return Certificate.decode_pem(ask_pem(self.product))

    @property
    def asvk(self) -> Certificate:
        """The intermediate that issues certificates of clouds."""
        return Certificate.decode_pem(asvk_pem(self.product))

    @property
    def ark_signer(self) -> Signer:
        """The root, as an issuer."""
        return Signer(self.ark.subject, load_key("ark"), digest="SHA384", pss=True)

    @property
    def ask_signer(self) -> Signer:
        """The intermediate for chips, as an issuer."""
        return Signer(self.ask.subject, load_key("ask"), digest="SHA384", pss=True)

    @property
    def asvk_signer(self) -> Signer:
        """The intermediate for clouds, as an issuer."""
        return Signer(self.asvk.subject, load_key("asvk"), digest="SHA384", pss=True)

    @property
    def tcb(self) -> Tcb:
        """The level of all firmware, if none is given."""
        return evolve(SIMULATED_TCB, fmc=1) if self.product is Product.TURIN else SIMULATED_TCB

    @property
    def chip_id(self) -> bytes:
        """CHIP_ID, if none is given: 64 bytes."""
        return SIMULATED_CHIP[:8].ljust(64, b"\0") if self.product is Product.TURIN else SIMULATED_CHIP

    def issue_vcek(
        self,
        *,
        signer: Signer | None = None,
        subject: Name | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        valid: tuple[datetime, datetime] = VALID,
        extensions: Mapping[str, Extension | None] | None = None,
        tcb: Tcb | None = None,
    ) -> IssuedKey:
        """Certify the key of the chip at a level: the one that follows from it, if no other `key` is given.

        `extensions` are put over those of AMD, and None takes one away.
        """
        hwid = self.chip_id[:8] if self.product is Product.TURIN else self.chip_id
        own = {f"{_ARC}.4": Extension(critical=False, value=hwid)} | dict(extensions or {})
        key = key or _chip_key(self.product, SigningKey.VCEK, tcb or self.tcb)
        subject = subject or amd_name("SEV-VCEK")
        return self._issue(signer or self.ask_signer, subject, key, valid, tcb or self.tcb, own)

    def issue_vlek(
        self,
        *,
        signer: Signer | None = None,
        csp_id: str = "CN=cloud.example",
        valid: tuple[datetime, datetime] = VALID,
        extensions: Mapping[str, Extension | None] | None = None,
        tcb: Tcb | None = None,
    ) -> IssuedKey:
        """Certify a key of a cloud at a level, as `issue_vcek` does."""
        own = {f"{_ARC}.5": _ia5(csp_id)} | dict(extensions or {})
        key = _chip_key(self.product, SigningKey.VLEK, tcb or self.tcb)
        return self._issue(signer or self.asvk_signer, amd_name("SEV-VLEK"), key, valid, tcb or self.tcb, own)

    def issue_crl(
        self,
        *,
        signer: Signer | None = None,
        revoked: tuple[int, ...] = (),
        current: tuple[datetime, datetime] = VALID,
        extensions: Mapping[str, Extension] | None = None,
    ) -> RevocationList:
        """Issue a revocation list of the product."""
        return issue_revocation_list(signer or self.ark_signer, current=current, revoked=revoked, extensions=extensions)

    def chain(self, issued: IssuedKey) -> bytes:
        """Return the endorsement for a key: its certificate, the intermediate's and the root's."""
        middle = self.asvk if issued.certificate.issuer == self.asvk.subject else self.ask
        return encode_chain((issued.certificate, middle, self.ark))

    def report(self, report_data: bytes, *, version: int = 3, measurement: bytes = SIMULATED_MEASUREMENT) -> (
        AttestationReport
    ):  # fmt: skip
        """Return a good report about `report_data`, which nobody has signed yet."""
        level = encode_tcb(self.tcb, self.product)
        return AttestationReport(
            version=version,
            guest_svn=1,
            policy=1 << 17 | 1 << POLICY_BITS["single_socket"] | 58,
            family_id=bytes(16),
            image_id=bytes(16),
            vmpl=0,
            signature_algorithm=1,
            current_tcb=level,
            platform_info=1 << PLATFORM_BITS["ecc"] | 1 << PLATFORM_BITS["alias_check_complete"],
            key_info=SigningKey.VCEK.value << 2,
            report_data=report_data,
            measurement=measurement,
            host_data=bytes(32),
            id_key_digest=bytes(48),
            author_key_digest=bytes(48),
            report_id=bytes(range(32)),
            report_id_ma=b"\xff" * 32,
            reported_tcb=level,
            cpuid=_CPUS[self.product] if version >= 3 else bytes(3),
            chip_id=self.chip_id,
            committed_tcb=level,
            current_version=_FIRMWARE,
            committed_version=_FIRMWARE,
            launch_tcb=level,
            launch_mitigations=0b111 if version >= 5 else 0,
            current_mitigations=0b111 if version >= 5 else 0,
            reserved=(bytes(4), bytes(21), bytes(1), bytes(1), bytes(152)),
            signature=bytes(_SIGNATURE_SIZE),
        )

    def _issue(
        self,
        signer: Signer,
        subject: Name,
        key: ec.EllipticCurvePrivateKey,
        valid: tuple[datetime, datetime],
        tcb: Tcb,
        own: Mapping[str, Extension | None],
    ) -> IssuedKey:
        levels = {1: tcb.bootloader, 2: tcb.tee, 3: tcb.snp, 5: 0, 6: 0, 7: 0, 8: tcb.microcode}
        levels |= {9: tcb.fmc} if self.product is Product.TURIN else {4: 0}
        extensions: dict[str, Extension | None] = {
            f"{_ARC}.1": Extension(critical=False, value=asn1.encode_der(0)),
            f"{_ARC}.2": _ia5(self.product.value),
            **{
                f"{_ARC}.3.{part}": Extension(critical=False, value=asn1.encode_der(level))
                for part, level in sorted(levels.items())
            },
            **SIMULATED_MARK,
            **own,
        }
        certificate = issue_certificate(
            signer,
            subject=subject,
            public_key=public_key_info(key),
            serial=0,
            valid=valid,
            extensions={oid: each for oid, each in extensions.items() if each is not None},
        )
        return IssuedKey(certificate, key)


def _ia5(text: str) -> Extension:
    return Extension(critical=False, value=asn1.encode_der(asn1.IA5String(text)))


def _chip_key(product: Product, kind: SigningKey, tcb: Tcb) -> ec.EllipticCurvePrivateKey:
    """Derive the key of a level, as a chip does: always the same for the same level."""
    seed = sha512(f"confsec simulated {product.value} {kind.name} {tcb.text}".encode()).digest()
    return ec.derive_private_key(int.from_bytes(seed, "big") % (_P384_ORDER - 1) + 1, ec.SECP384R1())


UNSAFE_SIMULATED_SNP: Final = SnpPolicy(
    trust_anchors=tuple(sorted(SIMULATED_AMD_ROOTS)),
    products=tuple(sorted(product.value for product in Product)),
    signing_keys=("vcek",),
    csp_ids=(),
    unsafe_allow_missing_crl=False,
    min_report_version=3,
    guest_policy=dict.fromkeys(POLICY_BITS, UNSAFE_ANY) | {"debug": False, "migrate_ma": False, "cxl": False},
    platform_info=dict.fromkeys(PLATFORM_BITS, UNSAFE_ANY) | {"alias_check_complete": True},
    min_abi=(0, 31),
    min_firmware=(1, 55, 0),
    unsafe_allow_provisional_firmware=False,
    min_guest_svn=0,
    vmpl=0,
    measurements=(SIMULATED_MEASUREMENT,),
    firmware_measurements=(),
    host_data=(bytes(32),),
    family_ids=(bytes(16),),
    image_ids=(bytes(16),),
    id_keys=(bytes(48),),
    author_keys=(bytes(48),),
    tcb_floors=tuple(
        TcbFloor(product=product, cpu=b"", advisories=("simulated",), tcb=SIMULATED_TCB)
        for product in sorted(Product, key=lambda product: product.value)
    ),
    required_mitigations=(),
    accepted_chips=UNSAFE_ANY,
    denied_chips=(),
)
"""What the demo demands of the simulated guest. Only a constant of this package may hold it: no file can."""
