"""Entries that would be two statements if there were two readings: nobody without a key may do anything with them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from confsec.backends.asgi import AsgiTransport
from confsec.backends.system import now
from confsec.protocol.predicates import DirectoryStatement
from confsec.protocol.signatures import SigningKey
from tests.protocol.disguises import disguise
from tests.protocol.test_statement_policy import NAME, POLICY, sealed
from tests.protocol.token_keys import ED25519, OTHER
from tests.roles.log_cases import append, log_running, witnesses_running

pytestmark = pytest.mark.anyio

NOW = now().replace(microsecond=0)
HOUR = timedelta(hours=1)


def directory(text: str, issued: datetime, key: SigningKey = ED25519) -> bytes:
    statement = DirectoryStatement(issued=issued, valid_until=issued + timedelta(days=30), directory=text)
    return sealed(statement.about(NAME), key)


@asynccontextmanager
async def log_of_directories(folder: Path) -> AsyncGenerator[AsgiTransport]:
    async with (
        witnesses_running(folder) as network,
        log_running(folder, network, statements=POLICY, unsafe_any_entry=False) as (_, log),
    ):
        yield log


async def test_an_old_directory_in_disguise_does_not_become_the_newest(tmp_path: Path) -> None:
    old, new = directory("old", NOW - 2 * HOUR), directory("new", NOW)
    async with log_of_directories(tmp_path) as log:
        assert await append(log, old) == (200, b"0\n")
        assert await append(log, new) == (200, b"1\n")
        assert (await append(log, old + b" "))[0] == 409
        assert (await append(log, disguise(old, directory("x", NOW + timedelta(seconds=1), OTHER))))[0] == 400
        assert await append(log, new) == (200, b"1\n")


async def test_nobody_without_a_key_keeps_the_next_directory_out(tmp_path: Path) -> None:
    first = directory("first", NOW - 2 * HOUR)
    fake = directory("x", datetime(9000, 1, 1, tzinfo=UTC), OTHER)
    async with log_of_directories(tmp_path) as log:
        assert await append(log, first) == (200, b"0\n")
        assert (await append(log, disguise(first, fake)))[0] == 400
        assert await append(log, directory("next", NOW)) == (200, b"1\n")


async def test_what_another_policy_let_in_keeps_no_directory_out(tmp_path: Path) -> None:
    fake = directory("x", datetime(9000, 1, 1, tzinfo=UTC), OTHER)
    async with witnesses_running(tmp_path) as network:
        async with log_running(tmp_path, network) as (_, log):
            assert await append(log, fake) == (200, b"0\n")
        async with log_running(tmp_path, network, statements=POLICY, unsafe_any_entry=False) as (_, log):
            assert await append(log, directory("next", NOW)) == (200, b"1\n")
