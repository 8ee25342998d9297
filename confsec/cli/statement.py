"""`confsec statement`: saying something in public, looking at what others say, and checking it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from confsec.backends.key_files import passphrase_from_file, write_private_file
from confsec.cli.output import console, print_json, read_bytes
from confsec.cli.statement_sign import sign_command
from confsec.cli.statement_tree import print_no_statement, read_statement, statement_json, statement_tree
from confsec.cli.statement_verify import verify_command
from confsec.errors import ConfigError, DecodeError
from confsec.protocol.dsse import DsseKey
from confsec.protocol.signatures import SigningKey
from confsec.protocol.sigstore import read_envelope
from confsec.protocol.toml_general import quote
from confsec.protocol.wire import encode_base64

__all__ = ["command"]

_FILE: Final = click.Path(path_type=Path)


@click.group(name="statement")
def command() -> None:
    """Sign statements about services, images, models and releases, look at them, and check them.

    \b
    confsec statement key --out operator.key --name operator
    confsec statement sign --directory service.toml --name service.example --valid-for 1d \\
                           --key operator.key --out directory.dsse
    confsec statement show directory.dsse
    confsec statement verify directory.dsse --policy statements.toml

    docs/statements.md explains them, and has all keys of a policy.
    """  # noqa: D301 - click keeps lines as they are after a backspace


command.add_command(sign_command)
command.add_command(verify_command)


@command.command(name="key", short_help="Make a key that signs statements.")
@click.option("--out", required=True, type=_FILE, metavar="FILE", help="The file to make, with mode 0600.")
@click.option("--name", default="signer", show_default=True, metavar="NAME", help="What policies call its holder.")
@click.option("--p256", is_flag=True, help="ECDSA on P-256 instead of Ed25519.")
@click.option(
    "--passphrase-file", type=_FILE, metavar="FILE", help="Encrypt it with the passphrase in this file of mode 0600."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _key(out: Path, name: str, passphrase_file: Path | None, *, p256: bool, as_json: bool) -> None:
    """Make a key, and print its public half as the line that a policy has in its table [keys].

    \b
    confsec statement key --out operator.key --name operator

    Whoever has the file can say what the policies of others let you say. Without a passphrase it is not encrypted.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    key: SigningKey = ec.generate_private_key(ec.SECP256R1()) if p256 else ed25519.Ed25519PrivateKey.generate()
    public = DsseKey.of(name, key)
    write_private_file(out, _private_bytes(key, passphrase_file))
    spki = encode_base64(public.spki)
    if as_json:
        print_json({"file": str(out), "name": name, "spki": spki, "keyid": public.key_id})
    else:
        click.echo(f"{quote(name)} = {quote(spki)}\n# keyid {public.key_id}")


@command.command(name="show", short_help="Show a statement, without checking anything.")
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _show(file: Path, *, as_json: bool) -> int:
    """Show the statement in FILE, an envelope or a bundle of Sigstore. Nothing is verified by this.

    \b
    confsec statement show directory.dsse

    Exit status: 0 it is one, 2 it is none.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    try:
        shown = read_statement(read_envelope(read_bytes(file, "the envelope")))
    except DecodeError as exc:
        return print_no_statement(exc, as_json=as_json)
    if as_json:
        print_json({"verified": False, **statement_json(shown)})
    else:
        out = console()
        out.print(
            "[bold yellow]NOTHING HERE IS VERIFIED[/]: anybody can write this. confsec statement verify checks it."
        )
        out.print(statement_tree(shown))
    return 0


def _private_bytes(key: SigningKey, passphrase_file: Path | None) -> bytes:
    if passphrase_file is None:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    passphrase = passphrase_from_file(passphrase_file)()
    if not passphrase:
        raise ConfigError(f"the passphrase in {passphrase_file} is empty")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
