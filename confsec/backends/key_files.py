"""An issuer's private keys at rest: one file for each, PKCS#8 in PEM, encrypted, of mode 0600.

The times of the key's epoch stand above the PEM block, where RFC 7468, section 2, lets explanatory text stand, so
`openssl pkey -in FILE` reads the file too. They and the public key can be read without the passphrase. To rotate, write
a new file before the old key's epoch is over; epochs may overlap.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, Self, final

from attrs import field, frozen

from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.backends.raw_rsa import RawRsaKey, open_raw_key
from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.token_keys import BLIND_RSA, TokenKey, TokenKeyEpoch
from confsec.protocol.wire import decode_base64url, encode_base64url

__all__ = [
    "Passphrase",
    "TokenKeyFile",
    "passphrase_from_environment",
    "passphrase_from_file",
    "read_private_file",
    "write_private_file",
]

Passphrase = Callable[[], bytes]
"""Gives the passphrase when it is needed, so that nobody has to hold it."""

_BEGIN: Final = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
_END: Final = "-----END ENCRYPTED PRIVATE KEY-----\n"
_MEMBERS: Final = {"version": int, "token_type": int, "token_key": str, "not_before": datetime, "not_after": datetime}
_VERSION: Final = 1
_MAX_FILE: Final = 65_536  # bytes


@final
@frozen(kw_only=True)
class TokenKeyFile:
    """A private key of an issuer as it stands in a file: still encrypted, beside what everybody may know of it."""

    epoch: TokenKeyEpoch
    """The public key and its time."""

    encrypted_key: str = field(repr=False)
    """The private key: PKCS#8, encrypted, in PEM."""

    @classmethod
    def encrypt(
        cls,
        key: LibcryptoKey,
        passphrase: Passphrase,
        *,
        not_before: datetime,
        not_after: datetime,
        token_type: int = BLIND_RSA,
    ) -> Self:
        """Encrypt a key for its file. Raises `ConfigError`, and `DecodeError` for a key that is none of this type."""
        epoch = TokenKeyEpoch(TokenKey(token_type, key.public_key), not_before, not_after)
        return cls(epoch=epoch, encrypted_key=key.to_pem(passphrase()).decode("ascii"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a key file. Raises `ConfigError`, also for a file that others may read."""
        try:
            return cls.decode(read_private_file(path).decode("ascii"))
        except UnicodeDecodeError:
            # The reader's own error would quote the file.
            raise ConfigError(f"{path} is no key file") from None
        except ConfigError as exc:
            raise ConfigError(f"{path}: {exc.what}", got=exc.got, want=exc.want) from None

    def write(self, path: Path) -> None:
        """Write the file with mode 0600. Raises `ConfigError`, also if there is one already."""
        write_private_file(path, self.encode().encode("ascii"))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read the text of a key file. Raises `ConfigError`, which does not quote it."""
        head, begin, rest = text.partition(_BEGIN)
        if not begin or not rest.endswith(_END):
            raise ConfigError("a key file holds no encrypted private key", want=_BEGIN.strip())
        try:
            members = tomllib.loads(head)
        except tomllib.TOMLDecodeError:
            raise ConfigError("what stands above a private key is not TOML") from None
        if {name: type(value) for name, value in members.items()} != _MEMBERS or members["version"] != _VERSION:
            raise ConfigError("a key file has other members", want=f"version = {_VERSION}, {', '.join(_MEMBERS)}")
        try:
            key = TokenKey.from_spki(members["token_type"], decode_base64url(members["token_key"]))
            epoch = TokenKeyEpoch(key, _aware(members["not_before"]), _aware(members["not_after"]))
        except ConfsecError as exc:
            raise ConfigError(f"a key file cannot be used: {exc.what}", got=exc.got, want=exc.want) from None
        return cls(epoch=epoch, encrypted_key=begin + rest)

    def encode(self) -> str:
        """Write the text of a key file."""
        key = self.epoch.key
        return (
            "# A private key of an issuer, encrypted. Whoever has it and its passphrase can make tokens.\n"
            f"version = {_VERSION}\n"
            f"token_type = 0x{key.token_type:04x}\n"
            f'token_key = "{encode_base64url(key.to_spki())}"\n'
            f"not_before = {self.epoch.not_before.isoformat()}\n"
            f"not_after = {self.epoch.not_after.isoformat()}\n"
            f"{self.encrypted_key}"
        )

    def open(self, passphrase: Passphrase) -> RawRsaKey:
        """Decrypt the private key; takes half a second. Raises `ConfigError` and `MissingExtraError`."""
        key = open_raw_key(self.encrypted_key.encode("ascii"), passphrase())
        if key.public_key != self.epoch.key.public_key:
            raise ConfigError("a key file names another public key than that of its private key")
        return key


def passphrase_from_file(path: Path) -> Passphrase:
    """Return the passphrase in a file of mode 0600, whose last line break does not count."""

    def passphrase() -> bytes:
        content = read_private_file(path)
        return content.removesuffix(b"\n").removesuffix(b"\r")

    return passphrase


def passphrase_from_environment(name: str) -> Passphrase:
    """Return the passphrase in a variable of the environment, which other processes of this user can see."""

    def passphrase() -> bytes:
        value = os.environb.get(os.fsencode(name))
        if value is None:
            raise ConfigError(f"the passphrase is not in the environment: there is no {name}")
        return value

    return passphrase


def write_private_file(path: Path, data: bytes) -> None:
    """Write a file with mode 0600, to the disk. Raises `ConfigError`, also if there is one already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written", got=exc.strerror) from exc


def read_private_file(path: Path) -> bytes:
    """Read a file that nobody else may read. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise ConfigError(f"{path} is open to others", got=f"{stat.S_IMODE(mode):04o}", want="0600")
            content = file.read(_MAX_FILE + 1)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read", got=exc.strerror) from exc
    if len(content) > _MAX_FILE:
        raise ConfigError(f"{path} is too long", want=f"at most {_MAX_FILE} bytes")
    return content


def _aware(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ConfigError("a key file has a time without its zone")
    return time
