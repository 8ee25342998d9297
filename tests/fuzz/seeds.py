"""What fuzzing begins with: a good input of each form, from simulated vendors and our own writers."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Final

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec

from confsec.protocol import cbor, cbor_general
from confsec.protocol.ar4si import TrustTier, TrustVector
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.claims import EAT_CLAIMS, DebugStatus
from confsec.protocol.cmw_messages import CollectionCmw, ConceptualMessage, RecordCmw
from confsec.protocol.corim_signed import CORIM_TYPE
from confsec.protocol.cose import sign1
from confsec.protocol.ear import Ear, EarAppraisal, VerifierId
from confsec.protocol.eat_tokens import sign_cwt
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.jose import sign_jws
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.policy import Policy
from confsec.protocol.proof import make_proof
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import TrustedLog
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from confsec.tee.sev_snp.certificates import AMD_ROOTS, ARK_GUID, ASK_GUID, VCEK_GUID, CertificateTable
from confsec.tee.sev_snp.policy import SnpPolicy
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import UNSAFE_SIMULATED_SNP, SimulatedAmd
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY, SimulatedIntel
from confsec.tee.simulated.tpm import UNSAFE_SIMULATED_TPM
from confsec.tee.tdx.policy import INTEL_SGX_ROOT
from confsec.tee.tdx.verifier import TdxVerifier
from confsec.tee.tpm.statement import AkStatement, SignedAkStatement
from confsec.tee.tpm.verifier import TpmVerifier
from tests.protocol.corim_cases import corim_item, encode_corim
from tests.tee.composites import EPOCH, Node, make_node, vcek

__all__ = [
    "AT",
    "COLLECTION",
    "DEMO_POLICY",
    "EAR",
    "KEY",
    "NODES",
    "RECORD",
    "cel",
    "certificate_table",
    "collateral",
    "corim",
    "cose",
    "cwt",
    "detached_bundle",
    "eat_claims",
    "fleet_record",
    "hcl_report",
    "item",
    "jws",
    "node",
    "policy",
    "policy_toml",
    "proof",
    "quotes",
    "signed_corim",
    "statement",
]

AT: Final = datetime(2026, 11, 28, tzinfo=UTC)
KEY: Final = ec.derive_private_key(7, ec.SECP256R1())
DEMO_POLICY: Final = UNSAFE_DEMO_POLICY
NODES: Final = ("sev-snp", "sev-snp-svsm", "azure-sev-snp", "tdx", "azure-tdx", "tpm")
"""Platforms whose evidence is a seed."""


@cache
def node(platform: str) -> Node:
    """Return a simulated node."""
    return make_node(platform)


def item(label: str, platform: str) -> bytes:
    """Return an item of a node's evidence, or of what travels beside it."""
    found = node(platform)
    return found.items[label] if label in found.items else found.endorsements[label].value


# --- TEEs -------------------------------------------------------------------------------------------------------------


def certificate_table() -> bytes:
    """Return the table that a host gives its guests."""
    amd = SimulatedAmd()
    encoded = {VCEK_GUID: vcek().certificate, ASK_GUID: amd.ask, ARK_GUID: amd.ark}
    return CertificateTable({guid: certificate.encoded for guid, certificate in encoded.items()}).encode()


def hcl_report() -> bytes:
    """Return what a guest on Azure reads from its vTPM's index."""
    runtime_data = item("azure-runtime-data", "azure-sev-snp")
    header = b"HCLA" + bytes(28)
    request = struct.pack("<5I", 20 + len(runtime_data), 1, 2, 1, len(runtime_data))
    return header + item("sev-snp", "azure-sev-snp") + request + runtime_data


def quotes() -> tuple[bytes, ...]:
    """Return quotes of both versions."""
    return tuple(SimulatedIntel(issued_at=EPOCH.began, version=version).quote() for version in (4, 5))


@cache
def collateral() -> Mapping[str, bytes]:
    """Return the parts of Intel's collateral, by name."""
    found = SimulatedIntel(issued_at=EPOCH.began).collateral()
    return {
        "tcb-info": found.tcb_info,
        "qe-identity": found.qe_identity,
        "body": b'{"tcbInfo":' + found.tcb_info + b',"signature":"' + b"00" * 64 + b'"}',
    }


def statement() -> bytes:
    """Return what a registrar states."""
    said = AkStatement(ek_certificate=bytes(32), ak_name=bytes(34), issued=AT)
    return SignedAkStatement.sign(said, public_key=bytes(32), sign=lambda _: bytes(64)).encode()


# --- Messages ---------------------------------------------------------------------------------------------------------

RECORD: Final = RecordCmw("application/eat+cwt", b"evidence", ConceptualMessage.EVIDENCE)
COLLECTION: Final = CollectionCmw({"a": RECORD, "b": CollectionCmw({"c": RECORD})}, "tag:confsec.example,2026:x")
EAR: Final = Ear(
    issued_at=AT,
    verifier=VerifierId("https://confsec.example", "confsec"),
    appraisals={
        "node": EarAppraisal(
            status=TrustTier.AFFIRMING, trust_vector=TrustVector(hardware=2, executables=3, runtime_opaque=2)
        )
    },
    status=TrustTier.AFFIRMING,
    nonce=bytes(32),
)
_CLAIMS: Final = {"iss": "joe", "dbgstat": DebugStatus.DISABLED, "ueid": bytes(7), "eat_nonce": bytes(8)}


def eat_claims() -> tuple[bytes, bytes]:
    """Return claims in CBOR and in JSON."""
    return EAT_CLAIMS.encode_cbor(_CLAIMS), EAT_CLAIMS.encode_json(_CLAIMS)


def cwt() -> bytes:
    """Return a signed CWT."""
    return sign_cwt(_CLAIMS, KEY, algorithm="ES256")


def cose() -> bytes:
    """Return a COSE_Sign1 with headers."""
    return sign1(b"payload", KEY, algorithm="ES256", protected={3: "text/plain"}, unprotected={4: b"key"}).encode()


def jws() -> bytes:
    """Return a compact JWS."""
    return sign_jws(b'{"iss":"joe"}', KEY, algorithm="ES256").encode().encode()


def corim() -> bytes:
    """Return a CoRIM."""
    return encode_corim(corim_item())


# --- Logs -------------------------------------------------------------------------------------------------------------

_LOG: Final = Signer("log.example/one", KeyType.ED25519, bytes(32))
_WITNESSES: Final = (
    Signer("witness.example/w1", KeyType.ED25519_COSIGNATURE, b"1" * 32),
    Signer("witness.example/w2", KeyType.ML_DSA_44_COSIGNATURE, b"2" * 32),
)


@cache
def checkpoint() -> bytes:
    """Return a checkpoint that a log and two witnesses signed."""
    note = SignedNote(Checkpoint("log.example/one", 7, bytes(range(32)), ("more",)).encode()).sign(_LOG)
    for witness in _WITNESSES:
        note = note.sign(witness, at=datetime(2026, 1, 1, tzinfo=UTC))
    return note.encode()


def tlog_proof() -> bytes:
    """Return a proof of an entry of that log."""
    return TlogProof(5, (bytes(32), b"\1" * 32), checkpoint(), b"extra").encode()


def witness_policy() -> bytes:
    """Return a policy that knows them."""
    keys = [f"witness w{number} {each.key.encode()}" for number, each in enumerate(_WITNESSES)]
    lines = [f"log {_LOG.key.encode()} https://log.example/one", *keys, "group g 2 w0 w1", "quorum g", ""]
    return "\n".join(lines).encode()


def trusted_log() -> bytes:
    """Return what a reader remembers of it."""
    return TrustedLog("log.example/one", 7, bytes(range(32)), datetime(2026, 1, 1, tzinfo=UTC)).encode()


# --- Policies and Proofs ----------------------------------------------------------------------------------------------


@cache
def policy() -> Policy:
    """Return a policy as a file can hold it: it names vendors' roots."""
    amd: SnpPolicy = evolve(UNSAFE_SIMULATED_SNP, trust_anchors=tuple(sorted(AMD_ROOTS.values())))
    tpm = evolve(UNSAFE_SIMULATED_TPM, trust_anchors=(bytes(range(32)),), registrars=())
    return evolve(
        UNSAFE_DEMO_POLICY,
        name="ours",
        constant=False,
        verifiers=(
            SnpVerifier(amd),
            TdxVerifier(evolve(SIMULATED_TDX_POLICY, trust_anchors=(INTEL_SGX_ROOT,))),
            TpmVerifier(tpm),
        ),
    )


def policy_toml() -> bytes:
    """Return that policy as a file. JSON's strings, numbers and arrays are TOML's, too."""
    plain = cbor.to_json(policy().to_item())
    assert isinstance(plain, dict)
    lines = [f"{name} = {_toml(value)}" for name, value in plain.items() if not isinstance(value, dict)]
    for name, table in plain.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines).encode()


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


@cache
def proof() -> bytes:
    """Return a Proof with evidence of one node, under the policy for demonstrations."""
    trusted = node("sev-snp").appraise(UNSAFE_DEMO_POLICY)
    listed = FleetNode(trusted.node_id, trusted.evidence.digest, 0)
    record = FleetRecord(EPOCH.beacon, (listed,))
    return make_proof(UNSAFE_DEMO_POLICY, record.encode(), record, [trusted]).encode()


def fleet_record() -> bytes:
    """Return a record of two nodes."""
    return FleetRecord(EPOCH.beacon, (FleetNode(bytes(32), bytes(32), 0), FleetNode(b"\1" * 32, bytes(32), 1))).encode()


def cel() -> bytes:
    """Return a canonical event log of one record."""
    digest = b"\x0b\x00\x00\x00\x20" + bytes(32)
    content = b"\x50\x00\x00\x00\x02ab"
    number, register = b"\x00\x00\x00\x00\x08" + bytes(8), b"\x01\x00\x00\x00\x01\x08"
    return number + register + b"\x03" + len(digest).to_bytes(4, "big") + digest + content


def signed_corim() -> bytes:
    """Return a CoRIM that somebody signed."""
    signer: cbor_general.CborItem = {0: {0: "ACME", 1: cbor_general.Tag(32, "https://acme.example")}}
    headers: dict[int | str | bytes, cbor_general.CborItem] = {3: CORIM_TYPE, 8: cbor_general.encode(signer)}
    return sign1(corim(), KEY, algorithm="ES256", protected=headers).encode()


def detached_bundle() -> bytes:
    """Return a bundle of a token and claims that stand outside of it."""
    return cbor_general.encode(cbor_general.Tag(602, [cwt(), {"a": b"\xa0"}]))
