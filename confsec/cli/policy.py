"""`confsec policy`: what a policy says, what another one would change, and where its values come from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import click

from confsec.cli.output import console, find_policy, print_json, read_bytes
from confsec.cli.policy_anchors import anchors_command
from confsec.cli.policy_corim import corim_command, toml_lines
from confsec.cli.policy_fetch import fetch_command
from confsec.cli.policy_tree import policy_tree
from confsec.cli.policy_try import try_command
from confsec.cli.printable import printable
from confsec.cli.proof_view import platform_name
from confsec.errors import ConfigError, DecodeError, ProofError, UnsupportedError
from confsec.protocol import cbor
from confsec.protocol.appraisal import AttestationResult
from confsec.protocol.cmw import Evidence
from confsec.protocol.platforms import MANIFEST
from confsec.protocol.proof import replay_proof

__all__ = ["command"]


@click.group(name="policy")
def command() -> None:
    """Read policies, and try them before they decide.

    \b
    confsec policy show policy.toml
    confsec policy fetch service.toml evidence/
    confsec policy try new.toml --against evidence/ --current policy.toml

    docs/policies.md explains every key.
    """  # noqa: D301 - click keeps lines as they are after a backspace


command.add_command(try_command)


@command.command(name="show")
@click.argument("policy", metavar="FILE|NAME")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(policy: str, *, as_json: bool) -> None:
    """Read a policy, and show all that it says: what it leaves unchecked is yellow.

    FILE is a policy file (TOML); NAME is a constant of this version, such as PRODUCTION.

    \b
    confsec policy show policy.toml
    confsec policy show PRODUCTION
    """  # noqa: D301 - click keeps lines as they are after a backspace
    found = find_policy(policy)
    if as_json:
        print_json({"sha256": found.digest.hex(), "policy": cbor.to_json(found.to_members())})
    else:
        console().print(policy_tree(found))


command.add_command(anchors_command)
command.add_command(fetch_command)
command.add_command(corim_command)


@command.command(name="from-proof")
@click.argument("file", type=click.Path(path_type=Path))
def from_proof(file: Path) -> None:
    """Print what the evidence in a Proof says, as comments to begin a policy with.

    Every line is a comment: what a node says of itself is no reason to trust it. Compare each value with what its
    publisher says, and with what you build yourself, before you put it into a policy.

    \b
    confsec policy from-proof proof.cbor
    """  # noqa: D301 - click keeps lines as they are after a backspace
    from confsec.tee.registry import POLICIES

    try:
        proof = replay_proof(read_bytes(file, "the Proof"), POLICIES)
    except (DecodeError, ProofError, UnsupportedError) as exc:
        raise ConfigError(f"{file} is no Proof that replays: {exc}") from exc
    click.echo(f"# Seen in {printable(file.name)}. Nothing here is trusted because it stands here.")
    for node, evidence in zip(proof.nodes, proof.contents.evidence, strict=True):
        for line in _seen(node, evidence):
            click.echo(f"# {printable(line)}".rstrip())


def _seen(node: AttestationResult, evidence: Evidence) -> Iterator[str]:
    """Yield what was seen of a node, each line as it could stand in a policy or beside it."""
    yield ""
    yield f"node {node.node_id.hex()}, {platform_name(node)}"
    if node.platform is not None:
        yield f'platforms = ["{node.platform.name}"]'
        yield f"accepted_assumptions = {json.dumps([each.value for each in node.assumes])}"
        yield f'manifests = ["{sha256(evidence.items[MANIFEST].value).hexdigest()}"]'
    claims = {name: cbor.to_json(dict(each)) for name, each in node.claims.items()}
    yield from toml_lines(claims)
