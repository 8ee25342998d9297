"""`confsec log check` and `confsec log prove`: reading a log from its static files, and believing nothing unproved."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import click
from attrs import frozen

from confsec.backends import system
from confsec.backends.log_source import read_log
from confsec.backends.trusted_root import open_trusted_root
from confsec.cli.log_options import NamedLog, ReadLog, named_log, progress, reading, with_log_options
from confsec.cli.output import console, print_json, read_bytes, run_async, write_bytes
from confsec.cli.printable import printable
from confsec.errors import ConfigError, TransparencyError
from confsec.protocol.json_members import encode_time
from confsec.protocol.latest_statements import LatestStatements
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.monitoring import AlertKind, EntryExaminer, Finding, Watch
from confsec.protocol.statement_rules import from_toml
from confsec.protocol.tile_paths import MAX_ENTRY_SIZE, TILE_WIDTH
from confsec.protocol.tiles import TileTree, tiles_for_inclusion
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_logged
from confsec.protocol.tree_reader import BUNDLES_AT_ONCE, LoggedEntry, TreeReader

if TYPE_CHECKING:
    from rich.tree import Tree

__all__ = ["check_command", "prove_command"]

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_BATCH: Final = 8
"""So many tiles of hashes are read between two steps of the progress bar."""

_MAX_SHOWN: Final = 20


# --- check ------------------------------------------------------------------------------------------------------------


@final
@frozen
class _Report:
    """What came out of a check."""

    read: ReadLog
    first: int
    """The first entry that was read: those before were not."""

    rules: bool
    """Whether statements were judged."""

    refused: tuple[Finding, ...]

    def checked(self) -> list[str]:
        """Say what was looked at."""
        checkpoint, cosigned, before = self.read.checkpoint, self.read.news.cosigned, self.read.before
        entries = checkpoint.size - self.first
        said = [
            f"the log {checkpoint.origin} signed a checkpoint of {_counted(checkpoint.size)}",
            f"a quorum cosigned it: {', '.join(cosigned.cosigners)}; its word is of {cosigned.fresh_since:%F %T} UTC",
        ]
        if before.size:
            said.append(f"the tree begins with the {_counted(before.size)} of the one that is remembered")
        if entries:
            said.append(f"{_counted(entries)} from {self.first} on: in the tree, byte for byte")
        if self.rules:
            said.append(f"{entries - len(self.refused)} of {_counted(entries)}: statements that the rules admit")
        return said

    def unchecked(self) -> list[str]:
        """Say what was not looked at."""
        said = ["whether other readers see this tree: that is the word of the witnesses"]
        if not self.read.before.size:
            remembered = "nothing was remembered of it" if self.read.log.memory else "without --memory"
            said.append(f"whether the log showed another tree before: {remembered}")
        if self.first:
            said.append(f"{_counted(self.first)} before: --newest left them out")
        if not self.rules:
            said.append("what the entries say, and who signed them: without --statements")
        return said


def _counted(entries: int) -> str:
    return "1 entry" if entries == 1 else f"{entries} entries"


@click.command(name="check", short_help="Check what a log shows.")
@click.argument("source", metavar="URL")
@click.option("--newest", type=click.IntRange(0), help="Read only so many of the newest entries.  [default: all]")
@click.option("--statements", type=_FILE, metavar="FILE", help="Judge the entries by these rules (TOML).")
@click.option("--trusted-root", type=_FILE, metavar="FILE", help="The roots of Sigstore, for rules with identities.")
@with_log_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_command(
    source: str,
    newest: int | None,
    statements: Path | None,
    trusted_root: Path | None,
    *,
    as_json: bool,
    **options: Any,
) -> int:
    """Check the log at URL, or in a folder: its newest checkpoint, who cosigned it, its tree, and each entry.

    \b
    confsec log check https://log.example/one --witnesses witnesses.txt
    confsec log check https://log.example/one --witnesses witnesses.txt --memory logs.db --statements statements.toml

    What was checked and what was not is said. Exit status: 0 all is as it should be, 1 something is not, 2 wrong input.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    if trusted_root is not None and statements is None:
        raise ConfigError("--trusted-root is for the rules of --statements", hint="Give --statements too")
    examiner = None if statements is None else _examiner(statements, trusted_root)
    report = run_async(partial(_check, named_log(source, **options), newest, examiner))
    if as_json:
        _print_report_json(report)
    else:
        console().print(_report_tree(report), soft_wrap=True)
    return 1 if report.refused else 0


def _examiner(statements: Path, trusted_root: Path | None) -> EntryExaminer:
    text = read_bytes(statements, "the statement policy").decode("utf-8", "replace")
    policy = from_toml(text, bundles=open_trusted_root(trusted_root))
    return EntryExaminer(Watch(), policy, LatestStatements(), report_new=False)


async def _check(log: NamedLog, newest: int | None, examiner: EntryExaminer | None) -> _Report:
    async with reading(log) as read:
        size, refused = read.checkpoint.size, list[Finding]()
        first = 0 if newest is None else max(0, size - newest)
        with progress("entries", size - first) as advance:
            for start in range(first - first % TILE_WIDTH, size, BUNDLES_AT_ONCE * TILE_WIDTH):
                stop = min(size, start + BUNDLES_AT_ONCE * TILE_WIDTH)
                reader = TreeReader(read.checkpoint, start=max(start, first), stop=stop)
                entries = await read_log(reader, read.fetch)
                refused += _judge(examiner, entries)
                advance(len(entries))
        return _Report(read, first, examiner is not None, tuple(refused))


def _judge(examiner: EntryExaminer | None, entries: tuple[LoggedEntry, ...]) -> Iterator[Finding]:
    if examiner is not None:
        for entry in entries:
            found = examiner.examine(entry, at=system.now())
            yield from (each for each in found if each.kind is AlertKind.REFUSED)


def _print_report_json(report: _Report) -> None:
    checkpoint, cosigned = report.read.checkpoint, report.read.news.cosigned
    print_json(
        {
            "verdict": "refused" if report.refused else "verified",
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "cosigners": list(cosigned.cosigners),
            "known_since": encode_time(cosigned.known_since),
            "fresh_since": encode_time(cosigned.fresh_since),
            "first_entry_read": report.first,
            "refused": [dict(each.details) for each in report.refused],
            "checked": report.checked(),
            "not_checked": report.unchecked(),
        }
    )


def _report_tree(report: _Report) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    word, style = ("REFUSED", "bold red") if report.refused else ("VERIFIED", "bold green")
    root = report.read.checkpoint.root.hex()
    tree = Tree(Text.assemble((word, style), f": {printable(report.read.log.origin)}, root {root}"))
    refused = [f"entry {each.details['index']}: {each.details['reason']}" for each in report.refused[:_MAX_SHOWN]]
    if more := len(report.refused) - len(refused):
        refused.append(f"and {more} more: --json has them all")
    for heading, colour, sentences in (
        ("refused", "bold red", refused),
        ("checked", "bold", report.checked()),
        ("not checked", "bold yellow", report.unchecked()),
    ):
        if sentences:
            branch = tree.add(Text(heading, colour))
            for sentence in sentences:
                branch.add(Text(printable(sentence)))
    return tree


# --- prove ------------------------------------------------------------------------------------------------------------


@click.command(name="prove", short_help="Prove that a log has an entry.")
@click.argument("entry", metavar="ENTRY")
@click.option("--log", "source", required=True, metavar="URL", help="The URL of the log, or its folder.")
@with_log_options
@click.option("-o", "--out", type=_FILE, required=True, metavar="FILE", help="Where to write the proof.")
@click.option("--entry-out", type=_FILE, metavar="FILE", help="Where to write the entry too.")
def prove_command(entry: str, source: str, out: Path, entry_out: Path | None, **options: Any) -> None:
    """Write a proof that the log has ENTRY: its number in the log, or a file that holds it.

    \b
    confsec log prove 17 --log https://log.example/one --witnesses witnesses.txt -o entry.tlog --entry-out entry
    confsec log prove directory.dsse --log https://log.example/one --witnesses witnesses.txt -o directory.tlog

    The proof (C2SP tlog-proof) is computed here, from files that the log serves to everybody, and verified before it is
    written. A file is looked for among all hashes of the log, the newest first, and refused if it is not there. A
    number is one even where a file has this name: write ./17 for the file.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    index, content = _wanted_entry(entry)
    proof, data = run_async(partial(_prove, named_log(source, **options), index, content))
    write_bytes(out, proof.encode(), "the proof")
    if entry_out is not None:
        write_bytes(entry_out, data, "the entry")
    click.echo(proof.index)


def _wanted_entry(text: str) -> tuple[int, bytes | None]:
    """Return the number of an entry, or what it is."""
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text), None
    content = read_bytes(Path(text), "the entry")
    if len(content) > MAX_ENTRY_SIZE:
        raise ConfigError("no log has so long an entry", got=len(content), want=f"at most {MAX_ENTRY_SIZE} bytes")
    return -1, content


async def _prove(log: NamedLog, index: int, content: bytes | None) -> tuple[TlogProof, bytes]:
    async with reading(log) as read:
        if content is not None:
            index = await _find(read, leaf_hash(content))
        tree, data = await _read_entry(read, index)
        proof = TlogProof(index, tree.inclusion_proof(index), read.news.note)
        verify_logged(data, proof, log.policy, origin=log.origin)
        return proof, data


async def _read_entry(read: ReadLog, index: int) -> tuple[TileTree, bytes]:
    """Read an entry and the tiles that prove it. Raises `TransparencyError` if it is not there."""
    tiles = tiles_for_inclusion(index, read.checkpoint.size)
    reader = TreeReader(read.checkpoint, start=index, stop=index + 1, tiles=tiles)
    (entry,) = await read_log(reader, read.fetch)
    return reader.tree, entry.data


async def _find(read: ReadLog, wanted: bytes) -> int:
    """Return where the log has an entry, the last place of several, looking at its tiles from the end."""
    size = read.checkpoint.size
    tiles = -(-size // TILE_WIDTH)
    with progress("tiles", tiles) as advance:
        for stop in range(tiles, 0, -_BATCH):
            part = range(max(0, stop - _BATCH), stop)
            reader = TreeReader(
                read.checkpoint, tiles=[each for at in part for each in tiles_for_inclusion(at * TILE_WIDTH, size)]
            )
            await read_log(reader, read.fetch)
            for index in reversed(range(part.start * TILE_WIDTH, min(size, part.stop * TILE_WIDTH))):
                if reader.tree.leaf_hash(index) == wanted:
                    return index
            advance(len(part))
    raise TransparencyError(
        "the log does not have this entry", got=f"{size} entries, none of it", want=f"the leaf hash {wanted.hex()}",
        hint="Was it appended a moment ago? It is proved when witnesses have cosigned it",
    )  # fmt: skip
