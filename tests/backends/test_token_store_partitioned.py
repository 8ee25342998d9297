"""Tokens divided over several stores: each has one home, by its key and its first byte."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from attrs import evolve

from confsec.backends.api import Spend, TokenStore
from confsec.backends.system import now
from confsec.backends.token_store_memory import MemoryTokenStore
from confsec.backends.token_store_partitioned import PartitionedTokenStore
from confsec.errors import BusyError, ConfigError, LocalProtocolError, TokenSpentError
from confsec.testing_stores import make_spend

pytestmark = pytest.mark.anyio


class Down:
    """A store that does not answer."""

    def __init__(self) -> None:
        self.closings = 0

    async def spend(self, spend: Spend) -> None:
        raise BusyError("down")

    async def release(self, spend: Spend) -> None:
        raise BusyError("down")

    async def sweep(self, now: datetime) -> int:
        raise BusyError("down")

    async def aclose(self) -> None:
        self.closings += 1


def spend_with(first: int, *, token_key_id: bytes = bytes(32)) -> Spend:
    spend = make_spend(token_key_id=token_key_id)
    return evolve(spend, token_id=bytes([first]) + spend.token_id[1:])


async def homes(partitioned: TokenStore, stores: Sequence[TokenStore], token_key_id: bytes) -> list[int]:
    """Return which of the stores knows a token, for each first byte."""
    found = []
    for first in range(256):
        spend = spend_with(first, token_key_id=token_key_id)
        await partitioned.spend(spend)
        knows = []
        for number, store in enumerate(stores):
            try:
                await store.spend(spend)
            except TokenSpentError:
                knows.append(number)
        [home] = knows
        found.append(home)
    return found


async def test_first_byte_decides_and_divides_evenly() -> None:
    stores = [MemoryTokenStore() for _ in range(4)]
    found = await homes(PartitionedTokenStore(stores), stores, bytes(32))
    assert found == [0] * 64 + [1] * 64 + [2] * 64 + [3] * 64


async def test_token_key_may_have_stores_of_its_own() -> None:
    stores = [MemoryTokenStore() for _ in range(3)]
    key = bytes([7]) * 32
    partitioned = PartitionedTokenStore(stores[:1], by_key={key: stores[1:]})
    assert await homes(partitioned, stores, key) == [1] * 128 + [2] * 128
    assert await homes(partitioned, stores, bytes(32)) == [0] * 256


async def test_store_that_is_down_stops_its_share_only() -> None:
    partitioned = PartitionedTokenStore([MemoryTokenStore(), Down()])
    spend = spend_with(0)
    await partitioned.spend(spend)
    await partitioned.release(spend)
    await partitioned.spend(spend)
    for call in (partitioned.spend, partitioned.release):
        with pytest.raises(BusyError):
            await call(spend_with(255))


async def test_sweep_reaches_all_and_tells_of_the_one_that_failed() -> None:
    first, last = MemoryTokenStore(), MemoryTokenStore()
    early = now() + timedelta(hours=1)
    spends = [evolve(spend_with(byte), expires_at=early) for byte in (0, 255)]
    partitioned = PartitionedTokenStore([first, last])
    for spend in spends:
        await partitioned.spend(spend)
    with pytest.raises(BusyError):
        await PartitionedTokenStore([first, Down(), last]).sweep(early)
    assert await partitioned.sweep(early) == 0
    for spend in (evolve(spends[0], token_id=bytes(32)), evolve(spends[1], token_id=b"\xff" * 32)):
        with pytest.raises(TokenSpentError):
            await partitioned.spend(spend)


async def test_each_store_is_closed_once() -> None:
    down, other = Down(), MemoryTokenStore()
    partitioned = PartitionedTokenStore([down, other], by_key={bytes(32): [down], bytes([1]) * 32: [other, down]})
    await partitioned.aclose()
    assert down.closings == 1
    with pytest.raises(LocalProtocolError):
        await other.spend(make_spend())


@pytest.mark.parametrize("number", [0, 257])
async def test_division_over_none_or_too_many_is_refused(number: int) -> None:
    stores = [MemoryTokenStore() for _ in range(number)]
    with pytest.raises(ConfigError):
        PartitionedTokenStore(stores)
    with pytest.raises(ConfigError):
        PartitionedTokenStore([MemoryTokenStore()], by_key={bytes(32): stores})
