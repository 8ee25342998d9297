"""TPM2_MakeCredential in software: a secret that only the TPM with a certain EK opens, and only beside a certain AK.

The name of the AK is in the HMAC and in the key, so a TPM that opens the secret has an object of just that name loaded:
with these attributes, this key and this policy (TPM 2.0 Library, Part 1, section 24). Randomness is handed in.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from confsec.errors import DecodeError, EvidenceError, LocalProtocolError
from confsec.protocol.groups import P256, P384, Group
from confsec.protocol.machine import RandBytes
from confsec.protocol.wire import encode_uint, encode_vector
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.tpm.structures import Attributes, EccCurve, EccKey, PublicArea, RsaKey

__all__ = ["IDENTITY", "Credential", "kdf_a", "kdf_e", "make_credential", "require_storage_key", "wrap_credential"]

IDENTITY: Final = b"IDENTITY"
"""The label of the seed (section 24.4)."""

_AES: Final = 0x0006
_CFB: Final = 0x0043
_AES_BITS: Final = (128, 192, 256)
_MIN_RSA_BITS: Final = 2048
_SECTION: Final = "TPM 2.0 Library, Part 1, section 24"
_GROUPS: Final[dict[EccCurve, Group]] = {EccCurve.P256: P256, EccCurve.P384: P384}


class Credential(NamedTuple):
    """What TPM2_ActivateCredential takes."""

    id_object: bytes
    """TPM2B_ID_OBJECT: the HMAC, and the secret, encrypted."""

    encrypted_secret: bytes
    """TPM2B_ENCRYPTED_SECRET: the seed, to the EK."""


def make_credential(ek: PublicArea, ak_name: bytes, secret: bytes, randbytes: RandBytes) -> Credential:
    """Encrypt `secret` to the TPM that has the EK and an object named `ak_name`.

    The secret is at most as long as a digest of the EK's name algorithm. Raises `EvidenceError` for a key that is no EK
    of a kind that we know: RSA, P-256 or P-384, with AES in CFB mode.
    """
    require_storage_key(ek)
    if len(secret) > ek.name_algorithm.digest_size:
        raise LocalProtocolError("a credential is too long", got=len(secret), want=ek.name_algorithm.digest_size)
    seed, encrypted = (
        _ecc_seed(ek, ek.key, randbytes) if isinstance(ek.key, EccKey) else _rsa_seed(ek, ek.key, randbytes)
    )
    return Credential(wrap_credential(ek, ak_name, secret, seed), encode_vector(encrypted, 2))


def require_storage_key(ek: PublicArea) -> None:
    """Return if a key has the form of an EK: it decrypts, is restricted to that, and never leaves its TPM.

    Raises `EvidenceError` (TCG EK Credential Profile 2.5, annex B).
    """
    wanted = Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.RESTRICTED | Attributes.DECRYPT
    if ek.attributes & (wanted | Attributes.SIGN) != wanted:
        raise EvidenceError("a key is not of the form of an endorsement key", got=f"{ek.attributes:#010x}")
    cipher = ek.symmetric
    if cipher.algorithm != _AES or cipher.key_bits not in _AES_BITS or cipher.mode != _CFB:
        raise EvidenceError("an endorsement key uses another cipher", want="AES in CFB mode", section=_SECTION)
    if isinstance(ek.key, EccKey) and ek.key.curve not in _GROUPS:
        raise EvidenceError("an endorsement key is on another curve", got=ek.key.curve.name, want="P-256 or P-384")
    if isinstance(ek.key, RsaKey) and ek.key.key_bits < _MIN_RSA_BITS:
        raise EvidenceError("an endorsement key is too short", got=ek.key.key_bits, want=_MIN_RSA_BITS)


def wrap_credential(ek: PublicArea, ak_name: bytes, secret: bytes, seed: bytes) -> bytes:
    """Return the TPM2B_ID_OBJECT under a seed (sections 24.4 and 24.5)."""
    algorithm = ek.name_algorithm
    key = kdf_a(algorithm, seed, b"STORAGE", ak_name, b"", ek.symmetric.key_bits)
    # Each seed is used once, so the initialisation vector is zero (section 24.4).
    encryptor = Cipher(AES(key), CFB(bytes(16))).encryptor()
    encrypted = encryptor.update(encode_vector(secret, 2)) + encryptor.finalize()
    hmac_key = kdf_a(algorithm, seed, b"INTEGRITY", b"", b"", 8 * algorithm.digest_size)
    integrity = hmac.digest(hmac_key, encrypted + ak_name, algorithm.name.lower())
    return encode_vector(encode_vector(integrity, 2) + encrypted, 2)


def kdf_a(algorithm: HashAlgorithm, key: bytes, label: bytes, context_u: bytes, context_v: bytes, bits: int) -> bytes:
    """Derive `bits` bits with HMAC in counter mode (section 11.4.10.2; SP 800-108). Bits are whole bytes."""
    fixed = label + b"\x00" + context_u + context_v + encode_uint(bits, 4)
    return _expand(
        algorithm, bits, lambda counter: hmac.digest(key, encode_uint(counter, 4) + fixed, algorithm.name.lower())
    )


def kdf_e(algorithm: HashAlgorithm, z: bytes, label: bytes, party_u: bytes, party_v: bytes, bits: int) -> bytes:
    """Derive `bits` bits from a shared coordinate (section 11.4.10.3; SP 800-56A). Bits are whole bytes."""
    fixed = z + label + b"\x00" + party_u + party_v
    return _expand(algorithm, bits, lambda counter: algorithm.digest(encode_uint(counter, 4) + fixed))


def _expand(algorithm: HashAlgorithm, bits: int, block: Callable[[int], bytes]) -> bytes:
    count = -(-bits // (8 * algorithm.digest_size))
    return b"".join(block(counter) for counter in range(1, count + 1))[: bits // 8]


def _ecc_seed(ek: PublicArea, key: EccKey, randbytes: RandBytes) -> tuple[bytes, bytes]:
    """Return a seed and the TPMS_ECC_POINT that gives it to the EK (annex C.6.4)."""
    algorithm, size = ek.name_algorithm, key.curve.size
    ephemeral = _GROUPS[key.curve].generate(randbytes)
    try:
        z = ephemeral.diffie_hellman(key.point)
    except DecodeError as exc:
        raise EvidenceError("an endorsement key is no point of its curve", section=_SECTION) from exc
    x, y = ephemeral.public_key[1 : 1 + size], ephemeral.public_key[1 + size :]
    seed = kdf_e(algorithm, z, IDENTITY, x, key.point[1 : 1 + size], 8 * algorithm.digest_size)
    return seed, encode_vector(x, 2) + encode_vector(y, 2)


def _rsa_seed(ek: PublicArea, key: RsaKey, randbytes: RandBytes) -> tuple[bytes, bytes]:
    """Return a seed and what gives it to the EK: RSAES-OAEP with the label "IDENTITY" and its NUL (annex B.4)."""
    algorithm, size = ek.name_algorithm, len(key.modulus)
    modulus = int.from_bytes(key.modulus, "big")
    seed = randbytes(algorithm.digest_size)
    encoded = _oaep(seed, IDENTITY + b"\x00", randbytes(algorithm.digest_size), algorithm, size=size)
    encrypted = pow(int.from_bytes(encoded, "big"), key.exponent or 65537, modulus)
    return seed, encrypted.to_bytes(size, "big")


def _oaep(message: bytes, label: bytes, salt: bytes, algorithm: HashAlgorithm, *, size: int) -> bytes:
    """Encode a message for RSA (RFC 8017, section 7.1.1). Here, since a library would draw the salt itself."""
    digest = algorithm.digest(label)
    padding = bytes(size - len(message) - 2 * len(digest) - 2)
    data = digest + padding + b"\x01" + message
    masked = _xor(data, _mgf1(salt, len(data), algorithm))
    return b"\x00" + _xor(salt, _mgf1(masked, len(salt), algorithm)) + masked


def _mgf1(seed: bytes, size: int, algorithm: HashAlgorithm) -> bytes:
    """Generate a mask (RFC 8017, annex B.2.1)."""
    return b"".join(
        algorithm.digest(seed + encode_uint(counter, 4)) for counter in range(-(-size // algorithm.digest_size))
    )[:size]


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")
