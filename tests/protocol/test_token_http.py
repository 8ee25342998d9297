"""The PrivateToken scheme in header fields, and issuer directories."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError, TokenKeyError, TokenMissingError, TokenTypeError
from confsec.protocol.token_directory import MAX_ISSUER_DIRECTORY, IssuerDirectory, IssuerDirectoryKey
from confsec.protocol.token_http import (
    MAX_AUTH_CHALLENGES,
    MAX_AUTH_FIELD,
    AuthChallenge,
    TokenCredentials,
    decode_www_authenticate,
    encode_www_authenticate,
)
from confsec.protocol.token_keys import (
    BLIND_RSA,
    MAX_TOKEN_KEYS,
    PARTIALLY_BLIND_RSA,
    TokenKeyEpoch,
    TokenKeyring,
)
from confsec.protocol.token_messages import Token, TokenInput
from confsec.protocol.wire import (
    decode_base64url_padded,
    encode_base64url,
    encode_base64url_padded,
)
from confsec.testing import EPOCH, check_any_bytes
from tests.protocol.token_cases import (
    CHALLENGE,
    DAY,
    EXTENSIONS,
    HOUR,
    KEYRING,
    METADATA_TOKEN_KEY,
    OTHER_TOKEN_KEY,
    TOKEN_KEY,
)

AAAA = AuthChallenge(b"\x00\x00\x00")
TOKEN = Token(TokenInput(BLIND_RSA, bytes(32), b"\xff" * 32, bytes(32)), b"\xfb" * 256)
METADATA_TOKEN = Token(TokenInput(PARTIALLY_BLIND_RSA, bytes(32), bytes(32), bytes(32)), bytes(256))


# --- WWW-Authenticate


@given(
    st.lists(
        st.builds(
            AuthChallenge,
            st.binary(max_size=20),
            st.none() | st.binary(max_size=20),
            st.none() | st.integers(0, 9_999_999_999),
        ),
        max_size=4,
    )
)
def test_challenges_are_written_and_read(challenges: list[AuthChallenge]) -> None:
    assert decode_www_authenticate(encode_www_authenticate(challenges)) == tuple(challenges)


def test_challenge_carries_a_token_challenge() -> None:
    [read] = decode_www_authenticate(encode_www_authenticate([AuthChallenge(CHALLENGE.encode())]))
    assert read.token_challenge() == CHALLENGE
    with pytest.raises(DecodeError):
        AAAA.token_challenge()


def test_field_is_written_with_quotes_and_padding() -> None:
    assert (
        encode_www_authenticate([AuthChallenge(b"\xff", b"\xfe", 3), AAAA])
        == 'PrivateToken challenge="_w==", token-key="_g==", max-age="3", PrivateToken challenge="AAAA"'
    )


@pytest.mark.parametrize(
    "field",
    [
        'PrivateToken challenge="AAAA"',
        "PrivateToken challenge=AAAA",
        "privatetoken   CHALLENGE = AAAA",
        'PRIVATETOKEN challenge\t=\t"AAAA" , , ',
        ', ,PrivateToken challenge="A\\AAA"',
        'PrivateToken challenge="AAAA", unknown="ignore me, PrivateToken challenge=BBBB"',
        'PrivateToken unknown="\\"", challenge="AAAA"',
        'PrivateToken x="", challenge="AAAA"',
        "PrivateToken x='quoted'..., challenge=AAAA",
        'Basic realm="x", PrivateToken challenge=AAAA',
        'PrivateToken challenge=AAAA, Basic realm="x"',
        "Negotiate, PrivateToken challenge=AAAA",
        "Negotiate YWJj==, PrivateToken challenge=AAAA",
        "PrivateToken challenge=AAAA, Negotiate",
        "PrivateToken challenge=AAAA,Negotiate a/+._~-==",
        'Digest qop="auth, auth-int", nonce="\x80\xff", PrivateToken challenge=AAAA, Digest realm=x',
    ],
)
def test_one_challenge_is_found(field: str) -> None:
    assert decode_www_authenticate(field) == (AAAA,)


@pytest.mark.parametrize("field", ["", " ", ",\t,", "Basic", 'Basic realm="PrivateToken challenge=AAAA"', "Token abc="])
def test_no_challenge_is_found(field: str) -> None:
    assert decode_www_authenticate(field) == ()


@pytest.mark.parametrize("quote", ['"', ""])
def test_values_may_be_quoted_or_not(quote: str) -> None:
    field = f"PrivateToken challenge={quote}AAAA{quote}, max-age={quote}0{quote}, token-key={quote}AAAA{quote}"
    assert decode_www_authenticate(field) == (AuthChallenge(bytes(3), bytes(3), 0),)


@pytest.mark.parametrize(
    "field",
    [
        "PrivateToken",
        "PrivateToken AAAA",
        "PrivateToken token-key=AAAA",
        "PrivateToken challenge=AAAA challenge=AAAA",
        "PrivateToken challenge=AAAA, challenge=AAAA",
        'PrivateToken x="", x="", challenge=AAAA',
        "PrivateToken challenge=AAAA, Challenge=AAAA",
        "PrivateToken challenge=AAA",
        'PrivateToken challenge="AAA"',
        'PrivateToken challenge="AAAA=="',
        'PrivateToken challenge="AAB="',
        'PrivateToken challenge="+/AA"',
        'PrivateToken challenge=AAAA, token-key="AAA"',
        "PrivateToken challenge=AAAA, max-age=-1",
        "PrivateToken challenge=AAAA, max-age=1.5",
        "PrivateToken challenge=AAAA, max-age=",
        'PrivateToken challenge=AAAA, max-age=""',
        'PrivateToken challenge=AAAA, max-age="٣"',
        "PrivateToken challenge=AAAA, max-age=10000000000",
        'PrivateToken challenge="AAAA',
        'PrivateToken challenge="AAAA\\"',
        'PrivateToken challenge="AAAA"x',
        'PrivateToken challenge="AAAA\n"',
        "PrivateToken\tchallenge=AAAA",
        "=AAAA",
        'a="b"',
        "Basic, x=y",
        "Basic (x)",
        "Basic a b",
        "Basic \u20ac",
        '"Basic"',
    ],
)
def test_malformed_fields_are_refused(field: str) -> None:
    with pytest.raises(DecodeError):
        decode_www_authenticate(field)


def test_fields_have_limits() -> None:
    longest = "Basic x=" + "a" * (MAX_AUTH_FIELD - 8)
    assert decode_www_authenticate(longest) == ()
    with pytest.raises(LimitError):
        decode_www_authenticate(longest + "a")
    assert decode_www_authenticate(",".join(["Basic"] * MAX_AUTH_CHALLENGES)) == ()
    with pytest.raises(LimitError):
        decode_www_authenticate(",".join(["Basic"] * (MAX_AUTH_CHALLENGES + 1)))


@given(st.text(st.sampled_from('aA=", \\\tPrivateToken challenge="AAAA"\x00é'), max_size=60))
def test_any_text_is_read_or_refused(field: str) -> None:
    for text in (field, f"PrivateToken {field}", f"PrivateToken challenge=AAAA{field}"):
        check_any_bytes(lambda _, text=text: decode_www_authenticate(text), b"")  # type: ignore[misc]


@pytest.mark.parametrize("part", ['"', "\\", "a", "=", ",", " ", "\t", "a=", "a ", 'a="', "a=b,", '"\\'])
def test_long_fields_take_no_longer_than_their_length(part: str) -> None:
    # A pattern that goes back and forth would not end before the test's time is over.
    for text in (part * (MAX_AUTH_FIELD // len(part)), ("Basic " + part * MAX_AUTH_FIELD)[:MAX_AUTH_FIELD]):
        check_any_bytes(lambda _, text=text: decode_www_authenticate(text), b"")  # type: ignore[misc]


# --- Authorization


def test_credentials_are_written_and_read() -> None:
    for credentials in (TokenCredentials(TOKEN), TokenCredentials(METADATA_TOKEN, EXTENSIONS)):
        assert TokenCredentials.decode(credentials.encode()) == credentials


def test_credentials_have_the_form_of_the_standard() -> None:
    token, extensions = encode_base64url_padded(METADATA_TOKEN.encode()), encode_base64url_padded(EXTENSIONS.encode())
    text = f'PrivateToken token="{token}", extensions="{extensions}"'
    assert TokenCredentials(METADATA_TOKEN, EXTENSIONS).encode() == text
    assert TokenCredentials.decode(text.replace("PrivateToken", "privatetoken")).extensions == EXTENSIONS


@pytest.mark.parametrize("field", [None, "", " ", "Bearer abc", "Bearer", "Basic a=b, PrivateToken token=AAAA"])
def test_a_token_is_missing(field: str | None) -> None:
    with pytest.raises(TokenMissingError):
        TokenCredentials.decode(field)


@pytest.mark.parametrize(
    "field",
    [
        "PrivateToken",
        "PrivateToken challenge=AAAA",
        "PrivateToken token=AAAA",
        'PrivateToken token=""',
        TokenCredentials(TOKEN).encode() + ", " + TokenCredentials(TOKEN).encode(),
        TokenCredentials(TOKEN).encode() + ", Basic abc",
        TokenCredentials(TOKEN).encode() + ', extensions="AAA="',
        TokenCredentials(TOKEN).encode() + ', token="AAAA"',
        TokenCredentials(METADATA_TOKEN, EXTENSIONS).encode().partition(",")[0],
        TokenCredentials(METADATA_TOKEN, EXTENSIONS).encode()[:-1],
        f'PrivateToken token="{encode_base64url(TOKEN.encode() + b"x")}"',
    ],
)
def test_bad_credentials_are_refused(field: str) -> None:
    with pytest.raises((DecodeError, TokenTypeError)) as raised:
        TokenCredentials.decode(field)
    assert (raised.value.code == "token_type") is ("token=AAAA" in field)


def test_extensions_belong_to_their_type() -> None:
    with pytest.raises(DecodeError, match="extensions"):
        TokenCredentials(TOKEN, EXTENSIONS)
    with pytest.raises(DecodeError, match="extensions"):
        TokenCredentials(METADATA_TOKEN)


@given(st.binary(max_size=20))
def test_padding_is_the_one_that_fits(data: bytes) -> None:
    text = encode_base64url_padded(data)
    assert decode_base64url_padded(text) == data
    bare = text.rstrip("=")
    for wrong in {bare, bare + "=", bare + "==", bare + "===", "=" + text} - {text}:
        with pytest.raises(DecodeError):
            decode_base64url_padded(wrong)


# --- issuer directories


def key(
    not_before: int | None = None, *, token_type: int = BLIND_RSA, spki: bytes = TOKEN_KEY.to_spki()
) -> IssuerDirectoryKey:
    return IssuerDirectoryKey(token_type, spki, not_before)


def at(moment: datetime) -> int:
    return int(moment.timestamp())


@given(
    st.text(max_size=20),
    st.lists(
        st.builds(
            IssuerDirectoryKey, st.integers(0, 0xFFFF), st.binary(max_size=20), st.none() | st.integers(0, 253402300799)
        ),
        max_size=3,
    ),
)
def test_directories_are_written_and_read(uri: str, keys: list[IssuerDirectoryKey]) -> None:
    directory = IssuerDirectory(uri, tuple(keys))
    assert IssuerDirectory.decode(directory.encode()) == directory


def test_directory_has_the_form_of_the_standard() -> None:
    directory = IssuerDirectory("/request", (key(7), key(spki=b"\xff", token_type=1)))
    assert json.loads(directory.encode()) == {
        "issuer-request-uri": "/request",
        "token-keys": [
            {"token-type": 2, "token-key": encode_base64url_padded(TOKEN_KEY.to_spki()), "not-before": 7},
            {"token-type": 1, "token-key": "_w=="},
        ],
    }


def test_members_that_nobody_knows_are_ignored() -> None:
    document = {"issuer-request-uri": "/", "x": 1, "token-keys": [{"token-type": 2, "token-key": "AAAA", "y": []}]}
    directory = IssuerDirectory.decode(json.dumps(document).encode())
    assert directory == IssuerDirectory("/", (IssuerDirectoryKey(2, bytes(3)),))


@pytest.mark.parametrize(
    "change",
    [
        {"token-type": "2"},
        {"token-type": 2.0},
        {"token-type": None},
        {"token-type": True},
        {"token-type": -1},
        {"token-type": 65536},
        {"token-key": None},
        {"token-key": "AAA"},
        {"token-key": "++++"},
        {"not-before": None},
        {"not-before": "1"},
        {"not-before": False},
        {"not-before": -1},
        {"not-before": 253402300800},
    ],
)
def test_keys_with_wrong_members_are_refused(change: dict[str, Any]) -> None:
    good = {"token-type": 2, "token-key": "AAAA", "not-before": 0}
    for entry, is_good in ((good, True), ({**good, **change}, False)):
        data = json.dumps({"issuer-request-uri": "/", "token-keys": [entry]}).encode()
        if is_good:
            IssuerDirectory.decode(data)
        else:
            with pytest.raises(DecodeError):
                IssuerDirectory.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff{}",
        b"[]",
        b"7",
        b"{}",
        b'{"token-keys":[]}',
        b'{"issuer-request-uri":"/"}',
        b'{"issuer-request-uri":7,"token-keys":[]}',
        b'{"issuer-request-uri":"/","token-keys":{}}',
        b'{"issuer-request-uri":"/","token-keys":[7]}',
        b'{"issuer-request-uri":"/","token-keys":[{}]}',
        b"[" * 60_000,
        b'{"issuer-request-uri":"/","token-keys":[{"token-type":' + b"9" * 5000 + b"}]}",
    ],
)
def test_other_documents_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        IssuerDirectory.decode(data)


def test_directories_have_limits() -> None:
    good = IssuerDirectory("/", (key(),) * MAX_TOKEN_KEYS).encode()
    padded = good + b" " * (MAX_ISSUER_DIRECTORY - len(good))
    assert len(IssuerDirectory.decode(padded).token_keys) == MAX_TOKEN_KEYS
    with pytest.raises(LimitError):
        IssuerDirectory.decode(padded + b" ")
    with pytest.raises(LimitError):
        IssuerDirectory("/", (key(),) * (MAX_TOKEN_KEYS + 1))
    with pytest.raises(LocalProtocolError):
        key(token_type=0x10000)


def test_directory_of_a_keyring_names_the_newest_key_first_and_announces_the_next() -> None:
    old, overlapping, coming = (
        TokenKeyEpoch(TOKEN_KEY, EPOCH - DAY, EPOCH + HOUR),
        TokenKeyEpoch(METADATA_TOKEN_KEY, EPOCH, EPOCH + DAY),
        TokenKeyEpoch(OTHER_TOKEN_KEY, EPOCH + DAY, EPOCH + 2 * DAY),
    )
    keyring = TokenKeyring([old, coming, overlapping], grace=HOUR)

    def listed(now: datetime) -> list[tuple[bytes, int | None]]:
        return [(each.token_key, each.not_before) for each in IssuerDirectory.of("/", keyring, now=now).token_keys]

    entries = [(epoch.key.to_spki(), at(epoch.not_before)) for epoch in (old, overlapping, coming)]
    assert listed(EPOCH - HOUR) == [entries[0], entries[1], entries[2]]
    assert listed(EPOCH) == [entries[1], entries[0], entries[2]]
    assert listed(EPOCH + HOUR) == [entries[1], entries[2]]
    assert listed(EPOCH + 2 * DAY) == []
    assert IssuerDirectory.of("/x", keyring, now=EPOCH).issuer_request_uri == "/x"


def test_client_takes_the_first_key_whose_time_has_come() -> None:
    now = EPOCH
    later = now + timedelta(seconds=1)
    directory = IssuerDirectory(
        "/",
        (
            key(spki=b"unknown", token_type=1),
            key(at(later), spki=OTHER_TOKEN_KEY.to_spki()),
            key(at(now)),
            key(spki=METADATA_TOKEN_KEY.to_spki(), token_type=PARTIALLY_BLIND_RSA),
        ),
    )
    assert directory.choose_key(BLIND_RSA, now=now) == TOKEN_KEY
    assert directory.choose_key(BLIND_RSA, now=later) == OTHER_TOKEN_KEY
    assert directory.choose_key(PARTIALLY_BLIND_RSA, now=now) == METADATA_TOKEN_KEY
    with pytest.raises(TokenKeyError):
        directory.choose_key(BLIND_RSA, now=now - timedelta(seconds=1))
    with pytest.raises(TokenKeyError):
        directory.choose_key(5, now=now)


def test_client_refuses_a_directory_with_a_key_that_cannot_be_used() -> None:
    for spki in (b"", TOKEN_KEY.to_spki()[:-1]):
        with pytest.raises(DecodeError):
            IssuerDirectory("/", (key(spki=spki), key())).choose_key(BLIND_RSA, now=EPOCH)


def test_directory_of_the_tests_keyring_leads_to_its_keys() -> None:
    directory = IssuerDirectory.decode(IssuerDirectory.of("/", KEYRING, now=EPOCH).encode())
    assert directory.choose_key(BLIND_RSA, now=EPOCH) == TOKEN_KEY
