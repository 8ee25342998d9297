"""`confsec router`."""

from __future__ import annotations

import click

from confsec.cli.role_commands import role_command
from confsec.roles.router import Router, RouterConfig

__all__ = ["command"]

command: click.Command = role_command(
    "router",
    RouterConfig,
    Router,
    help="""Run a router: it brings sealed requests to nodes, and reads none of them.

    \b
    confsec router --port 8003 --nodes http://127.0.0.1:8004 --unsafe-no-tokens
    """,
)
