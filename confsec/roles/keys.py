"""A gateway's private keys: in files of mode 0600 that `confsec keys` writes, or made in memory and turned over.

A file holds one key, its id, and the times of its life. To rotate, write a new file before the old one's time is over
and name both: clients take the newest published key, and the gateway opens both.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from attrs import field, frozen

from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.aead import Aead
from confsec.protocol.gateway_keys import GatewayKey, GatewayKeyring
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import KEMS, Kem
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.machine import RandBytes
from confsec.protocol.wire import decode_base64, encode_base64

__all__ = ["GATEWAY_SUITES", "GatewayKeyFile", "add_fresh_keys", "check_kem", "kem_named", "read_keyring"]

GATEWAY_SUITES: Final = tuple(
    SymmetricSuite(kdf_id=Kdf.HKDF_SHA256.kdf_id, aead_id=aead.aead_id)
    for aead in (Aead.AES_256_GCM, Aead.AES_128_GCM, Aead.CHACHA20_POLY1305)
)
"""What may be used with our keys, in our order. Peers that have but one AEAD have AES-128-GCM."""

_MEMBERS: Final = {
    "version": int,
    "kem": str,
    "key_id": int,
    "private_key": str,
    "published_from": datetime,
    "published_until": datetime,
    "accepted_until": datetime,
}
_VERSION: Final = 1
_MAX_FILE: Final = 65_536


@frozen(kw_only=True)
class GatewayKeyFile:
    """One private key as it stands in a file."""

    kem_name: str
    """The KEM, by name: MLKEM768-X25519, DHKEM-X25519, …"""

    key_id: int
    """What the gateway calls the key: 0 to 255."""

    private_key: bytes = field(repr=False)
    """The private key, as the KEM writes it."""

    published_from: datetime
    """When clients may begin to seal to it."""

    published_until: datetime
    """When it leaves the published list."""

    accepted_until: datetime
    """When it stops opening messages."""

    @classmethod
    def generate(
        cls, kem_name: str, key_id: int, *, now: datetime, lifetime: timedelta, overlap: timedelta, randbytes: RandBytes
    ) -> Self:
        """Make a key that is published for `lifetime` from `now` on and opens messages for `overlap` longer."""
        until = now + lifetime
        return cls(
            kem_name=kem_name,
            key_id=key_id,
            private_key=kem_named(kem_name).generate(randbytes).private_bytes(),
            published_from=now,
            published_until=until,
            accepted_until=until + overlap,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a key file. Raises `ConfigError`, also for a file that others may read."""
        try:
            mode = path.stat().st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise ConfigError(f"{path} is open to others", got=f"{stat.S_IMODE(mode):04o}", want="0600")
            text = path.read_bytes()[:_MAX_FILE].decode("ascii")
        except OSError as exc:
            raise ConfigError(f"{path} cannot be read", got=exc.strerror) from exc
        except UnicodeDecodeError:
            # The reader's own error would quote the file.
            raise ConfigError(f"{path} is no key file") from None
        try:
            return cls.decode(text)
        except ConfsecError as exc:
            raise ConfigError(f"{path}: {exc.what}") from None

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read the text of a key file. Raises `ConfigError` and `DecodeError`, neither of which quotes it."""
        try:
            members = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            raise ConfigError("a key file is not TOML") from None
        if {name: type(value) for name, value in members.items()} != _MEMBERS or members["version"] != _VERSION:
            raise ConfigError("a key file has other members", want=f"version = {_VERSION}, {', '.join(_MEMBERS)}")
        return cls(
            kem_name=members["kem"],
            key_id=members["key_id"],
            private_key=decode_base64(members["private_key"]),
            published_from=_aware(members["published_from"]),
            published_until=_aware(members["published_until"]),
            accepted_until=_aware(members["accepted_until"]),
        )

    def encode(self) -> str:
        """Write the text of a key file."""
        return (
            "# A private key of a gateway. Whoever reads this file can open what is sealed to it.\n"
            f"version = {_VERSION}\n"
            f'kem = "{self.kem_name}"\n'
            f"key_id = {self.key_id}\n"
            f'private_key = "{encode_base64(self.private_key)}"\n'
            f"published_from = {self.published_from.isoformat()}\n"
            f"published_until = {self.published_until.isoformat()}\n"
            f"accepted_until = {self.accepted_until.isoformat()}\n"
        )

    def write(self, path: Path) -> None:
        """Write the file with mode 0600. Raises `ConfigError`, also if there is one already."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as exc:
            raise ConfigError(f"{path} cannot be written", got=exc.strerror) from exc
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(self.encode())

    def to_key(self) -> GatewayKey:
        """Return the key. Raises `ConfigError` if it is none."""
        try:
            private_key = kem_named(self.kem_name).from_private_bytes(self.private_key)
            config = KeyConfig(self.key_id, private_key.kem_id, private_key.public_key, GATEWAY_SUITES)
            return GatewayKey(
                config=config,
                decapsulator=private_key,
                published_from=self.published_from,
                published_until=self.published_until,
                accepted_until=self.accepted_until,
            )
        except ConfsecError as exc:
            raise ConfigError(f"a key file holds no usable key: {exc.what}") from None


def kem_named(name: str) -> Kem:
    """Return the KEM `name`. Raises `ConfigError`."""
    kems = {kem.name: kem for kem in KEMS}
    if name not in kems:
        raise ConfigError(f"there is no KEM {name!r}", want=", ".join(kems))
    return kems[name]


def check_kem(name: str) -> None:
    """Check the name of a KEM in a configuration."""
    try:
        kem_named(name)
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc


def read_keyring(paths: Sequence[str]) -> GatewayKeyring:
    """Read the keys of a gateway from files. Raises `ConfigError`."""
    keyring = GatewayKeyring()
    for path in paths:
        key = GatewayKeyFile.read(Path(path)).to_key()
        try:
            keyring.add(key)
        except ConfsecError as exc:
            raise ConfigError(f"{path}: {exc.what}", got=exc.got) from exc
    return keyring


def add_fresh_keys(
    keyring: GatewayKeyring,
    kem_names: Sequence[str],
    *,
    now: datetime,
    lifetime: timedelta,
    overlap: timedelta,
    randbytes: RandBytes,
) -> None:
    """Make one key for each KEM, and forget those that open nothing any more."""
    keyring.discard_expired(now)
    for name in kem_names:
        key_id = keyring.free_key_id()
        file = GatewayKeyFile.generate(name, key_id, now=now, lifetime=lifetime, overlap=overlap, randbytes=randbytes)
        keyring.add(file.to_key())


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ConfigError("a time in a key file has no zone", want="a time that ends with Z or +00:00")
    return value.astimezone(UTC)
