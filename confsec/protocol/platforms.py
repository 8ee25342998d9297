"""What vouches for the operating system, by platform: the table that decides what evidence can be believed.

Report data is the guest's own word, so the guest itself must be vouched for from below. Each platform says which items
its evidence has, what vouches for the operating system there, what vouches for the TPM's attestation key, and what is
left to assume. Evidence that fits no row is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Final

from attrs import frozen

from confsec.errors import EvidenceError

__all__ = [
    "AZURE_RUNTIME_DATA",
    "BINDING",
    "BOUND_ITEMS",
    "CCEL",
    "FRESHNESS",
    "KEY_CONFIG",
    "MANIFEST",
    "MEDIA_TYPES",
    "OPERATING_SYSTEM",
    "PLATFORMS",
    "SEV_SNP",
    "SVSM_MANIFEST",
    "TDX",
    "TPM_AK",
    "TPM_ITEMS",
    "TPM_KEY",
    "TPM_LOG",
    "TPM_QUOTE",
    "Assumption",
    "Platform",
    "platform_of",
]

# --- The items of evidence, by label ----------------------------------------------------------------------------------

KEY_CONFIG: Final = "key-config"
"""The node's KeyConfig."""

MANIFEST: Final = "manifest"
"""What the measured launcher loaded."""

FRESHNESS: Final = "freshness"
"""Which nonce the evidence answers, and why it was made."""

SEV_SNP: Final = "sev-snp"
"""An attestation report of SEV-SNP: 1184 bytes (AMD 56860, table 23)."""

TDX: Final = "tdx"
"""A quote of TDX, version 4 or 5."""

CCEL: Final = "ccel"
"""The event log of a TD, raw (UEFI 2.10, section 38.4)."""

SVSM_MANIFEST: Final = "svsm-manifest"
"""The services manifest of an SVSM, with the AK of its vTPM (AMD 58019, section 7)."""

AZURE_RUNTIME_DATA: Final = "azure-runtime-data"
"""The runtime data of Azure's paravisor: JSON, byte for byte."""

TPM_AK: Final = "tpm-ak"
"""The attestation key: TPMT_PUBLIC."""

TPM_QUOTE: Final = "tpm-quote"
"""TPM2B_ATTEST, then TPMT_SIGNATURE, then the quoted PCR values."""

TPM_LOG: Final = "tpm-log"
"""The firmware's event log, raw (TCG PC Client Platform Firmware Profile, section 10)."""

TPM_KEY: Final = "tpm-key"
"""The P-256 half of the request key, and its certification by the AK."""

TPM_ITEMS: Final = frozenset({TPM_AK, TPM_QUOTE, TPM_LOG, TPM_KEY})
"""What a TPM adds."""

BOUND_ITEMS: Final = (KEY_CONFIG, MANIFEST, FRESHNESS)
"""What every node has, and the binding covers."""

MEDIA_TYPES: Final = {
    KEY_CONFIG: "application/ohttp-keys",
    MANIFEST: "application/vnd.confsec.manifest+cbor",
    FRESHNESS: "application/vnd.confsec.freshness+cbor",
    SEV_SNP: "application/vnd.confsec.sev-snp-report",
    TDX: "application/vnd.confsec.tdx-quote",
    CCEL: "application/vnd.confsec.ccel",
    SVSM_MANIFEST: "application/vnd.confsec.svsm-manifest",
    AZURE_RUNTIME_DATA: "application/json",
    TPM_AK: "application/vnd.confsec.tpm-ak",
    TPM_QUOTE: "application/vnd.confsec.tpm-quote",
    TPM_LOG: "application/vnd.confsec.tpm-log",
    TPM_KEY: "application/vnd.confsec.tpm-key",
}
"""The media type of each item."""

# --- What else can be vouched for -------------------------------------------------------------------------------------

BINDING: Final = "binding"
"""The value that names key, manifest and nonce: who signs it vouches for all three."""

OPERATING_SYSTEM: Final = "operating-system"
"""The kernel, its command line and its root: something must vouch for it on every platform."""


class Assumption(Enum):
    """What a platform leaves to assume. A policy accepts each by its name, or refuses the platform."""

    AMD = "amd"
    INTEL = "intel"
    SVSM = "svsm"
    MICROSOFT_PARAVISOR = "microsoft-paravisor"
    CLOUD_HYPERVISOR = "cloud-hypervisor"
    """A TPM outside the TEE: whoever runs the hypervisor, or can touch the TPM's bus, can lie about the system."""


@frozen
class Platform:
    """One row of the table."""

    name: str
    """Stable: policies name it."""

    items: frozenset[str]
    """The labels of evidence beside those of `BOUND_ITEMS`: exactly these."""

    os_from: str
    """What vouches for the operating system, for people."""

    ak_from: str
    """What vouches for the attestation key, for people; empty where there is no TPM."""

    assumes: tuple[Assumption, ...]
    """What is left to assume."""

    os_by: str
    """The item that has to vouch for the operating system: what another says of it does not count."""

    tpm_inside: bool = False
    """The TPM is inside the TEE, and its AK in the report."""

    @property
    def has_tpm(self) -> bool:
        """Whether PCRs of a TPM tell which system runs."""
        return TPM_AK in self.items


PLATFORMS: Final = (
    Platform("sev-snp", frozenset({SEV_SNP}), "MEASUREMENT of a direct boot", "", (Assumption.AMD,), SEV_SNP),
    Platform(
        "tdx", frozenset({TDX, CCEL}), "MRTD and RTMR0 to RTMR2, with the event log", "", (Assumption.INTEL,), TDX
    ),
    Platform(
        "sev-snp-svsm",
        frozenset({SEV_SNP, SVSM_MANIFEST}) | TPM_ITEMS,
        "PCRs of the vTPM in the SVSM",
        "the services manifest in the report, at VMPL 0",
        (Assumption.AMD, Assumption.SVSM),
        TPM_QUOTE,
        tpm_inside=True,
    ),
    Platform(
        "azure-sev-snp",
        frozenset({SEV_SNP, AZURE_RUNTIME_DATA}) | TPM_ITEMS,
        "PCRs of the vTPM in the paravisor",
        "HCLAkPub in the runtime data, at VMPL 0",
        (Assumption.AMD, Assumption.MICROSOFT_PARAVISOR),
        TPM_QUOTE,
        tpm_inside=True,
    ),
    Platform(
        "azure-tdx",
        frozenset({TDX, AZURE_RUNTIME_DATA}) | TPM_ITEMS,
        "PCRs of the vTPM in the paravisor",
        "HCLAkPub in the runtime data",
        (Assumption.INTEL, Assumption.MICROSOFT_PARAVISOR),
        TPM_QUOTE,
        tpm_inside=True,
    ),
    Platform(
        "sev-snp-tpm",
        frozenset({SEV_SNP}) | TPM_ITEMS,
        "PCRs of a TPM outside the TEE",
        "a certificate of the AK, or a registrar",
        (Assumption.AMD, Assumption.CLOUD_HYPERVISOR),
        TPM_QUOTE,
    ),
    Platform(
        "tdx-tpm",
        frozenset({TDX, CCEL}) | TPM_ITEMS,
        "MRTD and RTMR0 to RTMR2; a TPM outside the TEE adds its PCRs",
        "a certificate of the AK, or a registrar",
        (Assumption.INTEL, Assumption.CLOUD_HYPERVISOR),
        TDX,
    ),
    Platform(
        "tpm",
        TPM_ITEMS,
        "PCRs of a TPM; there is no TEE",
        "a certificate of the AK, or a registrar",
        (Assumption.CLOUD_HYPERVISOR,),
        TPM_QUOTE,
    ),
)
"""All rows (design, What vouches for the operating system)."""


def platform_of(labels: Collection[str]) -> Platform:
    """Return the platform whose evidence has exactly these labels. Raises `EvidenceError`."""
    found = frozenset(labels) - set(BOUND_ITEMS)
    for platform in PLATFORMS:
        if platform.items == found:
            return platform
    raise EvidenceError(
        "the evidence is of no platform that we know",
        got=", ".join(sorted(found)) or "nothing beside the key",
        want="the items of one row",
        section="docs/attestation.md, Platforms",
    )
