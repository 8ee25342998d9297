"""What the stores for spent tokens behind a blocking driver have in common: see `group_commit`.

A store is a session: the few statements that it takes, in the language of its database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar, final

from attrs import frozen

from confsec.backends.api import Spend
from confsec.backends.group_commit import GroupCommit, Prepared, Session
from confsec.errors import TokenSpentError

__all__ = ["PAGE_ROWS", "Page", "SpendSession", "Swept", "ThreadedTokenStore", "milliseconds"]

_P = TypeVar("_P")
_P_contra = TypeVar("_P_contra", contravariant=True)

PAGE_ROWS: Final = 4096
"""Rows that a sweep looks at in one transaction, so that spends between two of them do not wait."""

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


@lru_cache(maxsize=64)
def milliseconds(time: datetime) -> int:
    """Return a time as stores keep it: whole milliseconds since 1970, rounded down."""
    # All tokens of a key expire at one time, so this is asked for the same few times again and again.
    return (time - _START) // _MILLISECOND


@final
@frozen
class Page:
    """A part of a sweep: rows above a token id, in their order."""

    now: int
    """What expires no later, in milliseconds since 1970, is forgotten."""

    after: bytes
    """Where the page before this one ended, or nothing."""


@final
@frozen
class Swept:
    """What a page of a sweep led to."""

    rows: int
    """How many were forgotten."""

    last: bytes | None
    """Where the page ended, or None if nothing follows."""


class SpendSession(Session, Protocol[_P_contra]):
    """A connection to a database that remembers spent tokens."""

    def spend(self, group: _P_contra) -> Sequence[bool]:
        """Spend each token, as if one after the other, and commit. Return for each whether it was accepted."""
        ...

    def release(self, spends: Sequence[Spend]) -> None:
        """Mark what is spent for the same request as released, and commit."""
        ...

    def raise_floor(self, now: int) -> None:
        """Refuse all that expires no later, from now on and durably. Nothing may be forgotten before this returned."""
        ...

    def sweep(self, page: Page) -> Swept:
        """Forget a page, and commit."""
        ...


@final
class ThreadedTokenStore:
    """A `TokenStore` over sessions, of which one is open at a time, in a thread of its own."""

    def __init__(self, open_session: Callable[[], SpendSession[_P]], prepare: Callable[[Sequence[Spend]], _P]) -> None:
        """Make a store. `open_session` is called in the thread, with the first spend and after each failure.

        `prepare` makes what `SpendSession.spend` is given of the spends of a group.
        """
        self._commit = GroupCommit[SpendSession[Any]](open_session)
        self._spend = Prepared[SpendSession[Any], Spend, Any, bool](prepare, _spend)

    async def spend(self, spend: Spend) -> None:
        """Spend a token, together with those of other tasks: see `TokenStore.spend`."""
        if not await self._commit.do(self._spend, spend):
            raise TokenSpentError("the token was spent before")

    async def release(self, spend: Spend) -> None:
        """Release a token: see `TokenStore.release`."""
        await self._commit.do(_release, spend)

    async def sweep(self, now: datetime) -> int:
        """Forget what has expired, page by page between spends: see `TokenStore.sweep`."""
        floor, rows, after = milliseconds(now), 0, b""
        await self._commit.do(_raise_floor, floor)
        while True:
            swept = await self._commit.do(_sweep, Page(floor, after))
            rows += swept.rows
            if swept.last is None:
                return rows
            after = swept.last

    async def aclose(self) -> None:
        """Commit what waits, close the connection and end the thread. Idempotent."""
        await self._commit.aclose()


def _spend(session: SpendSession[Any], group: Any) -> Sequence[bool]:
    return session.spend(group)


def _release(session: SpendSession[Any], spends: Sequence[Spend]) -> Sequence[None]:
    session.release(spends)
    return [None] * len(spends)


def _raise_floor(session: SpendSession[Any], floors: Sequence[int]) -> Sequence[None]:
    session.raise_floor(max(floors))
    return [None] * len(floors)


def _sweep(session: SpendSession[Any], pages: Sequence[Page]) -> Sequence[Swept]:
    return [session.sweep(page) for page in pages]
