"""Read a small public file from a web server: a directory, or the keys of a gateway."""

from __future__ import annotations

from confsec.backends.api import HttpRequest, Transport
from confsec.errors import LimitError, PeerError
from confsec.protocol.directory import check_web_url

__all__ = ["fetch"]


async def fetch(transport: Transport, url: str, *, what: str, limit: int) -> bytes:
    """Return the content at `url`, at most `limit` bytes.

    Raises `ConfigError` for an address that cannot be used, `PeerError`, `LimitError` and `TransportError`.
    """
    check_web_url(url, f"the address of {what}")
    content = bytearray()
    async with transport.stream(HttpRequest(method="GET", url=url)) as response:
        if response.status != 200:
            raise PeerError(f"{what} could not be fetched", status=response.status, section="")
        async for part in response.content:
            content += part
            if len(content) > limit:
                raise LimitError(f"{what} is too long", want=f"at most {limit} bytes")
    return bytes(content)
