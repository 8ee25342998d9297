"""What a client holds of a service's logs, as a Proof carries it: the root, and the ends of its two state logs."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import Final, Self, final

from attrs import field, frozen

from confsec.errors import ConfigError, ConfsecError, DecodeError, TransparencyError
from confsec.protocol import cbor
from confsec.protocol.checks import Finding, failed, informs, passed, skipped
from confsec.protocol.log_root import LogRoot
from confsec.protocol.log_state import LogState
from confsec.protocol.service_state import DirectoryInEffect, FleetInEffect, find_directory, find_fleet

__all__ = ["LoggedDirectory", "ServiceLogs", "check_directory", "check_fleet", "check_root"]

_SECTION: Final = "docs/spec/log-root.md, In a Proof"


@final
@frozen
class LoggedDirectory:
    """A directory that everybody can see: the end of its log, under the root that the client pinned."""

    root: LogRoot
    state: LogState = field(repr=False)

    @cached_property
    def in_effect(self) -> DirectoryInEffect:
        """The directory that holds now. Raises what `find_directory` raises."""
        return find_directory(self.state, self.root)


@final
@frozen
class ServiceLogs:
    """The ends of both state logs."""

    directory: LoggedDirectory
    fleet: LogState = field(repr=False)

    @property
    def root(self) -> LogRoot:
        """The root that both are checked under."""
        return self.directory.root

    @cached_property
    def fleet_in_effect(self) -> FleetInEffect:
        """The fleet that holds now. Raises what `find_fleet` raises."""
        return find_fleet(self.fleet, self.root)

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return them as they stand in a Proof."""
        return {
            "root": self.root.to_toml(),
            "directory": self.directory.state.to_item(),
            "fleet": self.fleet.to_item(),
        }

    @classmethod
    def from_item(cls, value: cbor.CborValue) -> Self:
        """Read them. Raises `DecodeError` and `LimitError`."""
        members = cbor.as_map(value, what="the logs of a Proof", keys=("root", "directory", "fleet"))
        try:
            root = LogRoot.from_toml(cbor.as_text(members["root"], what="the root of a Proof"))
        except ConfigError as exc:
            raise DecodeError(f"the root of a Proof cannot be read: {exc}") from exc
        directory = LoggedDirectory(root, LogState.from_item(members["directory"]))
        return cls(directory, LogState.from_item(members["fleet"]))


def check_root(logs: ServiceLogs | None) -> Finding:
    """Say which root was pinned. That it is the right one nobody can compute: two people compare its digest."""
    if logs is None:
        return skipped("no root was pinned: what the service shows may be shown to one person alone")
    name = f"{logs.root.name}, whose root has the digest {logs.root.digest.hex()[:16]}"
    if logs.root.hasty:
        return skipped(f"{name}, leaves nobody time to notice: {' and '.join(logs.root.hasty)}")
    return informs(name)


def check_directory(logs: ServiceLogs | None) -> Finding:
    """Say whether the directory is the one that everybody is shown."""
    if logs is None:
        return skipped(
            "the directory is in no public log: whoever wrote it could have written another for somebody else"
        )
    try:
        found = logs.directory.in_effect
        _require_same_time(logs)
    except ConfsecError as exc:
        return failed(f"the directory is not shown to everybody: {exc}")
    size = found.checkpoint.checkpoint.size
    return passed(
        f"entry {found.index} of {size} is in effect, seen by a quorum since {found.known_since:%Y-%m-%d %H:%M:%S} UTC",
        got=", ".join(found.checkpoint.cosigners),
    )


def check_fleet(logs: ServiceLogs | None, record: bytes, *, maximum_age: timedelta) -> Finding:
    """Say whether the fleet record is the one that everybody was shown while its epoch was at most so old."""
    if logs is None:
        return skipped("the fleet record is in no public log: another user may be shown another fleet")
    try:
        found = logs.fleet_in_effect
        found.check_record(record)
        _require_age(found, maximum_age)
    except ConfsecError as exc:
        return failed(f"the fleet record is not shown to everybody: {exc}")
    size, known = found.checkpoint.checkpoint.size, found.checkpoint.known_since
    return passed(
        f"its statement is the newest of {size}, seen by a quorum at {known:%Y-%m-%d %H:%M:%S} UTC",
        got=", ".join(found.checkpoint.cosigners),
    )


def _require_age(fleet: FleetInEffect, maximum_age: timedelta) -> None:
    """Refuse a fleet that came into the log when its epoch was over: keys that leaked later could have made it."""
    delay = fleet.checkpoint.known_since - fleet.epoch.began
    if delay >= maximum_age:
        raise TransparencyError(
            "the fleet was logged when its epoch was over", got=f"after {delay}", want=f"less than {maximum_age}",
            section=_SECTION,
        )  # fmt: skip


def _require_same_time(logs: ServiceLogs) -> None:
    """Refuse a directory whose newest word of the witnesses is from long before the epoch."""
    before = logs.fleet_in_effect.epoch.began - logs.directory.in_effect.checkpoint.fresh_since
    if before > logs.root.directory.maximum_age:
        raise TransparencyError(
            "the witnesses' word for the directory is much older than the epoch", got=f"{before}",
            want=f"at most {logs.root.directory.maximum_age}", section=_SECTION,
        )  # fmt: skip
