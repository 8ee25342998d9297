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
"""The critical extension in every simulated certificate: software that does not know it has to refuse (RFC 5280, 4.2)."""

SIMULATED_AMD_ROOTS: Final[frozenset[bytes]] = frozenset()
"""SHA-256 of each simulated ARK in DER."""

SIMULATED_INTEL_ROOTS: Final[frozenset[bytes]] = frozenset()
"""SHA-256 of the simulated SGX root CA in DER."""

SIMULATED_TPM_ROOTS: Final[frozenset[bytes]] = frozenset()
"""SHA-256 of the simulated TPM manufacturer's root in DER."""

SIMULATED_TPM_REGISTRARS: Final[frozenset[bytes]] = frozenset()
"""The simulated registrar's public key: Ed25519, 32 bytes."""

SIMULATED_ROOTS: Final = SIMULATED_AMD_ROOTS | SIMULATED_INTEL_ROOTS | SIMULATED_TPM_ROOTS
"""All of them."""
