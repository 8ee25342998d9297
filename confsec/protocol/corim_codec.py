"""Tables that read and write like the CDDL of CoRIM: which member stands under which key, and what it may be.

A codec reads a CBOR value into one of ours and writes it back. The codecs of maps and arrays are made from tables whose
rows are the lines of the CDDL, so that the two can be compared; `struct` is `{ … }`, `record` is `[ … ]`, `array` is
`[ + … ]`. A key that is in no row is refused, unless the map ends in an extension socket (`* $$…-extension`): there,
members under other integers are kept as they are, for whoever knows the profile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from attrs import frozen

from confsec.errors import DecodeError
from confsec.protocol.cbor_general import CborItem, CborKey, Tag

__all__ = [
    "BOOL",
    "BYTES",
    "BYTES_TAG",
    "INT",
    "NO_EXTENSIONS",
    "OID",
    "OID_TAG",
    "SECTION",
    "TEXT",
    "TIME_TAG",
    "UEID",
    "UEID_TAG",
    "UINT",
    "URI",
    "URI_TAG",
    "URI_TEXT",
    "UUID",
    "UUID_TAG",
    "Codec",
    "Element",
    "Member",
    "array",
    "by_type",
    "identifier",
    "optional",
    "record",
    "required",
    "sized",
    "struct",
    "tagged",
]

SECTION: Final = "draft-ietf-rats-corim"
"""What the rules are in; the name of the CDDL rule follows."""

TIME_TAG: Final = 1
"""Epoch-based date and time (RFC 8949, section 3.4.2)."""

URI_TAG: Final = 32
"""A URI (RFC 8949, section 3.4.5.3)."""

UUID_TAG: Final = 37
"""A UUID as 16 bytes."""

OID_TAG: Final = 111
"""An object identifier as its BER content (RFC 9090)."""

UEID_TAG: Final = 550
"""A Universal Entity ID of 7 to 33 bytes (RFC 9711, section 4.2.1)."""

BYTES_TAG: Final = 560
"""Opaque bytes."""

NO_EXTENSIONS: Final[Mapping[int, CborItem]] = {}
"""What a socket holds that nobody has filled."""

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_OID: Final = re.compile(rb"(?:(?!\x80)[\x80-\xff]*[\x00-\x7f])+", re.DOTALL)

_T = TypeVar("_T")


@frozen
class Codec(Generic[_T]):
    """How a kind of value is read and written."""

    read: Callable[[CborItem, str], _T]
    """Make our value of the CBOR value; the text names it in errors. Raises `DecodeError`."""

    write: Callable[[_T], CborItem]
    """Make the CBOR value again."""


@frozen
class Member:
    """A line of a map in CDDL."""

    key: int
    """Under which number it stands."""

    name: str
    """What the attribute is called."""

    codec: Codec[Any]
    """What it may be."""

    required: bool
    """Whether it has to be there. A line with `?` need not."""


@frozen
class Element:
    """A line of an array in CDDL."""

    name: str
    """What the attribute is called."""

    codec: Codec[Any]
    """What it may be."""

    required: bool = True
    """Whether it has to be there. Only the last ones need not."""


def required(key: int, name: str, codec: Codec[Any]) -> Member:
    """Make the line `&(name: key) => …`."""
    return Member(key, name, codec, required=True)


def optional(key: int, name: str, codec: Codec[Any]) -> Member:
    """Make the line `? &(name: key) => …`; the attribute is None where it is not there."""
    return Member(key, name, codec, required=False)


def struct(
    make: Callable[..., _T],
    rule: str,
    *members: Member,
    non_empty: bool = False,
    socket: bool = False,
    check: Callable[[_T], None] | None = None,
) -> Codec[_T]:
    """Make the codec of a map. `check` says what the rule demands in words, and raises `DecodeError`.

    With `non_empty` at least one member has to be there; with `socket` the attribute `extensions` holds what is under
    other integers.
    """
    table = _Struct(
        rule=rule,
        rows={member.key: (member.name, member.codec.read, f"{member.name} of {rule}") for member in members},
        required=tuple(member.name for member in members if member.required),
        non_empty=non_empty,
        socket=socket,
    )

    def read(value: CborItem, name: str) -> _T:
        made = make(**table.read(value, name))
        if check is not None:
            check(made)
        return made

    def write(made: _T) -> CborItem:
        written: dict[CborKey, CborItem] = {}
        if socket:
            written.update(made.extensions)  # type: ignore[attr-defined]  # what a socket makes has the attribute
        items = [(member, getattr(made, member.name)) for member in members]
        written.update({member.key: member.codec.write(item) for member, item in items if item is not None})
        return written

    return Codec(read, write)


@frozen(kw_only=True)
class _Struct:
    """The table of a map, as it is read."""

    rule: str
    rows: Mapping[CborKey, tuple[str, Callable[[CborItem, str], Any], str]]
    required: tuple[str, ...]
    non_empty: bool
    socket: bool

    def read(self, value: CborItem, name: str) -> dict[str, Any]:
        """Read the members by their names."""
        if not isinstance(value, dict):
            raise DecodeError(f"{name} is not a map", section=f"{SECTION}, {self.rule}")
        if self.non_empty and not value:
            raise DecodeError(f"{name} has no member", section=f"{SECTION}, {self.rule}")
        members: dict[str, Any] = {}
        extensions: dict[int, CborItem] = {}
        for key, item in value.items():
            row = self.rows.get(key)
            if row is not None:
                members[row[0]] = row[1](item, row[2])
            else:
                extensions[self._extension_key(key, name)] = item
        self._require_all(members, name)
        return {**members, "extensions": extensions} if extensions else members

    def _extension_key(self, key: CborKey, name: str) -> int:
        if not self.socket or not isinstance(key, int):
            raise DecodeError(
                f"{name} has a member that its rule does not have",
                got=key if isinstance(key, int) else "a key that is no number",
                section=f"{SECTION}, {self.rule}",
            )
        return key

    def _require_all(self, members: Mapping[str, Any], name: str) -> None:
        for wanted in self.required:
            if wanted not in members:
                raise DecodeError(f"{name} lacks {wanted}", section=f"{SECTION}, {self.rule}")


def record(make: Callable[..., _T], rule: str, *elements: Element) -> Codec[_T]:
    """Make the codec of an array in which each place has its meaning."""
    section = f"{SECTION}, {rule}"
    least = sum(element.required for element in elements)
    rows = [(element, f"{element.name} of {rule}") for element in elements]

    def read(value: CborItem, name: str) -> _T:
        if not isinstance(value, list) or not least <= len(value) <= len(rows):
            raise DecodeError(f"{name} is not an array of {len(rows)} items", section=section)
        return make(**{row[0].name: row[0].codec.read(item, row[1]) for row, item in zip(rows, value, strict=False)})

    def write(made: _T) -> CborItem:
        items = [(element, getattr(made, element.name)) for element in elements]
        return [element.codec.write(item) for element, item in items if element.required or item is not None]

    return Codec(read, write)


def array(codec: Codec[_T], *, minimum: int = 1) -> Codec[tuple[_T, ...]]:
    """Make the codec of `[ + … ]`, or of `[ * … ]` with a minimum of 0."""
    read_item, write_item = codec.read, codec.write

    def read(value: CborItem, name: str) -> tuple[_T, ...]:
        if not isinstance(value, list) or len(value) < minimum:
            raise DecodeError(f"{name} is not an array of {minimum} or more items", section=SECTION)
        return tuple([read_item(item, name) for item in value])

    return Codec(read, lambda items: [write_item(item) for item in items])


def tagged(number: int, codec: Codec[_T]) -> Codec[_T]:
    """Make the codec of `#6.number(…)`; the tag does not show in our value."""

    def read(value: CborItem, name: str) -> _T:
        if not isinstance(value, Tag) or value.number != number:
            raise DecodeError(f"{name} does not have the tag {number}", section=SECTION)
        return codec.read(value.value, name)

    return Codec(read, lambda item: Tag(number, codec.write(item)))


def identifier(contents: Mapping[int, Codec[Any]]) -> Codec[Tag]:
    """Make the codec of a choice among tags; the value stays a `Tag`, with content that its tag allows."""
    names = ", ".join(map(str, contents))

    def read(value: CborItem, name: str) -> Tag:
        codec = contents.get(value.number) if isinstance(value, Tag) else None
        if codec is None or not isinstance(value, Tag):
            raise DecodeError(f"{name} has none of the tags that it may have", want=names, section=SECTION)
        return Tag(value.number, codec.read(value.value, name))

    return Codec(read, lambda item: Tag(item.number, contents[item.number].write(item.value)))


def by_type(codecs: Mapping[type, Codec[Any]]) -> Codec[Any]:
    """Make the codec of a choice among kinds of CBOR values; what is read has the same type as what it is read from."""
    names = ", ".join(kind.__name__ for kind in codecs)

    def read(value: CborItem, name: str) -> Any:
        codec = codecs.get(type(value))
        if codec is None:
            raise DecodeError(f"{name} is of a kind that it may not be", got=type(value).__name__, want=names)
        return codec.read(value, name)

    return Codec(read, lambda item: codecs[type(item)].write(item))


def sized(*sizes: int) -> Codec[bytes]:
    """Make the codec of a byte string that has one of the sizes."""

    def read(value: CborItem, name: str) -> bytes:
        if not isinstance(value, bytes) or len(value) not in sizes:
            raise DecodeError(f"{name} is not a byte string of its size", want=f"{min(sizes)} to {max(sizes)} bytes")
        return value

    return Codec(read, _same)


def _same(value: Any) -> CborItem:
    """Return what is the same in CBOR."""
    return value  # type: ignore[no-any-return]  # the codec has read it


def _plain(kind: type[_T], article: str) -> Codec[_T]:
    def read(value: CborItem, name: str) -> _T:
        if type(value) is not kind:  # True is an int in Python, and is none in CBOR
            raise DecodeError(f"{name} is not {article}")
        return value

    return Codec(read, _same)


def _read_uint(value: CborItem, name: str) -> int:
    if type(value) is not int or value < 0:
        raise DecodeError(f"{name} is not an unsigned integer")
    return value


def _matching(codec: Codec[_T], pattern: re.Pattern[Any], article: str, section: str) -> Codec[_T]:
    def read(value: CborItem, name: str) -> _T:
        read_value = codec.read(value, name)
        if pattern.fullmatch(read_value) is None:
            raise DecodeError(f"{name} is not {article}", section=section)
        return read_value

    return Codec(read, _same)


TEXT: Final = _plain(str, "a text string")
"""`tstr`."""

BYTES: Final = _plain(bytes, "a byte string")
"""`bstr`."""

INT: Final = _plain(int, "an integer")
"""`int`, of 64 bits."""

UINT: Final[Codec[int]] = Codec(_read_uint, _same)
"""`uint`, of 64 bits."""

BOOL: Final = _plain(bool, "true or false")
"""`bool`."""

URI_TEXT: Final = _matching(TEXT, _URI, "a URI", "RFC 3986")
"""What stands under the tag of a URI: a scheme, and something in printable ASCII."""

URI: Final = tagged(URI_TAG, URI_TEXT)
"""`uri`."""

UUID: Final = sized(16)
"""`uuid-type`."""

UEID: Final = sized(*range(7, 34))
"""`ueid-type`."""

OID: Final = _matching(sized(*range(1, 129)), _OID, "an object identifier", "RFC 9090, section 2")
"""`oid-type`: at least one arc, each in its shortest form, in at most 128 bytes."""
