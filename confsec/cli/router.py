"""`confsec router`, and where it keeps spent tokens."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from confsec.cli.role_commands import role_command
from confsec.errors import ConfigError
from confsec.roles.redeemer import TokenRedeemer
from confsec.roles.router import Router, RouterConfig

__all__ = ["command", "make_router"]


def make_router(config: RouterConfig) -> Router:
    """Return the router that the configuration asks for. Raises `ConfigError` and `MissingExtraError`."""
    if not config.directory:
        return Router(config)
    if config.unsafe_no_tokens:
        raise ConfigError("directory and unsafe_no_tokens exclude each other", hint="Take tokens, or let everybody in")
    if not config.token_store:
        raise ConfigError("the key token_store is missing", hint="For instance: --token-store sqlite:spent.db")
    from confsec.backends.token_stores import open_token_store

    grace = timedelta(seconds=config.token_grace)
    tokens = TokenRedeemer(Path(config.directory), open_token_store(config.token_store), grace=grace)
    return Router(config, tokens=tokens)


command: click.Command = role_command(
    "router",
    RouterConfig,
    make_router,
    help="""Run a router: it brings sealed requests to nodes, and reads none of them.

    With --directory and --token-store it takes the tokens of the service's issuer, each once.

    \b
    confsec router --port 8003 --nodes http://127.0.0.1:8004 --unsafe-no-tokens
    confsec router --nodes http://127.0.0.1:8004 --directory service.toml --token-store sqlite:spent.db
    """,
)
