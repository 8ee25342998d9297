"""From the numbers in a vector to our algorithms: a case that needs one which we do not have is skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from confsec.conformance.cases import Case, CaseSkippedError, MismatchError
from confsec.errors import UnsupportedError
from confsec.protocol.aead import AeadSequence, aead_from_id
from confsec.protocol.hpke import HpkeSuite
from confsec.protocol.kdf import kdf_from_id
from confsec.protocol.kem import kem_from_id
from confsec.protocol.machine import RandBytes

__all__ = ["find_suite", "move_to", "replay"]

# Registered ids of what others have and confsec does not (draft-ietf-hpke-pq-04, sections 3 and 5).
_NAMES: Final = {
    ("KEM", 0x0040): "ML-KEM-512",
    ("KDF", 0x0012): "TurboSHAKE128",
    ("KDF", 0x0013): "TurboSHAKE256",
}

_T = TypeVar("_T")


def find_suite(case: Case, *, kem: str, kdf: str, aead: str) -> HpkeSuite:
    """Return the suite whose ids stand in these members. Raises `CaseSkippedError` for what we do not have."""
    return HpkeSuite(
        _find("KEM", kem_from_id, _number(case, kem)),
        _find("KDF", kdf_from_id, _number(case, kdf)),
        _find("AEAD", aead_from_id, _number(case, aead)),
    )


def replay(stream: bytes) -> RandBytes:
    """Return a source of the random bytes that a vector states. It raises `MismatchError` when they are used up."""
    position = 0

    def randbytes(size: int) -> bytes:
        nonlocal position
        position += size
        if position > len(stream):
            raise MismatchError(f"needs more random bytes than the {len(stream)} stated")
        return stream[position - size : position]

    return randbytes


def move_to(sequence: AeadSequence, number: object) -> None:
    """Let the next message have this number: vectors list only some of a long run.

    Everybody else counts. Nothing here is sealed for anyone, and keys of vectors are public.
    """
    if not isinstance(number, int) or number < sequence.sequence:
        raise MismatchError(f"the sequence number {number!r} does not come after {sequence.sequence - 1}")
    sequence._sequence = number  # noqa: SLF001 - there is no door for this, and there should be none


def _find(kind: str, find: Callable[[int], _T], number: int) -> _T:
    try:
        return find(number)
    except UnsupportedError as exc:
        name = _NAMES.get((kind, number))
        what = f"{kind} 0x{number:04x}"
        raise CaseSkippedError(f"{f'{name} ({what})' if name else what} is not implemented") from exc


def _number(case: Case, name: str) -> int:
    number = case.get(name)
    if not isinstance(number, int) or not 0 <= number <= 0xFFFF:
        raise MismatchError(f"the case has no {name}, or not as a number of 16 bits")
    return number
