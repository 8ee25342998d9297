"""A log in a folder when the power fails: what was not on the disk is gone, and what was acknowledged is not."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from confsec.backends.log_index import LogIndex
from confsec.backends.log_session import LogSession
from confsec.backends.log_storage import FolderStorage
from confsec.backends.log_tiles import entries
from confsec.backends.system import now
from confsec.protocol.merkle import CompactRange, leaf_hash
from confsec.protocol.note_keys import KeyType, Signer

SIGNER = Signer("log.example/power", KeyType.ED25519, bytes(32))


class PowerFailureError(Exception):
    """From here on nothing reaches the disk."""


class Disk:
    """What is on the disk: of a file what was synced, and of a folder the names that were synced with it.

    This is what POSIX promises, and less than most file systems do.
    """

    def __init__(self, folder: Path, fails_after: int) -> None:
        """Begin with all that is in `folder`. The power fails when something is synced for the so-maniest time."""
        self._folder = folder
        self.left = fails_after
        self.kills = False
        """Only the process ends then, and all that it wrote is there for the next one, on the disk or not."""
        self._lock = threading.Lock()
        self._contents: dict[tuple[int, int], bytes] = {}
        self._names: dict[Path, dict[str, bytes | None]] = {}
        self.failed = False
        for each in sorted([folder, *folder.rglob("*")], key=Path.is_dir) if folder.exists() else []:
            self._sync(each)

    def fsync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not path.is_relative_to(self._folder):
            return
        with self._lock:
            self.left -= 1
            if self.left == 0 and self.kills:
                raise PowerFailureError
            self.failed = self.failed or self.left == 0
            if self.failed:
                raise PowerFailureError
            self._sync(path)

    def restore(self, folder: Path, to: Path) -> None:
        """Make at `to` what the disk has of `folder`."""
        to.mkdir()
        for name, content in self._names.get(folder, {}).items():
            if content is None:
                self.restore(folder / name, to / name)
            else:
                (to / name).write_bytes(content)

    def _sync(self, path: Path) -> None:
        if path.is_dir():
            inside = list(path.iterdir())
            self._names[path] = {each.name: None if each.is_dir() else self._content(each) for each in inside}
        else:
            self._contents[self._file(path)] = path.read_bytes()

    def _content(self, path: Path) -> bytes:
        return self._contents.get(self._file(path), b"")

    @staticmethod
    def _file(path: Path) -> tuple[int, int]:
        found = path.stat()
        return found.st_ino, found.st_mtime_ns


@contextmanager
def power(monkeypatch: pytest.MonkeyPatch, disk: Disk) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk.fsync)
        yield


def opened(folder: Path, index: Path) -> tuple[FolderStorage, LogSession]:
    storage = FolderStorage(folder)
    storage.open()
    try:
        return storage, LogSession(storage, LogIndex(index, origin=SIGNER.key.name), [SIGNER], identify=None, clock=now)
    except PowerFailureError:
        storage.close()
        raise


@pytest.mark.parametrize("fails_after", range(1, 60, 2))
def test_what_was_acknowledged_survives_and_there_is_one_tree_of_each_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_after: int
) -> None:
    """The second life begins on the disk of the first one's folder, and ends without its power, too."""
    history = History(tmp_path)
    for life in range(3):
        disk = Disk(history.folder, fails_after if life < 2 else 1 << 30)
        with power(monkeypatch, disk):
            history.live([[b"%d-%d-%d" % (life, number, each) for each in range(90)] for number in range(4)])
        if disk.failed:
            history.restore(disk)
    history.check()


@pytest.mark.parametrize("killed_after", range(1, 24))
def test_what_a_killed_process_left_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    """The second process is asked for what the first one may have written, and then the power fails."""
    batches = [[b"%d-%d" % (number, each) for each in range(90)] for number in range(2)]
    for fails_after in range(1, 8, 2):
        folder = tmp_path / f"{fails_after}"
        folder.mkdir()
        history = History(folder)
        disk = Disk(history.folder, killed_after)
        with power(monkeypatch, disk):
            disk.kills = True
            history.live(batches)
            disk.kills, disk.left = False, fails_after
            history.live(batches)
            disk.failed = True
        history.restore(disk)
        history.live([[b"another entry"]])
        history.check()


class History:
    """The lives of one log, and what others have seen of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "0"
        self._index = folder / "index.db"
        self._acknowledged: dict[int, bytes] = {}
        self._roots: dict[int, bytes] = {}

    def live(self, batches: list[list[bytes]]) -> None:
        """Append until the power fails."""
        try:
            storage, log = opened(self.folder, self._index)
            try:
                self._see(log)
                for batch in batches:
                    for place, entry in zip(log.append(batch), batch, strict=True):
                        assert isinstance(place, int)
                        self._acknowledged[place] = entry
                    self._see(log)
            finally:
                storage.close()
        except PowerFailureError:
            pass

    def restore(self, disk: Disk) -> None:
        """Go on with what is on the disk."""
        folder = self.folder.with_name(f"{int(self.folder.name) + 1}")
        disk.restore(self.folder, folder)
        self.folder = folder

    def check(self) -> None:
        """Hold what others have seen against what the log has."""
        storage, log = opened(self.folder, self._index)
        found = [each for at in range((log.tree.size + 255) // 256) for each in entries(storage, at, log.tree.size)]
        assert {place: found[place] for place in self._acknowledged} == self._acknowledged
        for size, root in self._roots.items():
            assert CompactRange().append(*map(leaf_hash, found[:size])).root == root
        storage.close()

    def _see(self, log: LogSession) -> None:
        assert self._roots.setdefault(log.tree.size, log.tree.root) == log.tree.root
