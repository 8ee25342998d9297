"""Transparency logs: what verifying and proving cost over hashes and signatures alone, and how fast a log grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from benchmarks.log_append import append_rows, memory_row
from benchmarks.log_cases import LOG, ORIGIN, POLICY, WITNESSES, StoredTree, cosigned, hashed_by, peak_memory
from benchmarks.log_sigstore import sigstore_rows
from benchmarks.measure import Contender, Plan, measure, timed
from benchmarks.peers import Peers
from benchmarks.report import Report, Row, at_most, cost
from confsec.protocol.merkle import leaf_hash, verify_consistency, verify_inclusion
from confsec.protocol.note import SignedNote
from confsec.protocol.tile_paths import Tile
from confsec.protocol.tiles import tiles_for_consistency, tiles_for_inclusion
from confsec.protocol.transparency import verify_checkpoint
from tests.interop.build import GO_LOGS

__all__ = ["consistency_case", "inclusion_case", "run", "signatures_of"]

HASHES: Final = "their SHA-256 calls"
RAW_READS: Final = "reading and hashing alone"
HASH_GOAL: Final = at_most(3)
MEMORY_GOAL: Final = at_most(1.2)
SIGNATURES: Final = "bare Ed25519"
GO_MERKLE: Final = "Go merkle v0.0.2"
GO_TLOG: Final = "Go x/mod v0.43.0, tlog"
GO_NOTE: Final = "Go x/mod v0.43.0, note"

_VARIANTS: Final = {GO_MERKLE: "merkle", GO_TLOG: "tlog", GO_NOTE: ""}

Work = Callable[[], object]

_READ: Final = (
    "Files are read from the system's cache, and every tile is verified up to the root before anything follows."
)
_FLAT: Final = (
    "The most that Python had allocated at once. Both trees have three levels of tiles, as all have from 65,536 on."
)
_KEYS: Final = (
    "The bare signatures have their keys loaded and their messages cut out; the note is read, and each key with it."
)


def run(plan: Plan, peers: Peers) -> Report:
    """Measure a tree of `plan.log_entries`, and a log that grows."""
    with TemporaryDirectory() as folder:
        rows = [*_tree_rows(Path(folder), plan, peers), *_note_rows(plan, peers), *append_rows(plan, peers)]
    rows += sigstore_rows(plan, peers)
    return Report(
        name="log",
        title=f"a tree of {plan.log_entries:,} entries, notes that are cosigned, and a log that grows",
        rows=tuple(rows),
        missing=peers.take_missing(),
    )


# --- Trees ------------------------------------------------------------------------------------------------------------


def _tree_rows(folder: Path, plan: Plan, peers: Peers) -> Iterator[Row]:
    tree = StoredTree.make(folder / "large", plan.log_entries)
    index, old = tree.size * 2 // 3, tree.size // 3
    for what, ours, fields, libraries in (
        ("inclusion", *inclusion_case(tree, index), (GO_MERKLE, GO_TLOG)),
        ("consistency", *consistency_case(tree, old), (GO_MERKLE, GO_TLOG)),
    ):
        others = _go(peers, f"{what}_verify", libraries, fields)
        yield from _verify_rows(f"verify {what}", ours, others, plan)
    yield from _proof_rows(tree, index, old, plan)
    yield from _memory_rows(StoredTree.make(folder / "small", plan.log_entries // 10), tree)


def inclusion_case(tree: StoredTree, index: int) -> tuple[Work, dict[str, object]]:
    """Return the verification of an inclusion proof, and the same for peers."""
    leaf, proof = leaf_hash(tree.entry(index)), tree.prove_inclusion(index)
    fields = {"leaf": leaf, "index": index, "tree_size": tree.size, "hashes": proof, "root": tree.root}
    return partial(verify_inclusion, leaf, index, tree.size, proof, tree.root), fields


def consistency_case(tree: StoredTree, old: int) -> tuple[Work, dict[str, object]]:
    """Return the verification of a consistency proof, and the same for peers."""
    old_root, proof = tree.root_of(old), tree.prove_consistency(old)
    fields = {"old_size": old, "tree_size": tree.size, "hashes": proof, "old_root": old_root, "root": tree.root}
    return partial(verify_consistency, old, tree.size, proof, old_root, tree.root), fields


def _verify_rows(what: str, ours: Work, others: dict[str, Contender], plan: Plan) -> Iterator[Row]:
    messages = hashed_by(ours)
    timings = measure({"ours": timed(ours), HASHES: timed(partial(_hash, messages)), **others}, plan)
    yield cost(what, timings, HASHES, goal=HASH_GOAL, note=f"{len(messages)} of 65 bytes." if messages else "")
    yield from (cost(what, timings, name) for name in others)


def _hash(messages: Sequence[bytes]) -> None:
    for message in messages:
        sha256(message).digest()


def _proof_rows(tree: StoredTree, index: int, old: int, plan: Plan) -> Iterator[Row]:
    cases = (
        ("prove inclusion from files", tiles_for_inclusion(index, tree.size), partial(tree.prove_inclusion, index)),
        ("prove consistency from files", tiles_for_consistency(old, tree.size), partial(tree.prove_consistency, old)),
    )
    for what, tiles, ours in cases:
        messages = hashed_by(ours)
        timings = measure({"ours": timed(ours), RAW_READS: timed(partial(_read_and_hash, tree, tiles, messages))}, plan)
        yield cost(what, timings, RAW_READS, note=_READ)
        size = sum(len(tree.bytes_of(tile)) for tile in tiles)
        yield Row(what=f"{what}: {len(tiles)} files read", ours=size / 1024, unit="KiB")


def _read_and_hash(tree: StoredTree, tiles: Sequence[Tile], messages: Sequence[bytes]) -> None:
    for tile in tiles:
        tree.bytes_of(tile)
    _hash(messages)


def _memory_rows(small: StoredTree, large: StoredTree) -> Iterator[Row]:
    for what, work in (
        ("memory to prove inclusion", lambda tree: tree.prove_inclusion(tree.size * 2 // 3)),
        ("memory to prove consistency", lambda tree: tree.prove_consistency(tree.size // 3)),
    ):
        before, after = (peak_memory(partial(work, tree)) for tree in (small, large))
        yield Row(
            what=what, ours=after / 1024, unit="KiB", against=f"{small.size:,} entries", theirs=before / 1024,
            result=after / before, goal=MEMORY_GOAL, note=_FLAT,
        )  # fmt: skip
    yield memory_row(small, large)


# --- Notes ------------------------------------------------------------------------------------------------------------


def _note_rows(plan: Plan, peers: Peers) -> Iterator[Row]:
    root = sha256(b"").digest()
    for what, cosigners in (("verify a note with one signature", 0), ("verify a checkpoint with a quorum", 2)):
        note = cosigned(plan.log_entries, root, cosigners)
        keys = [LOG.key, *(each.key for each in WITNESSES)]
        ours = partial(verify_checkpoint, note, POLICY, origin=ORIGIN) if cosigners else partial(_verify_note, note)
        fields = {"note": note, "verifier_keys": [key.encode() for key in keys]}
        others = _go(peers, "note_verify", (GO_NOTE,), fields)
        signatures = timed(partial(_verify, signatures_of(note)))
        timings = measure({"ours": timed(ours), SIGNATURES: signatures, **others}, plan)
        yield cost(what, timings, SIGNATURES, note=f"{cosigners + 1} signature{'s' * (cosigners > 0)}. {_KEYS}")
        yield from (cost(what, timings, name) for name in others)


def _verify_note(note: bytes) -> None:
    SignedNote.decode(note).verify([LOG.key])


def signatures_of(note: bytes) -> list[tuple[Ed25519PublicKey, bytes, bytes]]:
    """Return the key, the signature and the message of each signature of a note."""
    signed, found = SignedNote.decode(note), []
    keys = {each.key.name: each.key for each in (LOG, *WITNESSES)}
    for each in signed.signatures:
        key = keys[each.name]
        time, signature = (each.signature[:8], each.signature[8:]) if key.cosigns else (b"", each.signature)
        head = f"cosignature/v1\ntime {int.from_bytes(time, 'big')}\n" if time else ""
        found.append((Ed25519PublicKey.from_public_bytes(key.public), signature, (head + signed.text).encode()))
    return found


def _verify(signatures: Sequence[tuple[Ed25519PublicKey, bytes, bytes]]) -> None:
    for key, signature, message in signatures:
        key.verify(signature, message)


def _go(peers: Peers, what: str, names: Sequence[str], fields: Mapping[str, object]) -> dict[str, Contender]:
    """Return those who do the same work in Go, by their names."""
    peer = peers.log_peer(GO_LOGS)
    if peer is None:
        return {}

    def contender(name: str) -> Contender:
        variant = _VARIANTS[name]
        return lambda iterations: peer.bench(what, iterations=iterations, variant=variant, **fields)

    return {name: contender(name) for name in names}
