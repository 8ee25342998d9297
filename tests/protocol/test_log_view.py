"""What is shown of the logs of a Proof: everything that proves them, or why they prove nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from attrs import evolve

from confsec.protocol.log_view import logs_to_json, view_logs
from confsec.protocol.merkle import leaf_hash, verify_inclusion
from confsec.protocol.service_logs import LoggedDirectory, ServiceLogs
from tests.protocol.log_world import DAY, EPOCH, World
from tests.protocol.service import NOW
from tests.recorded.make_logged_proof import make_logged_proof


def logs_of(world: World | None = None) -> ServiceLogs:
    logs = make_logged_proof(world).contents.logs
    assert logs is not None
    return logs


def test_each_entry_is_shown_with_the_hashes_that_prove_it() -> None:
    logs = logs_of()
    for view, state in zip(view_logs(logs), (logs.directory.state, logs.fleet), strict=True):
        assert [entry.index for entry in view.entries] == [1, 0]
        for entry, logged in zip(view.entries, reversed(state.entries), strict=True):
            assert entry.leaf_hash == leaf_hash(logged.data)
            verify_inclusion(entry.leaf_hash, entry.index, view.size, entry.hashes, view.root_hash)


def test_since_when_a_directory_is_known_is_shown_and_of_a_fleet_its_checkpoint_says_it() -> None:
    directory, fleet = view_logs(logs_of())
    assert [entry.known_since for entry in directory.entries] == [NOW - 2 * DAY, NOW - 9 * DAY]
    assert [entry.known_since for entry in fleet.entries] == [None, None]


def test_a_witness_that_said_nothing_is_shown_too() -> None:
    logs = logs_of()
    world = World()
    world.directories.entries.extend(entry.data for entry in logs.directory.state.entries)
    state = evolve(logs.directory.state, checkpoint=world.directories.note(NOW, witnesses=2))
    directory, _ = view_logs(evolve(logs, directory=LoggedDirectory(logs.root, state)))
    assert [(each.name, each.kind, each.cosigned) for each in directory.witnesses] == [
        ("w1", "ED25519", NOW), ("w2", "ED25519", NOW), ("w3", "ED25519", None),
    ]  # fmt: skip
    assert directory.to_json()["witnesses"] == [
        {"name": "w1", "key": "ED25519", "cosigned": "2030-01-01T00:00:00Z"},
        {"name": "w2", "key": "ED25519", "cosigned": "2030-01-01T00:00:00Z"},
        {"name": "w3", "key": "ED25519", "cosigned": None},
    ]


def test_of_a_log_that_does_not_verify_only_the_reason_is_shown() -> None:
    logs = logs_of()
    directory, fleet = view_logs(evolve(logs, fleet=evolve(logs.fleet, entries=logs.fleet.entries[:1])))
    assert directory.error == ""
    assert "newer entries" in fleet.error
    assert set(fleet.to_json()) == {"origin", "error"}


def test_the_json_of_the_logs_names_the_root_by_its_digest() -> None:
    logs = logs_of()
    value = logs_to_json(logs)
    assert value["root"] == {"name": "service.example", "digest": logs.root.digest.hex(), "hasty": []}
    assert set(value) == {"root", "directory", "fleet"}
    assert datetime(2030, 1, 1, tzinfo=UTC) + EPOCH == logs.fleet_in_effect.epoch.began
