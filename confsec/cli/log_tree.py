"""What the logs of a Proof show, as a tree: the root, and how the directory and the fleet are proved under it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from confsec.cli.printable import printable
from confsec.cli.proof_view import utc
from confsec.protocol.log_view import EntryView, LogView, WitnessView, view_logs
from confsec.protocol.service_logs import ServiceLogs

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
    branch.add(Text(f"the root that the client pinned: compare this digest with yours\n{root.digest.hex()}"))
    for view in view_logs(logs):
        _add_log(branch, view)


def _add_log(tree: Tree, view: LogView) -> None:
    from rich.text import Text

    if view.error:
        tree.add(Text.assemble(("✘ ", "bold red"), f"the {view.name}: {printable(view.error)}"))
        return
    size = "one entry" if view.size == 1 else f"{view.size} entries"
    branch = tree.add(Text.assemble(("✔ ", "green"), f"the {view.name}, in the log {printable(view.origin)} of {size}"))
    for entry in view.entries:
        _add_entry(branch, entry)
    _add_witnesses(branch.add(Text(f"root hash  {view.root_hash.hex()[:_SHORT]}…")), view.witnesses)


def _add_entry(branch: Tree, entry: EntryView) -> None:
    from rich.text import Text

    line = branch.add(Text(f"entry {entry.index}  {entry.leaf_hash.hex()[:_SHORT]}…"))
    if entry.known_since is not None:
        line.add(Text(f"seen by a quorum since {utc(entry.known_since)}"))
    for each in entry.hashes:
        line.add(Text(f"with  {each.hex()[:_SHORT]}…", style="dim"))


def _add_witnesses(branch: Tree, witnesses: Iterable[WitnessView]) -> None:
    from rich.text import Text

    for each in witnesses:
        name = f"{printable(each.name)}, {each.kind}"
        mark = ("– ", "dim") if each.cosigned is None else ("✔ ", "green")
        said = "no word" if each.cosigned is None else f"cosigned {utc(each.cosigned)}"
        branch.add(Text.assemble(mark, f"{name}: {said}"))
