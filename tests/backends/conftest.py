"""Servers that tests of stores share, each started once, and a fresh database on them for each test."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack
from itertools import count

import pytest

from tests.servers import Server, ServerMissingError, running_postgres, running_redis
from tests.support import needs_packages, require_or_skip

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Generator[Server]:
    needs_packages("psycopg")
    yield from _running(running_postgres)


@pytest.fixture(scope="session")
def redis_server() -> Generator[Server]:
    needs_packages("redis")
    yield from _running(running_redis)


def _running(run: Callable[[], AbstractContextManager[Server]]) -> Generator[Server]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(run())
        except ServerMissingError as exc:
            require_or_skip(str(exc))
            raise
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """Return the URL of an empty database."""
    import psycopg

    name = f"test{next(_NUMBERS)}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return postgres_server.url.replace("/postgres?", f"/{name}?")


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    """Return the URL of the server, emptied."""
    import redis

    with redis.Redis.from_url(redis_server.url.removeprefix("redis+")) as client:
        client.flushall()
    return redis_server.url
