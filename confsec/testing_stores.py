"""What every store for spent tokens promises, as a check that implementers of `TokenStore` can run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Final

import anyio
from attrs import evolve

from confsec.backends.api import Spend, TokenStore
from confsec.backends.system import now, randbytes
from confsec.errors import LocalProtocolError, TokenSpentError

__all__ = ["check_token_store", "make_spend"]

_AT_ONCE: Final = 100
_TOKEN_KEY_ID: Final = bytes(range(32))


def make_spend(expires_at: datetime | None = None, *, token_key_id: bytes = _TOKEN_KEY_ID) -> Spend:
    """Return the spend of a token that nobody has seen, valid for a day unless told otherwise."""
    return Spend(
        token_key_id=token_key_id,
        token_id=randbytes(32),
        request_digest=randbytes(32),
        expires_at=expires_at or now() + timedelta(days=1),
    )


async def check_token_store(make_store: Callable[[], TokenStore], *, limit: float = 60.0) -> None:
    """Check that a store does what `TokenStore` promises.

    Each call of `make_store` returns another handle to the same store. It is empty at first and of no use afterwards,
    because it is swept as if an hour had passed. Everything together may take `limit` seconds.
    """
    with anyio.fail_after(limit):
        async with _handles(make_store) as stores:
            for check in (
                _check_spend_once,
                _check_release,
                _check_release_of_others,
                _check_distinct_tokens,
                _check_one_token_at_once,
                _check_released_token_at_once,
                _check_cancellation,
                _check_sweep,
            ):
                await check(*stores)
        await _check_closed(make_store)


@asynccontextmanager
async def _handles(make_store: Callable[[], TokenStore]) -> AsyncGenerator[tuple[TokenStore, TokenStore]]:
    """Open two handles, as two routers have them."""
    one, other = make_store(), make_store()
    try:
        yield one, other
    finally:
        await one.aclose()
        await other.aclose()


async def _check_spend_once(one: TokenStore, other: TokenStore) -> None:
    spend = make_spend()
    await _accepted(one, spend, "a token was refused that nobody had spent")
    for store in (one, other):
        await _refused(store, spend, "a token was spent twice for the same request")
        await _refused(store, _for_another(spend), "a token was spent for two requests")


async def _check_release(one: TokenStore, other: TokenStore) -> None:
    spend = make_spend()
    await one.spend(spend)
    await one.release(spend)
    for store in (one, other):
        await _refused(store, _for_another(spend), "a released token was spent for another request")
    await _accepted(other, spend, "a released token was refused for the same request")
    await _refused(one, spend, "a token that was released once was spent twice")
    await one.release(spend)
    await _accepted(one, spend, "a token was refused that was released a second time")


async def _check_release_of_others(one: TokenStore, other: TokenStore) -> None:
    spend = make_spend()
    await other.release(spend)
    await _accepted(one, _for_another(spend), "a release before any spend bound a token")
    await one.release(spend)
    await _refused(one, spend, "a release for another request freed a token")


async def _check_distinct_tokens(one: TokenStore, other: TokenStore) -> None:
    spends = [make_spend() for _ in range(_AT_ONCE)]
    taken = await _count_taken((one, other)[place % 2].spend(spend) for place, spend in enumerate(spends))
    _expect(taken == len(spends), f"of {len(spends)} different tokens at once, {taken} were accepted")


async def _check_one_token_at_once(one: TokenStore, other: TokenStore) -> None:
    spend = make_spend()
    await _check_race(one, other, [spend] * _AT_ONCE)
    spend = make_spend()
    await _check_race(one, other, [_for_another(spend) for _ in range(_AT_ONCE)])


async def _check_released_token_at_once(one: TokenStore, other: TokenStore) -> None:
    spend = make_spend()
    await one.spend(spend)
    await one.release(spend)
    rivals = [_for_another(spend) for _ in range(_AT_ONCE // 2)]
    await _check_race(one, other, [*rivals, *[spend] * (_AT_ONCE // 2)])
    await _refused(one, spend, "a token was accepted after a race for it")


async def _check_race(one: TokenStore, other: TokenStore, spends: Sequence[Spend]) -> None:
    """Check that of several spends of one token, half of them at each router, one is accepted."""
    taken = await _count_taken((one, other)[place // 2 % 2].spend(spend) for place, spend in enumerate(spends))
    _expect(taken == 1, f"a token that was spent {len(spends)} times at once was accepted {taken} times")


async def _check_cancellation(one: TokenStore, other: TokenStore) -> None:
    spend = make_spend()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await one.spend(spend)
    with suppress(TokenSpentError):  # either is right: nobody knows how far the cancelled one came
        await one.spend(_for_another(spend))
    await _refused(one, spend, "a token was spent again after a spend was cancelled")
    await _refused(other, spend, "a token was spent again after a spend was cancelled")


async def _check_sweep(one: TokenStore, other: TokenStore) -> None:
    early, late = now() + timedelta(hours=1), now() + timedelta(hours=2)
    old, new = make_spend(early), make_spend(late)
    await one.spend(old)
    await one.spend(new)
    await other.sweep(early)
    for store in (one, other):
        await _refused(store, old, "a token was spent again after it was forgotten")
        await _refused(store, make_spend(early), "a token was accepted that may be a forgotten one")
        await _refused(store, new, "a token was forgotten too early")
        await _accepted(store, make_spend(late), "a token was refused that expires after the sweep")
    await one.sweep(early - timedelta(minutes=1))
    await _refused(one, make_spend(early), "a sweep for an earlier time opened the door again")


async def _check_closed(make_store: Callable[[], TokenStore]) -> None:
    store = make_store()
    spend = make_spend()
    await store.spend(spend)
    await store.aclose()
    await store.aclose()
    for call in (lambda: store.spend(make_spend()), lambda: store.release(spend), lambda: store.sweep(now())):
        try:
            await call()
        except LocalProtocolError:
            continue
        raise AssertionError("a closed store did not raise LocalProtocolError")
    again = make_store()
    try:
        await _refused(again, spend, "a token was spent again after the store was closed and opened")
    finally:
        await again.aclose()


async def _accepted(store: TokenStore, spend: Spend, complaint: str) -> None:
    try:
        await store.spend(spend)
    except TokenSpentError as exc:
        raise AssertionError(complaint) from exc


async def _refused(store: TokenStore, spend: Spend, complaint: str) -> None:
    try:
        await store.spend(spend)
    except TokenSpentError:
        return
    raise AssertionError(complaint)


async def _count_taken(spends: Iterable[Awaitable[None]]) -> int:
    """Run all at once and return how many were accepted."""
    taken = 0

    async def run(spend: Awaitable[None]) -> None:
        nonlocal taken
        with suppress(TokenSpentError):
            await spend
            taken += 1

    async with anyio.create_task_group() as group:
        for spend in spends:
            group.start_soon(run, spend)
    return taken


def _for_another(spend: Spend) -> Spend:
    """Return the spend of the same token for another request."""
    return evolve(spend, request_digest=randbytes(32))


def _expect(condition: bool, complaint: str) -> None:  # noqa: FBT001 - as `assert` has it
    if not condition:
        raise AssertionError(complaint)
