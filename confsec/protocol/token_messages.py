"""Tokens, token requests and token responses (RFC 9578, section 6; RFC 9577, section 2.2).

Types 0x0002 and 0xDA7A, which share their sizes. A request of type 0xDA7A has the extensions behind it that the token
will be bound to; the token itself does not contain them.
"""

from __future__ import annotations

import hashlib
from typing import Final, Self

from attrs import field, frozen

from confsec.errors import DecodeError, TokenTypeError
from confsec.protocol.token_extensions import MAX_EXTENSIONS_SIZE, Extensions
from confsec.protocol.token_keys import AUTHENTICATOR_SIZE, BLIND_RSA, PARTIALLY_BLIND_RSA, TOKEN_TYPES
from confsec.protocol.wire import Reader, encode_uint

__all__ = [
    "MAX_TOKEN_REQUEST",
    "MEDIA_TYPE_TOKEN_REQUEST",
    "MEDIA_TYPE_TOKEN_RESPONSE",
    "NONCE_SIZE",
    "TOKEN_SIZE",
    "Token",
    "TokenInput",
    "TokenRequest",
    "TokenResponse",
    "check_extensions",
    "check_token_type",
]

MEDIA_TYPE_TOKEN_REQUEST: Final = "application/private-token-request"
"""The media type of a token request (RFC 9578, section 6.1)."""

MEDIA_TYPE_TOKEN_RESPONSE: Final = "application/private-token-response"
"""The media type of a token response (RFC 9578, section 6.2)."""

NONCE_SIZE: Final = 32
"""The length of a token's nonce."""

_DIGEST_SIZE: Final = 32

TOKEN_SIZE: Final = 2 + NONCE_SIZE + 2 * _DIGEST_SIZE + AUTHENTICATOR_SIZE
"""The length of a token of our types: 354 bytes."""

MAX_TOKEN_REQUEST: Final = 3 + AUTHENTICATOR_SIZE + MAX_EXTENSIONS_SIZE
"""The longest token request: one with as many extensions as we read."""


@frozen
class TokenInput:
    """What the issuer signs without seeing it: the token without its authenticator (RFC 9578, section 6.1)."""

    token_type: int
    """One of `TOKEN_TYPES`."""

    token_nonce: bytes
    """32 random bytes, which make the token a new one."""

    challenge_digest: bytes
    """SHA-256 of the token challenge."""

    token_key_id: bytes
    """SHA-256 of the token key's SubjectPublicKeyInfo."""

    def __attrs_post_init__(self) -> None:
        check_token_type(self.token_type)
        if {len(self.token_nonce), len(self.challenge_digest), len(self.token_key_id)} != {_DIGEST_SIZE}:
            raise DecodeError("token has a field of another size", want="32 bytes", section="RFC 9577, section 2.2")

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take one off the front. Raises `DecodeError` and `TokenTypeError`."""
        token_type = reader.uint(2)
        check_token_type(token_type)
        return cls(token_type, reader.take(NONCE_SIZE), reader.take(_DIGEST_SIZE), reader.take(_DIGEST_SIZE))

    def encode(self) -> bytes:
        return encode_uint(self.token_type, 2) + self.token_nonce + self.challenge_digest + self.token_key_id


@frozen
class Token:
    """A bearer coin: who has it can spend it (RFC 9577, section 2.2). Decoding verifies nothing: see `verify_token`."""

    token_input: TokenInput
    """What is signed."""

    authenticator: bytes = field(repr=False)
    """The issuer's signature: 256 bytes."""

    def __attrs_post_init__(self) -> None:
        _check_size("authenticator", self.authenticator)

    def token_id(self) -> bytes:
        """Return SHA-256 of the whole token, by which stores know that it was spent."""
        return hashlib.sha256(self.encode()).digest()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode a token. Raises `DecodeError`, and `TokenTypeError` for a type that we do not have."""
        reader = Reader(data, "token")
        token = cls(TokenInput.read(reader), reader.take(AUTHENTICATOR_SIZE))
        reader.finish()
        return token

    def encode(self) -> bytes:
        return self.token_input.encode() + self.authenticator


@frozen
class TokenRequest:
    """What a client asks an issuer to sign (RFC 9578, section 6.1), with extensions if its type has them."""

    token_type: int
    """One of `TOKEN_TYPES`."""

    truncated_token_key_id: int
    """The last byte of the id of the key that shall sign."""

    blinded_msg: bytes
    """The blinded message: 256 bytes."""

    extensions: Extensions | None = None
    """The public metadata: for type 0xDA7A, and for no other."""

    def __attrs_post_init__(self) -> None:
        check_token_type(self.token_type)
        encode_uint(self.truncated_token_key_id, 1)
        _check_size("blinded message", self.blinded_msg)
        check_extensions(self.token_type, self.extensions)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode a request. Raises `DecodeError`, and `TokenTypeError` for a type that we do not have."""
        reader = Reader(data, "token request")
        request = cls.read(reader)
        reader.finish()
        return request

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take a request off the front. Raises as `decode`."""
        token_type = reader.uint(2)
        check_token_type(token_type)
        truncated_token_key_id, blinded_msg = reader.uint(1), reader.take(AUTHENTICATOR_SIZE)
        extensions = Extensions.read(reader) if token_type == PARTIALLY_BLIND_RSA else None
        return cls(token_type, truncated_token_key_id, blinded_msg, extensions)

    def encode(self) -> bytes:
        head = encode_uint(self.token_type, 2) + encode_uint(self.truncated_token_key_id, 1)
        return head + self.blinded_msg + (self.extensions.encode() if self.extensions else b"")


@frozen
class TokenResponse:
    """An issuer's answer to one token request (RFC 9578, section 6.2)."""

    blind_sig: bytes
    """The signature over the blinded message: 256 bytes."""

    def __attrs_post_init__(self) -> None:
        _check_size("blind signature", self.blind_sig)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data)

    def encode(self) -> bytes:
        return self.blind_sig


def check_token_type(token_type: int) -> None:
    """Check that we have this type of token. Raises `TokenTypeError`."""
    if token_type not in TOKEN_TYPES:
        raise TokenTypeError(
            "token type is not supported",
            got=f"0x{token_type:04x}",
            want=f"0x{BLIND_RSA:04x} or 0x{PARTIALLY_BLIND_RSA:04x}",
        )


def check_extensions(token_type: int, extensions: Extensions | None) -> None:
    """Check that there are extensions if the type has them, and only then. Raises `DecodeError`."""
    if (token_type == PARTIALLY_BLIND_RSA) is not (extensions is not None):
        raise DecodeError("extensions belong to tokens of type 0xda7a, and to no other", got=f"0x{token_type:04x}")


def _check_size(what: str, data: bytes) -> None:
    if len(data) != AUTHENTICATOR_SIZE:
        raise DecodeError(f"{what} has another size", got=f"{len(data)} bytes", want=f"{AUTHENTICATOR_SIZE} bytes")
