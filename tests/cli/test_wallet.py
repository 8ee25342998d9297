"""`confsec wallet`: what it shows, and how tokens are carried."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from confsec.cli import run
from confsec.testing import EPOCH, FixedClock
from confsec.wallet import Wallet, WalletSettings
from tests.client.wallet_issuer import LedgerIssuer, issuer_entry
from tests.protocol.test_directory import directory


@pytest.fixture
def wallet_file(tmp_path: Path) -> Path:
    """Return a wallet with three unspent tokens and one in doubt."""
    path = tmp_path / "wallet.db"

    async def fill() -> None:
        issuer = LedgerIssuer(tmp_path / "ledger")
        async with Wallet(path, settings=WalletSettings(batch=4), clock=FixedClock(EPOCH)) as wallet:
            await wallet.fetch(issuer_entry(), issuer, 4)
            await wallet.take(issuer_entry(), issuer)

    anyio.run(fill)
    return path


def test_shows_what_a_wallet_holds(wallet_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["wallet", "show", "--wallet", str(wallet_file)]) == 0
    assert "4 tokens fetched: 3 unspent, 1 in doubt, 0 spent" in capsys.readouterr().out
    assert run(["wallet", "show", "--wallet", str(wallet_file), "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["fetched"] == numbers["unspent"] + numbers["in_doubt"] + numbers["spent"]


def test_carries_tokens_to_another_wallet(
    wallet_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carried, other = tmp_path / "tokens.toml", tmp_path / "other.db"
    assert run(["wallet", "export", "--wallet", str(wallet_file), str(carried)]) == 0
    assert carried.stat().st_mode & 0o777 == 0o600
    assert run(["wallet", "import", "--wallet", str(other), str(carried)]) == 0
    assert run(["wallet", "import", "--wallet", str(other), str(carried)]) == 0
    said = capsys.readouterr().out
    assert "3 tokens are in" in said
    assert "3 tokens were new" in said
    assert "0 tokens were new" in said
    assert run(["wallet", "show", "--wallet", str(wallet_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unspent"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "--wallet", "missing.db"], "there is no wallet"),
        (["show"], "--wallet"),
        (["import", "--wallet", "w.db", "missing.toml"], "cannot be read"),
        (["import", "--wallet", "w.db", "service.toml"], "holds no tokens"),
        (["export", "--wallet", "wallet.db", "/nowhere/tokens.toml"], "cannot be written"),
        (["fetch", "--wallet", "w.db", "--service", "service.toml"], "CONFSEC_ACCOUNT"),
        (["fetch", "--wallet", "w.db", "--service", "service.toml", "--count", "1000"], "1000"),
    ],
)
def test_wrong_input_is_one_line(
    wallet_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(wallet_file.parent)
    monkeypatch.delenv("CONFSEC_ACCOUNT", raising=False)
    Path("service.toml").write_text(directory().to_toml())
    assert run(["wallet", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert complaint.count("\n") == 1


def test_a_service_without_tokens_has_none_to_fetch(
    wallet_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(wallet_file.parent)
    monkeypatch.setenv("CONFSEC_ACCOUNT", "csk_x_y")
    Path("service.toml").write_text(directory().to_toml())
    assert run(["wallet", "fetch", "--wallet", "wallet.db", "--service", "service.toml"]) == 2
    assert "no tokens to fetch" in capsys.readouterr().err
