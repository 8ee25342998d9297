"""Tokens, token requests and responses, alone and in batches."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError, TokenTypeError
from confsec.protocol.token_batch import MAX_BATCH, BatchTokenRequest, BatchTokenResponse, TypedTokenResponse
from confsec.protocol.token_extensions import Extensions
from confsec.protocol.token_keys import BLIND_RSA, PARTIALLY_BLIND_RSA, TOKEN_TYPES
from confsec.protocol.token_messages import (
    MAX_TOKEN_REQUEST,
    TOKEN_SIZE,
    Token,
    TokenInput,
    TokenRequest,
    TokenResponse,
)
from confsec.protocol.wire import encode_varint_vector
from confsec.testing import check_any_bytes, check_round_trip
from tests.protocol.token_cases import EXTENSIONS

B32 = st.binary(min_size=32, max_size=32)
B256 = st.binary(min_size=256, max_size=256)
TYPES = st.sampled_from(sorted(TOKEN_TYPES))
TOKEN_INPUT = TokenInput(BLIND_RSA, bytes(32), bytes(32), bytes(32))
REQUEST = TokenRequest(BLIND_RSA, 7, bytes(256))
RESPONSE = TypedTokenResponse(BLIND_RSA, TokenResponse(bytes(256)))


@st.composite
def requests(draw: st.DrawFn) -> TokenRequest:
    token_type = draw(TYPES)
    extensions = draw(st.sampled_from([EXTENSIONS, Extensions(())])) if token_type == PARTIALLY_BLIND_RSA else None
    return TokenRequest(token_type, draw(st.integers(0, 255)), draw(B256), extensions)


@given(TYPES, B32, B32, B32, B256)
def test_tokens_encode_and_decode(
    token_type: int, nonce: bytes, digest: bytes, key_id: bytes, authenticator: bytes
) -> None:
    token = Token(TokenInput(token_type, nonce, digest, key_id), authenticator)
    encoded = token.encode()
    assert encoded == token_type.to_bytes(2, "big") + nonce + digest + key_id + authenticator
    assert len(encoded) == TOKEN_SIZE
    assert Token.decode(encoded) == token
    assert token.token_id() == hashlib.sha256(encoded).digest()
    check_round_trip(Token, encoded)


@given(requests())
def test_requests_encode_and_decode(request: TokenRequest) -> None:
    assert TokenRequest.decode(request.encode()) == request
    assert len(request.encode()) <= MAX_TOKEN_REQUEST
    check_round_trip(TokenRequest, request.encode())


@given(B256)
def test_responses_encode_and_decode(blind_sig: bytes) -> None:
    assert TokenResponse(blind_sig).encode() == blind_sig
    check_round_trip(TokenResponse, blind_sig)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_fields_of_a_token_have_32_bytes(place: int, size: int) -> None:
    nonce, digest, key_id = (bytes(size if number == place else 32) for number in range(3))
    with pytest.raises(DecodeError, match="32 bytes"):
        TokenInput(BLIND_RSA, nonce, digest, key_id)


@pytest.mark.parametrize("size", [0, 255, 257])
def test_numbers_in_messages_are_as_long_as_the_modulus(size: int) -> None:
    for make in (
        lambda: Token(TOKEN_INPUT, bytes(size)),
        lambda: TokenRequest(BLIND_RSA, 7, bytes(size)),
        lambda: TokenResponse(bytes(size)),
    ):
        with pytest.raises(DecodeError, match="256 bytes"):
            make()


@pytest.mark.parametrize("token_type", [0, 1, 3, 5, 0xDA7B])
def test_types_that_we_do_not_have_are_refused(token_type: int) -> None:
    head = token_type.to_bytes(2, "big")
    for make in (
        lambda: TokenInput(token_type, bytes(32), bytes(32), bytes(32)),
        lambda: TokenRequest(token_type, 7, bytes(256)),
        lambda: TypedTokenResponse(token_type, TokenResponse(bytes(256))),
        lambda: Token.decode(head + bytes(352)),
        lambda: Token.decode(head),
        lambda: TokenRequest.decode(head),
        lambda: BatchTokenRequest.decode(encode_varint_vector(head)),
        lambda: BatchTokenResponse.decode(encode_varint_vector(b"\x01" + head)),
    ):
        with pytest.raises(TokenTypeError):
            make()


def test_extensions_belong_to_their_type() -> None:
    with pytest.raises(DecodeError, match="extensions"):
        TokenRequest(BLIND_RSA, 7, bytes(256), EXTENSIONS)
    with pytest.raises(DecodeError, match="extensions"):
        TokenRequest(PARTIALLY_BLIND_RSA, 7, bytes(256))


@pytest.mark.parametrize("truncated", [-1, 256])
def test_truncated_key_ids_have_one_byte(truncated: int) -> None:
    with pytest.raises(LocalProtocolError):
        TokenRequest(BLIND_RSA, truncated, bytes(256))


def test_authenticator_is_not_shown() -> None:
    assert "authenticator" not in repr(Token(TOKEN_INPUT, bytes(256)))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for decode in (Token.decode, TokenRequest.decode, TokenResponse.decode):
        check_any_bytes(decode, data)
        check_any_bytes(decode, b"\xda\x7a" + data)


# --- batches


@given(st.lists(requests(), min_size=1, max_size=4))
def test_batches_of_requests_encode_and_decode(each: list[TokenRequest]) -> None:
    batch = BatchTokenRequest(tuple(each))
    encoded = batch.encode()
    assert encoded == encode_varint_vector(b"".join(one.encode() for one in each))
    assert BatchTokenRequest.decode(encoded) == batch
    check_round_trip(BatchTokenRequest, encoded)


@given(
    st.lists(st.none() | st.builds(TypedTokenResponse, TYPES, st.builds(TokenResponse, B256)), min_size=1, max_size=4)
)
def test_batches_of_responses_encode_and_decode(each: list[TypedTokenResponse | None]) -> None:
    batch = BatchTokenResponse(tuple(each))
    assert BatchTokenResponse.decode(batch.encode()) == batch
    check_round_trip(BatchTokenResponse, batch.encode())


def test_a_batch_of_responses_has_the_form_of_the_draft() -> None:
    batch = BatchTokenResponse((RESPONSE, None))
    assert batch.encode() == b"\x41\x04" + b"\x01\x00\x02" + bytes(256) + b"\x00"


def test_batches_are_not_empty() -> None:
    with pytest.raises(DecodeError, match="empty"):
        BatchTokenRequest(())
    with pytest.raises(DecodeError, match="empty"):
        BatchTokenResponse(())


def test_batches_are_as_long_as_the_limit_at_most() -> None:
    longest, answers = BatchTokenRequest((REQUEST,) * MAX_BATCH), BatchTokenResponse((None,) * MAX_BATCH)
    assert BatchTokenRequest.decode(longest.encode()) == longest
    assert BatchTokenResponse.decode(answers.encode()) == answers
    for make in (
        lambda: BatchTokenRequest((REQUEST,) * (MAX_BATCH + 1)),
        lambda: BatchTokenResponse((None,) * (MAX_BATCH + 1)),
        lambda: BatchTokenRequest.decode(encode_varint_vector(REQUEST.encode() * (MAX_BATCH + 1))),
        # The limit is reached before what comes after it is read.
        lambda: BatchTokenRequest.decode(encode_varint_vector(REQUEST.encode() * MAX_BATCH + b"\x00\x01")),
        lambda: BatchTokenResponse.decode(encode_varint_vector(bytes(MAX_BATCH) + b"\x02")),
    ):
        with pytest.raises(LimitError):
            make()


@given(st.binary(max_size=400))
def test_any_bytes_are_a_batch_or_refused(data: bytes) -> None:
    for decode in (BatchTokenRequest.decode, BatchTokenResponse.decode):
        check_any_bytes(decode, data)
        check_any_bytes(decode, encode_varint_vector(data))


def test_any_cut_of_a_batch_is_refused() -> None:
    for encoded, decode in (
        (BatchTokenRequest((REQUEST, REQUEST)).encode(), BatchTokenRequest.decode),
        (BatchTokenResponse((None, RESPONSE)).encode(), BatchTokenResponse.decode),
    ):
        for size in range(len(encoded)):
            with pytest.raises(DecodeError):
                decode(encoded[:size])
