"""Epochs that a log's beacons name: a source like any other, which believes the witnesses alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from confsec.backends.api import HttpRequest
from confsec.errors import BackendError, ConfigError, LimitError, LocalProtocolError
from confsec.protocol.epoch import CLOCK_DIFFERENCE
from confsec.roles.epochs import UnsafeLocalEpoch
from confsec.roles.log_epochs import LogEpochs, choose_epochs, read_root
from confsec.testing import FixedClock, check_epoch_source
from tests.protocol.log_world import AT, EPOCH, World, world_log
from tests.roles.chain import Wire

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


class Beacons:
    """A log of fleets, which shows the beacon that a test has it show."""

    def __init__(self) -> None:
        self.world = World()
        self.clock = FixedClock(AT)
        self.beacon: bytes | None = self.world.fleets.note(AT)
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.epochs = LogEpochs(self.world.root, self.fetch, clock=self.clock)

    async def fetch(self, path: str) -> bytes | None:
        await anyio.lowlevel.checkpoint()
        self.asked.append(path)
        if self.error is not None:
            raise self.error
        return self.beacon

    async def turn(self) -> None:
        """Begin the next epoch."""
        await anyio.lowlevel.checkpoint()
        self.clock.advance(EPOCH)
        self.beacon = self.world.fleets.note(self.clock())


async def test_beacons_of_a_log_are_a_source_of_epochs() -> None:
    beacons = Beacons()
    await check_epoch_source(beacons.epochs, begin_next=beacons.turn, root=beacons.world.root)
    assert set(beacons.asked) == {"beacon"}


async def test_an_epoch_begins_when_its_quorum_was_whole() -> None:
    beacons = Beacons()
    beacons.beacon = beacons.world.fleets.note([AT - 9 * SECOND, AT - 5 * SECOND, AT])
    epoch = await beacons.epochs.current()
    assert epoch.began == AT - 5 * SECOND
    assert epoch.beacon == beacons.beacon


@pytest.mark.parametrize(
    ("age", "over"),
    [
        (timedelta(0), False),
        (2 * EPOCH - SECOND, False),
        (2 * EPOCH, True),
        (-CLOCK_DIFFERENCE, False),
        (-CLOCK_DIFFERENCE - SECOND, True),
    ],
)
async def test_a_beacon_that_is_long_over_or_to_come_names_no_epoch(*, age: timedelta, over: bool) -> None:
    beacons = Beacons()
    beacons.beacon = beacons.world.fleets.note(AT - age)
    if not over:
        assert (await beacons.epochs.current()).began == AT - age
        return
    with pytest.raises(BackendError, match="long over, or has not begun"):
        await beacons.epochs.current()


async def test_without_a_beacon_there_is_no_epoch() -> None:
    beacons = Beacons()
    beacons.beacon = None
    with pytest.raises(BackendError, match="names no epoch yet"):
        await beacons.epochs.current()


async def test_a_beacon_without_a_quorum_names_no_epoch() -> None:
    beacons = Beacons()
    for cosigners in (0, 1):
        beacons.beacon = beacons.world.fleets.note(AT, witnesses=cosigners)
        with pytest.raises(BackendError, match="no quorum of witnesses"):
            await beacons.epochs.current()


async def test_a_forged_beacon_names_no_epoch() -> None:
    """Of another log, with another time, of another key, or of no log at all."""
    beacons = Beacons()
    other = world_log(beacons.world.fleets.origin, 99)  # the log's name, and another key
    note = beacons.world.fleets.note(AT)
    flipped = note[:-8] + (b"AAAA" if note[-8:-4] != b"AAAA" else b"BBBB") + note[-4:]
    for forged in (
        beacons.world.directories.note(AT), other.note(AT), flipped, note.replace(b"\n0\n", b"\n1\n"), b"", b"\xff",
        b"confsec local epoch\n",
    ):  # fmt: skip
        beacons.beacon = forged
        with pytest.raises(BackendError, match="no epoch can be read"):
            await beacons.epochs.current()


async def test_whoever_waits_learns_that_the_log_fails() -> None:
    beacons = Beacons()
    epoch = await beacons.epochs.current()
    beacons.error = LimitError("the log serves too much")
    with pytest.raises(BackendError, match="serves too much"):
        await beacons.epochs.wait_after(epoch)
    beacons.error = None
    await beacons.turn()
    assert (await beacons.epochs.wait_after(epoch)).began == epoch.began + EPOCH


async def test_an_older_beacon_ends_no_waiting() -> None:
    beacons = Beacons()
    epoch = await beacons.epochs.current()
    beacons.beacon = beacons.world.fleets.note(AT - EPOCH)
    with anyio.move_on_after(0.1) as scope:
        await beacons.epochs.wait_after(epoch)
    assert scope.cancelled_caught


async def test_without_a_root_epochs_are_those_of_the_operators_clock() -> None:
    wire, root = Wire(), World().root
    assert isinstance(choose_epochs(None, None, seconds=600, clock=FixedClock(AT)), UnsafeLocalEpoch)
    with pytest.raises(LocalProtocolError):
        choose_epochs(root, None, seconds=600, clock=FixedClock(AT))
    source = choose_epochs(root, wire, seconds=600, clock=FixedClock(AT))
    assert isinstance(source, LogEpochs)
    with pytest.raises(BackendError, match="nobody is there"):
        await source.current()
    assert [request.url for request in wire.requests] == ["https://logs.service.example/fleet/beacon"]
    assert isinstance(wire.requests[0], HttpRequest)


def test_a_root_file_is_read(tmp_path: Path) -> None:
    root = World().root
    path = tmp_path / "root.toml"
    path.write_text(root.to_toml())
    assert read_root(str(path)) == root
    with pytest.raises(ConfigError, match=r"missing.toml cannot be read: No such file"):
        read_root(str(tmp_path / "missing.toml"))
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not text"):
        read_root(str(path))
    path.write_text("version = 1\n")
    with pytest.raises(ConfigError):
        read_root(str(path))
