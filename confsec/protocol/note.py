"""Signed notes: a text and the signatures of those who stand by it (C2SP signed-note).

The text of a note means nothing until a known key has signed it, so `SignedNote.verify` is the way to it: it checks
every signature of a known key, and one that is wrong spoils the note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Self, final

from attrs import evolve, field, frozen

from confsec.errors import DecodeError, LimitError, VerificationError
from confsec.protocol.note_keys import NoteKey, Signer, check_key_name
from confsec.protocol.wire import decode_base64, encode_base64

__all__ = ["MAX_NOTE", "MAX_SIGNATURES", "NoteSignature", "SignedNote", "VerifiedSignature"]

MAX_NOTE: Final = 262_144
"""A note has at most 256 KiB: many signatures of ML-DSA-44, with 3.3 kB each."""

MAX_SIGNATURES: Final = 64
"""Signatures of one note."""

_SECTION: Final = "C2SP signed-note, Format"
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY_ID: Final = 4


@final
@frozen
class NoteSignature:
    """A signature line, verified or not."""

    name: str
    key_id: bytes
    signature: bytes = field(repr=False)

    @classmethod
    def decode(cls, line: str) -> Self:
        """Read a line without its newline. Raises `DecodeError`."""
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "—":
            raise DecodeError("a signature line does not begin with a dash", section=_SECTION)
        data = decode_base64(encoded)
        if len(data) <= _KEY_ID:
            raise DecodeError("a signature line has no signature", section=_SECTION)
        return cls(check_key_name(name), data[:_KEY_ID], data[_KEY_ID:])

    def encode(self) -> str:
        """Write the line, with its newline."""
        return f"— {self.name} {encode_base64(self.key_id + self.signature)}\n"


@final
@frozen
class VerifiedSignature:
    """A signature that a known key made."""

    key: NoteKey
    time: datetime | None
    """When, as the cosigner says; None for a signature without a time."""


@final
@frozen
class SignedNote:
    """A note as it was read: nothing in it is verified yet."""

    text: str
    """The text, with its last newline."""

    signatures: tuple[NoteSignature, ...] = ()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a note. Raises `DecodeError` and `LimitError`."""
        if len(data) > MAX_NOTE:
            raise LimitError("a note is too long", got=f"{len(data)} bytes", want=f"at most {MAX_NOTE}")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise DecodeError("a note is not text in UTF-8", section=_SECTION) from exc
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise DecodeError("a note has no signatures, or no end", section=_SECTION)
        _require_printable(whole)
        return cls(text + "\n", _signatures(lines))

    def encode(self) -> bytes:
        """Write the note. Raises `DecodeError` for one that nobody signed."""
        if not self.signatures:
            raise DecodeError("a note without a signature is none", section=_SECTION)
        return "".join([self.text, "\n", *(each.encode() for each in self.signatures)]).encode()

    def sign(self, signer: Signer, *, at: datetime | None = None) -> Self:
        """Return the note with one more signature. A cosigner says `at` what time."""
        _require_text(self.text)
        signature = NoteSignature(signer.key.name, signer.key.key_id, signer.sign(self.text, at=at))
        return evolve(self, signatures=(*self.signatures, signature))

    def verify(self, keys: Iterable[NoteKey]) -> tuple[VerifiedSignature, ...]:
        """Return the signatures that these keys made: one for each key, its first, in the order of the note.

        Signatures of others are ignored. Raises `VerificationError` if a signature of one of these keys is wrong, or
        if there is none; then the text means nothing.
        """
        known = {(key.name, key.key_id): key for key in keys}
        found: dict[NoteKey, VerifiedSignature] = {}
        for each in self.signatures:
            key = known.get((each.name, each.key_id))
            if key is not None:
                time = key.verify(self.text, each.signature)
                found.setdefault(key, VerifiedSignature(key, time))
        if not found:
            raise VerificationError("no key that we know signed the note", section="C2SP signed-note, Signatures")
        return tuple(found.values())


def _signatures(lines: str) -> tuple[NoteSignature, ...]:
    each = lines.split("\n")[:-1]
    if len(each) > MAX_SIGNATURES:
        raise LimitError("a note has too many signatures", got=len(each), want=f"at most {MAX_SIGNATURES}")
    return tuple(map(NoteSignature.decode, each))


def _require_text(text: str) -> None:
    if not text.endswith("\n"):
        raise DecodeError("the text of a note does not end with a newline", section=_SECTION)
    _require_printable(text)


def _require_printable(text: str) -> None:
    if _CONTROL.search(text):
        raise DecodeError("a note has control characters", section=_SECTION)
