"""`confsec keys`: the private keys of a gateway, and the directory file that tells users of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import click

from confsec.backends import system
from confsec.cli.duration import DURATION
from confsec.cli.fetch import fetch
from confsec.cli.output import print_json, replace_bytes, run_async
from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.directory import MAX_DIRECTORY, ServiceDirectory
from confsec.protocol.gateway_keys import GatewayKey
from confsec.protocol.kem import KEMS
from confsec.protocol.key_config import KeyConfig, decode_key_configs
from confsec.protocol.wire import encode_base64
from confsec.roles.keys import GatewayKeyFile, read_keyring

__all__ = ["command"]

_DEFAULT_KEM: Final = "MLKEM768-X25519"

_FILE: Final = click.Path(path_type=Path)


@click.group(name="keys")
def command() -> None:
    """Make a gateway's keys, and the directory file for its users.

    \b
    confsec keys gateway --out gateway-1.key
    confsec keys show gateway-1.key
    confsec keys directory --relay https://relay.example/ --router https://router.example \\
                           --keys gateway-1.key --out service.toml

    docs/operating.md says how keys are turned over.
    """  # noqa: D301 - click keeps lines as they are after a backspace


@command.command(name="gateway", short_help="Make a private key for a gateway.")
@click.option("--out", required=True, type=_FILE, metavar="FILE", help="The file to make, with mode 0600.")
@click.option(
    "--kem",
    type=click.Choice([kem.name for kem in KEMS], case_sensitive=False),
    default=_DEFAULT_KEM,
    metavar="NAME",
    help=f"The KEM.  [default: {_DEFAULT_KEM}, which everybody should use who can]",
)
@click.option(
    "--key-id",
    type=click.IntRange(0, 255),
    metavar="N",
    help="What the gateway calls the key: 0 to 255.  [default: drawn]",
)
@click.option(
    "--beside",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="A key file that the gateway has already: the new key gets an id that differs. May be given several times.",
)
@click.option("--lifetime", type=DURATION, default="30d", show_default=True, help="How long it is published.")
@click.option(
    "--overlap", type=DURATION, default="7d", show_default=True, help="How long it still opens messages afterwards."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _gateway(
    out: Path,
    kem: str,
    key_id: int | None,
    beside: tuple[Path, ...],
    lifetime: timedelta,
    overlap: timedelta,
    *,
    as_json: bool,
) -> None:
    """Make a private key for a gateway. A file that is there already is left alone.

    \b
    confsec keys gateway --out gateway-1.key
    confsec keys gateway --out gateway-2.key --beside gateway-1.key --lifetime 90d
    confsec keys gateway --out x25519.key --kem "DHKEM(X25519, HKDF-SHA256)"

    Whoever has the file can open what is sealed to it, as the gateway can. It is no node key: prompts stay sealed.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    if lifetime <= timedelta(0):
        raise ConfigError("the lifetime is nothing", want="at least 1s")
    if key_id is not None and beside:
        raise ConfigError(
            "--key-id and --beside exclude each other", hint="Choose the id yourself, or let it be chosen"
        )
    file = GatewayKeyFile.generate(
        kem,
        key_id if key_id is not None else _free_key_id(beside),
        now=system.now().replace(microsecond=0),
        lifetime=lifetime,
        overlap=overlap,
        randbytes=system.randbytes,
    )
    file.write(out)
    _print_keys([(out, file.to_key())], _TIMES, as_json=as_json)


@command.command(name="show", short_help="Show what is public about key files.")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _show(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Show what is public about key files, and the times of their lives. Private keys are never shown.

    \b
    confsec keys show gateway-1.key
    confsec keys show --json *.key
    """  # noqa: D301 - click keeps lines as they are after a backspace
    _print_keys(
        [(path, GatewayKeyFile.read(path).to_key()) for path in files], (*_TIMES, "key_config"), as_json=as_json
    )


@command.command(name="directory", short_help="Write the directory file for users.")
@click.option("--relay", required=True, metavar="URL", help="Where users send to: the URL of the relay.")
@click.option(
    "--router", required=True, metavar="ORIGIN", help="What the gateway's targets call the router: https://AUTHORITY."
)
@click.option("--keys", multiple=True, type=_FILE, metavar="FILE", help="A key file. May be given several times.")
@click.option(
    "--gateway", default="", metavar="URL", help="Instead of files: the gateway's URL, ending in /ohttp-keys."
)
@click.option("--out", required=True, type=_FILE, metavar="FILE", help="The directory file; an old one is replaced.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _directory(relay: str, router: str, keys: tuple[Path, ...], gateway: str, out: Path, *, as_json: bool) -> None:
    """Write the file that users of a service need, and print its SHA-256, by which they can compare it.

    \b
    confsec keys directory --relay https://relay.example/ --router https://router.example \\
                           --keys gateway-1.key --keys gateway-2.key --out service.toml
    confsec keys directory --relay http://127.0.0.1:8001/ --router https://router.example \\
                           --gateway http://127.0.0.1:8002/ohttp-keys --out service.toml

    It holds the keys that are published now, the newest first, and nothing secret.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    if bool(keys) == bool(gateway):
        raise ConfigError("the directory needs the gateway's keys", hint="Give either --keys FILE or --gateway URL")
    key_configs = _published(keys) if keys else _fetch_key_configs(gateway)
    directory = ServiceDirectory(relay_url=relay, gateway_key_configs=key_configs, router_origin=router)
    text = directory.to_toml()
    if ServiceDirectory.from_toml(text) != directory:  # reads every member, and says which one is wrong
        raise ConfigError("the directory would not be read back as it was written")
    replace_bytes(out, text.encode())
    _print_directory(out, directory, sha256(text.encode()).hexdigest(), as_json=as_json)


# --- Keys -------------------------------------------------------------------------------------------------------------


def _free_key_id(beside: Sequence[Path]) -> int:
    """Return an id that no key of the gateway has.

    It is drawn where no others are named. A gateway that got a key of an id that clients know for another one could not
    tell them that theirs is gone: it would only see what it cannot open.
    """
    if not beside:
        return system.randbytes(1)[0]
    try:
        return read_keyring([str(path) for path in beside]).free_key_id()
    except ConfigError:
        raise
    except ConfsecError as exc:
        raise ConfigError(exc.what, want=exc.want) from exc


def _published(paths: Sequence[Path]) -> tuple[KeyConfig, ...]:
    """Return the key configurations of the files that are published now."""
    published = read_keyring([str(path) for path in paths]).published(system.now())
    if not published:
        raise ConfigError(
            "none of these keys is published now", hint="`confsec keys show` tells their times; make a new one"
        )
    return tuple(key.config for key in published)


def _fetch_key_configs(url: str) -> tuple[KeyConfig, ...]:
    """Return the key configurations that a gateway serves."""

    async def run() -> bytes:
        from confsec.backends.http import HttpTransport

        transport = HttpTransport()
        try:
            return await fetch(transport, url, what="the list of the gateway's keys", limit=MAX_DIRECTORY)
        finally:
            await transport.aclose()

    return decode_key_configs(run_async(run))


def _print_keys(keys: Sequence[tuple[Path, GatewayKey]], shown: Sequence[str], *, as_json: bool) -> None:
    now = system.now()
    if as_json:
        print_json({"keys": [_key_json(path, key, now) for path, key in keys]})
        return
    for path, key in keys:
        members = _key_json(path, key, now)
        click.echo(f"{path}: {members['state']}")
        for name in shown:
            click.echo(f"  {name:<16} {members[name]}")


_TIMES: Final = ("key_id", "kem", "published_from", "published_until", "accepted_until", "sha256")
"""What a person needs to know of a new key."""


def _key_json(path: Path, key: GatewayKey, now: datetime) -> dict[str, object]:
    """Return what may be shown of a key."""
    encoded = key.config.encode()
    return {
        "file": str(path),
        "state": _state(key, now),
        "key_id": key.config.key_id,
        "kem": key.config.kem.name,
        "published_from": key.published_from.isoformat(),
        "published_until": key.published_until.isoformat(),
        "accepted_until": key.accepted_until.isoformat(),
        "sha256": sha256(encoded).hexdigest(),
        "key_config": encode_base64(encoded),
    }


def _state(key: GatewayKey, now: datetime) -> str:
    if now < key.published_from:
        return "not published yet"
    if now < key.published_until:
        return "published"
    return "opens messages, and is no longer published" if now < key.accepted_until else "over: delete it"


# --- The directory ----------------------------------------------------------------------------------------------------


def _print_directory(path: Path, directory: ServiceDirectory, digest: str, *, as_json: bool) -> None:
    keys = [{"key_id": config.key_id, "kem": config.kem.name} for config in directory.gateway_key_configs]
    if as_json:
        print_json({"file": str(path), "sha256": digest, "keys": keys})
        return
    click.echo(f"{path}: " + ", ".join(f"key {key['key_id']} of {key['kem']}" for key in keys))
    click.echo(f"  sha256  {digest}")
