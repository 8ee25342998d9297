"""The wallet loses nothing and sends nothing twice, at whatever moment it dies."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from confsec.backends.wallet_sqlite import SqliteWalletStore
from confsec.errors import BackendError, BusyError, ConfigError, DeadlineError, TokenEpochError, TokenKeyError
from confsec.protocol.directory import IssuerEntry
from confsec.testing import EPOCH, FixedClock
from confsec.wallet import Wallet, WalletSettings
from tests.client.wallet_issuer import DAY, LedgerIssuer, issuer_entry
from tests.protocol.token_cases import CHALLENGE, KEYRING, OTHER_TOKEN_KEY
from tests.support import ROOT

pytestmark = pytest.mark.anyio

ENTRY = issuer_entry()


def new_wallet(path: Path | None, clock: FixedClock | None = None, **settings: object) -> Wallet:
    chosen = evolve(WalletSettings(batch=4, max_delay=0.01), **settings)  # type: ignore[arg-type]
    return Wallet(path, settings=chosen, clock=clock or FixedClock())


@pytest.mark.parametrize("in_memory", [True, False])
async def test_an_empty_wallet_fetches_and_says_so(tmp_path: Path, *, in_memory: bool) -> None:
    issuer = LedgerIssuer(tmp_path / "ledger")
    async with new_wallet(None if in_memory else tmp_path / "wallet") as wallet:
        first = await wallet.take(ENTRY, issuer)
        second = await wallet.take(ENTRY, issuer)
        assert (first.prefetched, second.prefetched) == (False, True)
        assert first.token.token != second.token.token
        counts = await wallet.counts()
        assert (counts.in_doubt, counts.spent, counts.fetched) == (2, 0, issuer.charged)
        await wallet.settle(first)
        await wallet.settle(first)
        counts = await wallet.counts()
        assert (counts.in_doubt, counts.spent, counts.fetched) == (1, 1, issuer.charged)


async def test_every_token_is_handed_out_once_to_many_tasks_and_processes_at_once(tmp_path: Path) -> None:
    issuer = LedgerIssuer(tmp_path / "ledger")
    wallets = [new_wallet(tmp_path / "wallet", batch=40) for _ in range(2)]
    await wallets[0].fetch(ENTRY, issuer, 40)
    seen: list[bytes] = []

    async def take(wallet: Wallet) -> None:
        seen.append((await wallet.take(ENTRY, issuer)).token.token.token_id())

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(take, wallets[number % 2])
    assert len(set(seen)) == 40
    for wallet in wallets:
        assert (await wallet.counts()).in_doubt == 40
        await wallet.aclose()


async def test_tokens_are_not_spent_in_the_order_in_which_they_were_fetched(tmp_path: Path) -> None:
    async with new_wallet(None) as wallet:
        await wallet.fetch(ENTRY, LedgerIssuer(tmp_path / "ledger"), 20)
        numbers = [(await wallet.take(ENTRY, LedgerIssuer(tmp_path / "ledger"))).token.id for _ in range(20)]
    assert sorted(numbers) == list(range(1, 21))
    assert numbers != sorted(numbers)


async def test_what_was_asked_for_is_asked_for_again_and_paid_once(tmp_path: Path) -> None:
    issuer = LedgerIssuer(tmp_path / "ledger")

    async def lost(request_id: str, request: bytes) -> bytes:
        await issuer(request_id, request)
        raise BusyError("the answer was lost")

    async with new_wallet(tmp_path / "wallet") as wallet:
        with pytest.raises(BusyError):
            await wallet.fetch(ENTRY, lost, 3)
        assert (await wallet.counts()).asked_for == 3
        assert issuer.charged == 3
        assert await wallet.fetch(ENTRY, issuer, 3) == 3
        assert (issuer.charged, (await wallet.counts()).fetched) == (3, 3)


async def test_a_request_that_nobody_signs_any_more_is_forgotten(tmp_path: Path) -> None:
    clock = FixedClock()
    issuer = LedgerIssuer(tmp_path / "ledger")
    issuer.down = True
    async with new_wallet(tmp_path / "wallet", clock) as wallet:
        with pytest.raises(BusyError):
            await wallet.fetch(ENTRY, issuer, 3)
        clock.advance(2 * DAY)
        with pytest.raises(TokenKeyError, match="no token key"):
            await wallet.fetch(ENTRY, issuer, 3)
        assert (await wallet.counts()).asked_for == 0

    async def too_late(request_id: str, request: bytes) -> bytes:
        raise TokenEpochError("this key does not sign now")

    async with new_wallet(None) as wallet:
        with pytest.raises(TokenEpochError):
            await wallet.fetch(ENTRY, too_late, 3)
        assert (await wallet.counts()).asked_for == 0


async def test_a_token_that_has_expired_is_not_spent(tmp_path: Path) -> None:
    clock = FixedClock()
    async with new_wallet(None, clock) as wallet:
        await wallet.fetch(ENTRY, LedgerIssuer(tmp_path / "ledger"), 3)
        clock.advance(DAY + timedelta(seconds=1))
        with pytest.raises(TokenKeyError):
            await wallet.take(ENTRY, LedgerIssuer(tmp_path / "ledger"))
        assert (await wallet.counts()).fetched == 3


async def test_a_token_of_another_key_or_challenge_is_not_spent(tmp_path: Path) -> None:
    """A key that a directory had for a while may have been made for one client: its tokens would name him."""
    issuer = LedgerIssuer(tmp_path / "ledger")
    old = evolve(KEYRING.epochs[0], key=OTHER_TOKEN_KEY)
    others = (
        evolve(ENTRY, token_keys=(old,)),
        evolve(ENTRY, token_challenge=evolve(CHALLENGE, issuer_name="other.example")),
    )
    async with new_wallet(None, max_unspent=3) as wallet:
        assert await wallet.fetch(ENTRY, issuer, 3) == 3
        for entry in others:
            asked: list[str] = []

            async def down(request_id: str, request: bytes, asked: list[str] = asked) -> bytes:
                asked.append(request_id)
                raise BusyError("the issuer is down")

            with pytest.raises(BusyError):
                await wallet.take(entry, down)
            assert len(asked) == 1  # those of other keys fill no wallet
        assert (await wallet.counts()).unspent == 3
        assert (await wallet.take(ENTRY, issuer)).prefetched


async def test_a_wallet_never_hoards(tmp_path: Path) -> None:
    issuer = LedgerIssuer(tmp_path / "ledger")
    async with new_wallet(None, max_unspent=5) as wallet:
        assert await wallet.fetch(ENTRY, issuer, 50) == 5
        assert await wallet.fetch(ENTRY, issuer, 50) == 0
        assert issuer.charged == 5


async def test_a_strict_wallet_waits_for_the_background(tmp_path: Path) -> None:
    issuer = LedgerIssuer(tmp_path / "ledger")

    async def entry() -> IssuerEntry:
        return ENTRY

    async with new_wallet(None, strict=True) as wallet, anyio.create_task_group() as tasks:
        tasks.start_soon(wallet.keep_filled, entry, issuer)
        with anyio.fail_after(20):
            assert (await wallet.take(ENTRY, issuer)).prefetched
        tasks.cancel_scope.cancel()
    async with new_wallet(None, strict=True, strict_timeout=0.01) as wallet:
        with pytest.raises(DeadlineError, match="strict"):
            await wallet.take(ENTRY, issuer)


async def test_the_background_goes_on_when_the_issuer_comes_back(tmp_path: Path) -> None:
    issuer = LedgerIssuer(tmp_path / "ledger")
    issuer.down = True

    async def entry() -> IssuerEntry:
        return ENTRY

    async with new_wallet(None) as wallet, anyio.create_task_group() as tasks:
        tasks.start_soon(wallet.keep_filled, entry, issuer)
        with anyio.fail_after(20):
            while issuer.calls < 1:
                await anyio.sleep(0.01)
            issuer.down = False
            while (await wallet.counts()).unspent == 0:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_tokens_can_be_carried_to_another_wallet(tmp_path: Path) -> None:
    issuer = LedgerIssuer(tmp_path / "ledger")
    async with new_wallet(None) as one, new_wallet(None) as other:
        await one.fetch(ENTRY, issuer, 3)
        carried = await one.store.export()
        assert (await one.counts()).unspent == 0
        assert await other.store.add(carried) == 3
        assert await other.store.add(carried) == 0
        assert (await other.counts()).fetched == 3


async def test_a_file_that_others_may_read_or_that_is_no_wallet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    path.write_bytes(b"no wallet" * 100)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        await SqliteWalletStore(path).counts()
    path.chmod(0o600)
    with pytest.raises(BackendError, match="does not work"):
        await SqliteWalletStore(path).counts()


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    async with new_wallet(tmp_path / "wallet") as wallet:
        await wallet.fetch(ENTRY, LedgerIssuer(tmp_path / "ledger"), 1)
        assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("wallet*")} == {0o600}


async def test_a_closed_wallet_says_so() -> None:
    wallet = new_wallet(None)
    await wallet.aclose()
    await wallet.aclose()
    with pytest.raises(BackendError, match="closed"):
        await wallet.counts()


def die_at(number: int, folder: Path) -> tuple[int, list[str]]:
    """Run a child that dies at its `number`-th point, and return its exit status and what it sent."""
    program = [
        sys.executable,
        "-m",
        "tests.client.wallet_child",
        str(number),
        str(folder / "wallet"),
        str(folder / "ledger"),
    ]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode in {0, -9}, done.stderr
    return done.returncode, [line.split()[1] for line in done.stdout.splitlines() if line.startswith("sent")]


@pytest.mark.slow
def test_a_wallet_that_dies_at_any_moment_loses_nothing_and_sends_nothing_twice(tmp_path: Path) -> None:
    async def check(folder: Path, sent: list[str]) -> None:
        issuer = LedgerIssuer(folder / "ledger")
        async with Wallet(folder / "wallet", clock=FixedClock(EPOCH)) as wallet:
            before = await wallet.counts()
            assert before.fetched + before.asked_for >= issuer.charged
            assert before.in_doubt <= 1
            await wallet.fetch(ENTRY, issuer, 1)
            after = await wallet.counts()
            assert (after.fetched, after.asked_for) == (issuer.charged, 0)
            left = [(await wallet.take(ENTRY, issuer)).token.token.token_id().hex() for _ in range(after.unspent)]
        assert not set(left) & set(sent)
        assert len(set(sent)) == len(sent)

    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        status, sent = die_at(number, folder)
        anyio.run(check, folder, sent)
        if status == 0:
            assert number > 15  # there were so many points at least, and then it lived
            return
    pytest.fail("the child never lived")
