"""The text of a checkpoint: which log, how large, and which root (C2SP tlog-checkpoint)."""

from __future__ import annotations

import re
from typing import Final, Self, final

from attrs import field, frozen

from confsec.errors import DecodeError
from confsec.protocol.merkle import EMPTY_ROOT, HASH_SIZE
from confsec.protocol.wire import decode_base64, encode_base64

__all__ = ["MAX_CHECKPOINT_TEXT", "Checkpoint"]

MAX_CHECKPOINT_TEXT: Final = 4096
"""The text of a checkpoint has at most so many bytes: an origin, two numbers, and few extension lines."""

_MAX_SIZE: Final = (1 << 63) - 1
"""What every implementation can count to."""

_SECTION: Final = "C2SP tlog-checkpoint, Note text"
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL: Final = re.compile(r"[\x00-\x1f]")


@final
@frozen
class Checkpoint:
    """What a log says of itself at one size."""

    origin: str
    """The log's unique name, compared and not resolved."""

    size: int
    """How many entries it has."""

    root: bytes
    """The root of its tree."""

    extensions: tuple[str, ...] = field(default=())
    """Lines that nobody can audit. Cosignatures with ML-DSA do not cover them."""

    def __attrs_post_init__(self) -> None:
        if any(not line or _CONTROL.search(line) for line in (self.origin, *self.extensions)):
            raise DecodeError("a line of a checkpoint is empty or has control characters", section=_SECTION)
        if not 0 <= self.size <= _MAX_SIZE:
            raise DecodeError("a tree has a size that nobody counts to", got=self.size, section=_SECTION)
        if len(self.root) != HASH_SIZE:
            raise DecodeError(
                "a root hash has another size", got=len(self.root), want=f"{HASH_SIZE} bytes", section=_SECTION
            )
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise DecodeError("an empty tree has another root", section="RFC 6962, section 2.1")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read the text of a note. Raises `DecodeError`."""
        if len(text.encode()) > MAX_CHECKPOINT_TEXT:
            raise DecodeError(
                "the text of a checkpoint is too long", want=f"at most {MAX_CHECKPOINT_TEXT} bytes", section=_SECTION
            )
        lines = text.split("\n")
        if lines.pop() or len(lines) < 3:
            raise DecodeError("a checkpoint has too few lines", want="origin, size and root", section=_SECTION)
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise DecodeError("the size of a tree is no number", section=_SECTION)
        return cls(origin, int(size), decode_base64(root), tuple(extensions))

    def encode(self) -> str:
        """Write the text of the note."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)
