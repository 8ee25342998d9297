"""Spent tokens in Redis survive crashes of the server, and a server that forgets is refused."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import anyio
import pytest

from confsec.backends.api import TokenStore
from confsec.backends.system import now
from confsec.errors import BackendError, BusyError, ConfigError, TokenSpentError
from confsec.testing_stores import make_spend
from tests.backends.token_stores import Load
from tests.servers import Server, running_redis

redis = pytest.importorskip("redis")
from confsec.backends import token_store_redis  # noqa: E402 - needs redis

pytestmark = pytest.mark.anyio


def redis_token_store(url: str, *, unsafe_volatile: bool = False) -> TokenStore:
    return token_store_redis.redis_token_store(url.removeprefix("redis+"), unsafe_volatile=unsafe_volatile)


@pytest.mark.slow
async def test_restarts_under_load_lose_nothing_and_let_nothing_through(redis_server: Server, redis_url: str) -> None:
    await Load(partial(redis_token_store, redis_url)).run_through_restarts(redis_server)


async def test_server_that_is_silent_is_given_up(
    redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_store_redis, "_SECONDS", 0.2)
    store = redis_token_store(redis_url)
    await store.spend(make_spend())
    redis_server.stop()
    try:
        with pytest.raises(BackendError, match=r"(?i)timeout"):
            await store.spend(make_spend())
    finally:
        redis_server.go_on()
    with anyio.fail_after(30):
        while True:
            try:
                await store.spend(make_spend())
                break
            except BusyError:
                await anyio.sleep(0.02)
    await store.aclose()


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"appendonly": "no"}, "got appendonly no, want yes"),
        ({"appendfsync": "everysec"}, "got appendfsync everysec, want always"),
        ({"maxmemory_policy": "volatile-ttl"}, "got maxmemory-policy volatile-ttl, want noeviction"),
        ({"rename_command": "CONFIG SECRET"}, "got appendonly unknown, want yes"),
    ],
)
async def test_server_that_may_forget_is_refused_unless_that_is_waived(
    settings: dict[str, str], complaint: str
) -> None:
    with running_redis(**settings) as server:
        store = redis_token_store(server.url)
        with pytest.raises(BackendError, match=complaint):
            await store.spend(make_spend())
        await store.aclose()
        store = redis_token_store(server.url, unsafe_volatile=True)
        spend = make_spend()
        await store.spend(spend)
        with pytest.raises(TokenSpentError):
            await store.spend(spend)
        await store.aclose()


async def test_token_that_expired_by_the_servers_clock_is_refused(redis_url: str) -> None:
    store = redis_token_store(redis_url)
    with pytest.raises(TokenSpentError):
        await store.spend(make_spend(now() - timedelta(seconds=1)))
    await store.aclose()


async def test_released_token_expires_with_its_key(redis_url: str) -> None:
    store = redis_token_store(redis_url)
    spend = make_spend(now() + timedelta(minutes=30))
    with redis.Redis.from_url(redis_url.removeprefix("redis+")) as client:
        for step in (store.spend, store.release, store.spend):
            await step(spend)
            [key] = client.keys("confsec:spent:*")
            assert 29 * 60 < client.ttl(key) <= 30 * 60
    await store.aclose()


async def test_full_server_accepts_nothing(redis_server: Server, redis_url: str) -> None:
    store = redis_token_store(redis_url)
    await store.spend(make_spend())
    with redis.Redis.from_url(redis_url.removeprefix("redis+")) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(BackendError, match="maxmemory"):
            await store.spend(make_spend())
        client.config_set("maxmemory", "0")
    await store.spend(make_spend())
    await store.aclose()


async def test_what_is_no_address_is_refused_and_not_quoted() -> None:
    with pytest.raises(ConfigError) as refused:
        token_store_redis.redis_token_store("redis://user:secret@host:port/0")
    assert "secret" not in str(refused.value)
