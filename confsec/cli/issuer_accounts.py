"""`confsec issuer account`: who may have tokens, and how many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import click

from confsec.backends import system
from confsec.backends.issuer_store import Account, AccountStore, Usage
from confsec.backends.issuer_stores import open_issuer_store
from confsec.cli.output import print_json, run_async
from confsec.roles.issuer_accounts import new_account

__all__ = ["account_commands"]

_T = TypeVar("_T")

_MAX_QUOTA: Final = 2**53
"""What JSON readers can hold exactly."""

_store = click.option(
    "--store", required=True, metavar="STORE", help="The issuer's store: the path of a SQLite file, or postgresql://…."
)
_quota = click.IntRange(0, _MAX_QUOTA)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(name="account")
def account_commands() -> None:
    """Make accounts, look at them, and close them. The issuer may run meanwhile; it sees changes at once.

    \b
    confsec issuer account add --store issuer.db --quota 1000 --label "Ada"
    confsec issuer account list --store issuer.db
    confsec issuer account quota --store issuer.db 0123456789abcdef 5000
    confsec issuer account revoke --store issuer.db 0123456789abcdef
    """  # noqa: D301 - click keeps lines as they are after a backspace


@account_commands.command(name="add")
@_store
@click.option("--quota", type=_quota, default=1000, show_default=True, help="Tokens in each epoch.")
@click.option("--label", default="", help="What you call it: an order number, say. It stands in the store.")
@_json
def _add(store: str, quota: int, label: str, *, as_json: bool) -> None:
    """Make an account and print its API key, once: the store has a hash of it and nothing else.

    \b
    confsec issuer account add --store issuer.db --quota 1000
    confsec issuer account add --store issuer.db --quota 1000 --label "order 17" --json
    """  # noqa: D301 - click keeps lines as they are after a backspace
    account, key = new_account(quota=quota, label=label, now=system.now(), randbytes=system.randbytes)
    _with_store(store, lambda accounts: accounts.add_account(account))
    if as_json:
        print_json({"account": account.account_id, "quota": quota, "api_key": key.encode()})
        return
    click.echo(f"account {account.account_id}, {quota} tokens in each epoch", err=True)
    click.echo("Its API key is shown this once. Whoever has it can use up the quota.", err=True)
    click.echo(key.encode())


@account_commands.command(name="list")
@_store
@_json
def _list(store: str, *, as_json: bool) -> None:
    """List the accounts, and what they had in the epochs that are not forgotten yet.

    \b
    confsec issuer account list --store issuer.db
    """  # noqa: D301 - click keeps lines as they are after a backspace

    async def read(accounts: AccountStore) -> tuple[Sequence[Account], Sequence[Usage]]:
        return await accounts.accounts(), await accounts.usage()

    accounts, usage = _with_store(store, read)
    members = [
        _members(account, [one for one in usage if one.account_id == account.account_id]) for account in accounts
    ]
    if as_json:
        print_json({"accounts": members})
        return
    for account in accounts:
        state = "revoked" if account.revoked else f"{account.quota} tokens in each epoch"
        click.echo(f"{account.account_id}  {state}" + (f"  {account.label}" if account.label else ""))
        for one in usage:
            if one.account_id == account.account_id:
                click.echo(
                    f"  {one.tokens} with key {one.token_key_id.hex()[:16]}… until {one.expires_at:%Y-%m-%d %H:%M}"
                )


@account_commands.command(name="revoke")
@_store
@click.argument("account")
def _revoke(store: str, account: str) -> None:
    """Close an account: it gets nothing more. Tokens that it has stay good, for nobody knows which they are.

    \b
    confsec issuer account revoke --store issuer.db 0123456789abcdef
    """  # noqa: D301 - click keeps lines as they are after a backspace
    _with_store(store, lambda accounts: accounts.change_account(account, revoked=True))
    click.echo(f"{account}: revoked")


@account_commands.command(name="quota")
@_store
@click.argument("account")
@click.argument("tokens", type=_quota)
def _set_quota(store: str, account: str, tokens: int) -> None:
    """Set how many tokens an account may have in each epoch, this one included.

    \b
    confsec issuer account quota --store issuer.db 0123456789abcdef 5000
    """  # noqa: D301 - click keeps lines as they are after a backspace
    _with_store(store, lambda accounts: accounts.change_account(account, quota=tokens))
    click.echo(f"{account}: {tokens} tokens in each epoch")


def _with_store(url: str, work: Callable[[AccountStore], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        store = open_issuer_store(url)
        try:
            return await work(store)
        finally:
            await store.aclose()

    return run_async(run)


def _members(account: Account, usage: Sequence[Usage]) -> dict[str, object]:
    return {
        "account": account.account_id,
        "label": account.label,
        "quota": account.quota,
        "revoked": account.revoked,
        "created_at": account.created_at.isoformat(),
        "usage": [
            {"token_key_id": one.token_key_id.hex(), "tokens": one.tokens, "until": one.expires_at.isoformat()}
            for one in usage
        ],
    }
