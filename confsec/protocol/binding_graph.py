"""Which item of evidence vouches for which: the graph that must reach everything from a root that the policy names.

Nothing is trusted for lying beside something that is. A path begins at `VENDOR` and follows the edges that verifiers
established; what no path reaches is unbound.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from confsec.protocol.platforms import BINDING, BOUND_ITEMS
from confsec.protocol.rats import VENDOR, Vouch

__all__ = ["BINDING_VOUCHES", "path_to", "reached", "unbound"]

BINDING_VOUCHES = tuple(Vouch(BINDING, item, "the binding is a hash of it") for item in BOUND_ITEMS)
"""What the binding is made of: whoever signs it signs these."""


def reached(vouches: Iterable[Vouch]) -> frozenset[str]:
    """Return all that a path from `VENDOR` reaches."""
    edges = [*vouches, *BINDING_VOUCHES]
    found = {VENDOR}
    while more := {edge.of for edge in edges if edge.by in found} - found:
        found |= more
    return frozenset(found)


def unbound(wanted: Collection[str], vouches: Iterable[Vouch]) -> tuple[str, ...]:
    """Return those of `wanted` that no path reaches, sorted."""
    return tuple(sorted(set(wanted) - reached(vouches)))


def path_to(item: str, vouches: Iterable[Vouch]) -> tuple[Vouch, ...]:
    """Return a shortest path of edges from `VENDOR` to `item`; empty if there is none."""
    edges = [*vouches, *BINDING_VOUCHES]
    paths: dict[str, tuple[Vouch, ...]] = {VENDOR: ()}
    waiting = [VENDOR]
    while waiting and item not in paths:
        by = waiting.pop(0)
        for edge in edges:
            if edge.by == by and edge.of not in paths:
                paths[edge.of] = (*paths[by], edge)
                waiting.append(edge.of)
    return paths.get(item, ())
