"""One fleet record for each epoch: what a router sends, sends again, keeps, and never sends."""

from __future__ import annotations

import logging
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import anyio.lowlevel
import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confsec.errors import BackendError, BusyError, UncosignedError, VerificationError
from confsec.protocol.dsse import DsseKey
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.service_state import find_fleet
from confsec.protocol.signatures import SigningKey
from confsec.protocol.state_reader import Firsts, StateUpdate
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.protocol.transparency import TrustedLog
from confsec.roles.fleet_publisher import FleetPublisher
from confsec.testing import FixedClock
from tests.protocol.log_world import AT, EPOCH, World, read
from tests.protocol.token_keys import ED25519

pytestmark = pytest.mark.anyio

NODE = FleetNode(b"n" * 32, b"e" * 32, 0)
OTHER = FleetNode(b"m" * 32, b"d" * 32, 0)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"x" * 32)


class LostError(BackendError):
    """The log's answer did not arrive."""


class Router:
    """What a publisher has around it: a log in memory, whose answers get lost when a test says so."""

    def __init__(self, folder: Path | None = None) -> None:
        self.world = World()
        self.clock = FixedClock(AT)
        self.folder = folder
        self.sent: list[bytes] = []
        self.loses_answers = False
        self.loses_entries = False
        self.cosigners: int | None = None
        self.beacon = self.world.fleets.note(AT)
        self.publisher = self.start()

    def start(self, key: SigningKey = ED25519) -> FleetPublisher:
        """Return the publisher of a process that starts now."""
        self.publisher = FleetPublisher(
            self.world.root, key, append=self._append, fetch=self._fetch, folder=self.folder, clock=self.clock
        )
        return self.publisher

    def record(self, *nodes: FleetNode) -> FleetRecord:
        """Return a record of the epoch that it is."""
        return FleetRecord(self.beacon, tuple(sorted(nodes or (NODE,))))

    def turn(self) -> None:
        """Begin the next epoch."""
        self.clock.advance(EPOCH)
        self.beacon = self.world.fleets.note(self.clock())

    def in_effect(self) -> bytes:
        """Return the digest of the record that clients take."""
        log = self.world.root.fleet
        update = StateUpdate(
            TrustedLog(log.origin), self.world.root.witnesses, at=self.clock(), maximum_age=log.epoch, entries=2,
            firsts=Firsts.NEWEST,
        )  # fmt: skip
        return find_fleet(read(update, self.world.fleets.files(self.clock())).state, self.world.root).digest

    async def _append(self, entry: bytes) -> int:
        await anyio.lowlevel.checkpoint()
        self.sent.append(entry)
        if entry not in self.world.fleets.entries and not self.loses_entries:
            self.world.fleets.append(entry, self.clock())
        if self.loses_answers or self.loses_entries:
            raise LostError("the answer was lost")
        return self.world.fleets.entries.index(entry)

    async def _fetch(self, path: str) -> bytes | None:
        await anyio.lowlevel.checkpoint()
        note = self.world.fleets.note(self.clock(), witnesses=self.cosigners)
        return self.world.fleets.files(self.clock(), note=note).get(path)


async def test_the_record_of_an_epoch_is_in_effect_when_it_is_published() -> None:
    router = Router()
    await router.publisher.begin()
    assert router.publisher.current is None
    record = router.record()
    assert not router.publisher.is_done(record.beacon)
    await router.publisher.publish(record)
    digest = sha256(record.encode()).digest()
    assert router.in_effect() == digest
    assert router.publisher.current == router.publisher.find(digest) == record.encode()
    assert router.publisher.is_done(record.beacon)
    assert router.publisher.find(bytes(32)) is None


async def test_the_same_statement_is_sent_again_after_a_lost_answer() -> None:
    """Also when the nodes have changed meanwhile: the first one may be in the log."""
    router = Router()
    router.loses_answers = True
    with pytest.raises(LostError):
        await router.publisher.publish(router.record())
    assert router.publisher.current is None
    assert router.publisher.find(router.in_effect()) is not None  # whoever reads the log finds its record
    router.loses_answers = False
    router.clock.advance(timedelta(seconds=7))
    await router.publisher.publish(router.record(NODE, OTHER))
    assert len(set(router.sent)) == 1
    assert router.world.fleets.size == 1
    assert router.publisher.current == router.record(NODE).encode()


async def test_the_next_epoch_has_a_statement_of_its_own() -> None:
    router = Router()
    router.loses_entries = True
    with pytest.raises(LostError):
        await router.publisher.publish(router.record())
    router.loses_entries = False
    router.turn()
    await router.publisher.publish(record := router.record(OTHER))
    assert len(set(router.sent)) == 2
    assert router.in_effect() == sha256(record.encode()).digest()


async def test_the_newest_sixteen_records_are_served_and_kept(tmp_path: Path) -> None:
    router = Router(tmp_path / "records")
    digests = []
    for _ in range(18):
        await router.publisher.publish(record := router.record())
        digests.append(sha256(record.encode()).digest())
        router.turn()
    assert [router.publisher.find(each) is not None for each in digests] == [False] * 2 + [True] * 16
    kept = {path.stem for path in (tmp_path / "records").glob("*.fleet")}
    assert {each.hex() for each in digests[2:]} <= kept


async def test_the_record_in_effect_is_served_however_often_the_next_one_fails(tmp_path: Path) -> None:
    router = Router(tmp_path)
    await router.publisher.publish(record := router.record())
    router.loses_entries = True
    for _ in range(20):
        router.turn()
        with pytest.raises(LostError):
            await router.publisher.publish(router.record())
    digest = sha256(record.encode()).digest()
    assert router.publisher.current == router.publisher.find(digest) == record.encode()
    assert len(list(tmp_path.glob("*.fleet"))) <= 17


# --- Starting anew ----------------------------------------------------------------------------------------------------


async def test_a_router_that_starts_anew_serves_the_record_that_it_kept(tmp_path: Path) -> None:
    router = Router(tmp_path)
    await router.publisher.publish(record := router.record())
    publisher = router.start()
    await publisher.begin()
    assert publisher.current == record.encode()
    assert publisher.is_done(record.beacon)


@pytest.mark.parametrize("damage", ["folder", "record", "part"])
async def test_a_router_without_the_record_of_this_epoch_waits_for_the_next(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router(None if damage == "folder" else tmp_path)
    await router.publisher.publish(record := router.record())
    for file in tmp_path.glob("*.fleet"):
        if damage == "part":
            file.write_bytes(record.encode()[:-1])  # a process was killed, and the disk had no more of it
        else:
            file.unlink()
    publisher = router.start()
    with caplog.at_level(logging.WARNING):
        await publisher.begin()
    assert publisher.current is None
    assert publisher.is_done(router.beacon)
    assert "waiting for the next epoch" in caplog.text
    router.turn()
    assert not publisher.is_done(router.beacon)
    await publisher.publish(record := router.record(OTHER))
    assert router.in_effect() == sha256(record.encode()).digest()


async def test_a_router_that_was_killed_while_it_sent_sends_the_same_statement(tmp_path: Path) -> None:
    """Its log had no quorum when it died, so nobody could see the entry yet."""
    router = Router(tmp_path)
    await router.publisher.publish(router.record())
    router.turn()
    router.loses_entries = True
    with pytest.raises(LostError):
        await router.publisher.publish(first := router.record())
    publisher = router.start()
    await publisher.begin()
    assert not publisher.is_done(router.beacon)
    assert publisher.find(sha256(first.encode()).digest()) == first.encode()
    router.loses_entries = False
    router.clock.advance(timedelta(seconds=30))
    await publisher.publish(router.record(NODE, OTHER))
    assert router.sent[-1] == router.sent[-2]
    assert publisher.current == first.encode()
    assert router.in_effect() == sha256(first.encode()).digest()


async def test_a_statement_that_was_sent_with_a_key_of_before_is_not_sent_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router(tmp_path)
    await router.publisher.publish(router.record())
    sent = (tmp_path / "sent").read_bytes()
    router.world = World()
    router.world.root = evolve(router.world.root, statements=StatementPolicy(_rules(router.world, STRANGER)))
    publisher = router.start(STRANGER)
    with caplog.at_level(logging.WARNING):
        await publisher.begin()
    assert "dropped" in caplog.text
    await publisher.publish(router.record())
    assert router.sent[-1] != sent
    assert router.in_effect() == sha256(router.record().encode()).digest()


def _rules(world: World, key: Ed25519PrivateKey) -> dict[str, StatementRule]:
    """Return the rules of a root whose operator has another key."""
    signers = (DsseKey.of("operator", key),)
    return {type_: evolve(rule, signers=signers) for type_, rule in world.root.statements.rules.items()}


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
async def test_a_damaged_file_of_what_was_sent_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    router = Router(tmp_path)
    (tmp_path / "sent").write_bytes(content)
    await router.publisher.begin()
    await router.publisher.publish(router.record())
    assert router.publisher.is_done(router.beacon)


async def test_a_log_whose_fleets_clients_refuse_is_mended_by_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two records of one epoch: who refused to start over them would leave clients without a fleet for ever."""
    router = Router(tmp_path)
    router.world.add_fleet(AT, NODE, beacon=router.beacon)
    router.world.add_fleet(AT, OTHER, beacon=router.beacon)
    with caplog.at_level(logging.WARNING):
        await router.publisher.begin()
    assert "follow each other too soon" in caplog.text
    assert router.publisher.current is None
    assert router.publisher.is_done(router.beacon)  # a third one would make it no better
    router.turn()
    await router.publisher.publish(record := router.record())
    assert router.in_effect() == sha256(record.encode()).digest()


async def test_a_log_that_ends_with_something_else_is_mended_by_two_records(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router(tmp_path)
    router.world.fleets.append(b"{}", AT)
    with caplog.at_level(logging.WARNING):
        await router.publisher.begin()
    assert "clients refuse" in caplog.text
    for _ in range(2):
        router.turn()
        await router.publisher.publish(router.record())
    assert router.in_effect() == sha256(router.record().encode()).digest()


async def test_a_log_that_no_quorum_stands_by_stops_the_start() -> None:
    router = Router()
    await router.publisher.publish(router.record())
    router.cosigners = 1
    with pytest.raises(UncosignedError):
        await router.start().begin()


# --- What is never sent -----------------------------------------------------------------------------------------------


async def test_a_statement_that_clients_would_refuse_is_never_sent(tmp_path: Path) -> None:
    router = Router(tmp_path)
    publisher = router.start(STRANGER)
    with pytest.raises(VerificationError):
        await publisher.publish(router.record())
    assert router.sent == []
    assert list(tmp_path.iterdir()) == []


async def test_a_record_that_cannot_be_kept_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    router = Router(tmp_path / "file")
    with pytest.raises(BackendError, match="cannot be kept"):
        await router.publisher.publish(router.record())
    assert router.sent == []


async def test_a_record_that_cannot_be_read_is_no_missing_record(tmp_path: Path) -> None:
    router = Router(tmp_path)
    await router.publisher.publish(router.record())
    (file,) = tmp_path.glob("*.fleet")
    file.unlink()
    file.mkdir()
    with pytest.raises(BackendError, match="cannot be read"):
        await router.start().begin()


async def test_a_busy_log_is_for_the_caller_to_ask_again() -> None:
    router = Router()

    async def busy(entry: bytes) -> int:
        raise BusyError("too many wait")

    publisher = FleetPublisher(
        router.world.root, ED25519, append=busy, fetch=router._fetch, folder=None, clock=router.clock
    )
    with pytest.raises(BusyError):
        await publisher.publish(router.record())
    assert publisher.current is None
    assert not publisher.is_done(router.beacon)
