"""Verify a report of SEV-SNP: each step is a row of one table, in the order of the standard's parts.

Form, chain, revocation, signature and agreement with the certificate come first, then what the policy demands, and last
what the report is about. What a chip says of itself is believed only where its certificate says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Final, Self

from attrs import evolve, frozen

from confsec.errors import ConfsecError
from confsec.protocol import cbor
from confsec.protocol.checks import Check, CheckDefinition, Finding, Status, run_checks
from confsec.protocol.platforms import (
    AZURE_RUNTIME_DATA,
    BINDING,
    OPERATING_SYSTEM,
    SEV_SNP,
    SVSM_MANIFEST,
    TPM_AK,
)
from confsec.protocol.rats import VENDOR, TeeFindings, VerificationRequest, Vouch
from confsec.tee.sev_snp import chain, demands, report
from confsec.tee.sev_snp.evidence import PLATFORM_BITS, POLICY_BITS
from confsec.tee.sev_snp.policy import VALUE_SIZES, SnpPolicy
from confsec.tee.sev_snp.subject import SnpSubject

__all__ = ["CHECKS", "SnpVerifier", "read_snp_verifier"]

_NAME: Final = "sev-snp"
_ABI: Final = "AMD 56860"
_VCEK: Final = "AMD 57230"
_PKIX: Final = "RFC 5280, section 6"
_SVSM: Final = "AMD 58019, section 7"
_DOCS: Final = "docs/attestation.md"


def _row(
    name: str, section: str, look: Callable[[SnpSubject], Finding], *, essential: bool = False
) -> CheckDefinition[SnpSubject]:
    return CheckDefinition(f"{_NAME}.{name}", section, look, essential)


CHECKS: Final = (
    # Form
    _row("report", f"{_ABI}, table 23", report.report, essential=True),
    _row("report-version", f"{_ABI}, table 23", report.report_version, essential=True),
    _row("report-reserved", f"{_ABI}, table 23", report.report_reserved),
    _row("guest-policy-form", f"{_ABI}, table 9", report.guest_policy_form),
    _row("platform-info-form", f"{_ABI}, table 24", report.platform_info_form),
    _row("key-info", f"{_ABI}, table 23", report.key_info, essential=True),
    _row("signature-algorithm", f"{_ABI}, table 23", report.signature_algorithm, essential=True),
    _row("signature-unused", f"{_ABI}, table 139", report.signature_unused),
    # Chain
    _row("certificates", _VCEK, chain.signing_certificate, essential=True),
    _row("chain", _PKIX, chain.chain_ends, essential=True),
    _row("root", _PKIX, chain.root, essential=True),
    _row("chain-signatures", _PKIX, chain.chain_signatures, essential=True),
    _row("chain-algorithms", _VCEK, chain.chain_algorithms),
    _row("chain-authorities", _PKIX, chain.chain_authorities),
    _row("chain-path-length", _PKIX, chain.chain_path_length),
    _row("chain-key-usage", _PKIX, chain.chain_key_usage),
    _row("chain-extensions", _PKIX, chain.chain_extensions),
    _row("chain-validity", _PKIX, chain.chain_validity),
    _row("chain-names", _VCEK, chain.chain_names),
    _row("leaf-extensions", _VCEK, chain.leaf_extensions, essential=True),
    _row("chain-product", _VCEK, chain.chain_product, essential=True),
    _row("leaf-kind", f"{_ABI}, table 23", chain.leaf_kind),
    _row("leaf-identity", _VCEK, chain.leaf_identity),
    _row("leaf-key", _VCEK, chain.leaf_key, essential=True),
    _row("crl-url", _VCEK, chain.crl_url),
    _row("processor", f"{_ABI}, table 23", chain.processor),
    # Revocation
    _row("crl", _VCEK, chain.crl),
    _row("crl-issuer", _PKIX, chain.crl_issuer),
    _row("crl-usage", _PKIX, chain.crl_usage),
    _row("crl-signature", _PKIX, chain.crl_signature),
    _row("crl-extensions", _PKIX, chain.crl_extensions),
    _row("crl-current", _PKIX, chain.crl_current),
    _row("revocation", _PKIX, chain.revocation),
    # The report and its certificate
    _row("signature-range", "FIPS 186-5, section 6.4.2", report.signature_range, essential=True),
    _row("signature", f"{_ABI}, table 23", report.signature, essential=True),
    _row("tcb-form", f"{_ABI}, table 3", report.tcb_form, essential=True),
    _row("tcb-certificate", _VCEK, report.tcb_certificate),
    _row("chip-id", _VCEK, report.chip_id),
    _row("tcb-current", f"{_ABI}, section 3.3", report.tcb_current),
    _row("tcb-committed", f"{_ABI}, section 3.3", report.tcb_committed),
    _row("firmware-committed", f"{_ABI}, section 3.3", report.firmware_committed),
    # What the policy demands
    _row("minimum-version", _DOCS, demands.minimum_version),
    _row("accepted-product", _DOCS, demands.accepted_product),
    _row("accepted-signing-key", _DOCS, demands.accepted_signing_key),
    _row("csp-id", _DOCS, demands.csp_id),
    *(_row(f"policy.{name}", f"{_ABI}, table 9", demands.guest_policy(name)) for name in POLICY_BITS),
    _row("migration-agent", f"{_ABI}, table 23", demands.migration_agent),
    *(_row(f"platform.{name}", f"{_ABI}, table 24", demands.platform_info(name)) for name in PLATFORM_BITS),
    _row("abi", f"{_ABI}, table 9", demands.abi),
    _row("firmware-version", f"{_ABI}, table 23", demands.firmware_version),
    _row("guest-svn", f"{_ABI}, table 23", demands.guest_svn),
    _row("vmpl", f"{_ABI}, table 23", demands.vmpl),
    _row("tcb-floor", _DOCS, demands.tcb_floor),
    _row("launch-tcb-floor", _DOCS, demands.launch_tcb_floor),
    _row("committed-tcb-floor", _DOCS, demands.committed_tcb_floor),
    _row("launch-mitigations", f"{_ABI}, table 23", demands.launch_mitigations),
    _row("current-mitigations", f"{_ABI}, table 23", demands.current_mitigations),
    _row("measurement", f"{_ABI}, section 4.8", demands.measurement),
    _row("host-data", f"{_ABI}, table 23", demands.host_data),
    _row("family-id", f"{_ABI}, table 23", demands.family_id),
    _row("image-id", f"{_ABI}, table 23", demands.image_id),
    _row("id-key", f"{_ABI}, table 23", demands.id_key),
    _row("author-key", f"{_ABI}, table 23", demands.author_key),
    _row("chip-denied", _DOCS, demands.chip_denied),
    _row("chip-accepted", _DOCS, demands.chip_accepted),
    # What the report is about
    _row("svsm-manifest", _SVSM, demands.svsm_manifest),
    _row("svsm-ak", _SVSM, demands.svsm_ak),
    _row("azure-runtime-data", _DOCS, demands.azure_runtime_data),
    _row("azure-ak", _DOCS, demands.azure_ak),
    _row("azure-user-data", _DOCS, demands.azure_user_data),
    _row("report-data", _DOCS, demands.report_data),
)
"""Every check of a report, in order."""

_ESSENTIAL: Final = frozenset(row.id for row in CHECKS if row.essential)


@frozen
class SnpVerifier:
    """Verifies reports of SEV-SNP under one policy."""

    policy: SnpPolicy

    @property
    def name(self) -> str:
        """The table of a policy that it is read from."""
        return _NAME

    @property
    def accepts_simulated(self) -> bool:
        """Whether a root whose private key is published is among its trust anchors."""
        return self.policy.accepts_simulated

    @property
    def lists(self) -> frozenset[str]:
        """The lists to which logged values may be added."""
        return frozenset(VALUE_SIZES)

    def with_values(self, values: Mapping[str, tuple[bytes, ...]]) -> Self:
        """Return the verifier that also accepts these values. Raises `ConfigError` for values of another size."""
        return evolve(self, policy=self.policy.with_values(values))

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return what it demands, as it stands in a policy."""
        return self.policy.to_item()

    def verify(self, request: VerificationRequest) -> TeeFindings:
        """Look at the report and what belongs to it. Never raises for what a peer wrote."""
        subject = SnpSubject(self.policy, request)
        checks = run_checks(CHECKS, subject)
        good = {check.id.removeprefix(f"{_NAME}.") for check in checks if check.status is Status.PASS}
        if not all(check.status is Status.PASS for check in checks if check.id in _ESSENTIAL):
            return TeeFindings(name=_NAME, checks=checks)
        return TeeFindings(
            name=_NAME,
            checks=checks,
            claims=_claims(subject),
            vouches=_vouches(subject, good) if not _failed(checks, _TRUSTWORTHY) else (),
            simulated=subject.simulated,
            expires=_expires(subject),
        )


def read_snp_verifier(value: cbor.CborValue) -> SnpVerifier:
    """Read the table `sev-snp` of a policy. Raises `DecodeError`."""
    return SnpVerifier(SnpPolicy.from_item(value))


_TRUSTWORTHY: Final = frozenset(
    row.id for row in CHECKS[: [row.id for row in CHECKS].index(f"{_NAME}.minimum-version")]
)
"""What must not fail before a report vouches for anything: form, chain, revocation, signature, certificate."""


def _failed(checks: Collection[Check], ids: Collection[str]) -> bool:
    return any(check.status in {Status.FAIL, Status.SKIP} for check in checks if check.id in ids)


def _vouches(subject: SnpSubject, good: Collection[str]) -> tuple[Vouch, ...]:
    """Return the edges that passing checks established."""
    vouches = [Vouch(VENDOR, SEV_SNP, "AMD's root certifies the key that signed the report")]
    if "vmpl" in good and "report-data" in good:
        vouches += _about(subject, good)
    if "measurement" in good and not subject.has_tpm:
        vouches.append(Vouch(SEV_SNP, OPERATING_SYSTEM, "MEASUREMENT covers kernel, command line and initial RAM disk"))
    return tuple(vouches)


def _about(subject: SnpSubject, good: Collection[str]) -> list[Vouch]:
    """Return what the report data vouches for.

    A TPM outside is not among it: its AK would be the guest's own word. What is beneath the guest vouches for an AK
    only if it was measured: at VMPL 0 a guest could write any manifest.
    """
    items = subject.request.platform.items
    beneath_known = "measurement" in good
    if SVSM_MANIFEST in items:
        found = [
            Vouch(SEV_SNP, BINDING, "REPORT_DATA is SHA-512 of binding and services manifest"),
            Vouch(SEV_SNP, SVSM_MANIFEST, "REPORT_DATA is SHA-512 of binding and services manifest, at VMPL 0"),
        ]
        return found + _if(
            beneath_known and "svsm-ak" in good, Vouch(SVSM_MANIFEST, TPM_AK, "the vTPM's manifest is the AK")
        )
    if AZURE_RUNTIME_DATA in items:
        found = [Vouch(SEV_SNP, AZURE_RUNTIME_DATA, "REPORT_DATA is SHA-256 of the runtime data, at VMPL 0")]
        found += _if(
            beneath_known and "azure-user-data" in good, Vouch(AZURE_RUNTIME_DATA, BINDING, "user-data is the binding")
        )
        return found + _if(
            beneath_known and "azure-ak" in good, Vouch(AZURE_RUNTIME_DATA, TPM_AK, "HCLAkPub is the AK")
        )
    return [Vouch(SEV_SNP, BINDING, "REPORT_DATA is the binding")]


def _if(condition: bool, vouch: Vouch) -> list[Vouch]:  # noqa: FBT001
    return [vouch] if condition else []


def _claims(subject: SnpSubject) -> dict[str, cbor.CborValue]:
    """Return what the report says, in the words of AMD's tables."""
    found = subject.report
    return {
        "product": subject.product.value,
        "report_version": found.version,
        "signing_key": subject.leaf_kind.name.lower(),
        "csp_id": subject.chip.csp_id or "",
        "chip_id": subject.chip_id.hex() if any(subject.chip_id) else "",
        "cpu": found.cpuid.hex(),
        "measurement": found.measurement,
        "host_data": found.host_data,
        "vmpl": found.vmpl,
        "guest_svn": found.guest_svn,
        "guest_policy": found.policy,
        "debug": bool(found.policy >> POLICY_BITS["debug"] & 1),
        "platform_info": found.platform_info,
        "firmware": found.current_version.text,
        "tcb": dict(subject.chip.tcb.parts),
        "launch_tcb": dict(subject.tcb("launch_tcb").parts),
        "tcb_behind": _behind(subject),
        "current_mitigations": found.current_mitigations,
    }


def _behind(subject: SnpSubject) -> dict[str, cbor.CborValue]:
    """Return by advisory how many levels each part is below its floor; parts that reach it are left out."""
    try:
        floors = subject.floors
    except ConfsecError:
        return {}  # the check of the floor says why
    behind: dict[str, cbor.CborValue] = {}
    for floor in floors:
        missed: dict[str, cbor.CborValue] = {
            part: levels for part, levels in subject.chip.tcb.behind(floor.tcb).items() if levels
        }
        if missed:
            behind.update(dict.fromkeys(floor.advisories, missed))
    return behind


def _expires(subject: SnpSubject) -> datetime:
    """Return when the first of what was used ends."""
    ends = [each.not_after for each in subject.path]
    try:
        if subject.crl is not None:
            ends.append(subject.crl.next_update)
    except ConfsecError:
        pass  # the check of the list says why
    return min(ends)
