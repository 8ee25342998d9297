"""The issuer's books, whatever database they are in: what is charged, once, and never more than the quota."""

from __future__ import annotations

import sqlite3
import stat
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from confsec.backends.issuer_store import Account, Charge, Usage
from confsec.backends.issuer_store_sqlite import sqlite_issuer_store
from confsec.backends.issuer_store_threaded import ThreadedIssuerStore
from confsec.backends.issuer_stores import open_issuer_store
from confsec.errors import (
    AccountError,
    AccountRevokedError,
    BackendError,
    ConfigError,
    LocalProtocolError,
    QuotaError,
    RequestIdError,
    TokenEpochError,
)
from confsec.testing import EPOCH
from tests.servers import Server
from tests.support import needs_packages

pytestmark = pytest.mark.anyio

Open = Callable[[], ThreadedIssuerStore]
DAY = timedelta(days=1)
KEY_ID, NEXT_KEY_ID = bytes(32), b"\x01" * 32


@pytest.fixture(params=["sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return what opens another handle to one store."""
    if request.param == "sqlite":
        return lambda: sqlite_issuer_store(tmp_path / "issuer.db")
    url: str = request.getfixturevalue("postgres_url")
    return lambda: open_issuer_store(url)


def account(name: str = "a", *, quota: int = 10, label: str = "") -> Account:
    return Account(
        account_id=name.ljust(16, "0"),
        salt=name.encode().ljust(16),
        key_hash=name.encode().ljust(32),
        quota=quota,
        created_at=EPOCH,
        label=label,
    )


def charge(
    number: int = 1,
    *,
    name: str = "a",
    tokens: int = 1,
    digest: bytes = b"",
    key_id: bytes = KEY_ID,
    until: datetime = EPOCH + DAY,
) -> Charge:
    return Charge(
        account_id=name.ljust(16, "0"),
        request_id=number.to_bytes(16, "big"),
        request_digest=digest.ljust(32),
        tokens=tokens,
        token_key_id=key_id,
        expires_at=until,
    )


@asynccontextmanager
async def opened(open_store: Open, *accounts: Account) -> AsyncGenerator[ThreadedIssuerStore]:
    store = open_store()
    try:
        for one in accounts:
            await store.add_account(one)
        yield store
    finally:
        await store.aclose()


async def tokens(store: ThreadedIssuerStore) -> list[int]:
    return [usage.tokens for usage in await store.usage()]


async def test_account_comes_back_as_it_was_added(open_store: Open) -> None:
    one, two = account("a", label="Zoë & co"), account("b", quota=0)
    async with opened(open_store, one, two) as store:
        assert await store.find_account(one.account_id) == one
        assert await store.find_account("nobody") is None
        assert list(await store.accounts()) == [one, two]


async def test_two_accounts_cannot_have_one_id(open_store: Open) -> None:
    async with opened(open_store, account()) as store:
        with pytest.raises(BackendError):
            await store.add_account(account())
        assert len(await store.accounts()) == 1


async def test_charge_is_counted_in_its_epoch(open_store: Open) -> None:
    async with opened(open_store, account()) as store:
        assert await store.charge(charge(1, tokens=10))
        assert await store.charge(charge(2, tokens=7, key_id=NEXT_KEY_ID, until=EPOCH + 2 * DAY))
        assert list(await store.usage()) == [
            Usage(account_id=account().account_id, token_key_id=KEY_ID, tokens=10, expires_at=EPOCH + DAY),
            Usage(account_id=account().account_id, token_key_id=NEXT_KEY_ID, tokens=7, expires_at=EPOCH + 2 * DAY),
        ]


async def test_repetition_costs_nothing_also_when_the_quota_is_used_up(open_store: Open) -> None:
    async with opened(open_store, account()) as store:
        assert await store.charge(charge(tokens=10))
        assert not await store.charge(charge(tokens=10))
        assert await tokens(store) == [10]
    async with opened(open_store) as store:
        assert not await store.charge(charge(tokens=10))


async def test_other_bytes_under_a_used_id_are_refused(open_store: Open) -> None:
    async with opened(open_store, account()) as store:
        await store.charge(charge(digest=b"one"))
        with pytest.raises(RequestIdError):
            await store.charge(charge(digest=b"two"))
        assert await tokens(store) == [1]


async def test_ids_of_two_accounts_do_not_meet(open_store: Open) -> None:
    async with opened(open_store, account("a"), account("b")) as store:
        assert await store.charge(charge(name="a", digest=b"one"))
        assert await store.charge(charge(name="b", digest=b"two"))
        assert await tokens(store) == [1, 1]


async def test_quota_is_not_exceeded_by_one_token(open_store: Open) -> None:
    async with opened(open_store, account(quota=10)) as store:
        await store.charge(charge(1, tokens=9))
        with pytest.raises(QuotaError):
            await store.charge(charge(2, tokens=2))
        await store.charge(charge(2, tokens=1))
        assert await tokens(store) == [10]


async def test_account_that_is_not_there_is_refused(open_store: Open) -> None:
    async with opened(open_store, account("a")) as store:
        with pytest.raises(AccountError):
            await store.charge(charge(name="b"))
        with pytest.raises(AccountError):
            await store.change_account("b", quota=1)
        assert await tokens(store) == []


async def test_revoked_account_gets_nothing_not_even_a_repetition(open_store: Open) -> None:
    async with opened(open_store, account()) as store, opened(open_store) as admin:
        await store.charge(charge())
        await admin.change_account(account().account_id, revoked=True)
        assert await store.find_account(account().account_id) == evolve(account(), revoked=True)
        for number in (1, 2):
            with pytest.raises(AccountRevokedError):
                await store.charge(charge(number))
        await admin.change_account(account().account_id, revoked=False)
        assert not await store.charge(charge())


async def test_new_quota_holds_at_once_in_every_issuer(open_store: Open) -> None:
    async with opened(open_store, account(quota=0)) as store, opened(open_store) as admin:
        with pytest.raises(QuotaError):
            await store.charge(charge())
        await admin.change_account(account().account_id, quota=1)
        assert await store.charge(charge())
        assert await store.find_account(account().account_id) == account(quota=1)


async def test_sweep_forgets_what_expired_and_refuses_it_from_then_on(open_store: Open) -> None:
    async with opened(open_store, account()) as store:
        await store.charge(charge(1))
        await store.charge(charge(2, key_id=NEXT_KEY_ID, until=EPOCH + 2 * DAY))
        assert await store.sweep(EPOCH + DAY - timedelta(milliseconds=1)) == 0
        assert await store.sweep(EPOCH + DAY) == 1
        assert [usage.token_key_id for usage in await store.usage()] == [NEXT_KEY_ID]
        # Whether it was charged before nobody knows: it must not be charged again.
        with pytest.raises(TokenEpochError):
            await store.charge(charge(1))
        assert not await store.charge(charge(2, key_id=NEXT_KEY_ID, until=EPOCH + 2 * DAY))
        assert await store.sweep(EPOCH) == 0
        with pytest.raises(TokenEpochError):
            await store.charge(charge(1))


async def test_sweep_takes_more_than_a_page(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(open_store, account()) as store:
        for name, module in sys.modules.items():
            if name.startswith("confsec.backends.issuer_store_") and hasattr(module, "PAGE_ROWS"):
                monkeypatch.setattr(module, "PAGE_ROWS", 2)
        for number in range(5):
            await store.charge(charge(number))
        assert await store.sweep(EPOCH + DAY) == 5


async def test_many_at_once_through_several_issuers_fill_the_quota_exactly(open_store: Open) -> None:
    outcomes: Counter[str] = Counter()
    async with (
        opened(open_store, account(quota=100)) as one,
        opened(open_store) as two,
        anyio.create_task_group() as tasks,
    ):

        async def ask(store: ThreadedIssuerStore, number: int) -> None:
            try:
                outcomes[str(await store.charge(charge(number, tokens=3)))] += 1
            except QuotaError:
                outcomes["quota"] += 1

        for number in range(60):
            for store in (one, two):
                tasks.start_soon(ask, store, number)
    # 33 ids fit. Each came twice: once it was charged, and once it was a repetition.
    assert outcomes == {"True": 33, "False": 33, "quota": 54}
    async with opened(open_store) as store:
        assert await tokens(store) == [99]


async def test_closed_store_says_so(open_store: Open) -> None:
    async with opened(open_store, account()) as store:
        await store.aclose()
        with pytest.raises(LocalProtocolError):
            await store.charge(charge())


@pytest.mark.parametrize("change", [{"tokens": 0}, {"digest": bytes(33)}, {"until": EPOCH.replace(tzinfo=None)}])
async def test_charge_that_makes_no_sense_is_a_bug(change: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        charge(**change)  # type: ignore[arg-type]


async def test_hashes_are_not_shown() -> None:
    assert "salt" not in repr(account())
    assert "key_hash" not in repr(account())


async def test_file_is_for_its_owner_only(tmp_path: Path) -> None:
    async with opened(lambda: sqlite_issuer_store(tmp_path / "issuer.db"), account()):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}


async def test_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "issuer.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    store = sqlite_issuer_store(path)
    with pytest.raises(BackendError, match="version"):
        await store.accounts()
    await store.aclose()


async def test_text_that_is_no_conninfo_is_refused() -> None:
    needs_packages("psycopg")
    with pytest.raises(ConfigError) as raised:
        open_issuer_store("postgresql://user:secret@[host/")
    assert "secret" not in str(raised.value)


async def test_server_that_is_killed_loses_nothing_and_is_found_again(
    postgres_server: Server, postgres_url: str
) -> None:
    store = open_issuer_store(postgres_url)
    await store.add_account(account())
    await store.charge(charge(1))
    postgres_server.kill()
    try:
        with pytest.raises(BackendError):
            await store.charge(charge(2))
    finally:
        postgres_server.start()
    assert not await until_it_answers(store, charge(1))
    # Whether the second was charged nobody knows; asking again finds out, and leaves it charged once.
    await until_it_answers(store, charge(2))
    assert await tokens(store) == [2]
    await store.aclose()


async def until_it_answers(store: ThreadedIssuerStore, one: Charge) -> bool:
    with anyio.fail_after(30):
        while True:
            try:
                return await store.charge(one)
            except BackendError:
                await anyio.sleep(0.05)
