"""A group of spends has the outcome that its spends would have one after the other, in every database."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve, frozen

from confsec.backends import token_store_sqlite
from confsec.backends.api import Spend
from confsec.backends.system import now
from confsec.backends.token_store_memory import SpentTokens
from confsec.backends.token_store_threaded import SpendSession, milliseconds
from confsec.errors import TokenSpentError
from confsec.testing_stores import make_spend

ROUNDS = 150


@frozen
class Database:
    session: SpendSession[Any]
    prepare: Callable[[Sequence[Spend]], Any]

    def spend(self, spends: Sequence[Spend]) -> list[bool]:
        return list(self.session.spend(self.prepare(spends)))


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Database]:
    """Return a session with an empty database."""
    session: SpendSession[Any]
    match request.param:
        case "sqlite":
            session = token_store_sqlite._SqliteSession(tmp_path / "spent.db")
            yield Database(session, token_store_sqlite._prepare)
        case "postgres":
            url = request.getfixturevalue("postgres_url")
            from confsec.backends import token_store_postgres

            session = token_store_postgres._PostgresSession({"conninfo": url}, unsafe_volatile=False)
            yield Database(session, token_store_postgres._prepare)
        case _:
            url = request.getfixturevalue("redis_url").removeprefix("redis+")
            from confsec.backends import token_store_redis

            session = token_store_redis._RedisSession(url, unsafe_volatile=False)
            yield Database(session, token_store_redis._prepare)
    session.close()


def one_after_the_other(model: SpentTokens, spends: Sequence[Spend]) -> list[bool]:
    outcomes = []
    for spend in spends:
        try:
            model.spend(spend)
            outcomes.append(True)
        except TokenSpentError:
            outcomes.append(False)
    return outcomes


def test_group_is_as_good_as_one_after_the_other(database: Database) -> None:
    random = Random("groups")
    for _ in range(ROUNDS):
        model = SpentTokens()
        tokens = [make_spend() for _ in range(3)]
        for _ in range(6):
            chosen = [evolve(random.choice(tokens), request_digest=random.choice([b"1", b"2"]) * 32) for _ in range(4)]
            group = [*chosen[: random.randint(1, 4)], *[make_spend()] * random.randint(0, 2)]
            random.shuffle(group)
            if random.random() < 0.6:
                assert database.spend(group) == one_after_the_other(model, group)
            else:
                database.session.release(group)
                for spend in group:
                    model.release(spend)


def test_old_and_new_may_stand_in_one_group(database: Database) -> None:
    early, late = now() + timedelta(hours=1), now() + timedelta(hours=2)
    old, new = make_spend(early), make_spend(late)
    database.session.raise_floor(milliseconds(early))
    assert database.spend([old, new, old, new, make_spend(late)]) == [False, True, False, False, True]
    assert database.spend([make_spend(late), make_spend(early)]) == [True, False]
    assert database.spend([make_spend(late)]) == [True]


def test_released_token_may_be_swept_and_is_refused_then(database: Database) -> None:
    early = now() + timedelta(hours=1)
    spend = make_spend(early)
    assert database.spend([spend]) == [True]
    database.session.release([spend])
    database.session.raise_floor(milliseconds(early))
    assert database.spend([spend]) == [False]


@pytest.mark.parametrize("size", [1, 2, 3, 31, 32, 33, 63, 64, 65, 511, 512])
def test_group_of_any_size_is_spent_and_known(database: Database, size: int) -> None:
    group = [make_spend() for _ in range(size)]
    assert database.spend(group) == [True] * size
    assert database.spend([*group[1:], make_spend()]) == [False] * (size - 1) + [True]
