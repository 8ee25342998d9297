"""Where a log keeps its files: a folder here, an object store in `log_objects.py`.

Most files of a log never change: they are created once, and whoever creates one again has the same bytes. The few that
do change are replaced only by someone who knows what they held, so that of two writers one fails, and nothing is lost.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, TypeVar, final

from attrs import field, frozen

from confsec.backends.system import randbytes
from confsec.errors import BackendError, BusyError, LocalProtocolError

__all__ = ["FolderStorage", "LogStorage", "StorageConflictError", "StoredFile"]

_LOCK: Final = ".lock"
_TEMPORARY: Final = ".new-"
_AT_ONCE: Final = 8
"""Files that are written at the same time."""

_T = TypeVar("_T")


@final
class StorageConflictError(BackendError):
    """Somebody else has replaced the file meanwhile. Nothing was written."""

    code = "storage_conflict"
    status_hint = 503


@final
@frozen
class StoredFile:
    """A file as it was read or written."""

    data: bytes = field(repr=False)

    version: object = field(default=None, repr=False)
    """What the storage tells its versions apart by."""


class LogStorage(Protocol):
    """Files by their paths, such as `tile/0/000`. Methods block, and each may run in any thread.

    All raise `BackendError`: then nobody knows whether something was written.
    """

    def open(self) -> None:
        """Become the writer. Raises `BusyError` where the storage knows that there is another one."""
        ...

    def close(self) -> None:
        """Let another one write. Idempotent."""
        ...

    def get(self, path: str) -> StoredFile | None:
        """Return a file, or None if there is none."""
        ...

    def create(self, files: Mapping[str, bytes]) -> tuple[str, ...]:
        """Write files, each as a whole, and durably before this returns. Return the paths of those that were there.

        These stay as they are.
        """
        ...

    def replace(self, path: str, data: bytes, known: StoredFile | None) -> StoredFile:
        """Write one file as a whole, durably before this returns, in place of the one that is `known`; None for none.

        Raises `StorageConflictError` if there is another one.
        """
        ...

    def remove(self, folders: Iterable[str]) -> None:
        """Remove all files whose paths begin with one of these and a slash. It may take until later to hold."""
        ...


@final
class FolderStorage:
    """A folder, which any web server can serve. One process writes at a time."""

    def __init__(self, folder: Path) -> None:
        """Keep the files in `folder`, which is made when it is opened."""
        self._folder = folder
        self._lock: int | None = None
        self._unsure = False  # whether a write failed, so that nobody knows what is on the disk
        self._threads: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Become the writer. Raises `BusyError` if another process is."""
        if self._lock is not None:
            raise LocalProtocolError("the folder of a log is open already")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(descriptor)
                raise
        except BlockingIOError as exc:
            raise BusyError(f"another process writes the log in {self._folder}", hint="Stop it first") from exc
        except OSError as exc:
            raise BackendError(f"the folder of a log {self._folder} cannot be opened: {exc.strerror}") from exc
        self._lock = descriptor
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="log-folder")
        try:
            self._settle()
        except OSError as exc:
            self.close()
            raise BackendError(f"the folder of a log {self._folder} cannot be used: {exc.strerror}") from exc
        except BaseException:
            self.close()
            raise

    def _settle(self) -> None:
        """Have on the disk what another process has left: it may have been killed before it was."""
        for left in self._folder.glob(f"{_TEMPORARY}*"):
            left.unlink(missing_ok=True)
        _sync(self._folder)
        for folder in self._folder.absolute().parents:
            with suppress(PermissionError):  # then we cannot have made what is in it
                _sync(folder)

    def close(self) -> None:
        """Let another process write. Idempotent."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown()
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            os.close(descriptor)  # and with it the lock

    def get(self, path: str) -> StoredFile | None:
        """Return a file, or None if there is none. Raises `BackendError`."""
        try:
            if self._unsure:
                _sync(self._folder)  # what is read now counts, so it has to be there tomorrow
                self._unsure = False
            with self._path(path).open("rb") as file:
                return StoredFile(file.read(), _version(os.fstat(file.fileno())))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as exc:
            raise BackendError(f"{path} of a log cannot be read: {exc.strerror}") from exc

    def create(self, files: Mapping[str, bytes]) -> tuple[str, ...]:
        """Write files that are not there, durably before this returns. Return the paths of those that were there."""
        targets = {path: self._path(path) for path in files}
        try:
            there = {path for path, target in targets.items() if target.exists()}
            self._require_lock()
            for folder in {target.parent for target in targets.values()}:
                folder.mkdir(parents=True, exist_ok=True)
            self._at_once(lambda path: self._write(targets[path], files[path]), files.keys() - there)
            self._sync_above(targets.values())
        except OSError as exc:
            self._unsure = True
            raise BackendError(f"a file of a log cannot be written: {exc.strerror}") from exc
        return tuple(path for path in files if path in there)

    def replace(self, path: str, data: bytes, known: StoredFile | None) -> StoredFile:
        """Write a file in place of the one that is `known`. Raises `StorageConflictError`, `BackendError`."""
        target = self._path(path)
        try:
            there = _version(target.stat()) if target.exists() else None
            if there != (known and known.version):
                raise StorageConflictError(f"{path} of a log has another content than its writer knows")
            self._require_lock()
            target.parent.mkdir(parents=True, exist_ok=True)
            self._write(target, data)
            self._sync_above([target])
            return StoredFile(data, _version(target.stat()))
        except OSError as exc:
            self._unsure = True
            raise BackendError(f"{path} of a log cannot be written: {exc.strerror}") from exc

    def remove(self, folders: Iterable[str]) -> None:
        """Remove folders and all that is in them. Raises `BackendError`."""
        self._require_lock()
        for folder in folders:
            try:
                shutil.rmtree(self._path(folder))
            except FileNotFoundError:
                continue
            except OSError as exc:
                raise BackendError(f"{folder} of a log cannot be removed: {exc.strerror}") from exc

    def _path(self, path: str) -> Path:
        if any(part in {"", ".", ".."} for part in path.split("/")) or "\0" in path:
            raise LocalProtocolError("a path leads out of the folder of a log")
        return self._folder / path

    def _require_lock(self) -> None:
        if self._lock is None:
            raise LocalProtocolError("the folder of a log is not open for writing")

    def _sync_above(self, targets: Iterable[Path]) -> None:
        """Have names on the disk, and the folders that lead to them.

        Also those that were there: whoever made them may have been killed before they were on the disk.
        """
        folders = {folder for target in targets for folder in target.parents if folder.is_relative_to(self._folder)}
        self._at_once(_sync, folders)

    def _at_once(self, write: Callable[[_T], None], what: Iterable[_T]) -> None:
        """Do what waits for the disk: it does several writes in the time of one."""
        if self._threads is None:
            raise LocalProtocolError("the folder of a log is not open for writing")
        for _ in self._threads.map(write, what):
            pass

    def _write(self, target: Path, data: bytes) -> None:
        """Write a file under another name, and to the disk, before it gets its own."""
        temporary = self._folder / f"{_TEMPORARY}{randbytes(8).hex()}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _version(found: os.stat_result) -> tuple[int, int, int]:
    """Return what tells a file from the one that replaces it, which is another file."""
    return found.st_ino, found.st_mtime_ns, found.st_size


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
