"""The public files that a session fetches: of the router, and of the log of fleets, all through the gateway."""

from __future__ import annotations

from typing import Final, final

from attrs import define, field

from confsec.errors import LimitError
from confsec.protocol.bhttp_decoder import BhttpEvent, ContentReceived, ResponseHead
from confsec.protocol.oblivious import ObliviousExchange
from confsec.protocol.private import PrivateEvent
from confsec.protocol.problem import Problem
from confsec.protocol.service_logs import LoggedDirectory, ServiceLogs
from confsec.protocol.state_reader import StateUpdate

__all__ = ["FLEET_PATH", "FileFetch", "LogReading"]

FLEET_PATH: Final = "/v1/fleet"
"""Where a router has its fleet record. That of a log is asked for by name: a slash and its SHA-256 follow, in hex."""

_MISSING: Final = frozenset({404, 410})
"""How a server of files says that it has no such file."""


@define
class LogReading:
    """The fleet's log on its way to be read: all of it is fetched through the gateway, so nobody sees who reads."""

    directory: LoggedDirectory
    update: StateUpdate
    asked: set[str] = field(factory=set)


@final
class FileFetch:
    """A public file of the router or of the log, fetched through the gateway so that nobody sees who reads it."""

    def __init__(
        self,
        exchange: ObliviousExchange,
        path: str,
        limit: int,
        *,
        reading: LogReading | None,
        logs: ServiceLogs | None,
    ) -> None:
        self.path: Final = path
        self.reading: Final = reading
        """The reading of the fleet's log that it belongs to, if it is a file of that."""
        self.logs: Final = logs
        """What the log says of the fleet record, if it is one."""
        self._exchange = exchange
        self._limit = limit
        self._status = 0
        self._content = bytearray()

    @property
    def of_record(self) -> bool:
        """It is the fleet record, and not a file of a node."""
        return self.path == FLEET_PATH or self.logs is not None

    @property
    def of_log(self) -> bool:
        """It is a file of the fleet's log."""
        return self.reading is not None

    def receive_head(self, status: int, content_type: str) -> None:
        """Take status and content type of the relay's answer. Raises `RemoteProtocolError`."""
        self._exchange.receive_head(status, content_type)

    def receive_data(self, part: bytes) -> list[PrivateEvent]:
        """Take the next bytes. Nothing of a file is given out before its end. Raises what its layers raise."""
        self._collect(self._exchange.receive_data(part))
        return []

    def receive_file(self) -> bytes | None:
        """End a file that may be missing: then it is None."""
        self._collect(self._exchange.receive_eof())
        return None if self._status in _MISSING else self._whole()

    def receive_eof(self) -> bytes:
        """End the file and return it. Raises what its layers raise, and the error that the server names."""
        self._collect(self._exchange.receive_eof())
        return self._whole()

    def _whole(self) -> bytes:
        if self._status != 200:
            raise Problem.decode(bytes(self._content), status=self._status).to_error(
                "the log of fleets" if self.of_log else "the router"
            )
        return bytes(self._content)

    def _collect(self, events: list[BhttpEvent]) -> None:
        for event in events:
            if isinstance(event, ResponseHead):
                self._status = event.status
            elif isinstance(event, ContentReceived):
                self._content += event.data
                if len(self._content) > self._limit:
                    raise LimitError("a file of the router is too long", want=f"at most {self._limit} bytes")
