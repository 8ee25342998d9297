"""What the checks of a report look at: the request, and what is read out of it when a check first asks."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Final

from attrs import frozen

from confsec.errors import EvidenceError
from confsec.protocol.platforms import AZURE_RUNTIME_DATA, MEDIA_TYPES, SEV_SNP, SVSM_MANIFEST, TPM_AK
from confsec.protocol.rats import VerificationRequest
from confsec.tee.azure import RuntimeData, azure_report_data
from confsec.tee.sev_snp.certificates import ChipCertificate
from confsec.tee.sev_snp.evidence import AttestationReport, Product, SigningKey, Tcb, decode_tcb
from confsec.tee.sev_snp.policy import SnpPolicy, TcbFloor
from confsec.tee.simulated.roots import SIMULATED_AMD_ROOTS
from confsec.tee.svsm import ServicesManifest, svsm_report_data
from confsec.tee.x509 import Certificate, RevocationList, decode_chain, find_path, verify_crl_signature

__all__ = ["CERTIFICATES_TYPE", "CRL_TYPE", "SNP_CERTIFICATES", "SNP_CRL", "SigningNames", "SnpSubject"]

SNP_CERTIFICATES: Final = "sev-snp-certificates"
"""The endorsement with the certificates of signing key, intermediate and root: PEM, or DER one after the other."""

SNP_CRL: Final = "sev-snp-crl"
"""The endorsement with AMD's revocation list for the product: DER or PEM."""

CERTIFICATES_TYPE: Final = "application/pkix-cert"
"""The media type of `SNP_CERTIFICATES` (RFC 2585)."""

CRL_TYPE: Final = "application/pkix-crl"
"""The media type of `SNP_CRL` (RFC 2585)."""

_LEAF_NAMES: Final = {SigningKey.VCEK: "SEV-VCEK", SigningKey.VLEK: "SEV-VLEK"}
_CHIP_SIZE: Final = 64

_RECURRING: Final = 16
"""How many chips and lists are remembered when they were read: a node comes back in each epoch, and AMD's list, too."""

_RECURRING_SIZE: Final = 32 << 10
"""Larger revocation lists are read anew each time. AMD's have 1 KiB."""


@frozen
class SigningNames:
    """The common names on the path of a signing key (AMD 57230)."""

    leaf: str
    intermediate: str
    root: str

    @classmethod
    def of(cls, key: SigningKey, product: Product) -> SigningNames:
        """Return the names for one kind of key and one product."""
        middle = "SEV-VLEK" if key is SigningKey.VLEK else "SEV"
        return cls(_LEAF_NAMES[key], f"{middle}-{product.value}", f"ARK-{product.value}")


@frozen
class SnpSubject:
    """One report with all that belongs to it. What cannot be read raises where it is asked for."""

    policy: SnpPolicy
    request: VerificationRequest

    @property
    def has_tpm(self) -> bool:
        """Whether a TPM's PCRs tell the system, so that the measurement is of the firmware alone."""
        return self.request.platform.has_tpm

    @property
    def beneath(self) -> bool:
        """Whether something between hardware and guest asked for the report: an SVSM or a paravisor."""
        return self.request.platform.tpm_inside

    # --- Evidence -----------------------------------------------------------------------------------------------------

    @cached_property
    def report(self) -> AttestationReport:
        """The report."""
        return AttestationReport.decode(self.item(SEV_SNP))

    def item(self, label: str) -> bytes:
        """Return an item of evidence. Raises `EvidenceError` where it is missing."""
        return self.request.evidence.item(label, MEDIA_TYPES[label])

    @cached_property
    def services(self) -> ServicesManifest:
        """The services manifest of the SVSM."""
        return ServicesManifest.decode(self.item(SVSM_MANIFEST))

    @cached_property
    def runtime_data(self) -> RuntimeData:
        """Azure's runtime data."""
        return RuntimeData.decode(self.item(AZURE_RUNTIME_DATA))

    @property
    def ak(self) -> bytes:
        """The attestation key that the evidence names: TPMT_PUBLIC."""
        return self.item(TPM_AK)

    @property
    def expected_report_data(self) -> bytes:
        """What the report has to be about, on this platform."""
        if SVSM_MANIFEST in self.request.platform.items:
            return svsm_report_data(self.request.binding.value, self.item(SVSM_MANIFEST))
        if AZURE_RUNTIME_DATA in self.request.platform.items:
            return azure_report_data(self.item(AZURE_RUNTIME_DATA))
        return self.request.binding.value

    # --- Endorsements -------------------------------------------------------------------------------------------------

    @cached_property
    def certificates(self) -> tuple[Certificate, ...]:
        """All certificates that came."""
        found = self.request.endorsements.find(SNP_CERTIFICATES)
        if found is None:
            raise EvidenceError("there are no certificates for the report", want=SNP_CERTIFICATES)
        return decode_chain(found)

    @cached_property
    def leaf(self) -> Certificate:
        """The certificate of the key that signed the report."""
        found = [each for each in self.certificates if each.subject.common_name in _LEAF_NAMES.values()]
        if len(found) != 1:
            raise EvidenceError("there is not one certificate of a signing key", got=len(found), want=1)
        return found[0]

    @cached_property
    def path(self) -> tuple[Certificate, ...]:
        """The certificates from the signing key's up to the root."""
        return find_path(self.leaf, self.certificates)

    @cached_property
    def pairs(self) -> tuple[tuple[Certificate, Certificate], ...]:
        """Each certificate of the path with that of its issuer."""
        return tuple(zip(self.path, self.path[1:], strict=False))

    @property
    def root(self) -> Certificate:
        """The last certificate of the path."""
        return self.path[-1]

    @property
    def simulated(self) -> bool:
        """Whether the root is one whose private key is published."""
        return self.root.fingerprint in SIMULATED_AMD_ROOTS

    @cached_property
    def chip(self) -> ChipCertificate:
        """What the certificate of the signing key says."""
        return _recurring_chip(self.leaf)

    @cached_property
    def crl(self) -> RevocationList | None:
        """The revocation list, if one came."""
        found = self.request.endorsements.find(SNP_CRL)
        return None if found is None else _decode_crl(found)

    @cached_property
    def crl_flaw(self) -> EvidenceError | None:
        """What is wrong with the signature of the revocation list, if one came. Raises if it cannot be read."""
        if self.crl is None:
            return None
        try:
            verify_crl_signature(self.crl, self.root)
        except EvidenceError as exc:
            return exc
        return None

    # --- What follows from both ---------------------------------------------------------------------------------------

    @property
    def product(self) -> Product:
        """The generation, as the certificate has it."""
        return self.chip.product

    @cached_property
    def leaf_kind(self) -> SigningKey:
        """The kind of the signing key, as its certificate has it."""
        return next(key for key, name in _LEAF_NAMES.items() if name == self.leaf.subject.common_name)

    @property
    def names(self) -> SigningNames:
        """The common names that the path must have."""
        return SigningNames.of(self.leaf_kind, self.product)

    def tcb(self, name: str) -> Tcb:
        """Return one of the report's four levels, such as `reported_tcb`, in the layout of the product."""
        return decode_tcb(getattr(self.report, name), self.product)

    @property
    def chip_id(self) -> bytes:
        """The id of the chip, 64 bytes: from its certificate, else from the report. Zeros where it is hidden."""
        return (self.chip.hwid or self.report.chip_id).ljust(_CHIP_SIZE, b"\0")

    @property
    def floors(self) -> tuple[TcbFloor, ...]:
        """The floors that apply. Raises `EvidenceError` if one may apply and the report does not say."""
        found = [floor for floor in self.policy.tcb_floors if floor.product is self.product]
        if not any(self.report.cpuid) and any(floor.cpu for floor in found):
            raise EvidenceError(
                "the report does not say of which stepping its processor is",
                got=f"version {self.report.version}",
                want="version 3, or floors for all processors of the product",
            )
        return tuple(floor for floor in found if floor.cpu in {b"", self.report.cpuid})


# What these return follows from the bytes alone, so it may be remembered.
_recurring_chip = lru_cache(_RECURRING)(ChipCertificate.of)
_recurring_crl = lru_cache(_RECURRING)(RevocationList.decode)


def _decode_crl(data: bytes) -> RevocationList:
    """Read a list; remember it if it is small, because anyone may send large ones."""
    return _recurring_crl(data) if len(data) <= _RECURRING_SIZE else RevocationList.decode(data)
