"""`confsec relay`."""

from __future__ import annotations

import click

from confsec.cli.role_commands import role_command
from confsec.roles.relay import Relay, RelayConfig

__all__ = ["command"]

command: click.Command = role_command(
    "relay",
    RelayConfig,
    Relay,
    help="""Run a relay (RFC 9458): it sees who asks, and passes on what it cannot read.

    It should be run by somebody who has nothing to do with the operator of the gateway.

    \b
    confsec relay --port 8001 --gateways https://gateway.example/gateway
    """,
)
