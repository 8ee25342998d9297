"""What every source of epochs promises, as a check that implementers of `EpochSource` can run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import anyio

from confsec.backends.api import EpochSource
from confsec.protocol.epoch import Epoch
from confsec.protocol.log_root import LogRoot
from confsec.protocol.service_state import read_epoch

__all__ = ["check_epoch_source"]

_BRIEFLY = 0.05


async def check_epoch_source(
    source: EpochSource,
    *,
    begin_next: Callable[[], Awaitable[None]] | None = None,
    limit: float = 30.0,
    root: LogRoot | None = None,
) -> None:
    """Check that a source of epochs does what `EpochSource` promises.

    `root` is what its beacons are read under, if they are those of a log. `begin_next` makes it come to the next epoch,
    if that does not happen by itself within a few seconds. Everything together may take `limit` seconds.
    """
    with anyio.fail_after(limit):
        seen = [await source.current()]
        for _ in range(3):
            seen.append(await _check_next(source, seen[-1], begin_next, root))
        for before, after in pairwise(seen):
            assert before.began < after.began, "an epoch does not begin later than the one before"
            assert before.beacon != after.beacon, "two epochs have one beacon"
            assert before.nonce != after.nonce, "two epochs have one nonce"
        await _check_waiting_is_over(source, seen[0])
        await _check_cancellation(source)


async def _check_next(
    source: EpochSource, epoch: Epoch, begin_next: Callable[[], Awaitable[None]] | None, root: LogRoot | None
) -> Epoch:
    """Wait for the next epoch with two tasks at once, as a router and its nodes do."""
    assert read_epoch(epoch.beacon, root) == epoch, "the beacon says something else than the epoch"
    found: list[Epoch] = []

    async def wait() -> None:
        found.append(await source.wait_after(epoch))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        if begin_next is not None:
            await begin_next()
    assert all(each.began > epoch.began for each in found), "wait_after returned an epoch that is not later"
    assert max(each.began for each in found) <= (await source.current()).began, "the current epoch is an older one"
    return max(found, key=lambda each: each.began)


async def _check_waiting_is_over(source: EpochSource, old: Epoch) -> None:
    """Ask for the epoch after one that is long over: the newest, and without waiting for one more."""
    before = await source.current()
    newest = await source.wait_after(old)
    assert newest.began >= before.began, "wait_after returned an epoch that was over"


async def _check_cancellation(source: EpochSource) -> None:
    with anyio.move_on_after(_BRIEFLY):
        await source.wait_after(await source.current())
    await source.current()
