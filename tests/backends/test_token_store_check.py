"""The published check for stores of spent tokens finds what is wrong with one."""

from __future__ import annotations

from datetime import datetime

import anyio
import anyio.lowlevel
import pytest

from confsec.backends.api import Spend
from confsec.backends.token_store_memory import MemoryTokenStore, SpentTokens
from confsec.errors import TokenSpentError
from confsec.testing_stores import check_token_store

pytestmark = pytest.mark.anyio


class Store:
    """A good store, for a test to break."""

    def __init__(self, tokens: SpentTokens) -> None:
        self.tokens = tokens
        self.store = MemoryTokenStore(tokens)

    async def spend(self, spend: Spend) -> None:
        await self.store.spend(spend)

    async def release(self, spend: Spend) -> None:
        await self.store.release(spend)

    async def sweep(self, now: datetime) -> int:
        return await self.store.sweep(now)

    async def aclose(self) -> None:
        await self.store.aclose()


class RefusesAll(Store):
    """Accepts nothing."""

    async def spend(self, spend: Spend) -> None:
        raise TokenSpentError("no")


class RefusesNone(Store):
    """Accepts everything."""

    async def spend(self, spend: Spend) -> None:
        await anyio.lowlevel.checkpoint()


class SpendsForSameRequest(Store):
    """Takes a repetition for a retry."""

    def __init__(self, tokens: SpentTokens) -> None:
        super().__init__(tokens)
        self.seen: set[bytes] = set()

    async def spend(self, spend: Spend) -> None:
        if spend.request_digest not in self.seen:
            await super().spend(spend)
        self.seen.add(spend.request_digest)


class ForgetsReleased(Store):
    """Deletes what is released."""

    async def release(self, spend: Spend) -> None:
        self.tokens._rows.pop(spend.token_id, None)


class NeverReleases(Store):
    """Keeps every token."""

    async def release(self, spend: Spend) -> None:
        await anyio.lowlevel.checkpoint()


class ReleasesForAnyone(Store):
    """Does not look for which request a token was spent."""

    async def release(self, spend: Spend) -> None:
        row = self.tokens._rows.get(spend.token_id)
        if row is not None:
            del self.tokens._rows[spend.token_id]
            self.tokens.spend(spend)
            self.tokens.release(spend)


class LooksThenSpends(Store):
    """Lets others in between."""

    async def spend(self, spend: Spend) -> None:
        free = spend.token_id not in self.tokens._rows
        await anyio.sleep(0.001)
        try:
            await super().spend(spend)
        except TokenSpentError:
            if not free:
                raise


class KnowsOnlyItsOwn(Store):
    """Does not share what it knows."""

    def __init__(self, tokens: SpentTokens) -> None:
        super().__init__(SpentTokens())


class RefusesSome(Store):
    """Loses what comes at once."""

    def __init__(self, tokens: SpentTokens) -> None:
        super().__init__(tokens)
        self.busy = False

    async def spend(self, spend: Spend) -> None:
        if self.busy:
            raise TokenSpentError("busy")
        self.busy = True
        try:
            await super().spend(spend)
        finally:
            self.busy = False


class ForgetsFloor(Store):
    """Does not remember until when it swept."""

    async def sweep(self, now: datetime) -> int:
        count = await super().sweep(now)
        self.tokens._floor = None
        return count


class LowersFloor(Store):
    """Takes the last sweep for the latest."""

    async def sweep(self, now: datetime) -> int:
        self.tokens._floor = now
        return await super().sweep(now)


class SweepsTooMuch(Store):
    """Forgets what is still valid."""

    async def sweep(self, now: datetime) -> int:
        count = await super().sweep(now)
        self.tokens._rows.clear()
        return count


class OutlivesItsEnd(Store):
    """Goes on after it was closed."""

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


class ForgetsWhenClosed(Store):
    """Keeps nothing."""

    async def aclose(self) -> None:
        await super().aclose()
        self.tokens._rows.clear()


@pytest.mark.parametrize(
    "broken, complaint",
    [
        (RefusesAll, "nobody had spent"),
        (RefusesNone, "spent twice for the same request"),
        (SpendsForSameRequest, "spent twice for the same request"),
        (ForgetsReleased, "released token was spent for another request"),
        (NeverReleases, "a released token was refused"),
        (ReleasesForAnyone, "release for another request"),
        (KnowsOnlyItsOwn, "spent twice for the same request"),
        (LooksThenSpends, "times at once was accepted"),
        (RefusesSome, "different tokens at once"),
        (ForgetsFloor, "after it was forgotten"),
        (LowersFloor, "opened the door again"),
        (SweepsTooMuch, "forgotten too early"),
        (OutlivesItsEnd, "did not raise LocalProtocolError"),
        (ForgetsWhenClosed, "closed and opened"),
    ],
)
async def test_broken_store_is_found(broken: type[Store], complaint: str) -> None:
    tokens = SpentTokens()
    with pytest.raises(AssertionError, match=complaint):
        await check_token_store(lambda: broken(tokens))
