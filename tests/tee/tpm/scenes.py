"""One node with a TPM in software, and everything about it that can be changed before a verifier looks at it.

A scene makes evidence as a node does: request key, binding, quote, certification. Each field changes one step, and what
comes later follows from it; so a changed AK is in the binding, and a changed boot in the policy of the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from hashlib import sha256
from typing import Any, Final

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confsec.protocol.binding import Binding, Mode
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite, encode_key_configs
from confsec.protocol.platforms import (
    KEY_CONFIG,
    MANIFEST,
    MEDIA_TYPES,
    PLATFORMS,
    TPM_AK,
    TPM_KEY,
    TPM_LOG,
    TPM_QUOTE,
    Platform,
)
from confsec.protocol.rats import TeeFindings, VerificationRequest
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.simulated.tpm import UNSAFE_SIMULATED_TPM, SimulatedTpmMaker, SoftwareTpm, simulated_registrar
from confsec.tee.tpm.evidence import (
    ENDORSEMENT_MEDIA_TYPES,
    TPM_AK_CERTIFICATE,
    TPM_AK_STATEMENT,
    TPM_EK_CERTIFICATE,
    TpmKey,
    TpmQuote,
)
from confsec.tee.tpm.policy import TpmPolicy
from confsec.tee.tpm.registrar import Registrar
from confsec.tee.tpm.statement import AkStatement, SignedAkStatement
from confsec.tee.tpm.structures import EccKey, PcrSelection
from confsec.tee.tpm.verifier import TpmVerifier

__all__ = ["AT", "MAKER", "OTHER_REGISTRAR", "Scene", "numbered", "platform", "rsa_key", "same"]

AT: Final = datetime(2026, 11, 28, 12, tzinfo=UTC)
"""When verifiers look."""

MAKER: Final = SimulatedTpmMaker()
MANIFEST_ITEM: Final = b"\xa1aa\x01"

_OTHER: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_REGISTRAR: Final = Registrar(frozenset(), _OTHER.public_key().public_bytes_raw(), _OTHER.sign)
"""A registrar whom no policy lists."""

Change = Callable[[Any], Any]


def same(value: Any) -> Any:
    """Change nothing."""
    return value


def numbered(seed: bytes) -> Callable[[int], bytes]:
    """Return randomness that is the same each time."""
    state = [0]

    def draw(size: int) -> bytes:
        state[0] += 1
        found = b""
        while len(found) < size:
            found += sha256(seed + state[0].to_bytes(4, "big") + len(found).to_bytes(4, "big")).digest()
        return found[:size]

    return draw


@cache
def rsa_key(bits: int, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """Return an RSA key, a new one in each run."""
    return rsa.generate_private_key(exponent, bits)


@cache
def platform(name: str) -> Platform:
    """Return a row of the table of platforms."""
    return next(each for each in PLATFORMS if each.name == name)


@cache
def _ml_kem_half() -> bytes:
    kem = kem_from_id(0x0050)
    return kem.generate(numbered(b"ml-kem")).public_key[:-65]


@frozen(kw_only=True)
class Scene:
    """What a node does, with one thing changed."""

    tpm: SoftwareTpm = field(factory=SoftwareTpm)
    policy: TpmPolicy = UNSAFE_SIMULATED_TPM
    platform: Platform = field(factory=partial(platform, "tpm"))
    at: datetime = AT

    pcrs: tuple[int, ...] = UNSAFE_SIMULATED_TPM.pcr_selection
    """What is quoted."""

    key_pcrs: tuple[int, ...] | None = None
    """What the request key is bound to, if it is something else."""

    key_members: Mapping[str, object] = field(factory=dict)
    """Members of the request key's public area."""

    kem_id: int = 0x0050
    """The KEM in the KeyConfig."""

    point: Change = same
    """Changes the point in the KeyConfig."""

    quote_members: Mapping[str, object] = field(factory=dict)
    """Members of the quote's TPMS_ATTEST, before it is signed."""

    key_attest_members: Mapping[str, object] = field(factory=dict)
    """Members of the certification's TPMS_ATTEST, before it is signed."""

    quote: Change = same
    """Changes the item `tpm-quote`."""

    quote_item: Change = same
    """Changes the bytes of the item `tpm-quote`."""

    key: Change = same
    """Changes the item `tpm-key`."""

    key_item: Change = same
    """Changes the bytes of the item `tpm-key`."""

    ak_item: Change = same
    """Changes the bytes of the item `tpm-ak`, before they are bound."""

    log: Change = same
    """Changes the event log."""

    binding: Change = same
    """Changes the binding that the verifier is told, after everything was signed."""

    by_certificate: bool = False
    """A certificate of the AK vouches for it, and not a registrar."""

    chain: Change = same
    """Changes the chain's bytes."""

    leaf: Mapping[str, Any] = field(factory=dict)
    """What the leaf's issuer is told."""

    authority: Mapping[str, Any] = field(factory=dict)
    """What the intermediate's issuer is told."""

    maker: SimulatedTpmMaker = MAKER

    certified: bytes | None = None
    """Another key that the leaf certifies, as SubjectPublicKeyInfo."""

    statement: Change = same
    """Changes the statement, before it is signed."""

    registrar: Registrar = field(factory=simulated_registrar)

    signed_statement: Change = same
    """Changes the signed statement."""

    statement_item: Change = same
    """Changes the statement's bytes."""

    extra_items: Mapping[str, CmwRecord] = field(factory=dict)
    """Items of the TEE around the TPM."""

    endorsements: Change = same
    """Changes what travels beside."""

    def request(self) -> VerificationRequest:
        """Make evidence, and what travels beside it."""
        tpm, selection = self.tpm, PcrSelection.of(HashAlgorithm.SHA256, self.pcrs)
        key_selection = PcrSelection.of(HashAlgorithm.SHA256, self.pcrs if self.key_pcrs is None else self.key_pcrs)
        public = tpm.request_public(key_selection, **self.key_members)
        ak = self.ak_item(tpm.ak.encode())
        key_config = self._key_config(public.key.point if isinstance(public.key, EccKey) else b"")
        binding = Binding(
            mode=Mode.EPOCH, nonce=bytes(32), key_config=key_config.encode(), manifest=MANIFEST_ITEM, ak=ak
        )
        quote: TpmQuote = self.quote(tpm.quote(binding.qualifying_data, selection, **self.quote_members))
        key: TpmKey = self.key(tpm.certify_creation(public, binding.qualifying_data, **self.key_attest_members))
        items = {
            KEY_CONFIG: encode_key_configs([key_config]),
            MANIFEST: MANIFEST_ITEM,
            TPM_AK: ak,
            TPM_QUOTE: self.quote_item(quote.encode()),
            TPM_LOG: self.log(tpm.log()),
            TPM_KEY: self.key_item(key.encode()),
        }
        records = {label: CmwRecord(MEDIA_TYPES[label], value) for label, value in items.items()}
        return VerificationRequest(
            evidence=Evidence.of(records | dict(self.extra_items)),
            endorsements=Endorsements.of(self.endorsements(self._endorsements())),
            binding=self.binding(binding),
            platform=self.platform,
            at=self.at,
        )

    def verify(self) -> TeeFindings:
        """Have the verifier look."""
        return TpmVerifier(self.policy).verify(self.request())

    def changed(self, **changes: Any) -> Scene:
        """Return the scene with other fields."""
        return evolve(self, **changes)

    def _key_config(self, point: bytes) -> KeyConfig:
        point = self.point(point)
        key = _ml_kem_half() + point if self.kem_id == 0x0050 else point
        return KeyConfig(0, self.kem_id, key, (SymmetricSuite(1, 2),))

    def _endorsements(self) -> dict[str, CmwRecord]:
        tpm, maker = self.tpm, self.maker
        found: dict[str, bytes] = {}
        if self.by_certificate:
            leaf = maker.issue_ak_certificate(self.certified or tpm.ak.public_key_info, **self.leaf)
        else:
            leaf = maker.issue_ek_certificate(self.certified or tpm.ek.public_key_info, **self.leaf)
            issued = datetime(2026, 11, 20, tzinfo=UTC)
            statement = AkStatement(ek_certificate=leaf.fingerprint, ak_name=tpm.ak.name, issued=issued)
            signed = SignedAkStatement.sign(
                self.statement(statement), public_key=self.registrar.public_key, sign=self.registrar.sign
            )
            found[TPM_AK_STATEMENT] = self.statement_item(self.signed_statement(signed).encode())
        authority = maker.issue_authority(**{"path_length": 0, **self.authority})
        chain = leaf.encoded + authority.encoded + maker.root.encoded
        found[TPM_AK_CERTIFICATE if self.by_certificate else TPM_EK_CERTIFICATE] = self.chain(chain)
        return {label: CmwRecord(ENDORSEMENT_MEDIA_TYPES[label], value) for label, value in found.items()}
