"""Extensions: the public metadata that a token is bound to (draft-ietf-privacypass-auth-scheme-extensions)."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Self

from attrs import frozen

from confsec.errors import DecodeError, LimitError
from confsec.protocol.wire import Reader, encode_uint, encode_vector

__all__ = ["MAX_EXTENSIONS_SIZE", "Extension", "Extensions"]

MAX_EXTENSIONS_SIZE: Final = 1024
"""The longest list that we read, in bytes: metadata is shared by many, or it names its client."""


@frozen
class Extension:
    """One piece of public metadata."""

    extension_type: int
    """What it means: 0 to 65535."""

    data: bytes
    """Its value, of at most 65535 bytes."""


@frozen
class Extensions:
    """A list of extensions in ascending order of their types, as it is signed. Raises `DecodeError` for another order.

    "Clients, Issuers, and Origins all agree on the content and encoding", so there is one spelling. A type may occur
    more than once.
    """

    items: tuple[Extension, ...]
    """The extensions."""

    def __attrs_post_init__(self) -> None:
        if any(one.extension_type > next_one.extension_type for one, next_one in pairwise(self.items)):
            raise DecodeError("extensions are not in the order of their types")
        if len(self.encode()) > MAX_EXTENSIONS_SIZE:
            raise LimitError(
                "extensions are too long", got=f"{len(self.encode())} bytes", want=f"at most {MAX_EXTENSIONS_SIZE}"
            )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        reader = Reader(data, "extensions")
        extensions = cls.read(reader)
        reader.finish()
        return extensions

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take a list off the front. Raises `DecodeError`."""
        content = Reader(reader.vector(2), "extensions")
        items: list[Extension] = []
        while content.remaining:
            items.append(Extension(content.uint(2), content.vector(2)))
        return cls(tuple(items))

    def encode(self) -> bytes:
        return encode_vector(
            b"".join(encode_uint(item.extension_type, 2) + encode_vector(item.data, 2) for item in self.items), 2
        )
