"""`confsec issuer directory`: tell the users of a service, and its router, where tokens come from."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import click
from attrs import evolve

from confsec.backends import system
from confsec.cli.duration import DURATION
from confsec.cli.output import print_json, read_bytes, replace_bytes
from confsec.errors import ConfigError
from confsec.protocol.directory import IssuerEntry, ServiceDirectory
from confsec.protocol.key_config import KeyConfig
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_keys import BLIND_RSA, TokenKeyEpoch
from confsec.roles.issuer_key_folder import read_key_folder
from confsec.roles.keys import read_keyring

__all__ = ["directory_command"]

_FILE: Final = click.Path(path_type=Path)


@click.command(name="directory")
@click.option("--service", required=True, type=_FILE, metavar="FILE", help="The directory file, which is replaced.")
@click.option("--folder", required=True, type=_FILE, metavar="FOLDER", help="The folder with the issuer's key files.")
@click.option("--relay", required=True, metavar="URL", help="The relay's path that leads to the issuer's gateway.")
@click.option(
    "--gateway-keys",
    required=True,
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="A key file of the issuer's gateway. May be given several times.",
)
@click.option(
    "--origin",
    default="https://issuer.confsec.invalid",
    show_default=True,
    metavar="ORIGIN",
    help="What the targets of the issuer's gateway call the issuer: https://AUTHORITY.",
)
@click.option(
    "--keep",
    type=DURATION,
    default="1d",
    show_default=True,
    help="How long a key is listed after its epoch: at least as long as the router takes its tokens.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def directory_command(
    service: Path,
    folder: Path,
    relay: str,
    gateway_keys: tuple[Path, ...],
    origin: str,
    keep: timedelta,
    *,
    as_json: bool,
) -> None:
    """Write the issuer and its keys into a directory file, and print the file's SHA-256.

    \b
    confsec issuer directory --service service.toml --folder token-keys \\
                             --relay https://relay.example/issuer --gateway-keys issuer-gateway.key

    Do it again whenever a key was made, and publish the file: clients take no key that is not in it, and the router no
    token of such a key. It holds nothing secret.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    now = system.now()
    directory = _read(service)
    issuer = IssuerEntry(
        relay_url=relay,
        gateway_key_configs=_published(gateway_keys, now),
        origin=origin,
        token_challenge=TokenChallenge(BLIND_RSA, _authority(origin), origin_info=directory.router_authority),
        token_keys=_epochs(folder, now - keep),
    )
    text = evolve(directory, issuer=issuer).to_toml()
    ServiceDirectory.from_toml(text)  # reads every member, and says which one is wrong
    replace_bytes(service, text.encode())
    _print(service, issuer, sha256(text.encode()).hexdigest(), as_json=as_json)


def _read(path: Path) -> ServiceDirectory:
    try:
        text = read_bytes(path, "the directory").decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the directory {path} is not text in UTF-8") from exc
    return ServiceDirectory.from_toml(text)


def _authority(origin: str) -> str:
    authority = origin.partition("://")[2]
    if not authority:
        raise ConfigError("the issuer's origin is no origin", got=origin, want="https://AUTHORITY")
    return authority


def _published(paths: tuple[Path, ...], now: datetime) -> tuple[KeyConfig, ...]:
    published = read_keyring([str(path) for path in paths]).published(now)
    if not published:
        raise ConfigError("none of the gateway's keys is published now", hint="Make a new one with `confsec keys`")
    return tuple(key.config for key in published)


def _epochs(folder: Path, ended: datetime) -> tuple[TokenKeyEpoch, ...]:
    epochs = tuple(file.epoch for _, file in read_key_folder(folder) if ended < file.epoch.not_after)
    if not epochs:
        raise ConfigError("the issuer has no key", hint="Make one with `confsec issuer keys new`")
    return epochs


def _listed(issuer: IssuerEntry) -> str:
    return ", ".join(epoch.key.token_key_id.hex()[:8] for epoch in issuer.token_keys)


def _print(path: Path, issuer: IssuerEntry, digest: str, *, as_json: bool) -> None:
    if as_json:
        keys = [epoch.key.token_key_id.hex() for epoch in issuer.token_keys]
        print_json({"file": str(path), "sha256": digest, "token_key_ids": keys})
        return
    click.echo(f"{path}: tokens of {issuer.origin}, keys {_listed(issuer)}")
    click.echo(f"  sha256  {digest}")
