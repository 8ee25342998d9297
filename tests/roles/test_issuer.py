"""The issuer: blinded messages signed for accounts, each request charged once, and nothing remembered of it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from confsec.backends.issuer_store_sqlite import sqlite_issuer_store
from confsec.errors import BackendError, BusyError, ConfigError
from confsec.protocol.token_batch import BatchTokenRequest
from confsec.protocol.token_directory import ISSUER_DIRECTORY_PATH, MEDIA_TYPE_ISSUER_DIRECTORY, IssuerDirectory
from confsec.protocol.token_keys import BLIND_RSA
from confsec.protocol.token_messages import TokenRequest
from confsec.roles.issuer import TOKEN_REQUEST_PATH, Issuer, IssuerConfig
from confsec.roles.issuer_keys import FixedIssuerKeys, SigningKey
from confsec.testing import EPOCH, FixedClock
from tests.protocol.token_cases import OTHER_2048, OTHER_TOKEN_KEY, RSA_2048, TOKEN_KEY, draw, draw_with_extensions
from tests.roles.issuer_cases import (
    DAY,
    HOUR,
    REQUEST_ID,
    OpenSigner,
    ask_many,
    ask_one,
    issuing,
    tokens_of,
    two_epochs,
)

pytestmark = pytest.mark.anyio

OTHER_ID = "f" * 32
SKEW = timedelta(seconds=300)


async def test_token_is_signed_and_charged(tmp_path: Path) -> None:
    client, body = ask_one()
    async with issuing(tmp_path) as served:
        answer = await served.client.post(body)
        assert len(tokens_of(client, answer)) == 1
        assert ("cache-control", "no-store") in answer.headers
        assert await served.charged() == [1]


async def test_batch_is_signed_in_order_and_charged_as_a_whole(tmp_path: Path) -> None:
    client, body = ask_many(5)
    async with issuing(tmp_path) as served:
        tokens = tokens_of(client, await served.client.post_batch(body))
        assert len({token.token_id() for token in tokens}) == 5
        assert await served.charged() == [5]


async def test_repetition_gets_the_same_bytes_and_costs_nothing(tmp_path: Path) -> None:
    _, body = ask_many(3)
    async with issuing(tmp_path, quota=3) as served:
        first = await served.client.post_batch(body)
        assert await served.client.post_batch(body) == first
        assert await served.charged() == [3]


async def test_many_repetitions_at_once_are_charged_once(tmp_path: Path) -> None:
    _, body = ask_one()
    answers: set[tuple[int, bytes]] = set()
    async with issuing(tmp_path) as served:

        async def ask() -> None:
            answer = await served.client.post(body)
            answers.add((answer.status, answer.body))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
        assert len(answers) == 1
        assert await served.charged() == [1]


async def test_other_messages_under_a_used_id_are_refused(tmp_path: Path) -> None:
    signer = OpenSigner()
    async with issuing(tmp_path, keys=two_epochs(signer)) as served:
        await served.client.post(ask_one("one")[1])
        assert (await served.client.post(ask_one("two")[1])).problem == (409, "request_id")
        assert (await served.charged(), signer.signed) == ([1], 1)


async def test_quota_is_for_each_epoch(tmp_path: Path) -> None:
    async with issuing(tmp_path, quota=3) as served:
        assert (await served.client.post_batch(ask_many(3)[1])).status == 200
        refused = await served.client.post(ask_one()[1], confsec_request_id=OTHER_ID)
        assert refused.problem == (429, "quota")
        assert "retry-after" not in dict(refused.headers)
        served.clock.advance(DAY - HOUR / 2)
        _, body = ask_many(3, token_key=OTHER_TOKEN_KEY)
        assert (await served.client.post_batch(body, confsec_request_id=OTHER_ID)).status == 200
        assert await served.charged() == [3, 3]


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer x",
        "Basic eDp5",
        "PrivateToken token=x",
        f"Bearer csk_{'0' * 16}_{'A' * 43}",
        "Bearer csk_",
    ],
)
async def test_who_shows_no_key_of_an_account_is_refused(authorization: str, tmp_path: Path) -> None:
    signer = OpenSigner()
    async with issuing(tmp_path, keys=two_epochs(signer)) as served:
        assert (await served.client.post(ask_one()[1], authorization=authorization)).problem == (401, "account")
        assert (await served.charged(), signer.signed) == ([], 0)


async def test_wrong_secret_and_unknown_account_get_the_same_answer(tmp_path: Path) -> None:
    async with issuing(tmp_path) as served:
        key = served.client.key.encode()
        wrong = [key[:-1] + ("A" if key[-1] != "A" else "E"), key.replace("csk_", "csk_0")[:20] + key[20:]]
        answers = [await served.client.post(ask_one()[1], authorization=f"bearer {each}") for each in wrong]
        assert {(answer.status, answer.body) for answer in answers} == {(401, answers[0].body)}


async def test_revoked_account_is_refused(tmp_path: Path) -> None:
    async with issuing(tmp_path) as served:
        await served.client.post(ask_one()[1])
        await served.store.change_account(served.client.key.account_id, revoked=True)
        assert (await served.client.post(ask_one()[1])).problem == (403, "account_revoked")


@pytest.mark.parametrize("request_id", ["", "0" * 31, "0" * 30, "0" * 34, "g" * 32, REQUEST_ID.upper()])
async def test_request_without_an_id_of_its_own_is_refused(request_id: str, tmp_path: Path) -> None:
    async with issuing(tmp_path) as served:
        assert (await served.client.post(ask_one()[1], confsec_request_id=request_id)).problem == (400, "decode")


async def test_another_media_type_is_refused(tmp_path: Path) -> None:
    async with issuing(tmp_path) as served:
        for kind in ("", "application/json", "application/private-token-response"):
            answer = await served.client.post(ask_one()[1], content_type=kind)
            assert answer.problem == (415, "unsupported_media_type")


def one(token_type: int = BLIND_RSA, truncated: int | None = None, blinded_msg: bytes | None = None) -> bytes:
    pending = draw()
    request = TokenRequest(
        token_type,
        TOKEN_KEY.truncated_token_key_id if truncated is None else truncated,
        pending.blinded_msg if blinded_msg is None else blinded_msg,
    )
    return request.encode()


UNUSED = next(
    n for n in range(256) if n not in {TOKEN_KEY.truncated_token_key_id, OTHER_TOKEN_KEY.truncated_token_key_id}
)
UNPROCESSABLE = {
    "empty": (b"", "truncated"),
    "cut": (one()[:-1], "truncated"),
    "longer": (one() + b"x", "decode"),
    "unknown type": (b"\x00\x01" + one()[2:], "token_type"),
    "unknown key": (one(truncated=UNUSED), "token_key"),
    "metadata": (draw_with_extensions().request().encode(), "token_key"),
    "zero": (one(blinded_msg=bytes(256)), "decode"),
    "the modulus": (one(blinded_msg=RSA_2048.public_key.n.to_bytes(256, "big")), "decode"),
    "a factor of the modulus": (one(blinded_msg=RSA_2048.p.to_bytes(256, "big")), "decode"),
    "the epoch to come": (ask_one(token_key=OTHER_TOKEN_KEY)[1], "token_epoch"),
}


@pytest.mark.parametrize("name", UNPROCESSABLE)
async def test_what_cannot_be_signed_is_unprocessable_and_costs_nothing(name: str, tmp_path: Path) -> None:
    body, code = UNPROCESSABLE[name]
    signer = OpenSigner()
    async with issuing(tmp_path, keys=two_epochs(signer)) as served:
        assert (await served.client.post(body)).problem == (422, code)
        assert (await served.charged(), signer.signed) == ([], 0)


async def test_batch_with_one_bad_message_is_refused_as_a_whole(tmp_path: Path) -> None:
    good, bad = draw().request(), TokenRequest.decode(UNPROCESSABLE["zero"][0])
    async with issuing(tmp_path) as served:
        body = BatchTokenRequest((good, bad)).encode()
        assert (await served.client.post_batch(body)).problem == (422, "decode")
        assert await served.charged() == []


async def test_batch_of_two_epochs_is_refused(tmp_path: Path) -> None:
    async with issuing(tmp_path) as served:
        served.clock.advance(DAY - HOUR / 2)
        body = BatchTokenRequest((draw().request(), draw("other", token_key=OTHER_TOKEN_KEY).request())).encode()
        assert (await served.client.post_batch(body)).problem == (422, "decode")


async def test_batch_above_the_limit_is_refused(tmp_path: Path) -> None:
    async with issuing(tmp_path, max_batch=3) as served:
        assert (await served.client.post_batch(ask_many(4)[1])).problem == (413, "limit")
        assert (await served.client.post_batch(ask_many(3)[1])).status == 200
        assert (await served.client.post(b"\x00" * 70_000)).problem == (413, "limit")
        assert await served.charged() == [3]


async def test_who_asks_too_fast_is_told_to_wait_and_is_not_charged(tmp_path: Path) -> None:
    seconds = FixedClock()
    async with issuing(tmp_path, monotonic=seconds, rate=2.0, burst=4, max_batch=4) as served:
        _, body = ask_many(4)
        assert (await served.client.post_batch(body)).status == 200
        refused = await served.client.post(ask_one()[1], confsec_request_id=OTHER_ID)
        assert refused.problem == (429, "rate_limit")
        assert dict(refused.headers)["retry-after"] == "1"
        assert await served.charged() == [4]
        seconds.advance(timedelta(seconds=0.5))
        assert (await served.client.post(ask_one()[1], confsec_request_id=OTHER_ID)).status == 200


async def test_burst_below_a_batch_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="burst"):
        IssuerConfig(burst=255)
    for batch in (0, 257):
        with pytest.raises(ConfigError, match="max_batch"):
            IssuerConfig(max_batch=batch)


# --- Epochs -----------------------------------------------------------------------------------------------------------


async def test_directory_lists_the_key_of_now_and_the_one_to_come(tmp_path: Path) -> None:
    async with issuing(tmp_path) as served:
        answer = await served.client.get(ISSUER_DIRECTORY_PATH)
        assert (answer.status, answer.media_type) == (200, MEDIA_TYPE_ISSUER_DIRECTORY)
        directory = IssuerDirectory.decode(answer.body)
        assert directory.issuer_request_uri == TOKEN_REQUEST_PATH
        assert [key.token_key for key in directory.token_keys] == [TOKEN_KEY.to_spki(), OTHER_TOKEN_KEY.to_spki()]
        assert directory.choose_key(BLIND_RSA, now=EPOCH) == TOKEN_KEY
        assert directory.choose_key(BLIND_RSA, now=EPOCH + DAY) == TOKEN_KEY  # until it reads the directory again


async def test_directory_puts_the_newest_key_first_and_drops_what_is_over(tmp_path: Path) -> None:
    async with issuing(tmp_path) as served:
        for passed, keys in ((DAY - HOUR, [OTHER_TOKEN_KEY, TOKEN_KEY]), (HOUR, [OTHER_TOKEN_KEY]), (DAY, [])):
            served.clock.advance(passed)
            directory = IssuerDirectory.decode((await served.client.get(ISSUER_DIRECTORY_PATH)).body)
            assert [key.token_key for key in directory.token_keys] == [key.to_spki() for key in keys]


async def test_directory_is_cached_until_it_changes_and_not_longer(tmp_path: Path) -> None:
    async with issuing(tmp_path) as served:
        for passed, age in ((timedelta(0), 3600), (DAY - HOUR - SKEW, 300), (SKEW, 3600), (2 * DAY, 3600)):
            served.clock.advance(passed)
            answer = await served.client.get(ISSUER_DIRECTORY_PATH)
            assert ("cache-control", f"max-age={age}") in answer.headers


@pytest.mark.parametrize(
    "passed, status",
    [
        (-HOUR - SKEW - timedelta(seconds=1), 422),
        (-HOUR - SKEW, 200),
        (DAY, 200),
        (DAY + SKEW - timedelta(seconds=1), 200),
        (DAY + SKEW, 422),
    ],
)
async def test_key_signs_a_stated_time_before_and_after_its_epoch(
    passed: timedelta, status: int, tmp_path: Path
) -> None:
    async with issuing(tmp_path) as served:
        served.clock.advance(passed)
        answer = await served.client.post(ask_one()[1])
        assert answer.status == status
        assert status == 200 or answer.problem == (422, "token_epoch")


async def test_charges_are_forgotten_when_the_key_no_longer_signs_and_not_before(tmp_path: Path) -> None:
    async with issuing(tmp_path, sweep_interval=0.01) as served:
        await served.client.post(ask_one()[1])
        served.clock.advance(DAY + SKEW - timedelta(seconds=1))
        await anyio.sleep(0.1)
        assert await served.charged() == [1]
        served.clock.advance(timedelta(seconds=1))
        with anyio.fail_after(10):
            while await served.charged():
                await anyio.sleep(0.01)


class ChangingKeys:
    """Keys that somebody adds to, or that cannot be read for a while."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self.keys = keys
        self.error: Exception | None = None
        self.loads = 0

    async def load(self, ended: datetime) -> Sequence[SigningKey]:
        self.loads += 1
        if self.error is not None:
            raise self.error
        return self.keys

    async def aclose(self) -> None:
        for key in self.keys:
            await key.signer.aclose()

    async def loaded_again(self) -> None:
        before = self.loads
        with anyio.fail_after(10):
            while self.loads < before + 2:
                await anyio.sleep(0.01)


async def test_new_key_is_taken_without_a_restart_and_an_unreadable_one_changes_nothing(tmp_path: Path) -> None:
    first, second = await two_epochs().load(EPOCH)
    keys = ChangingKeys([first])
    async with issuing(tmp_path, keys=keys, reload_interval=0.01) as served:

        async def listed() -> int:
            return len(IssuerDirectory.decode((await served.client.get(ISSUER_DIRECTORY_PATH)).body).token_keys)

        assert await listed() == 1
        keys.error = ConfigError("a key file cannot be read")
        await keys.loaded_again()
        assert await listed() == 1
        keys.error, keys.keys = None, [first, second]
        await keys.loaded_again()
        assert await listed() == 2


async def test_keys_that_cannot_be_told_apart_are_refused_at_the_start(tmp_path: Path) -> None:
    [key, _] = await two_epochs().load(EPOCH)
    with pytest.raises(ConfigError, match="twice"):
        async with issuing(tmp_path, keys=FixedIssuerKeys([key, key])):
            pass


# --- What breaks ------------------------------------------------------------------------------------------------------


async def test_signer_that_fails_leaves_a_charge_and_the_repetition_is_free(tmp_path: Path) -> None:
    signer = OpenSigner()
    client, body = ask_one()
    async with issuing(tmp_path, keys=two_epochs(signer), quota=1) as served:
        signer.error = BackendError("the device is gone")
        assert (await served.client.post(body)).problem == (502, "backend")
        signer.error = None
        assert len(tokens_of(client, await served.client.post(body))) == 1
        assert await served.charged() == [1]


async def test_nothing_is_signed_while_the_store_does_not_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signer = OpenSigner()
    (tmp_path / "not a folder").write_bytes(b"")
    broken = sqlite_issuer_store(tmp_path / "not a folder" / "issuer.db")
    async with issuing(tmp_path, keys=two_epochs(signer), store=broken) as served:
        answer = await served.client.post(ask_one()[1])
        assert answer.problem == (503, "busy")
        assert "retry-after" in dict(answer.headers)
        assert b"not a folder" not in answer.body  # where things are is for the operator alone
        assert "not a folder" in caplog.text
        assert signer.signed == 0
        assert (await served.client.get("/healthz")).status == 503


async def test_issuer_is_well_while_a_key_signs(tmp_path: Path) -> None:
    async with issuing(tmp_path) as served:
        assert (await served.client.get("/healthz")).status == 200
        served.clock.advance(3 * DAY)
        assert (await served.client.get("/healthz")).status == 503
        with pytest.raises(BusyError, match="confsec issuer keys"):
            await served.issuer.check()


async def test_lifespan_closes_keys_and_store(tmp_path: Path) -> None:
    signers = OpenSigner(), OpenSigner(OTHER_2048)
    issuer = Issuer(IssuerConfig(), sqlite_issuer_store(tmp_path / "issuer.db"), two_epochs(*signers))
    async with issuer.lifespan():
        assert not signers[0].closed
    assert [signer.closed for signer in signers] == [True, True]


async def test_what_is_stored_and_logged_has_nothing_of_messages_signatures_and_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    signer = OpenSigner()
    client, body = ask_many(2)
    single, single_body = ask_one()
    async with issuing(tmp_path, keys=two_epochs(signer)) as served:
        secret = served.client.key.secret
        answers = [
            await served.client.post_batch(body),
            await served.client.post(single_body, confsec_request_id=OTHER_ID),
        ]
        signer.error = ZeroDivisionError(str(body))  # a bug of ours that quotes what it found
        await served.client.post(single_body, confsec_request_id=OTHER_ID)
        await served.client.post(body)
        tokens = [*tokens_of(client, answers[0]), *tokens_of(single, answers[1])]
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir()) + dump(tmp_path / "issuer.db")
    assert bytes.fromhex(REQUEST_ID) in stored  # so what is stored is seen here
    assert "ZeroDivisionError" in caplog.text
    traces = [secret, body, single_body, *(answer.body for answer in answers)]
    traces += [request.blinded_msg for request in BatchTokenRequest.decode(body).token_requests]
    traces += [TokenRequest.decode(single_body).blinded_msg]
    traces += [
        answers[1].body,
        *(token.authenticator for token in tokens),
        *(t.token_input.token_nonce for t in tokens),
    ]
    for trace in traces:
        for start in range(0, len(trace) - 16, 16):
            part = trace[start : start + 16]
            assert part not in stored
            for text in (part.hex(), repr(part)[2:-1]):
                assert text not in caplog.text


def dump(path: Path) -> bytes:
    """Return all values of a database, one after the other."""
    with sqlite3.connect(path) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        values = [value for table in tables for row in connection.execute(f"SELECT * FROM {table}") for value in row]
    connection.close()
    return b"|".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
