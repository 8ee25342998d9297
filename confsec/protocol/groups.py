"""The groups in which DHKEMs and the traditional halves of hybrids do Diffie–Hellman.

X25519 and X448 are the functions of RFC 7748; the NIST curves have uncompressed points and give the X coordinate
(RFC 9180, section 7.1.1). Keys that come from outside are checked here and nowhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Generic, Protocol, TypeVar, final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confsec.errors import BackendError, DecodeError, LocalProtocolError
from confsec.protocol.kem_base import DiffieHellman
from confsec.protocol.machine import RandBytes

__all__ = ["P256", "P384", "P521", "X448", "X25519", "CheckedDevice", "Group", "GroupKey"]

_RECURRING_KEYS: Final = 64
"""How many parsed public keys each group remembers: a client seals to the same few keys again and again."""

_MAX_DRAWS: Final = 8
"""How often a scalar is drawn anew. P-256 refuses one in 2^32, so eight refusals are a broken source."""

_SIZE_SECTION: Final = "RFC 9180, section 7.1"
_CHECK_SECTION: Final = "RFC 9180, section 7.1.4"


class GroupKey(ABC):
    """A private key in this process: the `DiffieHellman` that all our own keys use."""

    @property
    @abstractmethod
    def public_key(self) -> bytes:
        """The public key in its wire form."""

    @abstractmethod
    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        """Return the shared coordinate. Raises `DecodeError` for a peer's key that is none or of small order."""

    @abstractmethod
    def diffie_hellman_recurring(self, peer_public_key: bytes) -> bytes:
        """Do the same with a peer's key that comes again and again: it is parsed once and remembered."""

    @abstractmethod
    def private_bytes(self) -> bytes:
        """Return the scalar in its wire form."""


class Group(ABC):
    """Sizes, and how to make and check keys."""

    name: str

    public_key_size: int

    private_key_size: int

    shared_size: int
    """Ndh: bytes of a shared coordinate."""

    samples: bool
    """Whether scalars are found by rejection sampling, as on the NIST curves."""

    def generate(self, randbytes: RandBytes) -> GroupKey:
        """Make a fresh private key. Raises `LocalProtocolError` if `randbytes` gives none."""
        for _ in range(_MAX_DRAWS):
            candidate = randbytes(self.private_key_size)
            # Too few bytes would make a weak scalar on a NIST curve, and nothing else would notice.
            if len(candidate) != self.private_key_size:
                raise LocalProtocolError("randbytes gave another size", got=len(candidate), want=self.private_key_size)
            key = self.sample(candidate)
            if key is not None:
                return key
        raise LocalProtocolError(
            f"randbytes gave no {self.name} private key", got=f"{_MAX_DRAWS} draws, all out of range"
        )

    @abstractmethod
    def sample(self, candidate: bytes) -> GroupKey | None:
        """Return the private key that these random bytes make, or nothing if they are out of range."""

    @abstractmethod
    def from_private_bytes(self, private_key: bytes) -> GroupKey:
        """Load a private key. Raises `DecodeError`."""

    @abstractmethod
    def check_public_key(self, public_key: bytes) -> None:
        """Check that these bytes are a public key. Raises `DecodeError`."""

    def _check_size(self, key: bytes, want: int, what: str) -> None:
        if len(key) != want:
            raise DecodeError(
                f"the {self.name} {what} has another size",
                got=f"{len(key)} bytes",
                want=f"{want} bytes",
                section=_SIZE_SECTION,
            )


_PublicT = TypeVar("_PublicT")
_PeerT_contra = TypeVar("_PeerT_contra", contravariant=True)


class _NativePublic(Protocol):
    def public_bytes_raw(self) -> bytes: ...


class _NativePrivate(Protocol[_PeerT_contra]):
    """What X25519PrivateKey and X448PrivateKey have in common."""

    def exchange(self, peer_public_key: _PeerT_contra, /) -> bytes: ...
    def public_key(self) -> _NativePublic: ...
    def private_bytes_raw(self) -> bytes: ...


@final
class _MontgomeryGroup(Group, Generic[_PublicT]):
    """X25519 or X448. Every string of the right size is a public key; those of small order fail in the exchange."""

    samples = False

    def __init__(
        self,
        name: str,
        size: int,
        load_private: Callable[[bytes], _NativePrivate[_PublicT]],
        load_public: Callable[[bytes], _PublicT],
    ) -> None:
        self.name = name
        self.public_key_size = self.private_key_size = self.shared_size = size
        self._load_private = load_private
        self._load_public = load_public
        self.parse_recurring = lru_cache(_RECURRING_KEYS)(self.parse_public_key)

    def sample(self, candidate: bytes) -> GroupKey:
        return _MontgomeryKey(self, self._load_private(candidate))

    def from_private_bytes(self, private_key: bytes) -> GroupKey:
        self._check_size(private_key, self.private_key_size, "private key")
        return self.sample(private_key)

    def check_public_key(self, public_key: bytes) -> None:
        self._check_size(public_key, self.public_key_size, "public key")

    def parse_public_key(self, public_key: bytes) -> _PublicT:
        self.check_public_key(public_key)
        return self._load_public(public_key)


@final
class _MontgomeryKey(GroupKey, Generic[_PublicT]):
    __slots__ = ("_group", "_private", "_public_key")

    def __init__(self, group: _MontgomeryGroup[_PublicT], private: _NativePrivate[_PublicT]) -> None:
        self._group = group
        self._private = private
        self._public_key = private.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        return self._public_key

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        return self._exchange(self._group.parse_public_key(peer_public_key))

    def diffie_hellman_recurring(self, peer_public_key: bytes) -> bytes:
        return self._exchange(self._group.parse_recurring(peer_public_key))

    def private_bytes(self) -> bytes:
        return self._private.private_bytes_raw()

    def _exchange(self, public: _PublicT) -> bytes:
        # Both sides have to check "whether the Diffie-Hellman shared secret is the all-zero value and abort if so".
        # OpenSSL does, and cryptography turns that into ValueError.
        try:
            return self._private.exchange(public)
        except ValueError as exc:
            raise _small_order(self._group) from exc


@final
class _NistGroup(Group):
    """P-256, P-384 or P-521."""

    samples = True

    def __init__(self, name: str, curve: ec.EllipticCurve) -> None:
        self.name = name
        self.private_key_size = self.shared_size = -(-curve.key_size // 8)
        self.public_key_size = 1 + 2 * self.shared_size
        self._curve = curve
        self._order = curve.group_order
        # Scalars of P-521 have 66 bytes, and the first one holds a single bit (RFC 9180, section 7.1.3).
        self._mask = (1 << curve.key_size) - 1
        self.parse_recurring = lru_cache(_RECURRING_KEYS)(self.parse_public_key)

    def sample(self, candidate: bytes) -> GroupKey | None:
        scalar = int.from_bytes(candidate, "big") & self._mask
        return self._key(scalar) if 0 < scalar < self._order else None

    def from_private_bytes(self, private_key: bytes) -> GroupKey:
        self._check_size(private_key, self.private_key_size, "private key")
        scalar = int.from_bytes(private_key, "big")
        if not 0 < scalar < self._order:
            raise DecodeError(f"the {self.name} private key is out of range", section=_CHECK_SECTION)
        return self._key(scalar)

    def check_public_key(self, public_key: bytes) -> None:
        self.parse_public_key(public_key)

    def parse_public_key(self, public_key: bytes) -> ec.EllipticCurvePublicKey:
        self._check_size(public_key, self.public_key_size, "public key")
        # The size leaves out compressed points and infinity; OpenSSL also reads a "hybrid" form that has this size.
        if public_key[0] != 0x04:
            raise DecodeError(f"the {self.name} public key is not an uncompressed point", section=_SIZE_SECTION)
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(self._curve, public_key)
        except ValueError as exc:
            raise DecodeError(f"the {self.name} public key is not on the curve", section=_CHECK_SECTION) from exc

    def _key(self, scalar: int) -> GroupKey:
        return _NistKey(self, ec.derive_private_key(scalar, self._curve))


_ECDH: Final = ec.ECDH()


@final
class _NistKey(GroupKey):
    __slots__ = ("_group", "_private", "_public_key")

    def __init__(self, group: _NistGroup, private: ec.EllipticCurvePrivateKey) -> None:
        self._group = group
        self._private = private
        self._public_key = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def public_key(self) -> bytes:
        return self._public_key

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        return self._private.exchange(_ECDH, self._group.parse_public_key(peer_public_key))

    def diffie_hellman_recurring(self, peer_public_key: bytes) -> bytes:
        return self._private.exchange(_ECDH, self._group.parse_recurring(peer_public_key))

    def private_bytes(self) -> bytes:
        return self._private.private_numbers().private_value.to_bytes(self._group.private_key_size, "big")


def _small_order(group: Group) -> DecodeError:
    return DecodeError(f"the {group.name} public key has small order", section=_CHECK_SECTION)


@final
class CheckedDevice:
    """A device's key, distrusted: what goes in is checked before the device sees it, and what comes out, too.

    A point that is not on the curve can draw the key out of a careless device, and a TPM may strip leading zeros.
    """

    def __init__(self, group: Group, device: DiffieHellman) -> None:
        """Take a device. Raises `DecodeError` when its public key is none of `group`."""
        group.check_public_key(device.public_key)
        self._group = group
        self._device = device
        self.public_key: Final = device.public_key

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        """Return the shared coordinate. Raises `DecodeError` for the peer's key, `BackendError` for the device."""
        self._group.check_public_key(peer_public_key)
        shared = self._device.diffie_hellman(peer_public_key)
        if len(shared) != self._group.shared_size:
            raise BackendError(
                f"a device's {self._group.name} result has another size",
                got=f"{len(shared)} bytes",
                want=f"{self._group.shared_size} bytes, left-padded",
            )
        # The all-zero check of X25519 and X448 is ours here. On a NIST curve X = 0 comes by chance once in 2^256.
        if shared == bytes(len(shared)):
            raise _small_order(self._group)
        return shared


X25519: Final[Group] = _MontgomeryGroup(
    "X25519", 32, X25519PrivateKey.from_private_bytes, X25519PublicKey.from_public_bytes
)
"""Curve25519 (RFC 7748)."""

X448: Final[Group] = _MontgomeryGroup("X448", 56, X448PrivateKey.from_private_bytes, X448PublicKey.from_public_bytes)
"""Curve448 (RFC 7748)."""

P256: Final[Group] = _NistGroup("P-256", ec.SECP256R1())
"""P-256 (SP 800-186): the group that TPMs have."""

P384: Final[Group] = _NistGroup("P-384", ec.SECP384R1())
"""P-384 (SP 800-186)."""

P521: Final[Group] = _NistGroup("P-521", ec.SECP521R1())
"""P-521 (SP 800-186)."""
