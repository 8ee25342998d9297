"""A node's keys: one for each epoch, and what each of them has seen (docs/spec/sealed-request.md, sections 3 and 7).

A key lives for its own epoch and the next; then it is erased, and what was recorded cannot be opened any more. When
an epoch begins, and what vouches for a key, is left to the role.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final, final

from confsec.errors import (
    BusyError,
    DecodeError,
    LocalProtocolError,
    RemoteProtocolError,
    ReplayError,
    UnknownKeyError,
    UnsupportedError,
)
from confsec.protocol.aead import Aead
from confsec.protocol.hpke import HpkeSuite, ReceiverContext, setup_receiver
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import Decapsulator, KemPrivateKey, kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.sealed_header import ENC_SIZES, Recipient, SealedRequestHeader
from confsec.protocol.sealed_keys import wrap_info

__all__ = [
    "MAX_KEY_AGE",
    "NODE_KEY_ID",
    "NODE_SUITE",
    "REPLAY_LIMIT",
    "NodeKey",
    "NodeKeys",
    "check_node_key_config",
    "node_hpke_suite",
    "node_id",
    "node_key_config",
]

NODE_KEY_ID: Final = 0
"""The key id in every node's key configuration: nodes are told apart by node id."""

NODE_SUITE: Final = SymmetricSuite(kdf_id=Kdf.HKDF_SHA256.kdf_id, aead_id=Aead.AES_256_GCM.aead_id)
"""The one suite of version 1."""

REPLAY_LIMIT: Final = 1 << 18
"""How many requests one key may open. At 32 bytes each and what Python adds, a full set is about 30 MB; it is full only
when a node gets more than 200 requests a second through two epochs of ten minutes."""

MAX_KEY_AGE: Final = timedelta(hours=2)
"""Where epochs stop because no witness signs, nodes stop after an hour; a key outlives that by its second epoch."""

_SECTION = "sealed request, section 3"


def node_id(key_config: KeyConfig) -> bytes:
    """Return SHA-256 of the encoded key configuration: it names a node in an epoch."""
    return hashlib.sha256(key_config.encode()).digest()


def node_key_config(decapsulator: Decapsulator) -> KeyConfig:
    """Return the key configuration of a node that holds this key. Raises as `check_node_key_config` does."""
    key_config = KeyConfig(
        key_id=NODE_KEY_ID, kem_id=decapsulator.kem_id, public_key=decapsulator.public_key, suites=(NODE_SUITE,)
    )
    check_node_key_config(key_config)
    return key_config


def check_node_key_config(key_config: KeyConfig) -> None:
    """Check that a request can be sealed to this key configuration.

    Raises `UnsupportedError` for another KEM or other suites, and `DecodeError` for another key id and for a public key
    that is none.
    """
    if key_config.kem_id not in ENC_SIZES:
        want = "0x0050 or 0x647a"
        raise UnsupportedError(
            "this KEM is not for nodes", got=f"0x{key_config.kem_id:04x}", want=want, section=_SECTION
        )
    if key_config.suites != (NODE_SUITE,):
        raise UnsupportedError("these suites are not for nodes", want="HKDF-SHA256, AES-256-GCM", section=_SECTION)
    if key_config.key_id != NODE_KEY_ID:
        raise DecodeError("a node's key has another id", got=key_config.key_id, want=NODE_KEY_ID, section=_SECTION)
    key_config.kem.check_public_key(key_config.public_key)


def node_hpke_suite(kem_id: int) -> HpkeSuite:
    """Return the HPKE suite of a node with this KEM."""
    return HpkeSuite(kem_from_id(kem_id), Kdf.HKDF_SHA256, Aead.AES_256_GCM)


@final
class NodeKey:
    """The key of one epoch, its node id, and every `enc` that it was asked to open."""

    def __init__(self, decapsulator: Decapsulator, since: datetime, *, replay_limit: int = REPLAY_LIMIT) -> None:
        """Begin an epoch at `since`. Raises as `check_node_key_config` does."""
        self.key_config: Final = node_key_config(decapsulator)
        self.node_id: Final = node_id(self.key_config)
        self.since: Final = since
        self._decapsulator: Decapsulator | None = decapsulator
        self._replay_limit = replay_limit
        self._seen: set[bytes] = set()

    def reserve(self, enc: bytes) -> None:
        """Use up one `enc`, for as long as this key lives.

        Raises `DecodeError` for another KEM's, `ReplayError` for one that was here before, `BusyError` when the set is
        full.
        """
        if len(enc) != ENC_SIZES[self.key_config.kem_id]:
            want = ENC_SIZES[self.key_config.kem_id]
            raise DecodeError("enc has the length of another KEM", got=f"{len(enc)} bytes", want=want, section=_SECTION)
        digest = hashlib.sha256(enc).digest()
        if digest in self._seen:
            raise ReplayError("this request was sealed to this node once and arrived twice", section=_SECTION)
        # To forget an old one to make room for a new one would let whoever fills the set replay what he recorded.
        if len(self._seen) >= self._replay_limit:
            raise BusyError("this key has opened as many requests as it may", got=len(self._seen))
        self._seen.add(digest)

    def setup_receiver(self, enc: bytes) -> ReceiverContext:
        """Decapsulate. May block, where a device holds the key. Raises `UnknownKeyError` once erased.

        Else raises `DecryptionError`, or `BackendError` if the device fails.
        """
        decapsulator = self._decapsulator
        if decapsulator is None:
            raise UnknownKeyError("the key of this epoch is erased", got=self.node_id.hex(), section=_SECTION)
        suite = node_hpke_suite(self.key_config.kem_id)
        return setup_receiver(suite, decapsulator, enc, wrap_info(self.node_id))

    def erase(self) -> None:
        """Erase the private key, and the replay set that has no use without it.

        A key in this process is overwritten as far as Python allows; what a device holds is its owner's to flush.
        """
        if isinstance(self._decapsulator, KemPrivateKey):
            self._decapsulator.erase()
        self._decapsulator = None
        self._seen = set()

    def __repr__(self) -> str:
        return f"<NodeKey {self.node_id.hex()[:16]}>"


@final
class NodeKeys:
    """The live keys of a node: the current epoch's and the one's before. Lives as long as the process."""

    def __init__(self, *, replay_limit: int = REPLAY_LIMIT, max_age: timedelta = MAX_KEY_AGE) -> None:
        self._replay_limit = replay_limit
        self._max_age = max_age
        self._keys: list[NodeKey] = []

    @property
    def current(self) -> NodeKey:
        """The key of the current epoch. Raises `BusyError` where there is none: before the first, and after the end."""
        if not self._keys:
            raise BusyError("this node has no key now", hint="Wait for the next epoch")
        return self._keys[-1]

    @property
    def node_ids(self) -> tuple[bytes, ...]:
        """The node ids that open now, oldest first."""
        return tuple(key.node_id for key in self._keys)

    def rotate(self, decapsulator: Decapsulator, now: datetime) -> NodeKey:
        """Begin an epoch with a fresh key, and erase the key of the epoch before last.

        Raises `LocalProtocolError` for a key that was used before, else as `check_node_key_config` does.
        """
        key = NodeKey(decapsulator, now, replay_limit=self._replay_limit)
        if key.node_id in self.node_ids:
            raise LocalProtocolError("a new epoch needs a new key", got=key.node_id.hex(), section=_SECTION)
        self._keys.append(key)
        self._erase(self._keys[:-2])
        self.erase_expired(now)
        return key

    def erase_expired(self, now: datetime) -> None:
        """Erase the keys that are too old, also where no new epoch began. Call it from time to time."""
        self._erase([key for key in self._keys if now - key.since >= self._max_age])

    def erase(self) -> None:
        """Erase all keys: the node stops."""
        self._erase(self._keys[:])

    def find(self, header: SealedRequestHeader) -> tuple[NodeKey, Recipient]:
        """Return the one key of ours that this request is sealed to, and what is wrapped for it.

        Raises `UnknownKeyError` if there is none, and `RemoteProtocolError` if there are two, since the request could
        run once for each.
        """
        keys = {key.node_id: key for key in self._keys}
        found = [recipient for recipient in header.recipients if recipient.node_id in keys]
        if not found:
            raise UnknownKeyError("no recipient is a key of this node", section=_SECTION)
        if len(found) > 1:
            raise RemoteProtocolError("two recipients are keys of this node", got=len(found), section=_SECTION)
        return keys[found[0].node_id], found[0]

    def _erase(self, keys: list[NodeKey]) -> None:
        for key in keys:
            key.erase()
            self._keys.remove(key)

    def __repr__(self) -> str:
        return f"<NodeKeys {[key.node_id.hex()[:16] for key in self._keys]}>"
