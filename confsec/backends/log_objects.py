"""A log's files in an object store: S3 and what speaks like it, Google Cloud Storage, Azure (extra `objects`).

There is no lock that a dead writer could hold. Two writers are told apart by the version of the one file that each has
to replace before it does anything else, so the second one finds that it is late.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import unquote, urlsplit

from confsec.backends.log_files import file_headers
from confsec.backends.log_storage import FolderStorage, LogStorage, StorageConflictError, StoredFile
from confsec.errors import BackendError, ConfigError, LocalProtocolError, MissingExtraError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["ObjectStorage", "storage_at"]

_SCHEMES: Final = frozenset({"s3", "gs", "az"})
_AT_ONCE: Final = 16
"""Files that are written at the same time: each waits for the network most of its time."""

_RETRY: Final = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
_CLIENT: Final = {"timeout": "15s", "connect_timeout": "5s"}


def storage_at(place: str) -> LogStorage:
    """Return the storage in a folder, or behind a URL such as `s3://bucket/prefix`. Raises `ConfigError`."""
    url = urlsplit(place)
    if "://" not in place:
        return FolderStorage(Path(place))
    if url.scheme == "file" and not url.netloc:
        return FolderStorage(Path(unquote(url.path)))
    return ObjectStorage(place)


@final
class ObjectStorage:
    """A bucket, or what is below a prefix in one."""

    def __init__(self, url: str, **settings: Any) -> None:
        """Keep the files at `url`, such as `s3://bucket/prefix`, `gs://bucket`, `az://account/container`.

        Credentials, regions and endpoints are read from the environment, under the names that the store's own tools
        use; `settings` go before them. Raises `ConfigError` for a URL that is none of an object store.
        """
        if urlsplit(url).scheme not in _SCHEMES or "@" in url:
            raise ConfigError("this is no object store", want=", ".join(sorted(f"{each}://" for each in _SCHEMES)))
        self._url = url
        self._settings = settings
        self._store: ObjectStore | None = None
        self._threads: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Get ready. Whether anybody else writes shows when something is replaced. Raises `MissingExtraError`."""
        if self._store is not None:
            raise LocalProtocolError("the object store of a log is open already")
        try:
            from obstore.store import from_url
        except ImportError as exc:
            raise MissingExtraError("obstore", extra="objects") from exc
        options: dict[str, Any] = {"retry_config": _RETRY, "client_options": _CLIENT, **self._settings}
        with _errors("the object store"):
            self._store = from_url(self._url, **options)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="log-objects")

    def close(self) -> None:
        """Let go. Idempotent."""
        self._store, threads, self._threads = None, self._threads, None
        if threads is not None:
            threads.shutdown()

    def get(self, path: str) -> StoredFile | None:
        """Return a file, or None if there is none. Raises `BackendError`."""
        import obstore

        with _errors(path):
            try:
                result = obstore.get(self._open(), path)
            except FileNotFoundError:
                return None
            return StoredFile(bytes(result.bytes()), _version(result.meta))

    def create(self, files: Mapping[str, bytes]) -> tuple[str, ...]:
        """Write files that are not there, before this returns. Return the paths of those that were there."""
        if self._threads is None:
            raise LocalProtocolError("the object store of a log is not open")
        created = self._threads.map(self._create, files.items())
        return tuple(path for path, new in zip(files, created, strict=True) if not new)

    def replace(self, path: str, data: bytes, known: StoredFile | None) -> StoredFile:
        """Write a file in place of the version that is `known`. Raises `StorageConflictError`, `BackendError`."""
        import obstore

        mode: Any = "create" if known is None else known.version
        with _errors(path):
            result = obstore.put(self._open(), path, data, mode=mode, attributes=_attributes(path))
        return StoredFile(data, _version(result))

    def remove(self, folders: Iterable[str]) -> None:
        """Remove files below paths. Raises `BackendError`."""
        import obstore

        store = self._open()
        for folder in folders:
            with _errors(folder):
                for found in obstore.list(store, prefix=f"{folder}/"):
                    obstore.delete(store, [each["path"] for each in found])

    def _create(self, item: tuple[str, bytes]) -> bool:
        import obstore

        path, data = item
        try:
            with _errors(path):
                obstore.put(self._open(), path, data, mode="create", attributes=_attributes(path))
        except StorageConflictError:
            return False
        return True

    def _open(self) -> ObjectStore:
        if self._store is None:
            raise LocalProtocolError("the object store of a log is not open")
        return self._store


def _version(meta: Any) -> dict[str, Any]:
    """Return what the store compares: what it gives differs from store to store."""
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}


def _attributes(path: str) -> Any:
    """Return what the store says of a file when it serves it itself."""
    return dict(file_headers(path) or ())


@contextmanager
def _errors(what: str) -> Generator[None]:
    """Turn what the store says into our errors. Its own words may show a signed URL, so they do not come along."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        yield
    except (AlreadyExistsError, PreconditionError, FileExistsError) as exc:
        raise StorageConflictError(f"{what} of a log has another content than its writer knows") from exc
    except (BaseError, OSError, ValueError) as exc:
        raise BackendError(f"{what} of a log: the object store failed", got=type(exc).__name__) from exc
