"""Keys that sign envelopes, in the files that `openssl` makes: PKCS#8 in PEM, and public halves as PEM."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from confsec.backends.key_files import Passphrase, read_private_file
from confsec.errors import ConfigError, UnsupportedError
from confsec.protocol.dsse import DsseKey
from confsec.protocol.signatures import SigningKey

__all__ = ["read_dsse_key", "read_public_dsse_key"]

_MAKE: Final = "To make one, type: openssl genpkey -algorithm ed25519 -out signing.key"
_SHOW: Final = "To make one of a private key, type: openssl pkey -in signing.key -pubout -out signing.pub"
_MAX_FILE: Final = 65_536  # bytes


def read_dsse_key(path: Path, passphrase: Passphrase | None = None) -> SigningKey:
    """Read a private key, Ed25519 or P-256, from a file of mode 0600. Raises `ConfigError`, which does not quote it."""
    data = read_private_file(path)
    try:
        key = load_pem_private_key(data, password=passphrase() if passphrase else None)
    except TypeError:
        want = "no passphrase" if passphrase else "a passphrase"
        raise ConfigError(f"the private key in {path} is encrypted, or is not", want=want) from None
    except (ValueError, UnsupportedAlgorithm):
        # The reader's own error could say something of the key, or of its passphrase.
        raise ConfigError(f"{path} holds no private key in PEM, or not for this passphrase", hint=_MAKE) from None
    if not isinstance(key, SigningKey):
        raise ConfigError(f"the key in {path} does not sign envelopes", want="Ed25519 or P-256", hint=_MAKE)
    try:
        DsseKey.of("signer", key)  # which takes one curve only
    except UnsupportedError as exc:
        raise ConfigError(f"the key in {path} does not sign envelopes", want=exc.want, hint=_MAKE) from exc
    return key


def read_public_dsse_key(path: Path, name: str = "") -> DsseKey:
    """Read a public key, and call its holder `name`, or else as its digest is. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read", got=exc.strerror) from exc
    try:
        spki = load_pem_public_key(data).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return DsseKey(name or DsseKey("unnamed", spki).key_id, spki)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ConfigError(f"{path} holds no public key in PEM", hint=_SHOW) from exc
    except UnsupportedError as exc:
        raise ConfigError(f"the key in {path} does not sign envelopes", want=exc.want, hint=_MAKE) from exc
