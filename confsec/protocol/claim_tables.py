"""Tables of claims: how a claims-set is read from CBOR and from JSON, and written in both (RFC 8392, RFC 7519).

In JSON a claim has its name, in CBOR a number; bytes are base64url in one and byte strings in the other. A table has a
row for each claim that is known, so a claims-set that was read from either form is the same value. Claims that are
not known are kept as they came, and mean nothing to us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias, final

from attrs import frozen

from confsec.errors import DecodeError, LocalProtocolError, VerificationError
from confsec.protocol import cbor_general, json_general
from confsec.protocol.cbor_general import CborItem, as_map
from confsec.protocol.json_general import JsonItem, as_object
from confsec.protocol.wire import decode_base64url, encode_base64url

__all__ = [
    "MAX_CLAIMS",
    "Claim",
    "ClaimCodec",
    "ClaimTable",
    "ClaimValue",
    "Claims",
    "binary",
    "same_in_both",
    "verify_current",
]

MAX_CLAIMS: Final = 256 << 10
"""A claims-set has at most 256 KiB."""

ClaimValue: TypeAlias = Any
"""The value of a claim. Its type is the one of its row; of a claim that is not known, it is as it came."""

Claims: TypeAlias = Mapping[str, ClaimValue] | Mapping[str | int, ClaimValue]
"""A claims-set. The numbers are claims in CBOR that nobody told us a name for."""


@final
@frozen
class ClaimCodec:
    """How the value of a claim is read and written. The table is the one that the claim stands in."""

    from_cbor: Callable[[ClaimTable, CborItem], ClaimValue]
    """Raises `DecodeError`."""

    from_json: Callable[[ClaimTable, JsonItem], ClaimValue]
    """Raises `DecodeError`."""

    to_cbor: Callable[[ClaimTable, ClaimValue], CborItem]

    to_json: Callable[[ClaimTable, ClaimValue], JsonItem]


@final
@frozen
class Claim:
    """A row of a table."""

    name: str
    """What we call it: its name in JSON, unless `json_name` says another."""

    key: int
    """Its number in CBOR."""

    codec: ClaimCodec

    json_name: str = ""
    """Its name in JSON, where that differs."""

    @property
    def in_json(self) -> str:
        """The name in JSON."""
        return self.json_name or self.name


@final
class ClaimTable:
    """Claims by name and number: reads claims-sets and writes them."""

    def __init__(self, claims: Iterable[Claim]) -> None:
        rows = tuple(claims)
        self._rows: Final = rows
        self._by_name: Final = {row.name: row for row in rows}
        self._by_key: Final = {row.key: row for row in rows}
        self._by_json_name: Final = {row.in_json: row for row in rows}
        # In one form these would pass for claims of the other.
        self._confusing_in_json: Final = self._by_name.keys() - self._by_json_name.keys()
        self._confusing_in_cbor: Final = self._by_name.keys() | self._by_json_name.keys()

    def extended(self, claims: Iterable[Claim]) -> ClaimTable:
        """Return a table that knows more claims."""
        return ClaimTable((*self._rows, *claims))

    def decode_cbor(self, data: bytes, *, limit: int = MAX_CLAIMS) -> dict[str | int, ClaimValue]:
        """Read a claims-set in CBOR. Raises `DecodeError`; `LimitError` beyond `limit` bytes."""
        return self.from_cbor(cbor_general.decode(data, what="a claims-set", limit=limit))

    def decode_json(self, data: bytes, *, limit: int = MAX_CLAIMS) -> dict[str | int, ClaimValue]:
        """Read a claims-set in JSON. Raises `DecodeError`; `LimitError` beyond `limit` bytes."""
        return self.from_json(json_general.decode(data, what="a claims-set", limit=limit))

    def encode_cbor(self, claims: Claims) -> bytes:
        """Write a claims-set in CBOR, deterministically."""
        return cbor_general.encode(self.to_cbor(claims))

    def encode_json(self, claims: Claims) -> bytes:
        """Write a claims-set in JSON. Raises `LocalProtocolError` for claims that only have numbers."""
        return json_general.encode(self.to_json(claims))

    def from_cbor(self, item: CborItem) -> dict[str | int, ClaimValue]:
        """Read a claims-set that is part of something else in CBOR. Raises `DecodeError`."""
        claims: dict[str | int, ClaimValue] = {}
        for key, value in as_map(item, what="a claims-set").items():
            row = self._by_key.get(key) if isinstance(key, int) else None
            if row is not None:
                claims[row.name] = _read(row.codec.from_cbor, self, value, row.name)
            elif isinstance(key, bytes) or key in self._confusing_in_cbor:
                raise DecodeError("a claim in CBOR goes by its name, or has no label", section="RFC 8392, section 3")
            else:
                claims[key] = value
        return claims

    def from_json(self, item: JsonItem) -> dict[str | int, ClaimValue]:
        """Read a claims-set that is part of something else in JSON. Raises `DecodeError`."""
        claims: dict[str | int, ClaimValue] = {}
        for name, value in as_object(item, what="a claims-set").items():
            row = self._by_json_name.get(name)
            if row is not None:
                claims[row.name] = _read(row.codec.from_json, self, value, row.name)
            elif name in self._confusing_in_json:
                raise DecodeError("a claim goes by a name of another profile", got=name)
            else:
                claims[name] = value
        return claims

    def to_cbor(self, claims: Claims) -> CborItem:
        """Return a claims-set as a part of something else in CBOR."""
        item: dict[int | str | bytes, CborItem] = {}
        for name, value in claims.items():
            row = self._by_name.get(name) if isinstance(name, str) else None
            item[name if row is None else row.key] = value if row is None else row.codec.to_cbor(self, value)
        return item

    def to_json(self, claims: Claims) -> JsonItem:
        """Return a claims-set as a part of something else in JSON."""
        item: dict[str, JsonItem] = {}
        for name, value in claims.items():
            if not isinstance(name, str):
                raise LocalProtocolError("a claim has no name that JSON could use", got=name)
            row = self._by_name.get(name)
            item[name if row is None else row.in_json] = value if row is None else row.codec.to_json(self, value)
        return item


def _read(read: Callable[[ClaimTable, Any], ClaimValue], table: ClaimTable, value: object, name: str) -> ClaimValue:
    try:
        return read(table, value)
    except DecodeError as exc:
        raise DecodeError(f"the claim {name} has no such value", got=str(exc), section=exc.section) from exc


def verify_current(claims: Claims, *, now: datetime, skew: timedelta = timedelta(0)) -> None:
    """Check `nbf` and `exp`, where they are (RFC 7519, sections 4.1.4 and 4.1.5). `skew` is how far clocks may differ.

    Raises `VerificationError`.
    """
    at = now.timestamp()
    if "exp" in claims and at - skew.total_seconds() >= claims["exp"]:
        raise VerificationError("a token has expired", section="RFC 7519, section 4.1.4")
    if "nbf" in claims and at + skew.total_seconds() < claims["nbf"]:
        raise VerificationError("a token is not valid yet", section="RFC 7519, section 4.1.5")


# --- Codecs -----------------------------------------------------------------------------------------------------------


def same_in_both(check: Callable[[object], ClaimValue]) -> ClaimCodec:
    """Make the codec of a value that CBOR and JSON write alike. `check` returns it or raises `DecodeError`."""
    return ClaimCodec(
        from_cbor=lambda _, value: check(value),
        from_json=lambda _, value: check(value),
        to_cbor=lambda _, value: check(value),
        to_json=lambda _, value: check(value),
    )


def binary(sizes: range) -> ClaimCodec:
    """Make the codec of bytes: a byte string in CBOR, base64url without padding in JSON."""

    def check(value: object) -> bytes:
        if not isinstance(value, bytes) or len(value) not in sizes:
            raise DecodeError("no byte string of such a size", want=f"{sizes.start} to {sizes.stop - 1} bytes")
        return value

    return ClaimCodec(
        from_cbor=lambda _, value: check(value),
        from_json=lambda _, value: check(_unbase64(value)),
        to_cbor=lambda _, value: check(value),
        to_json=lambda _, value: encode_base64url(check(value)),
    )


def _unbase64(value: object) -> bytes:
    if not isinstance(value, str):
        raise DecodeError("no text")
    return decode_base64url(value)
