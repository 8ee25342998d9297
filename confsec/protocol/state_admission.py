"""What a state log takes under a root: nothing that clients would refuse.

A log takes nothing back. A directory of yesterday, one that follows another too soon, or a second fleet of one epoch
would keep every client away, although an honest operator only made a slip. Clients check all of it in any case
(`service_state`); here it is refused where it can still be mended.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, cast, final

from confsec.errors import ConfigError, ConfsecError, TransparencyError
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.log_admission import AlreadyLoggedError
from confsec.protocol.log_root import LogRoot
from confsec.protocol.predicate import Predicate
from confsec.protocol.predicates import DirectoryStatement, FleetStatement, read_predicate
from confsec.protocol.sigstore import read_envelope
from confsec.protocol.statement import Statement
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import CosignedCheckpoint, verify_checkpoint, verify_logged

__all__ = ["MAXIMUM_AGE", "WITNESS_CLOCKS", "StateAdmission", "TooSoonError"]

MAXIMUM_AGE: Final = timedelta(minutes=30)
"""A directory was issued at most so long ago: witnesses have the rest of `MAXIMUM_DELAY` to see it."""

WITNESS_CLOCKS: Final = timedelta(minutes=1)
"""So much more than `minimum_validity` lies between two directories: witnesses' clocks differ."""

_SECTION: Final = "docs/log.md, A service's state"
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@final
class TooSoonError(TransparencyError):
    """A statement comes so soon after the one before that clients would refuse both."""

    code = "too_soon"
    status_hint = 409


@final
class StateAdmission:
    """The rules of a root for one of its two state logs."""

    def __init__(self, root: LogRoot, *, origin: str) -> None:
        """Judge for the log with this origin. Raises `ConfigError` if it is no state log of this root."""
        if origin not in {root.directory.origin, root.fleet.origin}:
            raise ConfigError(
                "the root has no state log of this name", got=origin,
                want=f"{root.directory.origin} or {root.fleet.origin}", hint="Leave root away for other logs",
            )  # fmt: skip
        self._root = root
        self._origin = origin
        self.is_fleet: Final = origin == root.fleet.origin
        """Whether it is the log of fleets."""

    def verify(self, entry: bytes, *, index: int, before: Sequence[bytes], proof: bytes | None, at: datetime) -> None:
        """Check an entry that would stand at `index`, after the entries `before`: up to 16, the last one is last.

        `proof` is the kept C2SP tlog-proof of the last of them, nothing while no quorum has seen it. Raises
        `AlreadyLoggedError` and `TooSoonError` for what does not go with the entries before, `TransparencyError` for
        anything else that clients would refuse, and what `StatementPolicy.verify` raises.
        """
        type_ = FleetStatement if self.is_fleet else DirectoryStatement
        statement = self._root.statements.verify(entry, predicate_type=type_.TYPE, at=at).predicate
        if self.is_fleet:
            self._check_fleet(cast("FleetStatement", statement), index, before)
        else:
            self._check_directory(cast("DirectoryStatement", statement), before, proof, at)

    # --- Directories ---

    def _check_directory(
        self, statement: DirectoryStatement, before: Sequence[bytes], proof: bytes | None, at: datetime
    ) -> None:
        _require_readable(statement)
        if at - statement.issued > MAXIMUM_AGE:
            raise TransparencyError(
                "a directory was issued too long ago", got=f"{at - statement.issued}", want=f"at most {MAXIMUM_AGE}",
                section=_SECTION, hint="Sign it again and append it at once",
            )  # fmt: skip
        if before:
            self._require_later(statement, before)
            self._require_lasting(statement, at)
            self._require_validity(before[-1], proof, at)

    def _require_later(self, statement: DirectoryStatement, before: Sequence[bytes]) -> None:
        newest = max(map(self._issued, before))
        if statement.issued <= newest:
            raise AlreadyLoggedError(
                "the log has a directory that was issued later, or in the same second",
                got=f"{statement.issued:%Y-%m-%d %H:%M:%S}", want=f"after {newest:%Y-%m-%d %H:%M:%S}",
                section=_SECTION, hint="Sign it again",
            )  # fmt: skip

    def _require_lasting(self, statement: DirectoryStatement, at: datetime) -> None:
        effect, ends = at + self._root.directory.activation_delay, cast("datetime", statement.valid_until)
        if ends <= effect:
            raise TransparencyError(
                "a directory ends before it takes effect", got=f"{ends:%Y-%m-%d %H:%M:%S}",
                want=f"after {effect:%Y-%m-%d %H:%M:%S}", section=_SECTION, hint="Sign one that is valid for longer",
            )  # fmt: skip

    def _require_validity(self, last: bytes, proof: bytes | None, at: datetime) -> None:
        """Let the directory before be the newest for long enough, by the clocks of witnesses."""
        validity = self._root.directory.minimum_validity
        if not validity:
            return
        if proof is None:
            raise TooSoonError(
                "no quorum has seen the directory before this one yet", section=_SECTION,
                hint="See the log's status for its witnesses",
            )  # fmt: skip
        known = verify_logged(last, TlogProof.decode(proof), self._root.witnesses, origin=self._origin).known_since
        due = known + validity + WITNESS_CLOCKS
        if at < due:
            raise TooSoonError(
                "the directory before this one has to be the newest for longer", got=f"{at - known}",
                want=f"{validity} and {WITNESS_CLOCKS}", section=_SECTION,
                hint=f"Sign this one and append it at {due:%Y-%m-%d %H:%M:%S} UTC or later",
            )  # fmt: skip

    def _issued(self, entry: bytes) -> datetime:
        """Return when a directory was issued that clients counted then; of anything else, that it was long ago."""
        try:
            issued = _read(entry).issued
            self._root.statements.verify(entry, predicate_type=DirectoryStatement.TYPE, at=issued)
        except ConfsecError:
            return _LONG_AGO
        return issued

    # --- Fleets ---

    def _check_fleet(self, statement: FleetStatement, index: int, before: Sequence[bytes]) -> None:
        beacon = self._beacon(statement)
        if beacon.checkpoint.size > index:
            raise TransparencyError(
                "a beacon is of a larger tree than the log", got=f"{beacon.checkpoint.size} entries",
                want=f"at most {index}", section=_SECTION, hint="Is this log an old copy?",
            )  # fmt: skip
        last = self._last_fleet(before)
        if last is None:
            return
        if last.beacon == statement.beacon:
            raise AlreadyLoggedError(
                "the log has a fleet of this epoch", got=f"entry {index - 1}", section=_SECTION,
                hint="Serve that record, from a folder fleet_records that the routers of a service share",
            )  # fmt: skip
        gap, least = beacon.fresh_since - self._beacon(last).fresh_since, self._root.fleet.epoch / 2
        if gap < least:
            raise TooSoonError(
                "a fleet's epoch began too soon after that of the one before", got=f"{gap}", want=f"at least {least}",
                section=_SECTION, hint="Wait for the next epoch",
            )  # fmt: skip

    def _beacon(self, statement: FleetStatement) -> CosignedCheckpoint:
        return verify_checkpoint(statement.beacon, self._root.witnesses, origin=self._origin)

    def _last_fleet(self, before: Sequence[bytes]) -> FleetStatement | None:
        """Return the last fleet, if that is what the last entry is, and its beacon counts."""
        try:
            last = _read(before[-1]) if before else None
            if isinstance(last, FleetStatement):
                self._beacon(last)
                return last
        except ConfsecError:
            pass
        return None


def _require_readable(statement: DirectoryStatement) -> None:
    try:
        ServiceDirectory.from_toml(statement.directory)
    except ConfsecError as exc:
        raise TransparencyError(
            f"clients cannot read this directory: {exc}", section=_SECTION, hint="Mend its file, and sign it again"
        ) from exc


def _read(entry: bytes) -> Predicate:
    return read_predicate(Statement.decode(read_envelope(entry).payload))
