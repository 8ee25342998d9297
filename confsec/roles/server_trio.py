"""anycorn, for those who run on trio."""

from __future__ import annotations

import socket
from typing import Any, Final

import anycorn
import anyio

from confsec.backends.asgi import AsgiApp
from confsec.roles.config import RoleConfig

__all__ = ["run_server"]

_MAX_HEADER: Final = 64 << 10
"""A request's header section has at most 64 KiB."""


async def run_server(app: AsgiApp, config: RoleConfig, listener: socket.socket, close: anyio.Event) -> None:
    """Serve until `close` is set and what runs has ended, or was cut."""
    settings = anycorn.Config()
    settings.bind = [f"fd://{listener.detach()}"]
    settings.accesslog = None
    settings.errorlog = None  # it names addresses, and quotes exceptions
    settings.include_server_header = False
    settings.include_date_header = False
    settings.h11_max_incomplete_size = _MAX_HEADER
    settings.max_app_queue_size = 1  # of parts of a body: what is not taken stays in the socket
    settings.keep_alive_max_requests = 1_000_000
    settings.keep_alive_timeout = config.keep_alive
    settings.graceful_timeout = config.shutdown_timeout
    app_of_any: Any = app  # anycorn types ASGI with TypedDicts of its own
    await anycorn.serve(app_of_any, settings, shutdown_trigger=close.wait, mode="asgi")
