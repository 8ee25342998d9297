"""Checks of the request key: made in this TPM, usable only while the quoted PCRs hold, half of the node's KeyConfig.

Each function is one row of the table in `verifier.py`.
"""

from __future__ import annotations

from typing import Final

from confsec.protocol.checks import Finding, equal, holds, passed, skipped
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.tpm.ak_checks import has_attribute
from confsec.tee.tpm.quote_checks import is_generated, is_of_type, qualifies
from confsec.tee.tpm.structures import (
    NULL_SCHEME,
    AttestType,
    Attributes,
    EccCurve,
    EccKey,
    Symmetric,
    pcr_policy_digest,
    verify_tpm_signature,
)
from confsec.tee.tpm.subject import Subject

__all__ = [
    "key_admin_with_policy",
    "key_algorithm",
    "key_attest",
    "key_creation_hash",
    "key_decrypt_only",
    "key_fixed_parent",
    "key_fixed_tpm",
    "key_format",
    "key_kem",
    "key_magic",
    "key_name",
    "key_name_algorithm",
    "key_no_da",
    "key_no_password",
    "key_other_attributes",
    "key_point",
    "key_policy",
    "key_qualifying_data",
    "key_scheme",
    "key_sensitive_data_origin",
    "key_signature",
    "key_type",
]

_MLKEM768_P256: Final = 0x0050
"""The KEM whose traditional half a TPM can hold (draft-ietf-hpke-pq-04)."""

_POINT_SIZE: Final = 65
_USES: Final = Attributes.DECRYPT | Attributes.SIGN | Attributes.RESTRICTED
_LOOKED_AT: Final = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.USER_WITH_AUTH
    | Attributes.ADMIN_WITH_POLICY
    | Attributes.NO_DA
    | _USES
)


# --- Its certification ------------------------------------------------------------------------------------------------


def key_format(subject: Subject) -> Finding:
    """Check that the item has its parts."""
    return passed("the request key can be read", got=subject.key.public.name)


def key_signature(subject: Subject) -> Finding:
    """Check that the AK signed the certification."""
    verify_tpm_signature(subject.ak, subject.key.signature, subject.key.attest)
    return passed("the AK has certified the request key")


def key_attest(subject: Subject) -> Finding:
    """Check that what was signed is a TPMS_ATTEST."""
    return passed("what the AK has signed can be read", got=f"{subject.key_attest.type:#06x}")


def key_magic(subject: Subject) -> Finding:
    """Check that the TPM made the certification."""
    return is_generated(subject.key_attest)


def key_type(subject: Subject) -> Finding:
    """Check that it certifies that this TPM created the key."""
    return is_of_type(subject.key_attest, AttestType.CREATION)


def key_qualifying_data(subject: Subject) -> Finding:
    """Check that the certification was made for this binding."""
    return qualifies(subject, subject.key_attest)


def key_name(subject: Subject) -> Finding:
    """Check that the certification is of this key, with these attributes and this policy."""
    return equal("the name of the request key", subject.key.public.name, subject.creation_info.object_name)


def key_creation_hash(subject: Subject) -> Finding:
    """Check that the creation data is that of the certified creation."""
    digest = subject.key.public.name_algorithm.digest(subject.key.creation_data)
    return equal("the hash of the creation data", digest, subject.creation_info.creation_hash)


# --- Its attributes ---------------------------------------------------------------------------------------------------


def key_name_algorithm(subject: Subject) -> Finding:
    """Check that the name of the key is a hash of SHA-256."""
    return equal("the hash of the key's name", subject.key.public.name_algorithm.name, HashAlgorithm.SHA256.name)


def key_algorithm(subject: Subject) -> Finding:
    """Check that the key is on P-256."""
    key = subject.key.public.key
    return equal(
        "the kind of the request key", key.curve.name if isinstance(key, EccKey) else "RSA", EccCurve.P256.name
    )


def key_scheme(subject: Subject) -> Finding:
    """Check that the key has no scheme of its own: it gives the bare coordinate, which the KEM needs."""
    public = subject.key.public
    bare = isinstance(public.key, EccKey) and public.key.kdf == NULL_SCHEME
    return holds(
        bare and public.scheme == NULL_SCHEME and public.symmetric == Symmetric(),
        "the request key has no scheme of its own",
        "the request key has a scheme of its own",
        want=NULL_SCHEME.encode(),
        got=public.scheme.encode(),
    )


def key_fixed_tpm(subject: Subject) -> Finding:
    """Check that the key cannot leave its TPM."""
    return has_attribute(subject.key.public.attributes, Attributes.FIXED_TPM, "fixedTPM")


def key_fixed_parent(subject: Subject) -> Finding:
    """Check that the key cannot get another parent."""
    return has_attribute(subject.key.public.attributes, Attributes.FIXED_PARENT, "fixedParent")


def key_sensitive_data_origin(subject: Subject) -> Finding:
    """Check that the TPM made the key."""
    return has_attribute(subject.key.public.attributes, Attributes.SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin")


def key_admin_with_policy(subject: Subject) -> Finding:
    """Check that nobody can certify or change the key without its policy."""
    return has_attribute(subject.key.public.attributes, Attributes.ADMIN_WITH_POLICY, "adminWithPolicy")


def key_no_password(subject: Subject) -> Finding:
    """Check that no password opens the key: its policy alone does."""
    attributes = subject.key.public.attributes
    return holds(
        not attributes & Attributes.USER_WITH_AUTH,
        "only its policy opens the request key",
        "a password opens the request key, whatever the PCRs hold",
        want="userWithAuth clear",
        got=f"{attributes:#010x}",
    )


def key_decrypt_only(subject: Subject) -> Finding:
    """Check that the key is for key agreement, and for nothing else."""
    return equal(
        "the use of the request key", f"{subject.key.public.attributes & _USES:#010x}", f"{Attributes.DECRYPT:#010x}"
    )


def key_no_da(subject: Subject) -> Finding:
    """Check that failed attempts at other keys cannot lock this one."""
    return has_attribute(subject.key.public.attributes, Attributes.NO_DA, "noDA")


def key_other_attributes(subject: Subject) -> Finding:
    """Check that no other attribute is set."""
    other = subject.key.public.attributes & ~_LOOKED_AT
    return equal("the other attributes of the request key", f"{int(other):#010x}", f"{0:#010x}")


def key_policy(subject: Subject) -> Finding:
    """Check that the key works only while exactly the quoted PCRs hold exactly the quoted values."""
    public = subject.key.public
    wanted = pcr_policy_digest(
        subject.quote_info.selections, subject.quote.values, hash_algorithm=public.name_algorithm
    )
    return equal("the policy of the request key", public.auth_policy, wanted)


# --- The KeyConfig ----------------------------------------------------------------------------------------------------


def key_kem(subject: Subject) -> Finding:
    """Check that the KeyConfig is of the KEM with a half on P-256."""
    return equal("the KEM of the KeyConfig", f"{subject.key_config.kem_id:#06x}", f"{_MLKEM768_P256:#06x}")


def key_point(subject: Subject) -> Finding:
    """Check that the KeyConfig ends with this key's point: MLKEM768-P256 has ML-KEM's key first."""
    key = subject.key.public.key
    if not isinstance(key, EccKey) or key.curve is not EccCurve.P256:
        return skipped("the request key is not on P-256")
    return equal("the P-256 half of the KeyConfig", subject.key_config.public_key[-_POINT_SIZE:], key.point)
