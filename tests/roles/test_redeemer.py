"""Redeeming tokens: each rule of RFC 9577 its own error, and the store asked last."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from confsec.backends.api import Spend
from confsec.backends.token_store_memory import MemoryTokenStore
from confsec.errors import (
    BusyError,
    ConfigError,
    ConfsecError,
    TokenChallengeError,
    TokenEpochError,
    TokenError,
    TokenKeyError,
    TokenMissingError,
    TokenSignatureError,
    TokenSpentError,
)
from confsec.protocol.directory import IssuerEntry, ServiceDirectory
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_http import TokenCredentials, decode_www_authenticate
from confsec.protocol.token_keys import BLIND_RSA
from confsec.protocol.token_messages import Token
from confsec.roles import redeemer as redeemer_module
from confsec.roles.redeemer import TokenRedeemer
from confsec.testing import EPOCH, FixedClock
from tests.client.wallet_issuer import issuer_entry
from tests.protocol.token_cases import (
    CHALLENGE,
    DAY,
    HOUR,
    ORIGIN,
    OTHER_2048,
    OTHER_TOKEN_KEY,
    TOKEN_KEY,
    draw,
    issue,
)

pytestmark = pytest.mark.anyio

FIRST, SECOND = sha256(b"first request").digest(), sha256(b"second request").digest()


def write_directory(path: Path, issuer: IssuerEntry | None, *, router: str = ORIGIN) -> Path:
    entry = issuer_entry()
    directory = ServiceDirectory(
        relay_url="https://relay.example/",
        gateway_key_configs=entry.gateway_key_configs,
        router_origin=f"https://{router}",
        issuer=issuer,
    )
    path.write_text(directory.to_toml())
    return path


class CountingStore:
    """A store that counts how often it is asked, and can be down."""

    def __init__(self) -> None:
        self.store = MemoryTokenStore()
        self.asked = 0
        self.swept = 0
        self.down = False

    async def spend(self, spend: Spend) -> None:
        self.asked += 1
        if self.down:
            raise BusyError("the store is down")
        await self.store.spend(spend)

    async def release(self, spend: Spend) -> None:
        await self.store.release(spend)

    async def sweep(self, now: object) -> int:
        self.swept += 1
        if self.down:
            raise BusyError("the store is down")
        return 0

    async def aclose(self) -> None:
        await self.store.aclose()


class Till:
    """A redeemer, its store, its clock and its directory."""

    def __init__(self, folder: Path, *, router: str = ORIGIN) -> None:
        self.store = CountingStore()
        self.clock = FixedClock()
        self.directory = write_directory(folder / "service.toml", issuer_entry(), router=router)
        self.redeemer = TokenRedeemer(self.directory, self.store, grace=HOUR, clock=self.clock)

    async def spend(self, token: Token, digest: bytes = FIRST) -> None:
        await self.redeemer.spend(TokenCredentials(token).encode(), digest)


@pytest.fixture
def till(tmp_path: Path) -> Till:
    return Till(tmp_path)


async def test_a_token_pays_once(till: Till) -> None:
    token = issue(draw())
    await till.spend(token)
    for digest in (FIRST, SECOND):
        with pytest.raises(TokenSpentError):
            await till.spend(token, digest)


async def test_a_token_that_came_back_pays_for_the_same_bytes_only(till: Till) -> None:
    authorization = TokenCredentials(issue(draw())).encode()
    await till.redeemer.spend(authorization, FIRST)
    await till.redeemer.release(authorization, FIRST)
    with pytest.raises(TokenSpentError):
        await till.redeemer.spend(authorization, SECOND)
    await till.redeemer.spend(authorization, FIRST)


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        (None, TokenMissingError),
        ("Bearer x", TokenMissingError),
        ("PrivateToken token=?", TokenError),
        ("PrivateToken token=AAAA", TokenError),
    ],
)
async def test_what_is_no_token_is_refused(till: Till, authorization: str | None, error: type[ConfsecError]) -> None:
    with pytest.raises(error):
        await till.redeemer.spend(authorization, FIRST)
    assert till.store.asked == 0


async def test_each_rule_has_an_error_of_its_own_and_costs_the_store_nothing(till: Till, tmp_path: Path) -> None:
    good = issue(draw())
    other_challenge = TokenChallenge(BLIND_RSA, "issuer.example", origin_info="elsewhere.example")
    forged = evolve(good, authenticator=bytes(255) + b"\x01")
    unknown_key = issue(draw(token_key=OTHER_TOKEN_KEY), pair=OTHER_2048, token_key=OTHER_TOKEN_KEY)
    for token, error in (
        (issue(draw(challenge=other_challenge)), TokenChallengeError),
        (unknown_key, TokenKeyError),
        (forged, TokenSignatureError),
    ):
        with pytest.raises(error):
            await till.spend(token)
    elsewhere = Till(tmp_path, router="elsewhere.example")
    with pytest.raises(TokenChallengeError):
        await elsewhere.spend(good)
    assert till.store.asked == elsewhere.store.asked == 0


async def test_the_epoch_before_is_accepted_for_a_stated_time(till: Till) -> None:
    till.clock.advance(DAY + HOUR - timedelta(seconds=1))
    await till.spend(issue(draw("in time")))
    till.clock.advance(timedelta(seconds=1))
    with pytest.raises(TokenEpochError):
        await till.spend(issue(draw("too late")))


async def test_a_store_that_is_down_lets_nothing_through_and_recovers(till: Till) -> None:
    till.store.down = True
    token = issue(draw())
    with pytest.raises(BusyError):
        await till.spend(token)
    till.store.down = False
    await till.spend(token)


async def test_of_a_hundred_at_once_one_is_accepted(till: Till) -> None:
    token = issue(draw())
    accepted: list[bool] = []

    async def try_it() -> None:
        try:
            await till.spend(token)
        except TokenSpentError:
            return
        accepted.append(True)

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(try_it)
    assert accepted == [True]


def test_a_client_is_told_which_token_is_taken(till: Till) -> None:
    (challenge,) = decode_www_authenticate(till.redeemer.www_authenticate)
    assert challenge.token_challenge() == CHALLENGE
    assert challenge.token_key == TOKEN_KEY.to_spki()
    till.clock.advance(2 * DAY)
    assert decode_www_authenticate(till.redeemer.www_authenticate) == ()


async def test_new_keys_are_read_while_it_runs_and_a_broken_file_changes_nothing(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeemer_module, "_REREAD", 0.01)
    monkeypatch.setattr(redeemer_module, "_SWEEP", 0.01)
    new_key = evolve(issuer_entry().token_keys[0], key=OTHER_TOKEN_KEY)
    token = issue(draw(token_key=OTHER_TOKEN_KEY), pair=OTHER_2048, token_key=OTHER_TOKEN_KEY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(till.redeemer.watch)
        with anyio.fail_after(20):
            till.directory.write_text("broken")
            till.store.down = True
            while till.store.swept < 2:
                await anyio.sleep(0.01)
            till.store.down = False
            await till.spend(issue(draw("the old key still pays")))
            entry = evolve(issuer_entry(), token_keys=(*issuer_entry().token_keys, new_key))
            write_directory(till.directory, entry)
            while True:
                try:
                    await till.spend(token)
                except TokenKeyError:
                    await anyio.sleep(0.01)
                else:
                    break
        tasks.cancel_scope.cancel()
    await till.redeemer.aclose()


def test_a_directory_without_an_issuer_or_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = write_directory(tmp_path / "service.toml", None)
    with pytest.raises(ConfigError, match="names no issuer"):
        TokenRedeemer(path, MemoryTokenStore(), grace=HOUR)
    with pytest.raises(ConfigError, match="cannot be read"):
        TokenRedeemer(tmp_path / "missing", MemoryTokenStore(), grace=HOUR)


def test_the_test_keys_are_of_the_tests_time() -> None:
    assert issuer_entry().token_keys[0].not_before < EPOCH < issuer_entry().token_keys[0].not_after
