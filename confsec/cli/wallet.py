"""`confsec wallet`: what it holds, filling it, and carrying tokens to another one."""

from __future__ import annotations

import os
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from confsec.backends.system import now
from confsec.cli.output import console, print_json, read_bytes, run_async
from confsec.cli.service import ACCOUNT_VARIABLE, MEMORY_HELP, SERVICE_HELP, WALLET_HELP, name_service, open_wallet
from confsec.client import Client
from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.token_messages import Token
from confsec.protocol.wire import decode_base64, encode_base64
from confsec.wallet import Wallet

__all__ = ["command"]

_VERSION: Final = 1
_MAX_FILE: Final = 8 << 20

_wallet_option = click.option("--wallet", "wallet_file", required=True, metavar="FILE", help=WALLET_HELP)


@click.group(name="wallet")
def command() -> None:
    """Look into a wallet, fill it, and carry tokens to another one.

    \b
    confsec wallet show --wallet wallet.db
    CONFSEC_ACCOUNT=csk_… confsec wallet fetch --wallet wallet.db --service service.toml
    """  # noqa: D301 - click keeps lines as they are after a backspace


@command.command(name="show")
@_wallet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(wallet_file: str, *, as_json: bool) -> None:
    """Show what a wallet holds, and what is in doubt.

    A token in doubt was marked for a request of which nobody knows what became. It is never sent again.

    \b
    confsec wallet show --wallet wallet.db
    """  # noqa: D301 - click keeps lines as they are after a backspace
    wallet = _existing(wallet_file)

    async def look() -> dict[str, int]:
        async with wallet:
            counts, usable = await wallet.counts(), await wallet.store.counts(now())
        return {
            "fetched": counts.fetched,
            "unspent": counts.unspent,
            "expired": counts.unspent - usable.unspent,
            "in_doubt": counts.in_doubt,
            "spent": counts.spent,
            "asked_for": counts.asked_for,
        }

    numbers = run_async(look)
    if as_json:
        print_json(numbers)
        return
    out = console()
    out.print(
        f"{numbers['fetched']} tokens fetched: {numbers['unspent']} unspent, {numbers['in_doubt']} in doubt, "
        f"{numbers['spent']} spent"
    )
    if numbers["expired"]:
        out.print(f"{numbers['expired']} of the unspent ones have expired", style="yellow")
    if numbers["asked_for"]:
        out.print(f"{numbers['asked_for']} more are asked for, and come with the next fetch", style="yellow")


@command.command(name="fetch")
@_wallet_option
@click.option("--service", required=True, metavar="FILE|URL", help=SERVICE_HELP)
@click.option("--memory", default="", metavar="FILE", help=MEMORY_HELP)
@click.option("--count", type=click.IntRange(1, 256), help="How many; a batch of random size by default.")
def fetch(wallet_file: str, service: str, memory: str, count: int | None) -> None:
    """Fetch tokens from the service's issuer.

    The account's API key is read from the environment variable CONFSEC_ACCOUNT, so that it stands in no list of
    processes.

    \b
    CONFSEC_ACCOUNT=csk_… confsec wallet fetch --wallet wallet.db --service service.toml
    """  # noqa: D301 - click keeps lines as they are after a backspace
    wallet = open_wallet(wallet_file)
    if wallet is None or not wallet.account:
        raise ConfigError(
            f"the environment variable {ACCOUNT_VARIABLE} is empty", hint="Put the account's API key there"
        )

    named = name_service(service, memory)

    async def fetch_tokens() -> int:
        async with wallet, Client(named.service, wallet=wallet, memory=named.memory) as client:
            return await client.fetch_tokens(count)

    console().print(f"{run_async(fetch_tokens)} tokens fetched")


@command.command(name="export")
@_wallet_option
@click.argument("file", type=click.Path(path_type=Path))
def export(wallet_file: str, file: Path) -> None:
    """Take all unspent tokens out of a wallet and write them to FILE, for `confsec wallet import`.

    Whoever has FILE can spend them. In this wallet they count as spent.

    \b
    confsec wallet export --wallet wallet.db tokens.toml
    """  # noqa: D301 - click keeps lines as they are after a backspace
    wallet = _existing(wallet_file)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise ConfigError(f"{file} cannot be written: {exc.strerror}") from exc

    async def take_out() -> tuple[tuple[Token, datetime], ...]:
        async with wallet:
            return await wallet.store.export()

    with os.fdopen(descriptor, "w", encoding="ascii") as target:  # open before anything is taken out
        tokens = run_async(take_out)
        target.write(f"version = {_VERSION}\n" + "".join(_entry(token, expires_at) for token, expires_at in tokens))
    console().print(f"{len(tokens)} tokens are in {file}", markup=False)


def _entry(token: Token, expires_at: datetime) -> str:
    return f'\n[[tokens]]\ntoken = "{encode_base64(token.encode())}"\nexpires_at = {expires_at.isoformat()}\n'


@command.command(name="import")
@_wallet_option
@click.argument("file", type=click.Path(path_type=Path))
def import_tokens(wallet_file: str, file: Path) -> None:
    """Put the tokens of FILE, which `confsec wallet export` wrote, into a wallet.

    \b
    confsec wallet import --wallet other.db tokens.toml
    """  # noqa: D301 - click keeps lines as they are after a backspace
    wallet = open_wallet(wallet_file)
    tokens = _read_tokens(file)

    async def put_in() -> int:
        if wallet is None:
            raise ConfigError("no wallet is named", hint="--wallet FILE")
        async with wallet:
            return await wallet.store.add(tokens)

    console().print(f"{run_async(put_in)} tokens were new to the wallet")


def _existing(path: str) -> Wallet:
    wallet = open_wallet(path)
    if wallet is None or not Path(path).is_file():
        raise ConfigError(f"there is no wallet {path}", hint="`confsec wallet fetch` makes one")
    return wallet


def _read_tokens(file: Path) -> list[tuple[Token, datetime]]:
    data = read_bytes(file, "the file")
    if len(data) > _MAX_FILE:
        raise ConfigError(f"{file} is too long", want=f"at most {_MAX_FILE} bytes")
    try:
        value = tomllib.loads(data.decode("ascii"))
        items = value["tokens"] if value.get("version") == _VERSION else None
        return [(Token.decode(decode_base64(item["token"])), _aware(item["expires_at"])) for item in items or ()]
    except (ValueError, KeyError, TypeError, ConfsecError) as exc:
        # Said without the cause, which would quote a token.
        raise ConfigError(f"{file} holds no tokens of `confsec wallet export`") from exc


def _aware(time: datetime) -> datetime:
    return time.astimezone(UTC)
