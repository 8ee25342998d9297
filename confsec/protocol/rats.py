"""The parts of remote attestation and what they hand to each other, in the words of RFC 9334.

An *attester* makes evidence, which arrives with endorsements beside it. A *verifier* of one kind of TEE looks at its
items and returns what it found: checks, claims, and what vouches for what. The appraisal (`appraisal.py`) joins the
findings of all verifiers of a platform; only it makes a key trusted. Verifiers are pure: bytes and a time in, findings
out. A policy holds the verifiers that it accepts, each with what it demands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Protocol

from attrs import field, frozen

from confsec.protocol import cbor
from confsec.protocol.binding import Binding
from confsec.protocol.checks import Check
from confsec.protocol.cmw import Endorsements, Evidence
from confsec.protocol.platforms import Platform

__all__ = [
    "VENDOR",
    "EvidenceVerifier",
    "TeeFindings",
    "VerificationRequest",
    "VerifierReader",
    "Vouch",
]

VENDOR: Final = "vendor"
"""Where each path of vouching has to begin: a root of trust that the policy names."""


@frozen
class Vouch:
    """One edge of the binding graph: `by` vouches for `of`. Both are labels of evidence, or names in `platforms`."""

    by: str
    of: str
    because: str
    """The rule, for people: "REPORT_DATA is the binding"."""


@frozen(kw_only=True)
class VerificationRequest:
    """What a verifier looks at."""

    evidence: Evidence
    """All items of one node. A verifier reads those of its own kind."""

    endorsements: Endorsements
    """Certificates, revocation lists and collateral, from whoever carried them."""

    binding: Binding
    """What the evidence has to be about."""

    platform: Platform
    """The row of the table that the evidence belongs to."""

    at: datetime
    """When it has to be valid."""


@frozen(kw_only=True)
class TeeFindings:
    """What a verifier found."""

    name: str
    """The verifier."""

    checks: tuple[Check, ...]
    """Every check of its table, in order."""

    claims: Mapping[str, cbor.CborValue] = field(factory=dict)
    """What the evidence says, by name; empty unless each essential check passed."""

    vouches: tuple[Vouch, ...] = ()
    """The edges that passing checks established, and no others."""

    simulated: bool = False
    """A root that a simulator published is at the top: it proves nothing about hardware."""

    collateral_numbers: Mapping[str, int] = field(factory=dict)
    """What issuers count of the collateral that was used, by its name: a client takes no lower number than before."""

    expires: datetime | None = None
    """When the first of the certificates, lists and collateral that were used ends; None where nothing ends."""


class EvidenceVerifier(Protocol):
    """A verifier of one kind of TEE with what a policy demands of it. A frozen value; equal ones are the same."""

    @property
    def name(self) -> str:
        """The name of the TEE: the table of the policy that it is read from."""
        ...

    @property
    def accepts_simulated(self) -> bool:
        """Whether a simulator's published roots are among its trust anchors. Never so for one read from data."""
        ...

    @property
    def lists(self) -> frozenset[str]:
        """The names of its lists of values to which a policy may add logged ones."""
        ...

    def with_values(self, values: Mapping[str, tuple[bytes, ...]]) -> EvidenceVerifier:
        """Return the verifier that also accepts these values, by the names of its lists.

        Where any value was accepted, only these are. Raises `ConfigError` for values of another form.
        """
        ...

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return what it demands, as it stands in a policy. Its `VerifierReader` reads it back."""
        ...

    def verify(self, request: VerificationRequest) -> TeeFindings:
        """Look at the items of its kind. Never raises for what a peer wrote: that is a failed check."""
        ...


VerifierReader = Callable[[cbor.CborValue], EvidenceVerifier]
"""Reads one table of a policy. Raises `DecodeError` for an unknown, missing or malformed member, and for a simulator's
root. Text of a TOML file and items of a Proof come in the same form, so bytes may also be written in hex."""
