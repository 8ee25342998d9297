"""A log with the root of its service: it refuses what clients would refuse, while that can still be mended."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve

from confsec.backends.asgi import AsgiTransport
from confsec.errors import ConfigError
from confsec.protocol.log_root import LogRoot
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.predicates import DirectoryStatement, FleetStatement
from confsec.protocol.statement import Subject
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.testing import FixedClock
from tests.protocol.log_world import AT, CONFIG, DAY, EPOCH, HOUR, NAME, World, directory, signed, world_log
from tests.protocol.token_keys import ED25519
from tests.roles.log_cases import LOG, ORIGIN, append, get, log_running, policy_text, witnesses_running

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


def make_root(kind: str, *, signer: str = LOG.key.encode()) -> LogRoot:
    """Return a root whose log of this kind is the one that runs."""
    root = World().root
    other = world_log("service.example/other", 14)
    policy = policy_text().replace(LOG.key.encode(), signer) + f"log {other.signer.key.encode()}\n"
    return evolve(
        root, witnesses=WitnessPolicy.decode(policy.encode()), artifacts="",
        directory=evolve(root.directory, origin=ORIGIN if kind == "directory" else other.origin),
        fleet=evolve(root.fleet, origin=ORIGIN if kind == "fleet" else other.origin),
    )  # fmt: skip


def settings(folder: Path, kind: str, **more: Any) -> dict[str, Any]:
    """Return the settings of a log that has a root file, and nothing else that says what it takes."""
    file = folder / "root.toml"
    file.write_text(make_root(kind).to_toml())
    return {"unsafe_any_entry": False, "config": {"root": str(file), **more}}


def said(clock: FixedClock, *, key_id: int = 4) -> bytes:
    text = directory(evolve(CONFIG, key_id=key_id)).to_toml()
    return signed(DirectoryStatement(issued=clock(), valid_until=clock() + 30 * DAY, directory=text))


def fleet(beacon: bytes, clock: FixedClock, *, nodes: int = 1) -> bytes:
    statement = FleetStatement(issued=clock(), valid_until=clock() + HOUR, beacon=beacon, nodes=nodes)
    subject = Subject(NAME, sha256(bytes([nodes])).digest())
    return statement.to_statement(subject).to_envelope().sign(ED25519).encode()


async def refused(log: AsgiTransport, entry: bytes, query: str = "") -> tuple[int, str]:
    status, body = await append(log, entry, query)
    return status, json.loads(body)["code"]


async def test_directories_follow_each_other_as_clients_want_it(tmp_path: Path) -> None:
    clock = FixedClock(AT)
    async with witnesses_running(tmp_path, clock=clock) as network:
        async with log_running(tmp_path, network, clock=clock, **settings(tmp_path, "directory")) as (_, log):
            assert (await append(log, first := said(clock), "?wait=cosigned"))[0] == 200
            assert (await get(log, "proof/0"))[0] == 200  # kept, as clients need it
            clock.advance(DAY)
            assert await append(log, first) == (200, b"0\n")
            assert await refused(log, said(clock)) == (409, "too_soon")
            early = said(clock)
            clock.advance(HOUR)
            assert await refused(log, early) == (403, "transparency")  # signed an hour ago
            assert await append(log, said(clock), "") == (200, b"1\n")
            clock.advance(SECOND)
            assert (await refused(log, said(clock, key_id=5)))[0] == 409
            assert (await refused(log, fleet(b"beacon", clock)))[0] == 403
        # What is in the log counts for the next process, too.
        async with log_running(tmp_path, network, clock=clock, **settings(tmp_path, "directory")) as (_, log):
            assert await refused(log, said(clock)) == (409, "too_soon")


async def test_of_two_directories_at_once_one_is_taken(tmp_path: Path) -> None:
    clock = FixedClock(AT)
    answers: list[int] = []
    async with (
        witnesses_running(tmp_path, clock=clock) as network,
        log_running(tmp_path, network, clock=clock, **settings(tmp_path, "directory")) as (_, log),
    ):

        async def send(key_id: int) -> None:
            answers.append((await append(log, said(clock, key_id=key_id)))[0])

        async with anyio.create_task_group() as tasks:
            for key_id in range(8):
                tasks.start_soon(send, key_id)
    assert sorted(answers) == [200, *[409] * 7]


async def test_an_epoch_of_the_log_has_one_fleet(tmp_path: Path) -> None:
    clock = FixedClock(AT)
    async with (
        witnesses_running(tmp_path, clock=clock) as network,
        log_running(tmp_path, network, clock=clock, **settings(tmp_path, "fleet")) as (_, log),
    ):
        with anyio.fail_after(20):
            while (beacon := await get(log, "beacon"))[0] != 200:
                await anyio.sleep(0.02)
        assert (await append(log, first := fleet(beacon[2], clock), "?wait=cosigned"))[0] == 200
        assert await refused(log, fleet(beacon[2], clock, nodes=2)) == (409, "already_logged")
        assert await append(log, first) == (200, b"0\n")
        clock.advance(EPOCH / 2 - SECOND)
        assert (await refused(log, said(clock)))[0] == 403
        uncosigned = b"\n".join(beacon[2].split(b"\n")[:5]) + b"\n"
        assert await refused(log, fleet(uncosigned, clock)) == (403, "log_uncosigned")


async def test_settings_that_do_not_go_with_the_root_stop_the_start(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        other = Signer(ORIGIN, KeyType.ED25519, bytes(32)).key.encode()
        for root, config, why in (
            (World().root, {}, "no state log"),
            (make_root("directory"), {"unsafe_any_entry": True}, "and not both"),
            (make_root("fleet"), {"epoch_seconds": 60}, "epoch_seconds"),
            (make_root("fleet"), {"root": str(tmp_path / "missing")}, "cannot be read"),
            (make_root("directory", signer=other), {}, "another key"),
        ):
            (tmp_path / "root.toml").write_text(root.to_toml())
            made = {"root": str(tmp_path / "root.toml"), "unsafe_any_entry": False, **config}
            with pytest.raises(ConfigError, match=why):
                async with log_running(tmp_path, network, config=made):
                    pass
