"""Which kinds of TEE this package brings, for whoever reads a policy: a file, or an item of a Proof.

Another kind plugs in by a `PolicyReader` of its own: `PolicyReader({**POLICIES.verifiers, "mine": read_mine})`.
"""

from __future__ import annotations

from typing import Final

from confsec.protocol.policy import PolicyReader

__all__ = ["POLICIES"]

POLICIES: Final = PolicyReader({})
"""Reads policies that name the TEEs of this package."""
