"""Make `ear.json`: attestation results as JWT and CWT, and some that nobody may take.

The key is published. Signatures are deterministic, so the file comes out the same each time. Type
`python -m tests.vectors.make_ear_vectors` to make it again.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from confsec.protocol import cbor_general, json_general
from confsec.protocol.ar4si import TrustTier, TrustVector
from confsec.protocol.cbor_general import CborItem
from confsec.protocol.cmw_messages import ConceptualMessage, RecordCmw
from confsec.protocol.cose import sign1
from confsec.protocol.ear import Ear, EarAppraisal, EarProfile, VerifierId
from confsec.protocol.jose import sign_jws
from confsec.protocol.wire import encode_base64url

KEY = ec.derive_private_key(11, ec.SECP256R1())
POINT = KEY.public_key().public_numbers()
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
GOOD = EarAppraisal(
    status=TrustTier.AFFIRMING,
    trust_vector=TrustVector(instance_identity=0, configuration=2, executables=3, hardware=2, runtime_opaque=2),
    policy_ids=("sha-256:00", "sha-256:01"),
    nonce=bytes(range(32)),
    attester_claims={"measurement": "a1" * 48},
    verifier_claims={"tcb-behind": 0},
)
OLD_FIRMWARE = EarAppraisal(status=TrustTier.WARNING, trust_vector=TrustVector(hardware=32, executables=2))
DEBUGGED = EarAppraisal(status=TrustTier.CONTRAINDICATED, trust_vector=TrustVector(runtime_opaque=96, hardware=2))
RESULT = Ear(issued_at=NOW, verifier=VerifierId("https://confsec.example", "confsec 0.1"), appraisals={"node": GOOD})


def good(name: str, ear: Ear) -> dict[str, object]:
    return {
        "name": name,
        "claims": json.loads(ear.to_json()),
        "cbor": ear.to_cbor().hex(),
        "jwt": ear.to_jwt(KEY),
        "cwt": ear.to_cwt(KEY).hex(),
        "valid": True,
    }


def bad(defect: str, claims: dict[Any, CborItem], members: dict[str, Any]) -> dict[str, object]:
    """Sign claims that are good but for some of them, in both forms."""
    in_cbor = cbor_general.as_map(cbor_general.decode(RESULT.to_cbor(), what="it", limit=9999), what="it")
    in_json = json.loads(RESULT.to_json())
    cwt = sign1(cbor_general.encode({**in_cbor, **claims}), KEY, algorithm="ES256")
    jwt = sign_jws(json_general.encode({**in_json, **members}), KEY, algorithm="ES256")
    return {"defect": defect, "jwt": jwt.encode(), "cwt": cwt.encode().hex(), "valid": False}


def cases() -> list[dict[str, object]]:
    everything = Ear(
        issued_at=NOW,
        verifier=RESULT.verifier,
        appraisals={"board": OLD_FIRMWARE, "node": GOOD},
        status=TrustTier.WARNING,
        expires=datetime(2026, 11, 28, 13, tzinfo=UTC),
        nonce=bytes(range(16)),
        raw_evidence=RecordCmw("application/cmw+cbor", b"\xa0", ConceptualMessage.EVIDENCE),
        topology={"board": ("node",)},
    )
    older = Ear(
        issued_at=NOW, verifier=RESULT.verifier, appraisals={"node": DEBUGGED}, profile=EarProfile.DRAFT_03,
        raw_evidence=b"evidence",
    )  # fmt: skip
    one_policy = EarAppraisal(status=TrustTier.AFFIRMING, trust_vector=GOOD.trust_vector, policy_ids=("sha-256:00",))
    veraison = Ear(
        issued_at=NOW, verifier=RESULT.verifier, appraisals={"node": one_policy}, profile=EarProfile.VERAISON
    )
    return [
        good("one attester", RESULT),
        good("two attesters, and every claim", everything),
        good("revision 03, contraindicated", older),
        good("Veraison's profile", veraison),
        bad("status_better_than_vector", {266: {"node": {1000: 2, 1001: {4: 96}}}}, {
            "submods": {"node": {"ear_status": "affirming", "ear_trustworthiness_vector": {"hardware": 96}}}}),
        bad("status_better_than_appraisals", {1000: 2, 266: {"node": {1000: 96}}}, {
            "ear_status": "affirming", "submods": {"node": {"ear_status": "contraindicated"}}}),
        bad("other_profile", {265: "tag:ietf.org,2026:rats/ear#02"}, {"eat_profile": "tag:ietf.org,2026:rats/ear#02"}),
        bad("names_of_two_profiles", {"ear.status": 2}, {"ear.status": "affirming"}),
        bad("time_with_fraction", {6: 1795867200.5}, {"iat": 1795867200.5}),
        bad("no_appraisals", {266: {}}, {"submods": {}}),
        bad("appraisal_is_a_token", {266: {"node": b"token"}}, {"submods": {"node": ["JWT", "e30.e30.AA"]}}),
        bad("vector_out_of_range", {266: {"node": {1000: 96, 1001: {4: 128}}}}, {
            "submods": {"node": {"ear_status": "contraindicated", "ear_trustworthiness_vector": {"hardware": 128}}}}),
        bad("nonce_too_short", {10: bytes(7)}, {"eat_nonce": encode_base64url(bytes(7))}),
    ]  # fmt: skip


def main() -> None:
    x, y = (encode_base64url(number.to_bytes(32, "big")) for number in (POINT.x, POINT.y))
    document = {
        "source": "draft-ietf-rats-ear-04, and the profile of Veraison; made by make_ear_vectors.py",
        "schema": "ear-signed",
        "key": {"kty": "EC", "crv": "P-256", "x": x, "y": y},
        "cases": cases(),
    }
    path = Path(__file__).parent / "ear.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
