"""Spent tokens in PostgreSQL survive crashes of the server, and nothing is let through while it is away."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from confsec.backends.system import now
from confsec.errors import BackendError, BusyError, ConfigError, TokenSpentError
from confsec.testing_stores import make_spend
from tests.backends.token_stores import Load
from tests.servers import Server, running_postgres

psycopg = pytest.importorskip("psycopg")
from confsec.backends.postgres import DurableConnection  # noqa: E402 - needs psycopg
from confsec.backends.token_store_postgres import postgres_token_store  # noqa: E402 - as above

pytestmark = pytest.mark.anyio


def run_sql(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else None


@pytest.mark.slow
async def test_restarts_under_load_lose_nothing_and_let_nothing_through(
    postgres_server: Server, postgres_url: str
) -> None:
    await Load(partial(postgres_token_store, postgres_url)).run_through_restarts(postgres_server)


async def test_server_that_is_silent_is_given_up(
    postgres_server: Server, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = postgres_token_store(postgres_url)
    await store.spend(make_spend())
    monkeypatch.setattr("confsec.backends.postgres._SECONDS", 0.1)
    spend = make_spend()
    postgres_server.stop()
    try:
        with pytest.raises(BackendError, match="timeout"):
            await store.spend(spend)
    finally:
        postgres_server.go_on()
    monkeypatch.undo()
    with anyio.fail_after(30):
        while True:
            try:
                await store.spend(make_spend())
                break
            except BusyError:
                await anyio.sleep(0.02)
    await store.aclose()


async def test_commits_reach_the_disk_whatever_is_the_default(postgres_url: str) -> None:
    run_sql(postgres_url, "ALTER ROLE confsec SET synchronous_commit = off")
    try:
        connection = DurableConnection.open({"conninfo": postgres_url})
        assert connection.value("SHOW synchronous_commit") == "on"
        connection.close()
    finally:
        run_sql(postgres_url, "ALTER ROLE confsec RESET synchronous_commit")


async def test_server_that_does_not_write_is_refused_unless_that_is_waived(anyio_backend_name: str) -> None:
    if anyio_backend_name == "trio":
        return  # one server is enough: nothing here belongs to an event loop
    with running_postgres(fsync="off") as server:
        store = postgres_token_store(server.url)
        with pytest.raises(BackendError, match="power failure: got fsync off, want on"):
            await store.spend(make_spend())
        await store.aclose()
        store = postgres_token_store(server.url, unsafe_volatile=True)
        await store.spend(make_spend())
        await store.aclose()


async def test_tables_are_made_once_by_many_that_come_at_once(postgres_url: str) -> None:
    stores = [postgres_token_store(postgres_url) for _ in range(12)]
    async with anyio.create_task_group() as group:
        for store in stores:
            group.start_soon(store.spend, make_spend())
    assert run_sql(postgres_url, "SELECT count(*) FROM confsec_spent_tokens") == [(12,)]
    assert run_sql(postgres_url, "SELECT count(*) FROM confsec_token_store") == [(1,)]
    for store in stores:
        await store.aclose()


async def test_role_that_may_not_make_tables_can_use_them(postgres_url: str) -> None:
    owner = postgres_token_store(postgres_url)
    spend = make_spend()
    await owner.spend(spend)
    run_sql(
        postgres_url,
        "CREATE ROLE router LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON confsec_spent_tokens TO router;"
        "GRANT SELECT, UPDATE ON confsec_token_store TO router",
    )
    router = postgres_token_store(postgres_url.replace("confsec@", "router@"))
    with pytest.raises(TokenSpentError):
        await router.spend(spend)
    await router.spend(make_spend())
    await router.sweep(now())
    await router.aclose()
    await owner.aclose()
    run_sql(postgres_url, "DROP OWNED BY router; DROP ROLE router")


async def test_tables_of_another_version_are_refused(postgres_url: str) -> None:
    store = postgres_token_store(postgres_url)
    await store.spend(make_spend())
    run_sql(postgres_url, "UPDATE confsec_token_store SET version = 2")
    other = postgres_token_store(postgres_url)
    with pytest.raises(BackendError, match="another version: got 2, want 1"):
        await other.spend(make_spend())
    await other.aclose()
    await store.aclose()


async def test_sweep_gives_up_rather_than_hold_up_spends(postgres_url: str) -> None:
    store = postgres_token_store(postgres_url)
    await store.spend(make_spend())
    with psycopg.connect(postgres_url) as vacuum:
        vacuum.execute("LOCK TABLE confsec_spent_tokens IN SHARE UPDATE EXCLUSIVE MODE")  # what VACUUM takes
        with pytest.raises(BackendError, match="lock timeout"):
            await store.sweep(now())
    await store.spend(make_spend())
    await store.sweep(now())
    await store.aclose()


@pytest.mark.parametrize("url", ["postgresql://user:secret@[host/db", "postgresql://u:secret@host/?nothing=1"])
async def test_what_is_no_address_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        postgres_token_store(url)
    assert "secret" not in str(refused.value)
