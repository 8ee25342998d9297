"""Names in certificates: distinguished names and alternative names (RFC 5280, sections 4.1.2.4 and 4.2.1.6)."""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from attrs import field, frozen
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from confsec.errors import DecodeError, LimitError
from confsec.tee.der import decode, elements, encode, encode_tlv

__all__ = ["MAX_NAME", "GeneralName", "Name", "decode_general_names", "decode_name"]

_RECURRING_NAMES: Final = 64
"""How many names are remembered: those of authorities come back with each evidence."""

MAX_NAME: Final = 4096
"""A name has at most 4 KiB. A list of a megabyte could else be one name, and nobody has signed it yet."""

_ATTRIBUTE_NAMES: Final = {
    "0.9.2342.19200300.100.1.25": "DC",
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
}
"""Short names of attributes (RFC 4514, section 3)."""

_STRINGS: Final = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
"""The character sets of the string types, by tag."""


@asn1.sequence
class _NameAttribute:
    oid: ObjectIdentifier
    value: asn1.TLV


@asn1.sequence
class _NameSyntax:
    """SEQUENCE { Name }: the library reads lists inside of sequences only."""

    relative_names: list[asn1.SetOf[_NameAttribute]]


@frozen
class Name:
    """A distinguished name. Equal names have equal bytes: that is stricter than the standard's comparison."""

    encoded: bytes = field(repr=False)
    """The name in DER."""

    attributes: tuple[tuple[str, str], ...] = field(eq=False)
    """Object identifier and text of each attribute, in the order of the encoding. What is no text is hex after "#"."""

    @cached_property
    def text(self) -> str:
        """The name for people, the last attribute first (RFC 4514)."""
        return ",".join(
            f"{_ATTRIBUTE_NAMES.get(oid, oid)}={_escape(value)}" for oid, value in reversed(self.attributes)
        )

    @property
    def common_name(self) -> str:
        """The one common name, or nothing."""
        return self.attribute("2.5.4.3")

    def attribute(self, oid: str) -> str:
        """Return the text of the one attribute `oid`; nothing if there is none or more than one."""
        found = [value for each, value in self.attributes if each == oid]
        return found[0] if len(found) == 1 else ""


class GeneralName(NamedTuple):
    """One name of an alternative name (RFC 5280, section 4.2.1.6)."""

    tag: int
    """1 e-mail, 2 DNS, 4 directory name, 6 URI, 7 IP address."""

    value: bytes
    """The content: text in ASCII, an address, or a whole `Name` in DER."""


@lru_cache(_RECURRING_NAMES)
def decode_name(encoded: bytes) -> Name:
    """Read a name. It follows from these bytes alone, so it may be remembered. Raises as `Certificate.decode`."""
    if len(encoded) > MAX_NAME:
        raise LimitError("a name is too long", got=f"{len(encoded)} bytes", want=f"at most {MAX_NAME}")
    found = decode(encode_tlv(0x30, encoded), _NameSyntax, "a name").relative_names
    attributes = (attribute for relative in found for attribute in relative.as_list())
    return Name(encoded, tuple((each.oid.dotted_string, _attribute_text(each.value)) for each in attributes))


def _attribute_text(value: asn1.TLV) -> str:
    charset = _STRINGS.get(value.tag_bytes[0])
    if charset is None:
        return "#" + encode(value).hex()
    try:
        return bytes(value.data).decode(charset)
    except UnicodeDecodeError as exc:
        raise DecodeError("a name has text of another character set", want=charset) from exc


def _escape(value: str) -> str:
    """Escape a value (RFC 4514, section 2.4), and what would not show on a screen."""
    escaped = re.sub(r'([,+"\\<>;]|^[ #]|(?<=.) $)', r"\\\1", value)
    if escaped.isprintable():
        return escaped
    return "".join(each if each.isprintable() else f"\\{each.encode().hex()}" for each in escaped)


def decode_general_names(data: bytes) -> tuple[GeneralName, ...]:
    """Read GeneralNames. Raises `DecodeError`, and `LimitError` for more than 4 KiB."""
    if len(data) > MAX_NAME:
        raise LimitError("alternative names are too long", got=f"{len(data)} bytes", want=f"at most {MAX_NAME}")
    names = []
    for each in elements(data, "an alternative name"):
        if each[0] & 0xC0 != 0x80:
            raise DecodeError("an alternative name without its kind", section="RFC 5280, section 4.2.1.6")
        names.append(GeneralName(each[0] & 0x1F, bytes(decode(each, asn1.TLV, "an alternative name").data)))
    return tuple(names)
