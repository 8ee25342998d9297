"""`confsec policy from-corim`: the reference values of a publisher, as tables of a policy file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import click

from confsec.backends import system
from confsec.cli.output import read_bytes
from confsec.cli.printable import printable
from confsec.cli.public_keys import read_public_key
from confsec.cli.timestamp import TIMESTAMP
from confsec.errors import ConfigError
from confsec.protocol.corim import Corim, verify_corim_times

__all__ = ["corim_command", "toml_lines"]

_SIGNED: Final = 0xD2
"""How a message begins that is tagged as COSE_Sign1 (RFC 9052, section 2)."""


@click.command(name="from-corim")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--key", "key_file", type=click.Path(path_type=Path), metavar="PEM", help="The public key of whoever signed FILE."
)
@click.option(
    "--unsafe-unsigned", is_flag=True, help="Take values that nobody signed, or whose signer you cannot tell."
)
@click.option(
    "--unsafe-ignore",
    "ignored",
    multiple=True,
    metavar="KEY",
    help="Leave this measurement key out: the policy will accept any value of it. May be repeated.",
)
@click.option("--at", type=TIMESTAMP, metavar="TIME", help="The time at which FILE has to be valid; now by default.")
def corim_command(
    file: Path, key_file: Path | None, ignored: tuple[str, ...], at: datetime | None, *, unsafe_unsigned: bool
) -> None:
    """Print the reference values of the CoRIM in FILE as tables of a policy file.

    They are part of a policy, not one: what else it has to say is yours. A value that no key of a policy stands for is
    refused, since a policy without it would accept any.

    \b
    confsec policy from-corim release.corim --key publisher.pem
    """  # noqa: D301 - click keeps lines as they are after a backspace
    from confsec.protocol.corim_reference import reference_tables

    if (key_file is None) != unsafe_unsigned:
        raise ConfigError("a CoRIM needs a signature that you trust", hint="Either --key PEM, or --unsafe-unsigned")
    data = read_bytes(file, "the CoRIM")
    corim = _open(data, key_file, at or system.now())
    tables = reference_tables(corim, unsafe_ignored=[int(key) if key.isdecimal() else key for key in ignored])
    click.echo(f"# {printable(file.name)}, SHA-256 {sha256(data).hexdigest()}")
    click.echo("# UNSIGNED: anybody can have written these values" if unsafe_unsigned else "# Signed, and valid")
    for line in toml_lines(tables):
        click.echo(line)


def _open(data: bytes, key_file: Path | None, now: datetime) -> Corim:
    """Return the CoRIM, if its signature and its times are good. Raises `ConfsecError`."""
    from confsec.protocol.corim_signed import SignedCorim, open_signed_corim

    is_signed = data[:1] == bytes([_SIGNED])
    if key_file is None:
        corim = Corim.decode(SignedCorim.decode(data).message.payload or b"" if is_signed else data)
        verify_corim_times(corim, now=now)
        return corim
    if not is_signed:
        raise ConfigError("this CoRIM is not signed", hint="Get the signed one, or say --unsafe-unsigned")
    return open_signed_corim(SignedCorim.decode(data), read_public_key(key_file), now=now)


def toml_lines(tables: Mapping[str, object], path: str = "") -> Iterator[str]:
    """Yield the lines of a TOML file with these tables. Values are numbers, texts, truths and lists of them."""
    inner = {name: value for name, value in tables.items() if isinstance(value, Mapping)}
    for name, value in tables.items():
        if name not in inner:
            yield f"{_key(name)} = {_value(value)}"
    for name, table in inner.items():
        yield ""
        yield f"[{path}{_key(name)}]"
        yield from toml_lines(table, f"{path}{_key(name)}.")


def _value(value: object) -> str:
    """Write a value as JSON does: texts, numbers, truths and lists are TOML's, too, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare = name.replace("-", "").replace("_", "")
    return name if bare.isascii() and bare.isalnum() else _value(name)
