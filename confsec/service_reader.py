"""Where a client learns of its service: a root and the log it names, or a directory file that is in no log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias, final

import anyio
from attrs import frozen

from confsec.backends.api import Clock, HttpRequest, Transport
from confsec.backends.log_source import HttpLogSource, read_log
from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.errors import ConfigError, LimitError, PeerError, TransparencyError
from confsec.protocol import toml_general
from confsec.protocol.directory import MAX_DIRECTORY, ServiceDirectory, check_web_url
from confsec.protocol.log_root import LogRoot
from confsec.protocol.log_state import MAX_STATE_ENTRIES
from confsec.protocol.service_logs import LoggedDirectory
from confsec.protocol.state_reader import Firsts, StateNews, StateUpdate
from confsec.protocol.transparency import TrustedLog

__all__ = ["Service", "ServiceReader", "read_description"]

Service: TypeAlias = str | Path | ServiceDirectory | LogRoot
"""Where a service is described: a root, or the path of its file; else the path of a directory file, its URL, or the
directory itself."""

_log = logging.getLogger("confsec.client")


@frozen
class _Read:
    """A directory that was read, and what to remember of its log."""

    directory: LoggedDirectory
    news: StateNews

    @property
    def trusted(self) -> TrustedLog:
        """What to remember."""
        return self.news.trusted


@final
class ServiceReader:
    """Reads the directory of one service, again and again."""

    def __init__(
        self,
        service: Service,
        *,
        pin: bytes,
        transport: Callable[[], Transport],
        memory: SqliteTrustedLogs,
        clock: Clock,
    ) -> None:
        """Read `service`, whose digest must be `pin` if there is one. `memory` is open when `read` is called."""
        self._service: Final = service
        self._pin: Final = pin
        self._transport: Final = transport
        self._memory: Final = memory
        self._now: Final = clock
        self.first_contact: bool = False
        """Nothing was remembered of the service's logs when they were first read: the root alone vouches for them."""

    async def read(self) -> ServiceDirectory | LoggedDirectory:
        """Return the directory that is in effect.

        Raises `ConfigError` for a file that cannot be read or is not the pinned one, `PeerError` and `TransportError`
        if something cannot be fetched, and what `StateUpdate` and `find_directory` raise.
        """
        described = await self._describe()
        if self._pin and described.digest != self._pin:
            raise ConfigError(
                "the description of the service is not the one that is pinned",
                got=described.digest.hex(),
                want=self._pin.hex(),
                hint="Compare the digest with other users before you pin another",
            )
        return await self._read_log(described) if isinstance(described, LogRoot) else described

    async def _describe(self) -> LogRoot | ServiceDirectory:
        if isinstance(self._service, LogRoot | ServiceDirectory):
            return self._service
        if isinstance(self._service, str) and self._service.startswith(("http://", "https://")):
            return await self._fetch_directory(self._service)
        return await _read_file(Path(self._service))

    async def _read_log(self, root: LogRoot) -> LoggedDirectory:
        async def step(trusted: TrustedLog) -> _Read:
            if not trusted.size:
                self._say_first_contact(root)
            update = StateUpdate(
                trusted, root.witnesses, at=self._now(), maximum_age=root.directory.maximum_age,
                entries=MAX_STATE_ENTRIES, firsts=Firsts.ALL,
            )  # fmt: skip
            news = await read_log(update, HttpLogSource(root.directory.url, self._transport()).fetch)
            directory = LoggedDirectory(root, news.state)
            if self._now() >= directory.in_effect.valid_until:
                raise TransparencyError(
                    "the directory has ended, and there is no newer one", got=directory.in_effect.valid_until,
                    hint="Its operator has to log a new one",
                )  # fmt: skip
            return _Read(directory, news)

        return (await self._memory.advance(root.directory.origin, step)).directory

    def _say_first_contact(self, root: LogRoot) -> None:
        self.first_contact = True
        _log.warning(
            "first contact with %s: only its root file vouches for its logs. "
            "Compare its digest with others, who have to have the same: %s",
            root.name,
            root.digest.hex(),
        )

    async def _fetch_directory(self, url: str) -> ServiceDirectory:
        check_web_url(url, "the address of the directory")
        content = bytearray()
        async with self._transport().stream(HttpRequest(method="GET", url=url)) as response:
            if response.status != 200:
                raise PeerError("the directory could not be fetched", status=response.status, section="")
            async for part in response.content:
                content += part
                if len(content) > MAX_DIRECTORY:
                    raise LimitError("the directory is too long", want=f"at most {MAX_DIRECTORY} bytes")
        return ServiceDirectory.from_toml(_text(bytes(content), url))


async def _read_file(path: Path) -> LogRoot | ServiceDirectory:
    try:
        data = await anyio.Path(path).read_bytes()
    except OSError as exc:
        raise ConfigError(
            f"the description of the service {path} cannot be read: {exc.strerror}",
            hint="Name the root file that the operator of the service published, or a directory file",
        ) from exc
    return read_description(data, str(path))


def read_description(data: bytes, source: str) -> LogRoot | ServiceDirectory:
    """Read the file that describes a service: a root file has `witnesses`. Raises `ConfigError` with the key."""
    text = _text(data, source)
    if "witnesses" in toml_general.decode(text, what=f"the file {source}"):
        return LogRoot.from_toml(text)
    return ServiceDirectory.from_toml(text)


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the description of the service {source} is not text in UTF-8") from exc
