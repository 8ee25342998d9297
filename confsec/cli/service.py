"""What commands that speak to a service have in common: which service, and how it is judged."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final, final

import click
from attrs import frozen

from confsec.cli.output import constant_policy, read_bytes, read_policy
from confsec.errors import ConfigError
from confsec.protocol.log_root import LogRoot
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, Policy
from confsec.service_reader import Service, read_description
from confsec.wallet import Wallet

__all__ = [
    "ACCOUNT_VARIABLE",
    "MEMORY_HELP",
    "POLICY_HELP",
    "SERVICE_HELP",
    "SIMULATED_HELP",
    "UNSAFE_HELP",
    "WALLET_HELP",
    "NamedService",
    "choose_policy",
    "default_memory",
    "is_url",
    "name_service",
    "open_wallet",
]

ACCOUNT_VARIABLE: Final = "CONFSEC_ACCOUNT"
"""The environment variable with the account's API key: on a command line everybody on the machine could read it."""

WALLET_HELP = "The file with the wallet's tokens, for a service that takes tokens."
"""What every command says of `--wallet`."""


SERVICE_HELP = "The service: its root file; or the path or the URL of a directory file that is in no log."
"""What every command says of `--service`."""

MEMORY_HELP = (
    "Under a root file: where to remember how far the service's logs had grown.  "
    "[default: $XDG_STATE_HOME/confsec/logs.db, or ~/.local/state/confsec/logs.db]"
)
"""What every command says of `--memory`."""

POLICY_HELP = "Judge the service by this policy file (TOML) instead of the production policy."
"""What every command says of `--policy`."""

UNSAFE_HELP = "Accept a service that shows no evidence of what it runs."
"""What every command says of `--unsafe-unattested`."""

SIMULATED_HELP = "Accept a service whose TEEs are simulated: everybody has their keys, so it proves nothing."
"""What every command says of `--unsafe-simulated`."""

_DEMO: Final = "UNSAFE_DEMO_POLICY"


@final
@frozen
class NamedService:
    """A service as the user names it."""

    service: Service
    """Its root, where the user named a root file; else the path or the URL of a directory file."""

    memory: Path | None
    """Where to remember its logs; None for a service that has none."""


def name_service(service: str, memory: str = "") -> NamedService:
    """Return the service that the user named, and where to remember its logs.

    A root file is read once: what the command begins with, it ends with. From here on a first contact is said on
    standard error. Raises `ConfigError`.
    """
    described = None if is_url(service) else read_description(_read(service), service)
    if not isinstance(described, LogRoot):
        if memory:
            raise ConfigError("--memory is for a service that has a root file", hint="Leave it out")
        return NamedService(service, None)
    _say_first_contacts()
    return NamedService(described, Path(memory) if memory else _make_folder(default_memory()))


def is_url(service: str) -> bool:
    """Tell whether the user named a directory file by its URL."""
    return service.startswith(("http://", "https://"))


def default_memory() -> Path:
    """Return where logs are remembered if the user does not say it (XDG Base Directory Specification 0.8)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return folder / "confsec" / "logs.db"


def _read(service: str) -> bytes:
    return read_bytes(Path(service), "the description of the service")


def _make_folder(memory: Path) -> Path:
    """Make the folder of the memory, for its owner alone. Raises `ConfigError`."""
    try:
        memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"the folder {memory.parent} cannot be made: {exc.strerror}", hint="Name another file: --memory FILE"
        ) from exc
    return memory


@final
class _ToStandardError(logging.Handler):
    """Says what a client warns of as the command's own line."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"confsec: {record.getMessage()}", err=True)


_HANDLER: Final = _ToStandardError(logging.WARNING)


def _say_first_contacts() -> None:
    log = logging.getLogger("confsec.client")
    log.setLevel(logging.WARNING)
    log.propagate = False
    log.addHandler(_HANDLER)  # once: a logger has no handler twice


def choose_policy(policy_file: str, *, unsafe_unattested: bool, unsafe_simulated: bool) -> Policy:
    """Return the policy that the user asked for; production where he asked for none. Raises `ConfigError`."""
    asked = {"--policy": policy_file, "--unsafe-unattested": unsafe_unattested, "--unsafe-simulated": unsafe_simulated}
    given = [option for option, value in asked.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other", hint="Leave all but one of them out")
    if unsafe_unattested:
        return UNSAFE_UNATTESTED
    if unsafe_simulated:
        return constant_policy(_DEMO)
    return read_policy(Path(policy_file)) if policy_file else PRODUCTION


def open_wallet(path: str) -> Wallet | None:
    """Return the wallet that the user named, with the account in the environment; None where he named none."""
    return Wallet(Path(path), account=os.environ.get(ACCOUNT_VARIABLE, "")) if path else None
