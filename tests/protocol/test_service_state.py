"""Which directory and fleet are in effect, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from attrs import evolve

from confsec.errors import (
    ConfsecError,
    DecodeError,
    ForkedLogError,
    LocalProtocolError,
    RolledBackLogError,
    StaleLogError,
    TransparencyError,
    UncosignedError,
    VerificationError,
)
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.log_state import LogState
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.predicates import DirectoryStatement
from confsec.protocol.service_state import find_directory, find_fleet, read_epoch
from confsec.protocol.state_reader import Firsts, StateNews, StateUpdate
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import TrustedLog
from tests.protocol.disguises import disguise
from tests.protocol.log_world import AT, CONFIG, DAY, EPOCH, HOUR, World, directory, read, signed, world_log

OTHER = directory(evolve(CONFIG, key_id=4))
NODE = FleetNode(b"n" * 32, b"e" * 32, 0)
MINUTE = timedelta(minutes=1)


def update(world: World, at: datetime, trusted: TrustedLog | None = None) -> StateUpdate:
    log = world.root.directory
    return StateUpdate(
        trusted or TrustedLog(log.origin), world.root.witnesses, at=at, maximum_age=log.maximum_age, entries=16,
        firsts=Firsts.ALL,
    )  # fmt: skip


def fleet_update(world: World, at: datetime, trusted: TrustedLog | None = None) -> StateUpdate:
    log = world.root.fleet
    return StateUpdate(
        trusted or TrustedLog(log.origin), world.root.witnesses, at=at, maximum_age=log.epoch, entries=2,
        firsts=Firsts.NEWEST,
    )  # fmt: skip


def state_of(world: World, at: datetime) -> LogState:
    return read(update(world, at), world.directories.files(at)).state


def fleet_of(world: World, at: datetime) -> StateNews:
    return read(fleet_update(world, at), world.fleets.files(at))


# --- Directories ------------------------------------------------------------------------------------------------------


def test_the_first_directory_is_in_effect_at_once() -> None:
    world = World()
    world.add_directory(directory(), AT)
    found = find_directory(state_of(world, AT), world.root)
    assert (found.directory, found.index, found.known_since) == (directory(), 0, AT)


def test_the_next_directory_takes_effect_after_the_delay() -> None:
    world = World()
    world.add_directory(directory(), AT)
    world.add_directory(OTHER, AT + 2 * DAY)
    before = find_directory(state_of(world, AT + 2 * DAY + HOUR - MINUTE), world.root)
    after = find_directory(state_of(world, AT + 2 * DAY + HOUR), world.root)
    assert (before.directory, after.directory) == (directory(), OTHER)
    assert (before.index, after.index) == (0, 1)


def test_a_directory_that_is_replaced_too_soon_stops_everybody() -> None:
    world = World()
    world.add_directory(directory(), AT)
    world.add_directory(OTHER, AT + DAY - MINUTE)
    with pytest.raises(TransparencyError, match="replaced too soon"):
        find_directory(state_of(world, AT + DAY), world.root)


def test_an_old_directory_does_not_come_back() -> None:
    """Whoever can append, and has what was logged before, brings no old key back."""
    world = World()
    world.directories.append(b"something that is no statement", AT - DAY)
    world.add_directory(directory(), AT)
    old = world.directories.entries[-1]
    world.add_directory(OTHER, AT + 2 * DAY)
    world.directories.append(old, AT + 4 * DAY)
    assert find_directory(state_of(world, AT + 4 * DAY), world.root).directory == OTHER
    with pytest.raises(TransparencyError, match="an old directory came back"):
        find_directory(state_of(world, AT + 4 * DAY + HOUR), world.root)
    world.add_directory(directory(), AT + 6 * DAY)  # whoever means it signs it anew
    assert find_directory(state_of(world, AT + 6 * DAY + HOUR), world.root).directory == directory()


def test_an_old_directory_in_disguise_neither_comes_back_nor_makes_others_old() -> None:
    """Whoever can append and has no key writes another statement beside the signed one: then it is none."""
    world = World()
    world.add_directory(directory(), AT)
    fake = DirectoryStatement(issued=AT + 900 * DAY, valid_until=AT + 901 * DAY, directory=OTHER.to_toml())
    world.directories.append(disguise(world.directories.entries[-1], signed(fake)), AT + 2 * DAY)
    with pytest.raises(DecodeError, match="more than an envelope"):
        find_directory(state_of(world, AT + 2 * DAY + HOUR), world.root)
    world.add_directory(OTHER, AT + 4 * DAY)
    assert find_directory(state_of(world, AT + 4 * DAY + HOUR), world.root).directory == OTHER


def test_the_newest_directory_counts_even_if_the_one_in_effect_is_shown() -> None:
    """An operator that logged both may not choose for each client which of them is true."""
    world = World()
    world.add_directory(directory(), AT)
    world.add_directory(OTHER, AT + 2 * DAY)
    state = state_of(world, AT + 3 * DAY)
    with pytest.raises(TransparencyError, match="newer entries"):
        find_directory(evolve(state, entries=state.entries[:1]), world.root)


def test_a_directory_known_for_too_short_a_time_is_none_without_one_before() -> None:
    world = World()
    for number in range(18):
        world.add_directory(directory(), AT + number * DAY)
    world.add_directory(OTHER, AT + 18 * DAY)
    state = read(
        StateUpdate(
            TrustedLog(world.directories.origin), world.root.witnesses, at=AT + 18 * DAY, maximum_age=DAY, entries=1,
            firsts=Firsts.ALL,
        ),
        world.directories.files(AT + 18 * DAY),
    ).state  # fmt: skip
    with pytest.raises(TransparencyError, match="no directory is in effect"):
        find_directory(state, world.root)


def test_a_directory_whose_time_is_over_is_refused() -> None:
    world = World()
    world.add_directory(directory(), AT)
    with pytest.raises(TransparencyError, match="a statement has ended"):
        find_directory(state_of(world, AT + 30 * DAY), world.root)


def test_a_first_checkpoint_of_another_entry_is_refused() -> None:
    world = World()
    world.add_directory(directory(), AT)
    world.add_directory(OTHER, AT + 2 * DAY)
    files = world.directories.files(AT + 3 * DAY)
    files["proof/1"] = files["proof/0"]
    state = read(update(world, AT + 3 * DAY), files).state
    with pytest.raises(TransparencyError, match="another's"):
        find_directory(state, world.root)


def test_a_first_checkpoint_of_long_after_is_refused() -> None:
    """Else an operator could have a directory take effect for everybody but one client."""
    world = World()
    world.add_directory(directory(), AT)
    world.add_directory(OTHER, AT + 2 * DAY)
    for delay, refused in ((HOUR, False), (HOUR + MINUTE, True)):
        files = world.directories.files(AT + 3 * DAY)
        files["proof/1"] = world.directories.proof(1, world.directories.note(AT + 2 * DAY + delay), 2)
        state = read(update(world, AT + 3 * DAY), files).state
        if refused:
            with pytest.raises(TransparencyError, match="kept from you"):
                find_directory(state, world.root)
        else:
            assert find_directory(state, world.root).directory == OTHER


def test_two_directories_of_one_second_are_no_way_around() -> None:
    world = World()
    world.add_directory(directory(), AT + 2 * DAY)
    world.directories.append(signed(statement_of(OTHER, AT + 2 * DAY)), AT + 4 * DAY)
    with pytest.raises(TransparencyError, match="kept from you"):
        find_directory(state_of(world, AT + 4 * DAY), world.root)
    world = World()
    world.add_directory(directory(), AT)
    world.directories.append(signed(statement_of(OTHER, AT)), AT + HOUR / 2)
    world.root = evolve(world.root, directory=evolve(world.root.directory, minimum_validity=timedelta(0)))
    with pytest.raises(TransparencyError, match="an old directory came back"):
        find_directory(state_of(world, AT + DAY), world.root)


def test_a_directory_of_a_moment_is_refused_when_it_is_over_too() -> None:
    """So that everybody hears of it, and not he alone for whom it was made."""
    world = World()
    world.add_directory(directory(), AT)
    world.add_directory(OTHER, AT + 2 * DAY)
    world.add_directory(directory(), AT + 2 * DAY + HOUR + MINUTE)
    with pytest.raises(TransparencyError, match="replaced too soon"):
        find_directory(state_of(world, AT + 3 * DAY), world.root)


def statement_of(directory_: ServiceDirectory, issued: datetime) -> DirectoryStatement:
    return DirectoryStatement(issued=issued, valid_until=issued + 30 * DAY, directory=directory_.to_toml())


def test_what_nobody_signed_is_not_kept() -> None:
    """It could mark one reader's copy, and with it all his Proofs."""
    world = World()
    world.add_directory(directory(), AT)
    files = world.directories.files(AT)
    stranger = Signer("mark.example", KeyType.ED25519, b"x" * 32)
    marked = SignedNote.decode(files["checkpoint"]).sign(stranger).encode()
    proof = evolve(TlogProof.decode(files["proof/0"]), extra=b"mark", checkpoint=marked).encode()
    plain = state_of(world, AT)
    assert read(update(world, AT), files | {"checkpoint": marked, "proof/0": proof}).state == plain
    for state in (
        evolve(plain, checkpoint=marked),
        evolve(plain, entries=(evolve(plain.entries[0], first=proof),)),
        evolve(plain, entries=(evolve(plain.entries[0], first=evolve(TlogProof.decode(proof), extra=b"").encode()),)),
    ):
        with pytest.raises(TransparencyError, match=r"more than its signatures|something beside it"):
            find_directory(state, world.root)


def test_a_checkpoint_with_lines_of_its_own_is_refused() -> None:
    world = World()
    world.add_directory(directory(), AT)
    log = world.directories
    note = SignedNote(Checkpoint(log.origin, 1, log.tree().root, ("mark",)).encode()).sign(log.signer)
    for witness in log.witnesses:
        note = note.sign(witness, at=AT)
    state = read(update(world, AT), log.files(AT, note=note.encode())).state
    with pytest.raises(TransparencyError, match="more than its signatures"):
        find_directory(state, world.root)


def test_a_state_with_a_gap_or_without_entries_is_refused() -> None:
    world = World()
    for number in range(3):
        world.add_directory(directory(), AT + number * DAY)
    state = state_of(world, AT + 3 * DAY)
    for entries in ((), (state.entries[0], state.entries[2])):
        with pytest.raises(TransparencyError, match=r"too few|gap"):
            find_directory(evolve(state, entries=entries), world.root)


# --- What nobody is shown ---------------------------------------------------------------------------------------------


def test_a_log_without_a_quorum_is_refused() -> None:
    world = World()
    world.add_directory(directory(), AT)
    files = world.directories.files(AT, note=world.directories.note(AT, witnesses=1))
    with pytest.raises(UncosignedError):
        read(update(world, AT), files)


def test_a_word_of_witnesses_that_is_too_old_is_refused() -> None:
    world = World()
    world.add_directory(directory(), AT)
    with pytest.raises(StaleLogError):
        read(update(world, AT + DAY + MINUTE), world.directories.files(AT))


def test_a_log_that_goes_back_is_refused() -> None:
    world = World()
    world.add_directory(directory(), AT)
    old = world.directories.files(AT + 2 * DAY)
    world.add_directory(OTHER, AT + 2 * DAY)
    trusted = read(update(world, AT + 2 * DAY), world.directories.files(AT + 2 * DAY)).trusted
    with pytest.raises(RolledBackLogError):
        read(update(world, AT + 2 * DAY, trusted), old)


def test_a_forked_log_is_refused() -> None:
    """Also when a quorum of witnesses was bought: what this reader saw is no part of the new tree."""
    world, forked = World(), World()
    world.add_directory(directory(), AT)
    trusted = read(update(world, AT), world.directories.files(AT)).trusted
    forked.add_directory(OTHER, AT)
    forked.add_directory(directory(), AT + DAY)
    reading = update(world, AT + DAY, trusted)
    with pytest.raises(ForkedLogError):
        read(reading, forked.directories.files(AT + DAY))
    assert reading.wanted == ()
    with pytest.raises(LocalProtocolError):
        reading.finish()


def test_what_is_asked_for_does_not_tell_what_is_remembered() -> None:
    world = World()
    seen: list[TrustedLog | None] = [None]
    at = AT
    for number in range(20):
        at = AT + number * DAY
        world.add_directory(directory(), at)
        seen.append(read(update(world, at), world.directories.files(at)).trusted)
    asked = []
    for trusted in seen:
        paths: list[str] = []
        read(update(world, at, trusted), world.directories.files(at), asked=paths)
        asked.append(paths)
    assert all(paths == asked[0] for paths in asked)


def test_a_long_log_is_read_by_what_leads_from_the_remembered_size() -> None:
    log = world_log("service.example/directory", 11, entries=[b"%d" % n for n in range(20_000)])
    world = World()
    world.directories = log
    log.append(b"last", AT)
    old = TrustedLog(log.origin, 300, log.tree(300).root, AT)
    files = log.files(AT) | {f"proof/{log.size - 1}": log.proof(log.size - 1, log.note(AT), log.size)}
    for trusted in (TrustedLog(log.origin), old):
        news = read(
            StateUpdate(
                trusted, world.root.witnesses, at=AT, maximum_age=DAY, entries=2, firsts=Firsts.NEWEST
            ),
            files,
        )  # fmt: skip
        assert news.trusted.size == 20_001
        assert [entry.data for entry in news.state.entries] == [b"19999", b"last"]


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1", "proof/0"])
def test_a_file_that_is_missing_or_another_is_refused(path: str) -> None:
    world = World()
    world.add_directory(directory(), AT)
    files = world.directories.files(AT)
    other = World()
    other.add_directory(OTHER, AT)
    without = {name: body for name, body in files.items() if name != path}
    with pytest.raises(TransparencyError):
        read(update(world, AT), without)
    for body in (b"", other.directories.files(AT)[path] + b"\n"):
        with pytest.raises(ConfsecError):
            find_directory(read(update(world, AT), without | {path: body}).state, world.root)


def test_a_log_with_nothing_in_it_says_nothing() -> None:
    world = World()
    reading = update(world, AT)
    assert not reading.is_empty
    with pytest.raises(TransparencyError, match="says nothing"):
        read(reading, world.directories.files(AT))
    assert reading.is_empty


def test_a_file_that_was_not_wanted_is_a_mistake_of_the_caller() -> None:
    world = World()
    with pytest.raises(LocalProtocolError):
        update(world, AT).receive("tile/0/000", b"")
    with pytest.raises(LocalProtocolError):
        update(world, AT).finish()


# --- Fleets and epochs ------------------------------------------------------------------------------------------------


def test_the_newest_fleet_is_in_effect_at_once() -> None:
    world = World()
    world.add_fleet(AT)
    record = world.add_fleet(AT + EPOCH, NODE)
    found = find_fleet(fleet_of(world, AT + EPOCH).state, world.root)
    assert found.epoch.began == AT + EPOCH
    assert found.epoch.witnesses == ("w1", "w2", "w3")
    assert found.check_record(record).nodes == (NODE,)


def test_the_state_of_a_fleet_is_the_same_whenever_it_is_read() -> None:
    world = World()
    world.add_fleet(AT, NODE)
    states = {fleet_of(world, AT + minutes * MINUTE).state.checkpoint for minutes in range(5)}
    assert len(states) == 1


def test_a_fleet_of_ones_own_is_refused() -> None:
    world = World()
    world.add_fleet(AT, NODE)
    found = find_fleet(fleet_of(world, AT).state, world.root)
    own = FleetRecord(found.epoch.beacon, (evolve(NODE, node_id=b"m" * 32),)).encode()
    with pytest.raises(TransparencyError, match="not the one in the log"):
        found.check_record(own)


def test_a_record_that_says_something_else_than_its_statement_is_refused() -> None:
    world = World()
    record = world.add_fleet(AT, NODE)
    found = find_fleet(fleet_of(world, AT).state, world.root)
    with pytest.raises(TransparencyError, match="something else"):
        evolve(found, statement=evolve(found.statement, nodes=2)).check_record(record)


def test_two_fleets_within_half_an_epoch_are_refused() -> None:
    world = World()
    world.add_fleet(AT, NODE)
    world.add_fleet(AT + EPOCH / 2 - timedelta(seconds=1), NODE)
    with pytest.raises(TransparencyError, match="follow each other too soon"):
        find_fleet(fleet_of(world, AT + EPOCH).state, world.root)
    world.add_fleet(AT + EPOCH, NODE)
    assert find_fleet(fleet_of(world, AT + EPOCH).state, world.root).epoch.began == AT + EPOCH


def test_the_fleet_before_has_to_be_shown() -> None:
    world = World()
    world.add_fleet(AT, NODE)
    world.add_fleet(AT + EPOCH, NODE)
    state = fleet_of(world, AT + EPOCH).state
    with pytest.raises(TransparencyError, match="before this one is missing"):
        find_fleet(evolve(state, entries=state.entries[-1:]), world.root)


def test_evidence_for_a_root_that_the_operator_computed_in_advance_is_refused() -> None:
    """It knows the tree that will be, and no witness's signature over it and its clock."""
    world = World()
    world.add_fleet(AT, NODE)
    for beacon in (world.fleets.note(AT, witnesses=0), world.fleets.note(AT, witnesses=1)):
        world.add_fleet(AT + EPOCH, NODE, beacon=beacon)
        with pytest.raises(UncosignedError):
            find_fleet(fleet_of(world, AT + EPOCH).state, world.root)


def test_a_beacon_that_is_newer_than_its_fleet_is_refused() -> None:
    world = World()
    world.add_fleet(AT, NODE)
    later = World()
    for number in range(3):
        later.add_fleet(AT + number * EPOCH, NODE)
    world.add_fleet(AT + EPOCH, NODE, beacon=later.fleets.note(AT + EPOCH))
    with pytest.raises(TransparencyError, match="newer than what follows"):
        find_fleet(fleet_of(world, AT + EPOCH).state, world.root)


def test_a_beacon_is_as_old_as_the_oldest_word_of_the_youngest_quorum() -> None:
    world = World()
    world.add_fleet(AT, NODE)
    epoch = read_epoch(world.fleets.note([AT, AT + MINUTE, AT + 2 * MINUTE]), world.root)
    assert epoch.began == AT + MINUTE  # two of three


def test_without_a_root_a_beacon_is_the_operators_clock() -> None:
    local = Epoch.local(1795849200)
    assert read_epoch(local.beacon, None) == local
    with pytest.raises(ConfsecError):
        read_epoch(local.beacon, World().root)
    with pytest.raises(DecodeError):
        read_epoch(World().fleets.note(AT), None)


def test_a_statement_of_somebody_else_is_no_fleet() -> None:
    world = World()
    world.fleets.append(b"{}", AT)
    with pytest.raises(DecodeError):
        find_fleet(fleet_of(world, AT).state, world.root)
    world = World()
    world.add_directory(directory(), AT)
    world.fleets.append(world.directories.entries[0], AT)
    with pytest.raises((TransparencyError, VerificationError)):
        find_fleet(fleet_of(world, AT).state, world.root)


# --- In a Proof -------------------------------------------------------------------------------------------------------


def test_a_state_is_read_as_it_was_written() -> None:
    world = World()
    world.add_directory(directory(), AT)
    world.add_directory(OTHER, AT + DAY)
    state = state_of(world, AT + DAY)
    assert LogState.from_item(state.to_item()) == state


@pytest.mark.parametrize("value", [[], [b""], [b"", [[]]], [b"", [[1, b"", [b"short"], b""]]], [b"", 1], [1, []], {}])
def test_a_state_of_another_form_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        LogState.from_item(value)  # type: ignore[arg-type]
