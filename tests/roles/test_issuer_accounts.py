"""API keys and rate limits of an issuer's accounts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from attrs import evolve

from confsec.errors import AccountError, AccountRevokedError, ConfigError, RateLimitError
from confsec.roles.issuer_accounts import ApiKey, RateLimiter, bearer_key, new_account, verify_api_key
from confsec.testing import EPOCH, FixedClock, seeded_randbytes


def test_key_reads_as_it_was_written_and_hides_its_secret() -> None:
    key = ApiKey.draw(seeded_randbytes("key"))
    assert ApiKey.decode(key.encode()) == key
    assert key.encode().startswith(f"csk_{key.account_id}_")
    assert key.encode()[21:] not in repr(key)


@pytest.mark.parametrize("spoil", [str.upper, str.strip, lambda text: text[:-1], lambda text: text + "A"])
def test_text_that_is_no_key_is_refused_and_not_quoted(spoil: object) -> None:
    key = ApiKey.draw(seeded_randbytes("key")).encode()
    assert callable(spoil)
    text = spoil(key) if spoil is not str.strip else key[:-1] + "B"  # the last digit has bits that nobody reads
    with pytest.raises(AccountError) as raised:
        ApiKey.decode(text)
    assert key[21:30] not in str(raised.value)


def test_account_has_a_salted_hash_and_nothing_of_the_secret() -> None:
    account, key = new_account(quota=5, label="x", now=EPOCH, randbytes=seeded_randbytes("account"))
    assert verify_api_key(key, account) is account
    assert key.hash(bytes(16)) != account.key_hash
    assert key.secret not in account.salt + account.key_hash


def test_wrong_secret_unknown_account_and_revoked_account_are_refused() -> None:
    account, key = new_account(quota=5, label="", now=EPOCH, randbytes=seeded_randbytes("account"))
    with pytest.raises(AccountError) as wrong:
        verify_api_key(ApiKey(key.account_id, bytes(32)), account)
    with pytest.raises(AccountError) as unknown:
        verify_api_key(key, None)
    assert str(wrong.value) == str(unknown.value)
    revoked = evolve(account, revoked=True)
    with pytest.raises(AccountRevokedError):
        verify_api_key(key, revoked)
    # Who does not know the secret is not told that the account is revoked.
    with pytest.raises(AccountError) as raised:
        verify_api_key(ApiKey(key.account_id, bytes(32)), revoked)
    assert not isinstance(raised.value, AccountRevokedError)


def test_key_is_not_found_by_a_hash_of_zeros() -> None:
    account, key = new_account(quota=5, label="", now=EPOCH, randbytes=seeded_randbytes("account"))
    with pytest.raises(AccountError):
        verify_api_key(key, evolve(account, key_hash=bytes(32)))


@pytest.mark.parametrize("quota, label", [(-1, ""), (1, "x" * 201), (1, "two\nlines")])
def test_account_that_makes_no_sense_is_refused(quota: int, label: str) -> None:
    with pytest.raises(ConfigError):
        new_account(quota=quota, label=label, now=EPOCH, randbytes=seeded_randbytes("account"))


def test_bearer_scheme_is_read_in_any_case() -> None:
    key = ApiKey.draw(seeded_randbytes("key"))
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert bearer_key(f"{scheme} {key.encode()}") == key
    with pytest.raises(AccountError):
        bearer_key(None)


def seconds_of(clock: FixedClock) -> Callable[[], float]:
    def seconds() -> float:
        return (clock() - EPOCH).total_seconds()

    return seconds


def test_bucket_fills_with_time_and_each_account_has_its_own() -> None:
    clock = FixedClock()
    limiter = RateLimiter(rate=2, burst=10, monotonic=seconds_of(clock))
    limiter.take("a", 10)
    for tokens in (1, 11):
        with pytest.raises(RateLimitError):
            limiter.take("a", tokens)
    limiter.take("b", 10)
    clock.advance(timedelta(seconds=2))
    limiter.take("a", 4)
    with pytest.raises(RateLimitError):
        limiter.take("a", 1)
    clock.advance(timedelta(seconds=100))
    limiter.take("a", 10)


def test_buckets_that_are_full_are_forgotten() -> None:
    clock = FixedClock()
    limiter = RateLimiter(rate=1, burst=10, monotonic=seconds_of(clock))
    limiter.take("a", 10)
    limiter.take("b", 5)
    clock.advance(timedelta(seconds=5))
    limiter.discard_full()
    assert list(limiter._full_at) == ["a"]
    with pytest.raises(RateLimitError):
        limiter.take("a", 6)
