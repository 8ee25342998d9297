"""`confsec receipt`: receipts of transparency logs in COSE, and statements that come with them (SCITT)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import click
from attrs import frozen

from confsec.backends import system
from confsec.cli.output import print_json, read_bytes, write_bytes
from confsec.cli.printable import printable
from confsec.cli.public_keys import read_public_key
from confsec.cli.timestamp import TIMESTAMP
from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.cose import CoseSign1
from confsec.protocol.known_issuer import HeaderClaims, KnownIssuer
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.receipt import (
    HEADER_VDS,
    Receipt,
    SignedRoot,
    verify_consistency_receipt,
    verify_inclusion_receipt,
)
from confsec.protocol.signatures import ALGORITHMS
from confsec.protocol.transparent_statement import SignedStatement, verify_transparent_statement

__all__ = ["command"]

_FILE: Final = click.Path(path_type=Path)
_NAMES: Final = {row.cose_id: row.name for row in ALGORITHMS.values()}
_KNOWN: Final = (str, _FILE)


@click.group(name="receipt")
def command() -> None:
    """Look into receipts of transparency logs (COSE, SCITT), and check them.

    \b
    confsec receipt show receipt.cose
    confsec receipt verify receipt.cose --log https://log.example log.pem --entry entry.bin
    confsec receipt verify statement.cose --issuer https://issuer.example issuer.pem \\
                                          --log https://log.example log.pem

    docs/spec/receipts.md says what a receipt shows, and what not.
    """  # noqa: D301 - click keeps lines as they are after a backspace


@command.command(name="show", short_help="Say what is in a receipt or a statement; nothing is checked.")
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _show(file: Path, *, as_json: bool) -> None:
    """Say what is in FILE, a receipt or a signed statement. Nothing of it is checked.

    \b
    confsec receipt show receipt.cose
    confsec receipt show statement.cose --json
    """  # noqa: D301 - click keeps lines as they are after a backspace
    read = _read(file)
    shown = _receipt_json(read) if isinstance(read, Receipt) else _statement_json(read)
    if as_json:
        print_json(shown)
        return
    for line in _lines(shown):
        click.echo(printable(line))
    click.echo("nothing of this has been checked")


@frozen(kw_only=True)
class _Asked:
    """What the user knows, and wants to have checked."""

    logs: tuple[KnownIssuer, ...]
    issuer: KnownIssuer | None
    entry: Path | None
    since: tuple[int, str] | None
    payload: Path | None
    out: Path | None
    at: datetime


@command.command(name="verify", short_help="Check a receipt, or a statement with its receipts.")
@click.argument("file", type=_FILE)
@click.option(
    "--log", "logs", nargs=2, type=_KNOWN, multiple=True, metavar="NAME KEY",
    help="A log by its name, as its receipts say it ('' if they name nobody), and its public key (PEM, COSE_Key). "
    "Of several, each has to have the statement.",
)  # fmt: skip
@click.option("--entry", type=_FILE, metavar="FILE", help="For a receipt: the entry that the log has, as it hashes it.")
@click.option(
    "--since", nargs=2, type=(click.IntRange(min=1), str), metavar="SIZE ROOT",
    help="For a receipt: an older tree that the log only added to, its root in hex.",
)  # fmt: skip
@click.option(
    "--issuer", nargs=2, type=_KNOWN, metavar="NAME KEY", help="For a statement: who says it, and their public key."
)
@click.option("--payload", type=_FILE, metavar="FILE", help="For a statement: its payload, where that is not in it.")
@click.option("--out", type=_FILE, metavar="FILE", help="For a statement: write the payload here once it is checked.")
@click.option("--at", type=TIMESTAMP, metavar="TIME", help="Check as of this time (RFC 3339), not of now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def _verify(  # noqa: PLR0913 - each is an option
    file: Path,
    logs: tuple[tuple[str, Path], ...],
    entry: Path | None,
    since: tuple[int, str] | None,
    issuer: tuple[str, Path] | None,
    payload: Path | None,
    out: Path | None,
    at: datetime | None,
    *,
    as_json: bool,
) -> None:
    """Check FILE: a receipt of an entry or of growth, or a signed statement with its receipts.

    \b
    confsec receipt verify receipt.cose --log https://log.example log.pem --entry entry.bin
    confsec receipt verify receipt.cose --log https://log.example log.pem --since 3 5f0c…
    confsec receipt verify statement.cose --issuer https://issuer.example issuer.pem \\
                                          --log https://log.example log.pem --out payload.bin

    Exit status: 0 verified, 1 refused, 2 wrong input.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    read = _read(file)
    asked = _Asked(
        logs=tuple(_known(each) for each in logs), issuer=_known(issuer) if issuer else None, entry=entry,
        since=since, payload=payload, out=out, at=at or system.now(),
    )  # fmt: skip
    shown = _verify_receipt(read, asked) if isinstance(read, Receipt) else _verify_statement(read, asked)
    if as_json:
        print_json({"verified": True, **shown})
        return
    for line in _lines(shown):
        click.echo(printable(line))
    click.echo("verified; the log signed the root, and sizes and indexes only fit it")


# --- Checking ---------------------------------------------------------------------------------------------------------


def _verify_receipt(receipt: Receipt, asked: _Asked) -> dict[str, object]:
    if asked.issuer or asked.payload or asked.out:
        raise ConfigError("--issuer, --payload and --out are for statements, and this is a receipt")
    if len(asked.logs) != 1:
        raise ConfigError("a receipt is of one log", got=f"{len(asked.logs)} times --log", hint="Say --log NAME KEY")
    (log,) = asked.logs
    if asked.entry and not asked.since:
        leaf = leaf_hash(read_bytes(asked.entry, "the entry"))
        return _root_json(verify_inclusion_receipt(receipt, leaf, log, at=asked.at))
    if asked.since and not asked.entry:
        size, root = asked.since
        return _root_json(verify_consistency_receipt(receipt, size, _unhex(root), log, at=asked.at))
    raise ConfigError("a receipt is of an entry, or of growth", hint="Say either --entry or --since")


def _verify_statement(statement: SignedStatement, asked: _Asked) -> dict[str, object]:
    if asked.entry or asked.since:
        raise ConfigError("--entry and --since are for receipts, and this is a statement")
    if asked.issuer is None:
        raise ConfigError("nobody is known who could have said this", hint="Say --issuer NAME KEY")
    beside = read_bytes(asked.payload, "the payload") if asked.payload else None
    verified = verify_transparent_statement(statement, asked.issuer, asked.logs, at=asked.at, detached_payload=beside)
    if asked.out:
        write_bytes(asked.out, verified.payload, "the payload")
    return {
        "issuer": asked.issuer.issuer,
        "subject": verified.subject,
        "payload_size": len(verified.payload),
        "logs": [_root_json(each) for each in verified.logged],
    }


def _known(named: tuple[str, Path]) -> KnownIssuer:
    name, file = named
    return KnownIssuer(name or None, read_public_key(file))


def _unhex(root: str) -> bytes:
    try:
        return bytes.fromhex(root)
    except ValueError as exc:
        raise ConfigError("the root of --since is not hex") from exc


# --- Reading and showing ----------------------------------------------------------------------------------------------


def _read(file: Path) -> Receipt | SignedStatement:
    """Read a receipt, or else a statement: only receipts say in protected headers of which tree they are."""
    data = read_bytes(file, "the file")
    try:
        if HEADER_VDS in CoseSign1.decode(data).headers:
            return Receipt.decode(data)
        return SignedStatement.decode(data)
    except ConfsecError as exc:
        raise ConfigError(f"{file} is no receipt and no signed statement that we read: {exc}") from exc


def _receipt_json(receipt: Receipt) -> dict[str, object]:
    return {
        **_signed_json(receipt.message, receipt.claims),
        "inclusion": [{"size": each.size, "index": each.index} for each in receipt.inclusion],
        "consistency": [{"old_size": each.old_size, "new_size": each.new_size} for each in receipt.consistency],
    }


def _statement_json(statement: SignedStatement) -> dict[str, object]:
    payload = statement.message.payload
    return {
        **_signed_json(statement.message, statement.claims),
        "payload_size": None if payload is None else len(payload),
        "receipts": [_inner_json(each) for each in statement.receipts],
    }


def _inner_json(encoded: bytes) -> dict[str, object]:
    try:
        return _receipt_json(Receipt.decode(encoded))
    except ConfsecError as exc:
        return {"unreadable": str(exc)}


def _signed_json(message: CoseSign1, claims: HeaderClaims) -> dict[str, object]:
    algorithm = message.algorithm
    return {
        "issuer": claims.issuer,
        "subject": claims.subject,
        "key_id": message.key_id.hex() if message.key_id is not None else None,
        "algorithm": _NAMES.get(algorithm, algorithm) if isinstance(algorithm, int) else algorithm,
    }


def _root_json(root: SignedRoot) -> dict[str, object]:
    return {"log": root.issuer, "root": root.root.hex(), "size": root.size, "index": root.index}


def _lines(shown: dict[str, object], indent: str = "") -> Iterator[str]:
    """Yield a line for each member that is there; lists of objects follow their name."""
    for name, value in shown.items():
        label = name.replace("_", " ")
        if isinstance(value, list):
            for number, each in enumerate(value, 1):
                yield f"{indent}{label} {number}:"
                yield from _lines(each, f"{indent}  ")
        elif value is not None:
            yield f"{indent}{label}: {value}"
