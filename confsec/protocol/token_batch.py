"""Many token requests in one message: generic token batch issuance (draft-ietf-privacypass-batched-tokens, section 6).

The framing is that of the test vectors in drafts -06 to -08, which peers have too: the length of the list as a minimal
varint, then requests or optional responses, each with its token type once. (The text of section 6.1 could be read as
naming the type twice; its own vectors do not.) Older drafts put a length before every request; their messages are
refused, never guessed at.
"""

from __future__ import annotations

from typing import Final, Self

from attrs import frozen

from confsec.errors import DecodeError, LimitError
from confsec.protocol.token_keys import AUTHENTICATOR_SIZE
from confsec.protocol.token_messages import MAX_TOKEN_REQUEST, TokenRequest, TokenResponse, check_token_type
from confsec.protocol.wire import Reader, encode_uint, encode_varint_vector

__all__ = [
    "MAX_BATCH",
    "MAX_BATCH_REQUEST",
    "MAX_BATCH_RESPONSE",
    "MEDIA_TYPE_BATCH_REQUEST",
    "MEDIA_TYPE_BATCH_RESPONSE",
    "BatchTokenRequest",
    "BatchTokenResponse",
    "TypedTokenResponse",
]

MEDIA_TYPE_BATCH_REQUEST: Final = "application/private-token-generic-batch-request"
"""The media type of a batch of token requests."""

MEDIA_TYPE_BATCH_RESPONSE: Final = "application/private-token-generic-batch-response"
"""The media type of a batch of token responses."""

MAX_BATCH: Final = 256
"""How many tokens one message may ask for: a tenth of a second of an issuer's core."""

MAX_BATCH_REQUEST: Final = 4 + MAX_BATCH * MAX_TOKEN_REQUEST
"""The longest batch of requests, in bytes."""

MAX_BATCH_RESPONSE: Final = 4 + MAX_BATCH * (3 + AUTHENTICATOR_SIZE)
"""The longest batch of responses, in bytes."""

_SECTION: Final = "draft-ietf-privacypass-batched-tokens-08, section 6"


@frozen
class BatchTokenRequest:
    """A list of token requests: one to `MAX_BATCH`."""

    token_requests: tuple[TokenRequest, ...]
    """The requests, in the order in which responses come."""

    def __attrs_post_init__(self) -> None:
        _check_count(len(self.token_requests))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode a batch. Raises `DecodeError`, and `TokenTypeError`: the length of an unknown type is unknown too."""
        content = _read_list(data, "batch of token requests")
        requests: list[TokenRequest] = []
        while content.remaining:
            _check_count(len(requests) + 1)
            requests.append(TokenRequest.read(content))
        return cls(tuple(requests))

    def encode(self) -> bytes:
        return encode_varint_vector(b"".join(request.encode() for request in self.token_requests))


@frozen
class TypedTokenResponse:
    """A token response that says what type of token it is for."""

    token_type: int
    """As in the request."""

    token_response: TokenResponse
    """The response."""

    def __attrs_post_init__(self) -> None:
        check_token_type(self.token_type)


@frozen
class BatchTokenResponse:
    """The answers to a batch, in its order: one to `MAX_BATCH`. Where there is none, the issuer refused or failed."""

    token_responses: tuple[TypedTokenResponse | None, ...]
    """The responses."""

    def __attrs_post_init__(self) -> None:
        _check_count(len(self.token_responses))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode a batch. Raises `DecodeError` and `TokenTypeError`."""
        content = _read_list(data, "batch of token responses")
        responses: list[TypedTokenResponse | None] = []
        while content.remaining:
            _check_count(len(responses) + 1)
            responses.append(_read_optional(content))
        return cls(tuple(responses))

    def encode(self) -> bytes:
        return encode_varint_vector(b"".join(_encode_optional(response) for response in self.token_responses))


def _read_list(data: bytes, what: str) -> Reader:
    reader = Reader(data, what)
    size = reader.varint(minimal=True)
    content = reader.take(size)
    reader.finish()
    return Reader(content, what)


def _read_optional(reader: Reader) -> TypedTokenResponse | None:
    present = reader.uint(1)
    # "When decoding, a presence octet with a value other than 0 or 1 MUST be rejected as malformed" (section 4.1).
    if present > 1:
        raise DecodeError("a response is neither there nor missing", got=present, want="0 or 1", section=_SECTION)
    if not present:
        return None
    token_type = reader.uint(2)
    check_token_type(token_type)
    return TypedTokenResponse(token_type, TokenResponse(reader.take(AUTHENTICATOR_SIZE)))


def _encode_optional(response: TypedTokenResponse | None) -> bytes:
    if response is None:
        return b"\x00"
    return b"\x01" + encode_uint(response.token_type, 2) + response.token_response.encode()


def _check_count(count: int) -> None:
    if not count:
        raise DecodeError("batch is empty", section=_SECTION)
    if count > MAX_BATCH:
        raise LimitError("batch is too long", want=f"at most {MAX_BATCH} tokens", section=_SECTION)
