"""`confsec issuer keys`: the keys that sign, one for each epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import click

from confsec.backends import system
from confsec.backends.key_files import Passphrase, TokenKeyFile, passphrase_from_environment, passphrase_from_file
from confsec.backends.key_generation import SearchProgress, generate_key
from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.cli.duration import DURATION
from confsec.cli.output import print_json
from confsec.protocol.wire import encode_base64url
from confsec.roles.issuer_key_folder import next_epoch, read_key_folder, write_token_key

__all__ = ["PASSPHRASE_VARIABLE", "choose_passphrase", "key_commands"]

PASSPHRASE_VARIABLE: Final = "CONFSEC_ISSUER_PASSPHRASE"
"""The environment variable with the passphrase of the keys."""

_folder = click.option(
    "--folder", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="The folder with the key files."
)
_passphrase = click.option(
    "--passphrase-file",
    default="",
    metavar="FILE",
    help=f"A file of mode 0600 with the passphrase.  [default: the environment variable {PASSPHRASE_VARIABLE}]",
)
_lifetime = click.option("--lifetime", type=DURATION, default="7d", show_default=True, help="How long the epoch lasts.")
_safe = click.option(
    "--safe-primes", is_flag=True, help="Search for safe primes, which public metadata needs. Takes a minute or more."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def choose_passphrase(file: str) -> Passphrase:
    """Return where the passphrase is: in `file` if it is named, else in the environment."""
    return passphrase_from_file(Path(file)) if file else passphrase_from_environment(PASSPHRASE_VARIABLE)


@click.group(name="keys")
def key_commands() -> None:
    """Make the keys that sign, one for each epoch. A running issuer finds new ones by itself.

    \b
    export CONFSEC_ISSUER_PASSPHRASE=…
    confsec issuer keys new --folder token-keys --lifetime 7d
    confsec issuer keys rotate --folder token-keys --lifetime 7d --overlap 1d
    confsec issuer keys list --folder token-keys
    """  # noqa: D301 - click keeps lines as they are after a backspace


@key_commands.command(name="new")
@_folder
@_passphrase
@_lifetime
@click.option("--begin", type=DURATION, default="0s", show_default=True, help="How long from now the epoch begins.")
@_safe
@_json
def _new(
    folder: Path, passphrase_file: str, lifetime: timedelta, begin: timedelta, *, safe_primes: bool, as_json: bool
) -> None:
    """Make a key for an epoch that you choose.

    \b
    confsec issuer keys new --folder token-keys --lifetime 7d
    confsec issuer keys new --folder token-keys --lifetime 7d --begin 6d
    """  # noqa: D301 - click keeps lines as they are after a backspace
    not_before = _now() + begin
    passphrase = choose_passphrase(passphrase_file)
    _write(folder, passphrase, (not_before, not_before + lifetime), safe_primes=safe_primes, as_json=as_json)


@key_commands.command(name="rotate")
@_folder
@_passphrase
@_lifetime
@click.option(
    "--overlap", type=DURATION, default="1d", show_default=True, help="How long it signs beside the last one."
)
@_safe
@_json
def _rotate(
    folder: Path, passphrase_file: str, lifetime: timedelta, overlap: timedelta, *, safe_primes: bool, as_json: bool
) -> None:
    """Make the key of the next epoch, unless it is there. Run it every day, and there always is one.

    \b
    confsec issuer keys rotate --folder token-keys --lifetime 7d --overlap 1d

    The new key is published at once and signs first `--overlap` before the last one's epoch ends.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    epochs = [file.epoch for _, file in read_key_folder(folder)]
    epoch = next_epoch(epochs, now=_now(), lifetime=lifetime, overlap=overlap)
    if epoch is not None:
        _write(folder, choose_passphrase(passphrase_file), epoch, safe_primes=safe_primes, as_json=as_json)
    elif as_json:
        print_json({"keys": []})
    else:
        click.echo("The key of the next epoch is there already.")


@key_commands.command(name="list")
@_folder
@_json
def _list(folder: Path, *, as_json: bool) -> None:
    """List the keys and their epochs: what everybody may know of them. Needs no passphrase.

    \b
    confsec issuer keys list --folder token-keys
    """  # noqa: D301 - click keeps lines as they are after a backspace
    _print_keys(read_key_folder(folder), as_json=as_json)


def _write(
    folder: Path, passphrase: Passphrase, epoch: tuple[datetime, datetime], *, safe_primes: bool, as_json: bool
) -> None:
    passphrase()  # a search for primes should not end with the news that there is no passphrase
    written = write_token_key(
        folder, _key_maker(safe_primes=safe_primes), passphrase, not_before=epoch[0], not_after=epoch[1]
    )
    _print_keys([written], as_json=as_json)


def _key_maker(*, safe_primes: bool) -> Callable[[], LibcryptoKey]:
    def make() -> LibcryptoKey:
        if not safe_primes:
            return generate_key()
        click.echo("Searching for two safe primes. How long it takes is a matter of luck.", err=True)
        progress = _Progress()
        try:
            return generate_key(safe_primes=True, progress=progress)
        finally:
            progress.end()

    return make


class _Progress:
    """Tells of a search on standard error: of each prime, and of every number where a person looks on."""

    def __init__(self) -> None:
        self._found = 0
        self._looked_on = sys.stderr.isatty()

    def __call__(self, progress: SearchProgress) -> None:
        text = f"{progress.tried} numbers tried, {progress.found} of 2 primes found"
        if self._looked_on:
            click.echo(f"\r{text}", nl=False, err=True)
        elif progress.found > self._found or progress.tried == 1:
            click.echo(text, err=True)
        self._found = progress.found

    def end(self) -> None:
        """Leave the line."""
        if self._looked_on:
            click.echo(err=True)


def _print_keys(keys: list[tuple[Path, TokenKeyFile]], *, as_json: bool) -> None:
    now = system.now()
    members = [_members(path, file, now) for path, file in keys]
    if as_json:
        print_json({"keys": members})
        return
    for one in members:
        click.echo(f"{one['file']}: {one['state']}")
        for name in ("token_key_id", "not_before", "not_after"):
            click.echo(f"  {name:<12}  {one[name]}")


def _members(path: Path, file: TokenKeyFile, now: datetime) -> dict[str, object]:
    """Return what may be shown of a key. `token_key` is what directories hold."""
    epoch = file.epoch
    return {
        "file": str(path),
        "state": _state(epoch.not_before, epoch.not_after, now),
        "token_key_id": epoch.key.token_key_id.hex(),
        "token_key": encode_base64url(epoch.key.to_spki()),
        "not_before": epoch.not_before.isoformat(),
        "not_after": epoch.not_after.isoformat(),
    }


def _state(not_before: datetime, not_after: datetime, now: datetime) -> str:
    if now < not_before:
        return "published, signs later"
    return "signs" if now < not_after else "over: delete it when its tokens are"


def _now() -> datetime:
    return system.now().replace(microsecond=0)
