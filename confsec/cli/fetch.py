"""Read a small public file from a web server: a directory, or the keys of a gateway."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from confsec.backends.api import HttpRequest, Transport
from confsec.errors import ConfigError, LimitError, PeerError

__all__ = ["fetch"]

_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")


async def fetch(transport: Transport, url: str, *, what: str, limit: int) -> bytes:
    """Return the content at `url`, at most `limit` bytes.

    Raises `ConfigError` for what is no URL and for plain http to another machine, where anybody on the way could put
    keys of his own into it; `PeerError`, `LimitError` and `TransportError`.
    """
    _require_url(url, what)
    content = bytearray()
    async with transport.stream(HttpRequest(method="GET", url=url)) as response:
        if response.status != 200:
            raise PeerError(f"{what} could not be fetched", status=response.status, section="")
        async for part in response.content:
            content += part
            if len(content) > limit:
                raise LimitError(f"{what} is too long", want=f"at most {limit} bytes")
    return bytes(content)


def _require_url(url: str, what: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise ConfigError(f"{what} has no URL that can be read") from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname or not url.isprintable() or " " in url:
        raise ConfigError(f"{what} has no URL of a web server", want="https://host/path")
    if parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname):
        raise ConfigError(f"{what} would travel over http, where it can be exchanged", want="https, except on loopback")
