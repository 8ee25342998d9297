"""Where a client learns of its service: a root and its log, or a file that is in no log."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve

from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.errors import (
    BackendError,
    ConfigError,
    ForkedLogError,
    LimitError,
    PeerError,
    RolledBackLogError,
    TransparencyError,
    UncosignedError,
)
from confsec.protocol.directory import MAX_DIRECTORY, ServiceDirectory
from confsec.protocol.service_logs import LoggedDirectory
from tests.client.logged_wire import LoggedWire
from tests.protocol.log_world import World
from tests.protocol.logged_service import LoggedService

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
ASK = {"q": "hello"}


@asynccontextmanager
async def remembering(path: Path | None = None) -> AsyncGenerator[SqliteTrustedLogs]:
    memory = SqliteTrustedLogs(path)
    await memory.open()
    try:
        yield memory
    finally:
        await memory.aclose()


def other_directory(service: LoggedService) -> ServiceDirectory:
    return evolve(service.directory, router_origin="https://other.example")


# --- A root -----------------------------------------------------------------------------------------------------------


async def test_the_directory_of_a_root_is_the_one_in_its_log(tmp_path: Path) -> None:
    wire = LoggedWire()
    path = tmp_path / "service.toml"
    path.write_text(wire.service.world.root.to_toml())
    async with remembering() as memory:
        for described in (wire.service.world.root, path, str(path)):
            found = await wire.reader(described, memory=memory).read()
            assert isinstance(found, LoggedDirectory)
            assert found.in_effect.directory == wire.service.directory
    assert all(url.startswith("https://logs.service.example/directory/") for url in wire.asked)


async def test_a_first_contact_says_what_to_compare(caplog: pytest.LogCaptureFixture) -> None:
    wire = LoggedWire()
    async with remembering() as memory:
        reader = wire.reader(memory=memory)
        assert not reader.first_contact
        with caplog.at_level(logging.WARNING):
            await reader.read()
        assert reader.first_contact
        assert wire.service.world.root.digest.hex() in caplog.text
        caplog.clear()
        again = wire.reader(memory=memory)
        await again.read()
        assert not again.first_contact
        assert caplog.text == ""


async def test_what_was_read_is_remembered_in_a_file(tmp_path: Path) -> None:
    wire, path = LoggedWire(), tmp_path / "memory.db"
    world = wire.service.world
    old = world.directories.files(wire.service.now)
    world.add_directory(other_directory(wire.service), wire.service.now)
    async with wire.client(memory=path) as client:
        await client.request("POST", "/v1/chat/completions", json=ASK)
        assert client.first_contact
    wire.overlay = {**old, "checkpoint": world.directories.note(wire.service.now, size=1)}
    async with wire.client(memory=path) as client:
        with pytest.raises(RolledBackLogError):
            await client.refresh()
        assert not client.first_contact
    async with wire.client() as forgetful:
        await forgetful.refresh()  # whoever remembers nothing cannot tell


async def test_the_log_of_fleets_is_remembered_in_the_file_too(tmp_path: Path) -> None:
    wire, path = LoggedWire(), tmp_path / "memory.db"
    async with wire.client(memory=path) as client:
        await client.refresh()
    other = World()
    other.add_fleet(wire.service.now - HOUR)
    record = other.add_fleet(wire.service.now)
    assert record
    wire.service.overlay = dict(other.fleets.files(wire.service.now))
    async with wire.client(memory=path) as client:
        with pytest.raises(ForkedLogError):
            await client.refresh()


@pytest.mark.parametrize("content", [b"", b"not a database", bytes(4096)])
async def test_a_damaged_memory_is_an_error_and_no_first_contact(tmp_path: Path, content: bytes) -> None:
    wire, path = LoggedWire(), tmp_path / "memory.db"
    path.touch(0o600)
    path.write_bytes(content)
    async with wire.client(memory=path) as client:
        with pytest.raises(BackendError, match="damaged"):
            await client.refresh()
        assert not client.first_contact
    assert path.read_bytes() == content
    assert wire.asked == []


async def test_what_is_refused_is_not_remembered() -> None:
    wire = LoggedWire()
    origin, now = wire.service.world.directories.origin, wire.service.now
    async with remembering() as memory:
        wire.overlay = {"checkpoint": wire.service.world.directories.note(now, witnesses=1)}
        with pytest.raises(UncosignedError):
            await wire.reader(memory=memory).read()
        assert not (await memory.read(origin)).size
        wire.overlay = {}
        for minutes in (30, 10):
            wire.service.world.add_directory(other_directory(wire.service), now - timedelta(minutes=minutes))
        with pytest.raises(TransparencyError, match="too soon"):
            await wire.reader(memory=memory).read()
        assert not (await memory.read(origin)).size


async def test_a_directory_that_ended_since_the_witnesses_were_asked_is_refused() -> None:
    wire = LoggedWire()
    wire.service.now += timedelta(days=28)  # it is valid for 30 days, and was logged two days before
    wire.overlay = {"checkpoint": wire.service.world.directories.note(wire.service.now - HOUR)}
    async with remembering() as memory:
        with pytest.raises(TransparencyError, match="the directory has ended"):
            await wire.reader(memory=memory).read()
        wire.service.now -= timedelta(seconds=1)
        await wire.reader(memory=memory).read()


async def test_a_log_that_leads_elsewhere_is_not_followed() -> None:
    wire = LoggedWire()
    async with remembering() as memory:
        for status in (301, 302, 307, 308, 500):
            wire.status = status
            with pytest.raises(PeerError, match=f"status {status}"):
                await wire.reader(memory=memory).read()
    assert not any("elsewhere" in url for url in wire.asked)


async def test_a_log_that_serves_too_much_is_left(tmp_path: Path) -> None:
    wire = LoggedWire()
    wire.overlay = {"checkpoint": bytes(2 << 20)}
    async with remembering() as memory:
        with pytest.raises(LimitError):
            await wire.reader(memory=memory).read()


# --- A file or an address that is in no log ---------------------------------------------------------------------------


async def test_a_directory_file_and_its_address_are_in_no_log(tmp_path: Path) -> None:
    wire = LoggedWire()
    directory = wire.service.directory
    path = tmp_path / "service.toml"
    path.write_text(directory.to_toml())
    wire.overlay = {"/service.toml": directory.to_toml().encode()}
    async with remembering() as memory:
        for described in (directory, path, str(path), "https://web.example/service.toml"):
            reader = wire.reader(described, memory=memory)
            assert await reader.read() == directory
            assert not reader.first_contact
    assert wire.asked == ["https://web.example/service.toml"]


async def test_an_address_that_leads_elsewhere_serves_too_much_or_no_text_is_refused() -> None:
    wire = LoggedWire()
    url = "https://web.example/service.toml"
    async with remembering() as memory:
        with pytest.raises(PeerError, match="404"):
            await wire.reader(url, memory=memory).read()
        wire.overlay = {"/service.toml": wire.service.directory.to_toml().encode()}
        wire.status = 302
        with pytest.raises(PeerError, match="302"):
            await wire.reader(url, memory=memory).read()
        wire.status = 200
        wire.overlay = {"/service.toml": b"#" * (MAX_DIRECTORY + 1)}
        with pytest.raises(LimitError, match="too long"):
            await wire.reader(url, memory=memory).read()
        wire.overlay = {"/service.toml": b"\xff"}
        with pytest.raises(ConfigError, match="is not text"):
            await wire.reader(url, memory=memory).read()
        asked = len(wire.asked)
        with pytest.raises(ConfigError):
            await wire.reader("http://web.example/service.toml", memory=memory).read()
        assert len(wire.asked) == asked  # in the clear nothing is fetched


async def test_a_root_is_not_taken_from_an_address() -> None:
    """Whoever serves it could serve each client another."""
    wire = LoggedWire()
    wire.overlay = {"/service.toml": wire.service.world.root.to_toml().encode()}
    async with remembering() as memory:
        with pytest.raises(ConfigError):
            await wire.reader("https://web.example/service.toml", memory=memory).read()


async def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    wire = LoggedWire()
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff")
    async with remembering() as memory:
        with pytest.raises(ConfigError, match=r"missing.toml cannot be read"):
            await wire.reader(tmp_path / "missing.toml", memory=memory).read()
        with pytest.raises(ConfigError, match=r"bad.toml is not text"):
            await wire.reader(bad, memory=memory).read()
        with pytest.raises(ConfigError, match="cannot be read"):
            await wire.reader(tmp_path, memory=memory).read()
        for content in ("witnesses", "version = 1\n", 'witnesses = ""\n'):
            bad.write_text(content)
            with pytest.raises(ConfigError):
                await wire.reader(bad, memory=memory).read()


# --- A pin ------------------------------------------------------------------------------------------------------------


async def test_what_is_pinned_is_the_root_or_the_directory() -> None:
    wire = LoggedWire()
    root, directory = wire.service.world.root, wire.service.directory
    async with remembering() as memory:
        assert isinstance(await wire.reader(root, pin=root.digest, memory=memory).read(), LoggedDirectory)
        assert await wire.reader(directory, pin=directory.digest, memory=memory).read() == directory
        asked = len(wire.asked)
        for described in (root, directory):
            with pytest.raises(ConfigError, match="not the one that is pinned"):
                await wire.reader(described, pin=bytes(32), memory=memory).read()
        assert len(wire.asked) == asked
