"""Where the static files of a log are fetched from: a web server or a folder (C2SP tlog-tiles).

What is fetched is believed by nobody until `LogUpdate` or `TreeReader` has checked it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol, TypeAlias, TypeVar, final

import anyio
import anyio.to_thread

from confsec.backends.api import HttpRequest, Transport
from confsec.errors import BackendError, ConfsecError, LimitError, PeerError
from confsec.protocol.directory import check_web_url
from confsec.protocol.tree_reader import body_limit

__all__ = ["CachingSource", "Fetch", "FolderLogSource", "HttpLogSource", "fetch_from", "read_log"]

Fetch: TypeAlias = Callable[[str], Awaitable[bytes | None]]
"""Fetches the file at a path below a log's prefix; None if the log has none there."""

_NewsT_co = TypeVar("_NewsT_co", covariant=True)

_UPPER: Final = tuple(f"tile/{level}/" for level in range(1, 8))
_MAX_KEPT: Final = 512
_AT_ONCE: Final = 8
"""So many files are fetched at once."""


class _Reading(Protocol[_NewsT_co]):
    """What reads a log: `LogUpdate` or `TreeReader`."""

    @property
    def wanted(self) -> tuple[str, ...]: ...

    def receive(self, path: str, body: bytes) -> None: ...

    def missing(self, path: str) -> None: ...

    def finish(self) -> _NewsT_co: ...


async def read_log(update: _Reading[_NewsT_co], fetch: Fetch) -> _NewsT_co:
    """Fetch what an update or a reader wants, until it wants nothing, and return its result.

    Raises what they raise, and what `fetch` raises.
    """
    while wanted := update.wanted[:_AT_ONCE]:
        for path, body in (await _fetch_all(wanted, fetch)).items():
            if body is None:
                update.missing(path)
            else:
                update.receive(path, body)
    return update.finish()


async def _fetch_all(paths: tuple[str, ...], fetch: Fetch) -> dict[str, bytes | None]:
    """Fetch several files at once. The first error ends all."""
    bodies: dict[str, bytes | None] = {}
    errors: list[ConfsecError] = []

    async def run(path: str) -> None:
        try:
            bodies[path] = await fetch(path)
        except ConfsecError as exc:
            errors.append(exc)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for path in paths:
            group.start_soon(run, path)
    if errors:
        raise errors[0]
    return {path: bodies[path] for path in paths}


@final
class HttpLogSource:
    """A log that a web server serves. Redirects are not followed: a log stands where its policy says."""

    def __init__(self, url: str, transport: Transport) -> None:
        """Fetch below `url`, with a transport that is the caller's to close. Raises `ConfigError`."""
        check_web_url(url, "the address of a log")
        self._url: Final = url.rstrip("/")
        self._transport: Final = transport

    async def fetch(self, path: str) -> bytes | None:
        """Return the file at `path`, or None. Raises `PeerError`, `LimitError` and `TransportError`."""
        limit, content = body_limit(path), bytearray()
        request = HttpRequest(method="GET", url=f"{self._url}/{path}")
        async with self._transport.stream(request) as response:
            if response.status in {404, 410}:
                return None
            if response.status != 200:
                raise PeerError(f"the log does not serve {path}", status=response.status, section="")
            async for part in response.content:
                content += part
                _require_limit(len(content), path, limit)
        return bytes(content)


@final
class FolderLogSource:
    """A log whose files are in a folder."""

    def __init__(self, folder: Path) -> None:
        """Fetch below `folder`."""
        self._folder: Final = folder

    async def fetch(self, path: str) -> bytes | None:
        """Return the file at `path`, or None. Raises `LimitError` and `BackendError`."""
        return await anyio.to_thread.run_sync(_read, self._folder / path, path)


@final
class CachingSource:
    """Keeps the upper tiles of a log for as long as it lives: those that every part of a large tree needs."""

    def __init__(self, fetch: Fetch) -> None:
        """Fetch with `fetch` what is not kept."""
        self._fetch: Final = fetch
        self._kept: Final = dict[str, bytes]()

    async def fetch(self, path: str) -> bytes | None:
        """Return the file at `path`, or None. Raises what `fetch` raises."""
        if path in self._kept:
            return self._kept[path]
        body = await self._fetch(path)
        if body is not None and path.startswith(_UPPER) and len(self._kept) < _MAX_KEPT:
            self._kept[path] = body
        return body


def fetch_from(source: str, transport: Transport) -> Fetch:
    """Return what fetches the files of a log from its URL or its folder. Raises `ConfigError`."""
    if "://" in source:
        return HttpLogSource(source, transport).fetch
    return FolderLogSource(Path(source)).fetch


def _read(file: Path, path: str) -> bytes | None:
    limit = body_limit(path)
    try:
        with file.open("rb") as opened:
            content = opened.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise BackendError(f"{file} cannot be read", got=exc.strerror) from exc
    _require_limit(len(content), path, limit)
    return content


def _require_limit(size: int, path: str, limit: int) -> None:
    if size > limit:
        raise LimitError(f"the log serves too much as {path}", want=f"at most {limit} bytes")
