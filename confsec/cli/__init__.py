"""The command line. Each command is a module of its own, imported only when it is called.

Exit statuses: 0 all went well, 1 refused or failed, 2 wrong input or something that is not installed. An error is one
line that says what to do; it is never a traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final

import click

from confsec.errors import ConfigError, ConfsecError

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = {
    "demo": "Run the whole service on this machine, send a prompt through it, and attack it.",
    "chat": "Talk to a private service.",
    "proxy": "Offer a private service as a local OpenAI-compatible server.",
    "verify": "Check a Proof offline.",
    "doctor": "Look for what is wrong here, and say what to do.",
    "keys": "Make a gateway's keys, and the directory file for its users.",
    "relay": "Run a relay: it sees who asks, and nothing else.",
    "gateway": "Run a gateway: it opens the outer layer, and does not see who asks.",
    "router": "Run a router: it brings sealed requests to nodes.",
    "node": "Run a node: it opens sealed requests and asks an engine.",
    "conformance": "Run published test vectors against this implementation.",
}
"""The commands and what they do, in the order in which people meet them."""


class _Commands(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"confsec.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="confsec-protocol", message="confsec %(version)s")
def _confsec() -> None:
    """AI inference that is provably private.

    A prompt travels to somebody else's machine, and nobody but the node that answers can read it or link it to you.

    Start with:  confsec demo
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit status."""
    try:
        return int(_confsec.main(arguments, prog_name="confsec", standalone_mode=False) or 0)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        _complain("stopped")
        return 130
    except click.ClickException as exc:
        return _usage(exc)
    except ConfigError as exc:
        _complain(str(exc))
        return 2
    except ConfsecError as exc:
        _complain(f"{exc} [{exc.code}]")
        return 1
    except BrokenPipeError:
        # Whoever read our output has had enough. Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _usage(exc: click.ClickException) -> int:
    """Say in one line what was wrong with the words of the call."""
    context = exc.ctx if isinstance(exc, click.UsageError) else None
    where = context.command_path if context else "confsec"
    _complain(f"{' '.join(exc.format_message().split())} (see {where} --help)")
    return 2


def _complain(message: str) -> None:
    click.echo(f"confsec: {message}", err=True)
