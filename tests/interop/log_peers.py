"""Speaks with peers that have notes, checkpoints, Merkle trees, tiles, or whole logs.

::

    with start(GO_LOGS) as peer:
        LogPeer(peer).note_verify(note, [key.encode()])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from attrs import field, frozen

from tests.interop.peers import Peer

__all__ = ["FORMATS", "MERKLE", "TESSERA", "X_MOD", "LogPeer", "PeerCheckpoint", "PeerProof", "PeerProofs"]

X_MOD = "Go x/mod v0.43.0"
FORMATS = "Go formats v0.1.1"
MERKLE = "Go merkle v0.0.2"
TESSERA = "Go tessera v1.0.4"


@frozen
class PeerCheckpoint:
    """A checkpoint that a peer verified."""

    size: int
    root: bytes
    extensions: str
    times: dict[str, datetime]
    """When each cosigner signed."""


@frozen
class PeerProof:
    """A proof of a log that a peer decoded."""

    index: int
    hashes: tuple[bytes, ...] = field(repr=False)
    note: bytes = field(repr=False)
    extra: bytes


@frozen
class PeerProofs:
    """Proofs that a peer made from tiles, and which ones it read for them."""

    inclusion: tuple[bytes, ...] = field(repr=False)
    consistency: tuple[bytes, ...] = field(repr=False)
    read: frozenset[str]


@final
class LogPeer:
    """What peers have for logs. Each method raises `PeerError` when the peer refuses."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    # --- Notes and checkpoints ----------------------------------------------------------------------------------------

    def key_new(self, name: str, kind: str = "") -> tuple[str, str]:
        """Let the peer make a key, of Ed25519 or `ml-dsa-44`. Return the signing and the verifier key."""
        answer = self._peer.call("key_new", name=name, kind=kind)
        return str(answer["signing_key"]), str(answer["verifier_key"])

    def note_sign(self, text: str, signing_keys: Sequence[str]) -> bytes:
        """Let the peer sign a text; cosigners take its own time."""
        return self._bytes("note", "note_sign", text=text, signing_keys=signing_keys)

    def note_verify(self, note: bytes, verifier_keys: Sequence[str]) -> tuple[str, list[str]]:
        """Let the peer verify a note. Return its text and the names of those who signed."""
        answer = self._peer.call("note_verify", note=note, verifier_keys=verifier_keys)
        return str(answer["text"]), list(answer["signers"])

    def checkpoint_sign(self, origin: str, size: int, root: bytes, signing_keys: Sequence[str]) -> bytes:
        """Let the peer write and sign a checkpoint."""
        return self._bytes(
            "note", "checkpoint_sign", origin=origin, tree_size=size, root=root, signing_keys=signing_keys
        )

    def checkpoint_verify(self, note: bytes, origin: str, verifier_keys: Sequence[str]) -> PeerCheckpoint:
        """Let the peer verify a checkpoint with the log's key, which is the first one, and those of cosigners."""
        answer = self._peer.call("checkpoint_verify", note=note, origin=origin, verifier_keys=verifier_keys)
        times = {name: datetime.fromtimestamp(seconds, UTC) for name, seconds in answer["times"].items()}
        return PeerCheckpoint(answer["tree_size"], bytes.fromhex(answer["root"]), answer["extensions"], times)

    def policy_satisfied(self, policy: bytes, note: bytes) -> None:
        """Let the peer say whether a quorum of a policy cosigned a checkpoint; else it raises."""
        self._peer.call("policy_satisfied", policy=policy, note=note)

    def log_proof_encode(self, index: int, hashes: Sequence[bytes], note: bytes, *, extra: bytes = b"") -> bytes:
        """Let the peer write a proof of a log."""
        given: dict[str, Any] = {"extra": extra} if extra else {}
        return self._bytes("proof", "log_proof_encode", index=index, hashes=list(hashes), note=note, **given)

    def log_proof_decode(self, proof: bytes) -> PeerProof:
        """Let the peer read a proof of a log."""
        answer = self._peer.call("log_proof_decode", proof=proof)
        note, extra = bytes.fromhex(answer["note"]), bytes.fromhex(answer["extra"])
        return PeerProof(answer["index"], _hashes(answer["hashes"]), note, extra)

    # --- Trees, of `variant` "merkle" or "tlog" -----------------------------------------------------------------------

    def tree_root(self, variant: str, entries: Sequence[bytes]) -> bytes:
        """Let the peer compute the root of a tree."""
        return self._bytes("root", "tree_root", variant=variant, entries=list(entries))

    def inclusion_prove(self, variant: str, entries: Sequence[bytes], index: int, size: int) -> tuple[bytes, ...]:
        """Let the peer prove that an entry is in the tree of the first `size` ones."""
        answer = self._peer.call("inclusion_prove", variant=variant, entries=list(entries), index=index, tree_size=size)
        return _hashes(answer["hashes"])

    def inclusion_verify(
        self, variant: str, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
    ) -> None:
        """Let the peer verify a proof."""
        self._peer.call(
            "inclusion_verify",
            variant=variant, leaf=leaf, index=index, tree_size=size, hashes=list(proof), root=root,
        )  # fmt: skip

    def consistency_prove(self, variant: str, entries: Sequence[bytes], old: int, size: int) -> tuple[bytes, ...]:
        """Let the peer prove that the tree of `size` entries begins with that of `old`."""
        answer = self._peer.call(
            "consistency_prove", variant=variant, entries=list(entries), old_size=old, tree_size=size
        )
        return _hashes(answer["hashes"])

    def consistency_verify(
        self, variant: str, old: int, size: int, proof: Sequence[bytes], old_root: bytes, root: bytes
    ) -> None:
        """Let the peer verify a proof."""
        self._peer.call(
            "consistency_verify",
            variant=variant, old_size=old, tree_size=size, hashes=list(proof), old_root=old_root, root=root,
        )  # fmt: skip

    # --- Tiles and whole logs -----------------------------------------------------------------------------------------

    def tiles_write(self, entries: Sequence[bytes], *, old_size: int = 0) -> dict[str, bytes]:
        """Let the peer write the tiles that are new since the tree had `old_size` entries, by their paths."""
        answer = self._peer.call("tiles_write", entries=list(entries), old_size=old_size)
        return {path: bytes.fromhex(data) for path, data in answer["tiles"].items()}

    def tiles_read(
        self, tiles: Mapping[str, bytes], size: int, root: bytes, *, index: int, old_size: int
    ) -> PeerProofs:
        """Let the peer verify tiles against a root, and make a proof of each kind from them."""
        answer = self._peer.call(
            "tiles_read", tiles=dict(tiles), tree_size=size, root=root, index=index, old_size=old_size
        )
        inclusion, consistency = _hashes(answer["inclusion"]), _hashes(answer["consistency"])
        return PeerProofs(inclusion, consistency, frozenset(answer["read"]))

    def log_append(
        self, folder: Path, signing_key: str, entries: Sequence[bytes], *, policy: bytes | None = None
    ) -> list[int]:
        """Let the peer open the log in a folder, append, and publish a checkpoint. Return the entries' places.

        With a `policy` it has a quorum of witnesses cosign that.
        """
        given: dict[str, Any] = {} if policy is None else {"policy": policy}
        answer = self._peer.call(
            "log_append",
            folder=str(folder),
            signing_keys=[signing_key],
            entries=list(entries),
            chunk=len(entries),
            **given,
        )
        return list(answer["indexes"])

    def log_check(self, folder: Path, origin: str, verifier_key: str) -> None:
        """Let the peer read the whole log in a folder, and compute its tree and tiles anew."""
        self._peer.call("log_check", folder=str(folder), origin=origin, verifier_keys=[verifier_key])

    def log_close(self, folder: Path) -> None:
        """Let the peer close a log that `bench` has opened."""
        self._peer.call("log_close", folder=str(folder))

    def bench(self, what: str, *, iterations: int, **fields: Any) -> float:
        """Let the peer do some work and return the seconds that it took."""
        return float(self._peer.call("bench", timeout=600, what=what, iterations=iterations, **fields)["seconds"])

    def _bytes(self, name: str, op: str, **fields: Any) -> bytes:
        return bytes.fromhex(self._peer.call(op, **fields)[name])


def _hashes(values: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, values))
