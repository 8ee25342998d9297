"""What a monitor does with a service's directories and fleets: it judges their times, and fetches each fleet record.

Only the digest of a fleet record is in the log. Clients fetch the record of the fleet that they use; nobody else would
have to. So the monitor does, and keeps a copy: a fleet that was shown to one person stays to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, final

from attrs import evolve

from confsec.backends.api import Transport
from confsec.backends.log_source import Fetch
from confsec.backends.monitor_store import MonitorStore
from confsec.backends.record_source import RecordSource
from confsec.errors import ConfsecError, LimitError, PeerError, TransparencyError, TransportError
from confsec.protocol.fleet_check import check_fleet_record
from confsec.protocol.monitoring import AlertKind, Finding
from confsec.protocol.service_history import (
    MAX_AWAITED,
    AwaitedRecord,
    ServiceHistory,
    judge_directory,
    judge_fleet,
    read_awaited,
)
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import CosignedCheckpoint, verify_logged
from confsec.protocol.tree_reader import LoggedEntry
from confsec.roles.monitor_config import MonitoredLog
from confsec.roles.monitor_views import in_time

__all__ = ["HistoryKeeper", "read_firsts"]


async def read_firsts(log: MonitoredLog, entries: Sequence[LoggedEntry], fetch: Fetch) -> dict[int, CosignedCheckpoint]:
    """Return the first checkpoint of each directory, and nothing for a log without a root, or of fleets.

    Raises `TransparencyError` for one that is missing or another's, and what `fetch` raises.
    """
    if log.root is None or log.origin != log.root.directory.origin:
        return {}
    return {entry.index: await _read_first(log, entry, fetch) for entry in entries}


async def _read_first(log: MonitoredLog, entry: LoggedEntry, fetch: Fetch) -> CosignedCheckpoint:
    path = f"proof/{entry.index}"
    data = await in_time(lambda: fetch(path))
    if data is None:
        raise TransparencyError("the first checkpoint of a directory is not shown", got=path)
    proof = TlogProof.decode(data)
    if proof.index != entry.index:
        raise TransparencyError("the first checkpoint of an entry is another's", got=proof.index, want=entry.index)
    return verify_logged(entry.data, proof, log.policy, origin=log.origin)


@final
class HistoryKeeper:
    """Judges the directories and fleets of one log, and keeps fleet records."""

    def __init__(self, log: MonitoredLog, store: MonitorStore, transport: Transport) -> None:
        """Keep records of `log` in `store`."""
        self._log: Final = log
        self._store: Final = store
        self._records: Final = RecordSource(log.records, transport) if log.records else None

    def begin(self, history: ServiceHistory, size: int) -> ServiceHistory:
        """Begin to ask for records, if it is now: from the newest entry on, for older ones may be served no more."""
        if self._records is None or history.records_from is not None or not size:
            return history
        return evolve(history, records_from=size - 1)

    def judge(
        self, history: ServiceHistory, entry: LoggedEntry, first: CosignedCheckpoint | None
    ) -> tuple[ServiceHistory, tuple[Finding, ...]]:
        """Say what there is to say of an entry, as of the history before it."""
        root = self._log.root
        if root is not None and first is not None:
            return judge_directory(history, entry, first.known_since, root)
        if root is not None or self._records is not None:
            return judge_fleet(history, entry, root)
        return history, ()

    async def fetch_new(
        self, history: ServiceHistory, entries: Sequence[LoggedEntry]
    ) -> tuple[ServiceHistory, tuple[Finding, ...]]:
        """Fetch the records that entries speak of. What is missing or wrong is returned, and asked for again later."""
        start = history.records_from
        if self._records is None or start is None:
            return history, ()
        new = [read_awaited(entry) for entry in entries if entry.index >= start]
        lacking, found = await self._fetch_all(self._records, [each for each in new if each])
        return evolve(history, awaited=(*history.awaited, *lacking)[-MAX_AWAITED:]), found

    async def fetch_again(self, history: ServiceHistory) -> tuple[ServiceHistory, tuple[Finding, ...]]:
        """Fetch what was missing or wrong, and return what still is."""
        if self._records is None:
            return history, ()
        lacking, found = await self._fetch_all(self._records, history.awaited)
        return evolve(history, awaited=lacking), found

    async def _fetch_all(
        self, source: RecordSource, awaited: Sequence[AwaitedRecord]
    ) -> tuple[tuple[AwaitedRecord, ...], tuple[Finding, ...]]:
        """Fetch, check and keep records. Whoever does not answer once is not asked for the others."""
        lacking, found, silence = list[AwaitedRecord](), list[Finding](), ""
        for each in awaited:
            try:
                finding = _missing(each, silence) if silence else await self._fetch(source, each)
            except (TransportError, PeerError) as exc:
                silence = str(exc)
                finding = _missing(each, silence)
            if finding is not None:
                lacking.append(each)
                found.append(finding)
        return tuple(lacking), tuple(found)

    async def _fetch(self, source: RecordSource, awaited: AwaitedRecord) -> Finding | None:
        """Fetch, check and keep a record; or return what is wrong with it."""
        try:
            record = await in_time(lambda: source.fetch(awaited.digest))
        except LimitError as exc:
            return _wrong(awaited, exc)
        if record is None:
            return _missing(awaited, "it is not there")
        if sha256(record).digest() == awaited.digest:
            await self._store.keep_record(self._log.name, awaited.index, record)
        try:
            check_fleet_record(record, digest=awaited.digest, beacon=awaited.beacon, nodes=awaited.nodes)
        except ConfsecError as exc:
            return _wrong(awaited, exc)
        return None


def _missing(awaited: AwaitedRecord, reason: str) -> Finding:
    return _finding(AlertKind.RECORD_MISSING, "a fleet stands in the log whose record cannot be read", awaited, reason)


def _wrong(awaited: AwaitedRecord, error: ConfsecError) -> Finding:
    return _finding(
        AlertKind.RECORD_WRONG, "what is served as the record of a fleet is not the one in the log", awaited, str(error)
    )


def _finding(kind: AlertKind, what: str, awaited: AwaitedRecord, reason: str) -> Finding:
    return Finding(kind, what, {"index": awaited.index, "record": awaited.digest.hex(), "reason": reason})
