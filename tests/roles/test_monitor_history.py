"""A monitor reads every fleet record, keeps it, and tells of fleets and directories that came and went."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest

from confsec.backends.http import HttpTransport
from confsec.backends.monitor_store import MonitorStore
from confsec.protocol.fleet import MAX_FLEET_RECORD, FleetNode, FleetRecord
from confsec.protocol.monitoring import Alert, AlertKind
from confsec.protocol.predicates import FleetStatement
from confsec.protocol.statement import Subject
from confsec.roles.monitor import Monitor
from confsec.roles.monitor_alerts import AlertDesk
from confsec.roles.monitor_config import MonitorConfig, MonitoredLog
from confsec.testing_logs import MemoryLog
from tests.http_files import Site, serving
from tests.protocol.log_world import AT, DAY, EPOCH, HOUR, NAME, World, directory
from tests.protocol.token_keys import ED25519

pytestmark = pytest.mark.anyio

NODE = FleetNode(b"n" * 32, b"e" * 32, 0)


class Chain:
    """A service whose logs and records are on a web server, and a monitor of one of the logs."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder, self.site = folder, site
        self.world = World()
        self.at = AT
        self.told: list[Alert] = []
        self.files: dict[str, bytes] = {}
        site.files = self.files

    def add_fleet(self, at: datetime, *nodes: FleetNode, served: bool = True) -> bytes:
        self.at = at
        record = self.world.add_fleet(at, *nodes)
        if served:
            self.files[self.path(record)] = record
        return record

    def path(self, record: bytes) -> str:
        return f"records/{sha256(record).hexdigest()}"

    async def check(self, *, fleets: bool = True, root: bool = True) -> list[AlertKind]:
        """Look once, as a process of its own, and return the kinds of what was told."""
        log: MemoryLog = self.world.fleets if fleets else self.world.directories
        self.files |= log.files(self.at)
        monitored = MonitoredLog(
            name="one", origin=log.origin, policy=self.world.root.witnesses, sources=(self.site.url,),
            maximum_age=HOUR, report_new=False, root=self.world.root if root else None,
            records=f"{self.site.url}/records/" if fleets else "",
        )  # fmt: skip
        self.told.clear()
        desk = AlertDesk(self.told.append, None, clock=lambda: self.at)
        transport = HttpTransport()
        try:
            config = MonitorConfig(state=self.folder, logs=(monitored,))
            await Monitor(config, desk, transport, clock=lambda: self.at).check()
        finally:
            await transport.aclose()
        return [alert.kind for alert in self.told]

    def kept(self) -> set[bytes]:
        return {file.read_bytes() for file in self.folder.glob("records/one/*/*.fleet")}


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with serving(Site()) as site:
        yield Chain(tmp_path / "state", site)


# --- Records


@pytest.mark.parametrize("root", [True, False])
async def test_every_record_is_read_and_kept_from_the_newest_on(chain: Chain, *, root: bool) -> None:
    chain.add_fleet(AT, NODE, served=False)  # of before the first look
    first = chain.add_fleet(AT + EPOCH, NODE)
    assert await chain.check(root=root) == [AlertKind.FIRST_CONTACT]
    second = chain.add_fleet(AT + 2 * EPOCH, NODE)
    third = chain.add_fleet(AT + 3 * EPOCH, NODE)
    assert await chain.check(root=root) == []
    assert chain.kept() == {first, second, third}
    assert await chain.check(root=root) == []


async def test_an_empty_log_has_no_record_and_its_first_one_is_read(chain: Chain) -> None:
    assert await chain.check() == [AlertKind.FIRST_CONTACT]
    record = chain.add_fleet(AT, NODE)
    assert await chain.check() == []
    assert chain.kept() == {record}


async def test_a_fleet_whose_record_nobody_can_read_is_told_until_it_is_there(chain: Chain) -> None:
    chain.add_fleet(AT, NODE)
    await chain.check()
    record = chain.add_fleet(AT + EPOCH, NODE, served=False)
    chain.add_fleet(AT + 2 * EPOCH, NODE)  # when clients look, this one is the newest
    assert await chain.check() == [AlertKind.RECORD_MISSING]
    assert chain.told[0].details["record"] == sha256(record).hexdigest()
    assert chain.told[0].details["index"] == 1
    assert await chain.check() == [AlertKind.RECORD_MISSING]
    assert chain.told[0].details["records"] == [sha256(record).hexdigest()]
    chain.files[chain.path(record)] = record
    assert await chain.check() == []
    assert record in chain.kept()


@pytest.mark.parametrize("wrong", [b"another", bytes(MAX_FLEET_RECORD + 1)], ids=["another", "too long"])
async def test_a_record_that_is_another_than_in_the_log_is_told(chain: Chain, wrong: bytes) -> None:
    record = chain.add_fleet(AT, NODE)
    chain.files[chain.path(record)] = wrong
    assert await chain.check() == [AlertKind.FIRST_CONTACT, AlertKind.RECORD_WRONG]
    assert chain.kept() == set()
    assert await chain.check() == [AlertKind.RECORD_WRONG]


async def test_a_record_that_says_something_else_than_its_statement_is_told_and_kept(chain: Chain) -> None:
    beacon = chain.world.fleets.note(AT)
    record = FleetRecord(beacon, (NODE,)).encode()
    statement = FleetStatement(issued=AT, valid_until=AT + HOUR, beacon=beacon, nodes=2)
    envelope = statement.to_statement(Subject(NAME, sha256(record).digest())).to_envelope().sign(ED25519)
    chain.world.fleets.append(envelope.encode(), AT)
    chain.files[chain.path(record)] = record
    assert await chain.check() == [AlertKind.FIRST_CONTACT, AlertKind.RECORD_WRONG]
    assert chain.kept() == {record}


async def test_a_server_of_records_that_fails_is_asked_once_in_a_look(chain: Chain) -> None:
    chain.add_fleet(AT, NODE)
    await chain.check()
    records = [chain.add_fleet(AT + step * EPOCH, NODE) for step in (1, 2, 3)]
    chain.site.statuses = {chain.path(record): 503 for record in records}
    chain.site.asked.clear()
    assert await chain.check() == [AlertKind.RECORD_MISSING] * 3
    assert sum(path.startswith("records/") for path in chain.site.asked) == 1
    chain.site.statuses = {}
    assert await chain.check() == []
    assert chain.kept() >= set(records)


async def test_what_is_missing_is_told_once_and_when_it_is_over(chain: Chain) -> None:
    record = chain.add_fleet(AT, NODE, served=False)
    log = chain.world.fleets
    chain.files |= log.files(AT)
    monitored = MonitoredLog(
        name="one", origin=log.origin, policy=chain.world.root.witnesses, sources=(chain.site.url,), maximum_age=HOUR,
        report_new=False, records=f"{chain.site.url}/records/",
    )  # fmt: skip
    desk = AlertDesk(chain.told.append, None, clock=lambda: AT)
    transport = HttpTransport()
    monitor = Monitor(MonitorConfig(state=chain.folder, logs=(monitored,)), desk, transport, clock=lambda: AT)
    await monitor.check()
    await monitor.check()
    assert [alert.kind for alert in chain.told] == [AlertKind.FIRST_CONTACT, AlertKind.RECORD_MISSING]
    chain.files[chain.path(record)] = record
    await monitor.check()
    assert chain.told[-1].kind is AlertKind.RECOVERED
    await transport.aclose()


async def test_old_records_are_thrown_away_by_the_thousand(tmp_path: Path) -> None:
    store = MonitorStore(tmp_path)
    await store.open()
    for index in (0, 999, 1000, 2500):
        await store.keep_record("one", index, b"%d" % index)
    await store.keep_record("one", 3000, b"3000")
    await store.keep_record("one", 3000, b"3000")
    await store.aclose()
    assert {file.read_bytes() for file in tmp_path.glob("records/one/*/*")} == {b"1000", b"2500", b"3000"}


# --- Times


async def test_a_fleet_that_was_in_effect_for_a_moment_is_told(chain: Chain) -> None:
    chain.add_fleet(AT, NODE)
    await chain.check()
    victims = chain.add_fleet(AT + EPOCH, NODE, FleetNode(b"m" * 32, b"f" * 32, 0))
    chain.add_fleet(AT + EPOCH * 1.4, NODE)
    assert await chain.check() == [AlertKind.NODES, AlertKind.UNTIMELY, AlertKind.NODES]
    assert victims in chain.kept()


async def test_a_directory_that_was_in_effect_for_hours_is_told_also_to_another_process(chain: Chain) -> None:
    chain.world.add_directory(directory(), AT)
    assert await chain.check(fleets=False) == [AlertKind.FIRST_CONTACT]
    chain.at = AT + 2 * HOUR
    chain.world.add_directory(directory(), chain.at)
    assert await chain.check(fleets=False) == [AlertKind.UNTIMELY]
    chain.at = AT + 2 * DAY
    chain.world.directories.append(chain.world.directories.entries[0], chain.at)
    assert await chain.check(fleets=False) == []


@pytest.mark.parametrize("shown", [None, b"no proof", "another's"], ids=["none", "no proof", "another's"])
async def test_a_directory_is_not_read_while_its_first_checkpoint_is_kept_back(
    chain: Chain, shown: bytes | str | None
) -> None:
    world = chain.world
    world.add_directory(directory(), AT)
    world.add_directory(directory(), AT + DAY)
    chain.at = AT + DAY
    files = world.directories.files(chain.at)
    first = world.directories.firsts.pop(1)
    if isinstance(shown, bytes):
        chain.files["proof/1"] = shown
    elif shown:
        chain.files["proof/1"] = files["proof/0"]
    assert await chain.check(fleets=False) == [AlertKind.FIRST_CONTACT, AlertKind.DEFECTIVE]
    world.directories.firsts[1] = first
    assert await chain.check(fleets=False) == []
