"""Open an issuer's books by their URL, as its settings name them."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote

from confsec.backends.issuer_store_sqlite import sqlite_issuer_store
from confsec.backends.issuer_store_threaded import ThreadedIssuerStore
from confsec.errors import ConfigError

__all__ = ["open_issuer_store"]

_SQLITE: Final = "sqlite://"


def open_issuer_store(url: str) -> ThreadedIssuerStore:
    """Return the store that `url` names: the path of a SQLite file, `sqlite:///PATH`, or `postgresql://…`.

    It connects when it is first used. Raises `ConfigError`, and `MissingExtraError`.
    """
    scheme, separator, _ = url.partition("://")
    if url and not separator:
        return sqlite_issuer_store(Path(url))
    if url.startswith(_SQLITE + "/") and not url.endswith("/"):
        return sqlite_issuer_store(Path(unquote(url.removeprefix(_SQLITE))))
    if scheme in {"postgresql", "postgres"}:
        from confsec.backends.issuer_store_postgres import postgres_issuer_store

        return postgres_issuer_store(url)
    raise ConfigError("this is no store of an issuer", want="the path of a file, sqlite:///PATH, or postgresql://…")
