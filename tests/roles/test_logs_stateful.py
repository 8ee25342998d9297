"""A log, its witnesses and a client, which grow, are killed, start anew, and are attacked, in any order.

The log runs on a disk in memory that keeps what was written before a call returned. When the process is killed in the
middle of a call, of what that call wrote some files are there and others are not, whatever their order was.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.log_publisher import LogPublisher
from confsec.backends.log_storage import StorageConflictError, StoredFile
from confsec.backends.log_tiles import entries as entries_of
from confsec.backends.log_writer import LogWriter
from confsec.errors import ConfsecError, ForkedLogError, RolledBackLogError, StaleLogError, UncosignedError
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.log_state import LogState
from confsec.protocol.merkle import CompactRange, leaf_hash
from confsec.protocol.note import SignedNote
from confsec.protocol.state_reader import Firsts, StateNews, StateUpdate
from confsec.protocol.tile_paths import TILE_WIDTH
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import TrustedLog, verify_checkpoint, verify_logged
from confsec.protocol.witnessing import AddCheckpoint
from confsec.testing import FixedClock
from confsec.testing_logs import MemoryLog
from tests.protocol.log_world import AT, read
from tests.roles.log_cases import LOG, ORIGIN, POLICY, WITNESSES, Network, witness_running

DAY = timedelta(days=1)
HOSTS = ("w1", "w2", "w3")
SEEDS = st.integers(0, 2**32 - 1)
POINTS = st.none() | st.integers(1, 12)
"""At the so-maniest write the process is killed; mostly a batch has fewer than these."""


class KilledError(Exception):
    """The process is gone."""


class Disk:
    """Files as they are after a power failure."""

    def __init__(self) -> None:
        self.files: dict[str, StoredFile] = {}
        self.versions = 0

    def write(self, path: str, data: bytes) -> StoredFile:
        self.versions += 1
        file = self.files[path] = StoredFile(data, self.versions)
        return file

    def shown(self) -> dict[str, bytes]:
        """Return what anybody can read."""
        return {path: file.data for path, file in self.files.items()}


class Process:
    """The disk as one process has it: `left` counts the writes until it is killed."""

    def __init__(self, disk: Disk, random_: random.Random) -> None:
        self.disk = disk
        self.random = random_
        self.left = 0
        self.dead = False

    def open(self) -> None:
        """Nothing is to be done."""

    def close(self) -> None:
        """Nothing is to be done."""

    def get(self, path: str) -> StoredFile | None:
        self._live()
        return self.disk.files.get(path)

    def create(self, files: Mapping[str, bytes]) -> tuple[str, ...]:
        self._live()
        there = tuple(path for path in files if path in self.disk.files)
        new = [path for path in files if path not in there]
        killed = self._is_killed(len(new))
        for path in self.random.sample(new, self.random.randint(0, len(new))) if killed else new:
            self.disk.write(path, files[path])
        self._live()
        return there

    def replace(self, path: str, data: bytes, known: StoredFile | None) -> StoredFile:
        self._live()
        if self.disk.files.get(path) != known:
            raise StorageConflictError("late")
        killed = self._is_killed(1)
        if killed and self.random.random() < 0.5:
            raise KilledError
        file = self.disk.write(path, data)
        self._live()
        return file

    def remove(self, folders: Iterable[str]) -> None:
        self._live()
        gone = [path for path in self.disk.files if path.startswith(tuple(f"{each}/" for each in folders))]
        killed = self._is_killed(len(gone))
        for path in self.random.sample(gone, self.random.randint(0, len(gone))) if killed else gone:
            del self.disk.files[path]
        self._live()

    def _is_killed(self, writes: int) -> bool:
        self.dead = 0 < self.left <= writes
        self.left = max(self.left - writes, 0)
        return self.dead

    def _live(self) -> None:
        if self.dead:
            raise KilledError


class Watched(Network):
    """Notes which trees each witness has cosigned."""

    def __init__(self) -> None:
        super().__init__()
        self.cosigned: list[tuple[str, int, bytes]] = []

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._watch(request, super().stream(request))

    @asynccontextmanager
    async def _watch(
        self, request: HttpRequest, stream: AbstractAsyncContextManager[HttpResponse]
    ) -> AsyncGenerator[HttpResponse]:
        async with stream as response:
            if response.status == 200:
                assert isinstance(request.content, bytes)
                note = AddCheckpoint.decode(request.content).checkpoint
                checkpoint = Checkpoint.decode(SignedNote.decode(note).text)
                self.cosigned.append((urlsplit(request.url).hostname or "", checkpoint.size, checkpoint.root))
            yield response


class Logs(RuleBasedStateMachine):
    """One log, three witnesses and a client, which may be lied to."""

    backend: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="confsec-logs-"))
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal(self.backend))
        self.clock = FixedClock(AT)
        self.network = Watched()
        self.witnesses: dict[str, Any] = {}
        for host in HOSTS:
            self.start_witness(host)
        self.disk = Disk()
        self.process = Process(self.disk, random.Random(0))
        self.writer: LogWriter | None = None
        self.publisher: LogPublisher | None = None
        self.number = 0
        self.acknowledged: dict[bytes, int] = {}
        self.proofs: dict[str, bytes] = {}
        self.published: list[bytes] = []
        self.client = TrustedLog(ORIGIN)

    def teardown(self) -> None:
        self.portal.call(self.let_go)
        for running in self.witnesses.values():
            running.__exit__(None, None, None)
        self.stack.close()
        shutil.rmtree(self.folder)

    # --- The log ---

    @rule(point=POINTS, seed=SEEDS, loses_index=st.booleans())
    def restart_log(self, point: int | None, seed: int, *, loses_index: bool) -> None:
        self.portal.call(self.let_go)
        if loses_index:
            for file in self.folder.glob("index.db*"):
                file.unlink()
        self.start_log(point, seed)

    @rule(count=st.integers(1, 4) | st.integers(1, 400), point=POINTS, seed=SEEDS)
    def append(self, count: int, point: int | None, seed: int) -> None:
        self.arm(point, seed)
        self.number += count
        self.run(self._append, [b"%d" % number for number in range(self.number - count, self.number)])

    @rule(seed=SEEDS)
    def append_again(self, seed: int) -> None:
        if self.acknowledged:
            self.arm(None, seed)
            self.run(self._append, [random.Random(seed).choice(sorted(self.acknowledged))])

    @rule(point=POINTS, seed=SEEDS)
    def publish(self, point: int | None, seed: int) -> None:
        self.arm(point, seed)
        self.run(self._publish)

    @rule(count=st.integers(1, 4) | st.integers(1, 300), point=POINTS, seed=SEEDS)
    def append_and_publish(self, count: int, point: int | None, seed: int) -> None:
        self.append(count, None, seed)
        self.publish(point, seed)
        self.clock.advance(timedelta(seconds=1))

    @rule()
    def kill_log(self) -> None:
        self.process.dead = True
        self.portal.call(self.let_go)

    # --- Witnesses, and time ---

    @rule(host=st.sampled_from(HOSTS))
    def restart_witness(self, host: str) -> None:
        self.witnesses.pop(host).__exit__(None, None, None)
        self.start_witness(host)

    @rule(down=st.sets(st.sampled_from(HOSTS), max_size=2))
    def cut_off(self, down: set[str]) -> None:
        self.network.down = down

    @rule(seconds=st.integers(1, 600))
    def wait(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    # --- Attacks ---

    @rule(host=st.sampled_from(HOSTS), seed=SEEDS)
    def ask_a_witness_for_another_tree(self, host: str, seed: int) -> None:
        """With the log's key, and any proof: the tree differs before what the witness has seen."""
        chosen = random.Random(seed)
        self.have_it_seen()
        seen = max((size for name, size, _ in self.network.cosigned if name == host), default=0)
        if not seen or host in self.network.down:
            return
        fork = self.fork(chosen.randrange(seen), chosen.randint(1, 300))
        size = chosen.randint(1, fork.size)
        old = chosen.choice([0, seen, min(seen, size), chosen.randint(0, size)])
        proof = fork.tree(size).consistency_proof(old) if 0 < old < size else ()
        body = AddCheckpoint(min(old, size), proof, fork.note(self.clock(), size=size, witnesses=0)).encode()
        before = len(self.network.cosigned)
        honest = fork.entries[:size] == self.entries()[:size]
        status = self.portal.call(self._ask_witness, host, body)
        assert status != 200 or (honest and size == seen)
        assert len(self.network.cosigned) == before + (status == 200)

    @rule(seed=SEEDS)
    def show_another_tree(self, seed: int) -> None:
        """All witnesses are bribed, and cosign a tree that is not the one that the client has seen."""
        self.have_it_seen()
        chosen = random.Random(seed)
        fork = self.fork(chosen.randrange(self.client.size), chosen.randint(1, 300))
        self.refuse(fork.files(self.clock()), ForkedLogError if fork.size >= self.client.size else RolledBackLogError)

    @rule(seed=SEEDS)
    def show_an_old_tree(self, seed: int) -> None:
        """All witnesses are bribed, and cosign anew what was before."""
        self.have_it_seen()
        size = random.Random(seed).randrange(1, self.client.size)
        self.refuse(self.fork(size, 0).files(self.clock()), RolledBackLogError)

    @rule(seed=SEEDS)
    def show_what_no_quorum_cosigned(self, seed: int) -> None:
        chosen = random.Random(seed)
        fork = self.fork(self.client.size, chosen.randint(1, 300))
        note = MemoryLog(ORIGIN, LOG, chosen.sample(WITNESSES, chosen.randint(0, 1)), entries=fork.entries)
        self.refuse(fork.files(self.clock(), note=note.note(self.clock())), UncosignedError)

    @rule(seed=SEEDS)
    def show_what_was_cosigned_long_ago(self, seed: int) -> None:
        at = self.clock() - DAY - timedelta(seconds=random.Random(seed).randint(1, 10**6))
        self.refuse(self.fork(self.client.size, 1).files(at), StaleLogError)

    @rule(seed=SEEDS)
    def change_a_file_on_its_way(self, seed: int) -> None:
        """The client refuses it, or did not need it."""
        self.have_it_seen()
        chosen, files = random.Random(seed), self.disk.shown()
        true = self.look(files)
        with suppress(ConfsecError):
            path = chosen.choice(sorted(path for path in files if path not in {"commit", "witnesses"}))
            at = chosen.randrange(len(files[path]))
            changed = files[path][:at] + bytes([files[path][at] ^ 1 << chosen.randrange(8)]) + files[path][at + 1 :]
            news = self.look({**files, path: changed})
            assert news.trusted == true.trusted
            assert [each.data for each in news.state.entries] == [each.data for each in true.state.entries]

    @rule()
    def read_the_log(self) -> None:
        """The true log is accepted, whatever happened before."""
        self.have_it_seen()
        size = self.published_size()
        news = self.look(self.disk.shown())
        assert news.trusted.size == size >= self.client.size
        assert [each.data for each in news.state.entries] == self.entries()[max(0, size - 16) : size]
        _require_state(news.state)
        self.client = news.trusted

    # --- What always holds ---

    @invariant()
    def no_acknowledged_entry_is_lost(self) -> None:
        if self.writer is None:
            return
        entries = self.entries()
        assert len(entries) == len(set(entries)) == self.writer.tree.size
        assert all(entries[index] == entry for entry, index in self.acknowledged.items())
        assert self.writer.tree.root == CompactRange().append(*map(leaf_hash, entries)).root

    @invariant()
    def no_witness_cosigned_two_trees_of_one_size(self) -> None:
        assert len({(size, root) for _, size, root in self.network.cosigned}) == len(
            {size for _, size, _ in self.network.cosigned}
        )

    @invariant()
    def what_is_published_has_a_quorum_and_grows(self) -> None:
        file = self.disk.files.get("checkpoint")
        if file is not None and file.data not in self.published:
            self.published.append(file.data)
            sizes = [verify_checkpoint(note, POLICY, origin=ORIGIN).checkpoint.size for note in self.published[-2:]]
            assert sizes == sorted(sizes)

    @invariant()
    def proofs_stay_and_prove(self) -> None:
        shown = {path: data for path, data in self.disk.shown().items() if path.startswith("proof/")}
        assert {path: shown.get(path) for path in self.proofs} == self.proofs
        for path in sorted(shown.keys() - self.proofs.keys())[:3] if self.writer else ():
            proof = TlogProof.decode(shown[path])
            assert path == f"proof/{proof.index}"
            verify_logged(self.entries()[proof.index], proof, POLICY, origin=ORIGIN)
        self.proofs = shown

    # --- What the rules are made of ---

    def published_size(self) -> int:
        note = self.disk.files["checkpoint"].data
        return verify_checkpoint(note, POLICY, origin=ORIGIN).checkpoint.size

    def entries(self) -> list[bytes]:
        """Return all entries that the log has signed, as far as its files are there."""
        size = self.writer.tree.size if self.writer else max(self.client.size, self.cosigned_size())
        storage = Process(self.disk, random.Random(0))
        return [entry for at in range(-(-size // TILE_WIDTH)) for entry in entries_of(storage, at, size)]

    def cosigned_size(self) -> int:
        return max((size for _, size, _ in self.network.cosigned), default=0)

    def fork(self, same: int, more: int) -> MemoryLog:
        """Return a log with its key and its witnesses' that has other entries from `same` on."""
        others = [b"other %d" % number for number in range(more)]
        log = MemoryLog(ORIGIN, LOG, WITNESSES, entries=[*self.entries()[:same], *others])
        log.firsts.update(dict.fromkeys(range(max(0, log.size - 16), log.size), log.note(self.clock())))
        return log

    def look(self, files: dict[str, bytes]) -> StateNews:
        """Read as the client does. What it remembers is for the caller to change."""
        update = StateUpdate(self.client, POLICY, at=self.clock(), maximum_age=DAY, entries=16, firsts=Firsts.ALL)
        return read(update, files)

    def refuse(self, files: dict[str, bytes], *errors: type[ConfsecError]) -> None:
        with pytest.raises(errors):
            self.look(files)

    def start_witness(self, host: str) -> None:
        signer = WITNESSES[HOSTS.index(host)]
        running = self.portal.wrap_async_context_manager(witness_running(self.folder / host, signer, clock=self.clock))
        self.network.hosts[host] = running.__enter__()
        self.witnesses[host] = running

    def start_log(self, point: int | None, seed: int) -> None:
        self.process = Process(self.disk, random.Random(seed))
        self.process.left = point or 0
        self.run(self._open)

    def arm(self, point: int | None, seed: int) -> None:
        """Have the log run, and be killed at a write."""
        if self.writer is None:
            self.start_log(None, seed)
        self.process.random = random.Random(seed)
        self.process.left = point or 0

    def have_it_seen(self) -> None:
        """Have the client remember two entries at least, before somebody lies to it."""
        if self.client.size > 1:
            return
        self.network.down = set()
        self.append(2, None, 0)
        self.publish(None, 0)
        self.client = self.look(self.disk.shown()).trusted
        assert self.client.size > 1

    def run(self, function: Any, *arguments: Any) -> None:
        """Run something in the log's process. When that is killed, it is gone; any other error is its own."""
        try:
            self.portal.call(function, *arguments)
        except (KilledError, ConfsecError):
            if not self.process.dead:
                raise
        self.process.left = 0
        if self.process.dead:
            self.portal.call(self.let_go)

    async def let_go(self) -> None:
        writer, self.writer, self.publisher = self.writer, None, None
        if writer is not None:
            await writer.aclose()

    async def _open(self) -> None:
        writer = LogWriter(self.process, [LOG], self.folder / "index.db", clock=self.clock)
        await writer.open()
        self.writer = writer
        publisher = LogPublisher(
            writer, POLICY, self.network, recosign_seconds=60, timeout=5, keep_proofs=True, clock=self.clock
        )
        await publisher.open()
        self.publisher = publisher

    async def _append(self, entries: list[bytes]) -> None:
        async def one(entry: bytes) -> None:
            assert self.writer is not None
            try:
                index = await self.writer.append(entry)
            except ConfsecError:
                if not self.process.dead:
                    raise
            else:
                assert self.acknowledged.setdefault(entry, index) == index

        async with anyio.create_task_group() as tasks:
            for entry in entries:
                tasks.start_soon(one, entry)

    async def _publish(self) -> None:
        assert self.publisher is not None
        try:
            await self.publisher.publish()
        except UncosignedError:
            assert len(self.network.down) > 1

    async def _ask_witness(self, host: str, body: bytes) -> int:
        request = HttpRequest(method="POST", url=f"http://{host}/add-checkpoint", content=body)
        async with self.network.stream(request) as response:
            return response.status


def _require_state(state: LogState) -> None:
    cosigned = state.verify(POLICY, origin=ORIGIN)
    assert all(state.known_since(each, POLICY, origin=ORIGIN) <= cosigned.fresh_since for each in state.entries)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_log_witnesses_and_client_keep_their_word_whatever_happens(backend: str) -> None:
    made = type("Made", (Logs,), {"backend": backend})
    run_state_machine_as_test(made, settings=settings(max_examples=20, stateful_step_count=30, deadline=None))
