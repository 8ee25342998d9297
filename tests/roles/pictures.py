"""Reads pictures that a browser made: PNG of 8 bits for each colour, not interlaced (W3C PNG, sections 5 and 9)."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["read_picture"]

_CHANNELS = {2: 3, 6: 4}
"""Bytes of a pixel, by the type of its colour: with and without an alpha channel."""


def read_picture(path: Path) -> tuple[int, int, Counter[bytes]]:
    """Return width and height, and of how many pixels each colour is, as red, green and blue."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks = list(_chunks(data[8:]))
    width, height, depth, kind, *_, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, interlaced) == (8, 0)
    size = _CHANNELS[kind]
    rows = _rows(zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT")), width * size, size)
    colours = Counter(bytes(row[at : at + 3]) for row in rows for at in range(0, len(row), size))
    assert colours.total() == width * height
    return width, height, colours


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += size + 12


def _rows(data: bytes, width: int, size: int) -> Iterator[bytearray]:
    above = bytearray(width)
    for at in range(0, len(data), width + 1):
        row = bytearray(data[at + 1 : at + 1 + width])
        _unfilter(data[at], row, above, size)
        yield row
        above = row


def _unfilter(kind: int, row: bytearray, above: bytearray, size: int) -> None:
    """Add to each byte what the filter took off: a neighbour, or something between them (section 9.2)."""
    guess = _GUESSES[kind]
    for at in range(len(row)) if kind else ():
        left, corner = (row[at - size], above[at - size]) if at >= size else (0, 0)
        row[at] = (row[at] + guess(left, above[at], corner)) & 0xFF


def _paeth(left: int, up: int, corner: int) -> int:
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner


_GUESSES: Final[Sequence[Callable[[int, int, int], int]]] = (
    lambda left, up, corner: 0,
    lambda left, up, corner: left,
    lambda left, up, corner: up,
    lambda left, up, corner: (left + up) // 2,
    _paeth,
)
"""What each type of filter takes off."""
