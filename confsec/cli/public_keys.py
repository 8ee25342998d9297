"""Files with public keys that the user names: PEM, or a COSE_Key."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from confsec.cli.output import read_bytes
from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.cose import public_key_from_cose_key
from confsec.protocol.signatures import PublicKey

__all__ = ["read_public_key"]


def read_public_key(file: Path) -> PublicKey:
    """Read a public key, in PEM or as a COSE_Key (RFC 9052, section 7). Raises `ConfigError`."""
    data = read_bytes(file, "the key")
    try:
        key = load_pem_public_key(data) if data.lstrip().startswith(b"-----BEGIN") else public_key_from_cose_key(data)
    except (ValueError, UnsupportedAlgorithm, ConfsecError) as exc:
        raise ConfigError(f"{file} is no public key in PEM, and no COSE_Key") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise ConfigError(f"{file} has a key of a kind that we do not verify with", want="EC, Ed25519 or RSA")
    return key
