"""Sources of epochs: the operator's clock keeps what it promises, and a source that does not is found out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest

from confsec.backends import system
from confsec.errors import ConfigError
from confsec.protocol.epoch import Epoch
from confsec.roles.epochs import UnsafeLocalEpoch
from confsec.testing import FixedClock, check_epoch_source
from tests.roles.attesting import ToldEpochs

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 28, 1, 29, 10, tzinfo=UTC)


async def test_clock_is_a_source_of_epochs() -> None:
    await check_epoch_source(UnsafeLocalEpoch(system.now, 1))


async def test_source_of_tests_is_one_too() -> None:
    source = ToldEpochs()

    async def turn() -> None:
        await anyio.lowlevel.checkpoint()
        source.turn()

    await check_epoch_source(source, begin_next=turn)


async def test_epochs_begin_at_multiples_of_their_length() -> None:
    epoch = await UnsafeLocalEpoch(FixedClock(NOW), 600).current()
    assert epoch.began == datetime(2026, 11, 28, 1, 20, tzinfo=UTC)
    assert Epoch.from_beacon(epoch.beacon) == epoch


async def test_clock_that_is_set_back_begins_no_epoch_twice() -> None:
    clock = FixedClock(NOW)
    source = UnsafeLocalEpoch(clock, 1)
    epoch = await source.current()
    clock.advance(-timedelta(seconds=5))
    with anyio.move_on_after(0.05) as scope:
        await source.wait_after(epoch)
    assert scope.cancelled_caught
    clock.advance(timedelta(seconds=7))
    assert (await source.wait_after(epoch)).began == epoch.began + timedelta(seconds=2)


def test_epoch_of_no_length_is_refused() -> None:
    with pytest.raises(ConfigError, match="a second or more"):
        UnsafeLocalEpoch(system.now, 0)


class Same(ToldEpochs):
    """Does not wait."""

    async def wait_after(self, epoch: Epoch) -> Epoch:
        return epoch


class Odd(ToldEpochs):
    """Says another time than its beacon."""

    async def current(self) -> Epoch:
        return Epoch(self.epoch.beacon, self.epoch.began + timedelta(seconds=1))


class Ahead(ToldEpochs):
    """Returns an epoch that is still to come."""

    async def wait_after(self, epoch: Epoch) -> Epoch:
        return Epoch.local(int(epoch.began.timestamp()) + 10)


class Behind(ToldEpochs):
    """Returns epochs one by one, also those that are over."""

    async def wait_after(self, epoch: Epoch) -> Epoch:
        await super().wait_after(epoch)
        return Epoch.local(int(epoch.began.timestamp()) + 1)


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Same, "not later"),
        (Odd, "something else than the epoch"),
        (Ahead, "the current epoch is an older one"),
        (Behind, "an epoch that was over"),
    ],
)
async def test_source_that_breaks_a_promise_is_found_out(kind: type[ToldEpochs], promise: str) -> None:
    source = kind()

    async def turn() -> None:
        source.turn()

    with pytest.raises((AssertionError, ExceptionGroup)) as raised:
        await check_epoch_source(source, begin_next=turn)
    assert promise in str(raised.value)
