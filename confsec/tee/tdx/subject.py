"""What the checks look at: one quote with all that belongs to it, each part read when a check first asks for it.

A part that cannot be read raises, so the check that asks for it first fails. The table in `verifier.py` has such a
check for each part, and makes it essential: whatever comes later may take the part for granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Final, Literal, NamedTuple

from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from confsec.errors import EvidenceError
from confsec.protocol.platforms import AZURE_RUNTIME_DATA, CCEL, MEDIA_TYPES, TDX
from confsec.protocol.rats import VerificationRequest
from confsec.tee.event_log import EventLog, HashAlgorithm
from confsec.tee.tdx.collateral import TDX_COLLATERAL, TDX_COLLATERAL_TYPE, Collateral
from confsec.tee.tdx.evidence import TEE_SGX, TEE_TDX, EnclaveReport, Quote, TdBody
from confsec.tee.tdx.pck import PckExtension
from confsec.tee.tdx.policy import TdxPolicy
from confsec.tee.tdx.tcb import (
    EnclaveLevel,
    ModuleIdentity,
    QeIdentity,
    TcbInfo,
    TcbLevel,
    enclave_level,
    module_identity,
    platform_level,
)
from confsec.tee.x509 import Certificate, PublicKey, RevocationList, decode_chain, find_path
from confsec.tee.x509_signatures import load_public_key

__all__ = ["SGX_TEE", "TDX_TEE", "PckChain", "Signed", "SignerChain", "Subject", "Tee", "verify_p256", "verify_text"]

Signed = Literal["tcb-info", "qe-identity"]
"""The two texts that Intel signs."""

_RECURRING: Final = 16
"""How many chains, lists and texts are remembered when they were read: nodes of one kind share Intel's."""

_RECURRING_SIZE: Final = 32 << 10
"""Larger revocation lists are read anew each time. Intel's have 3 KiB."""

_SECTION: Final = "Intel SGX PCK Certificate and CRL Profile, section 1.1"
_COORDINATE: Final = 32


class Tee(NamedTuple):
    """A kind of TEE whose quotes have this chain."""

    tee_type: int
    tcb_info_id: str
    qe_identity_id: str


TDX_TEE: Final = Tee(TEE_TDX, "TDX", "TD_QE")
"""Trust domains."""

SGX_TEE: Final = Tee(TEE_SGX, "SGX", "QE")
"""Enclaves: conformance only. No platform of ours has them."""


class PckChain(NamedTuple):
    """The certificates in a quote."""

    leaf: Certificate
    authority: Certificate
    root: Certificate


class SignerChain(NamedTuple):
    """The certificates beside a signed text."""

    signer: Certificate
    root: Certificate


@frozen(kw_only=True)
class Subject:
    """One quote with its endorsements, and what is demanded of it."""

    request: VerificationRequest
    policy: TdxPolicy
    tee: Tee = TDX_TEE

    @property
    def at(self) -> datetime:
        """When it has to be valid."""
        return self.request.at

    @property
    def on_azure(self) -> bool:
        """Whether Microsoft's paravisor stands between the TDX module and the guest."""
        return AZURE_RUNTIME_DATA in self.request.platform.items

    # --- The quote ---

    @cached_property
    def quote(self) -> Quote:
        """The quote. Raises `EvidenceError` if there is none, and `DecodeError`."""
        return Quote.decode(self.request.evidence.item(TDX, MEDIA_TYPES[TDX]))

    @property
    def td(self) -> TdBody:
        """What the TDX module says of the TD."""
        return self.quote.td

    @cached_property
    def qe_report(self) -> EnclaveReport:
        """What the processor says of the quoting enclave."""
        return EnclaveReport.decode(self.quote.signature.qe_report)

    @cached_property
    def pck_chain(self) -> PckChain:
        """PCK certificate, CA and root. Raises `EvidenceError` for anything else, and `DecodeError`."""
        # What quoting enclaves write is text in C: it may end in one NUL.
        certificates = _recurring_chain(self.quote.signature.certification_data.removesuffix(b"\x00"))
        return PckChain(*_path(certificates, 3))

    @cached_property
    def pck(self) -> PckExtension:
        """What Intel says of the platform in the PCK certificate."""
        return _recurring_pck(self.pck_chain.leaf)

    # --- The collateral ---

    @cached_property
    def collateral(self) -> Collateral:
        """The collateral. Raises `EvidenceError` if there is none, and `DecodeError`."""
        record = self.request.endorsements.items.get(TDX_COLLATERAL)
        if record is None or record.media_type != TDX_COLLATERAL_TYPE:
            raise EvidenceError("nobody brought Intel's collateral", got="nothing", want=TDX_COLLATERAL)
        return Collateral.decode(record.value)

    def signer_chain(self, which: Signed) -> SignerChain:
        """Return signer and root of a signed text. Raises `EvidenceError` and `DecodeError`."""
        return self._tcb_info_signer if which == "tcb-info" else self._qe_identity_signer

    @cached_property
    def _tcb_info_signer(self) -> SignerChain:
        return _signer_chain(self.collateral.tcb_info_chain)

    @cached_property
    def _qe_identity_signer(self) -> SignerChain:
        return _signer_chain(self.collateral.qe_identity_chain)

    def signed_text(self, which: Signed) -> tuple[bytes, bytes]:
        """Return a signed text and its signature."""
        collateral = self.collateral
        if which == "tcb-info":
            return collateral.tcb_info, collateral.tcb_info_signature
        return collateral.qe_identity, collateral.qe_identity_signature

    @cached_property
    def root_crl(self) -> RevocationList:
        """The revocation list of the root."""
        return _decode_crl(self.collateral.root_crl)

    @cached_property
    def pck_crl(self) -> RevocationList:
        """The revocation list of the CA that issued the PCK certificate."""
        return _decode_crl(self.collateral.pck_crl)

    @cached_property
    def tcb_info(self) -> TcbInfo:
        """The TCB info. To be read after its signature was checked."""
        return _recurring_tcb_info(self.collateral.tcb_info)

    @cached_property
    def qe_identity(self) -> QeIdentity:
        """The QE identity. To be read after its signature was checked."""
        return _recurring_qe_identity(self.collateral.qe_identity)

    def issued(self, which: Signed) -> TcbInfo | QeIdentity:
        """Return what a signed text says."""
        return self.tcb_info if which == "tcb-info" else self.qe_identity

    # --- Levels ---

    @cached_property
    def platform_level(self) -> TcbLevel | None:
        """The level of the platform, or None if it reaches none."""
        tdx = self.td.tee_tcb_svn if self.tee is TDX_TEE else None
        return platform_level(self.tcb_info.levels, sgx=self.pck.components, pce_svn=self.pck.pce_svn, tdx=tdx)

    @cached_property
    def qe_level(self) -> EnclaveLevel | None:
        """The level of the quoting enclave, or None if it reaches none."""
        return enclave_level(self.qe_identity.levels, self.qe_report.isv_svn)

    @cached_property
    def module(self) -> ModuleIdentity | None:
        """What Intel says of the TDX module that runs, or None if it does not know it."""
        return module_identity(self.tcb_info, self.td.tee_tcb_svn) if self.tee is TDX_TEE else None

    @property
    def module_is_versioned(self) -> bool:
        """Whether the TDX module has a version, and with it levels of its own."""
        return self.tee is TDX_TEE and self.td.tee_tcb_svn[1] > 0

    @cached_property
    def module_level(self) -> EnclaveLevel | None:
        """The level of the TDX module. None if it reaches none, or has none: that is so for version 0."""
        if self.module is None or not self.module_is_versioned:
            return None
        return enclave_level(self.module.levels, self.td.tee_tcb_svn[0])

    @property
    def levels(self) -> tuple[TcbLevel | EnclaveLevel, ...]:
        """The levels of platform, TDX module and quoting enclave, as far as they reach one."""
        return tuple(level for level in (self.platform_level, self.module_level, self.qe_level) if level)

    # --- The event log ---

    @cached_property
    def event_log(self) -> EventLog:
        """The event log of the TD. Raises `EvidenceError` if there is none, and `DecodeError`."""
        return EventLog.decode_ccel(self.request.evidence.item(CCEL, MEDIA_TYPES[CCEL]))

    @cached_property
    def replayed(self) -> dict[int, bytes]:
        """What the registers hold after the log, by the log's numbers: RTMR i is i + 1."""
        return self.event_log.replay(HashAlgorithm.SHA384)

    def events(self, rtmr: int) -> frozenset[bytes]:
        """Return the digests that the log extends into an RTMR."""
        return frozenset(
            event.digests[HashAlgorithm.SHA384]
            for event in self.event_log.events
            if event.extends and event.register == rtmr + 1
        )


def verify_p256(what: str, key: PublicKey, signature: bytes, signed: bytes, *, section: str) -> None:
    """Check a signature of ECDSA with P-256 and SHA-256 that is r and s, 32 bytes each. Raises `EvidenceError`."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise EvidenceError(f"{what} is signed by a key of another kind", want="P-256", section=section)
    r, s = (int.from_bytes(half, "big") for half in (signature[:_COORDINATE], signature[_COORDINATE:]))
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as exc:
        raise EvidenceError(f"the signature of {what} is wrong", section=section) from exc


def _path(certificates: Sequence[Certificate], size: int) -> tuple[Certificate, ...]:
    """Return the path from the first certificate to a root that takes in all of them. Raises `EvidenceError`."""
    path = find_path(certificates[0], certificates[1:]) if len(certificates) == size else ()
    if len(path) != size or not path[-1].self_issued:
        raise EvidenceError(
            "certificates do not make one path to a root", got=len(certificates), want=size, section=_SECTION
        )
    return path


def _signer_chain(encoded: bytes) -> SignerChain:
    return SignerChain(*_path(_recurring_chain(encoded), 2))


@lru_cache(_RECURRING)
def verify_text(what: str, public_key_info: bytes, signature: bytes, text: bytes, *, section: str) -> None:
    """Check the signature of a text that Intel publishes, as `verify_p256` does. A right one may be remembered, too."""
    verify_p256(what, load_public_key(public_key_info), signature, text, section=section)


# What these return follows from the bytes alone, so it may be remembered.
_recurring_chain = lru_cache(_RECURRING)(decode_chain)
_recurring_pck = lru_cache(_RECURRING)(PckExtension.of)
_recurring_crl = lru_cache(_RECURRING)(RevocationList.decode)
_recurring_tcb_info = lru_cache(_RECURRING)(TcbInfo.decode)
_recurring_qe_identity = lru_cache(_RECURRING)(QeIdentity.decode)


def _decode_crl(data: bytes) -> RevocationList:
    """Read a list; remember it if it is small, because anyone may send large ones."""
    return _recurring_crl(data) if len(data) <= _RECURRING_SIZE else RevocationList.decode(data)
