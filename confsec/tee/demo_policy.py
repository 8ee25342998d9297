"""The one policy that accepts simulated TEEs. It is for demonstrations and tests: what it trusts, anybody can forge."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from confsec.protocol.platforms import Assumption
from confsec.protocol.policy import UNSAFE_ANY, Policy
from confsec.tee.sev_snp.evidence import Product, Tcb
from confsec.tee.sev_snp.policy import SnpPolicy, TcbFloor
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import SIMULATED_MEASUREMENT
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY
from confsec.tee.simulated.roots import SIMULATED_AMD_ROOTS
from confsec.tee.tdx.verifier import TdxVerifier

__all__ = ["SIMULATED_SNP_POLICY", "UNSAFE_DEMO_POLICY"]

SIMULATED_SNP_POLICY: Final = SnpPolicy(
    trust_anchors=tuple(sorted(SIMULATED_AMD_ROOTS)),
    products=("Genoa", "Milan", "Turin"),
    signing_keys=("vcek",),
    csp_ids=(),
    unsafe_allow_missing_crl=False,
    min_report_version=3,
    guest_policy={
        "smt": UNSAFE_ANY,
        "migrate_ma": False,
        "debug": False,
        "single_socket": UNSAFE_ANY,
        "cxl": False,
        "mem_aes_256_xts": UNSAFE_ANY,
        "rapl_disabled": UNSAFE_ANY,
        "ciphertext_hiding": UNSAFE_ANY,
        "page_swap_disabled": UNSAFE_ANY,
    },
    platform_info={
        "smt": UNSAFE_ANY,
        "tsme": UNSAFE_ANY,
        "ecc": UNSAFE_ANY,
        "rapl_disabled": UNSAFE_ANY,
        "ciphertext_hiding": UNSAFE_ANY,
        "alias_check_complete": True,
        "iommu_write_safe": UNSAFE_ANY,
        "tio": UNSAFE_ANY,
    },
    min_abi=(0, 0),
    min_firmware=(1, 55, 0),
    unsafe_allow_provisional_firmware=False,
    min_guest_svn=0,
    vmpl=0,
    measurements=(SIMULATED_MEASUREMENT,),
    firmware_measurements=(),
    host_data=(bytes(32),),
    family_ids=UNSAFE_ANY,
    image_ids=UNSAFE_ANY,
    id_keys=UNSAFE_ANY,
    author_keys=UNSAFE_ANY,
    tcb_floors=tuple(
        TcbFloor(
            product=product,
            cpu=b"",
            advisories=("SIMULATED-1",),
            tcb=Tcb(bootloader=3, tee=0, snp=20, microcode=200, fmc=int(product is Product.TURIN)),
        )
        for product in (Product.GENOA, Product.MILAN, Product.TURIN)
    ),
    required_mitigations=(),
    accepted_chips=UNSAFE_ANY,
    denied_chips=(),
)
"""What a simulated guest under SEV-SNP has to show."""

UNSAFE_DEMO_POLICY: Final = Policy(
    name="UNSAFE_DEMO_POLICY",
    minimum_nodes=1,
    maximum_age=timedelta(hours=1),
    platforms=("sev-snp", "tdx"),
    accepted_assumptions=(Assumption.AMD, Assumption.INTEL),
    manifests=UNSAFE_ANY,
    unsafe_waived=("freshness.epoch", "log.directory", "log.fleet", "token.spend"),
    verifiers=(SnpVerifier(SIMULATED_SNP_POLICY), TdxVerifier(SIMULATED_TDX_POLICY)),
    constant=True,
)
"""Simulated evidence is appraised by every check that real evidence is, and proves nothing of hardware. A Proof names
this policy by its digest; no file can."""
