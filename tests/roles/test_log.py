"""The log role: it appends, is cosigned, and serves what readers verify."""

from __future__ import annotations

import gzip
import json
import threading
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve

from confsec.backends.api import HttpRequest
from confsec.backends.system import now
from confsec.errors import ConfigError
from confsec.protocol import statement_rules
from confsec.protocol.log_admission import LogAdmission
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.statement_policy import StatementPolicy
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_checkpoint, verify_logged
from tests.backends.object_store import running_object_store, s3_storage
from tests.protocol.statement_cases import AT, DIRECTORY, FLEET, REVOCATION
from tests.protocol.test_statement_policy import CHANGED, NAME, POLICY as POLICY_OF_STATEMENTS, sealed
from tests.protocol.token_keys import OTHER
from tests.roles.log_cases import (
    LOG,
    ORIGIN,
    POLICY,
    Network,
    append,
    get,
    log_running,
    policy_text,
    witnesses_running,
    write_private,
)
from tests.roles.support import read
from tests.support import needs_packages

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


async def test_witnesses_are_not_asked_for_each_entry_of_a_busy_log(tmp_path: Path) -> None:
    async with (
        witnesses_running(tmp_path) as network,
        log_running(tmp_path, network, cosign_interval=1000.0) as (
            role,
            log,
        ),
    ):
        await role.publisher.wait_cosigned(-1)
        for number in range(20):
            await append(log, b"%d" % number)
            await anyio.sleep(0.005)
        assert network.asked.count("w1") == 1
        assert (await role.publisher.publish()).tree.size == 20


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


@pytest.mark.parametrize(
    ("types", "settings", "match"),
    [
        ((DIRECTORY.TYPE, FLEET.TYPE), {"keep_proofs": True}, "the newest entry"),
        ((DIRECTORY.TYPE, FLEET.TYPE), {"epoch_seconds": 600}, "that of a service's fleets"),
        ((DIRECTORY.TYPE,), {"epoch_seconds": 600, "keep_proofs": True}, "only https://.*fleet/v1"),
        ((DIRECTORY.TYPE,), {"keep_proofs": True}, ""),
        ((FLEET.TYPE,), {"epoch_seconds": 600, "keep_proofs": True}, ""),
    ],
)
async def test_a_state_log_takes_statements_of_one_kind(
    tmp_path: Path, types: tuple[str, ...], settings: dict[str, Any], match: str
) -> None:
    rule = POLICY_OF_STATEMENTS.rules[DIRECTORY.TYPE]
    statements = StatementPolicy(dict.fromkeys(types, rule))
    async with witnesses_running(tmp_path) as network:
        running = log_running(tmp_path, network, unsafe_any_entry=False, statements=statements, **settings)
        with pytest.raises(ConfigError, match=match) if match else nullcontext():
            async with running as (_, log):
                assert (await get(log, "status"))[0] == 200


async def test_statements_that_the_policy_believes_are_taken_once_and_in_order(tmp_path: Path) -> None:
    clock = [AT]
    async with witnesses_running(tmp_path) as network:
        running = log_running(
            tmp_path, network, unsafe_any_entry=False, statements=POLICY_OF_STATEMENTS, clock=lambda: clock[0]
        )
        async with running as (_, log):
            first = sealed(DIRECTORY.about(NAME))
            assert await append(log, first) == (200, b"0\n")
            assert await append(log, first) == (200, b"0\n")
            for entry, status, code in (
                (b"no statement", 400, "decode"),
                (sealed(DIRECTORY.about(NAME), OTHER), 403, "verification"),
                (sealed(DIRECTORY.about("other.example")), 403, "transparency"),
                (json.dumps(json.loads(first), indent=1).encode(), 409, "already_logged"),
                (sealed(CHANGED.about(NAME)), 409, "already_logged"),
            ):
                found, problem = await append(log, entry)
                assert (found, json.loads(problem)["code"]) == (status, code)
            clock[0] += timedelta(hours=1)
            newer = sealed(evolve(CHANGED, issued=clock[0], valid_until=clock[0] + timedelta(hours=1)).about(NAME))
            assert await append(log, newer) == (200, b"1\n")
            assert (await append(log, sealed(REVOCATION.about(NAME))))[0] == 200


async def test_whoever_appends_does_not_hold_up_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def verify(self: LogAdmission, entry: bytes, *, at: object) -> None:
        begun.set()
        assert go_on.wait(20)

    monkeypatch.setattr(LogAdmission, "verify", verify)
    async with witnesses_running(tmp_path) as network:
        running = log_running(tmp_path, network, unsafe_any_entry=False, statements=POLICY_OF_STATEMENTS)
        async with running as (role, log), anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(append, log, b"%d" % number)
            while not begun.is_set():
                await anyio.sleep(0.01)
            assert (await get(log, "status"))[0] == (await get(log, "page/log.js"))[0] == 200
            assert role.writer.tree.size == 0
            go_on.set()
        assert role.writer.tree.size == 5


async def test_a_policy_of_statements_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "statements.toml"
    file.write_text(statement_rules.to_toml(POLICY_OF_STATEMENTS))
    async with witnesses_running(tmp_path) as network:
        settings = {"unsafe_any_entry": False, "statements": str(file)}
        async with log_running(tmp_path, network, config=settings, clock=lambda: AT) as (_, log):
            assert await append(log, sealed(DIRECTORY.about(NAME))) == (200, b"0\n")
            assert (await append(log, b"no statement"))[0] == 400
        for content, match in ((b"\xff", "not text"), (b"", "another version")):
            file.write_bytes(content)
            with pytest.raises(ConfigError, match=match):
                async with log_running(tmp_path, network, config=settings):
                    pass


async def test_files_have_the_types_and_the_caching_of_the_standard(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network) as (role, log):
        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(role.writer.append, b"%d" % number)
        await role.publisher.wait_cosigned(299)
        for path, kind, caching in (
            ("checkpoint", "text/plain; charset=utf-8", "max-age=2"),
            ("witnesses", "text/plain; charset=utf-8", "max-age=2"),
            ("tile/0/000", "application/octet-stream", "immutable"),
            ("tile/0/001.p/44", "application/octet-stream", "immutable"),
            ("tile/1/000.p/1", "application/octet-stream", "immutable"),
            ("tile/entries/000", "application/octet-stream", "immutable"),
        ):
            status, fields, body = await get(log, path)
            assert (status, fields["content-type"], bool(body)) == (200, kind, True)
            assert caching in fields["cache-control"]
            assert fields["x-content-type-options"] == "nosniff"
        for path in ("tile/0/002", "tile/entries/001.p/45", "tile/0/../../key", "tile/..", "proof/0", "commit", "a"):
            status, fields, _ = await get(log, path)
            assert (status, fields["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("", False),
    ],
)
async def test_bundles_are_compressed_for_whoever_asks(tmp_path: Path, accepted: str, compressed: bool) -> None:  # noqa: FBT001
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network) as (_, log):
        await append(log, bytes(1000))
        request = HttpRequest(
            method="GET", url="http://log/tile/entries/000.p/1", headers=(("accept-encoding", accepted),)
        )
        async with log.stream(request) as response:
            body, fields = await read(response), dict(response.headers)
        assert fields["vary"] == "accept-encoding"
        assert fields.get("content-encoding") == ("gzip" if compressed else None)
        assert (gzip.decompress(body) if compressed else body) == b"\x03\xe8" + bytes(1000)


async def test_the_page_is_served_with_a_strict_policy(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network) as (_, log):
        for path, kind in (("", "text/html"), ("page/log.js", "text/javascript"), ("page/style.css", "text/css")):
            status, fields, body = await get(log, path)
            assert (status, fields["content-type"].partition(";")[0], bool(body)) == (200, kind, True)
            assert fields["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert (await get(log, "page/other.js"))[0] == 404


async def test_a_request_that_is_not_understood_is_refused(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network) as (role, log):
        for query in ("?wait=now", "?wait=", "?wait=cosigned&more=1", "?other"):
            assert (await append(log, b"one", query))[0] == 400
        assert (await append(log, bytes(65_536)))[0] == 413
        assert role.writer.tree.size == 0


async def test_a_log_is_well_while_it_is_cosigned(tmp_path: Path) -> None:
    ahead = [timedelta()]
    async with witnesses_running(tmp_path) as network:
        network.down = {"w1", "w2", "w3"}
        async with log_running(tmp_path, network, clock=lambda: now() + ahead[0], recosign_seconds=30.0) as (role, log):
            assert (await get(log, "healthz"))[0] == 503
            network.down = set()
            await role.publisher.wait_cosigned(-1)
            assert (await get(log, "healthz"))[::2] == (200, b'{"role": "log", "state": "ok"}')
            status = json.loads((await get(log, "status"))[2])
            assert (status["size"], status["not_cosigned"], status["error"]) == (0, None, "")
            ahead[0] = timedelta(seconds=70)
            assert (await get(log, "healthz"))[::2] == (503, b'{"role": "log", "state": "backend"}')


@pytest.mark.parametrize(
    ("setting", "content", "match"),
    [
        ("key", "key\n", "cannot be read"),
        ("key", "", "no key"),
        ("key", None, "cannot be read"),
        ("policy", None, "cannot be read"),
        ("policy", "quorum\n", "line 1"),
        ("statements", None, "cannot be read"),
    ],
)
async def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, setting: str, content: str | None, match: str
) -> None:
    if content is not None:
        write_private(tmp_path / "other", content)
    with pytest.raises(ConfigError, match=match):
        async with log_running(tmp_path, Network(), config={setting: str(tmp_path / "other")}):
            pass


async def test_a_log_lives_in_an_object_store(tmp_path: Path) -> None:
    needs_packages("moto", "obstore")
    with running_object_store() as url:
        async with witnesses_running(tmp_path) as network:
            for life in range(2):
                storage = s3_storage(url, "log")
                async with log_running(tmp_path, network, storage=storage, keep_proofs=True) as (_, log):
                    entry = b"entry %d" % life
                    proof = TlogProof.decode((await append(log, entry, "?wait=cosigned"))[1])
                    verify_logged(entry, proof, POLICY, origin=ORIGIN)
                    assert (await get(log, f"proof/{life}"))[2] == proof.encode()


async def test_whoever_waits_for_witnesses_leaves_room_for_readers(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        network.down = {"w1", "w2", "w3"}
        async with log_running(tmp_path, network, max_concurrent=4) as (role, log):
            answers: list[tuple[int, bytes]] = []

            async def wait(number: int) -> None:
                answers.append(await append(log, b"%d" % number, "?wait=cosigned"))

            async with anyio.create_task_group() as tasks:
                for number in range(2):
                    tasks.start_soon(wait, number)
                while role._waiting < 2:
                    await anyio.sleep(0.01)
                assert (await append(log, b"one more", "?wait=cosigned"))[0] == 503
                assert await append(log, b"one more") == (200, b"2\n")
                assert (await get(log, "status"))[0] == 200
                network.down = set()
            assert [status for status, _ in answers] == [200, 200]


async def test_storage_that_fails_is_no_missing_file(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network) as (_, log):
        (tmp_path / "log" / "proof").mkdir()
        (tmp_path / "log" / "proof" / "0").symlink_to("0")
        assert (await get(log, "proof/0"))[0] == 502


async def test_a_policy_with_another_key_for_the_log_is_refused(tmp_path: Path) -> None:
    other = Signer(ORIGIN, KeyType.ED25519, b"9" * 32).key.encode()
    (tmp_path / "policy").write_text(policy_text().replace(LOG.key.encode(), other))
    with pytest.raises(ConfigError, match="another key for this log"):
        async with log_running(tmp_path, Network()):
            pass
