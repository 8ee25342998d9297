"""Keys that tests of signed messages sign with: fixed, so that a failure is found again."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

P256 = ec.derive_private_key(11, ec.SECP256R1())
P384 = ec.derive_private_key(12, ec.SECP384R1())
P521 = ec.derive_private_key(13, ec.SECP521R1())
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = ec.derive_private_key(14, ec.SECP256R1())
K1 = ec.derive_private_key(15, ec.SECP256K1())
