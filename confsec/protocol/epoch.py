"""Epochs: what names one, when it began, and who says so.

An epoch is named by a beacon. Under a root that is a checkpoint of a log: the witnesses' times in it prove how old the
epoch is (`service_state.read_epoch`). Without one the operator names epochs by its own clock, which proves nothing
about age, and the check `freshness.epoch` is a skip.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from attrs import frozen

from confsec.errors import DecodeError
from confsec.protocol.binding import epoch_nonce
from confsec.protocol.checks import Finding, passed, skipped

__all__ = ["CLOCK_DIFFERENCE", "MAX_BEACON", "Epoch"]

MAX_BEACON: Final = 16_384
"""A beacon has at most 16 KiB: a checkpoint and its cosignatures."""

CLOCK_DIFFERENCE: Final = timedelta(minutes=2)
"""How far ahead of the reader's clock an epoch may begin."""

_LOCAL_BEACON: Final = re.compile(rb"confsec unsafe local epoch\n(0|[1-9][0-9]{0,10})\n")


@frozen
class Epoch:
    """One epoch, as its beacon describes it."""

    beacon: bytes
    """What names it: the same bytes for everyone."""

    began: datetime
    """When it began, in whole seconds, as far as anybody says."""

    witnesses: tuple[str, ...] = ()
    """Who says so: the witnesses whose times are in the beacon. Nobody, if it is the operator's clock."""

    @classmethod
    def local(cls, began: int) -> Self:
        """Make the epoch that the operator's own clock names: seconds since 1970 at its start."""
        return cls(b"confsec unsafe local epoch\n%d\n" % began, datetime.fromtimestamp(began, UTC))

    @classmethod
    def from_beacon(cls, beacon: bytes) -> Self:
        """Read a beacon of the operator's clock. Raises `DecodeError` for another one."""
        match = _LOCAL_BEACON.fullmatch(beacon)
        if match is None:
            raise DecodeError(
                "a beacon is of no kind that we know",
                got=f"{len(beacon)} bytes",
                section="docs/spec/log-root.md, Epochs",
                hint="Beacons of a log are read under the root of their service",
            )
        return cls.local(int(match[1]))

    @property
    def nonce(self) -> bytes:
        """What evidence of this epoch is bound to: 32 bytes."""
        return epoch_nonce(self.beacon)

    @property
    def age_proof(self) -> Finding:
        """Who dates the epoch: for the operator's own clock nobody does, and the check is a skip."""
        began = f"{self.began:%Y-%m-%d %H:%M:%S} UTC"
        if self.witnesses:
            return passed(f"the epoch began at {began} or later", got=", ".join(self.witnesses))
        return skipped(f"the operator's own clock says that the epoch began at {began}; no witness dates it")
