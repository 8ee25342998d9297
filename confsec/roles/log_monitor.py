"""Following one log: each look goes from what is remembered of it to what is remembered next.

1. Each source is asked for its checkpoint, which the log and a quorum of witnesses have to have signed.
2. Each has to begin with the tree that is remembered, and the newest one with all others.
3. The newest is remembered, on the disk.
4. Its entries are read, proved and looked at in batches, and alerts are told before a batch is remembered as read.

So nothing is missed when the monitor is killed, and the alerts of one batch may come twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias, final

from attrs import evolve

from confsec.backends.api import Clock, Transport
from confsec.backends.log_source import CachingSource, fetch_from, read_log
from confsec.backends.monitor_store import MonitorStore
from confsec.errors import ConfigError, ConfsecError, ForkedLogError
from confsec.protocol.json_general import JsonItem
from confsec.protocol.latest_statements import LatestStatements
from confsec.protocol.monitor_memory import LogMemory
from confsec.protocol.monitoring import Alert, AlertKind, EntryExaminer, Finding
from confsec.protocol.service_history import ServiceHistory
from confsec.protocol.tile_paths import TILE_WIDTH
from confsec.protocol.transparency import CosignedCheckpoint, TrustedLog
from confsec.protocol.tree_reader import BUNDLES_AT_ONCE, LoggedEntry, TreeReader
from confsec.protocol.wire import encode_base64
from confsec.roles.monitor_alerts import AlertDesk
from confsec.roles.monitor_config import MonitoredLog
from confsec.roles.monitor_history import HistoryKeeper, read_firsts
from confsec.roles.monitor_views import View, in_time, kind_of, look, read_growth

__all__ = ["LogMonitor"]

_Batch: TypeAlias = tuple[Sequence[LoggedEntry], Mapping[int, CosignedCheckpoint]]
"""Entries, and the first checkpoints of those that are directories."""

_BATCH: Final = BUNDLES_AT_ONCE * TILE_WIDTH
_REPEAT: Final = timedelta(hours=1)
"""What stays wrong is told again after this time."""


@final
class LogMonitor:
    """Follows one log."""

    def __init__(
        self, log: MonitoredLog, store: MonitorStore, desk: AlertDesk, transport: Transport, *, clock: Clock
    ) -> None:
        """Follow `log`, remember in `store`, and tell of alerts at `desk`."""
        self._log: Final = log
        self._store: Final = store
        self._desk: Final = desk
        self._transport: Final = transport
        self._now: Final = clock
        self._keeper: Final = HistoryKeeper(log, store, transport)
        self._at = clock()
        self._told: Final = dict[tuple[AlertKind, str], datetime]()
        self._found: Final = set[tuple[AlertKind, str]]()

    async def check(self) -> None:
        """Look at the log once. What is wrong with it is told.

        Raises `BackendError` where nothing can be remembered, and `ConfigError` for a log that was another one before.
        """
        self._at = self._now()
        self._found.clear()
        memory = await self._recall()
        views = [view for view in await self._look() if await self._continues(memory, view)]
        newest = _newest(views, memory)
        if newest is not None:
            views = [view for view in views if await self._agrees(newest, view)]
        await self._compare_with_before(memory, views, newest)
        memory = await self._remember(memory, views, newest)
        memory = await self._fetch_again(memory)
        if newest is not None:
            await self._read_entries(memory, [view for view in views if view.checkpoint == newest.checkpoint])
        await self._recover()

    # --- 1. What the sources show

    async def _recall(self) -> LogMemory:
        memory = await self._store.read(self._log.name)
        if memory is None:
            await self._tell(AlertKind.FIRST_CONTACT, "nothing is remembered of this log: it is believed from here on")
            return LogMemory(TrustedLog(self._log.origin))
        if memory.trusted.origin != self._log.origin:
            raise ConfigError(
                f"the log {self._log.name} was another one before", got=self._log.origin, want=memory.trusted.origin,
                hint="Give it a name of its own",
            )  # fmt: skip
        return memory

    async def _look(self) -> list[View]:
        """Return what the sources show, as far as the log signed it."""
        views = list[View]()
        for source in self._log.sources:
            try:
                fetch = CachingSource(fetch_from(source, self._transport)).fetch
                view = await look(self._log, source, fetch, at=self._at)
            except ConfsecError as exc:
                await self._report(kind_of(exc), source, str(exc))
            else:
                views.append(view)
                await self._require_word(view)
        return views

    async def _require_word(self, view: View) -> None:
        """Report a checkpoint that no quorum cosigned, or too long ago."""
        if view.fresh_since is None:
            what = "the log signed a checkpoint that no quorum of witnesses cosigned"
            await self._report(AlertKind.UNCOSIGNED, view.source, what, size=view.checkpoint.size)
        elif (age := self._at - view.fresh_since) > self._log.maximum_age:
            what = "the witnesses' word for the newest checkpoint is too old"
            await self._report(AlertKind.STALLED, view.source, what, seconds=int(age.total_seconds()))

    # --- 2. Whether it fits together

    async def _continues(self, memory: LogMemory, view: View) -> bool:
        """Report a view that contradicts what is remembered, and say whether it may be looked at further."""
        if view.checkpoint.size < memory.trusted.size:
            return True  # `_agrees` compares it with the newest
        try:
            await read_growth(memory.trusted, view)
        except ForkedLogError as exc:
            await self._report_fork(AlertKind.FORKED, view.source, exc, memory.note, view.note)
        except ConfsecError as exc:
            await self._report(kind_of(exc), view.source, str(exc))
        else:
            return True
        return False

    async def _agrees(self, newest: View, view: View) -> bool:
        """Report a view that shows something else than the newest, and say whether it may be looked at further."""
        small, large = sorted((newest, view), key=lambda each: each.checkpoint.size)
        try:
            await read_growth(small.checkpoint, large)
        except ForkedLogError as exc:
            await self._report_fork(AlertKind.SPLIT, view.source, exc, small.note, large.note)
        except ConfsecError as exc:
            await self._report(kind_of(exc), large.source, str(exc))
        else:
            return True
        return False

    async def _report_fork(self, kind: AlertKind, source: str, error: ForkedLogError, *notes: bytes) -> None:
        """Keep what shows a fork to everybody, and tell of it."""
        evidence = [await self._store.keep(self._log.name, "checkpoint", note) for note in notes]
        if error.proof:
            lines = "".join(f"{encode_base64(each)}\n" for each in error.proof)
            evidence.append(await self._store.keep(self._log.name, "proof", lines.encode()))
        await self._report(kind, source, error.what, evidence=list[JsonItem](evidence))

    async def _compare_with_before(self, memory: LogMemory, views: Iterable[View], newest: View | None) -> None:
        """Report sources that go back."""
        for view in views:
            before = memory.sources.get(view.source)
            if before is not None and _goes_back(before, view):
                what = "the source shows an older checkpoint than before"
            elif newest is None and view.checkpoint.size < memory.trusted.size:
                what = "no source shows the tree that is remembered, but older ones"
            else:
                continue
            await self._report(AlertKind.ROLLED_BACK, view.source, what, size=view.checkpoint.size)

    # --- 3. What is remembered

    async def _remember(self, memory: LogMemory, views: Iterable[View], newest: View | None) -> LogMemory:
        sources = {name: shown for name, shown in memory.sources.items() if name in self._log.sources}
        for view in views:
            if view.fresh_since is not None and not (view.source in sources and _goes_back(sources[view.source], view)):
                sources[view.source] = view.shown
        memory = evolve(memory, sources=sources)
        if newest is not None and not _goes_back(memory.trusted, newest):
            memory = evolve(memory, trusted=newest.shown, note=newest.note)
        await self._store.write(self._log.name, memory)
        return memory

    # --- 4. Its entries

    async def _read_entries(self, memory: LogMemory, views: Sequence[View]) -> None:
        """Read and report the entries that were not, from any of the sources that show the newest checkpoint."""
        examiner = self._examiner(memory)
        while memory.next < memory.trusted.size:
            stop = min(memory.trusted.size, (memory.next // TILE_WIDTH) * TILE_WIDTH + _BATCH)
            batch = await self._read_batch(memory.next, stop, views)
            if batch is None:
                return
            history = await self._tell_batch(examiner, memory.history, *batch)
            revoked = frozenset() if examiner.policy is None else examiner.policy.revoked
            memory = evolve(
                memory, next=stop, revoked=revoked, latest=examiner.latest.encode(), history=history
            )  # fmt: skip
            await self._store.write(self._log.name, memory)

    async def _read_batch(self, start: int, stop: int, views: Iterable[View]) -> _Batch | None:
        """Return entries that were proved; None if no source has them, which is reported."""
        for view in views:
            reader = TreeReader(view.checkpoint, start=start, stop=stop)
            try:
                entries = await in_time(partial(read_log, reader, view.fetch))
                return entries, await read_firsts(self._log, entries, view.fetch)
            except ConfsecError as exc:
                await self._report(kind_of(exc), view.source, str(exc))
        return None

    async def _tell_batch(
        self,
        examiner: EntryExaminer,
        history: ServiceHistory,
        entries: Sequence[LoggedEntry],
        firsts: Mapping[int, CosignedCheckpoint],
    ) -> ServiceHistory:
        """Tell what there is to say of entries, and return the history with them."""
        alerts = list[Alert]()
        for entry in entries:
            history, found = self._keeper.judge(history, entry, firsts.get(entry.index))
            alerts += map(self._alert, (*examiner.examine(entry, at=self._at), *found))
        await self._desk.tell(alerts)
        history, lacking = await self._keeper.fetch_new(history, entries)
        await self._desk.tell(list(map(self._alert, lacking)))
        for finding in lacking:
            self._told[finding.kind, self._log.records] = self._at
            self._found.add((finding.kind, self._log.records))
        return history

    async def _fetch_again(self, memory: LogMemory) -> LogMemory:
        """Fetch fleet records that were missing, and report those that still are."""
        history, lacking = await self._keeper.fetch_again(self._keeper.begin(memory.history, memory.trusted.size))
        for kind in dict.fromkeys(finding.kind for finding in lacking):
            records = [finding.details["record"] for finding in lacking if finding.kind is kind]
            await self._report(kind, self._log.records, "fleet records are still not here", records=records)
        memory = evolve(memory, history=history)
        await self._store.write(self._log.name, memory)
        return memory

    def _alert(self, finding: Finding) -> Alert:
        return Alert(
            kind=finding.kind, log=self._log.name, at=self._at, what=finding.what, details=finding.details
        )  # fmt: skip

    def _examiner(self, memory: LogMemory) -> EntryExaminer:
        policy = self._log.statements
        if policy is not None:
            policy = evolve(policy, revoked=policy.revoked | memory.revoked)
        return EntryExaminer(
            self._log.watch,
            policy,
            LatestStatements.decode(memory.latest),
            report_new=self._log.report_new,
            statements_only=not self._log.any_entries,
        )

    # --- Telling

    async def _report(self, kind: AlertKind, source: str, what: str, **details: JsonItem) -> None:
        """Tell of something that is wrong with a source, once until it is over, and again after a while."""
        self._found.add((kind, source))
        told = self._told.get((kind, source))
        if told is None or self._at - told >= _REPEAT:
            self._told[kind, source] = self._at
            await self._tell(kind, what, source=source, **details)

    async def _recover(self) -> None:
        """Tell what is not wrong any more."""
        for kind, source in [key for key in self._told if key not in self._found]:
            del self._told[kind, source]
            await self._tell(AlertKind.RECOVERED, f"this is over: {kind}", source=source)

    async def _tell(self, kind: AlertKind, what: str, **details: JsonItem) -> None:
        await self._desk.tell([Alert(kind=kind, log=self._log.name, at=self._at, what=what, details=details)])


def _newest(views: Iterable[View], memory: LogMemory) -> View | None:
    """Return the largest tree that a quorum cosigned, and of those the one with the freshest word."""
    fit = [view for view in views if view.fresh_since is not None and view.checkpoint.size >= memory.trusted.size]
    return max(fit, key=lambda view: (view.checkpoint.size, view.fresh_since), default=None)


def _goes_back(before: TrustedLog, view: View) -> bool:
    """Say whether a view is older than what was seen before."""
    if view.fresh_since is None or view.checkpoint.size != before.size:
        return view.checkpoint.size < before.size
    return before.fresh_since is not None and view.fresh_since < before.fresh_since
