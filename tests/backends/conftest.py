"""Servers that tests of stores share, each started once, and a fresh database on them for each test."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count

import pytest

from tests.servers import Server, running_postgres, running_redis
from tests.support import needs_packages

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Generator[Server]:
    needs_packages("psycopg")
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Generator[Server]:
    needs_packages("redis")
    with running_redis() as server:
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
