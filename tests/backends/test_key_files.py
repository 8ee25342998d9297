"""Issuer's keys at rest."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from confsec.backends import libcrypto_rsa
from confsec.backends.key_files import (
    TokenKeyFile,
    passphrase_from_environment,
    passphrase_from_file,
    read_private_file,
)
from confsec.errors import ConfigError, DecodeError
from confsec.protocol.token_keys import PARTIALLY_BLIND_RSA, TokenKey
from confsec.protocol.wire import encode_base64url
from confsec.testing import EPOCH
from tests.backends.rsa_cases import raw_key
from tests.protocol.token_cases import DAY, KEYS, OTHER_TOKEN_KEY

PASSPHRASE = b"correct horse"


@pytest.fixture(autouse=True)
def quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spend no second on each passphrase."""
    monkeypatch.setattr(libcrypto_rsa, "_SCRYPT_N", 16)
    monkeypatch.setattr(libcrypto_rsa, "_SCRYPT_P", 1)


def key_file(name: str = "rsa2048", **options: int) -> TokenKeyFile:
    key = raw_key(name)
    return TokenKeyFile.encrypt(key, lambda: PASSPHRASE, not_before=EPOCH, not_after=EPOCH + DAY, **options)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = key_file("safe2048", token_type=PARTIALLY_BLIND_RSA)
    file.write(tmp_path / "key")
    read = TokenKeyFile.read(tmp_path / "key")
    assert read == file
    assert read.epoch.key == TokenKey(PARTIALLY_BLIND_RSA, KEYS["safe2048"].public_key)
    assert (read.epoch.not_before, read.epoch.not_after) == (EPOCH, EPOCH + DAY)
    assert read.open(lambda: PASSPHRASE).public_key == KEYS["safe2048"].public_key


def test_file_is_for_its_owner_only_and_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key_file().write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="File exists"):
        key_file().write(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o644])
def test_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    key_file().write(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"got {mode:04o}, want 0600"):
        TokenKeyFile.read(path)


def test_other_programs_read_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key_file().write(path)
    assert load_pem_private_key(path.read_bytes(), PASSPHRASE).key_size == 2048  # type: ignore[union-attr]


def test_wrong_passphrase_opens_nothing() -> None:
    with pytest.raises(ConfigError, match="passphrase"):
        key_file().open(lambda: b"wrong")


def test_times_beyond_their_order_are_refused() -> None:
    key = raw_key("rsa2048")
    with pytest.raises(ConfigError, match="ends before it begins"):
        TokenKeyFile.encrypt(key, lambda: PASSPHRASE, not_before=EPOCH, not_after=EPOCH - timedelta(seconds=1))


def test_key_that_is_too_long_for_tokens_is_refused() -> None:
    with pytest.raises(DecodeError, match="3072 bits"):
        key_file("rsa3072")


def test_file_that_names_another_public_key_is_refused() -> None:
    text = re.sub(
        'token_key = ".*"', f'token_key = "{encode_base64url(OTHER_TOKEN_KEY.to_spki())}"', key_file().encode()
    )
    with pytest.raises(ConfigError, match="another public key"):
        TokenKeyFile.decode(text).open(lambda: PASSPHRASE)


@pytest.mark.parametrize(
    ("pattern", "instead", "why"),
    [
        ("version = 1", "version = 2", "other members"),
        ("version = 1", "version = 1\nmore = 1", "other members"),
        ("version = 1", 'version = "1"', "other members"),
        ("version = 1", "version = ", "not TOML"),
        ("not_before = .*", "", "other members"),
        (r"(not_before = .*)\+00:00", r"\1", "without its zone"),
        ("not_after = .*", "not_after = 2020-01-01T00:00:00Z", "ends before it begins"),
        ("token_type = .*", "token_type = 1", "not supported"),
        ('token_key = "..', 'token_key = "', "cannot be used"),
        ("token_key = .*", 'token_key = "?"', "cannot be used"),
        ("BEGIN ENCRYPTED PRIVATE KEY", "BEGIN PRIVATE KEY", "no encrypted private key"),
        ("-----END.*\n", "", "no encrypted private key"),
        (r"\Z", "more", "no encrypted private key"),
    ],
)
def test_file_with_a_defect_is_refused(tmp_path: Path, pattern: str, instead: str, why: str) -> None:
    text, count = re.subn(pattern, instead, key_file().encode(), count=1)
    assert count == 1
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"{re.escape(str(path))}: .*{why}"):
        TokenKeyFile.read(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        TokenKeyFile.read(tmp_path / "key")


def test_file_that_is_no_text_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(b"secret \xff")
    with pytest.raises(ConfigError, match="no key file") as caught:
        TokenKeyFile.read(path)
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_long_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(b"#" * 65_537)
    with pytest.raises(ConfigError, match="too long"):
        read_private_file(path)


def test_nothing_of_the_private_key_is_shown() -> None:
    file = key_file()
    assert "PRIVATE KEY" not in repr(file)
    assert file.encrypted_key.splitlines()[3] not in repr(file)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_passphrase_comes_from_a_file_without_its_last_line_break(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "passphrase"
    path.touch(mode=0o600)
    path.write_bytes(b" two words \n" + end)
    assert passphrase_from_file(path)() == (b" two words \n" if end else b" two words ")


def test_passphrase_file_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.touch(mode=0o644)
    with pytest.raises(ConfigError, match="open to others"):
        passphrase_from_file(path)()


def test_passphrase_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    passphrase = passphrase_from_environment("CONFSEC_TEST_PASSPHRASE")
    monkeypatch.setenv("CONFSEC_TEST_PASSPHRASE", "pässphrase")
    assert passphrase() == "pässphrase".encode()
    monkeypatch.delenv("CONFSEC_TEST_PASSPHRASE")
    with pytest.raises(ConfigError, match="CONFSEC_TEST_PASSPHRASE"):
        passphrase()
