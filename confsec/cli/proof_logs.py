"""The logs of a Proof on its page: the root, what is in each log and what proves it, and who cosigned when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from confsec.cli.proof_markup import Markup, element, together
from confsec.cli.proof_view import Judgement, utc
from confsec.protocol.log_view import EntryView, LogView, WitnessView, view_logs
from confsec.protocol.service_logs import ServiceLogs

__all__ = ["log_cards", "root_facts"]

_NO_ROOT: Final = "none: no log was read"


def log_cards(logs: ServiceLogs) -> Iterator[Markup]:
    """Yield a card for the root, and one for each log. What does not verify is said: the checks decide."""
    root = logs.root
    compare = (
        "The root that the client pinned. Nobody can compute that it is the right one: compare its digest with yours."
    )
    hasty = [element("p", f"It leaves nobody time: {each}.", kind="late") for each in root.hasty]
    facts = element("dl", *_fact("Digest of the root", root.digest.hex()), kind="facts")
    yield element("div", element("h3", root.name), element("p", compare), *hasty, facts, kind="card")
    yield from map(_log, view_logs(logs))


def root_facts(judgement: Judgement) -> Iterator[Markup]:
    """Yield the digests of the root that a Proof names, and of the one that its reader named."""
    yield from _fact("Named by the Proof", judgement.named_root.hex() or _NO_ROOT)
    yield from _fact("Yours", judgement.root.hex())


def _log(view: LogView) -> Markup:
    heading = element("h3", f"The log of the {view.name} ", element("code", view.origin))
    if view.error:
        return element("div", heading, element("p", f"It does not verify: {view.error}", kind="late"), kind="card")
    size = element("p", f"{_entries(view.size)}, root hash ", element("code", view.root_hash.hex()))
    return element("div", heading, size, *map(_entry, view.entries), _witnesses(view.witnesses), kind="card")


def _entries(size: int) -> str:
    return "One entry" if size == 1 else f"{size} entries"


def _entry(entry: EntryView) -> Markup:
    """Return an entry that unfolds into the hashes which lead from it to the root hash."""
    count = element("span", f"{len(entry.hashes)} hashes lead to the root hash", kind="soft")
    summary = element("summary", element("b", f"Entry {entry.index}"), count)
    known = () if entry.known_since is None else _fact("Seen by a quorum since", utc(entry.known_since))
    hashes = [part for each in entry.hashes for part in _fact("With", each.hex())]
    facts = element("dl", *_fact("Leaf hash", entry.leaf_hash.hex()), *known, *hashes, kind="facts")
    return element("details", summary, facts)


def _witnesses(witnesses: Iterable[WitnessView]) -> Markup:
    items = [element("li", together(element("b", each.name), f", {each.kind}: {_word(each)}")) for each in witnesses]
    return together(element("h4", "Witnesses"), element("ul", *items, kind="points"))


def _word(witness: WitnessView) -> str:
    return "no word" if witness.cosigned is None else f"cosigned {utc(witness.cosigned)}"


def _fact(name: str, value: str) -> tuple[Markup, Markup]:
    return element("dt", name), element("dd", element("code", value))
