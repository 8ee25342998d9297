"""`confsec log`: a log's key, running a log, and appending to one."""

from __future__ import annotations

from pathlib import Path

import click

from confsec.backends import system
from confsec.backends.http import HttpLimits, HttpTransport
from confsec.backends.key_files import write_private_file
from confsec.backends.log_client import LogClient
from confsec.cli.log_page import page_command
from confsec.cli.log_read import check_command, prove_command
from confsec.cli.output import print_json, read_bytes, run_async, write_bytes
from confsec.cli.role_commands import role_command
from confsec.errors import ConfigError
from confsec.protocol.note_keys import KeyType, Signer
from confsec.roles.log import Log, LogConfig

__all__ = ["command"]


@click.group(name="log")
def command() -> None:
    """Run a transparency log, append to it, and check what it shows.

    \b
    confsec log key log.example/one --out log.key
    confsec log serve --key log.key --policy policy.txt --statements statements.toml --storage log --index index.db
    """  # noqa: D301 - click keeps lines as they are after a backspace


@command.command(name="key", short_help="Make the key of a log.")
@click.argument("name")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write; it must not exist.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _key(name: str, out: Path, *, as_json: bool) -> None:
    """Make the key of the log NAME, an Ed25519 key, and print its public half.

    \b
    confsec log key log.example/one --out log.key

    NAME is the log's origin: where it is served, without the scheme, such as log.example/one. It stays as long as the
    log does. Policies (C2SP tlog-policy) take what is printed in a line of the form `log key`.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    signer = Signer(name, KeyType.ED25519, system.randbytes(32))
    write_private_file(out, f"{signer.encode()}\n".encode())
    if as_json:
        print_json({"file": str(out), "key": signer.key.encode()})
    else:
        click.echo(signer.key.encode())


@command.command(name="append", short_help="Append files to a log.")
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY...", type=click.Path(path_type=Path))
@click.option("--log", "url", required=True, help="The URL of the log.")
@click.option("--proof", "proof_file", type=click.Path(path_type=Path), help="Wait for a quorum; write the proof here.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait for an answer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _append(entries: tuple[Path, ...], url: str, proof_file: Path | None, *, timeout: float, as_json: bool) -> None:
    """Append each file ENTRY to a log as it is, and print where it stands: a signed statement, as a rule.

    \b
    confsec log append --log https://log.example/one directory.json
    confsec log append --log https://log.example/one --proof directory.proof directory.json

    When it prints a number, the log cannot lose the entry. Appending it again gives the same number. With --proof it
    waits until a quorum of witnesses has seen the entry; `confsec log prove` makes proofs later, and from a mirror.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    if proof_file is not None and len(entries) > 1:
        raise ConfigError("a proof is of one entry", got=len(entries), want="one file")
    contents = [read_bytes(path, "the entry") for path in entries]

    async def append() -> list[int]:
        transport = HttpTransport(HttpLimits(read_timeout=timeout))
        try:
            client = LogClient(url, transport)
            if proof_file is None:
                return [await client.append(each) for each in contents]
            proof = await client.append_cosigned(contents[0])
            write_bytes(proof_file, proof.encode(), "the proof")
            return [proof.index]
        finally:
            await transport.aclose()

    indexes = run_async(append)
    if as_json:
        print_json({"indexes": indexes})
    else:
        click.echo("\n".join(map(str, indexes)))


command.add_command(
    role_command(
        "serve",
        LogConfig,
        Log,
        help="""Run a log (C2SP tlog-tiles): it appends statements, has witnesses cosign, and serves files.

        \b
        confsec log serve --key log.key --policy policy.txt --statements statements.toml --storage log --index index.db
        confsec log serve --key fleets.key --policy policy.txt --root root.toml --storage fleets --index fleets.db

        The log of a service's directory or fleets has its root: it then refuses what clients would refuse.
        """,
    )
)
command.add_command(check_command)
command.add_command(page_command)
command.add_command(prove_command)
