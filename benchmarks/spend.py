"""Spent tokens: each store under 1, 64 and 512 tasks, against the same driver writing batches of that size by itself.

Raw batches are as durable, and nothing else: one thread, no event loop, no task that waits for an answer of its own.
Both sides begin with empty tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final, final

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import evolve, frozen

from benchmarks.measure import Plan, Timings, measure, ratio_of, spread_of
from benchmarks.peers import Peers
from benchmarks.report import Goal, Report, Row, at_least
from confsec.backends.api import Spend, TokenStore
from confsec.backends.system import now, randbytes
from confsec.backends.token_store_threaded import milliseconds
from confsec.backends.token_stores import open_token_store
from tests.servers import ServerMissingError, running_postgres, running_redis

__all__ = ["run"]

TASKS: Final = (1, 64, 512)
MANY: Final = 512
_SLICE: Final = 6
"""How many times as long a turn is as that of other benchmarks: a disk is not as steady as a processor."""

Write = Callable[[Sequence[Spend]], object]
"""Writes a batch durably, with nothing around it."""


@final
@frozen
class _Place:
    """Where a store and raw batches write."""

    url: str
    raw: Write


@final
@frozen
class _Kind:
    """A kind of store, and what it has to reach with many tasks."""

    name: str
    open_place: Callable[[], Any]
    share: Goal
    rate: Goal | None = None


def run(plan: Plan, peers: Peers) -> Report:
    """Compare each store with raw batches of its driver."""
    plan = evolve(plan, slice_seconds=plan.slice_seconds * _SLICE)
    rows: list[Row] = []
    missing: dict[str, str] = {}
    for kind in _KINDS:
        try:
            for tasks in TASKS:
                with kind.open_place() as place:  # another one each time: what is full is slower
                    rows += _rows(kind, place, tasks, plan)
        except ServerMissingError as exc:
            missing[kind.name] = str(exc)
    return Report(name="spend", title="spent tokens, durable when confirmed", rows=tuple(rows), missing=missing)


def _rows(kind: _Kind, place: _Place, tasks: int, plan: Plan) -> list[Row]:
    with _store(place.url) as spend:
        timings = measure({"ours": partial(spend, tasks), "raw": partial(_raw, place.raw, tasks)}, plan)
    goal, rate = (kind.share, kind.rate) if tasks == MANY else (None, None)
    what = f"{kind.name}, {tasks} task{'s' * (tasks > 1)}"
    rows = [_row(what, timings, tasks, goal=goal)]
    if rate is not None:
        rows.append(Row(what=what, ours=1 / spread_of(timings["ours"]).median, unit="/s", goal=rate))
    return rows


def _row(what: str, timings: Timings, tasks: int, *, goal: Goal | None = None) -> Row:
    ratio = ratio_of(timings["raw"], timings["ours"])
    return Row(
        what=what,
        ours=1 / spread_of(timings["ours"]).median,
        unit="/s",
        against=f"raw batches of {tasks}",
        theirs=1 / spread_of(timings["raw"]).median,
        result=ratio.median,
        low=ratio.low,
        high=ratio.high,
        goal=goal,
    )


@contextmanager
def _store(url: str) -> Generator[Callable[[int, int], float]]:
    """Open a store in an event loop as routers have it, and yield what spends `count` tokens from `tasks` tasks."""
    with start_blocking_portal("asyncio", {"use_uvloop": True}) as portal:
        store = open_token_store(url)
        try:
            yield partial(_spend_in_loop, portal, store)
        finally:
            portal.call(store.aclose)


def _spend_in_loop(portal: BlockingPortal, store: TokenStore, tasks: int, count: int) -> float:
    return portal.call(_spend_all, store, tasks, _spends(max(count, tasks))) * count / max(count, tasks)


async def _spend_all(store: TokenStore, tasks: int, spends: list[Spend]) -> float:
    """Spend the tokens, each task one after the other, and return how long it took."""
    rest = iter(spends)

    async def work() -> None:
        for spend in rest:
            await store.spend(spend)

    begin = perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(work)
    return perf_counter() - begin


def _raw(write: Write, size: int, count: int) -> float:
    """Write the tokens in full batches, and return how long so many took."""
    batches = [_spends(size) for _ in range(-(-count // size))]
    begin = perf_counter()
    for batch in batches:
        write(batch)
    return (perf_counter() - begin) * count / (len(batches) * size)


def _spends(count: int) -> list[Spend]:
    expires_at = now() + timedelta(days=1)
    return [
        Spend(token_key_id=bytes(32), token_id=randbytes(32), request_digest=randbytes(32), expires_at=expires_at)
        for _ in range(count)
    ]


@contextmanager
def _sqlite() -> Generator[_Place]:
    """Yield two files in one folder. Raw batches use the same settings and the same table."""
    with TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "raw.db", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -65536", "wal_autocheckpoint = 16384"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(
            "CREATE TABLE spent (token_id BLOB PRIMARY KEY, request_digest BLOB NOT NULL, released INTEGER NOT NULL,"
            " expires_at INTEGER NOT NULL) WITHOUT ROWID, STRICT"
        )

        def write(batch: Sequence[Spend]) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO spent VALUES (?, ?, FALSE, ?) ON CONFLICT DO NOTHING",
                [(spend.token_id, spend.request_digest, milliseconds(spend.expires_at)) for spend in batch],
            )
            connection.execute("COMMIT")

        yield _Place(f"sqlite:{folder}/ours.db", write)
        connection.close()


@contextmanager
def _postgres() -> Generator[_Place]:
    """Yield a server. Raw batches are the one statement that inserts a group, into a table of their own."""
    import psycopg

    with running_postgres() as server, psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE raw (token_id bytea PRIMARY KEY, request_digest bytea NOT NULL, released boolean NOT NULL,"
            " expires_at bigint NOT NULL)"
        )

        def write(batch: Sequence[Spend]) -> None:
            connection.execute(
                "INSERT INTO raw SELECT a, b, FALSE, c"
                " FROM unnest(%b::bytea[], %b::bytea[], %b::bigint[]) AS given(a, b, c)"
                " ON CONFLICT DO NOTHING RETURNING token_id",
                (
                    [spend.token_id for spend in batch],
                    [spend.request_digest for spend in batch],
                    [milliseconds(spend.expires_at) for spend in batch],
                ),
                prepare=True,
                binary=True,
            ).fetchall()

        yield _Place(server.url, write)


@contextmanager
def _redis() -> Generator[_Place]:
    """Yield a server. Raw batches are pipelines of SET NX."""
    import redis

    with running_redis() as server, redis.Redis.from_url(server.url.removeprefix("redis+")) as client:

        def write(batch: Sequence[Spend]) -> None:
            with client.pipeline(transaction=False) as pipeline:
                for spend in batch:
                    pipeline.set(
                        b"raw:" + spend.token_id, spend.request_digest, nx=True, pxat=milliseconds(spend.expires_at)
                    )
                pipeline.execute()

        yield _Place(server.url, write)


_KINDS: Final = (
    _Kind("SQLite", _sqlite, share=at_least(0.7), rate=at_least(40_000)),
    _Kind("PostgreSQL", _postgres, share=at_least(0.6)),
    _Kind("Redis", _redis, share=at_least(0.6)),
)
