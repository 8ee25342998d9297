"""Whether a quote shows what a policy demands of a trust domain: one table of checks, along the chain of trust.

1. The quote is of a form that we know.
2. PCK certificate, CA and root make a path from a root that the policy names.
3. Both revocation lists are those of their issuers, whole and current; nothing used is on them.
4. TCB info and QE identity are signed by Intel's signer, about TDX, and current.
5. The PCK signed the report of a quoting enclave that is Intel's, and that names the attestation key.
6. The attestation key signed the quote.
7. Processor, TDX module and quoting enclave reach levels whose statuses together the policy accepts.
8. The TD may do what it should, and no more; its firmware is known.
9. REPORTDATA is the binding; on Azure, the hash of the runtime data, whose user-data is the binding.
10. The event log gives the registers, and these are as the policy says.

Sources: Intel TDX DCAP Quoting Library API, appendix 3; Intel PCS API v4; Intel SGX PCK Certificate and CRL Profile;
Intel TDX module ABI and base architecture. go-tdx-guest and dcap-qvl check the same; docs/attestation.md says where we
differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Final, Self

from attrs import evolve, frozen

from confsec.protocol import cbor
from confsec.protocol.checks import Check, CheckDefinition, Finding, Status, run_checks
from confsec.protocol.platforms import AZURE_RUNTIME_DATA, BINDING, CCEL, OPERATING_SYSTEM, TDX, TPM_AK
from confsec.protocol.rats import VENDOR, TeeFindings, VerificationRequest, Vouch
from confsec.tee.simulated.roots import SIMULATED_ROOTS
from confsec.tee.tdx import chain_checks as chain, tcb_checks as tcb, td_checks as td
from confsec.tee.tdx.policy import VALUE_LISTS, TdxPolicy
from confsec.tee.tdx.subject import Signed, Subject
from confsec.tee.tdx.tcb import merge_statuses

__all__ = ["CHECKS", "TdxVerifier", "read_tdx_policy"]

_QUOTE: Final = "Intel TDX DCAP Quoting Library API, appendix 3"
_PCK: Final = "Intel SGX PCK Certificate and CRL Profile"
_CRL: Final = "RFC 5280, section 6.3"
_PATH: Final = "RFC 5280, section 6.1"
_TCB_INFO: Final = "Intel PCS API v4, Get TDX TCB Info"
_QE: Final = "Intel PCS API v4, Get Quoting Enclave Identity"
_ABI: Final = "Intel TDX module ABI"
_POLICY: Final = "docs/policies.md, TDX"
_BINDING: Final = "docs/spec/attestation.md, Binding"
_CCEL: Final = "UEFI 2.10, section 38.4"


def _check(name: str, section: str, look: Callable[[Subject], Finding]) -> CheckDefinition[Subject]:
    return CheckDefinition(f"tdx.{name}", section, look)


def _essential(name: str, section: str, look: Callable[[Subject], Finding]) -> CheckDefinition[Subject]:
    return CheckDefinition(f"tdx.{name}", section, look, essential=True)


def _signed(which: Signed, section: str) -> tuple[CheckDefinition[Subject], ...]:
    """Return the rows for one of the two texts that Intel signs."""
    return (
        _essential(f"{which}-path", _PATH, partial(chain.signer_path, which=which)),
        _essential(f"{which}-root", _PATH, partial(chain.signer_root, which=which)),
        _essential(f"{which}-signer-signature", _PATH, partial(chain.signer_signature, which=which)),
        _check(f"{which}-signer-name", _PCK, partial(chain.signer_name, which=which)),
        _check(f"{which}-signer-extensions", "RFC 5280, section 4.2", partial(chain.signer_extensions, which=which)),
        _check(f"{which}-signer-validity", _PATH, partial(chain.signer_validity, which=which)),
        _check(f"{which}-signer-revoked", _CRL, partial(chain.signer_revoked, which=which)),
        _essential(f"{which}-signature", section, partial(chain.signed_signature, which=which)),
        _essential(which, section, partial(chain.signed_form, which=which)),
        _essential(f"{which}-id", section, partial(chain.signed_id, which=which)),
        _check(f"{which}-current", section, partial(chain.signed_current, which=which)),
    )


CHECKS: Final[tuple[CheckDefinition[Subject], ...]] = (
    # 1. The quote
    _essential("quote", _QUOTE, chain.quote),
    _essential("tee-type", _QUOTE, chain.tee_type),
    _essential("attestation-key-type", _QUOTE, chain.attestation_key_type),
    _check("qe-vendor", _QUOTE, chain.qe_vendor),
    _essential("certification-data", _QUOTE, chain.certification_data),
    # 2. From the root to the PCK certificate
    _essential("pck-path", _PCK, chain.pck_path),
    _essential("pck-root", "RFC 5280, section 6.1.1", chain.pck_root),
    _essential("pck-authority-signature", _PATH, chain.pck_authority_signature),
    _check("pck-authority", "RFC 5280, section 4.2.1.9", chain.pck_authority),
    _check("pck-key-usage", "RFC 5280, section 4.2.1.3", chain.pck_key_usage),
    _essential("pck-signature", _PATH, chain.pck_signature),
    _check("pck-names", _PCK, chain.pck_names),
    _check("pck-extensions", "RFC 5280, section 4.2", chain.pck_extensions),
    _check("pck-validity", _PATH, chain.pck_validity),
    # 3. Revocation lists
    _essential("collateral", "docs/spec/attestation.md, TDX collateral", chain.collateral),
    _check("root-crl-issuer", _CRL, chain.root_crl_issuer),
    _essential("root-crl-signature", _CRL, chain.root_crl_signature),
    _check("root-crl-current", _CRL, chain.root_crl_current),
    _check("root-crl-extensions", "RFC 5280, section 5.2", chain.root_crl_extensions),
    _check("pck-crl-issuer", _CRL, chain.pck_crl_issuer),
    _check("pck-crl-key-usage", "RFC 5280, section 4.2.1.3", chain.pck_crl_key_usage),
    _essential("pck-crl-signature", _CRL, chain.pck_crl_signature),
    _check("pck-crl-current", _CRL, chain.pck_crl_current),
    _check("pck-crl-extensions", "RFC 5280, section 5.2", chain.pck_crl_extensions),
    _check("pck-authority-revoked", _CRL, chain.pck_authority_revoked),
    _check("pck-revoked", _CRL, chain.pck_revoked),
    # 4. What Intel says of TCBs and quoting enclaves
    *_signed("tcb-info", _TCB_INFO),
    *_signed("qe-identity", _QE),
    # 5. The quoting enclave
    _essential("pck-sgx-extension", _PCK, tcb.pck_sgx_extension),
    _essential("qe-report-signature", _QUOTE, tcb.qe_report_signature),
    _essential("attestation-key", _QUOTE, tcb.attestation_key),
    _check("qe-signer", _QE, tcb.qe_signer),
    _check("qe-product", _QE, tcb.qe_product),
    _check("qe-misc-select", _QE, tcb.qe_misc_select),
    _check("qe-attributes", _QE, tcb.qe_attributes),
    _check("qe-debug", "Intel SDM, volume 3D, ATTRIBUTES", tcb.qe_debug),
    # 6. The quote's signature
    _essential("quote-signature", _QUOTE, tcb.quote_signature),
    # 7. The TCB
    _check("fmspc", _TCB_INFO, tcb.fmspc),
    _check("pce-id", _TCB_INFO, tcb.pce_id),
    _check("platform-level", _TCB_INFO, tcb.platform_level),
    _check("module-known", _TCB_INFO, tcb.module_known),
    _check("module-signer", _TCB_INFO, tcb.module_signer),
    _check("seam-attributes", _TCB_INFO, tcb.seam_attributes),
    _check("module-level", _TCB_INFO, tcb.module_level),
    _check("qe-level", _QE, tcb.qe_level),
    _check("tcb-status", _POLICY, tcb.tcb_status),
    _check("grace-period", _POLICY, tcb.grace_period),
    _check("advisories", _POLICY, tcb.advisories),
    _check("tcb-evaluation-number", _POLICY, tcb.tcb_evaluation_number),
    _check("qe-evaluation-number", _POLICY, tcb.qe_evaluation_number),
    _check("min-tee-tcb-svn", _POLICY, tcb.min_tee_tcb_svn),
    _check("min-qe-svn", _POLICY, tcb.min_qe_svn),
    _check("min-pce-svn", _POLICY, tcb.min_pce_svn),
    _check("dynamic-platform", _POLICY, tcb.dynamic_platform),
    _check("cached-keys", _POLICY, tcb.cached_keys),
    _check("smt", _POLICY, tcb.smt),
    # 8. The trust domain
    _check("debug", f"{_ABI}, ATTRIBUTES", td.debug),
    _check("attributes-reserved", f"{_ABI}, ATTRIBUTES", td.attributes_reserved),
    _check("migration", f"{_ABI}, ATTRIBUTES", td.migration),
    _check("sept-ve-disable", f"{_ABI}, ATTRIBUTES", td.sept_ve_disable),
    _check("xfam", "Intel TDX module base architecture, XFAM", td.xfam),
    _check("mr-service-td", f"{_ABI}, TDREPORT_STRUCT", td.mr_service_td),
    _check("mr-seam", _POLICY, td.mr_seam),
    _check("mr-td", _POLICY, td.mr_td),
    _check("mr-config-id", _POLICY, td.mr_config_id),
    _check("mr-owner", _POLICY, td.mr_owner),
    _check("mr-owner-config", _POLICY, td.mr_owner_config),
    _check("rtmr3", _POLICY, td.rtmr3),
    # 9. What it says
    _check("report-data", _BINDING, td.report_data),
    _essential("azure-runtime-data", "openhcl_attestation_protocol, igvm_attest", td.azure_runtime_data),
    _check("azure-user-data", _BINDING, td.azure_user_data),
    _check("azure-ak", _BINDING, td.azure_ak),
    # 10. What it booted
    _essential("ccel", _CCEL, td.ccel),
    _essential("ccel-replay-0", _CCEL, partial(td.ccel_replay, rtmr=0)),
    _essential("ccel-replay-1", _CCEL, partial(td.ccel_replay, rtmr=1)),
    _essential("ccel-replay-2", _CCEL, partial(td.ccel_replay, rtmr=2)),
    _check("rtmr0", _POLICY, partial(td.rtmr, rtmr=0)),
    _check("rtmr1", _POLICY, partial(td.rtmr, rtmr=1)),
    _check("rtmr2", _POLICY, partial(td.rtmr, rtmr=2)),
)
"""All checks, in order (reference: the steps above)."""

_REPLAYED: Final = ("tdx.ccel", "tdx.ccel-replay-0", "tdx.ccel-replay-1", "tdx.ccel-replay-2")
_BOOTED: Final = (*_REPLAYED, "tdx.mr-td", "tdx.rtmr0", "tdx.rtmr1", "tdx.rtmr2")


@frozen
class TdxVerifier:
    """Looks at the quote of a trust domain, at its event log, and at the runtime data of Azure's paravisor."""

    policy: TdxPolicy

    @property
    def name(self) -> str:
        """The table of a policy that it is read from."""
        return TDX

    @property
    def accepts_simulated(self) -> bool:
        """Whether it trusts a root whose private key is published."""
        return self.policy.accepts_simulated

    @property
    def lists(self) -> frozenset[str]:
        """The lists to which logged values may be added."""
        return VALUE_LISTS

    def with_values(self, values: Mapping[str, tuple[bytes, ...]]) -> Self:
        """Return the verifier that also accepts these values. Raises `ConfigError` for values of another form."""
        return evolve(self, policy=self.policy.with_values(values))

    @classmethod
    def from_item(cls, value: cbor.CborValue) -> Self:
        """Read the table of a policy. Raises `DecodeError`."""
        return cls(TdxPolicy.from_item(value))

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return the table as it stands in a policy."""
        return self.policy.to_item()

    def verify(self, request: VerificationRequest) -> TeeFindings:
        """Look at everything. Never raises for what a peer wrote."""
        subject = Subject(request=request, policy=self.policy)
        checks = run_checks(CHECKS, subject)
        good = frozenset(check.id for check in checks if check.status in {Status.PASS, Status.INFO})
        compared = frozenset(check.id for check in checks if check.status is Status.PASS)
        if not good.issuperset(definition.id for definition in CHECKS if definition.essential):
            return TeeFindings(name=self.name, checks=checks)
        return TeeFindings(
            name=self.name,
            checks=checks,
            claims=_claims(subject),
            vouches=_vouches(subject, checks, good, compared),
            simulated=subject.pck_chain.root.fingerprint in SIMULATED_ROOTS,
            collateral_numbers=_collateral_numbers(subject),
            expires=_expires(subject),
        )


def read_tdx_policy(value: cbor.CborValue) -> TdxVerifier:
    """Read the table `[tdx]` of a policy: the `VerifierReader` for TDX. Raises `DecodeError`."""
    return TdxVerifier.from_item(value)


# --- What follows from the checks -------------------------------------------------------------------------------------


def _vouches(
    subject: Subject, checks: Collection[Check], good: frozenset[str], compared: frozenset[str]
) -> tuple[Vouch, ...]:
    """Return the edges of the binding graph. What rests on a check that did not pass is left out.

    The quote is vouched for if nothing up to the TCB failed, and the rest only below it: a TD that the host can look
    into vouches for nothing. What the policy takes any value of was not compared, and says nothing about the system.
    """
    later = ("tdx.report-data", "tdx.azure-user-data", "tdx.azure-ak", *_BOOTED)
    if not all(check.id in good or check.id in later for check in checks):
        return ()
    vouches = [Vouch(VENDOR, TDX, "Intel's root certifies the platform, and its quoting enclave signed the quote")]
    if "tdx.report-data" in good:
        own = [Vouch(TDX, BINDING, "REPORTDATA is the binding")]
        vouches += _azure_vouches(good, compared) if subject.on_azure else own
    if not subject.on_azure and good.issuperset(_REPLAYED):
        vouches.append(Vouch(TDX, CCEL, "the event log gives RTMR0 to RTMR2"))
        if compared.issuperset(_BOOTED):
            vouches.append(Vouch(TDX, OPERATING_SYSTEM, "MRTD and RTMR0 to RTMR2 are as the policy says"))
    return tuple(vouches)


def _azure_vouches(good: frozenset[str], compared: frozenset[str]) -> list[Vouch]:
    """Return what the paravisor's runtime data vouches for. The operating system is known from PCRs, not from here.

    It vouches only if MRTD was compared: a TD without that paravisor can write any runtime data.
    """
    vouches = [Vouch(TDX, AZURE_RUNTIME_DATA, "REPORTDATA is the hash of the runtime data")]
    if "tdx.mr-td" not in compared:
        return vouches
    if "tdx.azure-user-data" in good:
        vouches.append(Vouch(AZURE_RUNTIME_DATA, BINDING, "user-data is the binding"))
    if "tdx.azure-ak" in good:
        vouches.append(Vouch(AZURE_RUNTIME_DATA, TPM_AK, "HCLAkPub is the AK"))
    return vouches


def _claims(subject: Subject) -> Mapping[str, cbor.CborValue]:
    """Return what the quote says, in numbers and digests."""
    body = subject.td
    return {
        "quote_version": subject.quote.header.version,
        "fmspc": subject.pck.fmspc.hex(),
        "platform_instance_id": (subject.pck.platform_instance_id or b"").hex(),
        **_tcb_claims(subject),
        "tcb_evaluation_number": subject.tcb_info.evaluation_number,
        "tee_tcb_svn": body.tee_tcb_svn.hex(),
        "mr_seam": body.mr_seam.hex(),
        "mr_td": body.mr_td.hex(),
        "mr_config_id": body.mr_config_id.hex(),
        "mr_owner": body.mr_owner.hex(),
        "mr_owner_config": body.mr_owner_config.hex(),
        **{f"rtmr{index}": value.hex() for index, value in enumerate(body.rtmrs)},
        "td_attributes": body.td_attributes.hex(),
        "xfam": body.xfam.hex(),
        "debug": bool(body.td_attributes[0] & td.DEBUG),
        "report_data": body.report_data.hex(),
    }


def _tcb_claims(subject: Subject) -> Mapping[str, cbor.CborValue]:
    """Return how far behind the TCB is. A platform that reaches no level has no status."""
    levels, newest = subject.levels, max((level.tcb_date for level in subject.tcb_info.levels), default=None)
    advisories: list[cbor.CborValue] = []
    advisories += sorted({advisory for level in levels for advisory in level.advisories})
    complete = subject.platform_level and subject.qe_level and (subject.module_level or not subject.module_is_versioned)
    return {
        "tcb_status": merge_statuses(level.status for level in levels).value if complete else "none",
        "tcb_date": f"{min(level.tcb_date for level in levels):%Y-%m-%d}" if complete else "none",
        "tcb_newest_date": f"{newest:%Y-%m-%d}" if newest else "none",
        "advisories": advisories,
    }


def _collateral_numbers(subject: Subject) -> Mapping[str, int]:
    """Return tcbEvaluationDataNumber of both texts that Intel signs."""
    return {
        f"TCB info of {subject.pck.fmspc.hex()}": subject.tcb_info.evaluation_number,
        "QE identity": subject.qe_identity.evaluation_number,
    }


def _expires(subject: Subject) -> datetime:
    """Return when the first thing that was used ends."""
    certificates = {*subject.pck_chain, *subject.signer_chain("tcb-info"), *subject.signer_chain("qe-identity")}
    return min(
        *(certificate.not_after for certificate in certificates),
        subject.root_crl.next_update,
        subject.pck_crl.next_update,
        subject.tcb_info.next_update,
        subject.qe_identity.next_update,
    )
