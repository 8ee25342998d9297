"""`confsec issuer`: accounts and keys over the same store and folder as the role that serves."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from attrs import evolve

from confsec.backends import libcrypto_rsa
from confsec.backends.issuer_stores import open_issuer_store
from confsec.backends.key_generation import SearchProgress
from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.cli import issuer_keys, run
from confsec.cli.issuer import IssuerCommandConfig
from confsec.errors import ConfigError
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.privacy_pass import BatchTokenClient, PendingToken, TokenIssued
from confsec.protocol.token_batch import MEDIA_TYPE_BATCH_REQUEST
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_directory import ISSUER_DIRECTORY_PATH, IssuerDirectory
from confsec.protocol.token_keys import BLIND_RSA
from confsec.roles.config import config_fields
from confsec.roles.issuer import TOKEN_REQUEST_PATH
from confsec.roles.issuer_key_folder import write_token_key
from confsec.testing import seeded_randbytes
from tests.backends.rsa_cases import pem_of
from tests.protocol.token_cases import CHALLENGE
from tests.support import ROOT

Capture = pytest.CaptureFixture[str]

PASSPHRASE = "correct horse"


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take fixed keys, spend no second on each passphrase, and have one in the environment."""
    names = iter(["rsa2048", "other2048", "safe2048"])

    def generate_key(
        *, safe_primes: bool = False, progress: Callable[[SearchProgress], None] | None = None
    ) -> LibcryptoKey:
        if safe_primes:
            assert progress is not None
            for step in (SearchProgress(1, 0), SearchProgress(2, 0), SearchProgress(9, 1), SearchProgress(12, 2)):
                progress(step)
        return LibcryptoKey.from_pem(pem_of(next(names)))

    monkeypatch.setattr(issuer_keys, "generate_key", generate_key)
    monkeypatch.setattr(libcrypto_rsa, "_SCRYPT_N", 16)
    monkeypatch.setattr(libcrypto_rsa, "_SCRYPT_P", 1)
    monkeypatch.setenv("CONFSEC_ISSUER_PASSPHRASE", PASSPHRASE)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "issuer.db")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "keys")


def output(capsys: Capture, *arguments: str) -> str:
    assert run(["issuer", *arguments]) == 0
    return capsys.readouterr().out


def values(capsys: Capture, *arguments: str) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(output(capsys, *arguments, "--json"))
    return found


def add(capsys: Capture, store: str, *options: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(output(capsys, "account", "add", "--store", store, "--json", *options))
    return found


# --- Accounts ---------------------------------------------------------------------------------------------------------


def test_new_account_shows_its_key_once(store: str, capsys: Capture) -> None:
    key = output(capsys, "account", "add", "--store", store, "--quota", "5", "--label", "Ada").strip()
    assert re.fullmatch("csk_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", key)
    listed = output(capsys, "account", "list", "--store", store)
    assert listed == f"{key[4:20]}  5 tokens in each epoch  Ada\n"
    secret = key[21:].encode()
    assert all(secret not in path.read_bytes() for path in Path(store).parent.iterdir())


def test_accounts_are_listed_with_what_they_are(store: str, capsys: Capture) -> None:
    one, two = add(capsys, store), add(capsys, store, "--quota", "7", "--label", "two")
    output(capsys, "account", "revoke", "--store", store, one["account"])
    output(capsys, "account", "quota", "--store", store, two["account"], "9")
    accounts = values(capsys, "account", "list", "--store", store)["accounts"]
    assert [(each["account"], each["quota"], each["revoked"], each["label"], each["usage"]) for each in accounts] == [
        (one["account"], 1000, True, "", []),
        (two["account"], 9, False, "two", []),
    ]
    assert "revoked" in output(capsys, "account", "list", "--store", store)


@pytest.mark.parametrize("command", [["revoke"], ["quota"]])
def test_account_that_is_not_there_is_an_error(command: list[str], store: str, capsys: Capture) -> None:
    tokens = ["5"] if command == ["quota"] else []
    assert run(["issuer", "account", *command, "--store", store, "0123456789abcdef", *tokens]) == 1
    assert "no such account" in capsys.readouterr().err


@pytest.mark.parametrize("quota", ["-1", "x", str(2**53 + 1)])
def test_quota_that_is_no_number_of_tokens_is_refused(quota: str, store: str, capsys: Capture) -> None:
    assert run(["issuer", "account", "add", "--store", store, "--quota", quota]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "sqlite://host/x", "redis://127.0.0.1"])
def test_store_that_is_none_is_refused(url: str, capsys: Capture) -> None:
    assert run(["issuer", "account", "list", "--store", url]) == 2
    assert "postgresql" in capsys.readouterr().err


def test_store_is_a_path_or_a_url(tmp_path: Path, capsys: Capture) -> None:
    account = add(capsys, str(tmp_path / "a b.db"))
    url = "sqlite://" + str(tmp_path / "a b.db").replace(" ", "%20")
    assert account["account"] in output(capsys, "account", "list", "--store", url)
    with pytest.raises(ConfigError, match="connection string"):
        open_issuer_store("postgresql://[")


# --- Keys -------------------------------------------------------------------------------------------------------------


def test_new_key_signs_from_now_on_as_long_as_said(folder: str, capsys: Capture) -> None:
    shown = output(capsys, "keys", "new", "--folder", folder, "--lifetime", "2d")
    assert "signs" in shown
    [key] = values(capsys, "keys", "list", "--folder", folder)["keys"]
    assert times(key)[1] - times(key)[0] == timedelta(days=2)
    assert key["state"] == "signs"
    assert PASSPHRASE not in Path(str(key["file"])).read_text()


def times(key: dict[str, object]) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(str(key["not_before"])), datetime.fromisoformat(str(key["not_after"]))


def test_rotation_makes_the_next_key_and_only_that(folder: str, capsys: Capture) -> None:
    output(capsys, "keys", "new", "--folder", folder)
    [made] = values(capsys, "keys", "rotate", "--folder", folder)["keys"]
    assert made["state"] == "published, signs later"
    assert values(capsys, "keys", "rotate", "--folder", folder)["keys"] == []
    assert "already" in output(capsys, "keys", "rotate", "--folder", folder)
    first, second = values(capsys, "keys", "list", "--folder", folder)["keys"]
    assert times(first)[1] - times(second)[0] == timedelta(days=1)
    assert first["token_key_id"] != second["token_key_id"]


def test_search_for_safe_primes_tells_how_far_it_is(folder: str, capsys: Capture) -> None:
    assert run(["issuer", "keys", "new", "--folder", folder, "--safe-primes"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "tried" in line]
    assert lines == [f"{tried} numbers tried, {found} of 2 primes found" for tried, found in ((1, 0), (9, 1), (12, 2))]


def test_search_is_followed_number_by_number_on_a_terminal(
    folder: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(["issuer", "keys", "new", "--folder", folder, "--safe-primes"]) == 0
    assert capsys.readouterr().err.count("\r") == 4


def test_no_prime_is_searched_without_a_passphrase(
    folder: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONFSEC_ISSUER_PASSPHRASE")
    monkeypatch.setattr(issuer_keys, "generate_key", lambda **_: pytest.fail("it searches"))
    assert run(["issuer", "keys", "new", "--folder", folder]) == 2
    assert "CONFSEC_ISSUER_PASSPHRASE" in capsys.readouterr().err


def test_rotation_of_a_folder_that_is_not_there_says_what_to_do(folder: str, capsys: Capture) -> None:
    assert run(["issuer", "keys", "rotate", "--folder", folder]) == 2
    assert "keys new" in capsys.readouterr().err


# --- The directory ----------------------------------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """Return a directory file without an issuer, and make the keys of two gateways."""
    for name in ("gateway", "issuer-gateway"):
        assert run(["keys", "gateway", "--out", str(tmp_path / f"{name}.key")]) == 0
    path = tmp_path / "service.toml"
    options = ["--relay", "https://relay.example/", "--router", "https://router.example", "--out", str(path)]
    assert run(["keys", "directory", *options, "--keys", str(tmp_path / "gateway.key")]) == 0
    return path


def write_directory(service: Path, folder: str, *options: str, relay: str = "https://relay.example/issuer") -> int:
    arguments = ["--service", str(service), "--folder", folder, "--relay", relay]
    keys = ["--gateway-keys", str(service.parent / "issuer-gateway.key")]
    return run(["issuer", "directory", *arguments, *keys, *options])


def test_directory_gets_the_issuer_and_keeps_what_it_had(service: Path, folder: str, capsys: Capture) -> None:
    before = ServiceDirectory.from_toml(service.read_text())
    output(capsys, "keys", "new", "--folder", folder)
    output(capsys, "keys", "rotate", "--folder", folder)
    assert write_directory(service, folder, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    directory = ServiceDirectory.from_toml(service.read_text())
    assert evolve(directory, issuer=None) == before
    assert directory.issuer is not None
    assert directory.issuer.token_challenge == TokenChallenge(
        BLIND_RSA, "issuer.confsec.invalid", origin_info="router.example"
    )
    keys = values(capsys, "keys", "list", "--folder", folder)["keys"]
    assert printed["token_key_ids"] == [key["token_key_id"] for key in keys]
    assert [epoch.key.token_key_id.hex() for epoch in directory.issuer.token_keys] == printed["token_key_ids"]
    assert printed["sha256"] == sha256(service.read_bytes()).hexdigest() == directory.digest.hex()
    # Once more, and the keys are those of today.
    assert write_directory(service, folder) == 0
    assert printed["sha256"] in capsys.readouterr().out


def test_key_whose_tokens_still_pay_stays_in_the_directory(service: Path, folder: str, capsys: Capture) -> None:
    begin = datetime.now(UTC) - timedelta(hours=2)
    write_token_key(
        Path(folder),
        lambda: LibcryptoKey.from_pem(pem_of("rsa2048")),
        PASSPHRASE.encode,
        not_before=begin,
        not_after=begin + timedelta(hours=1),
    )
    assert write_directory(service, folder, "--keep", "59m") == 2
    assert "keys new" in capsys.readouterr().err
    assert write_directory(service, folder, "--keep", "61m") == 0


@pytest.mark.parametrize(
    "options, word",
    [
        (["--origin", "issuer"], "origin"),
        (["--origin", "http://issuer.example"], "https"),
        (["--keep", "x"], "duration"),
    ],
)
def test_directory_that_clients_could_not_use_is_not_written(
    options: list[str], word: str, service: Path, folder: str, capsys: Capture
) -> None:
    output(capsys, "keys", "new", "--folder", folder)
    before = service.read_bytes()
    assert write_directory(service, folder, *options) == 2
    assert word in capsys.readouterr().err
    assert write_directory(service, folder, relay="http://relay.example/issuer") == 2
    assert service.read_bytes() == before


def test_file_that_is_no_directory_is_left_alone(service: Path, folder: str, capsys: Capture) -> None:
    output(capsys, "keys", "new", "--folder", folder)
    for content in (b"x = 1", b"\xff"):
        service.write_bytes(content)
        assert write_directory(service, folder) == 2
        assert service.read_bytes() == content


# --- The role ---------------------------------------------------------------------------------------------------------


def test_every_setting_has_its_sentence() -> None:
    for item in config_fields(IssuerCommandConfig):
        assert item.help.endswith("."), item.name


@pytest.fixture
def url(folder: str, store: str, tmp_path: Path, capsys: Capture) -> Iterator[str]:
    """Run an issuer as a process over a new key, with its passphrase in a file."""
    output(capsys, "keys", "new", "--folder", folder)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(PASSPHRASE + "\n")
    passphrase.chmod(0o600)
    command = [sys.executable, "-m", "confsec", "issuer", "serve", "--store", store, "--keys", folder]
    command += ["--passphrase-file", str(passphrase)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        announced = json.loads(process.stdout.readline())
        assert announced["role"] == "issuer"
        yield announced["url"]
    finally:
        process.terminate()
        assert process.wait() == 0
        process.stdout.close()


def test_account_of_the_command_line_gets_tokens_until_it_is_revoked(url: str, store: str, capsys: Capture) -> None:
    with urlopen(url + ISSUER_DIRECTORY_PATH) as answer:
        directory = IssuerDirectory.decode(answer.read())
    token_key = directory.choose_key(BLIND_RSA, now=datetime.fromisoformat("9999-01-01T00:00:00Z"))
    pending = [PendingToken.draw(CHALLENGE, token_key, randbytes=seeded_randbytes(str(n))) for n in range(2)]
    client, account = BatchTokenClient(token_key, pending), add(capsys, store, "--quota", "2")
    request = Request(
        url + TOKEN_REQUEST_PATH,
        data=client.request(),
        headers={
            "authorization": f"Bearer {account['api_key']}",
            "content-type": MEDIA_TYPE_BATCH_REQUEST,
            "confsec-request-id": "0" * 32,
        },
    )
    contents = []
    for _ in range(2):  # the second one is a repetition
        with urlopen(request) as answer:
            contents.append(answer.read())
    assert contents[0] == contents[1]
    client.receive_data(contents[0])
    assert [type(event) for event in client.receive_eof()] == [TokenIssued] * 2

    listed = output(capsys, "account", "list", "--store", store)
    assert f"  2 with key {token_key.token_key_id.hex()[:16]}… until " in listed
    [one] = values(capsys, "account", "list", "--store", store)["accounts"]
    assert [usage["tokens"] for usage in one["usage"]] == [2]  # type: ignore[attr-defined]

    output(capsys, "account", "revoke", "--store", store, account["account"])
    with pytest.raises(HTTPError) as raised:
        urlopen(request)
    assert json.loads(raised.value.read())["code"] == "account_revoked"
    raised.value.close()


def test_store_keeps_of_a_request_what_it_says_and_nothing_else(store: str, capsys: Capture) -> None:
    add(capsys, store)
    connection = sqlite3.connect(store)
    columns = {
        table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in ("requests", "usage")
    }
    connection.close()
    assert columns == {
        "requests": ["account_id", "request_id", "request_digest", "expires_at"],
        "usage": ["account_id", "token_key_id", "tokens", "expires_at"],
    }
