"""What a witness does with a checkpoint: cosign it if the log only grew, and else say why not (C2SP tlog-witness).

`AddCheckpoint` is the request, of logs and of witnesses alike. `Cosigner.decide` is the whole decision, from what the
witness remembers of a log to what it remembers next; whoever drives it stores that before the answer leaves, and lets
no other request of the same log in between.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final, Self, final

from attrs import field, frozen

from confsec.errors import (
    ConflictError,
    ConfsecError,
    DecodeError,
    InconsistentError,
    LimitError,
    TransparencyError,
    UnknownLogError,
    UnsignedError,
)
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.merkle import EMPTY_ROOT, HASH_SIZE, verify_consistency
from confsec.protocol.note import MAX_NOTE, SignedNote
from confsec.protocol.note_keys import NoteKey, Signer
from confsec.protocol.wire import decode_base64, encode_base64

__all__ = [
    "MAX_ADD_CHECKPOINT",
    "MAX_CONSISTENCY_HASHES",
    "SIZE_TYPE",
    "AddCheckpoint",
    "Cosigned",
    "Cosigner",
    "WitnessedTree",
]

MAX_CONSISTENCY_HASHES: Final = 63
"""A request has at most so many hashes."""

MAX_ADD_CHECKPOINT: Final = MAX_NOTE + 4096
"""A request has at most so many bytes: the hashes, and a note."""

SIZE_TYPE: Final = "text/x.tlog.size"
"""The media type of the answer that names another size."""

_SECTION: Final = "C2SP tlog-witness, add-checkpoint"
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")


@final
@frozen
class AddCheckpoint:
    """A request to cosign a checkpoint."""

    old_size: int
    """What the witness has cosigned last, as far as the log knows."""

    proof: tuple[bytes, ...] = field(repr=False)
    """That the tree of that size is the beginning of the new one."""

    checkpoint: bytes = field(repr=False)
    """The signed checkpoint."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a request. Its checkpoint is not looked at. Raises `DecodeError` and `LimitError`."""
        if len(data) > MAX_ADD_CHECKPOINT:
            raise LimitError("a request to a witness is too long", want=f"at most {MAX_ADD_CHECKPOINT} bytes")
        head, blank, checkpoint = data.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as exc:
            raise DecodeError("a request to a witness is not text", section=_SECTION) from exc
        old = _OLD.fullmatch(first)
        if old is None or not blank:
            raise DecodeError("a request to a witness has no old size, or no checkpoint", section=_SECTION)
        if len(lines) > MAX_CONSISTENCY_HASHES:
            raise LimitError("a request to a witness has too many hashes", want=f"at most {MAX_CONSISTENCY_HASHES}")
        proof = tuple(map(decode_base64, lines))
        if any(len(each) != HASH_SIZE for each in proof):
            raise DecodeError("a hash of a proof has another size", want=f"{HASH_SIZE} bytes", section=_SECTION)
        return cls(int(old[1]), proof, checkpoint)

    def encode(self) -> bytes:
        """Write the request."""
        lines = [f"old {self.old_size}", *map(encode_base64, self.proof)]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint


@final
@frozen
class WitnessedTree:
    """What a witness remembers of one log: the largest tree that it has cosigned."""

    NOTHING: ClassVar[WitnessedTree]
    """What it remembers of a log that it has not seen."""

    size: int
    root: bytes


WitnessedTree.NOTHING = WitnessedTree(0, EMPTY_ROOT)


@final
@frozen
class Cosigned:
    """A decision to cosign."""

    tree: WitnessedTree
    """What to remember, durably, before the answer leaves."""

    answer: bytes
    """The signature lines."""


@final
class Cosigner:
    """A witness's keys, and the logs that it follows."""

    def __init__(self, signers: Sequence[Signer], logs: Mapping[str, Sequence[NoteKey]]) -> None:
        """Cosign with each of `signers` what one of the keys of a log, by its origin, has signed."""
        self._signers = tuple(signers)
        self._logs = {origin: tuple(keys) for origin, keys in logs.items()}

    def origin_of(self, request: AddCheckpoint) -> str:
        """Return the log of a request, whose key signed it. Raises `UnknownLogError`, `UnsignedError`, `DecodeError`.

        Ask this first: it says whose memory is needed.
        """
        return self._open(request).origin

    def decide(self, request: AddCheckpoint, remembered: WitnessedTree, at: datetime) -> Cosigned:
        """Cosign the checkpoint of a request as of `at`, given what is remembered of its log.

        A tree that was cosigned before is cosigned again, with the new time. Raises `DecodeError`, `UnknownLogError`,
        `UnsignedError`, `ConflictError` and `InconsistentError`; then nothing is remembered.
        """
        checkpoint = self._open(request)
        if request.old_size > checkpoint.size:
            raise DecodeError(
                "the old tree is larger than the new one", got=request.old_size, want=f"at most {checkpoint.size}",
                section=_SECTION,
            )  # fmt: skip
        if request.old_size != remembered.size:
            raise ConflictError(remembered.size, section=_SECTION)
        if checkpoint.size == remembered.size and checkpoint.root != remembered.root:
            raise ConflictError(remembered.size, section=_SECTION)
        try:
            verify_consistency(remembered.size, checkpoint.size, request.proof, remembered.root, checkpoint.root)
        except TransparencyError as exc:
            raise InconsistentError(f"the log did not only grow: {exc}", section=_SECTION) from exc
        note = SignedNote(SignedNote.decode(request.checkpoint).text)
        for signer in self._signers:
            note = note.sign(signer, at=at)
        answer = "".join(signature.encode() for signature in note.signatures).encode()
        return Cosigned(WitnessedTree(checkpoint.size, checkpoint.root), answer)

    def _open(self, request: AddCheckpoint) -> Checkpoint:
        note = SignedNote.decode(request.checkpoint)
        checkpoint = Checkpoint.decode(note.text)
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            raise UnknownLogError("this witness does not follow the log", got=checkpoint.origin, section=_SECTION)
        try:
            note.verify(keys)
        except ConfsecError as exc:
            raise UnsignedError("no key of the log signed the checkpoint", section=_SECTION) from exc
        return checkpoint
