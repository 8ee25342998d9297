"""A log in a folder, as any web server could serve it: tiles, bundles, a checkpoint and its witnesses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.json_members import encode_time
from confsec.protocol.merkle import CompactRange, leaf_hash
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.predicate import type_uri
from confsec.protocol.statement import Statement, Subject
from confsec.protocol.tile_paths import TILE_WIDTH, Tile, encode_entries, entries_path
from confsec.protocol.tiles import new_tiles
from confsec.protocol.witness_policy import Group, KnownLog, Witness, WitnessPolicy

__all__ = ["LOG", "WITNESSES", "FolderLog", "make_policy", "make_statement"]

LOG = Signer("log.example/one", KeyType.ED25519, bytes(32))
WITNESSES = {
    "north": Signer("witness.example/north", KeyType.ED25519_COSIGNATURE, bytes(range(32))),
    "south": Signer("witness.example/south", KeyType.ED25519_COSIGNATURE, bytes(range(1, 33))),
    "later": Signer("witness.example/later", KeyType.ML_DSA_44_COSIGNATURE, bytes(range(2, 34))),
}
_SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(3, 35)))


def make_policy(
    *, log: Signer = LOG, witnesses: Mapping[str, Signer] = WITNESSES, threshold: int = 2, quorum: str = "all-of-us"
) -> WitnessPolicy:
    named = tuple(Witness(name, signer.key) for name, signer in witnesses.items())
    groups = (Group("all-of-us", threshold, tuple(witnesses)),) if witnesses else ()
    return WitnessPolicy((KnownLog(log.key),), named, groups, quorum=quorum)


def make_statement(name: str, *, kind: str = "release", issued: datetime, until: datetime | None = None) -> bytes:
    """Return a signed statement. What it says is of no interest here."""
    predicate = {"issued": encode_time(issued), "validUntil": None if until is None else encode_time(until)}
    subject = Subject(name, sha256(name.encode()).digest())
    statement = Statement((subject,), type_uri(kind), {**predicate, "source": f"https://code.example/{kind}"})
    return statement.to_envelope().sign(_SIGNER).encode()


class FolderLog:
    """Grows in a folder. What it is told to serve it serves, also if that is wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[bytes] = []
        self.tiles: dict[Tile, bytes] = {}

    def append(self, *entries: bytes) -> None:
        old = len(self.entries)
        written = new_tiles(old, self.tiles, map(leaf_hash, entries))
        self.tiles |= written
        self.entries += entries
        for tile, data in written.items():
            self.write(tile.path, data)
        for bundle in range(old // TILE_WIDTH, -(-len(self.entries) // TILE_WIDTH)):
            part = self.entries[bundle * TILE_WIDTH : (bundle + 1) * TILE_WIDTH]
            self.write(entries_path(bundle, len(part)), encode_entries(part))

    def checkpoint(self) -> Checkpoint:
        root = CompactRange().append(*map(leaf_hash, self.entries)).root
        return Checkpoint(LOG.key.name, len(self.entries), root)

    def publish(
        self,
        *,
        log: Signer = LOG,
        cosigners: Iterable[str] = WITNESSES,
        age: timedelta = timedelta(),
        policy: WitnessPolicy | None = None,
    ) -> None:
        """Write a checkpoint of all entries, cosigned `age` ago, and the policy."""
        note = SignedNote(self.checkpoint().encode()).sign(log)
        for name in cosigners:
            note = note.sign(WITNESSES[name], at=datetime.now(UTC) - age)
        self.write("checkpoint", note.encode())
        self.write("witnesses", (policy or make_policy()).encode())

    def write(self, path: str, data: bytes) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(data)

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()
