"""The beacons of a log: one for each epoch, half an epoch apart at least, and none that no quorum stands by."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest

from confsec.backends import log_beacon
from confsec.backends.log_beacon import BeaconKeeper
from confsec.backends.log_publisher import LogPublisher
from confsec.backends.log_storage import StoredFile
from confsec.backends.log_writer import LogWriter
from confsec.errors import BackendError
from confsec.protocol.transparency import verify_checkpoint
from confsec.protocol.tree_reader import BEACON_PATH
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.testing import FixedClock
from tests.backends.test_log_writer import MemoryStorage
from tests.protocol.log_world import AT
from tests.roles.log_cases import LOG, ORIGIN, POLICY, WITNESSES, Network, policy_text, witness_running

pytestmark = pytest.mark.anyio

EPOCH = timedelta(minutes=10)
SECOND = timedelta(seconds=1)


class EndError(Exception):
    """The time that a test lets pass is over."""


class Storage(MemoryStorage):
    """Remembers all beacons, and fails as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.beacons: list[bytes] = []
        self.loses_answer = False
        self.unreadable = 0

    def get(self, path: str) -> StoredFile | None:
        if path == BEACON_PATH and self.unreadable:
            self.unreadable -= 1
            raise BackendError("the disk is away")
        return super().get(path)

    def replace(self, path: str, data: bytes, known: StoredFile | None) -> StoredFile:
        file = super().replace(path, data, known)
        if path == BEACON_PATH:
            self.beacons.append(data)
            if self.loses_answer:
                self.loses_answer = False
                raise BackendError("nobody knows whether it was written")
        return file


class Keeping:
    """A log with three witnesses and a keeper of beacons, in a time that passes only while the keeper sleeps."""

    def __init__(self, network: Network, folder: Path, clock: FixedClock) -> None:
        self.network = network
        self.folder = folder
        self.clock = clock
        self.storage = Storage()
        self.policy = POLICY
        self.until = AT

    async def run(self, time: timedelta) -> None:
        """Start anew, and run for this time."""
        self.until = self.clock() + time
        writer = LogWriter(self.storage, [LOG], self.folder / "index.db", clock=self.clock)
        await writer.open()
        try:
            publisher = LogPublisher(
                writer, self.policy, self.network, recosign_seconds=60.0, timeout=5.0, clock=self.clock
            )
            await publisher.open()
            keeper = BeaconKeeper(publisher, self.storage, self.policy, origin=ORIGIN, epoch=EPOCH, clock=self.clock)
            with pytest.raises(EndError):
                await keeper.run()
        finally:
            await writer.aclose()

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        self.clock.advance(min(timedelta(seconds=seconds), self.until - self.clock()))
        if self.clock() >= self.until:
            raise EndError

    def began(self, policy: WitnessPolicy = POLICY) -> list[datetime]:
        """Return when the epochs began, as clients date them."""
        return [verify_checkpoint(each, policy, origin=ORIGIN).fresh_since for each in self.storage.beacons]


@asynccontextmanager
async def keeping(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, late: tuple[timedelta, ...] = (timedelta(0),) * 3
) -> AsyncGenerator[Keeping]:
    """Run witnesses, each so much late."""
    clock, network = FixedClock(AT), Network()
    kept = Keeping(network, folder, clock)
    fake = SimpleNamespace(sleep=kept.sleep, to_thread=anyio.to_thread, CancelScope=anyio.CancelScope)
    monkeypatch.setattr(log_beacon, "anyio", fake)
    async with AsyncExitStack() as stack:
        for number, (signer, by) in enumerate(zip(WITNESSES, late, strict=True), 1):
            running = witness_running(folder / f"w{number}", signer, clock=lambda by=by: clock() - by)
            network.hosts[f"w{number}"] = await stack.enter_async_context(running)
        yield kept


async def test_an_epoch_begins_at_each_multiple_of_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(tmp_path, monkeypatch) as kept:
        await kept.run(3 * EPOCH + SECOND)
        assert kept.began() == [AT, AT + EPOCH, AT + 2 * EPOCH, AT + 3 * EPOCH]
        assert kept.storage.get(BEACON_PATH) == StoredFile(kept.storage.beacons[-1], kept.storage.versions)


@pytest.mark.parametrize("started", [1, 290, 301, 599])
async def test_epochs_are_half_an_epoch_apart_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    async with keeping(tmp_path, monkeypatch) as kept:
        kept.clock.advance(timedelta(seconds=started))
        for seconds in (2, 1, 250, 60, 700, 3, 599, 1200):
            await kept.run(timedelta(seconds=seconds))
        began = kept.began()
        assert len(began) >= 4
        assert all(after - before >= EPOCH / 2 for before, after in pairwise(began))
        assert all(after - before <= EPOCH * 3 / 2 + 2 * SECOND for before, after in pairwise(began))


async def test_witnesses_that_are_late_let_an_epoch_begin_late_and_not_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quorum needs one of the two whose clocks are late: an epoch begins when that one says that it is time."""
    late = (timedelta(0), 5 * SECOND, 7 * SECOND)
    async with keeping(tmp_path, monkeypatch, late=late) as kept:
        await kept.run(3 * EPOCH + 30 * SECOND)
        began = kept.began()
        assert len(began) == 4
        assert all(after - before >= EPOCH / 2 for before, after in pairwise(began))
        assert all(EPOCH - SECOND <= after - before <= EPOCH + SECOND for before, after in pairwise(began))


async def test_one_late_witness_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(tmp_path, monkeypatch, late=(timedelta(0), timedelta(0), timedelta(hours=1))) as kept:
        await kept.run(EPOCH + SECOND)
        assert kept.began() == [AT, AT + EPOCH]


async def test_without_a_quorum_no_epoch_begins_until_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with keeping(tmp_path, monkeypatch) as kept:
        await kept.run(30 * SECOND)
        kept.network.down = {"w1", "w2"}
        with caplog.at_level(logging.WARNING):
            await kept.run(EPOCH + 5 * SECOND)
        assert kept.began() == [AT]
        assert "begins no epoch: no quorum of witnesses" in caplog.text
        kept.network.down = {"w1"}
        await kept.run(2 * SECOND)
        (_, began) = kept.began()
        assert EPOCH < began - AT < EPOCH + timedelta(minutes=1)
        await kept.run(EPOCH)
        assert kept.began()[2] == AT + 2 * EPOCH


async def test_a_quiet_log_begins_epochs_and_so_does_one_that_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(tmp_path, monkeypatch) as kept:
        await kept.run(EPOCH + SECOND)
        writer = LogWriter(kept.storage, [LOG], kept.folder / "index.db", clock=kept.clock)
        await writer.open()
        await writer.append(b"entry")
        await writer.aclose()
        await kept.run(EPOCH)
        sizes = [verify_checkpoint(each, POLICY, origin=ORIGIN).checkpoint.size for each in kept.storage.beacons]
        assert sizes == [0, 0, 1]


async def test_a_write_of_which_nobody_knows_stops_no_later_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(tmp_path, monkeypatch) as kept:
        kept.storage.loses_answer = True
        kept.storage.unreadable = 2
        await kept.run(2 * EPOCH + 10 * SECOND)
        began = kept.began()
        assert len(began) == 3
        assert all(after - before >= EPOCH / 2 for before, after in pairwise(began))


async def test_a_beacon_of_another_policy_stops_no_log_and_keeps_its_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients whose root is the one of before still count it."""
    async with keeping(tmp_path, monkeypatch) as kept:
        kept.network.down = {"w3"}
        await kept.run(SECOND)
        kept.network.down = set()
        kept.policy = WitnessPolicy.decode(policy_text(threshold=3).encode())
        with caplog.at_level(logging.WARNING):
            await kept.run(EPOCH)
        assert "does not count" in caplog.text
        (first, second) = kept.began()
        assert second - first >= EPOCH / 2
        assert verify_checkpoint(kept.storage.beacons[1], kept.policy, origin=ORIGIN).fresh_since == second
