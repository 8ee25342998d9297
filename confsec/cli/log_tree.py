"""What the logs of a Proof show, as a tree: the root, and how the directory and the fleet are proved under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from confsec.cli.printable import printable
from confsec.cli.proof_view import utc
from confsec.errors import ConfsecError
from confsec.protocol.log_state import LogState
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.note import SignedNote, VerifiedSignature
from confsec.protocol.service_logs import ServiceLogs
from confsec.protocol.witness_policy import WitnessPolicy

if TYPE_CHECKING:
    from rich.tree import Tree

__all__ = ["add_logs"]

_SHORT = 32
"""So many characters of a hash are shown."""


def add_logs(tree: Tree, logs: ServiceLogs) -> None:
    """Add what everybody is shown. What does not verify is said, and stops nothing: the checks decide."""
    from rich.text import Text

    root = logs.root
    branch = tree.add(Text.assemble("what everybody is shown of ", (printable(root.name), "bold")))
    branch.add(Text(f"the root that the client pinned  {root.digest.hex()[:_SHORT]}…"))
    _add_log(branch, "the directory", logs.directory.state, root.witnesses, root.directory.origin)
    _add_log(branch, "the fleet", logs.fleet, root.witnesses, root.fleet.origin)


def _add_log(tree: Tree, what: str, state: LogState, policy: WitnessPolicy, origin: str) -> None:
    from rich.text import Text

    try:
        checkpoint = state.verify(policy, origin=origin).checkpoint
        signatures = SignedNote.decode(state.checkpoint).verify([each.key for each in policy.witnesses])
    except ConfsecError as exc:
        tree.add(Text.assemble(("✘ ", "bold red"), f"{what}: {printable(str(exc))}"))
        return
    size = "one entry" if checkpoint.size == 1 else f"{checkpoint.size} entries"
    branch = tree.add(Text.assemble(("✔ ", "green"), f"{what}, in the log {printable(origin)} of {size}"))
    for entry in reversed(state.entries):
        line = branch.add(Text(f"entry {entry.index}  {leaf_hash(entry.data).hex()[:_SHORT]}…"))
        for each in entry.hashes:
            line.add(Text(f"with  {each.hex()[:_SHORT]}…", style="dim"))
    _add_witnesses(branch.add(Text(f"root hash  {checkpoint.root.hex()[:_SHORT]}…")), policy, signatures)


def _add_witnesses(branch: Tree, policy: WitnessPolicy, signatures: Sequence[VerifiedSignature]) -> None:
    from rich.text import Text

    times = {each.key: each.time for each in signatures}
    for witness in policy.witnesses:
        kind = witness.key.type.name.removesuffix("_COSIGNATURE").replace("_", "-")
        name, time = f"{printable(witness.name)}, {kind}", times.get(witness.key)
        mark = ("– ", "dim") if time is None else ("✔ ", "green")
        branch.add(Text.assemble(mark, f"{name}: " + ("no word" if time is None else f"cosigned {utc(time)}")))
