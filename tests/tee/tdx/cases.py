"""Requests to look at: simulated ones, with whatever should be wrong, and those of real machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import evolve

from confsec.protocol.binding import Binding, Mode
from confsec.protocol.checks import Status
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.platforms import (
    AZURE_RUNTIME_DATA,
    CCEL,
    MEDIA_TYPES,
    PLATFORMS,
    TDX,
    TPM_AK,
    Platform,
)
from confsec.protocol.policy import UNSAFE_ANY
from confsec.protocol.rats import TeeFindings, VerificationRequest
from confsec.protocol.wire import encode_base64url
from confsec.tee.azure import azure_report_data
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY, SimulatedIntel, make_root, simulated_log
from confsec.tee.tdx.collateral import TDX_COLLATERAL, Collateral
from confsec.tee.tdx.policy import INTEL_SGX_ROOT, UP_TO_DATE, TdxPolicy
from confsec.tee.tdx.verifier import TdxVerifier
from confsec.tee.tpm.structures import Attributes, PublicArea, RsaKey
from confsec.tee.x509 import decode_chain, encode_chain

__all__ = [
    "AT",
    "AZURE",
    "BINDING",
    "OTHER_ROOT",
    "REAL_POLICY",
    "TDX_ONLY",
    "azure",
    "failed_ids",
    "look",
    "platform",
    "public_area",
    "real_collateral",
    "real_request",
    "request",
    "runtime_data",
    "simulate",
]

AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When simulated evidence is looked at."""

BINDING: Final = Binding(mode=Mode.EPOCH, nonce=bytes(range(32)), key_config=b"a key", manifest=b"a manifest")
OTHER_ROOT: Final = make_root("another root")


def platform(name: str) -> Platform:
    return next(each for each in PLATFORMS if each.name == name)


TDX_ONLY: Final = platform("tdx")
AZURE: Final = platform("azure-tdx")

REAL_POLICY: Final = TdxPolicy(
    trust_anchors=(INTEL_SGX_ROOT,),
    accepted_tcb_statuses=UP_TO_DATE,
    denied_advisories=(),
    grace_days=0,
    min_tcb_evaluation=17,
    min_tee_tcb_svn=bytes(16),
    min_qe_svn=0,
    min_pce_svn=0,
    allow_dynamic_platform=True,
    allow_cached_keys=True,
    allow_smt=True,
    mr_td=UNSAFE_ANY,
    rtmr0=UNSAFE_ANY,
    rtmr1=UNSAFE_ANY,
    rtmr2=UNSAFE_ANY,
    rtmr3=UNSAFE_ANY,
    mr_config_id=UNSAFE_ANY,
    mr_owner=UNSAFE_ANY,
    mr_owner_config=UNSAFE_ANY,
    mr_seam=UNSAFE_ANY,
    mr_service_td=(bytes(48),),
    unsafe_allow_debug=False,
    unsafe_allow_migration=False,
    unsafe_allow_sept_ve=False,
)
"""What a real quote passes whose measurements nobody knows."""


def request(
    quote: bytes,
    collateral: Collateral | None,
    *,
    items: Mapping[str, bytes] | None = None,
    binding: Binding = BINDING,
    on: Platform = TDX_ONLY,
    at: datetime = AT,
) -> VerificationRequest:
    """Put a request together. `items` are what stands beside the quote: the simulated log, unless others are given."""
    beside = {CCEL: simulated_log()} if items is None else items
    evidence = {label: CmwRecord(MEDIA_TYPES[label], data) for label, data in {TDX: quote, **beside}.items()}
    endorsements = {} if collateral is None else {TDX_COLLATERAL: collateral.record}
    return VerificationRequest(
        evidence=Evidence.of(evidence),
        endorsements=Endorsements.of(endorsements),
        binding=binding,
        platform=on,
        at=at,
    )


def look(what: VerificationRequest, policy: TdxPolicy = SIMULATED_TDX_POLICY) -> TeeFindings:
    return TdxVerifier(policy).verify(what)


def simulate(
    policy: Mapping[str, Any] | None = None,
    *,
    log: bytes | None = None,
    binding: Binding = BINDING,
    **knobs: Any,
) -> TeeFindings:
    """Look at simulated evidence that differs from what is good by `knobs`, under a policy that differs by `policy`."""
    intel = SimulatedIntel(issued_at=AT, **knobs)
    items = {CCEL: simulated_log() if log is None else log}
    what = request(intel.quote(binding.value), intel.collateral(), items=items)
    return look(what, evolve(SIMULATED_TDX_POLICY, **(policy or {})))


def failed_ids(findings: TeeFindings) -> list[str]:
    """Return the checks that failed."""
    return [check.id for check in findings.checks if check.status is Status.FAIL]


# --- Azure ------------------------------------------------------------------------------------------------------------

_MODULUS: Final = (1 << 2047) + 1


def public_area(modulus: int = _MODULUS) -> bytes:
    """Return the TPMT_PUBLIC of an AK."""
    return PublicArea(
        name_algorithm=HashAlgorithm.SHA256,
        attributes=Attributes(0),
        key=RsaKey(2048, modulus=modulus.to_bytes(256, "big")),
    ).encode()


def runtime_data(user_data: bytes, modulus: int = _MODULUS) -> bytes:
    """Return what Azure's paravisor says: its vTPM's AK, and what the guest wrote."""
    key = {
        "kid": "HCLAkPub",
        "kty": "RSA",
        "n": encode_base64url(modulus.to_bytes(256, "big")),
        "e": encode_base64url(b"\x01\x00\x01"),
    }
    value = {"keys": [key], "vm-configuration": {"secure-boot": True}, "user-data": user_data.hex().upper()}
    return json.dumps(value).encode()


def azure(
    runtime: bytes | None = None,
    *,
    report_data: bytes | None = None,
    ak: bytes | None = None,
    policy: Mapping[str, Any] | None = None,
    **knobs: Any,
) -> TeeFindings:
    """Look at a simulated TD behind Azure's paravisor."""
    ak = public_area() if ak is None else ak
    binding = evolve(BINDING, ak=ak)
    runtime = runtime_data(binding.value) if runtime is None else runtime
    intel = SimulatedIntel(issued_at=AT, **knobs)
    quote = intel.quote(azure_report_data(runtime) if report_data is None else report_data)
    items = {AZURE_RUNTIME_DATA: runtime, TPM_AK: ak}
    what = request(quote, intel.collateral(), items=items, binding=binding, on=AZURE)
    return look(what, evolve(SIMULATED_TDX_POLICY, **(policy or {})))


# --- Real machines ----------------------------------------------------------------------------------------------------


def real_collateral(path: Path) -> Collateral:
    """Read collateral as dcap-qvl has it: JSON, with chains in PEM and lists in hex."""
    members = json.loads(path.read_text())
    return Collateral(
        tcb_info=members["tcb_info"].encode(),
        tcb_info_signature=bytes.fromhex(members["tcb_info_signature"]),
        tcb_info_chain=encode_chain(decode_chain(members["tcb_info_issuer_chain"].encode())),
        qe_identity=members["qe_identity"].encode(),
        qe_identity_signature=bytes.fromhex(members["qe_identity_signature"]),
        qe_identity_chain=encode_chain(decode_chain(members["qe_identity_issuer_chain"].encode())),
        root_crl=bytes.fromhex(members["root_ca_crl"]),
        pck_crl=bytes.fromhex(members["pck_crl"]),
    )


def real_request(quote: bytes, collateral: Collateral, at: datetime) -> VerificationRequest:
    """Put a request together for a quote about which nothing else was published."""
    return request(quote, collateral, at=at)
