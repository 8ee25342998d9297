"""What a log publishes: only what a quorum cosigned, whatever its witnesses answer and wherever it is killed."""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.log_publisher import LogPublisher
from confsec.backends.log_storage import FolderStorage
from confsec.backends.log_tiles import consistency_proof
from confsec.backends.log_witnesses import OldCopyError
from confsec.backends.log_writer import LogWriter
from confsec.backends.system import now
from confsec.errors import BackendError, ConfigError, ConfsecError, TransparencyError
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import TrustedLog, verify_checkpoint, verify_logged
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.protocol.witnessing import MAX_ADD_CHECKPOINT, SIZE_TYPE, AddCheckpoint
from tests.backends.test_log_writer import CrashError, MemoryStorage
from tests.roles.log_cases import (
    LOG,
    ORIGIN,
    POLICY,
    WITNESSES,
    Network,
    append,
    get,
    log_running,
    policy_text,
    witnesses_running,
)

pytestmark = pytest.mark.anyio


class Answers:
    """A witness that answers what it is told to, in the place of one in a network."""

    def __init__(self, *answers: tuple[int, str, bytes]) -> None:
        self.answers = list(answers)
        self.requests: list[AddCheckpoint] = []

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        assert isinstance(request.content, bytes)
        self.requests.append(AddCheckpoint.decode(request.content))
        return self._answer(*(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]))

    @asynccontextmanager
    async def _answer(self, status: int, kind: str, body: bytes) -> Any:
        async def parts() -> Any:
            yield body

        async with aclosing(parts()) as content:
            yield HttpResponse(status=status, headers=(("content-type", kind),), content=content)

    async def aclose(self) -> None:
        """Nothing is open."""


class Silent(Answers):
    """A witness that takes requests and never answers."""

    def __init__(self) -> None:
        super().__init__((200, "", b""))

    @asynccontextmanager
    async def _answer(self, status: int, kind: str, body: bytes) -> Any:
        await anyio.sleep_forever()
        yield


def network_of(**hosts: Any) -> Network:
    network = Network()
    network.hosts.update(hosts)
    return network


async def opened(folder: Path, network: Network, policy: str = "", **settings: Any) -> tuple[LogWriter, LogPublisher]:
    """Return a writer and a publisher that publishes when it is told to."""
    writer = LogWriter(FolderStorage(folder / "log"), [LOG], folder / "index.db")
    await writer.open()
    decoded = WitnessPolicy.decode(policy.encode()) if policy else POLICY
    publisher = LogPublisher(writer, decoded, network, **{"recosign_seconds": 60.0, "timeout": 5.0, **settings})
    await publisher.open()
    return writer, publisher


# --- Witnesses --------------------------------------------------------------------------------------------------------


async def test_a_silent_witness_holds_up_nobody(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        network.hosts["w2"] = Silent()  # type: ignore[assignment]
        writer, publisher = await opened(tmp_path, network, timeout=600.0)
        await writer.append(b"one")
        cosigned = await publisher.publish()
        assert cosigned.checkpoint.cosigners == ("w1", "w3")
        assert [each.error for each in publisher.clients] == ["", "no answer in time", ""]
        await writer.aclose()


async def test_without_a_quorum_in_time_nothing_is_published(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        network.hosts |= {"w1": Silent(), "w2": Silent()}  # type: ignore[dict-item]
        writer, publisher = await opened(tmp_path, network, timeout=0.3)
        await writer.append(b"one")
        with pytest.raises(TransparencyError, match="no quorum"):
            await publisher.publish()
        assert writer.storage.get("checkpoint") is None
        with pytest.raises(TransparencyError, match="no quorum has cosigned this entry"):
            await publisher.prove(0)
        await writer.aclose()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((500, "text/plain", b""), "did not cosign: got status 500"),
        ((404, "text/plain", b""), "did not cosign: got status 404"),
        ((409, "text/plain", b"1\n"), "did not cosign: got status 409"),
        ((409, SIZE_TYPE, b"one\n"), "names no size"),
        ((409, SIZE_TYPE, b"01\n"), "names no size"),
        ((409, SIZE_TYPE, b"0\n"), "a tree that this log does not have"),
        ((409, SIZE_TYPE, b"5\n"), "a tree that this log does not have: got 5 entries"),
        ((422, "text/plain", b""), "a tree that this log does not have"),
        ((200, "text/plain", b"\xff"), "no text"),
        ((200, "text/plain", b"no signature\n"), "does not begin with a dash"),
        ((200, "text/plain", b""), "another key"),
        ((200, "text/plain", bytes(MAX_ADD_CHECKPOINT)), "too long"),
    ],
)
async def test_an_answer_that_is_no_cosignature_counts_for_nothing(
    tmp_path: Path, answer: tuple[int, str, bytes], error: str
) -> None:
    witness = Answers(answer)
    writer, publisher = await opened(tmp_path, network_of(w1=witness, w2=witness, w3=witness))
    await writer.append(b"one")
    with pytest.raises(ConfsecError, match=r"no quorum|know another tree"):
        await publisher.publish()
    assert all(error.replace("no text", "not text") in each.error for each in publisher.clients)
    await writer.aclose()


async def test_a_cosignature_of_another_tree_or_key_counts_for_nothing(tmp_path: Path) -> None:
    writer, publisher = await opened(tmp_path, network := network_of())
    await writer.append(b"one")
    text = SignedNote.decode(writer.tree.note).text
    other = Signer(WITNESSES[0].key.name, WITNESSES[0].key.type, b"9" * 32)
    larger = text.replace("\n1\n", "\n2\n")
    for signer, about, error in ((other, text, "another key"), (WITNESSES[0], larger, "is wrong")):
        line = SignedNote(about).sign(signer, at=now()).signatures[0].encode().encode()
        if signer is WITNESSES[0]:
            line = b"\n".join([b"\xe2\x80\x94 x/y AAAAAAAA", line])  # those of others are passed over
        network.hosts = dict.fromkeys(("w1", "w2", "w3"), Answers((200, "", line)))  # type: ignore[arg-type]
        with pytest.raises(TransparencyError, match="no quorum"):
            await publisher.publish()
        assert error in publisher.clients[0].error
    await writer.aclose()


async def test_a_witness_that_names_another_size_each_time_is_not_asked_for_ever(tmp_path: Path) -> None:
    witness = Answers(*((409, SIZE_TYPE, b"%d\n" % (1 + number % 2)) for number in range(1000)))
    writer, publisher = await opened(tmp_path, network_of(w1=witness), policy_text(WITNESSES[:1], 1))
    for entry in (b"one", b"two", b"three"):
        await writer.append(entry)
    with pytest.raises(TransparencyError, match="no quorum"):
        await publisher.publish()
    assert "another size each time" in publisher.clients[0].error
    assert [each.old_size for each in witness.requests] == [0, 1, 2]
    await writer.aclose()


async def test_a_log_that_is_an_old_copy_finds_no_quorum_and_says_why(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        writer, publisher = await opened(tmp_path, network)
        await writer.append(b"one")
        await publisher.publish()
        await writer.aclose()
        shutil.copytree(tmp_path / "log", tmp_path / "old" / "log")
        writer, publisher = await opened(tmp_path, network)
        await writer.append(b"two")
        await publisher.publish()
        await writer.aclose()
        for more in (0, 1, 2):  # entries, until the copy is as large as the log was, and larger
            writer, publisher = await opened(tmp_path / "old", network)
            for number in range(more):
                await writer.append(b"another %d" % number)
            with pytest.raises(OldCopyError, match="restore its newest files"):
                await publisher.publish()
            assert all("Are these files an old copy?" in each.error for each in publisher.clients)
            for use in (writer.append(b"more"), publisher.wait_cosigned(1), publisher.publish()):
                with pytest.raises(OldCopyError):
                    await use
            await writer.aclose()


async def test_a_restored_log_acknowledges_nothing_once_its_witnesses_know_more(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        async with log_running(tmp_path, network) as (_, log):
            await append(log, b"one", "?wait=cosigned")
        shutil.copytree(tmp_path / "log", tmp_path / "copy")
        async with log_running(tmp_path, network) as (_, log):
            await append(log, b"two", "?wait=cosigned")
        shutil.rmtree(tmp_path / "log")
        (tmp_path / "copy").rename(tmp_path / "log")
        async with log_running(tmp_path, network, index=str(tmp_path / "new.db")) as (role, log):
            with pytest.raises(OldCopyError), anyio.fail_after(20):
                await role.publisher.wait_cosigned(1)
            asked = len(network.asked)
            for query in ("", "?wait=cosigned"):
                status, problem = await append(log, b"three", query)
                assert (status, json.loads(problem)["code"]) == (503, "log_old_copy")
            assert "know another tree" in json.loads((await get(log, "status"))[2])["error"]
            assert (await get(log, "healthz"))[::2] == (503, b'{"role": "log", "state": "log_old_copy"}')
            assert (len(network.asked), role.writer.tree.size) == (asked, 1)


async def test_a_witness_that_knows_another_tree_does_not_stop_a_log_with_a_quorum(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        network.hosts["w1"] = Answers((409, SIZE_TYPE, b"5\n"))  # type: ignore[assignment]
        network.down = {"w2"}
        writer, publisher = await opened(tmp_path, network)
        await writer.append(b"one")
        with pytest.raises(TransparencyError, match="no quorum"):
            await publisher.publish()
        await writer.append(b"two")
        network.down = set()
        assert (await publisher.publish()).checkpoint.cosigners == ("w2", "w3")
        await writer.aclose()


# --- Another policy ---------------------------------------------------------------------------------------------------

NEW = tuple(Signer(f"new.example/w{number}", KeyType.ED25519_COSIGNATURE, bytes([number]) * 32) for number in (51, 52))


async def test_the_last_entries_are_proved_under_a_new_policy(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network, keep_proofs=True) as (_, log):
        for number in range(18):
            await append(log, b"%d" % number)
        await append(log, b"18", "?wait=cosigned")
        old = [(await get(log, f"proof/{number}"))[2] for number in range(19)]
    (tmp_path / "policy").write_text(text := policy_text(NEW))
    policy = WitnessPolicy.decode(text.encode())
    (tmp_path / "new").mkdir()
    async with witnesses_running(tmp_path / "new", NEW) as network:
        network.down = {"w1"}
        async with log_running(tmp_path, network, keep_proofs=True) as (role, log):
            await anyio.wait_all_tasks_blocked()
            assert (await get(log, "proof/18"))[2] == old[18]  # until a quorum has seen it
            network.down = set()
            await role.publisher.wait_cosigned(18)
            kept = [(await get(log, f"proof/{number}"))[2] for number in range(19)]
            assert kept[:3] == old[:3]
            for number in range(19):
                for data in (await role.publisher.prove(number), kept[max(number, 3)]):
                    proof = TlogProof.decode(data)
                    verify_logged(b"%d" % proof.index, proof, policy, origin=ORIGIN)
        async with log_running(tmp_path, network, keep_proofs=True) as (role, log):
            await role.publisher.publish()
            assert [(await get(log, f"proof/{number}"))[2] for number in range(19)] == kept


async def test_a_log_that_begins_to_keep_proofs_has_those_of_its_last_entries(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        async with log_running(tmp_path, network) as (_, log):
            await append(log, b"one", "?wait=cosigned")
            assert (await get(log, "proof/0"))[0] == 404
        async with log_running(tmp_path, network, keep_proofs=True) as (role, log):
            await role.publisher.publish()
            verify_logged(b"one", TlogProof.decode((await get(log, "proof/0"))[2]), POLICY, origin=ORIGIN)


async def test_more_witnesses_than_a_note_has_lines_are_refused(tmp_path: Path) -> None:
    signers = [Signer(f"witness.example/w{n}", KeyType.ED25519_COSIGNATURE, bytes([n]) * 32) for n in range(1, 65)]
    writer = LogWriter(MemoryStorage(), [LOG], tmp_path / "index.db")
    for count in (63, 64):
        policy = WitnessPolicy.decode(policy_text(signers[:count]).encode())
        if count == 63:
            assert len(LogPublisher(writer, policy, Network(), recosign_seconds=1, timeout=1).clients) == 63
            continue
        with pytest.raises(ConfigError, match="more witnesses have URLs"):
            LogPublisher(writer, policy, Network(), recosign_seconds=1, timeout=1)


@pytest.mark.parametrize("url", ["http://me:secret@w1", "http://w1/?token=secret", "http://w1/#secret"])
@pytest.mark.parametrize("place", ["http://w1\n", "http://log\n"])
async def test_a_policy_with_secrets_in_its_urls_is_not_published(tmp_path: Path, url: str, place: str) -> None:
    writer = LogWriter(MemoryStorage(), [LOG], tmp_path / "index.db")
    policy = WitnessPolicy.decode(policy_text().replace(place, f"{url}\n").encode())
    with pytest.raises(ConfigError, match="a user, a query or a fragment") as caught:
        LogPublisher(writer, policy, Network(), recosign_seconds=1, timeout=1)
    assert "secret" not in str(caught.value)


# --- What is published ------------------------------------------------------------------------------------------------


async def test_a_policy_that_asks_nobody_is_refused(tmp_path: Path) -> None:
    for policy, match in (
        (f"log {LOG.key.encode()}\nquorum none\n", "asks no witness"),
        (policy_text().replace("http://w", "").replace("1\nwitness", "\nwitness"), "has a URL"),
        (policy_text().replace(LOG.key.encode(), Signer("other/log", KeyType.ED25519, bytes(32)).key.encode()), "know"),
    ):
        lines = [" ".join(line.split()[:3]) if line.startswith("witness") else line for line in policy.splitlines()]
        text = "\n".join(lines) if match == "has a URL" else policy
        writer = LogWriter(FolderStorage(tmp_path / "log"), [LOG], tmp_path / "index.db")
        with pytest.raises(ConfigError, match=match):
            LogPublisher(writer, WitnessPolicy.decode(text.encode()), Network(), recosign_seconds=1, timeout=1)


async def test_a_log_says_who_cosigns_it(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        async with log_running(tmp_path, network) as (_, log):
            assert WitnessPolicy.decode((await get(log, "witnesses"))[2]) == POLICY
        (tmp_path / "policy").write_text(policy_text(threshold=3))
        async with log_running(tmp_path, network) as (_, log):
            assert b"group quorum-of-them 3 w1 w2 w3" in (await get(log, "witnesses"))[2]


async def test_what_too_few_cosigned_under_a_new_policy_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with witnesses_running(tmp_path) as network:
        network.down = {"w3"}
        async with log_running(tmp_path, network) as (_, log):
            await append(log, b"one", "?wait=cosigned")
        network.down = set()
        (tmp_path / "policy").write_text(text := policy_text(threshold=3))
        with caplog.at_level(logging.WARNING):
            async with log_running(tmp_path, network) as (role, log):
                cosigned = await role.publisher.wait_cosigned(0)
                assert cosigned.checkpoint.cosigners == ("w1", "w2", "w3")
                note = (await get(log, "checkpoint"))[2]
        assert verify_checkpoint(note, WitnessPolicy.decode(text.encode()), origin=ORIGIN).checkpoint.size == 1
        assert "does not count" in caplog.text


async def test_a_published_checkpoint_that_the_log_does_not_lead_to_stops_it(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        async with log_running(tmp_path, network) as (_, log):
            await append(log, b"one", "?wait=cosigned")
            old = (tmp_path / "log" / "commit").read_bytes()
            await append(log, b"two", "?wait=cosigned")
        (tmp_path / "log" / "commit").write_bytes(old)
        with pytest.raises(TransparencyError, match="larger tree than the log knows of"):
            async with log_running(tmp_path, network, index=str(tmp_path / "new.db")):
                pass
        async with log_running(tmp_path / "two", await _other_network(tmp_path / "two")) as (_, log):
            await append(log, b"something else", "?wait=cosigned")
        (tmp_path / "log" / "checkpoint").write_bytes((tmp_path / "two" / "log" / "checkpoint").read_bytes())
        with pytest.raises(TransparencyError):
            async with log_running(tmp_path, network):
                pass


async def _other_network(folder: Path) -> Network:
    """Return witnesses that cosign anything, as all of them together could."""
    folder.mkdir()
    network = Network()

    class Corrupt(Answers):
        def __init__(self, signer: Signer) -> None:
            super().__init__((200, "", b""))
            self.signer = signer

        @asynccontextmanager
        async def _answer(self, status: int, kind: str, body: bytes) -> Any:
            text = SignedNote.decode(self.requests[-1].checkpoint).text
            line = SignedNote(text).sign(self.signer, at=now()).signatures[0].encode().encode()
            async with super()._answer(status, kind, line) as response:
                yield response

    network.hosts = {f"w{number}": Corrupt(each) for number, each in enumerate(WITNESSES, 1)}  # type: ignore[misc]
    return network


async def test_the_word_of_witnesses_does_not_get_older(tmp_path: Path) -> None:
    clock = [now()]
    async with witnesses_running(tmp_path, clock=lambda: clock[0]) as network:
        writer, publisher = await opened(tmp_path, network)
        await publisher.publish()
        clock[0] -= timedelta(seconds=5)
        with pytest.raises(TransparencyError, match="older than what is published"):
            await publisher.publish()
        clock[0] += timedelta(seconds=6)
        await publisher.publish()
        await writer.aclose()


async def test_another_writer_that_published_is_believed(tmp_path: Path) -> None:
    async with witnesses_running(tmp_path) as network:
        storage = MemoryStorage()
        first = log_running(tmp_path, network, storage=storage, recosign_seconds=0.02, index=str(tmp_path / "1"))
        second = log_running(tmp_path, network, storage=storage, recosign_seconds=0.02, index=str(tmp_path / "2"))
        async with first as (one, log), second as (two, other):
            for number in range(4):
                entry = b"%d" % number
                _, proof = await append((log, other)[number % 2], entry, "?wait=cosigned")
                verify_logged(entry, TlogProof.decode(proof), POLICY, origin=ORIGIN)
            await one.publisher.wait_cosigned(3)
            await two.publisher.wait_cosigned(3)


async def test_partial_tiles_go_when_full_ones_are_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with witnesses_running(tmp_path) as network:
        writer, publisher = await opened(tmp_path, network)
        for number in range(3):
            await writer.append(b"%d" % number)
        await publisher.publish()
        assert writer.storage.get("tile/0/000.p/2") is not None
        async with anyio.create_task_group() as tasks:
            for number in range(3, 300):
                tasks.start_soon(writer.append, b"%d" % number)
        await publisher.publish()
        gone = [writer.storage.get(path) for path in ("tile/0/000.p/2", "tile/0/000.p/3", "tile/entries/000.p/3")]
        assert gone == [None, None, None]
        assert writer.storage.get("tile/0/001.p/44") is not None
        proof = TlogProof.decode(await publisher.prove(2))
        verify_logged(b"2", proof, POLICY, origin=ORIGIN)
        await writer.aclose()


async def test_partial_tiles_that_stay_are_in_nobodys_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FolderStorage, folders: object) -> None:
        raise BackendError("no")

    monkeypatch.setattr(FolderStorage, "remove", fail)
    async with witnesses_running(tmp_path) as network:
        writer, publisher = await opened(tmp_path, network)
        assert (await publisher.publish()).tree.size == 0
        assert "stay: no" in caplog.text
        await writer.aclose()


# --- Killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", range(1, 30, 2))
async def test_a_log_that_dies_while_it_publishes_shows_one_history(tmp_path: Path, point: int) -> None:
    storage = MemoryStorage()
    reader, notes = TrustedLog(ORIGIN), list[bytes]()
    proofs: dict[str, bytes] = {}

    def look(reader: TrustedLog) -> TrustedLog:
        file = storage.get("checkpoint")
        if file is None or file.data in notes:
            return reader
        notes.append(file.data)
        size = verify_checkpoint(file.data, POLICY, origin=ORIGIN).checkpoint.size
        proof = _consistency(storage, reader.size, file.data)
        assert size >= reader.size
        return reader.advance(file.data, proof, policy=POLICY, at=now(), maximum_age=timedelta(days=1))

    async with witnesses_running(tmp_path) as network:
        acknowledged = dict[bytes, bytes]()
        for life in range(3):
            storage.left = point if life == 1 else 0
            try:
                async with log_running(tmp_path, network, storage=storage, keep_proofs=True) as (role, log):
                    for number in range(3):
                        entry = b"%d-%d" % (life, number)
                        status, answer = await append(log, entry, "?wait=cosigned" if number != 1 else "")
                        if status == 200 and number != 1:
                            acknowledged[entry] = answer
                        reader = look(reader)
                    assert role.writer.tree.size >= len(acknowledged)
            except* (CrashError, BackendError):
                pass
            kept = {path: file.data for path, file in storage.files.items() if path.startswith("proof/")}
            assert {path: kept[path] for path in proofs} == proofs
            proofs = kept
            reader = look(reader)
    for entry, answer in acknowledged.items():
        proof = TlogProof.decode(answer)
        assert storage.files[f"proof/{proof.index}"].data == answer
        verify_logged(entry, proof, POLICY, origin=ORIGIN)
    assert all(f"{2}-{number}".encode() in acknowledged for number in (0, 2))


def _consistency(storage: MemoryStorage, old: int, note: bytes) -> tuple[bytes, ...]:
    checkpoint = verify_checkpoint(note, POLICY, origin=ORIGIN).checkpoint
    return consistency_proof(storage, old, checkpoint.size, checkpoint.root) if 0 < old < checkpoint.size else ()
