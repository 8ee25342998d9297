"""A policy as a tree for terminals: what it demands, and in yellow what it leaves unchecked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from confsec.cli.printable import printable
from confsec.cli.proof_view import number
from confsec.protocol import cbor
from confsec.protocol.policy import Policy, UnsafeAny

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

__all__ = ["add_policy", "policy_tree"]

_ANY: Final = "UNSAFE_ANY"
_UNSAFE: Final = "unsafe_"
_WAIVER: Final = "yellow"


def policy_tree(policy: Policy) -> Tree:
    """Draw all that a policy says, with the tables of its verifiers."""
    from rich.text import Text
    from rich.tree import Tree

    kind = "a constant of this version" if policy.constant else "a policy of data"
    tree = Tree(Text.assemble("Policy ", (printable(policy.name), "bold"), (f"  {kind}", "dim")))
    tree.add(Text.assemble("SHA-256 ", (policy.digest.hex(), "dim")))
    add_policy(tree, policy)
    if not isinstance(policy.manifests, UnsafeAny):
        for digest in policy.manifests:
            tree.add(Text.assemble("manifest ", (digest.hex(), "dim")))
    for verifier in policy.verifiers:
        table = tree.add(Text.assemble(("[", "dim"), (verifier.name, "bold"), ("]", "dim")))
        _add_members(table, verifier.to_item())
    return tree


def add_policy(tree: Tree, policy: Policy) -> None:
    """Add a few lines that say what a policy demands around its verifiers, waivers last and in yellow."""
    minutes, seconds = divmod(int(policy.maximum_age.total_seconds()), 60)
    age = number(minutes, "minute") + (f" {seconds} s" if seconds else "")
    tree.add(f"a fleet of at least {number(policy.minimum_nodes, 'node')}; nothing sealed {age} after an epoch began")
    if policy.platforms:
        tree.add(f"platforms: {', '.join(policy.platforms)}")
        assumed = ", ".join(each.value for each in policy.accepted_assumptions)
        tree.add(f"may be left to assume: {assumed or 'nothing'}")
    if not isinstance(policy.manifests, UnsafeAny):
        tree.add(f"accepts {number(len(policy.manifests), 'manifest')}")
    for line in _waivers(policy):
        tree.add(line)


def _waivers(policy: Policy) -> list[Text]:
    from rich.text import Text

    lines = []
    if policy.accepts_simulated:
        lines.append("accepts simulated hardware: anybody can make its evidence")
    if isinstance(policy.manifests, UnsafeAny):
        lines.append(f"takes any manifest: {_ANY}")
    if policy.unsafe_waived:
        lines.append(f"waives {', '.join(map(printable, policy.unsafe_waived))}")
    return [Text(line, style=_WAIVER) for line in lines]


def _add_members(tree: Tree, members: Mapping[str, cbor.CborValue]) -> None:
    """Add the members of a verifier's table, as they would stand in a file."""
    for name, value in members.items():
        _add_member(tree, name, value)


def _add_member(tree: Tree, name: str, value: cbor.CborValue) -> None:
    from rich.text import Text

    waived = _is_waiver(name, value)
    label = Text(f"{printable(name)} ", style=_WAIVER if waived else "")
    match value:
        case dict() if value:
            _add_members(tree.add(label), value)
        case list() if any(isinstance(item, dict | list | bytes) for item in value):
            branch = tree.add(label)
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    _add_members(branch.add(Text(str(index + 1), style="dim")), item)
                else:
                    branch.add(Text(_short(item), style=_WAIVER if waived else "dim"))
        case _:
            tree.add(label.append(_short(value), style=_WAIVER if waived else "dim"))


def _is_waiver(name: str, value: cbor.CborValue) -> bool:
    """Tell whether a member says that something is not looked at."""
    return value == _ANY or (name.startswith(_UNSAFE) and value not in ([], False, None))


def _short(value: cbor.CborValue) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case bytes():
            return value.hex()
        case list():
            return ", ".join(map(_short, value)) or "none"
        case dict():
            return "none"
        case _:
            return printable(str(value))
