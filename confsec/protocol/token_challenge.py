"""Token challenges (RFC 9577, section 2.1): what a token answers, and which origins may ask for it."""

from __future__ import annotations

import hashlib
from typing import Final, Self

from attrs import frozen

from confsec.errors import DecodeError, LimitError, TokenChallengeError, TokenOriginError
from confsec.protocol.wire import Reader, encode_uint, encode_vector

__all__ = ["MAX_TOKEN_CHALLENGE", "REDEMPTION_CONTEXT_SIZE", "TokenChallenge"]

MAX_TOKEN_CHALLENGE: Final = 8192
"""The longest encoded challenge that we read, in bytes: an issuer, a context and room for a hundred origins."""

REDEMPTION_CONTEXT_SIZE: Final = 32
"""The length of a redemption context that is not empty."""

_SECTION: Final = "RFC 9577, section 2.1"


@frozen
class TokenChallenge:
    """What an origin asks for. Raises `DecodeError` when one is made that breaks the rules."""

    token_type: int
    """Id in the IANA registry "Privacy Pass Token Types"."""

    issuer_name: str
    """The issuer that has to sign: a name in ASCII, not empty."""

    redemption_context: bytes = b""
    """What binds the token to an occasion: 32 bytes, or none, so that tokens can be fetched before they are needed."""

    origin_info: str = ""
    """The origins that may ask for the token, with commas between them. Empty means any origin."""

    def __attrs_post_init__(self) -> None:
        if not self.issuer_name:
            raise DecodeError("token challenge names no issuer", section=_SECTION)
        for name in (self.issuer_name, self.origin_info):
            if not (name.isascii() and name.isprintable()):
                raise DecodeError("token challenge has a name that is not printable ASCII", section=_SECTION)
        if not all(self.origins):
            raise DecodeError("token challenge has an empty origin name", section=_SECTION)
        if len(self.redemption_context) not in {0, REDEMPTION_CONTEXT_SIZE}:
            raise DecodeError(
                "redemption context has another size",
                got=f"{len(self.redemption_context)} bytes",
                want="0 or 32 bytes",
                section=_SECTION,
            )
        if len(self.encode()) > MAX_TOKEN_CHALLENGE:
            raise _too_long(len(self.encode()))

    @property
    def origins(self) -> tuple[str, ...]:
        """The names of the origins. None means any origin."""
        return tuple(self.origin_info.split(",")) if self.origin_info else ()

    def digest(self) -> bytes:
        """Return SHA-256 of the challenge, which tokens contain."""
        return hashlib.sha256(self.encode()).digest()

    def check_origin(self, origin: str) -> None:
        """Check that `origin` may ask for a token with this challenge. Raises `TokenOriginError`.

        Host names are the same in upper and lower case.
        """
        if self.origins and origin.lower() not in {name.lower() for name in self.origins}:
            raise TokenOriginError("the token challenge is for other origins", section=_SECTION)

    def check_issuer(self, issuer_name: str) -> None:
        """Check that the challenge is for this issuer. Raises `TokenChallengeError`."""
        if self.issuer_name.lower() != issuer_name.lower():
            raise TokenChallengeError("the token challenge is for another issuer", section=_SECTION)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        if len(data) > MAX_TOKEN_CHALLENGE:
            raise _too_long(len(data))
        reader = Reader(data, "token challenge")
        token_type = reader.uint(2)
        issuer_name = _decode_name(reader.vector(2))
        redemption_context = reader.vector(1)
        origin_info = _decode_name(reader.vector(2))
        reader.finish()
        return cls(token_type, issuer_name, redemption_context, origin_info)

    def encode(self) -> bytes:
        return (
            encode_uint(self.token_type, 2)
            + encode_vector(self.issuer_name.encode("ascii"), 2)
            + encode_vector(self.redemption_context, 1)
            + encode_vector(self.origin_info.encode("ascii"), 2)
        )


def _decode_name(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as exc:
        raise DecodeError("token challenge has a name that is not ASCII", section=_SECTION) from exc


def _too_long(size: int) -> LimitError:
    return LimitError("token challenge is too long", got=f"{size} bytes", want=f"at most {MAX_TOKEN_CHALLENGE}")
