"""The KEMs that we have, by name and by id, and the interfaces that their keys have.

Ids are those of the IANA registry "HPKE KEM Identifiers" and, for the post-quantum ones, of draft-ietf-hpke-pq-04.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import mlkem

from confsec.errors import UnsupportedError
from confsec.protocol.dhkem import DhDecapsulator, DhKem, DhPrivateKey
from confsec.protocol.groups import P256, P384, P521, X448, X25519
from confsec.protocol.hybrid_kem import HybridDecapsulator, HybridKem, HybridPrivateKey
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem_base import AuthDecapsulator, Decapsulator, DiffieHellman, Kem, KemPrivateKey
from confsec.protocol.ml_kem import MlKem, MlKemPrivateKey

__all__ = [
    "DHKEM_P256",
    "DHKEM_P384",
    "DHKEM_P521",
    "DHKEM_X448",
    "DHKEM_X25519",
    "KEMS",
    "MLKEM768_P256",
    "MLKEM768_X25519",
    "MLKEM1024_P384",
    "ML_KEM_768",
    "ML_KEM_1024",
    "AuthDecapsulator",
    "Decapsulator",
    "DhDecapsulator",
    "DhKem",
    "DhPrivateKey",
    "DiffieHellman",
    "HybridDecapsulator",
    "HybridKem",
    "HybridPrivateKey",
    "Kem",
    "KemPrivateKey",
    "MlKem",
    "MlKemPrivateKey",
    "kem_from_id",
]

DHKEM_P256: Final = DhKem(0x0010, P256, Kdf.HKDF_SHA256)
"""DHKEM(P-256, HKDF-SHA256)."""

DHKEM_P384: Final = DhKem(0x0011, P384, Kdf.HKDF_SHA384)
"""DHKEM(P-384, HKDF-SHA384)."""

DHKEM_P521: Final = DhKem(0x0012, P521, Kdf.HKDF_SHA512)
"""DHKEM(P-521, HKDF-SHA512)."""

DHKEM_X25519: Final = DhKem(0x0020, X25519, Kdf.HKDF_SHA256)
"""DHKEM(X25519, HKDF-SHA256), which every OHTTP gateway has."""

DHKEM_X448: Final = DhKem(0x0021, X448, Kdf.HKDF_SHA512)
"""DHKEM(X448, HKDF-SHA512)."""

ML_KEM_768: Final = MlKem(
    "ML-KEM-768",
    0x0041,
    public_key_size=1184,
    enc_size=1088,
    load_private=mlkem.MLKEM768PrivateKey.from_seed_bytes,
    load_public=mlkem.MLKEM768PublicKey.from_public_bytes,
)
"""ML-KEM-768 alone."""

ML_KEM_1024: Final = MlKem(
    "ML-KEM-1024",
    0x0042,
    public_key_size=1568,
    enc_size=1568,
    load_private=mlkem.MLKEM1024PrivateKey.from_seed_bytes,
    load_public=mlkem.MLKEM1024PublicKey.from_public_bytes,
)
"""ML-KEM-1024 alone."""

# Group seed sizes: RandomScalar has four tries on P-256 and one on P-384; X25519 takes any 32 bytes.
MLKEM768_P256: Final = HybridKem(
    "MLKEM768-P256", 0x0050, pq=ML_KEM_768, group=P256, group_seed_size=128, label=b"MLKEM768-P256"
)
"""The KEM of nodes whose P-256 half is in a TPM."""

MLKEM1024_P384: Final = HybridKem(
    "MLKEM1024-P384", 0x0051, pq=ML_KEM_1024, group=P384, group_seed_size=48, label=b"MLKEM1024-P384"
)
"""The larger hybrid."""

MLKEM768_X25519: Final = HybridKem(
    "MLKEM768-X25519", 0x647A, pq=ML_KEM_768, group=X25519, group_seed_size=32, label=b"\\.//^\\"
)
"""X-Wing, which clients prefer when a gateway offers it."""

KEMS: Final[tuple[Kem, ...]] = (
    DHKEM_P256,
    DHKEM_P384,
    DHKEM_P521,
    DHKEM_X25519,
    DHKEM_X448,
    ML_KEM_768,
    ML_KEM_1024,
    MLKEM768_P256,
    MLKEM1024_P384,
    MLKEM768_X25519,
)
"""All of them, by id."""

_BY_ID: Final = {kem.kem_id: kem for kem in KEMS}


def kem_from_id(kem_id: int) -> Kem:
    """Return the KEM with this id. Raises `UnsupportedError`."""
    kem = _BY_ID.get(kem_id)
    if kem is None:
        raise UnsupportedError("unknown KEM", got=f"0x{kem_id:04x}", section="RFC 9180, section 7.1")
    return kem
