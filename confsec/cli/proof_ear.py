"""The result of a Proof for other software: EAR, signed with a key of whoever replayed it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from confsec.cli.output import read_bytes, write_bytes
from confsec.errors import ConfigError
from confsec.protocol.proof import Proof
from confsec.protocol.results import ear_of

__all__ = ["write_ear"]


def write_ear(proof: Proof, file: Path, key_file: Path, *, build: str, issued_at: datetime) -> None:
    """Write the result of a replayed Proof: a CWT where the file's name ends in `.cbor` or `.cwt`, else a JWT.

    Raises `ConfigError` for a key that cannot be used, or a file that cannot be written.
    """
    key = _signing_key(key_file)
    ear = ear_of(proof, build=build, issued_at=issued_at)
    data = ear.to_cwt(key) if file.suffix in {".cbor", ".cwt"} else ear.to_jwt(key).encode() + b"\n"
    write_bytes(file, data, "the result")


def _signing_key(file: Path) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    hint = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"
    try:
        key = load_pem_private_key(read_bytes(file, "the key"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise ConfigError(f"the key {file} is no private key in PEM without a passphrase", hint=hint) from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise ConfigError(f"the key {file} cannot sign a result", want="an EC or Ed25519 key", hint=hint)
    return key
