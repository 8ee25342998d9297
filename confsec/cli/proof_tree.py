"""A Proof as a tree for terminals: the policy, who vouches for what, what was checked, and what has to be assumed.

What passed is counted; what failed, was skipped or only informs is shown in full, and everything with `every=True`. It
is made for 80 columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from confsec.cli.log_tree import add_logs
from confsec.cli.policy_tree import add_policy
from confsec.cli.printable import printable
from confsec.cli.proof_claims import firmware_lines
from confsec.cli.proof_conclusions import conclusions
from confsec.cli.proof_view import (
    MEANINGS,
    Alike,
    CheckGroup,
    GraphItem,
    Judgement,
    binding_tree,
    counted,
    dated,
    group_checks,
    number,
    platform_name,
    unbound_items,
    utc,
    warning_of,
)
from confsec.protocol.appraisal import AttestationResult
from confsec.protocol.checks import Check, Status
from confsec.protocol.cmw import Evidence
from confsec.protocol.policy import Policy
from confsec.protocol.proof import Proof
from confsec.protocol.rats import VENDOR

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

__all__ = ["add_conclusions", "proof_tree"]

_MARKS: Final = {
    Status.PASS: ("✔ pass", "green"),
    Status.FAIL: ("✘ fail", "bold red"),
    Status.SKIP: ("∅ skip", "yellow"),
    Status.INFO: ("ℹ info", "cyan"),
}
_SHORT: Final = 16
"""So many characters of a digest are shown where it only tells things apart."""


def proof_tree(proof: Proof, *, named: Policy | None = None, every: bool = False, warned: bool = False) -> Tree:
    """Draw a Proof. `named` is the policy that it names, if another one judges; `every` shows each check in full.

    A Proof that shows nothing of the machines says so at the top, unless its reader was `warned` before.
    """
    from rich.text import Text
    from rich.tree import Tree

    policy = proof.contents.policy
    tree = Tree(Text.assemble(("Proof", "bold"), " under the policy ", (printable(policy.name), "bold")))
    word, sentence = warning_of(proof, named)
    if word and not warned:
        tree.add(Text(f"{word}: {sentence}", style="bold yellow"))
    _add_policies(tree, proof, named)
    tree.add(f"an epoch that began {dated(proof)}")
    branch = tree.add(_headline("before the request was sealed", proof.checks))
    for check in proof.checks:
        branch.add(_check(check))
    if proof.contents.logs is not None:
        add_logs(tree, proof.contents.logs)
    drawn: dict[object, str] = {}
    for node, evidence in zip(proof.nodes, proof.contents.evidence, strict=True):
        _add_node(tree, node, evidence, drawn, every=every)
    branch = tree.add("what has to be true besides, and nobody can check")
    for assumption in proof.assumptions:
        branch.add(Text(assumption))
    return tree


def add_conclusions(tree: Tree, judgement: Judgement) -> None:
    """Add what a stranger can conclude from a Proof, and what he cannot."""
    from rich.text import Text

    found = conclusions(judgement)
    for heading, sentences in (
        ("what a stranger can conclude", found.can),
        ("what a stranger cannot conclude", found.cannot),
    ):
        branch = tree.add(heading)
        for sentence in sentences:
            branch.add(Text(printable(sentence)))


def _add_policies(tree: Tree, proof: Proof, named: Policy | None) -> None:
    from rich.text import Text

    policy = proof.contents.policy
    if named is None or named == policy:
        add_policy(tree.add("the policy that the Proof names"), policy)
    else:
        tree.add(Text.assemble("the Proof names the policy ", *_policy_name(named)))
        add_policy(tree.add(Text.assemble("it is judged by ", *_policy_name(policy))), policy)


def _policy_name(policy: Policy) -> tuple[tuple[str, str], ...]:
    """Return name and digest: two policies may have one name."""
    return (printable(policy.name), "bold"), (f"  SHA-256 {policy.digest.hex()[:_SHORT]}…", "dim")


# --- A node -----------------------------------------------------------------------------------------------------------


def _add_node(
    tree: Tree, node: AttestationResult, evidence: Evidence, drawn: dict[object, str], *, every: bool
) -> None:
    """Add a node. One that is in all as one that was drawn before has a line."""
    from rich.text import Text

    name = node.node_id.hex()[:_SHORT]
    branch = tree.add(_headline(f"node {name}…  {platform_name(node)}", node.checks, style="bold"))
    before = drawn.setdefault(_alike(node), name)
    if before != name and not every:
        branch.add(f"every check came out, and all is vouched for, as with node {before}…")
        return
    if node.platform:
        _add_graph(branch, node, evidence)
    if every:
        for group in group_checks(node.checks):
            _add_every_check(branch, group)
    else:
        _add_counts(branch, node.checks)
    for line in firmware_lines(node.claims):
        branch.add(Text(printable(line.text), style="yellow" if line.is_behind else ""))
    if node.expires:
        branch.add(f"what vouches for it ends {utc(node.expires)}")
    if node.assumes:
        branch.add(f"leaves to assume: {', '.join(each.value for each in node.assumes)}")


def _alike(node: AttestationResult) -> object:
    """Return what two nodes have in common if there is nothing to say about the second."""
    checks = tuple((check.id, check.status, check.why) for check in node.checks)
    return checks, node.vouches, node.platform, node.expires, firmware_lines(node.claims)


def _add_graph(tree: Tree, node: AttestationResult, evidence: Evidence) -> None:
    root = binding_tree(node.vouches)
    _add_item(tree.add(_graph_label(root, simulated=node.simulated)), root.children)
    for loose in unbound_items(node, evidence):
        tree.add(_red(f"✘ nothing vouches for {printable(loose)}"))


def _add_item(branch: Tree, children: Iterable[GraphItem]) -> None:
    for item in children:
        _add_item(branch.add(_graph_label(item)), item.children)


def _graph_label(item: GraphItem, *, simulated: bool = False) -> Text:
    from rich.text import Text

    meaning = MEANINGS.get(item.name, "")
    if item.name == VENDOR:
        meaning = "SIMULATED, and nobody's" if simulated else meaning
        return Text.assemble((item.name, "bold"), (f"  {meaning}", "yellow" if simulated else "dim"))
    label = Text.assemble("→ ", (printable(item.name), "bold"), (f"  {meaning}" if meaning else "", "dim"))
    for because in (item.because, *(f"and {edge.by}: {edge.because}" for edge in item.others)):
        label.append(f"\n  {printable(because)}", style="dim italic")
    return label


# --- Checks -----------------------------------------------------------------------------------------------------------


def _headline(what: str, checks: Sequence[Check], *, style: str = "") -> Text:
    """Return a heading with the number of checks by what came of them."""
    from rich.text import Text

    parts = [(f"  {count} {status.value}", _MARKS[status][1]) for status, count in counted(checks)]
    return Text.assemble((what, style), *parts)


def _add_every_check(tree: Tree, group: CheckGroup) -> None:
    branch = tree.add(_headline(group.name, group.checks))
    for check in group.checks:
        branch.add(_check(check, compared=True))


def _add_counts(tree: Tree, checks: Sequence[Check]) -> None:
    """Count what passed, part by part, and show in full what did not."""
    from rich.text import Text

    groups = group_checks(checks)
    good = [f"{len(group.of(Status.PASS))} of {printable(group.name)}" for group in groups if group.of(Status.PASS)]
    for group in groups:
        for check in group.of(Status.FAIL, Status.SKIP):
            tree.add(_check(check))
        for alike in group.informing:
            tree.add(_together(alike) if len(alike.checks) > 1 else _check(alike.checks[0]))
        for why, count in group.followers.items():
            line = f"  {number(count, 'check')} of {printable(group.name)} {printable(why)}"
            tree.add(Text.assemble(_MARKS[Status.SKIP], line))
    if good:
        tree.add(Text.assemble(_MARKS[Status.PASS], f"  {', '.join(good)}"))


def _check(check: Check, *, compared: bool = False) -> Text:
    """Return one check in full: where the rule stands, why, and what was compared if that matters."""
    from rich.text import Text

    label = Text.assemble(
        _MARKS[check.status],
        (f"  {printable(check.id)}", "bold"),
        (f" ({printable(check.section)})", "dim"),
        f"\n{printable(check.why)}",
    )
    if compared or check.status is Status.FAIL:
        for name, value in (("want", check.want), ("got", check.got)):
            if value:
                label.append(f"\n{name:4}  ", style="dim").append(printable(value))
    return label


def _together(alike: Alike) -> Text:
    """Return checks that say the same in one piece."""
    from rich.text import Text

    names = f"  {alike.common}: {', '.join(alike.ends)}"
    return Text.assemble(_MARKS[alike.checks[0].status], (printable(names), "bold"), f"\n{printable(alike.said)}")


def _red(text: str) -> Text:
    from rich.text import Text

    return Text(text, style="bold red")
