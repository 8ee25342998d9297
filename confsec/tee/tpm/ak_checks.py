"""Checks of the attestation key, and of who vouches for it. Each function is one row of the table in `verifier.py`.

A TPM keeps to the attributes of a key, but says so only by its name, which hashes them: a registrar's statement is
about the name. A certificate, or a report, names the key alone, and there it is the issuer's word that the key is
restricted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final

from confsec.protocol.checks import Finding, equal, failed, holds, informs, one_of, passed, skipped
from confsec.protocol.platforms import TPM_AK
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.tpm import certificates
from confsec.tee.tpm.certificates import CertificatePath, GceInstance
from confsec.tee.tpm.statement import AkStatement, registrar_id
from confsec.tee.tpm.structures import Attributes, EccCurve, EccKey, SchemeId
from confsec.tee.tpm.subject import Subject, Way
from confsec.tee.x509 import CLOCK_SKEW, verify_root

__all__ = [
    "ak_algorithm",
    "ak_bound",
    "ak_certificate_instance",
    "ak_certificate_key",
    "ak_certificate_usage",
    "ak_fixed_parent",
    "ak_fixed_tpm",
    "ak_format",
    "ak_name_algorithm",
    "ak_restricted",
    "ak_scheme",
    "ak_sensitive_data_origin",
    "ak_sign_only",
    "ak_vouched_for",
    "chain_authorities",
    "chain_complete",
    "chain_extensions",
    "chain_format",
    "chain_leaf",
    "chain_lengths",
    "chain_root",
    "chain_signatures",
    "chain_usage",
    "chain_validity",
    "ek_name",
    "ek_purpose",
    "ek_usage",
    "has_attribute",
    "statement_age",
    "statement_ak",
    "statement_content",
    "statement_ek",
    "statement_format",
    "statement_registrar",
    "statement_signature",
]

_Row = Callable[[Subject], Finding]
_PathRow = Callable[[Subject, CertificatePath], Finding]

_HASHES: Final = (HashAlgorithm.SHA256, HashAlgorithm.SHA384, HashAlgorithm.SHA512)
_CURVES: Final = (EccCurve.P256, EccCurve.P384)
_MIN_RSA_BITS: Final = 2048
_EXPONENTS: Final = (0, 65537)
_SIGNING: Final = (SchemeId.ECDSA, SchemeId.RSASSA, SchemeId.RSAPSS)


def has_attribute(attributes: Attributes, wanted: Attributes, what: str) -> Finding:
    """Look for attributes that all have to be set."""
    return holds(
        attributes & wanted == wanted, f"{what} is set", f"{what} is clear", want=what, got=f"{attributes:#010x}"
    )


# --- The key ----------------------------------------------------------------------------------------------------------


def ak_format(subject: Subject) -> Finding:
    """Check that the item is a TPMT_PUBLIC."""
    return passed("the attestation key can be read", got=subject.ak.name)


def ak_algorithm(subject: Subject) -> Finding:
    """Check that the key is of a kind and size that is good enough."""
    key = subject.ak.key
    if isinstance(key, EccKey):
        return one_of("the curve of the AK", key.curve.name, [curve.name for curve in _CURVES])
    good = key.key_bits >= _MIN_RSA_BITS and key.exponent in _EXPONENTS
    return holds(
        good,
        "the AK is long enough",
        "the AK is too short, or its exponent another",
        want=f"RSA with at least {_MIN_RSA_BITS} bits and 65537",
        got=f"RSA with {key.key_bits} bits and {key.exponent or 65537}",
    )


def ak_scheme(subject: Subject) -> Finding:
    """Check that the key is bound to a signing scheme with a hash that is good enough: nobody can choose another."""
    scheme = subject.ak.scheme
    return holds(
        scheme.algorithm in _SIGNING and scheme.hash_algorithm in _HASHES,
        "the AK signs in one way only",
        "the AK signs in a way that is not accepted",
        want="ECDSA, RSASSA or RSAPSS with SHA-256 or longer",
        got=scheme.encode(),
    )


def ak_name_algorithm(subject: Subject) -> Finding:
    """Check that the name of the key is a good hash."""
    return one_of(
        "the hash of the AK's name", subject.ak.name_algorithm.name, [algorithm.name for algorithm in _HASHES]
    )


def ak_restricted(subject: Subject) -> Finding:
    """Check that the key signs nothing that looks like a TPM's structure and was not made by the TPM."""
    return has_attribute(subject.ak.attributes, Attributes.RESTRICTED, "restricted")


def ak_sign_only(subject: Subject) -> Finding:
    """Check that the key signs, and does nothing else."""
    uses = subject.ak.attributes & (Attributes.SIGN | Attributes.DECRYPT)
    return equal("the use of the AK", f"{uses:#010x}", f"{Attributes.SIGN:#010x}")


def ak_fixed_tpm(subject: Subject) -> Finding:
    """Check that the key cannot leave its TPM."""
    return has_attribute(subject.ak.attributes, Attributes.FIXED_TPM, "fixedTPM")


def ak_fixed_parent(subject: Subject) -> Finding:
    """Check that the key cannot get another parent."""
    return has_attribute(subject.ak.attributes, Attributes.FIXED_PARENT, "fixedParent")


def ak_sensitive_data_origin(subject: Subject) -> Finding:
    """Check that the TPM made the key: nobody has put it there."""
    return has_attribute(subject.ak.attributes, Attributes.SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin")


def ak_bound(subject: Subject) -> Finding:
    """Check that the binding is of this key."""
    same = subject.request.binding.ak == subject.item(TPM_AK)
    return holds(same, "the binding names this AK", "the binding names another AK")


def ak_vouched_for(subject: Subject) -> Finding:
    """Check that somebody vouches for the key, as the platform asks for it. Whether rightly, the other rows say."""
    platform = subject.request.platform
    if subject.way is Way.NONE:
        return failed("nobody vouches for the AK", want=platform.ak_from, got="no endorsement")
    return passed(f"the AK is to be vouched for by: {platform.ak_from}", got=subject.way.value)


# --- Certificates -----------------------------------------------------------------------------------------------------


def _on_path(look: _PathRow) -> _Row:
    """Make a row that looks at the chain: where a report vouches for the AK, there is none to look at."""

    @wraps(look)
    def row(subject: Subject) -> Finding:
        if subject.way is Way.REPORT:
            return informs("not needed: the TEE's own report names the AK")
        if subject.way is Way.NONE or subject.readable_path is None:
            return skipped("there is no chain that could be read")
        return look(subject, subject.readable_path)

    return row


def _only(way: Way, other: str) -> Callable[[_PathRow], _PathRow]:
    """Make a row that is for one way of vouching."""

    def decorate(look: _PathRow) -> _PathRow:
        @wraps(look)
        def row(subject: Subject, path: CertificatePath) -> Finding:
            return look(subject, path) if subject.way is way else informs(other)

        return row

    return decorate


_of_ak: Final = _only(Way.CERTIFICATE, "not needed: the chain is that of an endorsement key")
_of_ek: Final = _only(Way.REGISTRAR, "not needed: the chain is that of the AK")


def chain_format(subject: Subject) -> Finding:
    """Check that the chain can be read."""
    if subject.way is Way.REPORT:
        return informs("not needed: the TEE's own report names the AK")
    if subject.way is Way.NONE:
        return skipped("there is no chain")
    path = subject.path()
    return passed("the chain can be read", got=f"{len(path.certificates)} certificates")


@_on_path
def chain_root(subject: Subject, path: CertificatePath) -> Finding:
    """Check that the path ends at a root that the policy names."""
    verify_root(path.root, subject.policy.trust_anchors)
    return passed("the root is a trust anchor", got=path.root.fingerprint)


@_on_path
def chain_complete(subject: Subject, path: CertificatePath) -> Finding:
    """Check that the path leads to a certificate that names itself, and has somebody between."""
    path.verify_complete()
    return passed("the chain leads to a root", got=path.root.subject.text)


@_on_path
def chain_signatures(subject: Subject, path: CertificatePath) -> Finding:
    """Check that each certificate is signed by the next one."""
    path.verify_signatures()
    return passed("each certificate is signed by the next")


@_on_path
def chain_authorities(subject: Subject, path: CertificatePath) -> Finding:
    """Check that all but the leaf are authorities."""
    path.verify_authorities()
    return passed("all issuers are authorities")


@_on_path
def chain_usage(subject: Subject, path: CertificatePath) -> Finding:
    """Check that the issuers' keys are for that."""
    path.verify_usage()
    return passed("the keys of all issuers may sign certificates")


@_on_path
def chain_lengths(subject: Subject, path: CertificatePath) -> Finding:
    """Check that no issuer has more authorities below than it may have."""
    path.verify_lengths()
    return passed("no path is too long")


@_on_path
def chain_validity(subject: Subject, path: CertificatePath) -> Finding:
    """Check that all certificates are valid at the time."""
    path.verify_valid(subject.request.at)
    return passed("all certificates are valid", got=f"until {path.expires:%Y-%m-%d}")


@_on_path
def chain_extensions(subject: Subject, path: CertificatePath) -> Finding:
    """Check that no critical extension is unknown."""
    path.verify_extensions()
    return passed("no critical extension is unknown")


@_on_path
def chain_leaf(subject: Subject, path: CertificatePath) -> Finding:
    """Check that the key in the TPM is no authority's."""
    certificates.verify_no_authority(path.leaf)
    return passed("the first certificate is that of a key in a TPM")


@_on_path
@_of_ak
def ak_certificate_usage(subject: Subject, path: CertificatePath) -> Finding:
    """Check that the certificate is for a key that signs."""
    certificates.verify_ak_usage(path.leaf)
    return passed("the certificate is for a signing key")


@_on_path
@_of_ak
def ak_certificate_key(subject: Subject, path: CertificatePath) -> Finding:
    """Check that the certificate is of this key."""
    same = path.leaf.public_key == subject.ak.public_key()
    return holds(same, "the certificate is of the AK", "the certificate is of another key")


@_on_path
@_of_ak
def ak_certificate_instance(subject: Subject, path: CertificatePath) -> Finding:
    """Check that the instance, where Google's certificate tells of one, is in production."""
    instance = GceInstance.decode(path.leaf)
    if instance is None:
        return informs("the certificate tells of no instance")
    if subject.policy.unsafe_allow_no_production and not instance.production:
        return informs("the policy takes test machines: unsafe_allow_no_production", got=instance.zone)
    return holds(
        instance.production, "the instance is a production one", "the instance is a test machine", got=instance.zone
    )


@_on_path
@_of_ek
def ek_usage(subject: Subject, path: CertificatePath) -> Finding:
    """Check that the certificate is for a key that decrypts."""
    certificates.verify_ek_usage(path.leaf)
    return passed("the certificate is for a decrypting key")


@_on_path
@_of_ek
def ek_purpose(subject: Subject, path: CertificatePath) -> Finding:
    """Check that the certificate says that it is for an endorsement key."""
    certificates.verify_ek_purpose(path.leaf)
    return passed("the certificate is for an endorsement key")


@_on_path
@_of_ek
def ek_name(subject: Subject, path: CertificatePath) -> Finding:
    """Check that the certificate names the TPM where everybody has to look."""
    names = certificates.verify_ek_name(path.leaf)
    return passed("the certificate names its TPM", got=" ".join(names.values()))


# --- The registrar ----------------------------------------------------------------------------------------------------


def _by_registrar(look: _Row) -> _Row:
    """Make a row that looks at a registrar's statement."""

    @wraps(look)
    def row(subject: Subject) -> Finding:
        if subject.way is Way.NONE:
            return skipped("there is no statement")
        return look(subject) if subject.way is Way.REGISTRAR else informs("not needed: no registrar vouches for the AK")

    return row


def _of_statement(look: Callable[[Subject, AkStatement], Finding]) -> _Row:
    """Make a row that looks into a statement whose signature is good."""

    @_by_registrar
    @wraps(look)
    def row(subject: Subject) -> Finding:
        statement = subject.statement
        return skipped("there is no statement that is signed") if statement is None else look(subject, statement)

    return row


@_by_registrar
def statement_format(subject: Subject) -> Finding:
    """Check that the statement can be read, up to the signature."""
    return passed("the statement can be read", got=subject.signed_statement().registrar)


@_by_registrar
def statement_registrar(subject: Subject) -> Finding:
    """Check that the policy believes whoever signed."""
    signed = subject.readable_statement
    if signed is None:
        return skipped("there is no statement that could be read")
    return one_of("the registrar", signed.registrar, [registrar_id(key) for key in subject.policy.registrars])


@_by_registrar
def statement_signature(subject: Subject) -> Finding:
    """Check that the registrar signed the statement."""
    if subject.registrar_key is None:
        return skipped("there is no statement of a registrar whose key is known")
    return holds(
        subject.stated is not None,
        "the registrar has signed the statement",
        "the registrar has not signed the statement",
    )


@_by_registrar
def statement_content(subject: Subject) -> Finding:
    """Check that what the registrar signed can be read."""
    if subject.stated is None:
        return skipped("there is no statement that is signed")
    AkStatement.decode(subject.stated)
    return passed("what the registrar states can be read")


@_of_statement
def statement_ek(subject: Subject, statement: AkStatement) -> Finding:
    """Check that the statement is about the certificate at hand."""
    path = subject.readable_path
    if path is None:
        return skipped("there is no chain that could be read")
    return equal("the certificate of the endorsement key", path.leaf.fingerprint, statement.ek_certificate)


@_of_statement
def statement_ak(subject: Subject, statement: AkStatement) -> Finding:
    """Check that the statement is about this AK, with these attributes."""
    return equal("the name of the AK", subject.ak.name, statement.ak_name)


@_of_statement
def statement_age(subject: Subject, statement: AkStatement) -> Finding:
    """Check that the statement was made not too long ago, and not later than now."""
    at, oldest = subject.request.at, subject.request.at - subject.policy.maximum_statement_age
    return holds(
        oldest <= statement.issued <= at + CLOCK_SKEW,
        "the statement is young enough",
        "the statement is too old, or of the future",
        want=f"{oldest:%Y-%m-%d %H:%M} to {at:%Y-%m-%d %H:%M}",
        got=f"{statement.issued:%Y-%m-%d %H:%M}",
    )
