"""The structures of a TPM 2.0 that evidence is made of, in its wire format (TPM 2.0 Library, Part 2: Structures).

Each reads what the standard allows for our kinds of keys (RSA, and ECC on the NIST curves), keeps it as it came, and
encodes back to the same bytes. What is good enough is for `verifier.py` to say; here only `verify_tpm_signature`
checks anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum, IntFlag
from functools import lru_cache
from typing import Final, Self

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confsec.errors import DecodeError, EvidenceError, LimitError, LocalProtocolError
from confsec.protocol.wire import Reader, encode_uint, encode_vector
from confsec.tee.event_log import HashAlgorithm

__all__ = [
    "ALG_NULL",
    "GENERATED_VALUE",
    "MAX_ATTEST",
    "MAX_CREATION_DATA",
    "MAX_PUBLIC",
    "NULL_SCHEME",
    "Attest",
    "AttestType",
    "Attributes",
    "ClockInfo",
    "CreationData",
    "CreationInfo",
    "EccCurve",
    "EccKey",
    "PcrSelection",
    "PublicArea",
    "QuoteInfo",
    "RsaKey",
    "Scheme",
    "SchemeId",
    "Symmetric",
    "TpmSignature",
    "decode_selections",
    "encode_selections",
    "pcr_policy_digest",
    "verify_tpm_signature",
]

GENERATED_VALUE: Final = 0xFF544347
"""TPM_GENERATED_VALUE: what begins every structure that a TPM made itself, and that a restricted key signs (6.2)."""

ALG_NULL: Final = 0x0010
"""TPM_ALG_NULL (6.3)."""

MAX_PUBLIC: Final = 1024
"""A TPMT_PUBLIC has at most 1 KiB: one of RSA with 4096 bits has 600 bytes."""

MAX_ATTEST: Final = 1024
"""A TPMS_ATTEST has at most 1 KiB."""

MAX_CREATION_DATA: Final = 1024
"""A TPMS_CREATION_DATA has at most 1 KiB."""

_ALG_RSA: Final = 0x0001
_ALG_ECC: Final = 0x0023
_CC_POLICY_PCR: Final = 0x0000017F
_BLOCK_CIPHERS: Final = frozenset({0x0006, 0x0013, 0x0026})  # AES, SM4, Camellia
_MAX_NAME: Final = 66
_MAX_DATA: Final = 66
_MAX_DIGEST: Final = 64
_MAX_RSA_BYTES: Final = 512
_MAX_ECC_BYTES: Final = 66
_MAX_SELECTIONS: Final = 16
_MAX_SELECT_BYTES: Final = 4
_RECURRING_KEYS: Final = 64
"""How many public keys are remembered: an AK comes back with each epoch."""

_PART_2: Final = "TPM 2.0 Library, Part 2"


class Attributes(IntFlag):
    """TPMA_OBJECT (section 8.3)."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


class SchemeId(IntEnum):
    """Schemes that a key may be bound to (TCG Algorithm Registry, section 4)."""

    NULL = ALG_NULL
    RSASSA = 0x0014
    RSAES = 0x0015
    RSAPSS = 0x0016
    OAEP = 0x0017
    ECDSA = 0x0018
    ECDH = 0x0019


_WITHOUT_HASH: Final = frozenset({SchemeId.NULL, SchemeId.RSAES})
_SCHEMES: Final = {
    _ALG_RSA: frozenset({SchemeId.NULL, SchemeId.RSASSA, SchemeId.RSAES, SchemeId.RSAPSS, SchemeId.OAEP}),
    _ALG_ECC: frozenset({SchemeId.NULL, SchemeId.ECDSA, SchemeId.ECDH}),
}


_KDFS: Final = frozenset({ALG_NULL, 0x0007, 0x0020, 0x0022})
"""MGF1 and the KDF1 of SP 800-56A and of SP 800-108 (TCG Algorithm Registry, section 4)."""


class EccCurve(IntEnum):
    """Curves that we know (TCG Algorithm Registry, section 6.4)."""

    P256 = 0x0003
    P384 = 0x0004
    P521 = 0x0005

    @property
    def size(self) -> int:
        """How many bytes a coordinate has."""
        return {EccCurve.P256: 32, EccCurve.P384: 48, EccCurve.P521: 66}[self]


class AttestType(IntEnum):
    """TPM_ST of what a TPM attests to (section 6.9)."""

    CERTIFY = 0x8017
    QUOTE = 0x8018
    TIME = 0x8019
    CREATION = 0x801A


# --- Keys -------------------------------------------------------------------------------------------------------------


@frozen
class Scheme:
    """TPMT_ECC_SCHEME, TPMT_RSA_SCHEME or TPMT_KDF_SCHEME (section 11.2): what a key may be used with."""

    algorithm: int
    """TPM_ALG_ID of the scheme; `ALG_NULL` leaves it to the caller."""

    hash_algorithm: int | None = None
    """TPM_ALG_ID of the hash, where the scheme has one."""

    def encode(self) -> bytes:
        return encode_uint(self.algorithm, 2) + (
            b"" if self.hash_algorithm is None else encode_uint(self.hash_algorithm, 2)
        )


NULL_SCHEME: Final = Scheme(ALG_NULL)
"""No scheme: whoever uses the key says how."""


@frozen
class Symmetric:
    """TPMT_SYM_DEF_OBJECT (section 11.1.7): what a storage key encrypts its children with."""

    algorithm: int = ALG_NULL
    key_bits: int = 0
    mode: int = 0

    def encode(self) -> bytes:
        if self.algorithm == ALG_NULL:
            return encode_uint(ALG_NULL, 2)
        return b"".join(encode_uint(each, 2) for each in (self.algorithm, self.key_bits, self.mode))


@frozen
class EccKey:
    """A point, with the rest of TPMS_ECC_PARMS (section 12.2.3.6)."""

    curve: EccCurve
    x: bytes
    """The coordinate, big-endian. TPMs may leave out leading zeros."""

    y: bytes
    kdf: Scheme = NULL_SCHEME

    @property
    def point(self) -> bytes:
        """The point, uncompressed (SEC 1, section 2.3.3), with coordinates of full length."""
        return b"\x04" + self.x.rjust(self.curve.size, b"\x00") + self.y.rjust(self.curve.size, b"\x00")


@frozen
class RsaKey:
    """A modulus, with the rest of TPMS_RSA_PARMS (section 12.2.3.5)."""

    key_bits: int
    modulus: bytes = field(repr=False)
    exponent: int = 0
    """The public exponent; 0 stands for 65537."""


@frozen(kw_only=True)
class PublicArea:
    """TPMT_PUBLIC (section 12.2.4): a key's public part, its attributes and its policy."""

    name_algorithm: HashAlgorithm
    """The hash of the name, and of the policy."""

    attributes: Attributes
    """TPMA_OBJECT, all 32 bits."""

    auth_policy: bytes = b""
    """The policy digest; empty where there is no policy."""

    symmetric: Symmetric = Symmetric()

    scheme: Scheme = NULL_SCHEME

    key: EccKey | RsaKey

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a TPMT_PUBLIC. Raises `DecodeError`, and `LimitError` for more than 1 KiB."""
        if len(data) > MAX_PUBLIC:
            raise LimitError("TPMT_PUBLIC is too long", got=f"{len(data)} bytes", want=f"at most {MAX_PUBLIC}")
        reader = Reader(data, "TPMT_PUBLIC")
        public = cls.read(reader)
        reader.finish()
        return public

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take a TPMT_PUBLIC off a reader. Raises `DecodeError`."""
        kind = reader.uint(2)
        if kind not in _SCHEMES:
            raise DecodeError("a TPM key is of another kind", got=f"0x{kind:04x}", want="RSA or ECC", section=_PART_2)
        name_algorithm = _read_hash(reader)
        attributes = Attributes(reader.uint(4))
        auth_policy = reader.vector(2, limit=_MAX_DIGEST)
        if len(auth_policy) not in {0, name_algorithm.digest_size}:
            raise DecodeError("a policy digest has another size", got=len(auth_policy), want=name_algorithm.digest_size)
        symmetric = _read_symmetric(reader)
        scheme = _read_scheme(reader, _SCHEMES[kind])
        return cls(
            name_algorithm=name_algorithm,
            attributes=attributes,
            auth_policy=auth_policy,
            symmetric=symmetric,
            scheme=scheme,
            key=_read_ecc_key(reader) if kind == _ALG_ECC else _read_rsa_key(reader),
        )

    def encode(self) -> bytes:
        head = encode_uint(_ALG_ECC if isinstance(self.key, EccKey) else _ALG_RSA, 2)
        head += encode_uint(self.name_algorithm, 2) + encode_uint(self.attributes, 4)
        head += encode_vector(self.auth_policy, 2) + self.symmetric.encode() + self.scheme.encode()
        key = self.key
        if isinstance(key, EccKey):
            return (
                head + encode_uint(key.curve, 2) + key.kdf.encode() + encode_vector(key.x, 2) + encode_vector(key.y, 2)
            )
        return head + encode_uint(key.key_bits, 2) + encode_uint(key.exponent, 4) + encode_vector(key.modulus, 2)

    @property
    def name(self) -> bytes:
        """The TPM's name for the key: nameAlg ‖ H(TPMT_PUBLIC) (Part 1, section 16)."""
        return encode_uint(self.name_algorithm, 2) + self.name_algorithm.digest(self.encode())

    def public_key(self) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
        """Return the key. Raises `EvidenceError` for a point off its curve, or numbers that are no RSA key."""
        return _load_key(self.key)

    @property
    def public_key_info(self) -> bytes:
        """The key as SubjectPublicKeyInfo in DER, to compare with a certificate. Raises `EvidenceError`."""
        return self.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


_CURVES: Final = {EccCurve.P256: ec.SECP256R1(), EccCurve.P384: ec.SECP384R1(), EccCurve.P521: ec.SECP521R1()}


@lru_cache(_RECURRING_KEYS)
def _load_key(key: EccKey | RsaKey) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """Load a public key. It follows from these numbers alone, so it may be remembered."""
    try:
        if isinstance(key, EccKey):
            return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[key.curve], key.point)
        return rsa.RSAPublicNumbers(key.exponent or 65537, int.from_bytes(key.modulus, "big")).public_key()
    except ValueError as exc:
        raise EvidenceError("a TPM's public key is none", section=_PART_2) from exc


def _read_hash(reader: Reader) -> HashAlgorithm:
    number = reader.uint(2)
    try:
        return HashAlgorithm(number)
    except ValueError as exc:
        raise DecodeError("a TPM structure has an unknown hash", got=f"0x{number:04x}", section=_PART_2) from exc


def _read_symmetric(reader: Reader) -> Symmetric:
    algorithm = reader.uint(2)
    if algorithm == ALG_NULL:
        return Symmetric()
    if algorithm not in _BLOCK_CIPHERS:
        raise DecodeError("a TPM key has an unknown cipher", got=f"0x{algorithm:04x}", section=f"{_PART_2}, 11.1.7")
    return Symmetric(algorithm, reader.uint(2), reader.uint(2))


def _read_scheme(reader: Reader, allowed: Iterable[int]) -> Scheme:
    algorithm = reader.uint(2)
    if algorithm not in allowed:
        raise DecodeError("a TPM key has an unknown scheme", got=f"0x{algorithm:04x}", section=f"{_PART_2}, 11.2")
    return Scheme(algorithm, None if algorithm in _WITHOUT_HASH else _read_hash(reader))


def _read_kdf(reader: Reader) -> Scheme:
    algorithm = reader.uint(2)
    if algorithm not in _KDFS:
        raise DecodeError("a TPM key has an unknown KDF", got=f"0x{algorithm:04x}", section=f"{_PART_2}, 11.2.3")
    return Scheme(algorithm, None if algorithm == ALG_NULL else _read_hash(reader))


def _read_ecc_key(reader: Reader) -> EccKey:
    number = reader.uint(2)
    try:
        curve = EccCurve(number)
    except ValueError as exc:
        raise DecodeError("a TPM key is on an unknown curve", got=f"0x{number:04x}", section=_PART_2) from exc
    kdf = _read_kdf(reader)
    return EccKey(curve, reader.vector(2, limit=curve.size), reader.vector(2, limit=curve.size), kdf)


def _read_rsa_key(reader: Reader) -> RsaKey:
    key_bits, exponent = reader.uint(2), reader.uint(4)
    modulus = reader.vector(2, limit=_MAX_RSA_BYTES)
    if len(modulus) * 8 != key_bits:
        raise DecodeError("an RSA modulus has another size", got=8 * len(modulus), want=key_bits, section=_PART_2)
    return RsaKey(key_bits, modulus, exponent)


# --- PCRs -------------------------------------------------------------------------------------------------------------


@frozen
class PcrSelection:
    """TPMS_PCR_SELECTION (section 10.6.2): PCRs of one bank."""

    bank: HashAlgorithm

    select: bytes
    """One bit for each PCR, PCR 0 is the lowest of the first byte. Three bytes, as a rule."""

    @classmethod
    def of(cls, bank: HashAlgorithm, indices: Iterable[int]) -> Self:
        """Select PCRs by number, 0 to 23."""
        bits = 0
        for index in indices:
            if not 0 <= index < 24:
                raise LocalProtocolError("there is no such PCR", got=index, want="0 to 23")
            bits |= 1 << index
        return cls(bank, bits.to_bytes(3, "little"))

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take one selection off a reader. Raises `DecodeError`."""
        return cls(_read_hash(reader), reader.vector(1, limit=_MAX_SELECT_BYTES))

    def encode(self) -> bytes:
        return encode_uint(self.bank, 2) + encode_vector(self.select, 1)

    @property
    def indices(self) -> tuple[int, ...]:
        """The numbers of the selected PCRs, ascending: the order in which their values are hashed."""
        bits = int.from_bytes(self.select, "little")
        return tuple(index for index in range(8 * len(self.select)) if bits >> index & 1)


def decode_selections(reader: Reader) -> tuple[PcrSelection, ...]:
    """Take a TPML_PCR_SELECTION off a reader (section 10.9.7): at most 16 banks. Raises `DecodeError`."""
    count = reader.uint(4)
    if count > _MAX_SELECTIONS:
        raise LimitError("a PCR selection has too many banks", got=count, want=f"at most {_MAX_SELECTIONS}")
    return tuple(PcrSelection.read(reader) for _ in range(count))


def encode_selections(selections: Sequence[PcrSelection]) -> bytes:
    """Encode a TPML_PCR_SELECTION."""
    return encode_uint(len(selections), 4) + b"".join(each.encode() for each in selections)


def pcr_policy_digest(
    selections: Sequence[PcrSelection], values: Iterable[bytes], *, hash_algorithm: HashAlgorithm
) -> bytes:
    """Return the policy digest of one TPM2_PolicyPCR over these PCRs and values (Part 3, section 23.7).

    `hash_algorithm` is that of the key's name: it hashes the values, too.
    """
    return hash_algorithm.digest(
        bytes(hash_algorithm.digest_size)
        + encode_uint(_CC_POLICY_PCR, 4)
        + encode_selections(selections)
        + hash_algorithm.digest(b"".join(values))
    )


# --- What a TPM attests to --------------------------------------------------------------------------------------------


@frozen
class ClockInfo:
    """TPMS_CLOCK_INFO (section 10.11.1)."""

    clock: int
    """Milliseconds that the TPM ran, over its whole life."""

    reset_count: int
    """How often the TPM was reset: once for each boot."""

    restart_count: int
    """How often it was resumed since then."""

    safe: bool
    """No clock value before had a larger `clock`."""


@frozen
class QuoteInfo:
    """TPMS_QUOTE_INFO (section 10.12.4)."""

    selections: tuple[PcrSelection, ...]
    """Which PCRs were quoted."""

    pcr_digest: bytes
    """The hash of their values, one after the other, by the hash of the signing scheme."""

    def encode(self) -> bytes:
        return encode_selections(self.selections) + encode_vector(self.pcr_digest, 2)


@frozen
class CreationInfo:
    """TPMS_CREATION_INFO (section 10.12.6)."""

    object_name: bytes
    """The name of the key that was created."""

    creation_hash: bytes
    """The hash of its TPMS_CREATION_DATA."""

    def encode(self) -> bytes:
        return encode_vector(self.object_name, 2) + encode_vector(self.creation_hash, 2)


@frozen(kw_only=True)
class Attest:
    """TPMS_ATTEST (section 10.12.12): what the TPM says of itself, ready to be signed."""

    magic: int = GENERATED_VALUE
    """`GENERATED_VALUE`; a restricted key signs nothing else that begins so."""

    type: int
    """TPM_ST: what is attested."""

    qualified_signer: bytes
    """The qualified name of the key that signs."""

    extra_data: bytes
    """The qualifying data that the caller gave."""

    clock: ClockInfo

    firmware_version: int
    """The vendor's number, which may be obfuscated by a key outside of the endorsement hierarchy."""

    attested: QuoteInfo | CreationInfo | bytes
    """What is attested; the bytes as they are for another type."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a TPMS_ATTEST. Raises `DecodeError`, and `LimitError` for more than 1 KiB."""
        if len(data) > MAX_ATTEST:
            raise LimitError("TPMS_ATTEST is too long", got=f"{len(data)} bytes", want=f"at most {MAX_ATTEST}")
        reader = Reader(data, "TPMS_ATTEST")
        magic, kind = reader.uint(4), reader.uint(2)
        attest = cls(
            magic=magic,
            type=kind,
            qualified_signer=reader.vector(2, limit=_MAX_NAME),
            extra_data=reader.vector(2, limit=_MAX_DATA),
            clock=_read_clock(reader),
            firmware_version=reader.uint(8),
            attested=_read_attested(reader, kind),
        )
        reader.finish()
        return attest

    def encode(self) -> bytes:
        clock = self.clock
        return (
            encode_uint(self.magic, 4)
            + encode_uint(self.type, 2)
            + encode_vector(self.qualified_signer, 2)
            + encode_vector(self.extra_data, 2)
            + encode_uint(clock.clock, 8)
            + encode_uint(clock.reset_count, 4)
            + encode_uint(clock.restart_count, 4)
            + encode_uint(clock.safe, 1)
            + encode_uint(self.firmware_version, 8)
            + (self.attested if isinstance(self.attested, bytes) else self.attested.encode())
        )


def _read_clock(reader: Reader) -> ClockInfo:
    clock, reset_count, restart_count, safe = reader.uint(8), reader.uint(4), reader.uint(4), reader.uint(1)
    if safe > 1:
        raise DecodeError("a TPM's clock is neither safe nor unsafe", got=safe, want="0 or 1", section=_PART_2)
    return ClockInfo(clock, reset_count, restart_count, safe == 1)


def _read_attested(reader: Reader, kind: int) -> QuoteInfo | CreationInfo | bytes:
    match kind:
        case AttestType.QUOTE:
            return QuoteInfo(decode_selections(reader), reader.vector(2, limit=_MAX_DIGEST))
        case AttestType.CREATION:
            return CreationInfo(reader.vector(2, limit=_MAX_NAME), reader.vector(2, limit=_MAX_DIGEST))
        case _:
            return reader.rest()


@frozen(kw_only=True)
class CreationData:
    """TPMS_CREATION_DATA (section 15.1): the surroundings in which a key was made."""

    selections: tuple[PcrSelection, ...] = ()
    pcr_digest: bytes = b""
    locality: int = 1
    """TPMA_LOCALITY: one bit for each of the localities 0 to 4."""

    parent_name_algorithm: int
    """`ALG_NULL` for a primary key, as its parent is a hierarchy."""

    parent_name: bytes
    """The parent's name, or a hierarchy's handle in 4 bytes."""

    parent_qualified_name: bytes
    outside_info: bytes = b""
    """What the caller gave."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a TPMS_CREATION_DATA. Raises `DecodeError`, and `LimitError` for more than 1 KiB."""
        if len(data) > MAX_CREATION_DATA:
            raise LimitError("TPMS_CREATION_DATA is too long", got=len(data), want=f"at most {MAX_CREATION_DATA}")
        reader = Reader(data, "TPMS_CREATION_DATA")
        creation = cls(
            selections=decode_selections(reader),
            pcr_digest=reader.vector(2, limit=_MAX_DIGEST),
            locality=reader.uint(1),
            parent_name_algorithm=reader.uint(2),
            parent_name=reader.vector(2, limit=_MAX_NAME),
            parent_qualified_name=reader.vector(2, limit=_MAX_NAME),
            outside_info=reader.vector(2, limit=_MAX_DATA),
        )
        reader.finish()
        return creation

    def encode(self) -> bytes:
        return (
            encode_selections(self.selections)
            + encode_vector(self.pcr_digest, 2)
            + encode_uint(self.locality, 1)
            + encode_uint(self.parent_name_algorithm, 2)
            + encode_vector(self.parent_name, 2)
            + encode_vector(self.parent_qualified_name, 2)
            + encode_vector(self.outside_info, 2)
        )


# --- Signatures -------------------------------------------------------------------------------------------------------


@frozen
class TpmSignature:
    """TPMT_SIGNATURE (section 11.3.4) of ECDSA, RSASSA or RSAPSS."""

    algorithm: int
    """TPM_ALG_ID of the scheme."""

    hash_algorithm: HashAlgorithm

    numbers: tuple[bytes, ...] = field(repr=False)
    """r and s of ECDSA, or the one number of RSA, big-endian."""

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take a signature off a reader. Raises `DecodeError`."""
        algorithm = reader.uint(2)
        match algorithm:
            case SchemeId.ECDSA:
                count, limit = 2, _MAX_ECC_BYTES
            case SchemeId.RSASSA | SchemeId.RSAPSS:
                count, limit = 1, _MAX_RSA_BYTES
            case _:
                raise DecodeError("a TPM signature is of another kind", got=f"0x{algorithm:04x}", section=_PART_2)
        return cls(algorithm, _read_hash(reader), tuple(reader.vector(2, limit=limit) for _ in range(count)))

    def encode(self) -> bytes:
        head = encode_uint(self.algorithm, 2) + encode_uint(self.hash_algorithm, 2)
        return head + b"".join(encode_vector(each, 2) for each in self.numbers)


_HASHES: Final = {
    HashAlgorithm.SHA1: hashes.SHA1(),  # noqa: S303 - old quotes are read; the verifier takes no such key
    HashAlgorithm.SHA256: hashes.SHA256(),
    HashAlgorithm.SHA384: hashes.SHA384(),
    HashAlgorithm.SHA512: hashes.SHA512(),
}


def verify_tpm_signature(public: PublicArea, signature: TpmSignature, signed: bytes) -> None:
    """Check a signature with the key, by the scheme that the key is bound to. Raises `EvidenceError`.

    A key without a scheme of its own takes the signature's. Which hashes are good enough, the caller says.
    """
    scheme = Scheme(signature.algorithm, signature.hash_algorithm)
    if public.scheme not in {scheme, NULL_SCHEME}:
        raise EvidenceError(
            "a TPM signature is of another scheme than its key",
            got=scheme.encode().hex(),
            want=public.scheme.encode().hex(),
            section=_PART_2,
        )
    try:
        _verify(public.public_key(), signature, signed)
    except InvalidSignature as exc:
        raise EvidenceError("a TPM signature is wrong", section="TPM 2.0 Library, Part 1, annexes B.5 and C.4") from exc


def _verify(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, signature: TpmSignature, signed: bytes) -> None:
    digest = _HASHES[signature.hash_algorithm]
    match key, signature.algorithm:
        case ec.EllipticCurvePublicKey(), SchemeId.ECDSA:
            r, s = (int.from_bytes(each, "big") for each in signature.numbers)
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
        case rsa.RSAPublicKey(), SchemeId.RSASSA:
            key.verify(signature.numbers[0], signed, padding.PKCS1v15(), digest)
        case rsa.RSAPublicKey(), SchemeId.RSAPSS:
            # The length of the salt is the TPM's choice: as long as fits, or as the hash (Part 1, annex B.7).
            key.verify(signature.numbers[0], signed, padding.PSS(padding.MGF1(digest), padding.PSS.AUTO), digest)
        case _:
            raise EvidenceError("a TPM signature is of another kind than its key", section=_PART_2)
