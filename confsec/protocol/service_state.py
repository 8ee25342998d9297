"""Which directory and which fleet are in effect, and how old an epoch is: what a client takes out of a service's logs.

All of it is computed from the logs' files and the root alone, so a Proof that carries both replays it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, cast, final

from attrs import frozen

from confsec.errors import ConfsecError, TransparencyError
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.fleet_check import check_fleet_record
from confsec.protocol.log_root import LogRoot
from confsec.protocol.log_state import LogState, StateEntry
from confsec.protocol.predicates import DirectoryStatement, FleetStatement
from confsec.protocol.statement_policy import VerifiedStatement
from confsec.protocol.transparency import CosignedCheckpoint, verify_checkpoint

__all__ = [
    "MAXIMUM_DELAY",
    "DirectoryInEffect",
    "FleetInEffect",
    "find_directory",
    "find_fleet",
    "read_epoch",
    "read_fleet",
    "read_issued",
]

_SECTION: Final = "docs/spec/log-root.md, State logs"
MAXIMUM_DELAY: Final = timedelta(hours=1)
"""A directory is logged, and seen by a quorum, at most so long after it was issued."""

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@final
@frozen
class DirectoryInEffect:
    """The directory that holds for everyone. Made by `find_directory` alone."""

    directory: ServiceDirectory
    index: int
    """Its place in the log."""

    known_since: datetime
    """When a quorum had first seen it."""

    valid_until: datetime
    """Until when it may be used."""

    checkpoint: CosignedCheckpoint
    """The newest checkpoint of its log."""


@final
@frozen
class FleetInEffect:
    """The fleet record that holds for everyone, as its statement names it. Made by `find_fleet` alone."""

    digest: bytes
    """SHA-256 of the fleet record."""

    statement: FleetStatement
    epoch: Epoch
    checkpoint: CosignedCheckpoint
    """A checkpoint whose last entry the statement is."""

    def check_record(self, record: bytes) -> FleetRecord:
        """Return the fleet record if it is the one in effect. Raises `TransparencyError` and `DecodeError`."""
        statement = self.statement
        return check_fleet_record(record, digest=self.digest, beacon=statement.beacon, nodes=statement.nodes)


def find_directory(state: LogState, root: LogRoot) -> DirectoryInEffect:
    """Return the directory that is in effect when the state's checkpoint was cosigned.

    That is the newest one that a quorum has known for the activation delay; the first of a log needs no delay. Raises
    `TransparencyError` if there is none among the entries of the state, if one was replaced too soon, if it is an old
    one that came back, or if it does not count; what `LogState.verify` raises; and `ConfigError` for a text that is no
    directory.
    """
    log = root.directory
    cosigned = state.verify(root.witnesses, origin=log.origin)
    at = cosigned.fresh_since
    after: datetime | None = None
    for entry in reversed(state.entries):
        known = state.known_since(entry, root.witnesses, origin=log.origin)
        before = [each for each in state.entries if each.index < entry.index]
        _require_in_time(entry, before, root, known)
        _require_validity(known, after, root)
        if entry.index == 0 or at - known >= log.activation_delay:
            if before:
                _require_validity(state.known_since(before[-1], root.witnesses, origin=log.origin), known, root)
            statement = _directory(entry, before, root, at)
            directory = ServiceDirectory.from_toml(statement.directory)
            return DirectoryInEffect(directory, entry.index, known, cast("datetime", statement.valid_until), cosigned)
        after = known
    raise TransparencyError(
        "no directory is in effect", got=f"{len(state.entries)} that are too new", section=_SECTION,
        want=f"one that was known for {log.activation_delay}",
    )  # fmt: skip


def find_fleet(state: LogState, root: LogRoot) -> FleetInEffect:
    """Return the fleet whose statement is the last entry of its log.

    Raises `TransparencyError` if its epoch begins too soon after the one before, or is not what a quorum dates; what
    `LogState.verify` raises; and what `StatementPolicy.verify` raises.
    """
    cosigned = state.verify(root.witnesses, origin=root.fleet.origin)
    if len(state.entries) < min(2, cosigned.checkpoint.size):
        raise TransparencyError("the fleet before this one is missing", section=_SECTION)
    fleets = [read_fleet(entry, root) for entry in state.entries[-2:]]
    for (_, before), (_, after) in pairwise(fleets):
        if after.began - before.began < root.fleet.epoch / 2:
            raise TransparencyError(
                "two fleets follow each other too soon", got=f"after {after.began - before.began}", section=_SECTION,
                want=f"at least {root.fleet.epoch / 2}", hint="One of them may have been made for somebody",
            )  # fmt: skip
    statement, epoch = fleets[-1]
    return FleetInEffect(_subject_digest(state.entries[-1], root), statement, epoch, cosigned)


def read_epoch(beacon: bytes, root: LogRoot | None) -> Epoch:
    """Read a beacon: under a root it is a checkpoint of the fleet's log that a quorum cosigned.

    Without a root it is what the operator's clock says. Raises `DecodeError` for a beacon of another kind, and under
    a root what `verify_checkpoint` raises.
    """
    if root is None:
        return Epoch.from_beacon(beacon)
    return _epoch(beacon, verify_checkpoint(beacon, root.witnesses, origin=root.fleet.origin))


def _directory(entry: StateEntry, before: Sequence[StateEntry], root: LogRoot, at: datetime) -> DirectoryStatement:
    verified = root.statements.verify(entry.data, predicate_type=DirectoryStatement.TYPE, at=at)
    issued = verified.predicate.issued
    newest = _newest(before, root)
    if newest >= issued:
        raise TransparencyError(
            "an old directory came back", got=f"issued at {issued:%Y-%m-%d %H:%M:%S}", section=_SECTION,
            want=f"after {newest:%Y-%m-%d %H:%M:%S}", hint="Whoever appended it may have its old keys",
        )  # fmt: skip
    return cast("DirectoryStatement", verified.predicate)


def _require_validity(known: datetime, after: datetime | None, root: LogRoot) -> None:
    """Refuse a directory that was the newest for too short a time: also when it is over, so that everybody hears."""
    if after is not None and after - known < root.directory.minimum_validity:
        raise TransparencyError(
            "a directory was replaced too soon", got=f"after {after - known}", section=_SECTION,
            want=f"at least {root.directory.minimum_validity}", hint="It may have been made for somebody in particular",
        )  # fmt: skip


def _require_in_time(entry: StateEntry, before: Sequence[StateEntry], root: LogRoot, known: datetime) -> None:
    """Refuse a directory whose first checkpoint is of long after it was issued.

    There is no proof that a checkpoint was the first. With one that was cosigned yesterday and another of today, an
    operator could have a directory take effect for everybody but one client. An old one that came back never does.
    """
    issued, newest = read_issued(entry, root), _newest(before, root)
    if issued >= newest and known - issued > MAXIMUM_DELAY:
        raise TransparencyError(
            "a directory was seen long after it was issued, or its first checkpoint is kept from you",
            got=f"{known - issued}", want=f"at most {MAXIMUM_DELAY}", section=_SECTION,
        )  # fmt: skip


def _newest(entries: Sequence[StateEntry], root: LogRoot) -> datetime:
    return max((read_issued(each, root) for each in entries), default=_LONG_AGO)


def read_issued(entry: StateEntry, root: LogRoot) -> datetime:
    """Return when a directory was issued that counted then; of anything else, that it was long ago."""
    try:
        verified = root.statements.verify_as_issued(entry.data, predicate_type=DirectoryStatement.TYPE)
    except ConfsecError:
        return _LONG_AGO
    return verified.predicate.issued


def read_fleet(entry: StateEntry, root: LogRoot) -> tuple[FleetStatement, Epoch]:
    """Return what a fleet statement says, as of when it was issued, and its epoch.

    Raises `TransparencyError` for a beacon from after the entry, and what verifying the statement and the beacon raise.
    """
    statement = cast("FleetStatement", _verify_fleet(entry, root).predicate)
    beacon = verify_checkpoint(statement.beacon, root.witnesses, origin=root.fleet.origin)
    if beacon.checkpoint.size > entry.index:
        raise TransparencyError(
            "a beacon is newer than what follows from it", got=f"{beacon.checkpoint.size} entries",
            want=f"at most {entry.index}", section=_SECTION,
        )  # fmt: skip
    return statement, _epoch(statement.beacon, beacon)


def _epoch(beacon: bytes, cosigned: CosignedCheckpoint) -> Epoch:
    return Epoch(beacon, cosigned.fresh_since, cosigned.cosigners)


def _verify_fleet(entry: StateEntry, root: LogRoot) -> VerifiedStatement:
    return root.statements.verify_as_issued(entry.data, predicate_type=FleetStatement.TYPE)


def _subject_digest(entry: StateEntry, root: LogRoot) -> bytes:
    return _verify_fleet(entry, root).statement.subjects[0].digest
