"""What a monitor says of the whole history of directories and fleets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from confsec.errors import DecodeError
from confsec.protocol import cbor
from confsec.protocol.fleet import FleetNode
from confsec.protocol.monitoring import AlertKind
from confsec.protocol.service_history import (
    MAX_AWAITED,
    AwaitedRecord,
    ServiceHistory,
    judge_directory,
    judge_fleet,
    read_awaited,
)
from confsec.protocol.tree_reader import LoggedEntry
from tests.protocol.log_world import AT, CONFIG, DAY, EPOCH, HOUR, World, directory

NODE = FleetNode(b"n" * 32, b"e" * 32, 0)
SECOND = timedelta(seconds=1)
WHOLE = ServiceHistory(
    known=AT, issued=AT, began=AT, nodes=3, records_from=7, awaited=(AwaitedRecord(7, b"d" * 32, b"beacon", 3),)
)


def fleets(world: World, *, root: bool = True) -> tuple[ServiceHistory, list[AlertKind]]:
    """Judge all fleets of a world."""
    history, kinds = ServiceHistory(), list[AlertKind]()
    for index, data in enumerate(world.fleets.entries):
        history, found = judge_fleet(history, LoggedEntry(index, data), world.root if root else None)
        kinds += [each.kind for each in found]
    return history, kinds


def directories(world: World, *known: Any) -> tuple[ServiceHistory, list[AlertKind]]:
    history, kinds = ServiceHistory(), list[AlertKind]()
    for index, (data, at) in enumerate(zip(world.directories.entries, known, strict=True)):
        history, found = judge_directory(history, LoggedEntry(index, data), at, world.root)
        kinds += [each.kind for each in found]
    return history, kinds


# --- Fleets


def test_fleets_half_an_epoch_apart_with_as_many_nodes_are_no_news() -> None:
    world = World()
    for step in range(3):
        world.add_fleet(AT + step * EPOCH / 2, NODE)
    history, kinds = fleets(world)
    assert kinds == []
    assert (history.began, history.nodes) == (AT + EPOCH, 1)


def test_a_fleet_of_a_moment_is_told_also_when_others_followed() -> None:
    world = World()
    world.add_fleet(AT, NODE)
    world.add_fleet(AT + EPOCH / 2 - SECOND, NODE)
    world.add_fleet(AT + 2 * EPOCH, NODE)
    assert fleets(world)[1] == [AlertKind.UNTIMELY]
    assert fleets(world, root=False)[1] == []


def test_another_number_of_nodes_is_told() -> None:
    world = World()
    world.add_fleet(AT, NODE)
    world.add_fleet(AT + EPOCH, NODE, evolve(NODE, node_id=b"m" * 32))
    for root in (True, False):
        assert fleets(world, root=root)[1] == [AlertKind.NODES]
    _, found = judge_fleet(ServiceHistory(nodes=1), LoggedEntry(1, world.fleets.entries[1]), None)
    assert found[0].details == {"index": 1, "before": 1, "nodes": 2}


def test_a_fleet_that_clients_refuse_is_told_and_its_time_not_believed() -> None:
    world = World()
    world.add_fleet(AT, NODE)
    world.add_fleet(AT + EPOCH, NODE, beacon=b"no checkpoint")
    world.fleets.append(b"no statement", AT + EPOCH)
    history, kinds = fleets(world)
    assert kinds == [AlertKind.REFUSED] * 2
    assert history.began == AT
    assert fleets(world, root=False)[1] == []


def test_only_a_fleet_statement_speaks_of_a_record() -> None:
    world = World()
    world.add_fleet(AT, NODE)
    world.add_directory(directory(), AT)
    awaited = read_awaited(LoggedEntry(4, world.fleets.entries[0]))
    assert awaited is not None
    assert (awaited.index, awaited.nodes) == (4, 1)
    assert read_awaited(LoggedEntry(0, world.directories.entries[0])) is None
    assert read_awaited(LoggedEntry(0, b"nothing")) is None


# --- Directories


def test_directories_a_day_apart_are_no_news() -> None:
    world = World()
    world.add_directory(directory(), AT)
    world.add_directory(directory(evolve(CONFIG, key_id=4)), AT + DAY)
    assert directories(world, AT + HOUR, AT + DAY + HOUR)[1] == []


def test_a_directory_of_less_than_a_day_and_a_late_one_are_told() -> None:
    world = World()
    world.add_directory(directory(), AT)
    world.add_directory(directory(evolve(CONFIG, key_id=4)), AT + HOUR)
    assert directories(world, AT, AT + DAY - SECOND)[1] == [AlertKind.UNTIMELY] * 2
    assert directories(world, AT, AT + HOUR)[1] == [AlertKind.UNTIMELY]
    assert directories(world, AT + HOUR + SECOND, AT + 30 * HOUR)[1] == [AlertKind.UNTIMELY] * 2


def test_an_old_directory_that_came_back_and_what_is_no_directory_are_not_late() -> None:
    world = World()
    world.add_directory(directory(), AT + DAY)
    world.add_directory(directory(evolve(CONFIG, key_id=4)), AT)
    world.directories.append(b"nothing", AT + 3 * DAY)
    history, kinds = directories(world, AT + DAY, AT + 2 * DAY, AT + 3 * DAY)
    assert kinds == []  # others refuse them
    assert history.issued == AT + DAY


# --- What is remembered


@pytest.mark.parametrize("history", [WHOLE, ServiceHistory()])
def test_a_history_is_remembered(history: ServiceHistory) -> None:
    assert ServiceHistory.from_item(cbor.decode(cbor.encode(history.to_item()), what="it", limit=9999)) == history


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("known", 253_402_300_800),
        ("known", -1),
        ("nodes", "3"),
        ("awaited", [[1, b"d" * 32, b""]]),
        ("awaited", [[1, b"d" * 31, b"", 1]]),
        ("awaited", [[1, b"d" * 32, b"", 1]] * (MAX_AWAITED + 1)),
        ("another", 1),
    ],
)
def test_a_damaged_history_is_refused(name: str, value: cbor.CborValue) -> None:
    item = WHOLE.to_item()
    assert isinstance(item, dict)
    with pytest.raises(DecodeError):
        ServiceHistory.from_item({**item, name: value})
