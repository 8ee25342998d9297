"""A statement as a tree for terminals, and as JSON. Neither says that anything in it is true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click
from attrs import frozen

from confsec.cli.output import print_json
from confsec.cli.printable import printable
from confsec.cli.statement_inputs import type_name
from confsec.errors import ConfsecError
from confsec.protocol.dsse import Envelope
from confsec.protocol.json_general import JsonItem
from confsec.protocol.predicates import read_predicate
from confsec.protocol.statement import PAYLOAD_TYPE, Statement

if TYPE_CHECKING:
    from rich.tree import Tree

__all__ = ["ShownStatement", "print_no_statement", "read_statement", "statement_json", "statement_tree"]

_MAX_LINES: Final = 40
"""So many items of a list, or lines of a text, are shown."""

_MAX_WIDTH: Final = 100


@frozen
class ShownStatement:
    """A statement as it was read from an envelope. Nothing in it is verified."""

    envelope: Envelope
    statement: Statement
    problem: str
    """Why no policy of ours takes it, whoever signed it; empty if one could."""


def read_statement(envelope: Envelope) -> ShownStatement:
    """Read the statement in an envelope, if need be as others write them. Raises `DecodeError` for what is none."""
    try:
        statement = Statement.decode(envelope.payload)
        read_predicate(statement)
    except ConfsecError as exc:
        return ShownStatement(envelope, Statement.decode_foreign(envelope.payload), str(exc))
    other = "" if envelope.payload_type == PAYLOAD_TYPE else f"the envelope calls it {envelope.payload_type}"
    return ShownStatement(envelope, statement, other)


def statement_json(shown: ShownStatement) -> dict[str, object]:
    """Return a statement as JSON, with its digest if it is one of ours."""
    statement = shown.statement
    return {
        "predicate_type": statement.predicate_type,
        "subjects": [{"name": each.name, "sha256": each.digest.hex()} for each in statement.subjects],
        "predicate": dict(statement.predicate),
        "statement_digest": None if shown.problem else statement.digest.hex(),
        "problem": shown.problem or None,
        "signatures": [{"keyid": each.key_id} for each in shown.envelope.signatures],
    }


def statement_tree(shown: ShownStatement) -> Tree:
    """Draw a statement: what it is about, what it says, and the hints to who signed it."""
    from rich.text import Text
    from rich.tree import Tree

    statement = shown.statement
    tree = Tree(Text.assemble("Statement ", (printable(type_name(statement.predicate_type)), "bold")))
    if shown.problem:
        tree.add(Text(f"no policy takes it: {printable(shown.problem)}", style="bold red"))
    else:
        tree.add(Text.assemble("digest ", (statement.digest.hex(), "dim")))
    subjects = tree.add("about")
    for subject in statement.subjects[:_MAX_LINES]:
        subjects.add(Text.assemble((printable(subject.name), "bold"), (f"  SHA-256 {subject.digest.hex()}", "dim")))
    _add_rest(subjects, len(statement.subjects))
    _add_members(tree.add("says"), statement.predicate)
    signatures = tree.add("signatures, by what they call their keys, which nobody signed")
    for each in shown.envelope.signatures:
        signatures.add(Text(printable(each.key_id) or "without a name", style="dim"))
    return tree


def print_no_statement(exc: ConfsecError, *, as_json: bool) -> int:
    """Say that there is no statement, and return the exit status for that."""
    if as_json:
        print_json({"verdict": "not a statement", "code": exc.code, "why": str(exc)})
    else:
        click.echo(f"NOT A STATEMENT: {printable(str(exc))}", err=True)
    return 2


def _add_members(tree: Tree, members: Mapping[str, JsonItem]) -> None:
    for name, value in list(members.items())[:_MAX_LINES]:
        _add_item(tree, printable(name), value)
    _add_rest(tree, len(members))


def _add_item(tree: Tree, name: str, value: JsonItem) -> None:
    from rich.text import Text

    match value:
        case dict() if value:
            _add_members(tree.add(Text(name)), value)
        case list() if value:
            branch = tree.add(Text(name))
            for number, item in enumerate(value[:_MAX_LINES], 1):
                _add_item(branch, str(number), item)
            _add_rest(branch, len(value))
        case str() if "\n" in value:
            branch = tree.add(Text(name))
            lines = value.splitlines()
            for line in lines[:_MAX_LINES]:
                branch.add(Text(_short(line), style="dim"))
            _add_rest(branch, len(lines))
        case _:
            tree.add(Text.assemble(f"{name} ", (_short(_word(value)), "dim")))


def _add_rest(tree: Tree, count: int) -> None:
    if count > _MAX_LINES:
        tree.add(f"… and {count - _MAX_LINES} more: --json shows all")


def _word(value: JsonItem) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict() | list():
            return "nothing"
        case _:
            return str(value)


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _MAX_WIDTH else f"{text[:_MAX_WIDTH]}… ({len(text)} characters)"
