"""Key configurations of gateways (RFC 9458, section 3), and which of them a client takes.

A `KeyConfig` keeps what it was decoded from, with algorithms that we do not know, so that it encodes to the same bytes.
Whether a configuration may be trusted is decided elsewhere (section 6.1 asks for integrity and authenticity).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Self

from attrs import frozen

from confsec.errors import DecodeError, LimitError, UnsupportedError
from confsec.protocol.aead import Aead, aead_from_id
from confsec.protocol.hpke import HpkeSuite
from confsec.protocol.kdf import Kdf, kdf_from_id
from confsec.protocol.kem import KEMS, Kem, kem_from_id
from confsec.protocol.wire import Reader, encode_uint, encode_vector

__all__ = [
    "MAX_KEY_CONFIGS",
    "MAX_SYMMETRIC_SUITES",
    "MEDIA_TYPE_OHTTP_KEYS",
    "KeyConfig",
    "SymmetricSuite",
    "choose_key_config",
    "decode_key_configs",
    "encode_key_configs",
]

MEDIA_TYPE_OHTTP_KEYS: Final = "application/ohttp-keys"
"""The media type of a list of key configurations (section 3.2)."""

MAX_KEY_CONFIGS: Final = 64
"""How many configurations we read in a list: ten KEMs, each with an old and a new key, need 20."""

MAX_SYMMETRIC_SUITES: Final = 64
"""How many pairs of KDF and AEAD we read in a configuration: the registries of HPKE have fewer."""

# Hybrids first: they hold if either half does, and so protect what is recorded today from tomorrow's quantum computer.
# X-Wing leads because peers have it. KEMs of one kind alone come after, elliptic curves before the young ML-KEM.
_KEM_PREFERENCE: Final = (0x647A, 0x0050, 0x0051, 0x0020, 0x0010, 0x0012, 0x0011, 0x0021, 0x0041, 0x0042)
_KEM_IDS: Final = frozenset(kem.kem_id for kem in KEMS)

# A response is encrypted with Extract, Expand and the AEAD (section 4.4), so a suite without one of them cannot answer.
_KDF_IDS: Final = frozenset(kdf.kdf_id for kdf in Kdf if not kdf.one_stage)
_AEAD_IDS: Final = frozenset(aead.aead_id for aead in Aead if aead is not Aead.EXPORT_ONLY)

_SECTION: Final = "RFC 9458, section 3.1"
_LIST_SECTION: Final = "RFC 9458, section 3.2"


@frozen
class SymmetricSuite:
    """A KDF and an AEAD that may be used with a key. Either may be unknown to us."""

    kdf_id: int
    """Id in the IANA registry "HPKE KDF Identifiers"."""

    aead_id: int
    """Id in the IANA registry "HPKE AEAD Identifiers"."""

    def with_kem(self, kem_id: int) -> HpkeSuite:
        """Return the whole suite. Raises `UnsupportedError` for what we do not have or Oblivious HTTP cannot use."""
        return _hpke_suite(kem_id, self.kdf_id, self.aead_id)

    @property
    def is_supported(self) -> bool:
        """Whether we have it and Oblivious HTTP can use it."""
        return self.kdf_id in _KDF_IDS and self.aead_id in _AEAD_IDS


@frozen
class KeyConfig:
    """A gateway's public key and what may be used with it (section 3.1). Its KEM is always one that we have."""

    key_id: int
    """What the gateway calls the key: 0 to 255."""

    kem_id: int
    """Id in the IANA registry "HPKE KEM Identifiers"."""

    public_key: bytes
    """The public key in the KEM's wire form, Npk bytes."""

    suites: tuple[SymmetricSuite, ...]
    """KDFs and AEADs in the gateway's order. At least one."""

    def __attrs_post_init__(self) -> None:
        encode_uint(self.key_id, 1)
        size = self.kem.public_key_size
        if len(self.public_key) != size:
            raise DecodeError(
                "public key has another size",
                got=f"{len(self.public_key)} bytes",
                want=f"{size} bytes",
                section=_SECTION,
            )
        if not self.suites:
            raise DecodeError("key configuration has no symmetric algorithms", section=_SECTION)
        if len(self.suites) > MAX_SYMMETRIC_SUITES:
            raise LimitError(
                "key configuration has too many symmetric algorithms",
                got=len(self.suites),
                want=f"at most {MAX_SYMMETRIC_SUITES}",
                section=_SECTION,
            )

    @property
    def kem(self) -> Kem:
        """The KEM. Raises `UnsupportedError` if we do not have it, which happens only while one is made."""
        return kem_from_id(self.kem_id)

    @property
    def supported_suites(self) -> tuple[SymmetricSuite, ...]:
        """The suites that we have and that can be used in Oblivious HTTP, in the gateway's order."""
        return tuple(suite for suite in self.suites if suite.is_supported)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode one configuration.

        Raises `DecodeError`, and `UnsupportedError` for a KEM that we do not have: the size of its key is unknown.
        """
        reader = Reader(data, "key configuration")
        key_id, kem_id = reader.uint(1), reader.uint(2)
        public_key = reader.take(kem_from_id(kem_id).public_key_size)
        suites = _decode_suites(reader.vector(2))
        reader.finish()
        return cls(key_id, kem_id, public_key, suites)

    def encode(self) -> bytes:
        suites = b"".join(encode_uint(suite.kdf_id, 2) + encode_uint(suite.aead_id, 2) for suite in self.suites)
        return encode_uint(self.key_id, 1) + encode_uint(self.kem_id, 2) + self.public_key + encode_vector(suites, 2)


def decode_key_configs(data: bytes) -> tuple[KeyConfig, ...]:
    """Decode a list of media type application/ohttp-keys, without the entries whose KEM we do not have.

    Raises `DecodeError`: "clients MUST discard incorrectly encoded key configuration collections" as a whole, since
    gateways could tell clients apart by what they make of errors (section 3.2). For the same reason two keys of one id
    and KEM are an error.
    """
    reader = Reader(data, "list of key configurations")
    configs: dict[tuple[int, int], KeyConfig] = {}
    for _ in range(MAX_KEY_CONFIGS):
        config = _decode_entry(reader.vector(2))
        if config and configs.setdefault((config.key_id, config.kem_id), config) is not config:
            raise DecodeError("a key id occurs twice", got=config.key_id, section=_LIST_SECTION)
        if not reader.remaining:
            return tuple(configs.values())
    raise LimitError("too many key configurations", want=f"at most {MAX_KEY_CONFIGS}", section=_LIST_SECTION)


def encode_key_configs(configs: Sequence[KeyConfig]) -> bytes:
    """Encode a list of media type application/ohttp-keys. Those to be taken first come first."""
    return b"".join(encode_vector(config.encode(), 2) for config in configs)


def choose_key_config(configs: Sequence[KeyConfig]) -> tuple[KeyConfig, SymmetricSuite]:
    """Choose what to seal to: a hybrid KEM where there is one, then the first in the gateway's order.

    Every client of ours makes the same choice, so that it tells nothing about the client. Raises `UnsupportedError` if
    nothing can be used.
    """
    usable = [config for config in configs if config.supported_suites]
    if not usable:
        raise UnsupportedError("no key configuration can be used", got=f"{len(configs)}", section=_LIST_SECTION)
    config = min(usable, key=lambda config: _KEM_PREFERENCE.index(config.kem_id))
    return config, config.supported_suites[0]


@lru_cache(maxsize=256)
def _hpke_suite(kem_id: int, kdf_id: int, aead_id: int) -> HpkeSuite:
    if kdf_id not in _KDF_IDS or aead_id not in _AEAD_IDS:
        raise UnsupportedError(
            "this suite cannot be used", got=f"KDF 0x{kdf_id:04x} with AEAD 0x{aead_id:04x}", section=_SECTION
        )
    return HpkeSuite(kem_from_id(kem_id), kdf_from_id(kdf_id), aead_from_id(aead_id))


def _decode_entry(data: bytes) -> KeyConfig | None:
    reader = Reader(data, "key configuration")
    reader.take(1)
    return KeyConfig.decode(data) if reader.uint(2) in _KEM_IDS else None


def _decode_suites(data: bytes) -> tuple[SymmetricSuite, ...]:
    reader = Reader(data, "list of symmetric algorithms")
    suites = []
    while reader.remaining:
        suites.append(SymmetricSuite(kdf_id=reader.uint(2), aead_id=reader.uint(2)))
    return tuple(suites)
