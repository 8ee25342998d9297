"""What the checks look at: the items of one TPM with all that belongs to them, read when a check first asks for it.

An item that cannot be read raises, so the check that asks for it first fails. The table in `verifier.py` has such a
check for each item, and makes it essential: whatever comes later may take the item for granted.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import Enum
from functools import cached_property, lru_cache
from typing import Final

from attrs import frozen

from confsec.errors import DecodeError, EvidenceError
from confsec.protocol.key_config import KeyConfig
from confsec.protocol.platforms import (
    AZURE_RUNTIME_DATA,
    MEDIA_TYPES,
    SVSM_MANIFEST,
    TPM_AK,
    TPM_KEY,
    TPM_LOG,
    TPM_QUOTE,
)
from confsec.protocol.rats import VerificationRequest
from confsec.tee.event_log import EventLog
from confsec.tee.tpm.certificates import CertificatePath
from confsec.tee.tpm.evidence import TPM_AK_CERTIFICATE, TPM_AK_STATEMENT, TPM_EK_CERTIFICATE, TpmKey, TpmQuote
from confsec.tee.tpm.policy import TpmPolicy
from confsec.tee.tpm.statement import AkStatement, SignedAkStatement, registrar_id
from confsec.tee.tpm.structures import Attest, CreationInfo, PublicArea, QuoteInfo

__all__ = ["Subject", "Way"]

_RECURRING: Final = 16
"""How many items of each kind are remembered when they were read: a TPM's come back with each epoch."""

_RECURRING_SIZE: Final = 1 << 16
"""Larger event logs are read anew each time. Real ones have about 30 KiB."""


class Way(Enum):
    """Who vouches for the attestation key."""

    REPORT = "report"
    """The TPM is inside the TEE, and the TEE's verifier finds the AK in its report."""

    CERTIFICATE = "certificate"
    """Whoever provides the TPM has certified the AK."""

    REGISTRAR = "registrar"
    """A registrar has seen that the AK is in the TPM of a certified endorsement key."""

    NONE = "nobody"
    """Nobody does."""


@frozen(kw_only=True)
class Subject:
    """The evidence of one TPM with its endorsements, and what is demanded of it."""

    request: VerificationRequest
    policy: TpmPolicy

    # --- Items --------------------------------------------------------------------------------------------------------

    def item(self, label: str) -> bytes:
        """Return an item's bytes. Raises `EvidenceError`."""
        return self.request.evidence.item(label, MEDIA_TYPES[label])

    @cached_property
    def ak(self) -> PublicArea:
        """The attestation key."""
        return _decode_ak(self.item(TPM_AK))

    @cached_property
    def quote(self) -> TpmQuote:
        """The quote, taken apart."""
        return TpmQuote.decode(self.item(TPM_QUOTE))

    @cached_property
    def quote_attest(self) -> Attest:
        """What the quote's signature is over. To be asked for when the signature was checked."""
        return Attest.decode(self.quote.attest)

    @property
    def quote_info(self) -> QuoteInfo:
        """What was quoted."""
        attested = self.quote_attest.attested
        if not isinstance(attested, QuoteInfo):
            raise EvidenceError("the attestation is not a quote", section="TPM 2.0 Library, Part 2, section 10.12.4")
        return attested

    @cached_property
    def pcrs(self) -> dict[int, bytes]:
        """The quoted values of the policy's bank, by the number of the PCR."""
        return self.quote.pcrs(self.policy.bank)

    @cached_property
    def log(self) -> EventLog:
        """The event log, as far as it is about quoted PCRs: of the others it may say what it likes."""
        item, pcrs = self.item(TPM_LOG), frozenset(self.pcrs)
        return _decode_recurring_log(item, pcrs) if len(item) <= _RECURRING_SIZE else _decode_log(item, pcrs)

    @cached_property
    def key(self) -> TpmKey:
        """The request key with its certification, taken apart."""
        return TpmKey.decode(self.item(TPM_KEY))

    @cached_property
    def key_attest(self) -> Attest:
        """What the signature of the certification is over. To be asked for when the signature was checked."""
        return Attest.decode(self.key.attest)

    @property
    def creation_info(self) -> CreationInfo:
        """What was certified."""
        attested = self.key_attest.attested
        if not isinstance(attested, CreationInfo):
            raise EvidenceError("nothing certifies a creation", section="TPM 2.0 Library, Part 2, section 10.12.6")
        return attested

    @cached_property
    def key_config(self) -> KeyConfig:
        """The KeyConfig that the binding names."""
        return KeyConfig.decode(self.request.binding.key_config)

    # --- Who vouches for the AK ---------------------------------------------------------------------------------------

    @cached_property
    def way(self) -> Way:
        """Who has to vouch for the AK. A certificate is looked at rather than a statement where there are both."""
        items, endorsements = self.request.evidence.items, self.request.endorsements.items
        if self.request.platform.tpm_inside:
            return Way.REPORT if SVSM_MANIFEST in items or AZURE_RUNTIME_DATA in items else Way.NONE
        if TPM_AK_CERTIFICATE in endorsements:
            return Way.CERTIFICATE
        return Way.REGISTRAR if {TPM_EK_CERTIFICATE, TPM_AK_STATEMENT} <= endorsements.keys() else Way.NONE

    @property
    def path_label(self) -> str:
        """The endorsement that has the chain."""
        return TPM_AK_CERTIFICATE if self.way is Way.CERTIFICATE else TPM_EK_CERTIFICATE

    def path(self) -> CertificatePath:
        """Return the certificates from the AK's or the EK's to a root. Raises `DecodeError` and `LimitError`."""
        return _decode_path(self.request.endorsements.items[self.path_label].value)

    @cached_property
    def readable_path(self) -> CertificatePath | None:
        """The same, or None if there is none, or none that can be read."""
        try:
            return self.path() if self.way in {Way.CERTIFICATE, Way.REGISTRAR} else None
        except DecodeError:
            return None

    def signed_statement(self) -> SignedAkStatement:
        """Return the registrar's statement, signed. Raises `DecodeError`."""
        return _decode_statement(self.request.endorsements.items[TPM_AK_STATEMENT].value)

    @cached_property
    def readable_statement(self) -> SignedAkStatement | None:
        """The same, or None if there is none, or none that can be read."""
        try:
            return self.signed_statement() if self.way is Way.REGISTRAR else None
        except DecodeError:
            return None

    @property
    def registrar_key(self) -> bytes | None:
        """The public key of the registrar that signed, or None for one that the policy does not list."""
        signed = self.readable_statement
        if signed is None:
            return None
        return next((key for key in self.policy.registrars if registrar_id(key) == signed.registrar), None)

    @cached_property
    def stated(self) -> bytes | None:
        """What a registrar that the policy lists has signed, or None where there is no such thing."""
        signed, key = self.readable_statement, self.registrar_key
        if signed is None or key is None:
            return None
        try:
            signed.verify_signature(key)
        except EvidenceError:
            return None
        return signed.statement

    @cached_property
    def statement(self) -> AkStatement | None:
        """The same, read, or None if it cannot be."""
        try:
            return None if self.stated is None else _decode_stated(self.stated)
        except DecodeError:
            return None

    @property
    def expires(self) -> datetime | None:
        """When the first thing that vouches for the AK ends."""
        if self.readable_path is None:
            return None
        ends = self.readable_path.expires
        return ends if self.statement is None else min(ends, self.statement.issued + self.policy.maximum_statement_age)


@lru_cache(_RECURRING)
def _decode_path(chain: bytes) -> CertificatePath:
    """Read a chain. It follows from these bytes alone, so it may be remembered."""
    return CertificatePath.decode(chain)


@lru_cache(_RECURRING)
def _decode_statement(item: bytes) -> SignedAkStatement:
    """Read a signed statement. It follows from these bytes alone, so it may be remembered."""
    return SignedAkStatement.decode(item)


@lru_cache(_RECURRING)
def _decode_stated(statement: bytes) -> AkStatement:
    """Read what a registrar states."""
    return AkStatement.decode(statement)


@lru_cache(_RECURRING)
def _decode_ak(item: bytes) -> PublicArea:
    """Read an attestation key."""
    return PublicArea.decode(item)


@lru_cache(_RECURRING)
def _decode_recurring_log(item: bytes, pcrs: frozenset[int]) -> EventLog:
    """Read an event log: it is the same for as long as a machine runs."""
    return _decode_log(item, pcrs)


def _decode_log(item: bytes, pcrs: Collection[int]) -> EventLog:
    return EventLog.decode(item).of_registers(pcrs)
