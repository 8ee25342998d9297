"""Checkpoints that a quorum stands by, and what a reader remembers of a log.

A checkpoint counts when its log signed it and a quorum of witnesses did. `TrustedLog` remembers the newest one that
counted and takes no other than one that adds to it: it never goes back, and never sideways.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Self, final

from attrs import evolve, field, frozen

from confsec.errors import (
    DecodeError,
    ForkedLogError,
    RolledBackLogError,
    StaleLogError,
    TransparencyError,
    UncosignedError,
)
from confsec.protocol import cbor
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.epoch import CLOCK_DIFFERENCE
from confsec.protocol.merkle import EMPTY_ROOT, HASH_SIZE, leaf_hash, verify_consistency, verify_inclusion
from confsec.protocol.note import NoteSignature, SignedNote
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["CosignedCheckpoint", "TrustedLog", "strip_checkpoint", "verify_checkpoint", "verify_logged"]

_SECTION: Final = "C2SP tlog-cosignature"
_STATE: Final = ("version", "origin", "size", "root", "fresh_since")
_VERSION: Final = 1
_MAX_STATE: Final = 4096


@final
@frozen
class CosignedCheckpoint:
    """A checkpoint that its log signed, and a quorum of witnesses. Made by `verify_checkpoint` alone."""

    checkpoint: Checkpoint
    cosigners: tuple[str, ...]
    """The witnesses that signed, by their names in the policy."""

    known_since: datetime
    """When a quorum had first seen it. Right if one witness of each quorum is honest about its clock."""

    fresh_since: datetime
    """All of some quorum signed at this time or later: it is younger than nobody could make it before."""


def verify_checkpoint(
    note: bytes, policy: WitnessPolicy, *, origin: str, at: datetime | None = None
) -> CosignedCheckpoint:
    """Check a signed checkpoint of one log under a witness policy.

    Cosignatures from later than `at` are not counted. Raises `DecodeError` for what is no checkpoint,
    `VerificationError` for a wrong signature of a known key, `TransparencyError` if it is another log's,
    `UncosignedError` if no quorum signed it, and `ConfigError` for a policy that asks nobody.
    """
    policy.require_quorum()
    log = policy.find_log(origin)
    signed = SignedNote.decode(note)
    found = {each.key: each for each in signed.verify([log.key, *(each.key for each in policy.witnesses)])}
    checkpoint = Checkpoint.decode(signed.text)
    if log.key not in found or checkpoint.origin != origin:
        raise TransparencyError(
            "the log did not sign this checkpoint", got=checkpoint.origin, want=origin, section="C2SP tlog-checkpoint"
        )
    latest = None if at is None else at + CLOCK_DIFFERENCE
    times: dict[str, datetime] = {}
    for witness in policy.witnesses:
        signature = found.get(witness.key)
        if signature is not None and signature.time is not None and (latest is None or signature.time <= latest):
            times[witness.name] = signature.time
    known, fresh = policy.known_since(times), policy.fresh_since(times)
    if known is None or fresh is None:
        raise UncosignedError(
            "no quorum of witnesses cosigned the checkpoint", got=", ".join(times) or "nobody", want=policy.quorum,
            section=_SECTION, hint="The log may show you what it shows nobody else",
        )  # fmt: skip
    return CosignedCheckpoint(checkpoint, tuple(times), known, fresh)


def strip_checkpoint(note: bytes, policy: WitnessPolicy, *, origin: str) -> bytes:
    """Return a signed checkpoint with the signatures of its log and of the policy's witnesses alone, in their order.

    Lines of others count for nothing, and could tell one reader's copy from another's. Raises `DecodeError` for what is
    no note or has no such signature, and `ConfigError` for a log that the policy does not know.
    """
    signed = SignedNote.decode(note)
    first: dict[tuple[str, bytes], NoteSignature] = {}
    for each in signed.signatures:
        first.setdefault((each.name, each.key_id), each)
    keys = [policy.find_log(origin).key, *(witness.key for witness in policy.witnesses)]
    kept = [first[key.name, key.key_id] for key in keys if (key.name, key.key_id) in first]
    return evolve(signed, signatures=tuple(kept)).encode()


def verify_logged(entry: bytes, proof: TlogProof, policy: WitnessPolicy, *, origin: str) -> CosignedCheckpoint:
    """Check that a log has an entry, and that a quorum of witnesses saw it there (C2SP tlog-proof).

    Raises what `verify_checkpoint` raises, and `TransparencyError` if the entry is not there.
    """
    cosigned = verify_checkpoint(proof.checkpoint, policy, origin=origin)
    checkpoint = cosigned.checkpoint
    verify_inclusion(leaf_hash(entry), proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    return cosigned


@final
@frozen
class TrustedLog:
    """What a reader remembers of one log: its newest checkpoint that counted."""

    origin: str
    size: int = 0
    root: bytes = field(default=EMPTY_ROOT)
    fresh_since: datetime | None = None
    """How fresh the witnesses' word for it was; None where nothing was seen yet."""

    def advance(
        self,
        note: bytes,
        proof: Sequence[bytes],
        *,
        policy: WitnessPolicy,
        at: datetime,
        maximum_age: timedelta,
    ) -> Self:
        """Return what is remembered after this checkpoint, which `proof` shows to add to the one before.

        Raises what `verify_newer` raises, and `TransparencyError` for a proof that does not show it. Then nothing
        changes.
        """
        return self.advance_to(self.verify_newer(note, policy=policy, at=at, maximum_age=maximum_age), proof)

    def verify_newer(
        self, note: bytes, *, policy: WitnessPolicy, at: datetime, maximum_age: timedelta
    ) -> CosignedCheckpoint:
        """Check a checkpoint as far as that takes no proof: `advance_to` does the rest.

        Raises what `verify_checkpoint` raises, `StaleLogError` where the witnesses were not asked for longer than
        `maximum_age`, `RolledBackLogError` for a log that goes back, and `ForkedLogError` for another tree of one size.
        """
        cosigned = verify_checkpoint(note, policy, origin=self.origin, at=at)
        if at - cosigned.fresh_since > maximum_age:
            raise StaleLogError(
                "the witnesses' word for this checkpoint is too old", got=f"{at - cosigned.fresh_since}",
                want=f"at most {maximum_age}", section=_SECTION, hint="The log stands still, or is kept from you",
            )  # fmt: skip
        self._require_newer(cosigned)
        return cosigned

    def advance_to(self, cosigned: CosignedCheckpoint, proof: Sequence[bytes]) -> Self:
        """Return what is remembered after a checkpoint that `verify_newer` gave.

        Raises `TransparencyError` if `proof` does not show that it adds to the one before.
        """
        self._require_newer(cosigned)
        checkpoint = cosigned.checkpoint
        verify_consistency(self.size, checkpoint.size, proof, self.root, checkpoint.root)
        return type(self)(self.origin, checkpoint.size, checkpoint.root, cosigned.fresh_since)

    def _require_newer(self, cosigned: CosignedCheckpoint) -> None:
        checkpoint = cosigned.checkpoint
        if checkpoint.size < self.size:
            raise RolledBackLogError(
                "the log goes back", got=f"{checkpoint.size} entries", want=f"at least {self.size}",
                section="C2SP tlog-checkpoint, Signatures", hint="Somebody shows an old tree",
            )  # fmt: skip
        if checkpoint.size == self.size and checkpoint.root != self.root:
            raise ForkedLogError("the log has two trees of one size: it was forked", got=f"{self.size} entries")
        if self.fresh_since is not None and cosigned.fresh_since < self.fresh_since:
            raise RolledBackLogError(
                "the witnesses' word is older than what was seen before",
                got=f"{cosigned.fresh_since:%Y-%m-%d %H:%M:%S}", want=f"{self.fresh_since:%Y-%m-%d %H:%M:%S} or later",
                section=_SECTION,
            )  # fmt: skip

    def encode(self) -> bytes:
        """Write what is remembered, for a file or a database."""
        seconds = 0 if self.fresh_since is None else int(self.fresh_since.timestamp())
        return cbor.encode(
            {"version": _VERSION, "origin": self.origin, "size": self.size, "root": self.root, "fresh_since": seconds}
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. Raises `DecodeError`: what was remembered is not to be forgotten in silence."""
        what = "the memory of a log"
        value = cbor.as_map(cbor.decode(data, what=what, limit=_MAX_STATE), what=what, keys=_STATE)
        if value["version"] != _VERSION:
            raise DecodeError("the memory of a log is of another version", want=_VERSION)
        size, seconds = cbor.as_uint(value["size"], what="a size"), cbor.as_uint(value["fresh_since"], what="a time")
        if seconds >> 37:
            raise DecodeError("the memory of a log is of a time that nobody lives to see")
        return cls(
            cbor.as_text(value["origin"], what="an origin"),
            size,
            cbor.as_bytes(value["root"], what="a root", size=HASH_SIZE),
            datetime.fromtimestamp(seconds, UTC) if seconds else None,
        )
