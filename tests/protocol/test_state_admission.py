"""What a state log refuses under a root, before it is in the log for good."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from attrs import evolve

from confsec.errors import ConfigError, ConfsecError, TransparencyError, UncosignedError, VerificationError
from confsec.protocol.fleet import FleetNode
from confsec.protocol.log_admission import AlreadyLoggedError
from confsec.protocol.predicates import DirectoryStatement, FleetStatement
from confsec.protocol.state_admission import MAXIMUM_AGE, WITNESS_CLOCKS, StateAdmission, TooSoonError
from confsec.protocol.statement import Subject
from tests.protocol.log_world import AT, CONFIG, DAY, EPOCH, HOUR, NAME, World, directory, signed, world_log
from tests.protocol.token_keys import ED25519, OTHER

NODE = FleetNode(b"n" * 32, b"e" * 32, 0)
SECOND = timedelta(seconds=1)
NEXT = AT + DAY + WITNESS_CLOCKS
"""When the second directory may come."""


def judge(world: World, entry: bytes, at: datetime) -> None:
    """Have the log of directories judge an entry that comes now."""
    log = world.directories
    proof = log.files(at).get(f"proof/{log.size - 1}")
    admission = StateAdmission(world.root, origin=log.origin)
    admission.verify(entry, index=log.size, before=tuple(log.entries), proof=proof, at=at)


def judge_fleet(world: World, entry: bytes, at: datetime) -> None:
    log = world.fleets
    admission = StateAdmission(world.root, origin=log.origin)
    admission.verify(entry, index=log.size, before=tuple(log.entries), proof=None, at=at)


def statement(issued: datetime, *, valid: timedelta = 30 * DAY, key_id: int = 4, name: str = NAME) -> bytes:
    text = directory(evolve(CONFIG, key_id=key_id)).to_toml()
    return signed(DirectoryStatement(issued=issued, valid_until=issued + valid, directory=text), name)


def fleet(beacon: bytes, at: datetime, *, nodes: int = 1) -> bytes:
    said = FleetStatement(issued=at, valid_until=at + HOUR, beacon=beacon, nodes=nodes)
    return said.to_statement(Subject(NAME, bytes([nodes]) * 32)).to_envelope().sign(ED25519).encode()


# --- Directories ------------------------------------------------------------------------------------------------------


def test_the_first_directory_is_taken_at_once_and_the_next_after_a_day() -> None:
    world = World()
    judge(world, statement(AT), AT)
    judge(world, statement(AT, valid=SECOND), AT)  # in effect at once, if only for a second
    world.add_directory(directory(), AT)
    judge(world, statement(NEXT), NEXT)
    with pytest.raises(TooSoonError, match="newest for longer") as caught:
        judge(world, statement(NEXT - SECOND), NEXT - SECOND)
    assert "2026-11-29 07:01:00 UTC" in str(caught.value)


def test_a_directory_that_no_quorum_has_seen_is_followed_by_none() -> None:
    world = World()
    world.directories.entries.append(statement(AT))
    with pytest.raises(TooSoonError, match="no quorum"):
        judge(world, statement(NEXT), NEXT)


def test_a_root_without_a_minimum_validity_needs_no_proof() -> None:
    world = World(validity=timedelta(0))
    world.directories.entries.append(statement(AT))
    judge(world, statement(AT + SECOND), AT + SECOND)


def test_a_first_checkpoint_that_clients_do_not_count_is_none() -> None:
    world = World()
    world.add_directory(directory(), AT)
    world.directories.firsts[0] = world.directories.note(AT, witnesses=1)
    with pytest.raises(UncosignedError):
        judge(world, statement(NEXT), NEXT)


def test_a_directory_is_appended_within_half_an_hour() -> None:
    world = World()
    judge(world, statement(AT), AT + MAXIMUM_AGE)
    with pytest.raises(TransparencyError, match="too long ago"):
        judge(world, statement(AT), AT + MAXIMUM_AGE + SECOND)


@pytest.mark.parametrize("back", [timedelta(0), SECOND])
def test_a_directory_is_issued_after_all_before(back: timedelta) -> None:
    world = World()
    world.directories.append(statement(NEXT), AT)
    world.directories.append(statement(AT), AT)
    with pytest.raises(AlreadyLoggedError, match="issued later"):
        judge(world, statement(NEXT - back, key_id=5), NEXT)


@pytest.mark.parametrize("entry", [b"junk", statement(NEXT + DAY).replace(b'"sig":"', b'"sig":"AAAA')])
def test_what_clients_count_as_no_directory_has_no_time(entry: bytes) -> None:
    world = World()
    world.directories.append(entry, AT)
    judge(world, statement(NEXT), NEXT)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (statement(NEXT, valid=HOUR), "ends before it takes effect"),
        (statement(NEXT - 2 * SECOND, valid=SECOND), "has ended"),
        (statement(NEXT + HOUR), "in the future"),
        (signed(DirectoryStatement(issued=NEXT, valid_until=NEXT + DAY, directory="relay = 1")), "cannot read"),
        (fleet(World().fleets.note(NEXT), NEXT), "another type"),
        (statement(NEXT, name="other"), "about something else"),
    ],
    ids=["too short", "over", "future", "unreadable", "fleet", "other service"],
)  # fmt: skip
def test_a_directory_that_clients_would_refuse_is_refused(entry: bytes, why: str) -> None:
    world = World()
    world.add_directory(directory(), AT)
    judge(world, statement(NEXT), NEXT)
    with pytest.raises(TransparencyError, match=why):
        judge(world, entry, NEXT)


def test_a_directory_of_a_stranger_is_refused() -> None:
    said = DirectoryStatement(issued=AT, valid_until=AT + DAY, directory=directory().to_toml())
    entry = said.about("service.example").to_envelope().sign(OTHER).encode()
    with pytest.raises(VerificationError):
        judge(World(), entry, AT)


# --- Fleets -----------------------------------------------------------------------------------------------------------


def test_a_fleet_follows_after_half_an_epoch() -> None:
    world = World()
    judge_fleet(world, fleet(world.fleets.note(AT), AT), AT)
    world.add_fleet(AT, NODE)
    later = AT + EPOCH / 2
    judge_fleet(world, fleet(world.fleets.note(later), later), later)
    with pytest.raises(TooSoonError, match="too soon") as caught:
        judge_fleet(world, fleet(world.fleets.note(later - SECOND), later), later)
    assert (caught.value.status_hint, caught.value.code) == (409, "too_soon")
    assert "next epoch" in str(caught.value)


def test_an_epoch_has_one_fleet() -> None:
    world = World()
    beacon = world.fleets.note(AT)
    world.add_fleet(AT, NODE, beacon=beacon)
    with pytest.raises(AlreadyLoggedError, match="fleet of this epoch") as caught:
        judge_fleet(world, fleet(beacon, AT, nodes=2), AT)
    assert "fleet_records" in str(caught.value)


def test_a_beacon_that_no_quorum_cosigned_is_refused() -> None:
    world = World()
    with pytest.raises(UncosignedError):
        judge_fleet(world, fleet(world.fleets.note(AT, witnesses=1), AT), AT)


def test_a_beacon_of_a_larger_tree_is_refused() -> None:
    """A log that was begun anew from an old copy of its files."""
    world = World()
    beacon = world_log(world.fleets.origin, 12, entries=[b"one"]).note(AT)
    with pytest.raises(TransparencyError, match="larger tree"):
        judge_fleet(world, fleet(beacon, AT), AT)


@pytest.mark.parametrize(
    "last", [b"junk", statement(AT), fleet(World().fleets.note(AT + DAY, witnesses=1), AT + DAY)],
    ids=["junk", "directory", "no quorum"],
)  # fmt: skip
def test_a_log_that_ends_with_no_fleet_of_an_epoch_is_mended_by_the_next(last: bytes) -> None:
    world = World()
    world.fleets.append(last, AT)
    judge_fleet(world, fleet(world.fleets.note(AT), AT), AT)


def test_a_directory_is_no_fleet() -> None:
    with pytest.raises(ConfsecError, match="another type"):
        judge_fleet(World(), statement(AT), AT)


# --- Which log --------------------------------------------------------------------------------------------------------


def test_only_a_state_log_of_the_root_has_these_rules() -> None:
    world = World()
    assert StateAdmission(world.root, origin=world.fleets.origin).is_fleet
    assert not StateAdmission(world.root, origin=world.directories.origin).is_fleet
    with pytest.raises(ConfigError, match="no state log"):
        StateAdmission(world.root, origin=world.artifacts.origin)
