"""Appending to a log: batches, duplicates, crashes at any write, other writers, and an index that may be lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import anyio
import pytest
from attrs import evolve
from hypothesis import given, settings, strategies as st

from confsec.backends.log_index import LogIndex
from confsec.backends.log_session import COMMIT_PATH, LogSession, SignedTree
from confsec.backends.log_storage import FolderStorage, LogStorage, StorageConflictError, StoredFile
from confsec.backends.log_tiles import consistency_proof, entries, inclusion_proofs
from confsec.backends.log_writer import LogWriter
from confsec.backends.system import now
from confsec.errors import BackendError, BusyError, ConfigError, LimitError, LocalProtocolError, TransparencyError
from confsec.protocol.log_admission import AlreadyLoggedError, LogAdmission
from confsec.protocol.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.statement_policy import StatementPolicy
from tests.backends.object_store import running_object_store, s3_storage
from tests.protocol.statement_cases import DIRECTORY
from tests.protocol.test_statement_policy import CHANGED, NAME, POLICY, sealed
from tests.support import needs_packages

SIGNER = Signer("log.example/one", KeyType.ED25519, bytes(32))


class MemoryStorage:
    """Files in a dictionary, which dies before or after the so-maniest write of a file."""

    def __init__(self) -> None:
        self.files: dict[str, StoredFile] = {}
        self.left = 0
        self.versions = 0

    def open(self) -> None:
        """Nothing is to be done."""

    def close(self) -> None:
        """Nothing is to be done."""

    def get(self, path: str) -> StoredFile | None:
        return self.files.get(path)

    def create(self, files: Mapping[str, bytes]) -> tuple[str, ...]:
        there = tuple(path for path in files if path in self.files)
        for path, data in files.items():
            if path not in there:
                self._write(path, data)
        return there

    def replace(self, path: str, data: bytes, known: StoredFile | None) -> StoredFile:
        if self.files.get(path) != known:
            raise StorageConflictError("late")
        return self._write(path, data)

    def remove(self, folders: Iterable[str]) -> None:
        gone = [path for path in self.files if path.startswith(tuple(f"{each}/" for each in folders))]
        for path in gone:
            del self.files[path]

    def _write(self, path: str, data: bytes) -> StoredFile:
        self._step()
        self.versions += 1
        file = self.files[path] = StoredFile(data, self.versions)
        self._step()
        return file

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise CrashError


class CrashError(Exception):
    """The process is gone."""


def session(storage: LogStorage, index: Path, **more: LogAdmission) -> LogSession:
    admission = more.get("admission")
    identify, rules = (admission.identify, admission.rules) if admission else (None, b"")
    made = LogIndex(index, origin=SIGNER.key.name, rules=rules)
    return LogSession(storage, made, [SIGNER], identify=identify, clock=now)


def proved(storage: LogStorage, tree: SignedTree, index: int) -> bytes:
    """Return an entry, which its proof shows to be in a tree."""
    [entry] = entries(storage, index // 256, tree.size)[index % 256 : index % 256 + 1]
    proof = inclusion_proofs(storage, [index], tree.size, tree.root)[index]
    verify_inclusion(leaf_hash(entry), index, tree.size, proof, tree.root)
    return entry


@settings(max_examples=60, deadline=None)
@given(
    batches=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    crashes=st.lists(st.integers(1, 40), max_size=6),
)
def test_a_session_that_dies_at_any_write_is_followed_by_one_that_keeps_its_word(
    batches: list[int], crashes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    storage, index = MemoryStorage(), tmp_path_factory.mktemp("log") / "index.db"
    acknowledged: dict[int, bytes] = {}
    roots: dict[int, bytes] = {0: EMPTY_ROOT}
    work = [(number, size) for number, size in enumerate(batches)]
    while work:
        storage.left = crashes.pop() if crashes else 0
        try:
            log = session(storage, index)
            while True:
                assert roots.setdefault(log.tree.size, log.tree.root) == log.tree.root
                if not work:
                    break
                number, size = work[0]
                batch = [b"%d-%d" % (number, each) for each in range(size)]
                acknowledged |= dict(zip(map(int, log.append(batch)), batch, strict=True))  # type: ignore[arg-type]
                work.pop(0)
        except CrashError:
            continue
    storage.left = 0
    tree = session(storage, index).tree
    assert tree.size == sum(batches)
    for place in {0, tree.size // 2, tree.size - 1}:
        assert acknowledged[place] == proved(storage, tree, place)
    assert {entry: place for place, entry in acknowledged.items()} == {
        entry: place
        for place, entry in enumerate(
            each for at in range((tree.size + 255) // 256) for each in entries(storage, at, tree.size)
        )
    }
    for size, root in roots.items():
        proof = consistency_proof(storage, size, tree.size, tree.root) if 0 < size < tree.size else ()
        verify_consistency(size, tree.size, proof, root, tree.root)


@pytest.mark.anyio
async def test_many_tasks_append_at_once_and_each_entry_has_one_place(tmp_path: Path) -> None:
    writer = LogWriter(FolderStorage(tmp_path / "log"), [SIGNER], tmp_path / "index.db")
    await writer.open()
    places: dict[bytes, set[int]] = {}

    async def one(entry: bytes) -> None:
        places.setdefault(entry, set()).add(await writer.append(entry))

    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(one, b"%d" % (number % 700))
    assert sorted(place for found in places.values() for place in found) == list(range(700))
    tree = writer.tree
    assert tree.size == 700
    for entry, (place,) in list(places.items())[:20]:
        assert proved(writer.storage, tree, place) == entry
    await writer.aclose()
    await writer.aclose()


@pytest.mark.anyio
async def test_a_log_is_opened_before_it_is_used_and_by_one(tmp_path: Path) -> None:
    writer = LogWriter(FolderStorage(tmp_path / "log"), [SIGNER], tmp_path / "index.db")
    for use in (lambda: writer.tree, lambda: writer.storage.create({"a": b""})):
        with pytest.raises(LocalProtocolError, match="not open"):
            use()
    with pytest.raises(LocalProtocolError, match="not open"):
        await writer.append(b"entry")
    await writer.open()
    with pytest.raises(LimitError, match="too long"):
        await writer.append(bytes(65_536))
    assert await writer.append(bytes(65_535)) == 0
    other = LogWriter(FolderStorage(tmp_path / "log"), [SIGNER], tmp_path / "other.db")
    with pytest.raises(BusyError, match="another process"):
        await other.open()
    await writer.aclose()
    await other.open()
    assert other.tree.size == 1
    await other.aclose()


def test_the_keys_of_a_log_have_one_name() -> None:
    other = Signer("log.example/two", KeyType.ED25519, bytes(32))
    for signers in ([], [SIGNER, other]):
        with pytest.raises(ConfigError, match="keys of one name"):
            LogWriter(MemoryStorage(), signers, Path("index.db"))


def test_a_log_may_sign_with_a_second_key(tmp_path: Path) -> None:
    second = Signer(SIGNER.key.name, KeyType.ML_DSA_44_COSIGNATURE, bytes(32))
    storage = MemoryStorage()
    log = LogSession(
        storage, LogIndex(tmp_path / "i", origin=SIGNER.key.name), [SIGNER, second], identify=None, clock=now
    )
    log.append([b"entry"])
    assert log.tree.note.count(b"\xe2\x80\x94 log.example/one ") == 2
    assert session(storage, tmp_path / "i").tree == log.tree


def test_a_log_of_another_key_is_not_opened(tmp_path: Path) -> None:
    storage = MemoryStorage()
    session(storage, tmp_path / "i").append([b"entry"])
    other = Signer(SIGNER.key.name, KeyType.ED25519, b"1" * 32)
    with pytest.raises(ConfigError, match="another key"):
        LogSession(storage, LogIndex(tmp_path / "i", origin=SIGNER.key.name), [other], identify=None, clock=now)


def test_a_log_that_lost_its_commit_is_not_begun_anew(tmp_path: Path) -> None:
    storage = MemoryStorage()
    storage.replace("checkpoint", b"a checkpoint", None)
    with pytest.raises(TransparencyError, match="a second tree of one size"):
        session(storage, tmp_path / "i")


def test_a_log_with_a_damaged_or_missing_file_does_not_go_on(tmp_path: Path) -> None:
    storage = MemoryStorage()
    log = session(storage, tmp_path / "i")
    log.append([b"one"])
    log.append([b"two"])
    good = storage.files["tile/0/000.p/1"]
    storage.files["tile/0/000.p/1"] = StoredFile(bytes(32))
    with pytest.raises(TransparencyError, match="root that it signed"):
        session(storage, tmp_path / "i")
    del storage.files["tile/0/000.p/1"]
    with pytest.raises(BackendError, match=r"missing: got tile/0/000\.p/1"):
        session(storage, tmp_path / "i")
    storage.files["tile/0/000.p/1"] = good
    storage.files["tile/0/000.p/2"] = StoredFile(bytes(64))
    with pytest.raises(TransparencyError, match=r"another content than its commit: got tile/0/000\.p/2"):
        session(storage, tmp_path / "i")


def test_partial_files_are_cut_from_full_ones_when_they_are_gone(tmp_path: Path) -> None:
    storage = MemoryStorage()
    log = session(storage, tmp_path / "i")
    log.append([b"%d" % number for number in range(200)])
    log.append([b"%d" % number for number in range(200, 300)])
    del storage.files["tile/0/000.p/200"]
    del storage.files["tile/entries/000.p/200"]
    assert session(storage, tmp_path / "other").tree == log.tree
    assert len(entries(storage, 0, 200)) == 200


# --- Other writers ----------------------------------------------------------------------------------------------------


def test_of_two_writers_the_late_one_reads_again_and_goes_on(tmp_path: Path) -> None:
    storage = MemoryStorage()
    first, second = session(storage, tmp_path / "first"), session(storage, tmp_path / "second")
    assert first.append([b"a", b"b"]) == [0, 1]
    assert second.append([b"b", b"c"]) == [1, 2]
    assert first.append([b"c", b"d"]) == [2, 3]
    second.refresh()
    assert second.tree == first.tree
    assert [proved(storage, first.tree, index) for index in range(4)] == [b"a", b"b", b"c", b"d"]


def test_a_writer_that_is_late_each_time_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    log = session(storage, tmp_path / "i")

    def late(*_: object) -> StoredFile:
        raise StorageConflictError("late")

    monkeypatch.setattr(storage, "replace", late)
    with pytest.raises(StorageConflictError, match="Let one of them write"):
        log.append([b"a"])


def test_a_commit_that_vanishes_is_an_error(tmp_path: Path) -> None:
    storage = MemoryStorage()
    log = session(storage, tmp_path / "i")
    storage.replace("checkpoint", b"", None)
    del storage.files[COMMIT_PATH]
    with pytest.raises(TransparencyError, match="is missing"):
        log.refresh()


@pytest.mark.anyio
async def test_two_writers_of_one_bucket_lose_nothing(tmp_path: Path) -> None:
    needs_packages("moto", "obstore")
    with running_object_store() as url:
        writers = [LogWriter(s3_storage(url, "log"), [SIGNER], tmp_path / f"index{number}.db") for number in range(2)]
        seen: dict[int, bytes] = {}
        places: dict[bytes, int] = {}

        async def append(number: int, writer: LogWriter) -> None:
            for each in range(12):
                entry = b"%d-%d" % (number, each)
                while entry not in places:
                    try:
                        places[entry] = await writer.append(entry)
                    except BackendError:
                        continue
                assert seen.setdefault(writer.tree.size, writer.tree.root) == writer.tree.root

        for writer in writers:
            await writer.open()
        async with anyio.create_task_group() as tasks:
            for number, writer in enumerate(writers):
                tasks.start_soon(append, number, writer)
        tree = await writers[0].refresh()
        assert tree == await writers[1].refresh()
        assert sorted(places.values()) == list(range(24))
        assert entries(writers[0].storage, 0, 24) == tuple(sorted(places, key=places.__getitem__))
        for writer in writers:
            await writer.aclose()


# --- The index --------------------------------------------------------------------------------------------------------


def test_an_index_that_is_lost_is_made_anew(tmp_path: Path) -> None:
    storage = MemoryStorage()
    batch = [b"%d" % number for number in range(600)]
    log = session(storage, tmp_path / "i")
    log.append(batch[:300])
    log.append(batch[300:])
    assert session(storage, tmp_path / "new").append([batch[599], b"new", batch[0]]) == [599, 600, 0]
    assert session(storage, tmp_path / "i").append([batch[5], b"new"]) == [5, 600]


def test_a_log_whose_storage_lost_acknowledged_entries_does_not_open(tmp_path: Path) -> None:
    storage = MemoryStorage()
    session(storage, tmp_path / "i").append([b"a"])
    copy = dict(storage.files)
    log = session(storage, tmp_path / "i")
    log.append([b"b"])
    storage.files = copy
    with pytest.raises(TransparencyError, match=r"got 1 entries, want the 2 of its index.*Restore its newest files"):
        session(storage, tmp_path / "i")
    with pytest.raises(TransparencyError, match="what it has acknowledged"):
        log.append([b"c"])
    other = session(storage, tmp_path / "new")  # who has no index cannot know: witnesses do
    other.append([b"another b"])
    with pytest.raises(TransparencyError, match="what it has acknowledged"):
        session(storage, tmp_path / "i")


def test_the_index_of_another_log_is_not_taken_over(tmp_path: Path) -> None:
    session(MemoryStorage(), tmp_path / "i")
    other = Signer("log.example/two", KeyType.ED25519, bytes(32))
    index = LogIndex(tmp_path / "i", origin=other.key.name)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"got log\.example/one, want log\.example/two.*a file of its own"):
            LogSession(MemoryStorage(), index, [other], identify=None, clock=now)
    index.close()


@pytest.mark.anyio
async def test_two_logs_do_not_share_an_index(tmp_path: Path) -> None:
    other = Signer("log.example/two", KeyType.ED25519, bytes(32))
    first = LogWriter(FolderStorage(tmp_path / "one"), [SIGNER], tmp_path / "index.db")
    await first.open()
    second = LogWriter(FolderStorage(tmp_path / "two"), [other], tmp_path / "index.db")
    with pytest.raises(BusyError, match="another log uses the index"):
        await second.open()
    assert await first.append(b"entry") == 0
    await first.aclose()
    with pytest.raises(ConfigError, match="the index of another log"):
        await second.open()
    await first.open()
    assert await first.append(b"entry") == 0
    await first.aclose()


def test_an_index_that_cannot_be_used_says_that_it_may_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, but it is long enough to look like one" * 40)
    with pytest.raises(BackendError, match="It can be deleted"):
        LogIndex(tmp_path / "text", origin="").open()
    with sqlite3.connect(tmp_path / "newer") as connection:
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(BackendError, match="another version"):
        LogIndex(tmp_path / "newer", origin="").open()
    with pytest.raises(BackendError, match="cannot be opened"):
        LogIndex(tmp_path / "none" / "index", origin="").open()
    with pytest.raises(LocalProtocolError, match="not open"):
        LogIndex(tmp_path / "index", origin="").extent()


# --- Statements -------------------------------------------------------------------------------------------------------

ADMISSION = LogAdmission(POLICY)
ENTRY, LATER = sealed(DIRECTORY.about(NAME)), sealed(CHANGED.about(NAME))


def test_a_statement_in_another_envelope_is_not_logged_again(tmp_path: Path) -> None:
    log = session(MemoryStorage(), tmp_path / "i", admission=ADMISSION)
    spelled = json.dumps(json.loads(ENTRY), indent=1).encode()
    places = log.append([ENTRY, spelled, ENTRY])
    assert (places[0], places[2], log.tree.size) == (0, 0, 1)
    for refused in (places[1], *log.append([spelled])):
        assert isinstance(refused, AlreadyLoggedError)
        assert "in another envelope: got entry 0" in str(refused)


def test_a_statement_of_the_same_second_or_before_is_not_logged(tmp_path: Path) -> None:
    storage = MemoryStorage()
    log = session(storage, tmp_path / "i", admission=ADMISSION)
    assert log.append([ENTRY]) == [0]
    for made in (log, session(storage, tmp_path / "new", admission=ADMISSION)):
        [refused] = made.append([LATER])
        assert isinstance(refused, AlreadyLoggedError)
        assert "replaces this one" in str(refused)


def test_an_index_without_statements_is_made_anew_when_they_are_told_apart(tmp_path: Path) -> None:
    storage = MemoryStorage()
    session(storage, tmp_path / "i").append([b"no statement", ENTRY])
    log = session(storage, tmp_path / "i", admission=ADMISSION)
    assert log.append([b"no statement", ENTRY, b"neither"]) == [0, 1, 2]
    assert isinstance(log.append([LATER])[0], AlreadyLoggedError)


def test_an_index_is_made_anew_when_only_the_newest_counts_from_now_on(tmp_path: Path) -> None:
    storage = MemoryStorage()
    rules = {type_: evolve(rule, newest_only=False) for type_, rule in POLICY.rules.items()}
    both = LogAdmission(StatementPolicy(rules))
    assert session(storage, tmp_path / "i", admission=both).append([ENTRY, LATER]) == [0, 1]
    third = sealed(evolve(CHANGED, directory="version = 2\n").about(NAME))
    [refused] = session(storage, tmp_path / "i", admission=ADMISSION).append([third])
    assert isinstance(refused, AlreadyLoggedError)
    assert "replaces this one" in str(refused)


@pytest.mark.anyio
async def test_whoever_appends_a_statement_again_is_told_so(tmp_path: Path) -> None:
    writer = LogWriter(MemoryStorage(), [SIGNER], tmp_path / "i", identify=ADMISSION.identify)
    await writer.open()
    assert await writer.append(ENTRY) == 0
    for _ in range(2):
        with pytest.raises(AlreadyLoggedError):
            await writer.append(LATER)
    await writer.aclose()
