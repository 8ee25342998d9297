"""Diagnostic notation of CBOR, as far as vectors of CoSERV use it (RFC 8949, section 8).

Maps, arrays, integers, text, byte strings in hex, tags, true, false, null, and comments between slashes.
"""

from __future__ import annotations

import json
import re
from typing import Final

from confsec.conformance.cases import MismatchError
from confsec.protocol.cbor_general import CborItem, Tag

__all__ = ["parse_diagnostic"]

_TOKEN: Final = re.compile(
    r"""\s+ | /[^/]*/ | (?P<token> h'[0-9A-Fa-f]*' | "(?:[^"\\]|\\.)*"
        | -?\d+ | true | false | null | [\[\]{}(),:] )""",
    re.VERBOSE,
)
_WORDS: Final = {"true": True, "false": False, "null": None}


def parse_diagnostic(text: str) -> CborItem:
    """Read one item. Raises `MismatchError` for what is no notation that we read."""
    tokens = _split(text)
    try:
        item = _item(tokens)
    except IndexError as exc:
        raise MismatchError("the diagnostic notation ends early") from exc
    if tokens:
        raise MismatchError("the diagnostic notation goes on after its end")
    return item


def _split(text: str) -> list[str]:
    """Return the tokens, the last one first."""
    tokens = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise MismatchError(f"a diagnostic notation that we do not read, at character {position}")
        if found["token"]:
            tokens.append(found["token"])
        position = found.end()
    return tokens[::-1]


def _item(tokens: list[str]) -> CborItem:
    token = tokens.pop()
    match token[0]:
        case "{":
            return dict(_listed(tokens, "}", pairs=True))  # type: ignore[arg-type]  # they are pairs
        case "[":
            return _listed(tokens, "]", pairs=False)
        case '"':
            return str(json.loads(token))
        case "h":
            return bytes.fromhex(token[2:-1])
        case "t" | "f" | "n":
            return _WORDS[token]
        case "-" | "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9":
            return _number_or_tag(int(token), tokens)
        case _:
            raise MismatchError(f"a diagnostic notation with {token} where an item should be")


def _number_or_tag(number: int, tokens: list[str]) -> CborItem:
    if not tokens or tokens[-1] != "(":
        return number
    tokens.pop()
    item = _item(tokens)
    _expect(tokens, ")")
    return Tag(number, item)


def _listed(tokens: list[str], end: str, *, pairs: bool) -> list[CborItem]:
    items: list[CborItem] = []
    while tokens[-1] != end:
        if items:
            _expect(tokens, ",")
        item = _item(tokens)
        if pairs:
            _expect(tokens, ":")
            items.append([item, _item(tokens)])
        else:
            items.append(item)
    tokens.pop()
    return items


def _expect(tokens: list[str], token: str) -> None:
    if tokens.pop() != token:
        raise MismatchError(f"a diagnostic notation without {token} where it should be")
