"""A proof that something is in a log, in one piece that can be verified offline (C2SP tlog-proof)."""

from __future__ import annotations

import re
from typing import Final, Self, final

from attrs import field, frozen

from confsec.errors import DecodeError, LimitError
from confsec.protocol.merkle import HASH_SIZE, MAX_PROOF_HASHES
from confsec.protocol.note import MAX_NOTE
from confsec.protocol.wire import decode_base64, encode_base64

__all__ = ["MAX_TLOG_PROOF", "TlogProof"]

MAX_TLOG_PROOF: Final = 2 * MAX_NOTE
"""A proof has at most 512 KiB, of which the checkpoint has half."""

_SECTION: Final = "C2SP tlog-proof, Format"
_HEADER: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")


@final
@frozen
class TlogProof:
    """An entry's place in a log, the hashes that lead from it to the root, and who signed the root."""

    index: int
    """The entry's place, from 0."""

    hashes: tuple[bytes, ...] = field(repr=False)
    """From the entry's sibling up (RFC 6962, section 2.1.1)."""

    checkpoint: bytes = field(repr=False)
    """The signed checkpoint, as the log gave it."""

    extra: bytes = field(default=b"", repr=False)
    """What the application puts beside; nobody signed it."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a proof. Its checkpoint is not looked at. Raises `DecodeError` and `LimitError`."""
        if len(data) > MAX_TLOG_PROOF:
            raise LimitError("a proof of a log is too long", got=f"{len(data)} bytes", want=f"at most {MAX_TLOG_PROOF}")
        head, blank, checkpoint = data.partition(b"\n\n")
        try:
            header, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as exc:
            raise DecodeError("a proof of a log is not text", section=_SECTION) from exc
        if header != _HEADER or not blank or not checkpoint:
            raise DecodeError("this is no proof of a log, or its checkpoint is missing", want=_HEADER, section=_SECTION)
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = decode_base64(lines.pop(0).removeprefix("extra "))
            if not extra:
                raise DecodeError("the extra data of a proof are empty", want="no such line", section=_SECTION)
        index = _INDEX.fullmatch(lines.pop(0) if lines else "")
        if index is None:
            raise DecodeError("a proof of a log has no index", section=_SECTION)
        return cls(int(index[1]), _hashes(lines), checkpoint, extra)

    def encode(self) -> bytes:
        """Write the proof."""
        extra = [f"extra {encode_base64(self.extra)}"] if self.extra else []
        lines = [_HEADER, *extra, f"index {self.index}", *map(encode_base64, self.hashes)]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint


def _hashes(lines: list[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PROOF_HASHES:
        raise LimitError("a proof is longer than any tree is high", want=f"at most {MAX_PROOF_HASHES} hashes")
    hashes = tuple(map(decode_base64, lines))
    if any(len(each) != HASH_SIZE for each in hashes):
        raise DecodeError("a hash of a proof has another size", want=f"{HASH_SIZE} bytes", section=_SECTION)
    return hashes
