"""Checks of the quoting enclave, of the quote's signature, and of the TCB: processor, TDX module, quoting enclave.

Each function is one row of the table in `verifier.py`.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from confsec.errors import EvidenceError
from confsec.protocol.checks import Finding, at_least, equal, failed, holds, one_of, passed
from confsec.tee.tdx.subject import Subject, verify_p256
from confsec.tee.tdx.tcb import merge_statuses

__all__ = [
    "advisories",
    "attestation_key",
    "cached_keys",
    "dynamic_platform",
    "fmspc",
    "grace_period",
    "min_pce_svn",
    "min_qe_svn",
    "min_tee_tcb_svn",
    "module_known",
    "module_level",
    "module_signer",
    "pce_id",
    "pck_sgx_extension",
    "platform_level",
    "qe_attributes",
    "qe_debug",
    "qe_evaluation_number",
    "qe_level",
    "qe_misc_select",
    "qe_product",
    "qe_report_signature",
    "qe_signer",
    "quote_signature",
    "seam_attributes",
    "smt",
    "tcb_evaluation_number",
    "tcb_status",
]

_QUOTE: Final = "Intel TDX DCAP Quoting Library API, appendix 3"
_QE: Final = "Intel PCS API v4, Get Quoting Enclave Identity"
_POINT: Final = 32


# --- The quoting enclave ----------------------------------------------------------------------------------------------


def pck_sgx_extension(subject: Subject) -> Finding:
    """Have a PCK certificate that says which platform it is for."""
    return passed("the PCK certificate names its platform", got=f"FMSPC {subject.pck.fmspc.hex()}")


def qe_report_signature(subject: Subject) -> Finding:
    """Have the report of the quoting enclave signed by the platform's PCK."""
    signature = subject.quote.signature
    key = subject.pck_chain.leaf.public_key
    verify_p256("the QE report", key, signature.qe_report_signature, signature.qe_report, section=_QUOTE)
    return passed("the PCK signed the report of the quoting enclave")


def attestation_key(subject: Subject) -> Finding:
    """Have a quoting enclave that names this attestation key: by the hash of key and data, and zeros."""
    signature = subject.quote.signature
    want = hashlib.sha256(signature.attestation_key + signature.qe_auth_data).digest() + bytes(32)
    return equal("what the quoting enclave says of its attestation key", subject.qe_report.report_data, want)


def qe_signer(subject: Subject) -> Finding:
    """Have Intel's quoting enclave, by who signed it."""
    return equal("MRSIGNER of the quoting enclave", subject.qe_report.mr_signer, subject.qe_identity.mr_signer)


def qe_product(subject: Subject) -> Finding:
    """Have Intel's quoting enclave, by its product number."""
    return equal("ISVPRODID of the quoting enclave", subject.qe_report.isv_prod_id, subject.qe_identity.isv_prod_id)


def qe_misc_select(subject: Subject) -> Finding:
    """Have MISCSELECT as Intel says, under its mask."""
    identity = subject.qe_identity
    got = _masked(subject.qe_report.misc_select, identity.misc_select_mask)
    return equal("MISCSELECT of the quoting enclave", got, _masked(identity.misc_select, identity.misc_select_mask))


def qe_attributes(subject: Subject) -> Finding:
    """Have ATTRIBUTES as Intel says, under its mask."""
    identity = subject.qe_identity
    got = _masked(subject.qe_report.attributes, identity.attributes_mask)
    return equal("ATTRIBUTES of the quoting enclave", got, _masked(identity.attributes, identity.attributes_mask))


def qe_debug(subject: Subject) -> Finding:
    """Have a quoting enclave that nobody looks into, whatever the mask says."""
    good, bad = "the quoting enclave cannot be debugged", "the quoting enclave can be debugged: its keys are not secret"
    return holds(not subject.qe_report.debug, good, bad, want="no", got="yes" if subject.qe_report.debug else "no")


def qe_level(subject: Subject) -> Finding:
    """Have a quoting enclave that reaches some level."""
    level = subject.qe_level
    if level is None:
        return failed("the quoting enclave reaches no level", got=f"ISVSVN {subject.qe_report.isv_svn}")
    return passed("the quoting enclave reaches a level", got=level.status.value)


def quote_signature(subject: Subject) -> Finding:
    """Have the quote signed by the attestation key."""
    quote = subject.quote
    key = _point(quote.signature.attestation_key)
    verify_p256("the quote", key, quote.signature.signature, quote.signed_bytes, section=_QUOTE)
    return passed("the attestation key signed the quote")


# --- Levels -----------------------------------------------------------------------------------------------------------


def fmspc(subject: Subject) -> Finding:
    """Have TCB info for this kind of platform."""
    return equal("FMSPC of the TCB info", subject.tcb_info.fmspc, subject.pck.fmspc)


def pce_id(subject: Subject) -> Finding:
    """Have TCB info for this provisioning certification enclave."""
    return equal("PCEID of the TCB info", subject.tcb_info.pce_id, subject.pck.pce_id)


def platform_level(subject: Subject) -> Finding:
    """Have a platform that reaches some level."""
    level = subject.platform_level
    if level is None:
        got = f"components {bytes(subject.pck.components).hex()}, PCESVN {subject.pck.pce_svn}"
        return failed("the platform reaches no TCB level", got=got)
    return passed("the platform reaches a TCB level", got=level.status.value)


def module_known(subject: Subject) -> Finding:
    """Have a TDX module of a version that Intel knows."""
    version = subject.td.tee_tcb_svn[1]
    known = subject.module is not None
    return holds(known, "Intel knows this version of the TDX module", "no identity of this TDX module", got=version)


def module_signer(subject: Subject) -> Finding:
    """Have a TDX module of its signer."""
    module = subject.module
    if module is None:
        return passed("there is no identity to compare with")
    return equal("MRSIGNERSEAM", subject.td.mr_signer_seam, module.mr_signer)


def seam_attributes(subject: Subject) -> Finding:
    """Have a TDX module with the attributes that Intel says under its mask, and none outside of it."""
    module = subject.module
    if module is None:
        return passed("there is no identity to compare with")
    return equal(
        "SEAMATTRIBUTES", subject.td.seam_attributes, _masked(module.attributes, module.attributes_mask)
    )  # fmt: skip


def module_level(subject: Subject) -> Finding:
    """Have a TDX module that reaches some level, where modules have levels of their own."""
    if subject.module is None or not subject.module_is_versioned:
        return passed("the levels of the platform judge the TDX module")
    level = subject.module_level
    if level is None:
        return failed("the TDX module reaches no level", got=f"SVN {subject.td.tee_tcb_svn[0]}")
    return passed("the TDX module reaches a level", got=level.status.value)


def tcb_status(subject: Subject) -> Finding:
    """Have a status of platform, TDX module and quoting enclave together that the policy accepts."""
    accepted = [status.value for status in subject.policy.accepted_tcb_statuses]
    return one_of("the TCB status", merge_statuses(level.status for level in subject.levels).value, accepted)


def grace_period(subject: Subject) -> Finding:
    """Have no level that is out of date for longer than the policy allows."""
    grace, at = subject.policy.grace, subject.at
    late = [level for level in subject.levels if level.status.out_of_date and at - level.tcb_date > grace]
    want = f"at most {subject.policy.grace_days} days"
    if late:
        oldest = min(level.tcb_date for level in late)
        return failed("the TCB is out of date for too long", want=want, got=f"level of {oldest:%Y-%m-%d}")
    return passed("nothing is out of date for longer than the policy allows", want=want)


def advisories(subject: Subject) -> Finding:
    """Have no advisory that the policy denies."""
    found = {advisory for level in subject.levels for advisory in level.advisories}
    denied = sorted(found.intersection(subject.policy.denied_advisories))
    good, bad = "no advisory applies that the policy denies", f"advisories apply that it denies: {', '.join(denied)}"
    want = f"none of {', '.join(subject.policy.denied_advisories)}" if subject.policy.denied_advisories else None
    return holds(not denied, good, bad, want=want, got=", ".join(sorted(found)) or "none")


def tcb_evaluation_number(subject: Subject) -> Finding:
    """Have TCB info that knows of the recoveries that the policy asks for."""
    got, want = subject.tcb_info.evaluation_number, subject.policy.min_tcb_evaluation
    return at_least("tcbEvaluationDataNumber of the TCB info", got, want)


def qe_evaluation_number(subject: Subject) -> Finding:
    """Have a QE identity that knows of the recoveries that the policy asks for."""
    got, want = subject.qe_identity.evaluation_number, subject.policy.min_tcb_evaluation
    return at_least("tcbEvaluationDataNumber of the QE identity", got, want)


# --- Floors and flags of the policy -----------------------------------------------------------------------------------


def min_tee_tcb_svn(subject: Subject) -> Finding:
    """Have each SVN of the TDX module and of what it rests on as high as the policy asks."""
    got, want = subject.td.tee_tcb_svn, subject.policy.min_tee_tcb_svn
    reached = all(have >= need for have, need in zip(got, want, strict=True))
    return holds(reached, "TEE_TCB_SVN is high enough", "TEE_TCB_SVN is too low", want=want, got=got)


def min_qe_svn(subject: Subject) -> Finding:
    """Have the quoting enclave as new as the policy asks."""
    return at_least("ISVSVN of the quoting enclave", subject.qe_report.isv_svn, subject.policy.min_qe_svn)


def min_pce_svn(subject: Subject) -> Finding:
    """Have the certification enclave as new as the policy asks, as Intel certified it."""
    return at_least("PCESVN of the PCK certificate", subject.pck.pce_svn, subject.policy.min_pce_svn)


def dynamic_platform(subject: Subject) -> Finding:
    """Have no platform to which processors may be added, unless the policy allows it."""
    return _flag("the platform is dynamic", subject.pck.dynamic_platform, allowed=subject.policy.allow_dynamic_platform)


def cached_keys(subject: Subject) -> Finding:
    """Have no platform whose root keys Intel keeps, unless the policy allows it."""
    return _flag("Intel keeps the platform's keys", subject.pck.cached_keys, allowed=subject.policy.allow_cached_keys)


def smt(subject: Subject) -> Finding:
    """Have no platform with two threads on a core, unless the policy allows it."""
    return _flag("two threads share a core", subject.pck.smt_enabled, allowed=subject.policy.allow_smt)


# --- Parts ------------------------------------------------------------------------------------------------------------


def _flag(what: str, value: bool | None, *, allowed: bool) -> Finding:  # noqa: FBT001  # the value of a certificate
    """Judge a flag of the PCK certificate. What it does not say may be so."""
    got = {None: "not said", True: "yes", False: "no"}[value]
    want = "either" if allowed else "no"
    return holds(allowed or value is False, "as the policy allows", f"{what}, or may", want=want, got=got)


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(each & bits for each, bits in zip(value, mask, strict=True))


def _point(encoded: bytes) -> ec.EllipticCurvePublicKey:
    """Read x and y of a point. Raises `EvidenceError` if it is not on the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + encoded)
    except ValueError as exc:
        raise EvidenceError("the attestation key is no point of P-256", section=_QUOTE) from exc
