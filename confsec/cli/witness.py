"""`confsec witness`: keys that cosign, and running a witness."""

from __future__ import annotations

from pathlib import Path

import click

from confsec.backends import system
from confsec.backends.key_files import write_private_file
from confsec.cli.output import print_json
from confsec.cli.role_commands import role_command
from confsec.protocol.note_keys import KeyType, Signer
from confsec.roles.witness import Witness, WitnessConfig

__all__ = ["command"]

_TYPES = (KeyType.ED25519_COSIGNATURE, KeyType.ML_DSA_44_COSIGNATURE)


@click.group(name="witness")
def command() -> None:
    """Run a witness: it cosigns that a log only grew, so that nobody can be shown a tree of his own.

    \b
    confsec witness key witness.example/w1 --out witness.keys
    confsec witness serve --keys witness.keys --logs logs.txt --store witness.db --port 8010
    """  # noqa: D301 - click keeps lines as they are after a backspace


@command.command(name="key", short_help="Make the keys of a witness.")
@click.argument("name")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write; it must not exist.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _key(name: str, out: Path, *, as_json: bool) -> None:
    """Make the keys of the witness NAME, an Ed25519 and an ML-DSA-44 key, and print their public halves.

    \b
    confsec witness key witness.example/w1 --out witness.keys

    NAME should be an address without its scheme that is yours, and stays. Policies (C2SP tlog-policy) take what is
    printed in lines of the form `witness name key`, one of the two for each witness.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    signers = [Signer(name, type_, system.randbytes(32)) for type_ in _TYPES]
    write_private_file(out, "".join(f"{signer.encode()}\n" for signer in signers).encode())
    public = [signer.key.encode() for signer in signers]
    if as_json:
        print_json({"file": str(out), "keys": public})
    else:
        click.echo("\n".join(public))


command.add_command(
    role_command(
        "serve",
        WitnessConfig,
        Witness,
        help="""Run a witness (C2SP tlog-witness): logs ask it to cosign, and it remembers what it cosigned.

        \b
        confsec witness serve --keys witness.keys --logs logs.txt --store witness.db --port 8010
        """,
    )
)
