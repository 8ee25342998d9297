"""The command line. Each command is a module of its own, imported only when it is called.

Exit statuses: 0 all went well, 1 refused or failed, 2 wrong input or something that is not installed, 70 a bug, 130
stopped by Ctrl-C; those of `confsec monitor --once` are its own. An error is one line that says what to do; it is never
a traceback, unless `CONFSEC_TRACEBACK=1` asks for one.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Final, cast

import click

from confsec.errors import ConfigError, ConfsecError, MissingExtraError

__all__ = ["COMMANDS", "EXTRAS", "TRACEBACK", "main", "run"]

COMMANDS: Final = {
    "demo": "Run the whole service on this machine, send a prompt through it, and attack it.",
    "chat": "Talk to a private service.",
    "proxy": "Offer a private service as a local OpenAI-compatible server.",
    "wallet": "Look into a wallet of anonymous tokens, and fill it.",
    "verify": "Check a Proof offline.",
    "receipt": "Look into receipts of transparency logs in COSE, and check them.",
    "policy": "Read policies, and try them before they decide.",
    "doctor": "Look for what is wrong here, and say what to do.",
    "keys": "Make a gateway's keys, and the directory file for its users.",
    "relay": "Run a relay: it sees who asks, and nothing else.",
    "gateway": "Run a gateway: it opens the outer layer, and does not see who asks.",
    "router": "Run a router: it brings sealed requests to nodes.",
    "issuer": "Run an issuer: it sells tokens, and does not see where they are spent.",
    "node": "Run a node: it opens sealed requests and asks an engine.",
    "root": "Look into the root file of a service, and make one.",
    "statement": "Sign statements about services, images and models, and check them.",
    "log": "Run a transparency log, append to it, and check what it shows.",
    "witness": "Run a witness: it cosigns that a log only grew.",
    "release": "Build releases that anyone can build again, and check whether a wheel is one.",
    "monitor": "Follow logs, verify what they show, and tell what happens there.",
    "conformance": "Run published test vectors against this implementation.",
}
"""The commands and what they do, in the order in which people meet them."""

TRACEBACK: Final = "CONFSEC_TRACEBACK"
"""The environment variable that asks for the traceback of a bug."""

EXTRAS: Final = {
    "anycorn": "trio",
    "cyclonedx-python-lib": "release",
    "gmpy2": "gmpy2",
    "httptools": "server",
    "httpx": "httpx",
    "httpx2": "httpx",
    "obstore": "objects",
    "openai": "openai",
    "packaging": "release",
    "psycopg": "postgres",
    "python-pkcs11": "pkcs11",
    "redis": "redis",
    "sigstore": "sigstore",
    "tpm2-pytss": "tpm",
    "trio": "trio",
    "uv-build": "release",
    "uvicorn": "server",
    "uvloop": "server",
    "xllamacpp": "engine",
}
"""By package: the extra that brings it."""


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
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as exc:  # noqa: BLE001 - each becomes a line and a status
        return _end(exc)


def _end(error: BaseException) -> int:
    """Say in one line how it ended, and return the exit status."""
    error = _without_groups(error)
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message())
            return 0
        case click.Abort() | KeyboardInterrupt():
            _complain("stopped")
            return 130
        case click.ClickException():
            return _usage(error)
        case ConfigError():
            _complain(str(error))
            return 2
        case ConfsecError():
            _complain(f"{error} [{error.code}]")
            return 1
        case _:
            return _bug(error)


def _without_groups(error: BaseException) -> BaseException:
    """Return the one error that says most. Task groups put groups around what is raised in them.

    A bug beside a planned error is still a bug, so it goes first; a person who wants to stop goes before all.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)  # isinstance says nothing of what is inside
    leaves = [_without_groups(each) for each in group.exceptions]
    return min(leaves, key=lambda leaf: (isinstance(leaf, Exception), isinstance(leaf, ConfsecError)))


def _usage(error: click.ClickException) -> int:
    """Say in one line what was wrong with the words of the call."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = context.command_path if context else "confsec"
    _complain(f"{error.format_message()} (see {where} --help)")
    return 2


def _bug(error: BaseException) -> int:
    """Name the type of what should not have happened. The message stays inside: it may quote a prompt or a key."""
    package = _missing_package(error)
    if package in EXTRAS:
        _complain(str(MissingExtraError(package, extra=EXTRAS[package])))
        return 2
    if os.environ.get(TRACEBACK) == "1":
        traceback.print_exception(error)
    _complain(
        f"this is a bug: {type(error).__name__}. To see where, set {TRACEBACK}=1 and try again; "
        "look for secrets before you show it to others"
    )
    return 70


def _missing_package(error: BaseException | None) -> str:
    """Return the package whose absence is behind an error, or the empty string. anyio wraps that of a backend."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__
    return (error.name or "").partition(".")[0] if error else ""


def _complain(message: str) -> None:
    click.echo(f"confsec: {' '.join(message.split())}", err=True)
