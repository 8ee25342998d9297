"""A monitor against a log that grows and two sources that lie in every way that comes to mind, in any order."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import anyio
from attrs import evolve, frozen
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from confsec.backends.http import HttpTransport
from confsec.backends.monitor_store import MonitorStore
from confsec.protocol.merkle import CompactRange, leaf_hash
from confsec.protocol.monitor_memory import LogMemory
from confsec.protocol.monitoring import Alert, AlertKind
from confsec.roles.monitor import Monitor
from confsec.roles.monitor_alerts import AlertDesk
from confsec.roles.monitor_config import MonitorConfig
from tests.protocol.logs import StaticLog, entries_of
from tests.protocol.test_transparency import AT
from tests.roles.test_monitor import ONE

NAMES = ("log", "mirror")


@frozen
class Shown:
    """What a source shows: so many entries, of which those from `differs` on are others than the log's."""

    size: int
    differs: int | None = None
    cosigned: bool = True

    def expected(self, remembered: int, newest: int) -> AlertKind | None:
        """Return what has to be told of it, by a monitor that remembers so many entries and sees so many now."""
        if self.differs is None or self.differs >= self.size:
            return None
        if self.size >= remembered:
            return AlertKind.FORKED
        return AlertKind.SPLIT if newest >= remembered else AlertKind.ROLLED_BACK


class LyingSources(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="confsec-monitor-"))
        self.size = 0
        self.remembered = 0
        self.reported: list[object] = []
        self.shown: dict[str, Shown] = {}
        self.clock = AT

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize(size=st.integers(1, 300))
    def begin(self, size: int) -> None:
        self.size = size
        for name in NAMES:
            self.show(name, Shown(size))
        self.check()

    @rule(more=st.integers(1, 300))
    def grow(self, more: int) -> None:
        self.size += more

    @rule(name=st.sampled_from(NAMES))
    def show_the_log(self, name: str) -> None:
        self.show(name, Shown(self.size))
        self.check()

    @rule(name=st.sampled_from(NAMES), data=st.data())
    def show_an_old_tree(self, name: str, data: st.DataObject) -> None:
        self.show(name, Shown(data.draw(st.integers(0, self.size))))
        self.check()

    @rule(
        name=st.sampled_from(NAMES),
        more=st.integers(0, 20) | st.integers(0, 300),
        cosigned=st.booleans(),
        data=st.data(),
    )
    def show_another_tree(self, name: str, more: int, data: st.DataObject, *, cosigned: bool) -> None:
        differs = data.draw(st.integers(0, self.remembered - 1))
        self.show(name, Shown(differs + 1 + more, differs, cosigned))
        self.check()

    @rule(name=st.sampled_from(NAMES))
    def hide(self, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        self.shown.pop(name, None)
        self.check()

    @rule(shown=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 600), st.booleans()), min_size=2, max_size=2))
    def show_two_things_at_once(self, shown: list[tuple[int, int, bool]]) -> None:
        for name, (size, differs, cosigned) in zip(NAMES, shown, strict=True):
            first = min(differs, self.remembered - 1)
            self.show(name, Shown(size, first, cosigned) if first < size else Shown(min(size, self.size)))
        self.check()

    def check(self) -> None:
        before = self.remembered
        honest = [each.size for each in self.shown.values() if each.differs is None]
        newest = max(honest, default=-1)
        told = self.look()
        self.remembered = max(before, newest)
        for name, shown in self.shown.items():
            kinds = {alert.kind for alert in told if str(alert.details.get("source", "")).endswith(f"/{name}")}
            expected = shown.expected(before, newest)
            assert expected is None or expected in kinds
            assert kinds.isdisjoint({AlertKind.FORKED, AlertKind.SPLIT}) or shown.differs is not None
            assert (AlertKind.UNCOSIGNED in kinds) == (not shown.cosigned)
        hidden = [alert for alert in told if alert.kind is AlertKind.STALLED]
        assert len(hidden) == len(NAMES) - len(self.shown)

    @invariant()
    def the_log_is_remembered_and_reported_once(self) -> None:
        memory = anyio.run(self.recall)
        leaves = [leaf_hash(entry) for entry in entries_of(0, self.remembered)]
        assert memory is None or memory.trusted.size == self.remembered
        assert memory is None or memory.trusted.root == CompactRange().append(*leaves).root
        assert self.reported == list(range(self.remembered))

    def show(self, name: str, shown: Shown) -> None:
        self.clock += timedelta(seconds=1)
        first = shown.size if shown.differs is None else shown.differs
        entries = [*entries_of(0, first), *entries_of(first, shown.size, "another")]
        log = StaticLog(entries, times=(self.clock,) * (2 if shown.cosigned else 1))
        shutil.rmtree(self.folder / name, ignore_errors=True)
        for path, body in log.files.items():
            (self.folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name / path).write_bytes(body)
        self.shown[name] = shown

    def look(self) -> list[Alert]:
        """Look once with a new monitor: what the one before knew is on the disk."""
        told = list[Alert]()
        log = evolve(ONE, sources=tuple(str(self.folder / name) for name in NAMES), report_new=True)
        config = MonitorConfig(state=self.folder / "state", logs=(log,))
        desk = AlertDesk(told.append, None, clock=lambda: self.clock)
        anyio.run(Monitor(config, desk, HttpTransport(), clock=lambda: self.clock).check)
        self.reported += [alert.details["index"] for alert in told if alert.kind is AlertKind.NEW]
        return told

    async def recall(self) -> LogMemory | None:
        return await MonitorStore(self.folder / "state").read("one")


LyingSources.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
test_a_monitor_that_is_lied_to_tells_and_stays_with_the_log = LyingSources.TestCase
