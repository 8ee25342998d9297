"""`confsec proxy`."""

from __future__ import annotations

import click

from confsec.cli.role_commands import role_command
from confsec.cli.service import choose_policy, name_service, open_wallet
from confsec.client import Client
from confsec.proxy import Proxy, ProxyConfig

__all__ = ["command"]


def _proxy(config: ProxyConfig) -> Proxy:
    policy = choose_policy(
        config.policy, unsafe_unattested=config.unsafe_unattested, unsafe_simulated=config.unsafe_simulated
    )
    named = name_service(config.service, config.memory)
    client = Client(named.service, policy=policy, wallet=open_wallet(config.wallet), memory=named.memory)
    return Proxy(config, client, warn=_warn)


def _warn(message: str) -> None:
    click.echo(f"confsec proxy: {message}", err=True)


command: click.Command = role_command(
    "proxy",
    ProxyConfig,
    _proxy,
    help="""Offer a private service as a local OpenAI-compatible server, for programs that know only a base URL.

    It listens on this machine only. Any API key will do: it stays here. Every answer names its Proof in the field
    confsec-proof, and /confsec/proofs/NAME has the file.

    \b
    confsec proxy --service service.toml
    export OPENAI_BASE_URL=http://127.0.0.1:8472/v1 OPENAI_API_KEY=none
    """,
)
