"""What a monitor says of the whole history of a service's directories and fleets, entry by entry.

Clients look at the end of these logs and refuse what came too fast or too late there (`service_state.py`). What was in
effect between two of their visits they do not see. A monitor reads every entry, so it does.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Self, final

from attrs import evolve, field, frozen

from confsec.errors import ConfsecError, DecodeError
from confsec.protocol import cbor
from confsec.protocol.dsse import Envelope
from confsec.protocol.json_general import JsonItem
from confsec.protocol.json_members import DIGEST_SIZE
from confsec.protocol.log_root import LogRoot
from confsec.protocol.log_state import StateEntry
from confsec.protocol.monitoring import AlertKind, Finding
from confsec.protocol.predicates import FleetStatement, read_predicate
from confsec.protocol.service_state import MAXIMUM_DELAY, read_fleet, read_issued
from confsec.protocol.statement import Statement
from confsec.protocol.tree_reader import LoggedEntry

__all__ = ["MAX_AWAITED", "AwaitedRecord", "ServiceHistory", "judge_directory", "judge_fleet", "read_awaited"]

MAX_AWAITED: Final = 32
"""So many fleet records that are missing are asked for again: as many as a router serves, and then some."""

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TIME: Final = 253_402_300_799
_MEMBERS: Final = ("known", "issued", "began", "nodes", "from", "awaited")


@final
@frozen
class AwaitedRecord:
    """A fleet record of which only the statement was seen."""

    index: int
    """The place of its statement."""

    digest: bytes
    """Its SHA-256."""

    beacon: bytes = field(repr=False)
    nodes: int


@final
@frozen(kw_only=True)
class ServiceHistory:
    """What of the directories and fleets so far matters for the next ones."""

    known: datetime | None = None
    """When a quorum had first seen the newest directory."""

    issued: datetime = _LONG_AGO
    """The latest time at which a directory was issued."""

    began: datetime | None = None
    """When the epoch of the newest fleet began."""

    nodes: int | None = None
    """How many nodes it has."""

    records_from: int | None = None
    """From which entry on fleet records are asked for; None until they are."""

    awaited: tuple[AwaitedRecord, ...] = ()
    """Records that are missing."""

    def to_item(self) -> cbor.CborValue:
        """Return the history as it stands in what a monitor remembers. Times are in seconds."""
        return {
            "known": _seconds(self.known), "issued": _seconds(self.issued), "began": _seconds(self.began),
            "nodes": self.nodes, "from": self.records_from,
            "awaited": [[each.index, each.digest, each.beacon, each.nodes] for each in self.awaited],
        }  # fmt: skip

    @classmethod
    def from_item(cls, value: cbor.CborValue) -> Self:
        """Read what `to_item` wrote. Raises `DecodeError` and `LimitError`."""
        what = "the history of a service"
        members = cbor.as_map(value, what=what, keys=_MEMBERS)
        awaited = cbor.as_array(members["awaited"], what=what, limit=MAX_AWAITED)
        return cls(
            known=_time(members["known"], what),
            issued=_time(members["issued"], what) or _LONG_AGO,
            began=_time(members["began"], what),
            nodes=_optional(members["nodes"], what),
            records_from=_optional(members["from"], what),
            awaited=tuple(_awaited(each, what) for each in awaited),
        )


# --- What is found ----------------------------------------------------------------------------------------------------


def judge_directory(
    history: ServiceHistory, entry: LoggedEntry, known: datetime, root: LogRoot
) -> tuple[ServiceHistory, tuple[Finding, ...]]:
    """Say what is wrong with the times of a directory that a quorum has known since `known`.

    The rules are those of `find_directory`. Raises nothing for what the entry holds: others judge that.
    """
    issued, found = read_issued(_state(entry), root), list[Finding]()
    if issued >= history.issued and known - issued > MAXIMUM_DELAY:
        what = "a directory was seen long after it was issued"
        found.append(_untimely(entry, what, known - issued, "at most", MAXIMUM_DELAY))
    least = root.directory.minimum_validity
    if history.known is not None and known - history.known < least:
        what = "a directory was replaced too soon by this one: it may have been made for somebody in particular"
        found.append(_untimely(entry, what, known - history.known, "at least", least))
    return evolve(history, known=known, issued=max(history.issued, issued)), tuple(found)


def judge_fleet(
    history: ServiceHistory, entry: LoggedEntry, root: LogRoot | None
) -> tuple[ServiceHistory, tuple[Finding, ...]]:
    """Say what there is to say of a fleet: that it came too soon, by the rules of `find_fleet`, or has more nodes.

    Without a root the times of its epoch are not known. Raises nothing for what the entry holds.
    """
    began, found = _judge_epoch(history, entry, root) if root else (history.began, ())
    awaited = read_awaited(entry)
    if awaited is None:
        return evolve(history, began=began), found
    if history.nodes is not None and history.nodes != awaited.nodes:
        details: dict[str, JsonItem] = {"index": entry.index, "before": history.nodes, "nodes": awaited.nodes}
        found += (Finding(AlertKind.NODES, "a fleet has another number of nodes than the one before", details),)
    return evolve(history, began=began, nodes=awaited.nodes), found


def read_awaited(entry: LoggedEntry) -> AwaitedRecord | None:
    """Return which fleet record an entry speaks of, whoever signed it; None for anything else."""
    try:
        statement = Statement.decode(Envelope.decode(entry.data).payload)
        predicate = read_predicate(statement)
    except ConfsecError:
        return None
    if not isinstance(predicate, FleetStatement):
        return None
    return AwaitedRecord(entry.index, statement.subjects[0].digest, predicate.beacon, predicate.nodes)


def _judge_epoch(
    history: ServiceHistory, entry: LoggedEntry, root: LogRoot
) -> tuple[datetime | None, tuple[Finding, ...]]:
    """Return when the newest epoch began, and what is wrong with it."""
    try:
        _, epoch = read_fleet(_state(entry), root)
    except ConfsecError as exc:
        details: dict[str, JsonItem] = {"index": entry.index, "reason": str(exc)}
        return history.began, (Finding(AlertKind.REFUSED, "clients refuse this fleet", details),)
    least = root.fleet.epoch / 2
    if history.began is None or epoch.began - history.began >= least:
        return epoch.began, ()
    what = "two fleets follow each other too soon: one of them may have been made for somebody"
    return epoch.began, (_untimely(entry, what, epoch.began - history.began, "at least", least),)


def _untimely(entry: LoggedEntry, what: str, time: timedelta, bound: str, limit: timedelta) -> Finding:
    details: dict[str, JsonItem] = {"index": entry.index, "time": str(time), "wanted": f"{bound} {limit}"}
    return Finding(AlertKind.UNTIMELY, what, details)


def _state(entry: LoggedEntry) -> StateEntry:
    return StateEntry(entry.index, entry.data, ())


# --- What is remembered -----------------------------------------------------------------------------------------------


def _seconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())


def _time(value: cbor.CborValue, what: str) -> datetime | None:
    seconds = _optional(value, what)
    if seconds is not None and seconds > _MAX_TIME:
        raise DecodeError(f"{what} has a time that is none", got=seconds)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _optional(value: cbor.CborValue, what: str) -> int | None:
    return None if value is None else cbor.as_uint(value, what=what)


def _awaited(value: cbor.CborValue, what: str) -> AwaitedRecord:
    parts = cbor.as_array(value, what=what, limit=4)
    if len(parts) != 4:
        raise DecodeError(f"{what} has a record of other than four parts", got=len(parts))
    return AwaitedRecord(
        cbor.as_uint(parts[0], what=what),
        cbor.as_bytes(parts[1], what=what, size=DIGEST_SIZE),
        cbor.as_bytes(parts[2], what=what),
        cbor.as_uint(parts[3], what=what),
    )
