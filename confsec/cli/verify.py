"""`confsec verify`: replay a Proof with no network, and show what comes out."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from attrs import frozen

from confsec.backends import system
from confsec.cli.output import console, constant_policy, print_json, read_bytes, read_policy, read_root, write_bytes
from confsec.cli.printable import printable
from confsec.cli.proof_tree import add_conclusions, proof_tree
from confsec.cli.proof_view import Judgement, judge, replays, warning_of
from confsec.cli.timestamp import TIMESTAMP
from confsec.errors import ConfigError, DecodeError, ProofError, UnsupportedError
from confsec.protocol.log_root import LogRoot
from confsec.protocol.policy import Policy

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["command"]

_DEMO: Final = "UNSAFE_DEMO_POLICY"
_FILE: Final = click.Path(path_type=Path)


@frozen
class _Output:
    """How to say what came out."""

    file: Path
    as_json: bool
    html: Path | None
    every: bool
    ear: tuple[Path, Path] | None


@frozen
class _Judges:
    """What judges besides the Proof itself."""

    policy: Policy | None
    at: datetime | None
    root: LogRoot | None


@click.command(name="verify")
@click.argument("file", type=_FILE)
@click.option("--policy", "policy_file", type=_FILE, metavar="FILE", help="Judge by this policy file (TOML).")
@click.option(
    "--root", "root_file", type=_FILE, metavar="FILE", help="Refuse a Proof that was not made under this root file."
)
@click.option("--unsafe-simulated", is_flag=True, help=f"Judge by {_DEMO}, which accepts simulated hardware.")
@click.option(
    "--at", type=TIMESTAMP, metavar="TIME", help="Appraise as of this time (RFC 3339), not of when the epoch began."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=_FILE, metavar="OUT", help="Write one self-contained page to OUT.")
@click.option(
    "--ear",
    nargs=2,
    type=_FILE,
    metavar="OUT KEY",
    help="Write the result for other software (EAR), a JWT, or a CWT to OUT.cwt, signed with the private key in KEY.",
)
@click.option("--all", "every", is_flag=True, help="Show every check of every node.")
def command(  # noqa: PLR0913 - one for each option
    file: Path,
    policy_file: Path | None,
    root_file: Path | None,
    at: datetime | None,
    html: Path | None,
    ear: tuple[Path, Path] | None,
    *,
    unsafe_simulated: bool,
    as_json: bool,
    every: bool,
) -> int:
    """Check the Proof in FILE, offline.

    Everything that the Proof records is computed again from what it holds, and compared. Then the policy judges: the
    one in --policy, or else the one that the Proof names.

    A Proof names the root of its service: the logs and witnesses that its directory and fleet were checked under. With
    --root it must be yours; without, its digest is shown, and you have to compare it.

    \b
    confsec verify proof.cbor
    confsec verify proof.cbor --root service.toml
    confsec verify proof.cbor --policy policy.toml --json
    confsec verify proof.cbor --html proof.html
    confsec verify proof.cbor --at 2027-01-31T00:00:00Z
    confsec verify proof.cbor --ear result.jwt key.pem

    Exit status: 0 trusted, 1 refused, 2 not a Proof.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    if as_json and html:
        raise ConfigError("--json and --html exclude each other", hint="Call it twice")
    policy = _choose(policy_file, unsafe_simulated=unsafe_simulated)
    judges = _Judges(policy, at, read_root(root_file) if root_file else None)
    return _report(read_bytes(file, "the Proof"), judges, _Output(file, as_json, html, every, ear))


def _choose(policy_file: Path | None, *, unsafe_simulated: bool) -> Policy | None:
    """Return the policy that the user names, or None for that of the Proof. Raises `ConfigError`."""
    if policy_file and unsafe_simulated:
        raise ConfigError("--policy and --unsafe-simulated exclude each other", hint="Leave one of them out")
    if unsafe_simulated:
        return constant_policy(_DEMO)
    return read_policy(policy_file) if policy_file else None


def _report(data: bytes, judges: _Judges, output: _Output) -> int:
    from confsec.tee.registry import POLICIES

    try:
        judgement = judge(data, POLICIES, policy=judges.policy, at=judges.at, root=judges.root)
    except (DecodeError, UnsupportedError) as exc:
        return _report_no_proof(exc, output)
    except ProofError as exc:
        return _report_broken(data, exc, output)
    if output.ear:
        from confsec.cli.proof_ear import write_ear

        write_ear(judgement.proof, *output.ear, build=f"confsec-protocol {_version()}", issued_at=system.now())
    if output.as_json:
        print_json(judgement.to_json())
    elif output.html:
        _write_page(judgement, output.html, output.file)
        _print_verdict(judgement, console())
    else:
        _print(judgement, every=output.every)
    return 0 if judgement.trusted else 1


def _print(judgement: Judgement, *, every: bool) -> None:
    out = console()
    _print_warning(judgement, out)
    tree = proof_tree(judgement.proof, named=judgement.named, every=every, warned=True)
    add_conclusions(tree, judgement)
    out.print(tree)
    _print_verdict(judgement, out, warned=True)


def _print_warning(judgement: Judgement, out: Console) -> None:
    """Say first what makes everything that follows worth little."""
    word, sentence = warning_of(judgement.proof, judgement.named)
    if word:
        out.print(f"[bold yellow]{word}[/]: {sentence}.")


def _print_verdict(judgement: Judgement, out: Console, *, warned: bool = False) -> None:
    """Say the verdict, and in full what refused."""
    from rich.text import Text

    word, _ = warning_of(judgement.proof, judgement.named)
    if not warned:
        _print_warning(judgement, out)
    if judgement.trusted:
        only = f" only under {judgement.policy.name}" if word else ""
        style = "bold yellow" if word else "bold green"
        out.print(Text.assemble((f"TRUSTED{only}", style), f": {printable(replays(judgement))}."))
        return
    out.print(Text.assemble(("REFUSED", "bold red"), f": {printable(replays(judgement))}:"))
    for line in _reasons(judgement):
        out.print(Text(f"  {printable(line)}"))


def _reasons(judgement: Judgement) -> list[str]:
    """Return what refused a Proof, the root first."""
    root = [str(judgement.other_root)] if judgement.other_root else []
    checks = judgement.refusal.decisive if judgement.refusal else ()
    return list(dict.fromkeys([*root, *(f"{check.id}: {check.why}" for check in checks)]))


def _write_page(judgement: Judgement, page: Path, file: Path) -> None:
    from confsec.cli.proof_html import proof_page

    html = proof_page(judgement, file=file.name, version=_version())
    write_bytes(page, html.encode(), "the page")


def _report_broken(data: bytes, exc: ProofError, output: _Output) -> int:
    """Refuse what does not replay. Nothing that it says is shown: nobody can tell who wrote it."""
    from rich.text import Text

    if output.as_json:
        print_json({"verdict": "refused", "code": exc.code, "why": str(exc), "sha256": sha256(data).hexdigest()})
        return 1
    if output.html:
        from confsec.cli.proof_html import refusal_page

        write_bytes(output.html, refusal_page(exc, data, version=_version()).encode(), "the page")
    console().print(Text.assemble(("REFUSED", "bold red"), f": {printable(str(exc))}"))
    return 1


def _report_no_proof(exc: DecodeError | UnsupportedError, output: _Output) -> int:
    if output.as_json:
        print_json({"verdict": "not a proof", "code": exc.code, "why": str(exc)})
    else:
        click.echo(f"NOT A PROOF: {printable(str(exc))}", err=True)
    return 2


def _version() -> str:
    from importlib.metadata import version

    return version("confsec-protocol")
