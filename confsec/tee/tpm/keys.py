"""Which keys a TPM makes for us, as templates, and where an attestation key may come from.

The templates are values of TPMT_PUBLIC (TPM 2.0 Library, part 2, section 12.2.4). Their point is empty: the
TPM fills it in.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from confsec.tee.event_log import HashAlgorithm
from confsec.tee.tpm.evidence import TpmKey, TpmQuote
from confsec.tee.tpm.structures import (
    Attributes,
    EccCurve,
    EccKey,
    PublicArea,
    Scheme,
    SchemeId,
    Symmetric,
)

__all__ = [
    "AK_TEMPLATE",
    "AZURE_AK",
    "BANK",
    "DEFAULT_PCRS",
    "GCE_AK",
    "GCE_RSA_AK",
    "OWN_AK",
    "PARENT_TEMPLATE",
    "AkSource",
    "EndorsementKey",
    "TpmStatements",
    "request_key_template",
]

BANK: Final = HashAlgorithm.SHA256
"""The bank of PCRs that is quoted, and the hash of all that is made here."""

DEFAULT_PCRS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)
"""The PCRs that are quoted, and that request keys are bound to: firmware, boot loader, kernel, what a launcher loads.
PCR 10 is left out, since IMA extends it all the time; a key that is bound to it would live for seconds."""

_PARENT_ATTRIBUTES: Final = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.USER_WITH_AUTH
    | Attributes.NO_DA
    | Attributes.RESTRICTED
    | Attributes.DECRYPT
)
_AK_ATTRIBUTES: Final = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.USER_WITH_AUTH
    | Attributes.RESTRICTED
    | Attributes.SIGN
)
_REQUEST_KEY_ATTRIBUTES: Final = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.ADMIN_WITH_POLICY
    | Attributes.NO_DA
    | Attributes.DECRYPT
)
_POINT_TO_COME: Final = EccKey(EccCurve.P256, b"", b"")
PARENT_TEMPLATE: Final = PublicArea(
    name_algorithm=BANK,
    attributes=_PARENT_ATTRIBUTES,
    symmetric=Symmetric(0x0006, 128, 0x0043),  # AES-128 in CFB mode, as the standard's own storage keys have it
    key=_POINT_TO_COME,
)
"""What request keys are children of: a storage key, which decrypts what it made and nothing else."""

AK_TEMPLATE: Final = PublicArea(
    name_algorithm=BANK,
    attributes=_AK_ATTRIBUTES,
    scheme=Scheme(SchemeId.ECDSA, BANK),
    key=_POINT_TO_COME,
)
"""The attestation key: it signs what the TPM made, and nothing else, with ECDSA on P-256."""


def request_key_template(policy: bytes) -> PublicArea:
    """Return the template of a request key: P-256, for ECDH only, and only under this policy.

    It has no password that would do (userWithAuth is clear), and neither it nor its parent can leave the TPM.
    """
    return PublicArea(name_algorithm=BANK, attributes=_REQUEST_KEY_ATTRIBUTES, auth_policy=policy, key=_POINT_TO_COME)


@frozen(kw_only=True)
class AkSource:
    """Where the attestation key is. Without any field: made here, ECDSA on P-256, under the endorsement hierarchy.

    The same TPM always makes the same one, so a registrar's statement about it lasts until the TPM is cleared.
    """

    handle: int | None = None
    """The handle of a persistent key that whoever provides the TPM has put there."""

    template: int | None = None
    """The NV index with the TPMT_PUBLIC from which the key is made under the endorsement hierarchy."""

    certificate: int | None = None
    """The NV index with its certificate in DER."""


OWN_AK: Final = AkSource()
"""A key of our own making."""

AZURE_AK: Final = AkSource(handle=0x81000003, certificate=0x01C101D0)
"""What Azure's confidential machines have (Azure/az-cvm-vtpm): an RSA key that the runtime data names."""

GCE_AK: Final = AkSource(template=0x01C10003, certificate=0x01C10002)
"""Google's AK on P-256 (google/go-tpm-tools, client/handles.go)."""

GCE_RSA_AK: Final = AkSource(template=0x01C10001, certificate=0x01C10000)
"""Google's AK of RSA."""


@frozen(kw_only=True)
class EndorsementKey:
    """The key that a TPM's manufacturer certifies."""

    public: PublicArea
    """The key, made from the template of its profile."""

    certificate: bytes | None = field(repr=False)
    """The certificate in DER, if the TPM has it."""


@frozen(kw_only=True)
class TpmStatements:
    """What a TPM signed about a request key and about its PCRs."""

    ak: PublicArea
    """The key that signed."""

    quote: TpmQuote
    """The item `tpm-quote`."""

    key: TpmKey
    """The item `tpm-key`."""

    ak_certificate: bytes | None = field(repr=False)
    """The certificate of the AK in DER, where its source names one."""
