"""What tests of stores for spent tokens share: spends by number, and load that goes on while a server dies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta
from itertools import count
from typing import Final

import anyio
import anyio.to_thread
import pytest

from confsec.backends.api import Spend, TokenStore
from confsec.backends.system import now
from confsec.errors import BackendError, TokenSpentError
from confsec.testing_stores import make_spend
from tests.servers import Server

RESTARTS: Final = 3
_TASKS: Final = 16
_BETWEEN: Final = 200
"""Tokens that are accepted before the server is killed again."""


def spend_number(number: int, expires_at: datetime) -> Spend:
    """Return the spend of one of many tokens, the same for the same number."""
    digest = hashlib.sha256(number.to_bytes(8, "big")).digest()
    return Spend(token_key_id=bytes(32), token_id=digest, request_digest=digest, expires_at=expires_at)


async def spend_each_twice(store: TokenStore, distinct: int, *, tasks: int = 64) -> list[int]:
    """Spend so many tokens twice each, in a mixed order, and return how often each was accepted."""
    expires_at = now() + timedelta(days=1)
    accepted = [0] * distinct
    # 7,919 is a prime: a step of this size comes by every place once, and by the two spends of a token far apart.
    numbers = iter(step * 7919 % (2 * distinct) % distinct for step in range(2 * distinct))

    async def work() -> None:
        for number in numbers:
            with suppress(TokenSpentError):
                await store.spend(spend_number(number, expires_at))
                accepted[number] += 1

    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(work)
    return accepted


class Load:
    """Tasks that spend new tokens at two routers without a pause, each token at both."""

    def __init__(self, make_store: Callable[[], TokenStore]) -> None:
        self.make_store = make_store
        self.confirmed: list[Spend] = []
        self.failures = 0

    async def run_through_restarts(self, server: Server) -> None:
        """Kill the server a few times under load and start it again; then check what was promised."""
        async with AsyncExitStack() as stack:
            stores = [self.make_store(), self.make_store()]
            for store in stores:
                stack.push_async_callback(store.aclose)
            async with anyio.create_task_group() as group:
                for _ in range(_TASKS):
                    group.start_soon(self._spend_for_ever, stores)
                for _ in range(RESTARTS):
                    await self._wait_for_confirmed(len(self.confirmed) + _BETWEEN)
                    await anyio.to_thread.run_sync(server.kill)
                    await self._check_nothing_is_let_through(stores)
                    await anyio.to_thread.run_sync(server.start)
                await self._wait_for_confirmed(len(self.confirmed) + _BETWEEN)
                group.cancel_scope.cancel()
        await self._check_confirmed()

    async def _spend_for_ever(self, stores: list[TokenStore]) -> None:
        for turn in count():
            spend = make_spend()
            taken = 0
            for store in (stores[turn % 2], stores[1 - turn % 2]):
                try:
                    await store.spend(spend)
                except TokenSpentError:
                    continue
                except BackendError:
                    self.failures += 1
                    await anyio.sleep(0.001)  # a router would refuse the request, and take another one
                    continue
                self.confirmed.append(spend)
                taken += 1
            assert taken <= 1, "a token was accepted twice"

    async def _wait_for_confirmed(self, number: int) -> None:
        with anyio.fail_after(60):
            while len(self.confirmed) < number:
                await anyio.sleep(0.005)

    async def _check_nothing_is_let_through(self, stores: list[TokenStore]) -> None:
        for store in stores:
            with pytest.raises(BackendError):
                await store.spend(make_spend())
        before, failures = len(self.confirmed), self.failures
        while self.failures < failures + 50:
            await anyio.sleep(0.005)
        assert len(self.confirmed) == before

    async def _check_confirmed(self) -> None:
        """Check that everything that was accepted is still spent."""
        store = self.make_store()
        try:
            for spend in self.confirmed:
                with pytest.raises(TokenSpentError):
                    await store.spend(spend)
        finally:
            await store.aclose()
