"""What relay, gateway and router have in common: they pass exchanges on to a next hop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from attrs import frozen

from confsec.backends.api import Headers, HttpRequest, HttpResponse, Transport, header
from confsec.backends.http import HttpLimits, HttpTransport
from confsec.errors import BackendError, RemoteProtocolError
from confsec.roles.config import RoleConfig, at_least, setting

__all__ = ["HopConfig", "content_length", "keep_fields", "make_transport", "open_hop"]


@frozen(kw_only=True)
class HopConfig(RoleConfig):
    """What every role has that calls another one."""

    connect_timeout: float = setting(
        5.0, help="Seconds until a connection to the next hop stands.", check=at_least(0.001)
    )
    answer_timeout: float = setting(
        120.0, help="Seconds until the next hop's answer begins, and between two parts of it.", check=at_least(0.001)
    )
    write_timeout: float = setting(
        30.0, help="Seconds until the next hop takes a part of a request.", check=at_least(0.001)
    )


def make_transport(config: HopConfig) -> HttpTransport:
    """Return the transport to the next hop that `config` asks for."""
    return HttpTransport(
        HttpLimits(
            connect_timeout=config.connect_timeout,
            read_timeout=config.answer_timeout,
            write_timeout=config.write_timeout,
            max_connections=config.max_concurrent + 16,  # so many exchanges, and health checks beside them
        )
    )


@asynccontextmanager
async def open_hop(transport: Transport, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
    """Call the next hop. Its breaches of protocol are its own, not the client's: they become `BackendError`."""
    try:
        async with transport.stream(request) as response:
            yield response
    except RemoteProtocolError as exc:
        # Subclasses come from the body of `request`, which is the client's.
        if type(exc) is not RemoteProtocolError:
            raise
        raise BackendError("the next hop's answer cannot be read") from exc


def content_length(headers: Headers) -> Headers:
    """Return the length of a body that is passed on as it comes, where it is known: else it goes in HTTP's chunks."""
    length = header(headers, "content-length")
    return (("content-length", length),) if length is not None else ()


def keep_fields(headers: Headers, names: frozenset[str]) -> Headers:
    """Return the fields whose names are in `names`. Everything else stays behind."""
    return tuple((name, value) for name, value in headers if name in names)
