"""An issuer's keys in a folder: a file for each epoch, and the next one written before it is needed.

A running issuer looks into the folder from time to time, so keys are turned over without a restart. How files are made
and read is `key_files`' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, final

import anyio
import anyio.to_thread

from confsec.backends.key_files import Passphrase, TokenKeyFile
from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.backends.software_signer import SoftwareSigner, processors
from confsec.errors import ConfigError
from confsec.protocol.directory import MIN_TOKEN_EPOCH
from confsec.protocol.token_keys import BLIND_RSA, TokenKeyEpoch
from confsec.roles.issuer_keys import SigningKey

__all__ = ["IssuerKeyFolder", "next_epoch", "read_key_folder", "write_token_key"]

_PATTERN: Final = "*.pem"
_ATTEMPTS: Final = 100


@final
class IssuerKeyFolder:
    """The keys in a folder, each of which is decrypted once."""

    def __init__(self, folder: Path, passphrase: Passphrase) -> None:
        """Read `folder` when asked to. All keys have one passphrase."""
        self._folder = folder
        self._passphrase = passphrase
        self._keys: dict[TokenKeyEpoch, SigningKey] = {}
        self._limiter: anyio.CapacityLimiter | None = None

    async def load(self, ended: datetime) -> Sequence[SigningKey]:
        """Return the keys: see `IssuerKeys.load`. A file that was changed is another key."""
        files = await anyio.to_thread.run_sync(read_key_folder, self._folder)
        wanted = {file.epoch: file for _, file in files if ended < file.epoch.not_after}
        for epoch in wanted.keys() - self._keys.keys():
            self._keys[epoch] = await self._open(wanted[epoch])
        for epoch in self._keys.keys() - wanted.keys():
            await self._keys.pop(epoch).signer.aclose()
        return [self._keys[epoch] for epoch in wanted]

    async def aclose(self) -> None:
        """Let go of all keys."""
        while self._keys:
            _, key = self._keys.popitem()
            await key.signer.aclose()

    async def _open(self, file: TokenKeyFile) -> SigningKey:
        if self._limiter is None:
            # One for all: however many keys sign, no more threads than processors do.
            self._limiter = anyio.CapacityLimiter(processors())
        key = await anyio.to_thread.run_sync(partial(file.open, self._passphrase))
        signer = SoftwareSigner(key, limiter=self._limiter)
        return SigningKey(signer=signer, not_before=file.epoch.not_before, not_after=file.epoch.not_after)


def read_key_folder(folder: Path) -> list[tuple[Path, TokenKeyFile]]:
    """Return the key files of a folder in the order of their epochs, still encrypted. Raises `ConfigError`."""
    if not folder.is_dir():
        raise ConfigError(f"the folder {folder} is not there", hint="Make it with `confsec issuer keys new`")
    files = [(path, TokenKeyFile.read(path)) for path in sorted(folder.glob(_PATTERN))]
    for path, file in files:
        if file.epoch.key.token_type != BLIND_RSA:
            raise ConfigError(f"{path} is for a type of token that the issuer does not sign")
    return sorted(files, key=lambda item: item[1].epoch.not_before)


def write_token_key(
    folder: Path,
    make_key: Callable[[], LibcryptoKey],
    passphrase: Passphrase,
    *,
    not_before: datetime,
    not_after: datetime,
) -> tuple[Path, TokenKeyFile]:
    """Make a key for an epoch and write it into the folder, which is made if need be. Raises `ConfigError`."""
    if not_after - not_before < MIN_TOKEN_EPOCH:
        raise ConfigError("clients refuse keys that change so often", got=not_after - not_before, want=MIN_TOKEN_EPOCH)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"the folder {folder} cannot be made", got=exc.strerror) from exc
    key = _distinct_key(make_key, (file.epoch for _, file in read_key_folder(folder)))
    file = TokenKeyFile.encrypt(key, passphrase, not_before=not_before, not_after=not_after)
    path = folder / f"{not_before:%Y%m%dT%H%M%SZ}-{file.epoch.key.token_key_id.hex()[:8]}.pem"
    file.write(path)
    return path, file


def next_epoch(
    epochs: Sequence[TokenKeyEpoch], *, now: datetime, lifetime: timedelta, overlap: timedelta
) -> tuple[datetime, datetime] | None:
    """Return when the next key shall begin and end, or None if it is there already. Raises `ConfigError`.

    It begins `overlap` before the last one ends: then both sign, and the new one comes first.
    """
    if 2 * overlap > lifetime:
        # Then three keys would sign at one time, and clients take that for names given to them.
        raise ConfigError("the overlap is more than half of the lifetime", got=overlap, want=f"at most {lifetime / 2}")
    last = max(epochs, key=lambda epoch: epoch.not_before, default=None)
    if last is None:
        return now, now + lifetime
    if last.not_before > now:
        return None
    begin = max(now, last.not_after - overlap)
    return begin, begin + lifetime


def _distinct_key(make_key: Callable[[], LibcryptoKey], others: Iterable[TokenKeyEpoch]) -> LibcryptoKey:
    """Return a key that token requests, which name a key by one byte, cannot mean another one by."""
    taken = {epoch.key.truncated_token_key_id for epoch in others}
    for _ in range(_ATTEMPTS):
        key = make_key()
        if key.public_key.spki_digest()[-1] not in taken:
            return key
    raise ConfigError("too many keys are in the folder", hint="Delete those whose epoch is over")
