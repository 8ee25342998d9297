"""The result of an appraisal in the form that other software reads: EAR (draft-ietf-rats-ear).

A Proof holds evidence, so that its reader appraises for himself. A result holds a verdict instead, for those who trust
the verifier that signs it. It is made from a Proof that was replayed here, and says nothing that the replay did not
show: whatever the policy, a simulated root is contraindicated hardware, and memory that the host may debug is visible.
What nobody looked at has no claim.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from confsec.protocol import cbor
from confsec.protocol.appraisal import AttestationResult
from confsec.protocol.ar4si import TRUST_CLAIMS, TrustTier, TrustVector
from confsec.protocol.ear import Ear, EarAppraisal, VerifierId
from confsec.protocol.platforms import SEV_SNP, TDX
from confsec.protocol.policy import Policy
from confsec.protocol.proof import Proof

__all__ = ["ear_of", "trust_vector_of"]

_DEVELOPER: Final = "confsec"


def ear_of(proof: Proof, *, build: str, issued_at: datetime) -> Ear:
    """Make the result of a replayed Proof: one appraisal for each candidate, by its Node ID in hex.

    `build` names the software that replayed it. `issued_at` is cut to whole seconds. Each appraisal has the nonce of
    the epoch.
    """
    policy = proof.contents.policy
    nonce = proof.contents.epoch.nonce
    appraisals = {node.node_id.hex(): _appraisal(node, policy, nonce) for node in proof.nodes}
    expires = min((node.expires for node in proof.nodes if node.expires), default=None)
    return Ear(
        issued_at=issued_at.replace(microsecond=0),
        verifier=VerifierId(_DEVELOPER, build),
        appraisals=appraisals,
        expires=expires.replace(microsecond=0) if expires else None,
    )


def trust_vector_of(node: AttestationResult, policy: Policy) -> TrustVector | None:
    """Return the trustworthiness vector of one node; None where nobody looked (AR4SI, section 2.3)."""
    if node.platform is None:
        return None
    if policy.find_refused(node.checks):
        return TrustVector(
            hardware=_claim("hardware", "unrecognized_hw") if node.simulated else None,
            configuration=_claim("configuration", "unsupportable_config"),
            executables=_claim("executables", "unrecognized_rt"),
        )
    in_tee = not node.platform.items.isdisjoint({SEV_SNP, TDX})
    debugged = any(said.get("debug") is True for said in node.claims.values())
    return TrustVector(
        hardware=_claim("hardware", "unrecognized_hw" if node.simulated else "genuine_hw"),
        configuration=_claim("configuration", "approved_config"),
        executables=_claim("executables", "approved_boot"),
        runtime_opaque=_claim("runtime-opaque", "encrypted_rt" if in_tee and not debugged else "visible_rt"),
    )


def _appraisal(node: AttestationResult, policy: Policy, nonce: bytes) -> EarAppraisal:
    vector = trust_vector_of(node, policy)
    claims: dict[str | int, Any] = {name: cbor.to_json(dict(said)) for name, said in node.claims.items()}
    return EarAppraisal(
        status=vector.tier if vector else TrustTier.NONE,
        trust_vector=vector,
        policy_ids=(f"{policy.name}#{policy.digest.hex()}",),
        nonce=nonce,
        attester_claims=claims,
    )


def _claim(aspect: str, name: str) -> int:
    return TRUST_CLAIMS[aspect][name][0]
