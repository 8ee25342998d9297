"""What statements may not do: go back in time. Of some types only the newest counts, and what was seen is remembered.

Only what a log proved is remembered: what it does not prove would else shut out what is true.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, Self, final

from confsec.errors import DecodeError, LimitError, TransparencyError
from confsec.protocol import cbor
from confsec.protocol.statement import encode_canonical
from confsec.protocol.statement_policy import VerifiedStatement

__all__ = ["LatestStatements"]

_SECTION: Final = "docs/spec/statements.md, Who is believed"
_MAX_REMEMBERED: Final = 4096
_VERSION: Final = 1
_KEY_SIZE: Final = 32
_TIME_SIZE: Final = 8
_RECORD_SIZE: Final = _KEY_SIZE + _TIME_SIZE + 32
"""Of a remembered statement: SHA-256 of its type and names, seconds since 1970, and its digest."""

_MAX_STATE: Final = _MAX_REMEMBERED * (_RECORD_SIZE + 2) + 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


@final
class LatestStatements:
    """The newest statement of each type about each subject that was accepted, at most 4096."""

    def __init__(self) -> None:
        self._latest: dict[bytes, tuple[datetime, bytes]] = {}

    def admit(self, verified: VerifiedStatement) -> None:
        """Remember a statement, if its type is one of which only the newest counts.

        The same one may come again. Raises `TransparencyError` for an older one, and for another of the same second:
        one of the two was meant for somebody else. Then nothing is remembered.
        """
        if not verified.newest_only:
            return
        key = sha256(encode_canonical([verified.statement.predicate_type, *verified.names])).digest()
        issued, digest = verified.predicate.issued, verified.statement.digest
        known, known_digest = self._latest.get(key, (issued, digest))
        if issued < known or (issued == known and digest != known_digest):
            raise TransparencyError(
                "a statement is older than one that was accepted, or beside it",
                got=f"{issued:%Y-%m-%d %H:%M:%S}", want=f"after {known:%Y-%m-%d %H:%M:%S} UTC", section=_SECTION,
            )  # fmt: skip
        if key not in self._latest and len(self._latest) >= _MAX_REMEMBERED:
            raise LimitError("too many statements to remember", want=f"at most {_MAX_REMEMBERED}")
        self._latest[key] = issued, digest

    def encode(self) -> bytes:
        """Write what is remembered, for a file or a database."""
        records: list[cbor.CborValue] = [
            key + ((issued - _EPOCH) // _SECOND).to_bytes(_TIME_SIZE, "big", signed=True) + digest
            for key, (issued, digest) in sorted(self._latest.items())
        ]
        return cbor.encode({"version": _VERSION, "latest": records})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. Raises `DecodeError`: what was remembered is not to be forgotten in silence."""
        what = "the memory of statements"
        value = cbor.as_map(cbor.decode(data, what=what, limit=_MAX_STATE), what=what, keys=("version", "latest"))
        if value["version"] != _VERSION:
            raise DecodeError(f"{what} is of another version", want=_VERSION)
        records = cbor.as_array(value["latest"], what=what, limit=_MAX_REMEMBERED)
        latest = cls()
        latest._latest = dict(_record(cbor.as_bytes(each, what=what, size=_RECORD_SIZE)) for each in records)
        if latest.encode() != data:
            raise DecodeError(f"{what} is not in its one spelling")
        return latest


def _record(data: bytes) -> tuple[bytes, tuple[datetime, bytes]]:
    key, time, digest = data[:_KEY_SIZE], data[_KEY_SIZE:-32], data[-32:]
    try:
        return key, (_EPOCH + int.from_bytes(time, "big", signed=True) * _SECOND, digest)
    except OverflowError as exc:
        raise DecodeError("the memory of statements has a time that is none") from exc
