"""Which kinds of TEE this package brings, for whoever reads a policy: a file, or an item of a Proof.

Another kind plugs in by a `PolicyReader` of its own: `PolicyReader({**POLICIES.verifiers, "mine": read_mine})`.
"""

from __future__ import annotations

from typing import Final

from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, PolicyReader
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from confsec.tee.sev_snp.verifier import read_snp_verifier
from confsec.tee.tdx.verifier import TdxVerifier
from confsec.tee.tpm.verifier import read_tpm_policy

__all__ = ["POLICIES"]

POLICIES: Final = PolicyReader(
    {"sev-snp": read_snp_verifier, "tdx": TdxVerifier.from_item, "tpm": read_tpm_policy},
    constants=(PRODUCTION, UNSAFE_DEMO_POLICY, UNSAFE_UNATTESTED),
)
"""Reads policies that name the TEEs of this package."""
