"""The end of a log, as a client keeps it and a Proof carries it: a signed checkpoint, and the entries before it.

In a *state log* the newest entry in effect is the truth for everyone. `LogState` proves which entries those are;
`service_state` says which of them is in effect.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Final, Self, final

from attrs import field, frozen

from confsec.errors import DecodeError, TransparencyError
from confsec.protocol import cbor
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.merkle import HASH_SIZE, MAX_PROOF_HASHES, leaf_hash, verify_inclusion
from confsec.protocol.note import SignedNote
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import CosignedCheckpoint, strip_checkpoint, verify_checkpoint, verify_logged
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["MAX_STATE_ENTRIES", "LogState", "StateEntry"]

MAX_STATE_ENTRIES: Final = 16
"""So many entries are looked at, from the newest back."""

_SECTION: Final = "docs/spec/log-root.md, State logs"


@final
@frozen
class StateEntry:
    """One entry near the end of a log."""

    index: int
    """Its place."""

    data: bytes = field(repr=False)
    """The entry."""

    hashes: tuple[bytes, ...] = field(repr=False)
    """What leads from it to the root of the state's checkpoint."""

    first: bytes = field(default=b"", repr=False)
    """The checkpoint in which a quorum first saw it, as a C2SP tlog-proof; nothing where nobody asks since when."""


@final
@frozen
class LogState:
    """The newest entries of a log, under a checkpoint whose last entry is the last of them."""

    checkpoint: bytes = field(repr=False)
    """The signed and cosigned checkpoint."""

    entries: tuple[StateEntry, ...]
    """1 to 16 entries without a gap; the last one is the last of the log."""

    def verify(self, policy: WitnessPolicy, *, origin: str) -> CosignedCheckpoint:
        """Check that these are the last entries of the log with this origin, and that a quorum saw them so.

        Raises what `verify_checkpoint` raises, and `TransparencyError` for other entries.
        """
        if not 1 <= len(self.entries) <= MAX_STATE_ENTRIES:
            raise TransparencyError("a log's state has too few entries, or too many", got=len(self.entries))
        if any(left.index + 1 != right.index for left, right in pairwise(self.entries)):
            raise TransparencyError("a log's state has a gap", section=_SECTION)
        _require_stripped(self.checkpoint, policy, origin)
        cosigned = verify_checkpoint(self.checkpoint, policy, origin=origin)
        size, root = cosigned.checkpoint.size, cosigned.checkpoint.root
        for entry in self.entries:
            verify_inclusion(leaf_hash(entry.data), entry.index, size, entry.hashes, root)
        if size != self.entries[-1].index + 1:
            raise TransparencyError(
                "the log has newer entries than it shows", got=self.entries[-1].index,
                want=f"entry {size - 1}", section=_SECTION,
            )  # fmt: skip
        return cosigned

    def known_since(self, entry: StateEntry, policy: WitnessPolicy, *, origin: str) -> datetime:
        """Return when a quorum had first seen an entry. Raises what `verify_logged` raises."""
        proof = TlogProof.decode(entry.first)
        if proof.index != entry.index:
            raise TransparencyError("the first checkpoint of an entry is another's", got=proof.index, want=entry.index)
        if proof.extra:
            raise TransparencyError("the first checkpoint of an entry has something beside it", section=_SECTION)
        _require_stripped(proof.checkpoint, policy, origin)
        return verify_logged(entry.data, proof, policy, origin=origin).known_since

    def to_item(self) -> list[cbor.CborValue]:
        """Return the state as it stands in a Proof."""
        entries: list[cbor.CborValue] = [
            [entry.index, entry.data, list(entry.hashes), entry.first] for entry in self.entries
        ]
        return [self.checkpoint, entries]

    @classmethod
    def from_item(cls, value: cbor.CborValue) -> Self:
        """Read the state of a log out of a Proof. Raises `DecodeError` and `LimitError`."""
        what = "the state of a log"
        parts = cbor.as_array(value, what=what, limit=2)
        if len(parts) != 2:
            raise DecodeError(f"{what} has other than two parts", got=len(parts))
        entries = cbor.as_array(parts[1], what=f"the entries of {what}", limit=MAX_STATE_ENTRIES)
        return cls(cbor.as_bytes(parts[0], what="a checkpoint"), tuple(map(_entry, entries)))


def _require_stripped(note: bytes, policy: WitnessPolicy, origin: str) -> None:
    """Refuse what could mark one reader's copy: lines that nobody whom the policy names has signed or written."""
    signed = SignedNote.decode(note)
    if strip_checkpoint(note, policy, origin=origin) != note or Checkpoint.decode(signed.text).extensions:
        raise TransparencyError("a checkpoint carries more than its signatures", section=_SECTION)


def _entry(value: cbor.CborValue) -> StateEntry:
    parts = cbor.as_array(value, what="an entry of a log", limit=4)
    if len(parts) != 4:
        raise DecodeError("an entry of a log has other than four parts", got=len(parts))
    hashes = cbor.as_array(parts[2], what="the hashes of an entry", limit=MAX_PROOF_HASHES)
    return StateEntry(
        cbor.as_uint(parts[0], what="an index"),
        cbor.as_bytes(parts[1], what="an entry"),
        tuple(cbor.as_bytes(each, what="a hash", size=HASH_SIZE) for each in hashes),
        cbor.as_bytes(parts[3], what="the first checkpoint of an entry"),
    )
