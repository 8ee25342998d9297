"""Spent tokens in Redis or Valkey: what several routers share, and what forgets by itself.

A key for each token: its value is a letter (`s` spent, `r` released) and the request digest, and it expires with the
token's key. A group of spends is one call of a script. It has to write to its disk before it
answers (`appendfsync always`) and must not evict: a server that is set otherwise is refused. redis-py's blocking API
runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, cast, final

from attrs import frozen

from confsec.backends.api import Spend
from confsec.backends.token_store_threaded import Page, Swept, ThreadedTokenStore, milliseconds
from confsec.errors import BackendError, ConfigError, MissingExtraError

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as _missing:
    raise MissingExtraError("redis", extra="redis") from _missing

__all__ = ["redis_token_store"]

_CONNECT_SECONDS: Final = 5.0
_SECONDS: Final = 10.0
"""How long the server's silence may last."""

_PREFIX: Final = b"confsec:spent:"
_FLOOR: Final = b"confsec:swept-until"

_NEEDED: Final = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
}
"""Settings without which a spent token may be forgotten: at a restart, at a power failure, when memory is short."""

# What has expired is refused by the server's clock too: a key that expires in the past would be forgotten at once.
_SPEND: Final = """
local time = redis.call('TIME')
local floor = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), time[1] * 1000 + math.floor(time[2] / 1000))
local outcomes = {}
for i = 2, #KEYS do
    local digest, expiry = ARGV[2 * i - 3], ARGV[2 * i - 2]
    local accepted = 0
    if tonumber(expiry) > floor then
        if redis.call('SET', KEYS[i], 's' .. digest, 'NX', 'PXAT', expiry) then
            accepted = 1
        elseif redis.call('GET', KEYS[i]) == 'r' .. digest then
            redis.call('SET', KEYS[i], 's' .. digest, 'PXAT', expiry)
            accepted = 1
        end
    end
    outcomes[i - 1] = accepted
end
return outcomes
"""

_RELEASE: Final = """
for i = 1, #KEYS do
    if redis.call('GET', KEYS[i]) == 's' .. ARGV[i] then
        redis.call('SET', KEYS[i], 'r' .. ARGV[i], 'KEEPTTL')
    end
end
"""

_RAISE_FLOOR: Final = """
if tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[1]) or 0) then
    redis.call('SET', KEYS[1], ARGV[1])
end
"""


def redis_token_store(url: str, *, unsafe_volatile: bool = False) -> ThreadedTokenStore:
    """Return a store at `url`: `redis://`, `rediss://` for TLS, or `unix://` and a path.

    With `unsafe_volatile` the server may lose what it confirmed, and tokens can be spent twice after a crash. Raises
    `ConfigError` for what is no such URL.
    """
    try:
        redis.ConnectionPool.from_url(url)
    except ValueError as exc:
        raise ConfigError("this is no URL of Redis") from exc  # it may hold a password
    return ThreadedTokenStore(partial(_RedisSession, url, unsafe_volatile=unsafe_volatile), _prepare)


@final
@frozen
class _SpendGroup:
    keys: list[bytes]
    """Where the floor stands; then each token's key."""

    arguments: list[bytes | int]
    """Request digest and expiry of each spend."""


@final
class _RedisSession:
    """A connection to the server."""

    def __init__(self, url: str, *, unsafe_volatile: bool) -> None:
        self._redis = redis.Redis.from_url(
            url,
            single_connection_client=True,
            # A spend that is sent a second time would find itself and be refused.
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_SECONDS,
            decode_responses=False,
        )
        try:
            self._prepare(unsafe_volatile=unsafe_volatile)
        except BaseException:
            self.close()
            raise

    def _prepare(self, *, unsafe_volatile: bool) -> None:
        if not unsafe_volatile:
            _check_durable(self._settings())
        self._spend, self._release, self._raise_floor = (
            _text(cast("bytes", self._redis.script_load(script))) for script in (_SPEND, _RELEASE, _RAISE_FLOOR)
        )

    def _settings(self) -> Mapping[str, str]:
        """Return those of the settings that the server tells."""
        try:
            given: Mapping[Any, Any] = self._redis.config_get(*_NEEDED)
        except redis.ResponseError:  # CONFIG is not for everyone
            return {}
        return {_text(name): _text(value) for name, value in given.items()}

    def spend(self, group: _SpendGroup) -> Sequence[bool]:
        """Spend a group in one step of the server."""
        outcomes = self._evaluate(self._spend, group.keys, group.arguments)
        return [outcome == 1 for outcome in cast("list[int]", outcomes)]

    def release(self, spends: Sequence[Spend]) -> None:
        """Release a group in one step of the server."""
        self._evaluate(self._release, [_key(spend) for spend in spends], [spend.request_digest for spend in spends])

    def raise_floor(self, now: int) -> None:
        """Refuse what expires no later than `now`."""
        self._evaluate(self._raise_floor, [_FLOOR], [now])

    def sweep(self, page: Page) -> Swept:
        """Do nothing: keys expire by themselves."""
        return Swept(0, None)

    def check(self) -> None:
        """Ask the server for a sign of life."""
        self._redis.ping()

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _evaluate(self, script: str, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> object:
        return self._redis.evalsha(script, len(keys), *keys, *arguments)


def _check_durable(settings: Mapping[str, str]) -> None:
    for name, want in _NEEDED.items():
        if settings.get(name) != want:
            raise BackendError(
                "the server may forget spent tokens",
                got=f"{name} {settings.get(name, 'unknown')}",
                want=want,
                hint="Change its settings, or say unsafe_volatile if tokens may be spent twice",
            )


def _prepare(spends: Sequence[Spend]) -> _SpendGroup:
    arguments: list[bytes | int] = []
    for spend in spends:
        arguments += (spend.request_digest, milliseconds(spend.expires_at))
    return _SpendGroup([_FLOOR, *map(_key, spends)], arguments)


def _key(spend: Spend) -> bytes:
    return _PREFIX + spend.token_id


def _text(value: str | bytes) -> str:
    """Return a setting's name or value: redis-py gives either type, by the protocol's version."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
