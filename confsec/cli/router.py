"""`confsec router`, and where it keeps spent tokens."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from confsec.backends.dsse_keys import read_dsse_key
from confsec.cli.role_commands import role_command
from confsec.cli.service import choose_policy
from confsec.errors import ConfigError
from confsec.protocol.policy import Policy
from confsec.roles.log_epochs import read_root
from confsec.roles.redeemer import TokenRedeemer
from confsec.roles.router import Router, RouterConfig

__all__ = ["command", "make_router"]


def make_router(config: RouterConfig) -> Router:
    """Return the router that the configuration asks for. Raises `ConfigError` and `MissingExtraError`."""
    policy = _policy(config)
    root = read_root(config.root) if config.root else None
    key = read_dsse_key(Path(config.statement_key)) if config.statement_key else None
    if not config.directory:
        return Router(config, policy=policy, root=root, statement_key=key)
    if config.unsafe_no_tokens:
        raise ConfigError("directory and unsafe_no_tokens exclude each other", hint="Take tokens, or let everybody in")
    if not config.token_store:
        raise ConfigError("the key token_store is missing", hint="For instance: --token-store sqlite:spent.db")
    from confsec.backends.token_stores import open_token_store

    grace = timedelta(seconds=config.token_grace)
    tokens = TokenRedeemer(Path(config.directory), open_token_store(config.token_store), grace=grace)
    return Router(config, policy=policy, tokens=tokens, root=root, statement_key=key)


def _policy(config: RouterConfig) -> Policy | None:
    """Return the policy for nodes; None where none was asked for, which a router refuses."""
    if not (config.policy or config.unsafe_unattested or config.unsafe_simulated):
        return None
    return choose_policy(
        config.policy, unsafe_unattested=config.unsafe_unattested, unsafe_simulated=config.unsafe_simulated
    )


command: click.Command = role_command(
    "router",
    RouterConfig,
    make_router,
    help="""Run a router: it brings sealed requests to nodes, and reads none of them.

    It lists only nodes whose evidence its policy accepts. With --directory and --token-store it takes the tokens of the
    service's issuer, each once.

    \b
    confsec router --nodes http://127.0.0.1:8004 --policy policy.toml --directory service.toml \\
        --token-store sqlite:spent.db
    confsec router --port 8003 --nodes http://127.0.0.1:8004 --unsafe-unattested --unsafe-no-tokens
    """,
)
