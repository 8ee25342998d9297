"""The registrar: finds out whether an AK is in the TPM of a certified endorsement key, and states so.

::

    node                                       registrar
      EK certificate, EK and AK as TPMT_PUBLIC ─►  AkRegistration.challenge: a secret, only for that TPM with that AK
      TPM2_ActivateCredential        ◄── Credential
      the secret                               ─►  AkRegistration.receive_data: [AkRegistered(statement)]

A registrar is asked once for each TPM, not for each epoch. It learns which TPM a node has; clients learn that, too,
from the EK's certificate. It is believed by policies that list its key, and by nobody else.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime
from typing import ClassVar, Final, final

from attrs import frozen

from confsec.errors import EvidenceError
from confsec.protocol.machine import Machine, RandBytes, State, Step, StepTable
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.tpm.certificates import (
    CertificatePath,
    verify_ek_name,
    verify_ek_purpose,
    verify_ek_usage,
    verify_no_authority,
    verify_path,
)
from confsec.tee.tpm.credential import Credential, make_credential
from confsec.tee.tpm.statement import AkStatement, SignedAkStatement
from confsec.tee.tpm.structures import Attributes, PublicArea

__all__ = ["REGISTRATION_STEPS", "AkRegistered", "AkRegistration", "Registrar", "verify_ak_attributes"]

REGISTRATION_STEPS: Final[StepTable] = {
    (State.READY, Step.REQUEST): State.AWAITING_RESPONSE,  # challenge
    (State.AWAITING_RESPONSE, Step.RECEIVE): State.DONE,  # receive_data
}
"""One answer to one challenge. A wrong answer ends the registration."""

_SECRET: Final = 32
_SECTION: Final = "TPM 2.0 Library, Part 1, section 24"


@frozen
class Registrar:
    """Who registers: which manufacturers it believes, and the key that it signs with."""

    trust_anchors: frozenset[bytes]
    """SHA-256 of the DER of each root of manufacturers."""

    public_key: bytes
    """Its Ed25519 public key: 32 bytes."""

    sign: Callable[[bytes], bytes]
    """Signs with Ed25519, wherever the private key is."""


@frozen
class AkRegistered:
    """The TPM has shown that it has both keys."""

    statement: SignedAkStatement
    """What vouches for the AK from now on: the endorsement `tpm-ak-statement`."""


@final
class AkRegistration(Machine):
    """One registration of one AK, on the registrar's side."""

    STEPS: ClassVar[StepTable] = REGISTRATION_STEPS

    def __init__(self, registrar: Registrar, *, randbytes: RandBytes) -> None:
        super().__init__(State.READY)
        self._registrar = registrar
        self._randbytes = randbytes
        self._secret = b""
        self._ek_certificate = b""
        self._ak_name = b""

    def challenge(self, ek_chain: bytes, ek: bytes, ak: bytes, *, now: datetime) -> Credential:
        """Return a secret that only this TPM opens, and only if it has this AK.

        `ek_chain` is the endorsement `tpm-ek-certificate`, `ek` and `ak` are TPMT_PUBLIC. Raises `EvidenceError` if the
        certificate, the EK or the AK is not what it should be, and `DecodeError`.
        """
        with self._step(Step.REQUEST):
            path = CertificatePath.decode(ek_chain)
            verify_path(path, trust_anchors=self._registrar.trust_anchors, at=now)
            verify_no_authority(path.leaf)
            verify_ek_usage(path.leaf)
            verify_ek_purpose(path.leaf)
            verify_ek_name(path.leaf)
            endorsement_key, attestation_key = PublicArea.decode(ek), PublicArea.decode(ak)
            _verify_ek_key(path, endorsement_key)
            verify_ak_attributes(attestation_key)
            self._secret = self._randbytes(_SECRET)
            self._ek_certificate, self._ak_name = path.leaf.fingerprint, attestation_key.name
            return make_credential(endorsement_key, self._ak_name, self._secret, self._randbytes)

    def receive_data(self, answer: bytes, *, now: datetime) -> list[AkRegistered]:
        """Take the secret that the TPM has opened. Raises `EvidenceError` for any other."""
        with self._step(Step.RECEIVE):
            if not hmac.compare_digest(answer, self._secret):
                raise EvidenceError("the TPM has not opened the credential", section=_SECTION)
            statement = AkStatement(
                ek_certificate=self._ek_certificate, ak_name=self._ak_name, issued=now.replace(microsecond=0)
            )
            registrar = self._registrar
            signed = SignedAkStatement.sign(statement, public_key=registrar.public_key, sign=registrar.sign)
            return [AkRegistered(signed)]


def verify_ak_attributes(ak: PublicArea) -> None:
    """Check that an AK signs only what its TPM made, and never leaves it. Raises `EvidenceError`.

    Activation shows the name, and the name hashes the attributes: so the TPM keeps to them.
    """
    if ak.name_algorithm is HashAlgorithm.SHA1:
        raise EvidenceError("an AK's name is a hash of SHA-1", want="SHA-256 or longer", section=_SECTION)
    wanted = (
        Attributes.FIXED_TPM
        | Attributes.FIXED_PARENT
        | Attributes.SENSITIVE_DATA_ORIGIN
        | Attributes.RESTRICTED
        | Attributes.SIGN
    )
    if ak.attributes & (wanted | Attributes.DECRYPT) != wanted:
        raise EvidenceError(
            "a key is not of the form of an attestation key", got=f"{ak.attributes:#010x}", section=_SECTION
        )


def _verify_ek_key(path: CertificatePath, ek: PublicArea) -> None:
    if ek.public_key() != path.leaf.public_key:
        raise EvidenceError("the certificate is of another endorsement key", section="TCG EK Credential Profile 2.5")
