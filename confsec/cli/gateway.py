"""`confsec gateway`."""

from __future__ import annotations

import click

from confsec.cli.role_commands import role_command
from confsec.roles.gateway import Gateway, GatewayConfig

__all__ = ["command"]

command: click.Command = role_command(
    "gateway",
    GatewayConfig,
    Gateway,
    help="""Run a gateway (RFC 9458): it opens the outer layer, and does not see who asks.

    \b
    confsec gateway --port 8002 --targets router.example=http://127.0.0.1:8003
    confsec gateway --port 8002 --targets router.example=http://127.0.0.1:8003 --keys gateway-1.key
    """,
)
