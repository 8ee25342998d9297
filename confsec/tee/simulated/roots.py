"""What marks a simulated vendor, and the digests of the roots that simulated vendors have.

A policy that is read from a file or out of a Proof refuses these digests as trust anchors; only the constant
`UNSAFE_DEMO_POLICY` names them. Each vendor's module adds its root here, so that nobody can forget one.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "SIMULATED_AMD_ROOTS",
    "SIMULATED_INTEL_ROOTS",
    "SIMULATED_OID",
    "SIMULATED_ROOTS",
    "SIMULATED_TPM_REGISTRARS",
    "SIMULATED_TPM_ROOTS",
]

SIMULATED_OID: Final = "1.3.6.1.4.1.57264.99999.1"
"""The critical extension in every simulated certificate: who does not know it has to refuse it (RFC 5280, 4.2)."""

SIMULATED_AMD_ROOTS: Final = frozenset(
    map(
        bytes.fromhex,
        (
            "747b21ea71cca52c5986a005bf7b8fe3b02ca9f393706df65723ef37d2e24b1a",  # Milan
            "7500e63467fd1dd24af4c963ef38fe2b5776697ebee0ccc68121ee2f3a7fda28",  # Genoa
            "8b3e1cb8280e6e9c40053693d2e6d611996d61ac93e1add4464eb8c04f83a9ff",  # Turin
        ),
    )
)
"""SHA-256 of each simulated ARK in DER."""

SIMULATED_INTEL_ROOTS: Final[frozenset[bytes]] = frozenset(
    {bytes.fromhex("42af58147e0ea565ce87f15835e86ce3d915fb181a77380a06122e0346e28c39")}
)
"""SHA-256 of the simulated SGX root CA in DER."""

SIMULATED_TPM_ROOTS: Final[frozenset[bytes]] = frozenset(
    {bytes.fromhex("ce4684aee7e53c9e1a9a1b298ef8bcfb6ae6ef38d27a21d7e96aed1408343e41")}
)
"""SHA-256 of the simulated TPM manufacturer's root in DER."""

SIMULATED_TPM_REGISTRARS: Final[frozenset[bytes]] = frozenset(
    {bytes.fromhex("fe2c7a448381dd50faf81b784b4ad77f7c0dfa73e8c73ebbddfd5962ae41c8d6")}
)
"""The simulated registrar's public key: Ed25519, 32 bytes."""

SIMULATED_ROOTS: Final = SIMULATED_AMD_ROOTS | SIMULATED_INTEL_ROOTS | SIMULATED_TPM_ROOTS
"""All of them."""
