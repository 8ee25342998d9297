"""The log role: it appends, is cosigned, and serves what readers verify."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from confsec.errors import ConfigError
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_checkpoint, verify_logged
from tests.roles.log_cases import ORIGIN, POLICY, append, get, log_running, witnesses_running

pytestmark = pytest.mark.anyio


async def test_an_entry_is_appended_and_proved_once_a_quorum_has_seen_it(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network) as (_, log):
        assert await append(log, b"one") == (200, b"0\n")
        status, proof = await append(log, b"two", "?wait=cosigned")
        assert status == 200
        read = TlogProof.decode(proof)
        cosigned = verify_logged(b"two", read, POLICY, origin=ORIGIN)
        assert (read.index, cosigned.checkpoint.size) == (1, 2)
        assert await append(log, b"one") == (200, b"0\n")


async def test_what_is_published_has_a_quorum_and_the_newest_stays_without_one(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network) as (role, log):
        await append(log, b"one", "?wait=cosigned")
        network.down = {"w1", "w2"}
        assert await append(log, b"two") == (200, b"1\n")
        while not role.publisher.error:
            await anyio.sleep(0.01)
        _, fields, note = await get(log, "checkpoint")
        assert fields["content-type"] == "text/plain; charset=utf-8"
        assert verify_checkpoint(note, POLICY, origin=ORIGIN).checkpoint.size == 1
        status = json.loads((await get(log, "status"))[2])
        assert (status["size"], status["cosigned_size"]) == (2, 1)
        assert status["not_cosigned"] == {"first": 1, "last": 1}
        assert [bool(each["error"]) for each in status["witnesses"]] == [True, True, False]
        network.down = set()
        await role.publisher.wait_cosigned(1)
        assert verify_checkpoint((await get(log, "checkpoint"))[2], POLICY, origin=ORIGIN).checkpoint.size == 2


async def test_a_quiet_log_is_cosigned_again(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network, recosign_seconds=0.05):
        while network.asked.count("w1") < 4:
            await anyio.sleep(0.01)


async def test_a_state_log_keeps_the_proof_under_the_first_checkpoint_with_an_entry(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network, keep_proofs=True) as (_, log):
        proofs = [(await append(log, b"%d" % number, "?wait=cosigned"))[1] for number in range(3)]
        for number, proof in enumerate(proofs):
            status, fields, kept = await get(log, f"proof/{number}")
            assert (status, kept) == (200, proof)
            assert "immutable" in fields["cache-control"]
            verified = verify_logged(b"%d" % number, TlogProof.decode(kept), POLICY, origin=ORIGIN)
            assert verified.checkpoint.size == number + 1
        assert (await append(log, b"0", "?wait=cosigned"))[1] == proofs[0]


async def test_a_log_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        for first in (0, 300, 600):
            async with log_running(tmp_path, network) as (role, log):
                async with anyio.create_task_group() as tasks:
                    for number in range(first, first + 300):
                        tasks.start_soon(role.writer.append, b"%d" % number)
                await role.publisher.wait_cosigned(first + 299)
                place = await role.writer.append(b"299")
                assert place < 300
                assert await append(log, b"299") == (200, b"%d\n" % place)
                assert role.writer.tree.size == first + 300


async def test_a_log_says_what_it_takes(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        with pytest.raises(ConfigError, match="statement policy"):
            async with log_running(tmp_path, network, unsafe_any_entry=False):
                pass
