"""The one policy that accepts simulated TEEs. It is for demonstrations and tests: what it trusts, anybody can forge."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from confsec.protocol.platforms import Assumption
from confsec.protocol.policy import UNSAFE_ANY, Policy
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import UNSAFE_SIMULATED_SNP
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY
from confsec.tee.simulated.tpm import UNSAFE_SIMULATED_TPM
from confsec.tee.tdx.verifier import TdxVerifier
from confsec.tee.tpm.verifier import TpmVerifier

__all__ = ["UNSAFE_DEMO_POLICY"]

UNSAFE_DEMO_POLICY: Final = Policy(
    name="UNSAFE_DEMO_POLICY",
    minimum_nodes=1,
    maximum_age=timedelta(hours=1),
    platforms=("sev-snp", "tdx", "tpm"),
    accepted_assumptions=(Assumption.AMD, Assumption.CLOUD_HYPERVISOR, Assumption.INTEL),
    manifests=UNSAFE_ANY,
    unsafe_waived=("freshness.epoch", "log.directory", "log.fleet", "log.root", "token.spend"),
    verifiers=(
        SnpVerifier(UNSAFE_SIMULATED_SNP),
        TdxVerifier(SIMULATED_TDX_POLICY),
        TpmVerifier(UNSAFE_SIMULATED_TPM),
    ),
    constant=True,
)
"""Simulated evidence is appraised by every check that real evidence is, and proves nothing of hardware. A Proof names
this policy by its digest; no file can."""
