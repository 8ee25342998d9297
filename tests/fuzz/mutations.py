"""Inputs that were good before something happened to them."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["mutated"]

_INTERESTING = tuple(bytes.fromhex(each) for each in ("00", "01", "7f", "80", "ff", "22", "7d", "ffff", "ffffffff"))
"""What lengths, counts and brackets become."""


@st.composite
def mutated(draw: st.DrawFn, good: tuple[bytes, ...]) -> bytes:
    """Take a good input and change it one to four times: a bit, a few bytes, a part left out, doubled or of another."""
    data = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 64)))
        match draw(st.sampled_from(["flip", "set", "insert", "remove", "double", "splice", "cut"])):
            case "flip" if start < len(data):
                data = data[:start] + bytes((data[start] ^ 1 << draw(st.integers(0, 7)),)) + data[start + 1 :]
            case "set":
                put = draw(st.sampled_from(_INTERESTING))
                data = data[:start] + put + data[start + len(put) :]
            case "insert":
                data = data[:start] + draw(st.binary(max_size=16)) + data[start:]
            case "remove":
                data = data[:start] + data[end:]
            case "double":
                data = data[:end] + data[start:end] + data[end:]
            case "splice":
                other = draw(st.sampled_from(good))
                data = data[:start] + other[min(start, len(other)) :]
            case _:
                data = data[:start]
    return data
