"""The commands that run a role: every key of its configuration is an option too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from confsec.cli.output import run_async
from confsec.roles.asgi import Role
from confsec.roles.config import ConfigField, RoleConfig, config_fields, load_config
from confsec.roles.server import event_loop_options, serve

__all__ = ["role_command"]


def role_command(
    name: str,
    config_class: type[RoleConfig],
    make_role: Callable[[Any], Role | Awaitable[Role]],
    *,
    help: str,  # noqa: A002
) -> click.Command:
    """Return the command that runs a role until it is told to stop."""

    def run(config_file: Path | None, **options: object) -> None:
        config = load_config(config_class, config_file, options)

        async def serve_role() -> None:
            made = make_role(config)
            role = made if isinstance(made, Role) else await made
            await serve(role, config, handle_signals=True)

        run_async(serve_role, **event_loop_options(config))

    parameters: list[click.Parameter] = [
        click.Option(
            ["--config", "config_file"], type=click.Path(path_type=Path), help="A TOML file with any of the keys below."
        ),
        *(_option(item) for item in config_fields(config_class)),
    ]
    return click.Command(name, callback=run, params=parameters, help=help)


def _option(item: ConfigField) -> click.Option:
    """Return the option for one key. Its default stays the configuration's, so that a file can set it."""
    text = item.help
    if not item.required and item.default not in {None, "", ()}:
        text += f"  [default: {_shown(item.default)}]"
    if item.kind is bool:
        return click.Option([f"{item.option}/--no-{item.option[2:]}", item.name], default=None, help=text)
    return click.Option([item.option, item.name], type=item.kind, multiple=item.multiple, default=None, help=text)


def _shown(default: object) -> str:
    return ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
