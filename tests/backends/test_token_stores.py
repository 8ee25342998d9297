"""A URL names a store, and what is none is refused before anything connects."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from confsec.backends.token_stores import open_token_store
from confsec.errors import BackendError, ConfigError, TokenSpentError
from confsec.testing_stores import make_spend
from tests.support import needs_packages

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("form", ["sqlite:{}", "sqlite://{}", "sqlite:spent.db"])
async def test_sqlite_path_is_absolute_or_relative(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_token_store(form.format(tmp_path / "spent.db"))
    await store.spend(make_spend())
    await store.aclose()
    assert (tmp_path / "spent.db").exists()


async def test_path_may_hold_any_character(tmp_path: Path) -> None:
    store = open_token_store(f"sqlite:{tmp_path}/what%3F%20%25.db")
    await store.spend(make_spend())
    await store.aclose()
    assert (tmp_path / "what? %.db").exists()


async def test_waiver_is_taken_out_of_the_url() -> None:
    """Neither libpq nor redis-py knows it."""
    needs_packages("psycopg", "redis")
    for url in (
        "postgresql:///db?unsafe_volatile=yes&host=/nowhere",
        "redis+unix:///nowhere/redis.sock?unsafe_volatile=yes",
        "redis+unix:///nowhere/redis.sock?db=1&unsafe_volatile=yes",
    ):
        store = open_token_store(url)
        with pytest.raises(BackendError, match="No such file"):
            await store.spend(make_spend())
        await store.aclose()
    with pytest.raises(ConfigError):
        open_token_store("postgresql:///db?unsafe_volatile=no")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "memory:x",
        "sqlite:",
        "sqlite://host/path",
        "sqlite:/a?mode=ro",
        "mysql://h/d",
        "partitioned:/no/file",
    ],
)
async def test_what_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        open_token_store(url)


async def test_file_says_how_tokens_are_divided(tmp_path: Path) -> None:
    key = bytes([171]) * 32
    (tmp_path / "partitions.toml").write_text(
        f'stores = ["sqlite:{tmp_path}/a.db", "sqlite:{tmp_path}/b.db"]\n'
        f'[keys]\n{key.hex()} = ["sqlite:{tmp_path}/b.db", "sqlite:{tmp_path}/c.db"]\n'
    )
    store = open_token_store(f"partitioned:{tmp_path}/partitions.toml")
    spends = [evolve(make_spend(), token_id=bytes(32)), evolve(make_spend(), token_id=b"\xff" * 32)]
    spends.append(evolve(make_spend(token_key_id=key), token_id=b"\xfe" * 32))
    for spend in spends:
        await store.spend(spend)
    await store.aclose()
    for name, spend in zip("abc", spends, strict=True):
        one = open_token_store(f"sqlite:{tmp_path}/{name}.db")
        with pytest.raises(TokenSpentError):
            await one.spend(spend)
        await one.aclose()


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("stores = [", "does not say how"),
        ("", "list of URLs"),
        ('stores = "memory:"', "list of URLs"),
        ("stores = [1]", "list of URLs"),
        ('stores = ["memory:", "memory:"]', "named twice"),
        ('stores = ["memory:"]\nextra = 1', "what extra means"),
        ('stores = ["memory:"]\nkeys = 1', "does not say how"),
        ('stores = ["memory:"]\n[keys]\nab = ["memory:"]', "64 hexadecimal digits"),
        ("stores = []", "so many stores"),
        ('stores = ["nothing:"]', "no URL of a token store"),
    ],
)
async def test_file_that_divides_nothing_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "partitions.toml").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        open_token_store(f"partitioned:{tmp_path}/partitions.toml")
