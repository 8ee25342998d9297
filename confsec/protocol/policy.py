"""What a relying party demands before it trusts: the policy, and the verdict over a list of checks.

A check passes, fails, is skipped, or only informs. A skip is never a pass: a policy accepts a skipped check only by
naming it among its waivers, so a waiver is visible in the code that chose the policy and in every Proof made under it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from enum import Enum
from typing import Final, Self

from attrs import frozen

from confsec.errors import ConfigError, DecodeError, PolicyError
from confsec.protocol import cbor

__all__ = [
    "ATTESTATION_CHECK",
    "PRODUCTION",
    "UNSAFE_UNATTESTED",
    "Check",
    "Policy",
    "Status",
    "appraise_checks",
]

ATTESTATION_CHECK: Final = "attestation.evidence"
"""The check that hardware vouches for a node. Only a constant in this file can waive it, never a file or a Proof."""

_MEMBERS = ("name", "minimum_nodes", "unsafe_waived")


class Status(Enum):
    """What came of a check."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    INFO = "info"


@frozen
class Check:
    """One thing that was looked at before the prompt was sealed."""

    id: str
    """Stable and unique: `part.what`."""

    section: str
    """Where the rule stands."""

    status: Status
    """What came of it."""

    why: str
    """A sentence for people; the same for the same input."""

    def to_item(self) -> list[cbor.CborValue]:
        """Return the check as it stands in a Proof."""
        return [self.id, self.section, self.status.value, self.why]


@frozen(kw_only=True)
class Policy:
    """Which checks must pass. Nothing here has a permissive default."""

    name: str
    """What people call it."""

    minimum_nodes: int
    """A fleet with fewer nodes is refused: being one of few makes a request easy to place."""

    unsafe_waived: tuple[str, ...]
    """Ids of the checks that may be skipped, sorted. Each is something that nobody has looked at."""

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read a policy file: `name`, `minimum_nodes` and `unsafe_waived`, nothing else. Raises `ConfigError`."""
        try:
            value = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            raise ConfigError(f"the policy is not TOML: {exc}") from exc
        try:
            return cls._from_members(value, what="the policy")
        except DecodeError as exc:
            raise ConfigError(str(exc), hint="A policy has exactly: name, minimum_nodes, unsafe_waived") from exc

    @classmethod
    def from_item(cls, value: cbor.CborValue) -> Self:
        """Read a policy out of a Proof: one of our constants, or one that a file could say. Raises `DecodeError`."""
        if value == UNSAFE_UNATTESTED.to_item():
            return cls(**{name: getattr(UNSAFE_UNATTESTED, name) for name in _MEMBERS})
        return cls._from_members(value, what="the policy of a Proof")

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return the policy as it stands in a Proof."""
        waived: list[cbor.CborValue] = list(self.unsafe_waived)
        return {"name": self.name, "minimum_nodes": self.minimum_nodes, "unsafe_waived": waived}

    def waives(self, check_id: str) -> bool:
        """Tell whether the policy lets this check be skipped."""
        return check_id in self.unsafe_waived

    @classmethod
    def _from_members(cls, value: object, *, what: str) -> Self:
        members = cbor.as_map(value if isinstance(value, dict) else None, what=what, keys=_MEMBERS)
        waived = cbor.as_array(members["unsafe_waived"], what="unsafe_waived", limit=64)
        policy = cls(
            name=cbor.as_text(members["name"], what="name"),
            minimum_nodes=cbor.as_uint(members["minimum_nodes"], what="minimum_nodes"),
            unsafe_waived=tuple(cbor.as_text(item, what="a waiver") for item in waived),
        )
        policy._require_bounds(what)
        return policy

    def _require_bounds(self, what: str) -> None:
        if list(self.unsafe_waived) != sorted(set(self.unsafe_waived)):
            raise DecodeError(f"{what} does not list its waivers sorted and once each")
        if not self.name or self.minimum_nodes < 1:
            raise DecodeError(f"{what} needs a name and at least one node")
        # Whoever may write a file could otherwise switch attestation off for somebody who only sees its name.
        if self.waives(ATTESTATION_CHECK) or self.name == UNSAFE_UNATTESTED.name:
            raise DecodeError(f"{what} waives {ATTESTATION_CHECK}", want=f"the constant {UNSAFE_UNATTESTED.name}")


PRODUCTION: Final = Policy(name="PRODUCTION", minimum_nodes=2, unsafe_waived=())
"""Every check must pass. So it refuses a service without hardware evidence, dated epochs, a log and tokens."""

UNSAFE_UNATTESTED: Final = Policy(
    name="UNSAFE_UNATTESTED",
    minimum_nodes=1,
    unsafe_waived=(
        ATTESTATION_CHECK,
        "freshness.epoch",
        "log.directory",
        "log.fleet",
        "token.spend",
    ),
)
"""For trying things out. Prompts go to whatever the operator calls a node: nobody has looked at its machine."""


def appraise_checks(checks: Sequence[Check], policy: Policy) -> None:
    """Return if every check passed, informs, or was skipped with a waiver of `policy`; else raise `PolicyError`."""
    refused = [check for check in checks if not _accepted(check, policy)]
    if refused:
        reasons = "; ".join(f"{check.id}: {check.status.value}, {check.why}" for check in refused)
        raise PolicyError(f"the policy {policy.name} refuses this", got=reasons)


def _accepted(check: Check, policy: Policy) -> bool:
    if check.status is Status.SKIP:
        return policy.waives(check.id)
    return check.status in {Status.PASS, Status.INFO}
