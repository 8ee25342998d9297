"""Checks of the certificates behind a report, and of AMD's revocation list (AMD 57230; RFC 5280)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from confsec.errors import ConfsecError
from confsec.protocol.checks import Finding, equal, failed, holds, informs, one_of, passed, skipped
from confsec.tee.sev_snp.certificates import AMD_ROOTS
from confsec.tee.sev_snp.evidence import SigningKey, possible_products
from confsec.tee.sev_snp.subject import SNP_CRL, SnpSubject
from confsec.tee.simulated.roots import SIMULATED_OID
from confsec.tee.x509 import (
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    RevocationList,
    verify_certificate_signature,
    verify_crl_current,
    verify_crl_extensions,
    verify_crl_issuer,
    verify_extensions,
    verify_is_authority,
    verify_not_revoked,
    verify_path_length,
    verify_root,
    verify_signs_certificates,
    verify_signs_crls,
    verify_valid_at,
)

__all__ = [
    "chain_algorithms",
    "chain_authorities",
    "chain_ends",
    "chain_extensions",
    "chain_key_usage",
    "chain_names",
    "chain_path_length",
    "chain_product",
    "chain_signatures",
    "chain_validity",
    "crl",
    "crl_current",
    "crl_extensions",
    "crl_issuer",
    "crl_signature",
    "crl_url",
    "crl_usage",
    "leaf_extensions",
    "leaf_identity",
    "leaf_key",
    "leaf_kind",
    "processor",
    "revocation",
    "root",
    "signing_certificate",
]

_ALGORITHM: Final = "RSASSA-PSS SHA384"
_KNOWN: Final = (BASIC_CONSTRAINTS, KEY_USAGE)
_CURVE: Final = "secp384r1"
_COMMON_NAME: Final = "2.5.4.3"


def signing_certificate(subject: SnpSubject) -> Finding:
    """Find the certificate of the key that signed."""
    return passed("there is one certificate of a signing key", got=subject.leaf.subject.common_name)


def chain_ends(subject: SnpSubject) -> Finding:
    """Follow the issuers up to a root."""
    return holds(
        subject.root.self_issued,
        "each certificate names its issuer, up to a root",
        "the path of issuers ends before a root",
        want="a root",
        got=" < ".join(each.subject.common_name for each in subject.path),
    )


def root(subject: SnpSubject) -> Finding:
    """Compare the root with the trust anchors."""
    verify_root(subject.root, subject.policy.trust_anchors)
    name = next((name for name, digest in AMD_ROOTS.items() if digest == subject.root.fingerprint), "")
    return passed("the root is a trust anchor of the policy", got=name or subject.root.fingerprint)


def chain_signatures(subject: SnpSubject) -> Finding:
    """Verify each signature with the key of the issuer. The root needs none: its digest is in the policy."""
    for certificate, issuer in subject.pairs:
        verify_certificate_signature(certificate, issuer)
    return passed("each certificate is signed by its issuer", got=f"{len(subject.pairs)} signatures")


def chain_algorithms(subject: SnpSubject) -> Finding:
    """Have each certificate signed as AMD signs."""
    others = [each.algorithm for each in subject.path if each.algorithm != _ALGORITHM]
    return holds(
        not others,
        "each certificate is signed in AMD's way",
        "a certificate is signed in another way than AMD does it",
        want=_ALGORITHM,
        got=", ".join(others) or _ALGORITHM,
    )


def chain_authorities(subject: SnpSubject) -> Finding:
    """Have each issuer be an authority."""
    for _, issuer in subject.pairs:
        verify_is_authority(issuer)
    return passed("each issuer is an authority")


def chain_path_length(subject: SnpSubject) -> Finding:
    """Count the authorities below each issuer."""
    for below, (_, issuer) in enumerate(subject.pairs):
        verify_path_length(issuer, authorities_below=below)
    return passed("no path is longer than its issuer allows")


def chain_key_usage(subject: SnpSubject) -> Finding:
    """Have each issuer's key be for certificates."""
    for _, issuer in subject.pairs:
        verify_signs_certificates(issuer)
    return passed("each issuer's key is for certificates", got="keyCertSign")


def chain_extensions(subject: SnpSubject) -> Finding:
    """Refuse what is critical and unknown. A simulator's mark is known below a simulator's root, and nowhere else."""
    known = (*_KNOWN, SIMULATED_OID) if subject.simulated else _KNOWN
    for each in subject.path:
        verify_extensions(each, known=known)
    return passed("no certificate has a critical extension that is unknown")


def chain_validity(subject: SnpSubject) -> Finding:
    """Have each certificate be valid when the evidence has to be."""
    for each in subject.path:
        verify_valid_at(each, subject.request.at)
    return passed("each certificate is valid", got=f"until {min(each.not_after for each in subject.path):%Y-%m-%d}")


def chain_names(subject: SnpSubject) -> Finding:
    """Compare the owners: but for the common names, all names are the root's."""
    owner = _owner(subject.root.subject.attributes)
    others = [each.subject.text for each in subject.path if _owner(each.subject.attributes) != owner]
    return holds(
        not others,
        "all certificates are of one owner",
        "a certificate is of another owner than its root",
        want=subject.root.subject.text,
        got=", ".join(others),
    )


def _owner(attributes: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(each for each in attributes if each[0] != _COMMON_NAME))


def leaf_extensions(subject: SnpSubject) -> Finding:
    """Read what AMD says of the signing key."""
    return passed("the signing key's certificate says of which product and level it is", got=subject.chip.tcb.text)


def chain_product(subject: SnpSubject) -> Finding:
    """Have intermediate and root be those of the signing key's product and kind."""
    want = (subject.names.intermediate, subject.names.root)
    got = tuple(each.subject.common_name for each in subject.path[1:])
    return holds(
        got == want,
        "the path is that of the product",
        "the path is of another product, or of another kind of key",
        want=" < ".join(want),
        got=" < ".join(got),
    )


def leaf_kind(subject: SnpSubject) -> Finding:
    """Compare the kind of key with KEY_INFO of the report."""
    return equal("the kind of the signing key", subject.leaf_kind.name, subject.report.signing_key.name)


def leaf_identity(subject: SnpSubject) -> Finding:
    """Have a VCEK name its chip, and a VLEK its cloud; neither names both."""
    chip, vlek = subject.chip, subject.leaf_kind is SigningKey.VLEK
    return holds(
        (chip.hwid is None) is vlek and (chip.csp_id is not None) is vlek,
        "the certificate names what its key belongs to",
        "the certificate does not name what its key belongs to",
        want="HWID in a VCEK, CSP_ID in a VLEK",
        got=", ".join(name for name, value in (("HWID", chip.hwid), ("CSP_ID", chip.csp_id)) if value is not None),
    )


def leaf_key(subject: SnpSubject) -> Finding:
    """Have the signing key on P-384."""
    key = subject.leaf.public_key
    return equal("the signing key", key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else "RSA", _CURVE)


def crl_url(subject: SnpSubject) -> Finding:
    """Have the intermediate name the revocation list of its product and kind of key, if any."""
    want = f"/{subject.leaf_kind.name.lower()}/v1/{subject.product.value}/crl"
    urls = subject.path[1].crl_urls
    if not urls:
        return informs("the intermediate does not say where its revocation list is")
    return holds(
        all(url.endswith(want) for url in urls),
        "the intermediate names the revocation list of its product",
        "the intermediate names a revocation list of another product",
        want=want,
        got=", ".join(urls),
    )


def processor(subject: SnpSubject) -> Finding:
    """Compare the report's processor with the product that the certificate names."""
    possible = sorted(product.value for product in possible_products(subject.report))
    return one_of("the product", subject.product.value, possible)


# --- Revocation -------------------------------------------------------------------------------------------------------


def crl(subject: SnpSubject) -> Finding:
    """Demand a revocation list, unless the policy does without."""
    if subject.crl is not None:
        return passed("there is a revocation list", got=subject.crl.issuer.common_name)
    if subject.policy.unsafe_allow_missing_crl:
        return informs("there is no revocation list, and the policy does without: nobody knows what AMD has revoked")
    return failed("there is no revocation list", want=SNP_CRL)


_CrlCheck = Callable[[SnpSubject, RevocationList], Finding]


def _of_crl(look: _CrlCheck) -> Callable[[SnpSubject], Finding]:
    """Make a check of the revocation list that says so where there is none."""

    def check(subject: SnpSubject) -> Finding:
        try:
            found = subject.crl
        except ConfsecError:
            return skipped("the revocation list cannot be read")
        return informs("there is no revocation list to look at") if found is None else look(subject, found)

    return check


def _of_signed_crl(look: _CrlCheck) -> Callable[[SnpSubject], Finding]:
    """Make a check of what the revocation list says, which nobody looks at unless it is signed."""

    def check(subject: SnpSubject, found: RevocationList) -> Finding:
        return skipped("the revocation list is not signed by the root") if subject.crl_flaw else look(subject, found)

    return _of_crl(check)


@_of_crl
def crl_issuer(subject: SnpSubject, found: RevocationList) -> Finding:
    """Compare the issuer of the list with the root."""
    verify_crl_issuer(found, subject.root)
    return passed("the revocation list is the root's", got=found.issuer.common_name)


@_of_crl
def crl_usage(subject: SnpSubject, found: RevocationList) -> Finding:
    """Have the root's key be for revocation lists."""
    verify_signs_crls(subject.root)
    return passed("the root's key is for revocation lists", got="cRLSign")


@_of_crl
def crl_signature(subject: SnpSubject, found: RevocationList) -> Finding:
    """Verify the signature of the list with the root's key."""
    if subject.crl_flaw is not None:
        raise subject.crl_flaw
    return passed("the revocation list is signed by the root")


@_of_signed_crl
def crl_extensions(subject: SnpSubject, found: RevocationList) -> Finding:
    """Refuse a partial list: it says nothing about what it leaves out."""
    verify_crl_extensions(found)
    return passed("the revocation list is a whole one")


@_of_signed_crl
def crl_current(subject: SnpSubject, found: RevocationList) -> Finding:
    """Refuse an old list: it does not know what was revoked since."""
    verify_crl_current(found, subject.request.at)
    return passed("the revocation list is current", got=f"until {found.next_update:%Y-%m-%d}")


@_of_signed_crl
def revocation(subject: SnpSubject, found: RevocationList) -> Finding:
    """Look for each certificate on the list. AMD lists intermediates; a chip's key it lets age instead."""
    for each in subject.path[:-1]:
        verify_not_revoked(each, found)
    return passed("no certificate is revoked")
