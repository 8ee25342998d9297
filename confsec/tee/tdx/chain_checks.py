"""Checks of the quote's form, of certificates and revocation lists, and of what Intel signs: up to the QE identity.

Each function is one row of the table in `verifier.py`. Where it looks at one of the two signed texts, `which` says at
which. Path lengths are not looked at: the paths have exactly the certificates that Intel's have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from confsec.protocol.checks import Finding, equal, holds, one_of, passed
from confsec.tee.simulated.roots import SIMULATED_INTEL_ROOTS, SIMULATED_OID
from confsec.tee.tdx.evidence import CERTIFICATION_PCK_CHAIN, ECDSA_P256, INTEL_QE_VENDOR
from confsec.tee.tdx.subject import Signed, Subject, verify_text
from confsec.tee.x509 import (
    BASIC_CONSTRAINTS,
    CLOCK_SKEW,
    KEY_USAGE,
    Certificate,
    RevocationList,
    verify_certificate_signature,
    verify_crl_current,
    verify_crl_extensions,
    verify_crl_issuer,
    verify_crl_signature,
    verify_extensions,
    verify_is_authority,
    verify_not_revoked,
    verify_root,
    verify_signs_certificates,
    verify_signs_crls,
    verify_valid_at,
)

__all__ = [
    "attestation_key_type",
    "certification_data",
    "collateral",
    "pck_authority",
    "pck_authority_revoked",
    "pck_authority_signature",
    "pck_crl_current",
    "pck_crl_extensions",
    "pck_crl_issuer",
    "pck_crl_key_usage",
    "pck_crl_signature",
    "pck_extensions",
    "pck_key_usage",
    "pck_names",
    "pck_path",
    "pck_revoked",
    "pck_root",
    "pck_signature",
    "pck_validity",
    "qe_vendor",
    "quote",
    "root_crl_current",
    "root_crl_extensions",
    "root_crl_issuer",
    "root_crl_signature",
    "signed_current",
    "signed_form",
    "signed_id",
    "signed_signature",
    "signer_extensions",
    "signer_name",
    "signer_path",
    "signer_revoked",
    "signer_root",
    "signer_signature",
    "signer_validity",
    "tee_type",
]

_PCK: Final = "Intel SGX PCK Certificate"
_AUTHORITIES: Final = ("Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA")
_SIGNER: Final = "Intel SGX TCB Signing"
_TEXTS: Final = {"tcb-info": "the TCB info", "qe-identity": "the QE identity"}
_PCS: Final = "Intel PCS API v4"


# --- The quote --------------------------------------------------------------------------------------------------------


def quote(subject: Subject) -> Finding:
    """Read the quote: a version that we know, and lengths that add up exactly."""
    return passed("the quote can be read, and ends where it says", got=f"version {subject.quote.header.version}")


def tee_type(subject: Subject) -> Finding:
    """Have a quote of a trust domain, and not of an enclave."""
    return equal("the TEE type", subject.quote.header.tee_type, subject.tee.tee_type)


def attestation_key_type(subject: Subject) -> Finding:
    """Have a signature of the one kind that we verify."""
    return equal("the type of the attestation key", subject.quote.header.attestation_key_type, ECDSA_P256)


def qe_vendor(subject: Subject) -> Finding:
    """Have a quoting enclave of Intel's."""
    return equal("the vendor of the quoting enclave", subject.quote.header.qe_vendor_id, INTEL_QE_VENDOR)


def certification_data(subject: Subject) -> Finding:
    """Have the certificates in the quote: what else could stand there names them by ids of the platform."""
    kind = subject.quote.signature.certification_type
    return equal("the type of the certification data", kind, CERTIFICATION_PCK_CHAIN)


# --- PCK certificate, CA and root -------------------------------------------------------------------------------------


def pck_path(subject: Subject) -> Finding:
    """Have exactly PCK certificate, CA and root, each named by the one before."""
    return passed("the quote has PCK certificate, CA and root", got=subject.pck_chain.leaf.subject.text)


def pck_root(subject: Subject) -> Finding:
    """Have a root that the policy names."""
    verify_root(subject.pck_chain.root, subject.policy.trust_anchors)
    return passed("the root is one that the policy trusts", got=subject.pck_chain.root.fingerprint)


def pck_authority_signature(subject: Subject) -> Finding:
    """Have the CA signed by the root."""
    verify_certificate_signature(subject.pck_chain.authority, subject.pck_chain.root)
    return passed("the root signed the CA", got=subject.pck_chain.authority.subject.text)


def pck_authority(subject: Subject) -> Finding:
    """Have a CA that is one."""
    verify_is_authority(subject.pck_chain.authority)
    return passed("the CA is an authority")


def pck_key_usage(subject: Subject) -> Finding:
    """Have a CA whose key may sign certificates."""
    verify_signs_certificates(subject.pck_chain.authority)
    return passed("the key of the CA may sign certificates")


def pck_signature(subject: Subject) -> Finding:
    """Have the PCK certificate signed by the CA."""
    verify_certificate_signature(subject.pck_chain.leaf, subject.pck_chain.authority)
    return passed("the CA signed the PCK certificate", got=f"serial number {subject.pck_chain.leaf.serial:#x}")


def pck_names(subject: Subject) -> Finding:
    """Have certificates of the right roles: the root issues others too, such as the signer of TCB info."""
    chain = subject.pck_chain
    names = (chain.leaf.subject.common_name, chain.authority.subject.common_name)
    return one_of("the pair of names of PCK certificate and CA", names, [(_PCK, name) for name in _AUTHORITIES])


def pck_extensions(subject: Subject) -> Finding:
    """Have no critical extension that we do not know."""
    _verify_extensions(subject.pck_chain, subject.pck_chain.root)
    return passed("no certificate of the PCK has a critical extension that we do not know")


def pck_validity(subject: Subject) -> Finding:
    """Have certificates that are valid at that time."""
    for certificate in subject.pck_chain:
        verify_valid_at(certificate, subject.at)
    return passed("PCK certificate, CA and root are valid", got=f"{subject.at:%Y-%m-%d %H:%M}")


# --- Revocation lists -------------------------------------------------------------------------------------------------


def collateral(subject: Subject) -> Finding:
    """Have Intel's collateral, of a form that can be read, with both lists."""
    revoked = len(subject.root_crl.entries) + len(subject.pck_crl.entries)
    return passed("Intel's collateral is there, with both revocation lists", got=f"{revoked} entries")


def root_crl_issuer(subject: Subject) -> Finding:
    """Have the list of this root."""
    return _issued(subject.root_crl, subject.pck_chain.root)


def root_crl_signature(subject: Subject) -> Finding:
    """Have the root's list signed by it."""
    return _crl_signed(subject.root_crl, subject.pck_chain.root)


def root_crl_current(subject: Subject) -> Finding:
    """Have the root's list that was current at that time."""
    return _crl_current(subject.root_crl, subject)


def root_crl_extensions(subject: Subject) -> Finding:
    """Have a list of all that the root revoked, and not of a part."""
    return _crl_plain(subject.root_crl)


def pck_crl_issuer(subject: Subject) -> Finding:
    """Have the list of the CA that issued this PCK certificate."""
    return _issued(subject.pck_crl, subject.pck_chain.authority)


def pck_crl_key_usage(subject: Subject) -> Finding:
    """Have a CA whose key may sign revocation lists."""
    verify_signs_crls(subject.pck_chain.authority)
    return passed("the key of the CA may sign revocation lists")


def pck_crl_signature(subject: Subject) -> Finding:
    """Have the CA's list signed by it."""
    return _crl_signed(subject.pck_crl, subject.pck_chain.authority)


def pck_crl_current(subject: Subject) -> Finding:
    """Have the CA's list that was current at that time."""
    return _crl_current(subject.pck_crl, subject)


def pck_crl_extensions(subject: Subject) -> Finding:
    """Have a list of all that the CA revoked, and not of a part."""
    return _crl_plain(subject.pck_crl)


def pck_authority_revoked(subject: Subject) -> Finding:
    """Have a CA that the root did not revoke."""
    return _not_revoked(subject.pck_chain.authority, subject.root_crl)


def pck_revoked(subject: Subject) -> Finding:
    """Have a PCK certificate that its CA did not revoke."""
    return _not_revoked(subject.pck_chain.leaf, subject.pck_crl)


# --- TCB info and QE identity -----------------------------------------------------------------------------------------


def signer_path(subject: Subject, which: Signed) -> Finding:
    """Have exactly signer and root."""
    return passed(f"{_TEXTS[which]} has signer and root", got=subject.signer_chain(which).signer.subject.text)


def signer_root(subject: Subject, which: Signed) -> Finding:
    """Have the root of the PCK certificate: its revocation list is the one that was checked."""
    got, want = subject.signer_chain(which).root.fingerprint, subject.pck_chain.root.fingerprint
    return equal(f"the root above the signer of {_TEXTS[which]}", got, want)


def signer_signature(subject: Subject, which: Signed) -> Finding:
    """Have the signer certified by the root."""
    chain = subject.signer_chain(which)
    verify_certificate_signature(chain.signer, chain.root)
    return passed(f"the root signed the signer of {_TEXTS[which]}", got=f"serial number {chain.signer.serial:#x}")


def signer_name(subject: Subject, which: Signed) -> Finding:
    """Have Intel's signer of TCB info: the root certifies others, which may not speak of TCBs."""
    name = subject.signer_chain(which).signer.subject.common_name
    return equal(f"the name of the signer of {_TEXTS[which]}", name, _SIGNER)


def signer_extensions(subject: Subject, which: Signed) -> Finding:
    """Have no critical extension that we do not know."""
    chain = subject.signer_chain(which)
    _verify_extensions(chain, chain.root)
    return passed(f"the signer of {_TEXTS[which]} has no critical extension that we do not know")


def signer_validity(subject: Subject, which: Signed) -> Finding:
    """Have a signer that is valid at that time."""
    verify_valid_at(subject.signer_chain(which).signer, subject.at)
    return passed(f"the signer of {_TEXTS[which]} is valid", got=f"{subject.at:%Y-%m-%d %H:%M}")


def signer_revoked(subject: Subject, which: Signed) -> Finding:
    """Have a signer that the root did not revoke."""
    return _not_revoked(subject.signer_chain(which).signer, subject.root_crl)


def signed_signature(subject: Subject, which: Signed) -> Finding:
    """Have the exact text signed."""
    text, signature = subject.signed_text(which)
    verify_text(_TEXTS[which], subject.signer_chain(which).signer.public_key_info, signature, text, section=_PCS)
    return passed(f"Intel's signer signed {_TEXTS[which]}", got=f"{len(text)} bytes")


def signed_form(subject: Subject, which: Signed) -> Finding:
    """Have a text of a version that we know, which says all that it has to."""
    issued = subject.issued(which)
    return passed(f"{_TEXTS[which]} can be read", got=f"evaluation {issued.evaluation_number}")


def signed_id(subject: Subject, which: Signed) -> Finding:
    """Have a text about this kind of TEE: the same signer signs those for SGX."""
    want = subject.tee.tcb_info_id if which == "tcb-info" else subject.tee.qe_identity_id
    return equal(f"the kind of {_TEXTS[which]}", subject.issued(which).id, want)


def signed_current(subject: Subject, which: Signed) -> Finding:
    """Have the text that was current at that time: issued, up to the clock's skew, and not yet due again."""
    issued, at = subject.issued(which), subject.at
    current = issued.issue_date - at <= CLOCK_SKEW and at <= issued.next_update
    want = f"{issued.issue_date:%Y-%m-%d %H:%M} to {issued.next_update:%Y-%m-%d %H:%M}"
    good, bad = f"{_TEXTS[which]} is current", f"{_TEXTS[which]} is not current"
    return holds(current, good, bad, want=want, got=f"{at:%Y-%m-%d %H:%M}")


# --- Parts ------------------------------------------------------------------------------------------------------------


def _verify_extensions(certificates: Sequence[Certificate], root: Certificate) -> None:
    """Refuse unknown critical extensions. The mark of simulators is known below their own roots only."""
    known = {BASIC_CONSTRAINTS, KEY_USAGE}
    if root.fingerprint in SIMULATED_INTEL_ROOTS:
        known.add(SIMULATED_OID)
    for certificate in certificates:
        verify_extensions(certificate, known=known)


def _issued(crl: RevocationList, issuer: Certificate) -> Finding:
    verify_crl_issuer(crl, issuer)
    return passed("the revocation list is that of the issuer", got=crl.issuer.text)


def _crl_signed(crl: RevocationList, issuer: Certificate) -> Finding:
    verify_crl_signature(crl, issuer)
    return passed("the issuer signed its revocation list", got=issuer.subject.text)


def _crl_current(crl: RevocationList, subject: Subject) -> Finding:
    verify_crl_current(crl, subject.at)
    return passed("the revocation list is current", got=f"until {crl.next_update:%Y-%m-%d %H:%M}")


def _crl_plain(crl: RevocationList) -> Finding:
    verify_crl_extensions(crl)
    return passed("the revocation list is a whole one", got=f"{len(crl.entries)} entries")


def _not_revoked(certificate: Certificate, crl: RevocationList) -> Finding:
    verify_not_revoked(certificate, crl)
    return passed("the certificate is not revoked", got=f"serial number {certificate.serial:#x}")
