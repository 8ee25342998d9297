"""Where a log keeps its files: the same promises of a folder and of an object store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from confsec.backends.log_objects import ObjectStorage, storage_at
from confsec.backends.log_storage import FolderStorage, LogStorage, StorageConflictError
from confsec.errors import BackendError, BusyError, ConfigError, LocalProtocolError, MissingExtraError
from tests.backends.object_store import running_object_store, s3_storage
from tests.support import needs_packages

Make = Callable[[], LogStorage]


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    needs_packages("moto", "obstore")
    with running_object_store() as url:
        yield url


@pytest.fixture(params=["folder", "s3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Return what makes one more handle on the same files."""
    if request.param == "folder":
        return lambda: FolderStorage(tmp_path / "deep" / "log")
    url: str = request.getfixturevalue("object_store")
    return lambda: s3_storage(url, f"{tmp_path.name}/log")


@pytest.fixture
def storage(make: Make) -> Iterator[LogStorage]:
    storage = make()
    storage.open()
    yield storage
    storage.close()


def content(storage: LogStorage, path: str) -> bytes | None:
    file = storage.get(path)
    return None if file is None else file.data


def test_what_was_created_is_there_and_stays(storage: LogStorage) -> None:
    assert storage.create({"tile/0/000": b"a", "tile/0/001.p/3": b"b", "proof/0": b""}) == ()
    assert storage.create({"tile/0/000": b"other", "tile/0/001": b"c"}) == ("tile/0/000",)
    contents = [content(storage, path) for path in ("tile/0/000", "tile/0/001.p/3", "tile/0/001", "proof/0")]
    assert contents == [b"a", b"b", b"c", b""]
    assert content(storage, "tile/0/002") is None
    assert content(storage, "tile/0") is None


def test_a_file_is_replaced_by_whoever_knows_it(storage: LogStorage) -> None:
    first = storage.replace("checkpoint", b"one", None)
    second = storage.replace("checkpoint", b"two", first)
    for late in (None, first):
        with pytest.raises(StorageConflictError):
            storage.replace("checkpoint", b"late", late)
    found = storage.get("checkpoint")
    assert found == second
    assert storage.replace("checkpoint", b"three", found).data == content(storage, "checkpoint") == b"three"


def test_of_many_who_know_the_same_file_one_replaces_it(storage: LogStorage) -> None:
    known = storage.replace("checkpoint", b"one", None)

    def replace(number: int) -> bool:
        try:
            storage.replace("checkpoint", b"writer %d" % number, known)
        except StorageConflictError:
            return False
        return True

    if isinstance(storage, FolderStorage):  # its lock keeps other processes away, and its writer has one thread
        assert [replace(number) for number in range(4)].count(True) == 1
        return
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(replace, range(4))).count(True) == 1


def test_folders_are_removed_with_what_is_in_them(storage: LogStorage) -> None:
    storage.create({"tile/0/000.p/1": b"a", "tile/0/000.p/2": b"b", "tile/0/000": b"c"})
    storage.remove(["tile/0/000.p", "tile/0/001.p"])
    assert [content(storage, path) for path in ("tile/0/000.p/1", "tile/0/000.p/2", "tile/0/000")] == [None, None, b"c"]


def test_files_are_there_for_the_next_one_who_opens(make: Make) -> None:
    first = make()
    first.open()
    known = first.replace("commit", b"one", None)
    first.close()
    first.close()
    second = make()
    second.open()
    assert second.replace("commit", b"two", second.get("commit")).version != known.version
    second.close()


def test_nothing_is_written_before_it_is_open(make: Make) -> None:
    storage = make()
    for write in (
        lambda: storage.create({"a": b""}),
        lambda: storage.replace("a", b"", None),
        lambda: storage.remove(["a"]),
    ):
        with pytest.raises(LocalProtocolError, match="not open"):
            write()
    storage.open()
    with pytest.raises(LocalProtocolError, match="open already"):
        storage.open()
    storage.close()


# --- A folder ---------------------------------------------------------------------------------------------------------


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    first, second = FolderStorage(tmp_path), FolderStorage(tmp_path)
    first.open()
    with pytest.raises(BusyError, match="another process"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_drafts_of_a_killed_writer_are_swept_away(tmp_path: Path) -> None:
    (tmp_path / ".new-0123").write_bytes(b"half a ti")
    storage = FolderStorage(tmp_path)
    storage.open()
    storage.create({"tile/0/000": b"a"})
    storage.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "tile"]


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/a", "a//b", ".", "a\0b", ""])
def test_no_path_leads_out_of_a_folder(tmp_path: Path, path: str) -> None:
    storage = FolderStorage(tmp_path / "log")
    storage.open()
    for ask in (storage.get, lambda path: storage.create({path: b""}), lambda path: storage.replace(path, b"", None)):
        with pytest.raises(LocalProtocolError, match="leads out"):
            ask(path)
    storage.close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackendError, match=r"file/log cannot be opened"):
        FolderStorage(tmp_path / "file" / "log").open()
    storage = FolderStorage(tmp_path)
    storage.open()
    for write in (lambda: storage.create({"file/a": b""}), lambda: storage.replace("file/a", b"", None)):
        with pytest.raises(BackendError, match="cannot be written"):
            write()
    with pytest.raises(BackendError, match="cannot be removed"):
        storage.remove(["file"])
    storage.close()


def test_a_failed_write_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FolderStorage(tmp_path)
    storage.open()

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(BackendError, match="Input/output error"):
            storage.create({"tile/0/000": b"a"})
    assert not list(tmp_path.glob(".new-*"))
    assert storage.create({"tile/0/000": b"a"}) == ()
    storage.close()


def test_a_folder_that_cannot_be_synced_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(BackendError, match="cannot be used: Input/output error"):
            FolderStorage(tmp_path).open()
    storage = FolderStorage(tmp_path)
    storage.open()
    known = storage.replace("commit", b"one", None)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(BackendError, match="cannot be written"):
            storage.replace("commit", b"two", known)
        with pytest.raises(BackendError, match="cannot be read"):  # what is there may be gone tomorrow
            storage.get("commit")
    assert storage.get("commit") == known
    storage.close()


def test_a_file_that_cannot_be_read_is_no_missing_file(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(BackendError, match="cannot be read"):
        FolderStorage(tmp_path).get("loop")


# --- An object store --------------------------------------------------------------------------------------------------


def test_a_place_is_a_folder_or_a_url(tmp_path: Path) -> None:
    needs_packages("obstore")
    for place in (str(tmp_path), f"file://{tmp_path}"):
        assert isinstance(storage_at(place), FolderStorage)
    assert isinstance(storage_at("s3://bucket/prefix"), ObjectStorage)
    for place in ("ftp://host/log", "https://host/log", "file://host/log", "s3://user:password@bucket"):
        with pytest.raises(ConfigError, match="no object store") as caught:
            storage_at(place)
        assert "password" not in str(caught.value)


def test_a_bucket_that_serves_itself_says_what_a_log_would(object_store: str) -> None:
    import obstore

    storage = s3_storage(object_store, "served")
    storage.open()
    storage.replace("checkpoint", b"a checkpoint", storage.replace("checkpoint", b"an older one", None))
    storage.create({"tile/0/000": b"a", "proof/0": b"b"})
    for path, kind, caching in (
        ("checkpoint", "text/plain; charset=utf-8", "max-age=2"),
        ("tile/0/000", "application/octet-stream", "immutable"),
        ("proof/0", "text/plain; charset=utf-8", "immutable"),
    ):
        said = obstore.get(storage._open(), path).attributes
        assert said["Content-Type"] == kind
        assert caching in said["Cache-Control"]
    storage.close()


def test_an_object_store_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingExtraError, match=r"confsec-protocol\[objects\]"):
        ObjectStorage("s3://bucket").open()


def test_an_object_store_is_asked_when_it_is_open(object_store: str) -> None:
    with pytest.raises(LocalProtocolError, match="not open"):
        s3_storage(object_store, "log").get("a")


def test_an_object_store_that_does_not_answer_is_an_error_without_addresses(object_store: str) -> None:
    storage = s3_storage(f"{object_store}-that-is-not-there", "log")
    storage.open()
    for ask in (
        lambda: storage.create({"a": b""}),
        lambda: storage.replace("a", b"", None),
        lambda: storage.remove(["a"]),
    ):
        with pytest.raises(BackendError, match="the object store failed") as caught:
            ask()
        assert not isinstance(caught.value, StorageConflictError)
        assert "127.0.0.1" not in str(caught.value)
    storage.close()
