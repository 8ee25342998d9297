"""DER, as much of it as attestation needs, on `cryptography.hazmat.asn1` (ITU-T X.690).

The library reads strict DER: one spelling of each tag and length. So what it took apart is put together again, byte
for byte, and a signature can be checked over it.
"""

from __future__ import annotations

from typing import Final, TypeVar

from cryptography.hazmat import asn1

from confsec.errors import DecodeError, LimitError, TruncatedError

__all__ = ["NULL", "decode", "elements", "encode", "encode_tlv", "header_size", "parse", "split_elements"]

NULL: Final = b"\x05\x00"
"""NULL: the parameters of an algorithm that has none."""

_LONG: Final = 0x80
"""Lengths from here on have bytes of their own."""

_Value = TypeVar("_Value")


@asn1.sequence
class _Elements:
    """SEQUENCE { SEQUENCE OF ANY }: the library reads lists inside of sequences only."""

    elements: list[asn1.TLV]


def decode(data: bytes, kind: type[_Value], what: str) -> _Value:
    """Read one element. `what` names it in errors. Raises `DecodeError`."""
    try:
        return asn1.decode_der(kind, data)
    except (ValueError, OverflowError) as exc:
        raise DecodeError(f"{what} is not what its standard declares", got=f"{len(data)} bytes") from exc


def parse(element: asn1.TLV, kind: type[_Value], what: str) -> _Value:
    """Read an element that was kept as it came. Raises `DecodeError`."""
    try:
        return element.parse(kind)  # type: ignore[no-any-return] # it returns what it is asked for
    except (ValueError, OverflowError) as exc:
        raise DecodeError(f"{what} is not what its standard declares") from exc


def encode(element: asn1.TLV) -> bytes:
    """Return an element as it came: DER has one spelling of tag and length, and no other was accepted."""
    return asn1.encode_der(element)


def encode_tlv(tag: int, content: bytes) -> bytes:
    """Encode one element of DER."""
    size = len(content)
    if size < _LONG:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG | len(length))) + length + content


def elements(data: bytes, what: str) -> list[bytes]:
    """Return the elements of a SEQUENCE OF, each in DER."""
    return [encode(each) for each in decode(encode_tlv(0x30, data), _Elements, what).elements]


def split_elements(data: bytes, *, limit: int) -> tuple[bytes, ...]:
    """Split elements that follow one another, by the lengths at their start: at most `limit`, else `LimitError`."""
    parts: list[bytes] = []
    start, end = 0, len(data)
    while start < end:
        if len(parts) == limit:
            raise LimitError("too many elements of DER", want=f"at most {limit}")
        # Most elements of long lists are short: their length is one byte.
        short = start + 1 < end and data[start + 1] < _LONG
        stop = start + (2 + data[start + 1] if short else _size(data[start : start + 5]))
        if stop > end:
            raise TruncatedError("DER ends early", got=f"{end} bytes")
        parts.append(data[start:stop])
        start = stop
    return tuple(parts)


def header_size(element: bytes) -> int:
    """Return how many bytes tag and length of an element have that `split_elements` returned."""
    return 2 if element[1] < _LONG else 2 + (element[1] & 0x7F)


def _size(head: bytes) -> int:
    """Return how long the element that begins with `head` is, header and all."""
    if len(head) < 2:
        raise TruncatedError("DER ends early", got=f"{len(head)} bytes")
    count = head[1] & 0x7F
    if not 1 <= count <= 3:
        raise DecodeError("bytes are not DER", section="ITU-T X.690, section 10.1")
    return 2 + count + int.from_bytes(head[2 : 2 + count], "big")
