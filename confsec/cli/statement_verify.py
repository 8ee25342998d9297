"""`confsec statement verify`: whether a statement counts, and what of it nobody looked at."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from attrs import frozen

from confsec.backends import system
from confsec.backends.trusted_root import open_trusted_root
from confsec.cli.output import console, print_json, read_bytes, run_async
from confsec.cli.printable import printable
from confsec.cli.statement_checks import Logged, Question, Verdict, verify_statement
from confsec.cli.statement_inputs import TYPE_NAMES, type_name
from confsec.cli.statement_tree import print_no_statement
from confsec.cli.timestamp import TIMESTAMP
from confsec.errors import ConfigError, DecodeError, UnsupportedError, VerificationError
from confsec.protocol import statement_rules
from confsec.protocol.statement_policy import StatementPolicy, claimed_type
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["read_rules", "verify_command"]

_FILE: Final = click.Path(path_type=Path)


@frozen(kw_only=True)
class _Options:
    """What the user wants to be checked."""

    type_: str | None
    at: datetime | None
    proof: Path | None
    witnesses: Path | None
    origin: str
    memory: Path | None
    files: tuple[Path, ...]

    def __attrs_post_init__(self) -> None:
        if self.proof is None and (self.witnesses or self.origin or self.memory):
            raise ConfigError("--witnesses, --origin and --memory need a proof", hint="Give --proof")
        if self.proof is not None and self.witnesses is None:
            raise ConfigError("with a proof somebody has to say whose word counts", hint="Give --witnesses")


@click.command(name="verify", short_help="Check a statement under a policy.")
@click.argument("file", type=_FILE)
@click.option("--policy", required=True, type=_FILE, metavar="FILE", help="Who may say what (TOML).")
@click.option("--trusted-root", type=_FILE, metavar="FILE", help="The roots of Sigstore, for policies with identities.")
@click.option(
    "--type", "type_", type=click.Choice(list(TYPE_NAMES)), help="What it has to be.  [default: what it says]"
)
@click.option("--at", type=TIMESTAMP, metavar="TIME", help="Look at it as of this time.  [default: now]")
@click.option("--proof", type=_FILE, metavar="FILE", help="A proof that a log has it (C2SP tlog-proof).")
@click.option("--witnesses", type=_FILE, metavar="FILE", help="Which logs and witnesses count (C2SP tlog-policy).")
@click.option("--origin", default="", metavar="ORIGIN", help="Which log.  [default: the only one in --witnesses]")
@click.option(
    "--memory",
    type=_FILE,
    metavar="FILE",
    help="Remember what was proved in this file; refuse what is older, or revoked.",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="A file, or the folder of a model, that it has to be about. May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify_command(file: Path, policy: Path, trusted_root: Path | None, *, as_json: bool, **options: Any) -> int:
    """Check the statement in FILE: its signers, its rule, its time, and if you have a proof, that a log has it.

    \b
    confsec statement verify directory.dsse --policy statements.toml
    confsec statement verify directory.dsse --policy statements.toml --type directory \\
                             --proof directory.proof --witnesses witnesses.txt --memory logs.db
    confsec statement verify release.dsse --policy statements.toml --file confsec-1.0.tar.gz

    What was checked and what was not is said. Exit status: 0 verified, 1 refused, 2 no statement, or wrong input.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    wanted = _Options(**options)
    rules = read_rules(policy, trusted_root)
    data = read_bytes(file, "the envelope")
    logged = _logged(wanted)
    try:
        verdict = run_async(partial(verify_statement, _question(data, rules, logged, wanted)))
    except (DecodeError, UnsupportedError) as exc:
        return print_no_statement(exc, as_json=as_json)
    except VerificationError as exc:
        return _print_refused(exc, as_json=as_json)
    _print_verdict(verdict, as_json=as_json)
    return 0


def _question(data: bytes, rules: StatementPolicy, logged: Logged | None, wanted: _Options) -> Question:
    predicate_type = claimed_type(data) if wanted.type_ is None else TYPE_NAMES[wanted.type_]
    return Question(
        envelope=data,
        predicate_type=predicate_type,
        policy=rules,
        at=wanted.at or system.now(),
        logged=logged,
        files=wanted.files,
    )


def read_rules(path: Path, trusted_root: Path | None) -> StatementPolicy:
    """Read a policy of statements, with the roots of Sigstore if there are any. Raises `ConfigError`."""
    try:
        text = read_bytes(path, "the policy").decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the policy {path} is not text in UTF-8") from exc
    return statement_rules.from_toml(text, bundles=open_trusted_root(trusted_root))


def _logged(wanted: _Options) -> Logged | None:
    """Return what shows that a log has it, or None if nobody asked. Raises `ConfigError`."""
    if wanted.proof is None or wanted.witnesses is None:
        return None
    policy = WitnessPolicy.decode(read_bytes(wanted.witnesses, "the witness policy"))
    if not wanted.origin and len(policy.logs) != 1:
        raise ConfigError(f"{wanted.witnesses} has {len(policy.logs)} logs", hint="Say which one with --origin")
    origin = wanted.origin or policy.logs[0].key.name
    return Logged(read_bytes(wanted.proof, "the proof"), policy, origin, wanted.memory)


def _print_verdict(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        print_json(_verdict_json(verdict))
        return
    from rich.text import Text
    from rich.tree import Tree

    statement = verdict.verified.statement
    names = ", ".join(each.name for each in statement.subjects[:3]) + (" …" if len(statement.subjects) > 3 else "")
    what = f": {type_name(statement.predicate_type)}, {printable(names)}"
    tree = Tree(Text.assemble(("VERIFIED", "bold green"), what))
    for heading, style, sentences in (
        ("checked", "bold", verdict.checked),
        ("not checked", "bold yellow", verdict.unchecked),
    ):
        branch = tree.add(Text(heading, style=style))
        for sentence in sentences:
            branch.add(Text(printable(sentence)))
    console().print(tree)


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    statement = verdict.verified.statement
    return {
        "verdict": "verified",
        "predicate_type": statement.predicate_type,
        "subjects": [{"name": each.name, "sha256": each.digest.hex()} for each in statement.subjects],
        "predicate": dict(statement.predicate),
        "statement_digest": statement.digest.hex(),
        "signers": [signer.name for signer in verdict.verified.signers],
        "checked": list(verdict.checked),
        "not_checked": list(verdict.unchecked),
    }


def _print_refused(exc: VerificationError, *, as_json: bool) -> int:
    from rich.text import Text

    if as_json:
        print_json({"verdict": "refused", "code": exc.code, "why": str(exc)})
    else:
        console().print(Text.assemble(("REFUSED", "bold red"), f": {printable(str(exc))}"))
    return 1
