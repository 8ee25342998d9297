"""Token keys and their epochs: what signs when, what pays when, and which keys cannot be told apart."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

import pytest

from confsec.errors import ConfigError, DecodeError, TokenEpochError, TokenKeyError, TokenTypeError
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.protocol.token_keys import (
    BLIND_RSA,
    MAX_TOKEN_KEYS,
    PARTIALLY_BLIND_RSA,
    TOKEN_TYPES,
    TokenKey,
    TokenKeyEpoch,
    TokenKeyring,
)
from confsec.testing import EPOCH
from tests.protocol.token_cases import (
    DAY,
    HOUR,
    KEYS,
    METADATA_TOKEN_KEY,
    OTHER_2048,
    OTHER_TOKEN_KEY,
    RSA_2048,
    TOKEN_KEY,
)

MOMENT = timedelta(microseconds=1)
OLD = TokenKeyEpoch(TOKEN_KEY, EPOCH - DAY, EPOCH)
NEW = TokenKeyEpoch(OTHER_TOKEN_KEY, EPOCH, EPOCH + DAY)
KEYRING = TokenKeyring([OLD, NEW], grace=HOUR)
TRUNCATED = TOKEN_KEY.truncated_token_key_id


def keys(count: int) -> list[TokenKey]:
    """Make keys that nobody has: only their names matter."""
    base = RSA_2048.public_key.n
    made: list[TokenKey] = []
    step = 2
    while len(made) < count:
        with suppress(DecodeError):
            made.append(TokenKey(BLIND_RSA, RsaPublicKey(base + step, 65537)))
        step += 2
    return made


def colliding() -> tuple[TokenKey, TokenKey]:
    """Find two keys with the same last byte of their ids."""
    seen: dict[int, TokenKey] = {}
    for key in keys(300):
        if key.truncated_token_key_id in seen:
            return seen[key.truncated_token_key_id], key
        seen[key.truncated_token_key_id] = key
    raise AssertionError


def test_token_key_is_named_by_its_spki() -> None:
    assert TOKEN_KEY.token_key_id == RSA_2048.public_key.spki_digest()
    assert TOKEN_KEY.truncated_token_key_id == TOKEN_KEY.token_key_id[31]
    assert TokenKey.from_spki(BLIND_RSA, TOKEN_KEY.to_spki()) == TOKEN_KEY


@pytest.mark.parametrize("token_type", TOKEN_TYPES)
def test_token_keys_have_2048_bits_and_the_usual_exponent(token_type: int) -> None:
    for public_key in (KEYS["rsa3072"].public_key, RsaPublicKey(RSA_2048.public_key.n, 3)):
        with pytest.raises(DecodeError, match="token key"):
            TokenKey(token_type, public_key)


@pytest.mark.parametrize("token_type", [0, 1, 3, 5])
def test_token_keys_are_of_a_type_that_we_have(token_type: int) -> None:
    with pytest.raises(TokenTypeError):
        TokenKey(token_type, RSA_2048.public_key)


def test_epoch_begins_before_it_ends() -> None:
    with pytest.raises(ConfigError):
        TokenKeyEpoch(TOKEN_KEY, EPOCH, EPOCH)


@pytest.mark.parametrize("now", [EPOCH - DAY, EPOCH - MOMENT])
def test_key_signs_in_its_epoch(now: datetime) -> None:
    assert KEYRING.find_signing_key(BLIND_RSA, TRUNCATED, now) is OLD


@pytest.mark.parametrize("now", [EPOCH - DAY - MOMENT, EPOCH, EPOCH + DAY])
def test_key_does_not_sign_out_of_its_epoch(now: datetime) -> None:
    with pytest.raises(TokenEpochError):
        KEYRING.find_signing_key(BLIND_RSA, TRUNCATED, now)


def test_key_that_nobody_has_does_not_sign() -> None:
    used = {epoch.key.truncated_token_key_id for epoch in KEYRING.epochs}
    unused = next(number for number in range(256) if number not in used)
    for token_type, truncated in ((BLIND_RSA, unused), (PARTIALLY_BLIND_RSA, TRUNCATED)):
        with pytest.raises(TokenKeyError) as raised:
            KEYRING.find_signing_key(token_type, truncated, EPOCH - MOMENT)
        assert raised.value.code == "token_key"


@pytest.mark.parametrize("now", [EPOCH - DAY - HOUR, EPOCH - MOMENT, EPOCH, EPOCH + HOUR - MOMENT])
def test_key_pays_a_little_longer_than_it_signs(now: datetime) -> None:
    assert KEYRING.find_paying_key(TOKEN_KEY.token_key_id, now) is OLD


@pytest.mark.parametrize("now", [EPOCH - DAY - HOUR - MOMENT, EPOCH + HOUR])
def test_key_does_not_pay_long_before_or_after(now: datetime) -> None:
    with pytest.raises(TokenEpochError):
        KEYRING.find_paying_key(TOKEN_KEY.token_key_id, now)


def test_key_that_nobody_knows_does_not_pay() -> None:
    with pytest.raises(TokenKeyError) as raised:
        KEYRING.find_paying_key(METADATA_TOKEN_KEY.token_key_id, EPOCH)
    assert raised.value.code == "token_key"


def test_tokens_expire_when_their_key_no_longer_pays() -> None:
    assert KEYRING.expires_at(OLD) == EPOCH + HOUR
    with pytest.raises(TokenEpochError):
        KEYRING.find_paying_key(TOKEN_KEY.token_key_id, KEYRING.expires_at(OLD))


def test_key_is_in_a_keyring_once() -> None:
    later = TokenKeyEpoch(TOKEN_KEY, EPOCH + DAY, EPOCH + 2 * DAY)
    with pytest.raises(ConfigError, match="twice"):
        TokenKeyring([OLD, later], grace=HOUR)
    with pytest.raises(ConfigError, match="twice"):
        TokenKeyring(
            [OLD, TokenKeyEpoch(TokenKey(PARTIALLY_BLIND_RSA, RSA_2048.public_key), EPOCH, EPOCH + DAY)], grace=HOUR
        )


def test_keys_of_one_time_differ_in_their_last_byte() -> None:
    one, other = colliding()
    first = TokenKeyEpoch(one, EPOCH, EPOCH + DAY)
    for begin, end in ((EPOCH, EPOCH + DAY), (EPOCH + DAY - MOMENT, EPOCH + 2 * DAY), (EPOCH - DAY, EPOCH + MOMENT)):
        with pytest.raises(ConfigError, match="truncated"):
            TokenKeyring([first, TokenKeyEpoch(other, begin, end)], grace=HOUR)


def test_keys_of_different_times_or_types_may_have_one_last_byte() -> None:
    one, other = colliding()
    first = TokenKeyEpoch(one, EPOCH, EPOCH + DAY)
    before, after = TokenKeyEpoch(other, EPOCH - DAY, EPOCH), TokenKeyEpoch(other, EPOCH + DAY, EPOCH + 2 * DAY)
    for second in (before, after):
        keyring = TokenKeyring([first, second], grace=HOUR)
        assert keyring.find_signing_key(BLIND_RSA, one.truncated_token_key_id, EPOCH) is first
        assert keyring.find_signing_key(BLIND_RSA, one.truncated_token_key_id, second.not_before) is second
    of_another_type = TokenKey(PARTIALLY_BLIND_RSA, other.public_key)
    TokenKeyring([first, TokenKeyEpoch(of_another_type, EPOCH, EPOCH + DAY)], grace=HOUR)


def test_keys_of_one_time_and_different_last_bytes_sign_side_by_side() -> None:
    both = [TokenKeyEpoch(key, EPOCH, EPOCH + DAY) for key in (TOKEN_KEY, OTHER_TOKEN_KEY)]
    keyring = TokenKeyring(both, grace=HOUR)
    for epoch in both:
        assert keyring.find_signing_key(BLIND_RSA, epoch.key.truncated_token_key_id, EPOCH) is epoch


def test_keyring_holds_a_limited_number_of_keys() -> None:
    def epochs(count: int) -> list[TokenKeyEpoch]:
        return [
            TokenKeyEpoch(key, EPOCH + number * DAY, EPOCH + (number + 1) * DAY)
            for number, key in enumerate(keys(count))
        ]

    assert len(TokenKeyring(epochs(MAX_TOKEN_KEYS), grace=HOUR).epochs) == MAX_TOKEN_KEYS
    with pytest.raises(ConfigError, match="too many"):
        TokenKeyring(epochs(MAX_TOKEN_KEYS + 1), grace=HOUR)


def test_other_pairs_make_other_keys() -> None:
    assert OTHER_TOKEN_KEY == TokenKey(BLIND_RSA, OTHER_2048.public_key) != TOKEN_KEY
