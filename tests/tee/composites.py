"""Whole evidence of each platform, from simulated vendors: what an honest node shows, and parts to attack it with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from hashlib import sha256
from typing import Final

from attrs import evolve, frozen
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confsec.protocol.appraisal import TrustedKeyConfig, appraise_node
from confsec.protocol.binding import Binding, Mode
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetNode
from confsec.protocol.kem import ML_KEM_768, MLKEM768_P256, HybridDecapsulator, kem_from_id
from confsec.protocol.key_config import KeyConfig, encode_key_configs
from confsec.protocol.manifest import Freshness, Manifest
from confsec.protocol.node_keys import node_id, node_key_config
from confsec.protocol.platforms import (
    AZURE_RUNTIME_DATA,
    CCEL,
    FRESHNESS,
    KEY_CONFIG,
    MANIFEST,
    MEDIA_TYPES,
    PLATFORMS,
    SEV_SNP,
    SVSM_MANIFEST,
    TDX,
    TPM_AK,
    TPM_KEY,
    TPM_LOG,
    TPM_QUOTE,
    Platform,
)
from confsec.protocol.policy import Policy
from confsec.protocol.wire import encode_base64url
from confsec.tee.azure import azure_report_data
from confsec.tee.sev_snp.subject import CERTIFICATES_TYPE, CRL_TYPE, SNP_CERTIFICATES, SNP_CRL
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import SIMULATED_MEASUREMENT, UNSAFE_SIMULATED_SNP, IssuedKey, SimulatedAmd
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY, SimulatedIntel, simulated_log
from confsec.tee.simulated.tpm import UNSAFE_SIMULATED_TPM, SimulatedTpmMaker, SoftwareTpm, published_key
from confsec.tee.svsm import VTPM_GUID, ServicesManifest, svsm_report_data
from confsec.tee.tdx.collateral import TDX_COLLATERAL, TDX_COLLATERAL_TYPE
from confsec.tee.tdx.verifier import TdxVerifier
from confsec.tee.tpm.evidence import ENDORSEMENT_MEDIA_TYPES, TPM_AK_CERTIFICATE
from confsec.tee.tpm.verifier import TpmVerifier
from confsec.testing import seeded_randbytes

EPOCH: Final = Epoch.local(1_795_824_000)
MANIFEST_ITEM: Final = Manifest({"engine": "llama.cpp"}).encode()


@cache
def azure_ak() -> rsa.RSAPrivateKey:
    """Return the AK of a paravisor's vTPM: Azure's are RSA."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def vcek() -> IssuedKey:
    """Return the key of the chip."""
    return SimulatedAmd().issue_vcek()


def tpm_of(platform: Platform) -> SoftwareTpm:
    """Return the TPM of a platform."""
    return SoftwareTpm(ak_key=azure_ak()) if platform.name.startswith("azure") else SoftwareTpm()


def policy_for(platform: Platform) -> Policy:
    """Return a policy that accepts this platform and nothing else, with all checks."""
    verifiers = (
        SnpVerifier(
            evolve(
                UNSAFE_SIMULATED_SNP,
                measurements=() if platform.has_tpm else (SIMULATED_MEASUREMENT,),
                firmware_measurements=(SIMULATED_MEASUREMENT,) if platform.has_tpm else (),
            )
        ),
        TdxVerifier(SIMULATED_TDX_POLICY),
        TpmVerifier(UNSAFE_SIMULATED_TPM),
    )
    return Policy(
        name="ours",
        minimum_nodes=1,
        maximum_age=timedelta(hours=1),
        platforms=(platform.name,),
        accepted_assumptions=tuple(sorted(platform.assumes, key=lambda each: each.value)),
        manifests=(sha256(MANIFEST_ITEM).digest(),),
        unsafe_waived=(),
        verifiers=verifiers,
    )


@frozen
class Node:
    """What a node shows, item by item."""

    platform: Platform
    key_config: KeyConfig
    binding: Binding
    items: Mapping[str, bytes]
    endorsements: Mapping[str, CmwRecord]

    @property
    def evidence(self) -> Evidence:
        """The collection."""
        return Evidence.of({label: CmwRecord(MEDIA_TYPES[label], value) for label, value in self.items.items()})

    def with_items(self, **items: bytes) -> Node:
        """Return the node with other items, their names with underscores."""
        return evolve(self, items={**self.items, **{name.replace("_", "-"): value for name, value in items.items()}})

    def appraise(self, policy: Policy | None = None, *, epoch: Epoch = EPOCH) -> TrustedKeyConfig:
        """Have it appraised, under the policy of its platform if no other is given."""
        evidence = self.evidence
        return appraise_node(
            FleetNode(node_id(self.key_config), evidence.digest, 0),
            evidence.encoded,
            Endorsements.of(self.endorsements).encoded,
            policy=policy or policy_for(self.platform),
            epoch=epoch,
        )


class _SoftwareKey:
    """The P-256 half of the request key, where there is no device."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        """Do ECDH."""
        return self._key.exchange(
            ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), peer_public_key)
        )


def node_key(platform: Platform, tpm: SoftwareTpm, seed: str = "node") -> KeyConfig:
    """Return the key of a node: its P-256 half is the TPM's where there is one."""
    random = seeded_randbytes(seed)
    if not platform.has_tpm:
        return node_key_config(kem_from_id(0x647A).generate(random))
    assert isinstance(tpm.request_key, ec.EllipticCurvePrivateKey)
    half = _SoftwareKey(tpm.request_key)
    return node_key_config(HybridDecapsulator(MLKEM768_P256, pq=ML_KEM_768.generate(random), traditional=half))


def make_node(
    name: str,
    *,
    mode: Mode = Mode.EPOCH,
    nonce: bytes = EPOCH.nonce,
    seed: str = "node",
    tpm: SoftwareTpm | None = None,
    ak: bytes | None = None,
) -> Node:
    """Make what an honest node of a platform shows. `ak` is the AK that the TEE names, if not the TPM's."""
    (platform,) = [each for each in PLATFORMS if each.name == name]
    device = tpm or tpm_of(platform)
    key_config = node_key(platform, device, seed)
    own_ak = device.ak.encode() if platform.has_tpm else None
    binding = Binding(mode=mode, nonce=nonce, key_config=key_config.encode(), manifest=MANIFEST_ITEM, ak=own_ak)
    items = {
        KEY_CONFIG: encode_key_configs([key_config]),
        MANIFEST: MANIFEST_ITEM,
        FRESHNESS: Freshness(mode, nonce).encode(),
    }
    endorsements: dict[str, CmwRecord] = {}
    report_data = _report_data(platform, binding, ak or own_ak or b"", device, items)
    if SEV_SNP in platform.items:
        items[SEV_SNP] = vcek().sign(SimulatedAmd().report(report_data)).encode()
        endorsements[SNP_CERTIFICATES] = CmwRecord(CERTIFICATES_TYPE, SimulatedAmd().chain(vcek()))
        endorsements[SNP_CRL] = CmwRecord(CRL_TYPE, SimulatedAmd().issue_crl().encoded)
    if TDX in platform.items:
        intel = SimulatedIntel(issued_at=EPOCH.began - timedelta(days=1))
        items[TDX] = intel.quote(report_data)
        endorsements[TDX_COLLATERAL] = CmwRecord(TDX_COLLATERAL_TYPE, intel.collateral().encode())
    if CCEL in platform.items:
        items[CCEL] = simulated_log()
    if platform.has_tpm:
        items |= tpm_items(device, binding)
        endorsements |= ak_certificate(device)
    return Node(
        platform, key_config, binding, items, endorsements if not platform.tpm_inside else _without_ak(endorsements)
    )


def tpm_items(tpm: SoftwareTpm, binding: Binding) -> dict[str, bytes]:
    """Return what a TPM says about a binding."""
    selection = UNSAFE_SIMULATED_TPM.selection
    key = tpm.certify_creation(tpm.request_public(selection), binding.qualifying_data)
    return {
        TPM_AK: tpm.ak.encode(),
        TPM_QUOTE: tpm.quote(binding.qualifying_data, selection).encode(),
        TPM_LOG: tpm.log(),
        TPM_KEY: key.encode(),
    }


def ak_certificate(tpm: SoftwareTpm) -> dict[str, CmwRecord]:
    """Return what a cloud says of the AK of its vTPM."""
    maker = SimulatedTpmMaker()
    public = tpm.ak_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = CmwRecord(ENDORSEMENT_MEDIA_TYPES[TPM_AK_CERTIFICATE], maker.chain(maker.issue_ak_certificate(public)))
    return {TPM_AK_CERTIFICATE: record}


def emulated_tpm() -> SoftwareTpm:
    """Return a TPM that an attacker wrote himself: its keys are his, and its PCRs are what he likes."""
    return SoftwareTpm(ak_key=published_key("an attacker's AK"), request_key=published_key("an attacker's key"))


def _report_data(platform: Platform, binding: Binding, ak: bytes, tpm: SoftwareTpm, items: dict[str, bytes]) -> bytes:
    """Return the report data of a platform, and add the item that it is about."""
    if SVSM_MANIFEST in platform.items:
        items[SVSM_MANIFEST] = ServicesManifest({VTPM_GUID: ak}).encode()
        return svsm_report_data(binding.value, items[SVSM_MANIFEST])
    if AZURE_RUNTIME_DATA in platform.items:
        items[AZURE_RUNTIME_DATA] = _runtime_data(binding, tpm)
        return azure_report_data(items[AZURE_RUNTIME_DATA])
    return binding.value


def _runtime_data(binding: Binding, tpm: SoftwareTpm) -> bytes:
    numbers = tpm.ak_key.public_key().public_numbers()
    assert isinstance(numbers, rsa.RSAPublicNumbers)
    key = {
        "kid": "HCLAkPub",
        "key_ops": ["sign"],
        "kty": "RSA",
        "e": encode_base64url(numbers.e.to_bytes(3, "big")),
        "n": encode_base64url(numbers.n.to_bytes(256, "big")),
    }
    value = {"keys": [key], "vm-configuration": {"secure-boot": True}, "user-data": binding.value.hex().upper()}
    return json.dumps(value).encode()


def _without_ak(endorsements: Mapping[str, CmwRecord]) -> dict[str, CmwRecord]:
    return {label: record for label, record in endorsements.items() if label != TPM_AK_CERTIFICATE}
