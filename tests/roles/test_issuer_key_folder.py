"""An issuer's keys in a folder: read while it runs, and turned over in time."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from confsec.backends import libcrypto_rsa
from confsec.backends.key_files import TokenKeyFile
from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.backends.software_signer import SoftwareSigner
from confsec.errors import ConfigError, LocalProtocolError
from confsec.protocol.directory import MAX_TOKEN_KEYS_AT_ONCE
from confsec.protocol.token_directory import ISSUER_DIRECTORY_PATH, IssuerDirectory
from confsec.protocol.token_keys import BLIND_RSA, PARTIALLY_BLIND_RSA, TokenKey, TokenKeyEpoch
from confsec.roles.issuer_key_folder import IssuerKeyFolder, next_epoch, read_key_folder, write_token_key
from confsec.testing import EPOCH
from tests.backends.rsa_cases import pem_of
from tests.protocol.token_cases import OTHER_TOKEN_KEY, TOKEN_KEY
from tests.roles.issuer_cases import DAY, HOUR, ask_many, issuing, tokens_of

PASSPHRASE = b"correct horse"


@pytest.fixture(autouse=True)
def quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spend no second on each passphrase."""
    monkeypatch.setattr(libcrypto_rsa, "_SCRYPT_N", 16)
    monkeypatch.setattr(libcrypto_rsa, "_SCRYPT_P", 1)


def passphrase() -> bytes:
    return PASSPHRASE


def fixed(*names: str) -> Callable[[], LibcryptoKey]:
    keys = iter(names)
    return lambda: LibcryptoKey.from_pem(pem_of(next(keys)))


def write(folder: Path, name: str = "rsa2048", begin: datetime = EPOCH - HOUR, lifetime: timedelta = DAY) -> Path:
    path, _ = write_token_key(folder, fixed(name), passphrase, not_before=begin, not_after=begin + lifetime)
    return path


def test_key_is_written_for_its_owner_only_and_named_by_its_epoch(tmp_path: Path) -> None:
    path = write(tmp_path / "keys")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.name == f"{EPOCH - HOUR:%Y%m%dT%H%M%SZ}-{TOKEN_KEY.token_key_id.hex()[:8]}.pem"
    [(found, file)] = read_key_folder(path.parent)
    assert (found, file.epoch) == (path, TokenKeyEpoch(TOKEN_KEY, EPOCH - HOUR, EPOCH - HOUR + DAY))


def test_keys_are_listed_by_their_epochs(tmp_path: Path) -> None:
    later, sooner = write(tmp_path, "other2048", EPOCH + DAY), write(tmp_path, "rsa2048", EPOCH)
    assert [path for path, _ in read_key_folder(tmp_path)] == [sooner, later]


def test_key_that_requests_could_not_tell_from_another_is_made_anew(tmp_path: Path) -> None:
    write(tmp_path, "rsa2048")
    _, file = write_token_key(
        tmp_path, fixed("rsa2048", "rsa2048", "other2048"), passphrase, not_before=EPOCH, not_after=EPOCH + DAY
    )
    assert file.epoch.key == OTHER_TOKEN_KEY


def test_folder_that_has_no_name_left_is_full(tmp_path: Path) -> None:
    write(tmp_path, "rsa2048")
    key = fixed("rsa2048")()
    with pytest.raises(ConfigError, match="too many keys"):
        write_token_key(tmp_path, lambda: key, passphrase, not_before=EPOCH, not_after=EPOCH + DAY)


def test_epoch_that_clients_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="so often"):
        write(tmp_path, lifetime=timedelta(minutes=59))


def test_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keys new"):
        read_key_folder(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be made"):
        write(tmp_path / "file" / "keys")


def test_key_of_another_type_is_refused(tmp_path: Path) -> None:
    file = TokenKeyFile.encrypt(
        fixed("safe2048")(), passphrase, not_before=EPOCH, not_after=EPOCH + DAY, token_type=PARTIALLY_BLIND_RSA
    )
    file.write(tmp_path / "metadata.pem")
    with pytest.raises(ConfigError, match="type of token"):
        read_key_folder(tmp_path)


# --- When the next epoch is -------------------------------------------------------------------------------------------


def epochs(*begins: timedelta, lifetime: timedelta = 7 * DAY) -> list[TokenKeyEpoch]:
    return [TokenKeyEpoch(TOKEN_KEY, EPOCH + begin, EPOCH + begin + lifetime) for begin in begins]


@pytest.mark.parametrize(
    "there, begin",
    [
        ([], timedelta(0)),
        (epochs(-DAY), 5 * DAY),
        (epochs(-7 * DAY + HOUR), timedelta(0)),
        (epochs(-30 * DAY), timedelta(0)),
        (epochs(-DAY, -2 * DAY), 5 * DAY),
        (epochs(-DAY, 5 * DAY), None),
    ],
)
def test_next_epoch_begins_before_the_last_one_ends(there: list[TokenKeyEpoch], begin: timedelta | None) -> None:
    found = next_epoch(there, now=EPOCH, lifetime=7 * DAY, overlap=DAY)
    assert found == (None if begin is None else (EPOCH + begin, EPOCH + begin + 7 * DAY))


def test_who_rotates_every_day_always_has_a_key_and_never_three_at_once() -> None:
    def run(days: int) -> Iterator[tuple[datetime, list[TokenKeyEpoch]]]:
        made: list[TokenKeyEpoch] = []
        for day in range(days):
            now = EPOCH + day * DAY
            epoch = next_epoch(made, now=now, lifetime=3 * DAY, overlap=1.5 * DAY)
            if epoch is not None:
                made.append(TokenKeyEpoch(TokenKey(BLIND_RSA, TOKEN_KEY.public_key), *epoch))
            yield now, made

    for now, made in run(40):
        for hour in range(24):
            moment = now + hour * HOUR
            signing = [epoch for epoch in made if epoch.not_before <= moment < epoch.not_after]
            assert 1 <= len(signing) <= MAX_TOKEN_KEYS_AT_ONCE


def test_overlap_of_more_than_half_is_refused() -> None:
    with pytest.raises(ConfigError, match="overlap"):
        next_epoch([], now=EPOCH, lifetime=2 * DAY, overlap=DAY + HOUR)


# --- Read by a running issuer -----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_issuer_signs_with_keys_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "keys")
    client, body = ask_many(3)
    async with issuing(tmp_path, keys=IssuerKeyFolder(tmp_path / "keys", passphrase)) as served:
        assert len(tokens_of(client, await served.client.post_batch(body))) == 3


@pytest.mark.anyio
async def test_key_is_decrypted_once_and_closed_when_its_file_is_gone(tmp_path: Path) -> None:
    path = write(tmp_path, "rsa2048")
    folder = IssuerKeyFolder(tmp_path, passphrase)
    [key] = await folder.load(EPOCH)
    write(tmp_path, "other2048", EPOCH)
    first, second = await folder.load(EPOCH)
    assert first is key
    path.unlink()
    assert await folder.load(EPOCH) == [second]
    assert isinstance(key.signer, SoftwareSigner)
    with pytest.raises(LocalProtocolError):
        await key.signer.blind_sign(bytes(256))
    await folder.aclose()
    with pytest.raises(LocalProtocolError):
        await second.signer.blind_sign(bytes(256))


@pytest.mark.anyio
async def test_key_whose_epoch_is_over_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path)
    folder = IssuerKeyFolder(tmp_path, lambda: pytest.fail("it was opened"))
    assert await folder.load(EPOCH - HOUR + DAY) == []


@pytest.mark.anyio
async def test_wrong_passphrase_is_refused_at_the_start(tmp_path: Path) -> None:
    write(tmp_path / "keys")
    with pytest.raises(ConfigError):
        async with issuing(tmp_path, keys=IssuerKeyFolder(tmp_path / "keys", lambda: b"wrong")):
            pass


@pytest.mark.anyio
async def test_issuer_without_any_key_says_that_it_is_not_well(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    async with issuing(tmp_path, keys=IssuerKeyFolder(tmp_path / "keys", passphrase)) as served:
        assert (await served.client.get("/healthz")).status == 503
        assert IssuerDirectory.decode((await served.client.get(ISSUER_DIRECTORY_PATH)).body).token_keys == ()
