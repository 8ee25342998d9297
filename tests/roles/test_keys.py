"""Key files of a gateway, and keys that are made in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from confsec.errors import ConfigError, UnknownKeyError
from confsec.protocol.gateway_keys import GatewayKeyring
from confsec.protocol.kem import KEMS
from confsec.roles.keys import GatewayKeyFile, add_fresh_keys, kem_named, read_keyring
from confsec.testing import seeded_randbytes

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DAY = timedelta(days=1)
X25519 = "DHKEM(X25519, HKDF-SHA256)"


def new_file(kem: str = X25519, key_id: int = 7) -> GatewayKeyFile:
    return GatewayKeyFile.generate(kem, key_id, now=NOW, lifetime=DAY, overlap=DAY, randbytes=seeded_randbytes("keys"))


@pytest.mark.parametrize("kem", KEMS, ids=lambda kem: kem.name)
def test_key_file_round_trips(kem: object, tmp_path: Path) -> None:
    file = new_file(kem.name)  # type: ignore[attr-defined]
    path = tmp_path / "key.toml"
    file.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert GatewayKeyFile.read(path) == file
    assert read_keyring([str(path)]).lookup(7, file.to_key().config.kem_id, now=NOW).config == file.to_key().config


def test_key_file_hides_its_key() -> None:
    assert "private_key" not in repr(new_file())


def test_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.toml"
    new_file().write(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="0640"):
        read_keyring([str(path)])


def test_key_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.toml"
    new_file().write(path)
    with pytest.raises(ConfigError, match="cannot be written"):
        new_file().write(path)


@pytest.mark.parametrize(
    "old, new",
    [
        ("version = 1", "version = 2"),
        ("key_id = 7", "key_id = 256"),
        ("key_id = 7", "key_id = '7'"),
        ("key_id = 7", "key_id = 7\nmore = 1"),
        ('private_key = "', 'private_key = "AAAA'),
        ('private_key = "', 'private_key = "?'),
        ("DHKEM(X25519, HKDF-SHA256)", "RSA"),
        ("+00:00", ""),
        ("published_until = 2026", "published_until = 2020"),
        ("kem = ", "kem "),
    ],
)
def test_bad_key_file_is_refused_without_a_quotation(tmp_path: Path, old: str, new: str) -> None:
    text = new_file().encode()
    secret = text.split('private_key = "')[1].split('"')[0]
    assert old in text
    path = tmp_path / "key.toml"
    path.write_text(text.replace(old, new))
    path.chmod(0o600)
    with pytest.raises(ConfigError) as raised:
        read_keyring([str(path)])
    assert secret not in str(raised.value)


def test_missing_and_binary_key_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keyring([str(path)])
    path.write_bytes(b"\xff")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="no key file"):
        read_keyring([str(path)])


def test_two_keys_of_one_id_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.toml", "b.toml")]
    for path in paths:
        new_file().write(path)
    with pytest.raises(ConfigError, match=r"b\.toml"):
        read_keyring([str(path) for path in paths])


def test_fresh_keys_overlap_with_those_before() -> None:
    keyring = GatewayKeyring()
    for day in range(4):
        add_fresh_keys(
            keyring, [X25519], now=NOW + day * DAY, lifetime=DAY, overlap=DAY, randbytes=seeded_randbytes(f"{day}")
        )
    now = NOW + 3 * DAY
    assert [key.config.key_id for key in keyring.published(now)] == [3]
    kem_id = kem_named(X25519).kem_id
    assert keyring.lookup(2, kem_id, now=now).config.key_id == 2
    with pytest.raises(UnknownKeyError):
        keyring.lookup(1, kem_id, now=now)
