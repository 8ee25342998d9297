"""Whether a fleet record is the one that a statement in the log of fleets speaks of (docs/spec/log-root.md)."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from confsec.errors import TransparencyError
from confsec.protocol.fleet import FleetRecord

__all__ = ["check_fleet_record"]

_SECTION: Final = "docs/spec/log-root.md, State logs"


def check_fleet_record(record: bytes, *, digest: bytes, beacon: bytes, nodes: int) -> FleetRecord:
    """Return a fleet record if it has what its statement says: its SHA-256, its beacon, and how many nodes it has.

    Raises `TransparencyError` if it is another one, and `DecodeError` and `LimitError` if it is none.
    """
    if sha256(record).digest() != digest:
        raise TransparencyError(
            "this fleet record is not the one in the log", got=sha256(record).hexdigest(), want=digest.hex(),
            section=_SECTION, hint="Somebody shows you nodes that others do not see",
        )  # fmt: skip
    fleet = FleetRecord.decode(record)
    if fleet.beacon != beacon or len(fleet.nodes) != nodes:
        raise TransparencyError("a fleet record says something else than its statement", section=_SECTION)
    return fleet
