"""What commands that speak to a service have in common: which service, and how it is judged."""

from __future__ import annotations

from pathlib import Path

from confsec.cli.output import read_policy
from confsec.errors import ConfigError
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, Policy

__all__ = ["POLICY_HELP", "SERVICE_HELP", "UNSAFE_HELP", "choose_policy"]

SERVICE_HELP = "The service: the path or the URL of its directory file."
"""What every command says of `--service`."""

POLICY_HELP = "Judge the service by this policy file (TOML) instead of the production policy."
"""What every command says of `--policy`."""

UNSAFE_HELP = "Accept a service that shows no evidence of what it runs."
"""What every command says of `--unsafe-unattested`."""


def choose_policy(policy_file: str, *, unsafe_unattested: bool) -> Policy:
    """Return the policy that the user asked for; production where he asked for none. Raises `ConfigError`."""
    if policy_file and unsafe_unattested:
        raise ConfigError("--policy and --unsafe-unattested exclude each other", hint="Leave one of them out")
    if unsafe_unattested:
        return UNSAFE_UNATTESTED
    return read_policy(Path(policy_file)) if policy_file else PRODUCTION
