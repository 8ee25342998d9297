"""Fetching the files of a log from web servers and folders."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from confsec.backends.http import HttpTransport
from confsec.backends.log_source import CachingSource, Fetch, FolderLogSource, HttpLogSource, read_log
from confsec.errors import BackendError, ConfigError, ConnectError, LimitError, PeerError, TransparencyError
from confsec.protocol.log_reader import LogUpdate
from confsec.protocol.note import MAX_NOTE
from confsec.protocol.transparency import TrustedLog
from confsec.protocol.tree_reader import TreeReader
from tests.http_files import Site, serving
from tests.protocol.logs import StaticLog, entries_of
from tests.protocol.test_transparency import AT, HOUR, ORIGIN, POLICY

pytestmark = pytest.mark.anyio


@pytest.fixture
async def transport() -> AsyncGenerator[HttpTransport]:
    made = HttpTransport()
    yield made
    await made.aclose()


def write(log: StaticLog, folder: Path) -> Path:
    for path, body in log.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    return folder


def update(*, newest: int | None = None) -> LogUpdate:
    return LogUpdate(TrustedLog(ORIGIN), POLICY, at=AT, maximum_age=HOUR, newest=newest)


async def test_a_log_is_read_from_a_folder(tmp_path: Path) -> None:
    log = StaticLog(entries_of(0, 600))
    news = await read_log(update(), FolderLogSource(write(log, tmp_path)).fetch)
    assert [entry.data for entry in news.entries] == log.entries


async def test_a_log_is_read_over_http_with_full_tiles_where_partial_ones_are_gone(transport: HttpTransport) -> None:
    log = StaticLog(entries_of(0, 250))
    note = log.files["checkpoint"]
    log.grow(entries_of(250, 600))
    log.drop_partial()
    log.files["checkpoint"] = note
    with serving(Site(log.files)) as site:
        news = await read_log(update(), HttpLogSource(f"{site.url}/", transport).fetch)
    assert [entry.data for entry in news.entries] == log.entries[:250]
    assert "tile/0/000" in site.asked


async def test_only_what_is_there_and_short_enough_is_taken_from_a_folder(tmp_path: Path) -> None:
    fetch = FolderLogSource(tmp_path).fetch
    assert await fetch("checkpoint") is None
    (tmp_path / "checkpoint").write_bytes(bytes(MAX_NOTE + 1))
    with pytest.raises(LimitError, match="too much"):
        await fetch("checkpoint")
    (tmp_path / "tile").write_bytes(b"")
    assert await fetch("tile/0/000") is None
    (tmp_path / "witnesses").mkdir()
    with pytest.raises(BackendError, match="cannot be read"):
        await fetch("witnesses")


async def test_odd_answers_of_a_web_server_are_refused(transport: HttpTransport) -> None:
    with serving(Site({"checkpoint": bytes(MAX_NOTE + 1), "elsewhere": b"x"})) as site:
        fetch = HttpLogSource(site.url, transport).fetch
        with pytest.raises(LimitError, match="too much"):
            await fetch("checkpoint")
        for status in (301, 307, 403, 500):
            site.statuses["tile/0/000"] = status
            with pytest.raises(PeerError):
                await fetch("tile/0/000")
        site.statuses["tile/0/000"] = 410
        assert await fetch("tile/0/000") is None
        assert "elsewhere" not in site.asked
    with pytest.raises(ConnectError):
        await fetch("checkpoint")


async def test_logs_are_not_read_over_http_from_other_machines(transport: HttpTransport) -> None:
    with pytest.raises(ConfigError, match="https"):
        HttpLogSource("http://log.example/", transport)


async def test_the_first_error_ends_the_reading() -> None:
    log = StaticLog(entries_of(0, 600))
    ended = anyio.Event()

    async def fetch(path: str) -> bytes | None:
        if path == "tile/0/001":
            raise PeerError("no", status=500)
        if path.startswith("tile/"):
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()
        return log.files[path]

    with pytest.raises(PeerError):
        await read_log(update(), fetch)
    assert ended.is_set()


async def test_what_is_missing_and_has_no_other_name_is_refused(tmp_path: Path) -> None:
    log = StaticLog(entries_of(0, 600))
    del log.files["tile/entries/001"]
    with pytest.raises(TransparencyError, match="does not serve"):
        await read_log(update(), FolderLogSource(write(log, tmp_path)).fetch)


async def test_upper_tiles_are_fetched_once() -> None:
    log, asked = StaticLog(entries_of(0, 600)), list[str]()

    async def fetch(path: str) -> bytes | None:
        asked.append(path)
        return log.files.get(path)

    source: Fetch = CachingSource(fetch).fetch
    for start in range(0, 600, 100):
        await read_log(TreeReader(log.checkpoint, start=start, stop=start + 10), source)
    assert asked.count("tile/1/000.p/2") == 1
    assert asked.count("tile/0/002.p/88") == 6
    assert await source("tile/1/009") is None
