"""Spent tokens in memory: for tests, and for demonstrations that may forget everything."""

from __future__ import annotations

from datetime import datetime
from typing import final

import anyio.lowlevel
from attrs import define, field, frozen

from confsec.backends.api import Spend
from confsec.errors import LocalProtocolError, TokenSpentError

__all__ = ["MemoryTokenStore", "SpentTokens"]


@final
@frozen
class _Spent:
    spend: Spend
    released: bool


@final
@define
class SpentTokens:
    """What several handles in one event loop share."""

    _rows: dict[bytes, _Spent] = field(factory=dict)
    _floor: datetime | None = None

    def spend(self, spend: Spend) -> None:
        """Spend a token. Raises `TokenSpentError`."""
        row = self._rows.get(spend.token_id)
        expired = self._floor is not None and spend.expires_at <= self._floor
        free = row is None or (row.released and row.spend.request_digest == spend.request_digest)
        if expired or not free:
            raise TokenSpentError("the token was spent before")
        self._rows[spend.token_id] = _Spent(spend, released=False)

    def release(self, spend: Spend) -> None:
        """Mark a token as released if it is spent for this request."""
        row = self._rows.get(spend.token_id)
        if row is not None and row.spend.request_digest == spend.request_digest:
            self._rows[spend.token_id] = _Spent(row.spend, released=True)

    def sweep(self, now: datetime) -> int:
        """Forget what expires no later than `now`, refuse it from then on, and return how many that were."""
        self._floor = now if self._floor is None else max(self._floor, now)
        before = len(self._rows)
        self._rows = {token_id: row for token_id, row in self._rows.items() if row.spend.expires_at > now}
        return before - len(self._rows)


@final
class MemoryTokenStore:
    """A `TokenStore` that lives as long as the process. Handles over the same `SpentTokens` see each other's spends."""

    def __init__(self, tokens: SpentTokens | None = None) -> None:
        self._tokens = SpentTokens() if tokens is None else tokens
        self._closed = False

    async def spend(self, spend: Spend) -> None:
        """Spend a token: see `TokenStore.spend`."""
        await self._checkpoint()
        self._tokens.spend(spend)

    async def release(self, spend: Spend) -> None:
        """Release a token: see `TokenStore.release`."""
        await self._checkpoint()
        self._tokens.release(spend)

    async def sweep(self, now: datetime) -> int:
        """Forget what has expired: see `TokenStore.sweep`."""
        await self._checkpoint()
        return self._tokens.sweep(now)

    async def aclose(self) -> None:
        """Close this handle. Idempotent."""
        self._closed = True

    async def _checkpoint(self) -> None:
        """Let others run and be cancelled, before anything is done."""
        await anyio.lowlevel.checkpoint()
        if self._closed:
            raise LocalProtocolError("the store is closed")
