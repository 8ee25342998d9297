"""Open a store for spent tokens by its URL, as a router's settings name it."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from confsec.backends.api import TokenStore
from confsec.backends.token_store_memory import MemoryTokenStore
from confsec.backends.token_store_partitioned import PartitionedTokenStore
from confsec.errors import ConfigError

__all__ = ["open_token_store"]

_WAIVER: Final = "unsafe_volatile=yes"


def open_token_store(url: str) -> TokenStore:
    """Return the store that `url` names: see docs/token-stores.md. It connects when it is first used.

    `memory:`, `sqlite:PATH`, `postgresql://…`, `redis://…`, `rediss://…`, `redis+unix:///SOCKET` or `partitioned:PATH`
    with the path of a TOML file. Raises `ConfigError`, and `MissingExtraError`.
    """
    match url.partition(":")[0]:
        case "memory" if url == "memory:":
            return MemoryTokenStore()
        case "sqlite":
            from confsec.backends.token_store_sqlite import sqlite_token_store

            return sqlite_token_store(_path(url))
        case "postgresql" | "postgres":
            from confsec.backends.token_store_postgres import postgres_token_store

            address, unsafe_volatile = _without_waiver(url)
            return postgres_token_store(address, unsafe_volatile=unsafe_volatile)
        case "redis" | "rediss" | "redis+unix":
            from confsec.backends.token_store_redis import redis_token_store

            address, unsafe_volatile = _without_waiver(url)
            return redis_token_store(address.removeprefix("redis+"), unsafe_volatile=unsafe_volatile)
        case "partitioned":
            return _open_partitioned(_path(url))
    raise ConfigError(
        "this is no URL of a token store", want="memory:, sqlite:PATH, postgresql://…, redis://… or partitioned:PATH"
    )


def _path(url: str) -> Path:
    """Return the path in `scheme:PATH`, which may begin with two slashes more, as in other URLs."""
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment or not parts.path:
        raise ConfigError("this is no URL of a file", got=url, want=f"{parts.scheme}:PATH")
    return Path(unquote(parts.path))


def _without_waiver(url: str) -> tuple[str, bool]:
    """Take the option `unsafe_volatile=yes` out of a URL, and return whether it was there."""
    address, _, query = url.partition("?")
    options = [option for option in query.split("&") if option]
    rest = [option for option in options if option != _WAIVER]
    return address + "?" * bool(rest) + "&".join(rest), len(rest) < len(options)


def _open_partitioned(path: Path) -> PartitionedTokenStore:
    """Read which stores share the tokens, and open each of them once."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        urls = _urls(table.pop("stores", None))
        urls_by_key = {_token_key_id(text): _urls(few) for text, few in table.pop("keys", {}).items()}
        if table:
            raise ValueError(f"nobody knows what {min(table)} means")
    except (OSError, ValueError, AttributeError) as exc:
        raise ConfigError(f"{path} does not say how tokens are divided: {exc}") from exc
    opened = {url: open_token_store(url) for url in dict.fromkeys(chain(urls, *urls_by_key.values()))}
    by_key = {token_key_id: [opened[url] for url in few] for token_key_id, few in urls_by_key.items()}
    return PartitionedTokenStore([opened[url] for url in urls], by_key=by_key)


def _urls(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise ValueError("stores are a list of URLs")
    if len(set(value)) < len(value):
        raise ValueError("a store is named twice")
    return value


def _token_key_id(text: str) -> bytes:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("a token key id is 64 hexadecimal digits in lower case")
    return bytes.fromhex(text)
