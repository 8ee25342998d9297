"""What commands that speak to a service have in common: which service, and how it is judged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from confsec.cli.output import constant_policy, read_policy
from confsec.errors import ConfigError
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, Policy
from confsec.wallet import Wallet

__all__ = [
    "ACCOUNT_VARIABLE",
    "POLICY_HELP",
    "SERVICE_HELP",
    "SIMULATED_HELP",
    "UNSAFE_HELP",
    "WALLET_HELP",
    "choose_policy",
    "open_wallet",
]

ACCOUNT_VARIABLE: Final = "CONFSEC_ACCOUNT"
"""The environment variable with the account's API key: on a command line everybody on the machine could read it."""

WALLET_HELP = "The file with the wallet's tokens, for a service that takes tokens."
"""What every command says of `--wallet`."""


SERVICE_HELP = "The service: the path or the URL of its directory file."
"""What every command says of `--service`."""

POLICY_HELP = "Judge the service by this policy file (TOML) instead of the production policy."
"""What every command says of `--policy`."""

UNSAFE_HELP = "Accept a service that shows no evidence of what it runs."
"""What every command says of `--unsafe-unattested`."""

SIMULATED_HELP = "Accept a service whose TEEs are simulated: everybody has their keys, so it proves nothing."
"""What every command says of `--unsafe-simulated`."""

_DEMO: Final = "UNSAFE_DEMO_POLICY"


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
