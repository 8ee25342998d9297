"""Token challenges and extensions: their rules, their one spelling, and whom they are for."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError, TokenChallengeError, TokenOriginError
from confsec.protocol.token_challenge import MAX_TOKEN_CHALLENGE, TokenChallenge
from confsec.protocol.token_extensions import MAX_EXTENSIONS_SIZE, Extension, Extensions
from confsec.testing import check_any_bytes, check_round_trip
from tests.protocol.token_cases import CHALLENGE, EXTENSIONS

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1, max_size=20)


@given(
    st.integers(0, 0xFFFF),
    NAMES,
    st.sampled_from([b"", bytes(32), b"\xff" * 32]),
    st.lists(NAMES, max_size=4),
)
def test_challenges_encode_and_decode(token_type: int, issuer: str, context: bytes, origins: list[str]) -> None:
    challenge = TokenChallenge(token_type, issuer, context, ",".join(origins))
    assert challenge.origins == tuple(origins)
    assert TokenChallenge.decode(challenge.encode()) == challenge
    assert challenge.digest() == hashlib.sha256(challenge.encode()).digest()
    check_round_trip(TokenChallenge, challenge.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_challenge_or_refused(data: bytes) -> None:
    check_any_bytes(TokenChallenge.decode, data)
    check_any_bytes(TokenChallenge.decode, b"\x00\x02\x00\x03abc" + data)


def test_challenges_are_as_long_as_the_limit_at_most() -> None:
    room = MAX_TOKEN_CHALLENGE - len(TokenChallenge(2, "i").encode())
    longest = TokenChallenge(2, "i", origin_info="a" * room)
    assert TokenChallenge.decode(longest.encode()) == longest
    with pytest.raises(LimitError):
        TokenChallenge(2, "i", origin_info="a" * (room + 1))
    with pytest.raises(LimitError):
        TokenChallenge.decode(longest.encode() + b"a")


@pytest.mark.parametrize("size", [1, 31, 33, 255])
def test_redemption_context_has_32_bytes_or_none(size: int) -> None:
    with pytest.raises(DecodeError, match="redemption context"):
        TokenChallenge(2, "issuer", bytes(size))


@pytest.mark.parametrize("name", ["", "ü", "a\nb", "a\x7f"])
def test_issuer_names_are_printable_ascii_and_not_empty(name: str) -> None:
    with pytest.raises(DecodeError):
        TokenChallenge(2, name)


@pytest.mark.parametrize("origins", [",", "a,", ",a", "a,,b", "ü", "a\x00"])
def test_origin_names_are_printable_ascii_and_not_empty(origins: str) -> None:
    with pytest.raises(DecodeError):
        TokenChallenge(2, "issuer", origin_info=origins)


@pytest.mark.parametrize("token_type", [-1, 0x10000])
def test_token_types_have_two_bytes(token_type: int) -> None:
    with pytest.raises(LocalProtocolError):
        TokenChallenge(token_type, "issuer")


@pytest.mark.parametrize("origin", ["a.example", "A.EXAMPLE", "b.example"])
def test_named_origins_may_ask(origin: str) -> None:
    TokenChallenge(2, "issuer", origin_info="a.example,B.example").check_origin(origin)


@pytest.mark.parametrize("origin", ["", "example", "a.example,B.example", "c.example", "xa.example"])
def test_other_origins_may_not_ask(origin: str) -> None:
    with pytest.raises(TokenOriginError):
        TokenChallenge(2, "issuer", origin_info="a.example,B.example").check_origin(origin)


def test_any_origin_may_ask_where_none_is_named() -> None:
    TokenChallenge(2, "issuer").check_origin("anyone.example")


def test_a_challenge_is_for_one_issuer() -> None:
    CHALLENGE.check_issuer("Issuer.example")
    with pytest.raises(TokenChallengeError):
        CHALLENGE.check_issuer("other.example")


# --- extensions


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8))
def test_extensions_encode_and_decode_in_order_of_their_types(items: list[tuple[int, bytes]]) -> None:
    items.sort(key=lambda item: item[0])
    extensions = Extensions(tuple(Extension(*item) for item in items))
    assert Extensions.decode(extensions.encode()) == extensions
    check_round_trip(Extensions, extensions.encode())


@given(st.binary(max_size=100))
def test_any_bytes_are_extensions_or_refused(data: bytes) -> None:
    check_any_bytes(Extensions.decode, data)
    check_any_bytes(Extensions.decode, len(data).to_bytes(2, "big") + data)


def test_the_published_example_decodes() -> None:
    extensions = Extensions.decode(bytes.fromhex("000700010003010203"))
    assert extensions == Extensions((Extension(1, b"\x01\x02\x03"),))


def test_a_type_may_occur_twice_and_not_after_a_larger_one() -> None:
    assert [item.extension_type for item in EXTENSIONS.items] == [1, 1, 0xFFFF]
    with pytest.raises(DecodeError, match="order"):
        Extensions((Extension(2, b""), Extension(1, b"")))


def test_extensions_are_as_long_as_the_limit_at_most() -> None:
    room = MAX_EXTENSIONS_SIZE - 6
    longest = Extensions((Extension(1, bytes(room)),))
    assert Extensions.decode(longest.encode()) == longest
    assert len(longest.encode()) == MAX_EXTENSIONS_SIZE
    with pytest.raises(LimitError):
        Extensions((Extension(1, bytes(room + 1)),))
