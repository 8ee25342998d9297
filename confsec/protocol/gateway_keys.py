"""The keys that a gateway holds, from the day each is published to the day it is forgotten (RFC 9458, section 6.4).

A new key is published while the old one still opens what was sealed to it, so that a rotation fails nobody: clients
hold a list of keys for a while, and messages travel. Making keys, and telling the time, are left to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import final

from attrs import field, frozen

from confsec.errors import LocalProtocolError, UnknownKeyError
from confsec.protocol.kem import Decapsulator
from confsec.protocol.key_config import KeyConfig, encode_key_configs

__all__ = ["GatewayKey", "GatewayKeyring"]

_SECTION = "RFC 9458, section 6.4"
_KEY_IDS = 256


@frozen(kw_only=True)
class GatewayKey:
    """A private key and the times of its life.

    Raises `LocalProtocolError` if the halves do not belong together or the times are out of order.
    """

    config: KeyConfig
    """What clients learn of it."""

    decapsulator: Decapsulator = field(repr=False)
    """The private key."""

    published_from: datetime
    """When clients may begin to seal to it. It opens messages even before, since clocks of several gateways differ."""

    published_until: datetime
    """When it leaves the published list."""

    accepted_until: datetime
    """When it stops opening messages: later by as long as clients keep a list, and messages travel."""

    def __attrs_post_init__(self) -> None:
        theirs = (self.decapsulator.kem_id, self.decapsulator.public_key)
        if theirs != (self.config.kem_id, self.config.public_key):
            raise LocalProtocolError("the private key is not that of the key configuration", got=self.config.key_id)
        if not self.published_from < self.published_until <= self.accepted_until:
            raise LocalProtocolError("a key is published, then accepted, then neither", got=self.config.key_id)


@final
class GatewayKeyring:
    """The keys of one gateway. At most one key for each key id and KEM at any time."""

    def __init__(self, keys: Iterable[GatewayKey] = ()) -> None:
        self._keys: dict[tuple[int, int], GatewayKey] = {}
        for key in keys:
            self.add(key)

    def add(self, key: GatewayKey) -> None:
        """Add a key. Raises `LocalProtocolError` if its id is taken: `free_key_id` gives one that is not."""
        if self._keys.setdefault((key.config.key_id, key.config.kem_id), key) is not key:
            raise LocalProtocolError("this key id is taken", got=key.config.key_id, section=_SECTION)

    def free_key_id(self) -> int:
        """Return the id for a new key, as long after its last use as can be, so that no client mistakes the key.

        Raises `LocalProtocolError` if all 256 are taken.
        """
        used = [key_id for key_id, _ in self._keys]
        last = used[-1] if used else -1
        for step in range(1, _KEY_IDS + 1):
            if (key_id := (last + step) % _KEY_IDS) not in used:
                return key_id
        raise LocalProtocolError("no key id is free", want=f"fewer than {_KEY_IDS} keys", section=_SECTION)

    def discard_expired(self, now: datetime) -> None:
        """Forget the keys that open nothing any more."""
        self._keys = {name: key for name, key in self._keys.items() if now < key.accepted_until}

    def published(self, now: datetime) -> tuple[GatewayKey, ...]:
        """Return the keys to publish now, the newest first."""
        keys = [key for key in self._keys.values() if key.published_from <= now < key.published_until]
        return tuple(sorted(keys, key=lambda key: key.published_from, reverse=True))

    def encode_key_configs(self, now: datetime) -> bytes:
        """Return the list of media type application/ohttp-keys to serve now."""
        return encode_key_configs([key.config for key in self.published(now)])

    def lookup(self, key_id: int, kem_id: int, *, now: datetime) -> GatewayKey:
        """Return the key that opens messages now. Raises `UnknownKeyError`."""
        key = self._keys.get((key_id, kem_id))
        if key is None or now >= key.accepted_until:
            raise UnknownKeyError(
                "this key is not, or no longer, here", got=f"key {key_id} of KEM 0x{kem_id:04x}", section=_SECTION
            )
        return key
