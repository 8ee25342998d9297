"""The first difference between two files of a release: in which member, in which line or byte, or beside it."""

from __future__ import annotations

from typing import Final, final

from attrs import field, frozen

from confsec.release.archives import Member, read_members
from confsec.release.build import Artifact

__all__ = ["Difference", "first_difference"]

_NOTHING: Final = "nothing"
_BEFORE: Final = 30
_SHOWN: Final = 80
_HEX_SHOWN: Final = 8


@final
@frozen
class Difference:
    """Where two files differ first. What is in it may come from anybody: make it printable before it is shown."""

    member: str
    """The name of the member, or nothing where it is the file itself."""

    where: str
    """What of it: `line 7, byte 212`, `time`, `order`."""

    given: str = field(repr=False)
    """What the file has there."""

    built: str = field(repr=False)
    """What the commit gives."""

    def to_json(self) -> dict[str, str]:
        """Write it."""
        return {"member": self.member, "where": self.where, "given": self.given, "built": self.built}


def first_difference(given: Artifact, built: Artifact) -> Difference | None:
    """Return where a file differs first from what was built, or None if every bit is the same.

    Names and contents come first, then what stands beside them, such as times and modes, then all other bytes: whoever
    packs an archive anew changes a little of each member, and that must not hide what he put into one.

    Raises `ConfigError` for a file that is not of its kind, and `LimitError`.
    """
    if given.name != built.name:
        return Difference("", "name", given.name, built.name)
    if given.data == built.data:
        return None
    theirs, ours = read_members(given), read_members(built)
    return _in_contents(theirs, ours) or _in_all_metadata(theirs, ours) or _in_bytes("", given.data, built.data)


def _in_contents(given: tuple[Member, ...], built: tuple[Member, ...]) -> Difference | None:
    for ours, theirs in zip(built, given, strict=False):
        if ours.name != theirs.name:
            return _in_names(theirs, ours, given, built)
        if found := _in_content(theirs, ours):
            return found
    for theirs in given[len(built) :]:
        return Difference(theirs.name, "member", "there", _NOTHING)
    for ours in built[len(given) :]:
        return Difference(ours.name, "member", _NOTHING, "there")
    return None


def _in_names(theirs: Member, ours: Member, given: tuple[Member, ...], built: tuple[Member, ...]) -> Difference:
    """Say which of two members that stand at one place is too many."""
    if all(theirs.name != member.name for member in built):
        return Difference(theirs.name, "member", "there", _NOTHING)
    if all(ours.name != member.name for member in given):
        return Difference(ours.name, "member", _NOTHING, "there")
    return Difference("", "order", theirs.name, ours.name)


def _in_all_metadata(given: tuple[Member, ...], built: tuple[Member, ...]) -> Difference | None:
    for theirs, ours in zip(given, built, strict=True):
        for name, value in ours.metadata.items():
            if theirs.metadata[name] != value:
                return Difference(ours.name, name, theirs.metadata[name], value)
    return None


def _in_content(theirs: Member, ours: Member) -> Difference | None:
    if theirs.data == ours.data:
        return None
    if theirs.data is None or ours.data is None:
        return Difference(ours.name, "content", _readable(theirs), _readable(ours))
    if _is_text(theirs.data) and _is_text(ours.data):
        return _in_lines(ours.name, theirs.data, ours.data)
    return _in_bytes(ours.name, theirs.data, ours.data)


def _readable(member: Member) -> str:
    return "bytes that cannot be unpacked" if member.data is None else f"{len(member.data)} bytes"


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _in_lines(name: str, given: bytes, built: bytes) -> Difference:
    offset = _common(given, built)
    line = built[:offset].count(b"\n") + 1
    return Difference(name, f"line {line}, byte {offset}", _line(given, offset), _line(built, offset))


def _line(data: bytes, offset: int) -> str:
    """Return the line around an offset, without its break; long ones only around it."""
    if offset == len(data):
        return "the end"
    start = max(data.rfind(b"\n", 0, offset) + 1, offset - _BEFORE)
    end = data.find(b"\n", offset)
    return data[start : len(data) if end < 0 else end][:_SHOWN].decode("utf-8", "replace")


def _in_bytes(name: str, given: bytes, built: bytes) -> Difference:
    offset = _common(given, built)
    shown = [data[offset : offset + _HEX_SHOWN].hex() or "the end" for data in (given, built)]
    return Difference(name, f"byte {offset}", *shown)


def _common(left: bytes, right: bytes) -> int:
    """Return how many bytes at the beginning are the same."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
