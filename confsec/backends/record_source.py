"""Where fleet records are fetched from: the router of a service, or any mirror of its records."""

from __future__ import annotations

from typing import Final, final

from confsec.backends.api import HttpRequest, Transport
from confsec.errors import LimitError, PeerError
from confsec.protocol.fleet import MAX_FLEET_RECORD

__all__ = ["RecordSource"]


@final
class RecordSource:
    """The fleet records below one address. What is fetched is believed by nobody until it was checked."""

    def __init__(self, url: str, transport: Transport) -> None:
        """Fetch below `url`, which ends with a slash, with a transport that is the caller's to close."""
        self._url: Final = url
        self._transport: Final = transport

    async def fetch(self, digest: bytes) -> bytes | None:
        """Return what is served as the record with this SHA-256, or None. At most 1 MiB is read.

        Raises `PeerError`, `LimitError` and `TransportError`.
        """
        content = bytearray()
        request = HttpRequest(method="GET", url=f"{self._url}{digest.hex()}")
        async with self._transport.stream(request) as response:
            if response.status in {404, 410}:
                return None
            if response.status != 200:
                raise PeerError("the fleet records cannot be read", status=response.status, section="")
            async for part in response.content:
                content += part
                if len(content) > MAX_FLEET_RECORD:
                    raise LimitError("a fleet record is too long", want=f"at most {MAX_FLEET_RECORD} bytes")
        return bytes(content)
