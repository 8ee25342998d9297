"""`confsec verify`: replay a Proof with no network."""

from __future__ import annotations

from pathlib import Path

import click

from confsec.cli.output import console, print_json, proof_tree, read_bytes, read_policy
from confsec.errors import DecodeError, PolicyError, UnsupportedError, VerificationError
from confsec.protocol.policy import UNSAFE_UNATTESTED, Policy
from confsec.protocol.proof import Proof, replay_proof, verify_proof

__all__ = ["command"]


@click.command(name="verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), help="Judge by this policy file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Path, policy_file: Path | None, *, as_json: bool) -> int:
    """Check the Proof in FILE, offline.

    Everything that the Proof records is computed again from what it holds, and compared. Then the policy judges: the
    one in --policy, or else the one that the Proof names.

    \b
    confsec verify proof.cbor
    confsec verify proof.cbor --policy policy.toml --json

    Exit status: 0 trusted, 1 refused, 2 not a Proof.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    data = read_bytes(file, "the Proof")
    policy = read_policy(policy_file) if policy_file else None
    try:
        proof = verify_proof(data, policy)
    except (DecodeError, UnsupportedError) as exc:
        return _report_no_proof(exc, as_json=as_json)
    except VerificationError as exc:
        return _report_refused(data, policy, exc, as_json=as_json)
    return _report_trusted(proof, as_json=as_json)


def _report_trusted(proof: Proof, *, as_json: bool) -> int:
    if as_json:
        print_json({"verdict": "trusted", **proof.to_json()})
        return 0
    out = console()
    out.print(proof_tree(proof))
    if proof.contents.policy == UNSAFE_UNATTESTED:
        out.print("[bold yellow]TRUSTED only under UNSAFE_UNATTESTED[/]: every check that was made replays.")
    else:
        out.print("[bold green]TRUSTED[/]: every recorded check replays, and the policy accepts it.")
    return 0


def _report_refused(data: bytes, policy: Policy | None, exc: VerificationError, *, as_json: bool) -> int:
    """Show the Proof too, where it replays and it is the policy that refuses it."""
    proof = replay_proof(data, policy) if isinstance(exc, PolicyError) else None
    if as_json:
        print_json({"verdict": "refused", "code": exc.code, "why": str(exc), **(proof.to_json() if proof else {})})
        return 1
    out = console()
    if proof:
        out.print(proof_tree(proof))
    out.print("[bold red]REFUSED[/]: ", end="")
    out.print(str(exc), markup=False)
    return 1


def _report_no_proof(exc: DecodeError | UnsupportedError, *, as_json: bool) -> int:
    if as_json:
        print_json({"verdict": "not a proof", "code": exc.code, "why": str(exc)})
    else:
        click.echo(f"NOT A PROOF: {exc}", err=True)
    return 2
