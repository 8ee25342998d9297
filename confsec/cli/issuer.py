"""`confsec issuer`: running it, its accounts, its keys, and what users are told of it."""

from __future__ import annotations

from pathlib import Path

import click
from attrs import frozen

from confsec.backends.issuer_stores import open_issuer_store
from confsec.cli.issuer_accounts import account_commands
from confsec.cli.issuer_directory import directory_command
from confsec.cli.issuer_keys import choose_passphrase, key_commands
from confsec.cli.role_commands import role_command
from confsec.roles.config import setting
from confsec.roles.issuer import Issuer, IssuerConfig
from confsec.roles.issuer_key_folder import IssuerKeyFolder

__all__ = ["IssuerCommandConfig", "command", "make_issuer"]


@frozen(kw_only=True)
class IssuerCommandConfig(IssuerConfig):
    """The settings of an issuer, and where it keeps what it has."""

    store: str = setting(help="Where accounts and charges are: the path of a SQLite file, or postgresql://….")
    keys: str = setting(help="The folder with the key files of `confsec issuer keys`.")
    passphrase_file: str = setting(
        "", help="A file of mode 0600 with the passphrase of the keys, instead of CONFSEC_ISSUER_PASSPHRASE."
    )


def make_issuer(config: IssuerCommandConfig) -> Issuer:
    """Return the issuer that the configuration asks for. Raises `ConfigError` and `MissingExtraError`."""
    keys = IssuerKeyFolder(Path(config.keys), choose_passphrase(config.passphrase_file))
    return Issuer(config, open_issuer_store(config.store), keys)


@click.group(name="issuer")
def command() -> None:
    """Run an issuer of tokens: it knows who paid, and never what for.

    \b
    confsec issuer keys new --folder token-keys
    confsec issuer account add --store issuer.db --quota 1000
    confsec issuer serve --port 8005 --store issuer.db --keys token-keys

    docs/issuer.md says how it stands behind a gateway of its own.
    """  # noqa: D301 - click keeps lines as they are after a backspace


command.add_command(
    role_command(
        "serve",
        IssuerCommandConfig,
        make_issuer,
        help="""Run an issuer (RFC 9578): it signs blinded messages for accounts.

        \b
        confsec issuer serve --port 8005 --store issuer.db --keys token-keys
        confsec issuer serve --config issuer.toml
        """,
    )
)
command.add_command(account_commands)
command.add_command(key_commands)
command.add_command(directory_command)
