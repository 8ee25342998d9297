"""How far behind the firmware of a node is, from the claims of its evidence.

A verifier that has something to say of it puts it into these claims: `tcb_behind` (by advisory, how many levels each
part is below its floor), or `tcb_status`, `tcb_date`, `tcb_newest_date` and `advisories`, in Intel's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from confsec.protocol import cbor
from confsec.protocol.checks import show

__all__ = ["Claims", "FirmwareLine", "firmware_lines"]

_GOOD: Final = "UpToDate"
_NAMED: Final = 8
"""So many advisories are named; `confsec verify --json` has all."""

Claims = Mapping[str, cbor.CborValue]
"""The claims of one verifier."""


@frozen
class FirmwareLine:
    """One sentence about firmware."""

    text: str
    """For people."""

    is_behind: bool
    """Whether something is missing."""


def firmware_lines(claims: Mapping[str, Claims]) -> tuple[FirmwareLine, ...]:
    """Return what the claims of a node's verifiers say of its firmware."""
    return tuple(
        line
        for verifier, each in claims.items()
        for line in (*_levels(verifier, each), *_behind(verifier, each), *_status(verifier, each))
    )


def _levels(verifier: str, claims: Claims) -> list[FirmwareLine]:
    """Name processor, firmware and its levels, where the claims have them."""
    levels = claims.get("tcb")
    if not isinstance(levels, dict):
        return []
    words = [show(claims[name]) for name in ("product", "firmware") if claims.get(name)]
    shown = ", ".join(f"{part} {show(level)}" for part, level in levels.items())
    return [FirmwareLine(f"{verifier}: {' '.join((*words, 'with'))} {shown}", is_behind=False)]


def _behind(verifier: str, claims: Claims) -> list[FirmwareLine]:
    """Count the levels that are missing to the floors of the policy, by advisory."""
    behind = claims.get("tcb_behind")
    if not isinstance(behind, dict):
        return []
    if not behind:
        return [FirmwareLine(f"{verifier}: firmware reaches every floor of the policy", is_behind=False)]
    return [
        FirmwareLine(f"{verifier}: firmware is behind {advisory}: {_missing(parts)}", is_behind=True)
        for advisory, parts in behind.items()
    ]


def _missing(parts: cbor.CborValue) -> str:
    if not isinstance(parts, dict):
        return "it does not reach it"
    return ", ".join(
        f"{part} by {show(levels)} {'level' if levels == 1 else 'levels'}" for part, levels in parts.items()
    )


def _status(verifier: str, claims: Claims) -> list[FirmwareLine]:
    """Say what Intel says of the TCB, of which date it is, and which advisories apply."""
    status = claims.get("tcb_status")
    if not isinstance(status, str):
        return []
    text = f"{verifier}: TCB {status}"
    date, newest = claims.get("tcb_date"), claims.get("tcb_newest_date")
    if date and date != "none":
        text += f", of {show(date)}" + (
            f" where the newest is of {show(newest)}" if newest not in (date, "none", None) else ""
        )
    lines = [FirmwareLine(text, is_behind=status != _GOOD)]
    advisories = claims.get("advisories")
    if isinstance(advisories, list) and advisories:
        names = [show(each) for each in advisories[:_NAMED]]
        more = len(advisories) - len(names)
        shown = ", ".join(names) + (f" and {more} more" if more else "")
        lines.append(FirmwareLine(f"{verifier}: advisories that apply: {shown}", is_behind=True))
    return lines
