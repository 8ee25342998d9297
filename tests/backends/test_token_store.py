"""Every store for spent tokens keeps the promises of `TokenStore`, with real servers and on both event loops."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from confsec.backends.api import TokenStore
from confsec.backends.system import now
from confsec.backends.token_store_memory import MemoryTokenStore, SpentTokens
from confsec.backends.token_store_threaded import PAGE_ROWS
from confsec.backends.token_stores import open_token_store
from confsec.errors import LocalProtocolError, TokenSpentError
from confsec.testing_stores import check_token_store, make_spend
from tests.backends.token_stores import spend_each_twice
from tests.support import everything_is_required

pytestmark = pytest.mark.anyio

MakeStore = Callable[[], TokenStore]

DURABLE = ["sqlite", "postgres", "redis"]


@pytest.fixture
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Return what opens a handle to a new store of the kind in the test's parameter."""
    match request.param:
        case "memory":
            return partial(MemoryTokenStore, SpentTokens())
        case "sqlite":
            return partial(open_token_store, f"sqlite://{tmp_path}/spent.db")
        case "partitioned":
            (tmp_path / "partitions.toml").write_text(
                f'stores = ["sqlite://{tmp_path}/0.db", "sqlite://{tmp_path}/1.db", "sqlite://{tmp_path}/2.db"]\n'
            )
            return partial(open_token_store, f"partitioned://{tmp_path}/partitions.toml")
    return partial(open_token_store, request.getfixturevalue(f"{request.param}_url"))


each_store = pytest.mark.parametrize("make_store", ["memory", "partitioned", *DURABLE], indirect=True)
each_durable_store = pytest.mark.parametrize("make_store", DURABLE, indirect=True)


@each_store
async def test_store_keeps_its_promises(make_store: MakeStore) -> None:
    await check_token_store(make_store)


@pytest.mark.parametrize("make_store", ["memory", "partitioned", "sqlite", "postgres"], indirect=True)
async def test_sweep_forgets_what_has_expired_and_nothing_else(make_store: MakeStore) -> None:
    store = make_store()
    early, late = now() + timedelta(hours=1), now() + timedelta(hours=2)
    old = [make_spend(early) for _ in range(PAGE_ROWS + 100)]  # more than one page
    new = [make_spend(late) for _ in range(100)]
    async with anyio.create_task_group() as group:
        for spend in (*old, *new):
            group.start_soon(store.spend, spend)
    assert await store.sweep(early - timedelta(seconds=1)) == 0
    assert await store.sweep(early) == len(old)
    assert await store.sweep(early) == 0
    for spend in new:
        with pytest.raises(TokenSpentError):
            await store.spend(spend)
    assert await store.sweep(late) == len(new)
    await store.aclose()


@pytest.mark.slow
@pytest.mark.timeout(900)
@each_durable_store
async def test_each_of_many_tokens_is_accepted_once(make_store: MakeStore, anyio_backend_name: str) -> None:
    distinct = 5_000
    if everything_is_required():
        distinct = 500_000 if anyio_backend_name == "asyncio" else 50_000
    store = make_store()
    accepted = await spend_each_twice(store, distinct)
    await store.aclose()
    assert accepted == [1] * distinct


@each_durable_store
async def test_spends_of_tasks_that_are_cancelled_spoil_nothing(make_store: MakeStore) -> None:
    store = make_store()
    spends = [make_spend() for _ in range(200)]
    with anyio.move_on_after(0.005):
        async with anyio.create_task_group() as group:
            for spend in spends:
                group.start_soon(store.spend, spend)
    for spend in spends:
        with suppress(TokenSpentError):  # nobody knows how far the cancelled one came
            await store.spend(spend)
        with pytest.raises(TokenSpentError):
            await store.spend(spend)
    await store.aclose()


def test_spend_holds_digests_and_a_time_with_its_zone() -> None:
    spend = make_spend()
    with pytest.raises(LocalProtocolError, match="wrong size"):
        evolve(spend, token_id=bytes(31))
    with pytest.raises(LocalProtocolError, match="time zone"):
        evolve(spend, expires_at=datetime(2030, 1, 1))  # noqa: DTZ001
