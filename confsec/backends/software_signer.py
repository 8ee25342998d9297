"""Signers whose key is in this process's memory: OpenSSL's private operation, or GMP's, in threads.

Each result is checked with the public key before anybody sees it. Neither library holds Python's lock while it
computes, so a batch is shared out to as many threads as there are processors.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Self, TypeVar, final
from weakref import WeakSet

import anyio
import anyio.to_thread

from confsec.backends.raw_rsa import RawRsaKey, check_message, open_raw_key
from confsec.errors import BackendError, LocalProtocolError
from confsec.protocol.partially_blind_rsa import derive_public_key
from confsec.protocol.rsa_keys import RsaPublicKey

__all__ = ["PartiallyBlindSoftwareSigner", "SoftwareSigner", "processors"]

_T = TypeVar("_T")

_MAX_SHARE: Final = 16
"""Messages that a thread signs in a row: some milliseconds. Then others have their turn."""

_MAX_DERIVED: Final = 64
"""Derived keys that are kept ready. Honest metadata has few values at a time."""


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@final
class SoftwareSigner:
    """A `BlindSigner` with a key in memory."""

    def __init__(self, key: RawRsaKey, *, limiter: anyio.CapacityLimiter | None = None) -> None:
        """Sign with `key`, in as many threads as `limiter` lets: by default one for each processor.

        Signers that work at the same time should share a limiter.
        """
        self._key: RawRsaKey | None = key
        self._public_key = key.public_key
        self._limiter = limiter or anyio.CapacityLimiter(processors())

    def __repr__(self) -> str:
        return f"SoftwareSigner(token_key_id={self._public_key.spki_digest().hex()})"

    @classmethod
    def from_pem(
        cls, pem: bytes, passphrase: bytes | None = None, *, limiter: anyio.CapacityLimiter | None = None
    ) -> Self:
        """Read the private key from PEM. Raises `ConfigError` and `MissingExtraError`."""
        return cls(open_raw_key(pem, passphrase), limiter=limiter)

    @property
    def public_key(self) -> RsaPublicKey:
        """The public half."""
        return self._public_key

    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        """Return the blind signature. Raises `DecodeError`, `BackendError` and `LocalProtocolError`."""
        key = _opened(self._key)
        check_message(self._public_key, blinded_msg)
        return await self._in_thread(partial(_sign, key, blinded_msg))

    async def blind_sign_many(self, blinded_msgs: Sequence[bytes]) -> list[bytes]:
        """Sign a batch, in its order, on all processors. Raises as `blind_sign`."""
        key = _opened(self._key)
        for blinded_msg in blinded_msgs:
            check_message(self._public_key, blinded_msg)
        signed: dict[int, list[bytes] | BackendError] = {}

        async def sign_share(start: int, share: Sequence[bytes]) -> None:
            signed[start] = await self._in_thread(partial(_sign_share, key, share))

        async with anyio.create_task_group() as group:
            for start, share in self._shares(blinded_msgs):
                group.start_soon(sign_share, start, share)
        return _joined([signed[start] for start in sorted(signed)])

    async def aclose(self) -> None:
        """Let go of the key. It is cleared when what is under way has ended."""
        self._key = None

    def _shares(self, blinded_msgs: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
        threads = max(1, int(self._limiter.total_tokens))
        size = max(1, min(_MAX_SHARE, -(-len(blinded_msgs) // threads)))
        for start in range(0, len(blinded_msgs), size):
            yield start, blinded_msgs[start : start + size]

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


@final
class PartiallyBlindSoftwareSigner:
    """A `PartiallyBlindSigner` with a key in memory."""

    def __init__(self, key: RawRsaKey, *, limiter: anyio.CapacityLimiter | None = None) -> None:
        """Derive from `key`. Raises `ConfigError` if its primes are not safe: then some metadata would have no key."""
        key.check_safe_primes()
        self._key: RawRsaKey | None = key
        self._public_key = key.public_key
        self._limiter = limiter or anyio.CapacityLimiter(processors())
        self._ready: OrderedDict[bytes, SoftwareSigner] = OrderedDict()
        self._derived: WeakSet[SoftwareSigner] = WeakSet()

    def __repr__(self) -> str:
        return f"PartiallyBlindSoftwareSigner(token_key_id={self._public_key.spki_digest().hex()})"

    @classmethod
    def from_pem(
        cls, pem: bytes, passphrase: bytes | None = None, *, limiter: anyio.CapacityLimiter | None = None
    ) -> Self:
        """Read the private key from PEM. Raises `ConfigError` and `MissingExtraError`."""
        return cls(open_raw_key(pem, passphrase), limiter=limiter)

    @property
    def public_key(self) -> RsaPublicKey:
        """The public half from which the keys for the metadata derive."""
        return self._public_key

    async def derive(self, info: bytes) -> SoftwareSigner:
        """Return the signer for this metadata. Raises `UnsupportedError`, `BackendError` and `LocalProtocolError`."""
        key = _opened(self._key)
        if info not in self._ready:
            work = partial(_derive, key, derive_public_key(self._public_key, info))
            derived = await anyio.to_thread.run_sync(work, limiter=self._limiter)
            _opened(self._key)
            self._ready[info] = SoftwareSigner(derived, limiter=self._limiter)
            self._derived.add(self._ready[info])
        self._ready.move_to_end(info)
        signer = self._ready[info]
        if len(self._ready) > _MAX_DERIVED:
            self._ready.popitem(last=False)
        return signer

    async def aclose(self) -> None:
        """Let go of the key, and of all that was derived from it."""
        self._key = None
        self._ready.clear()
        for signer in self._derived:
            await signer.aclose()


def _opened(key: RawRsaKey | None) -> RawRsaKey:
    if key is None:
        raise LocalProtocolError("the signer is closed")
    return key


def _derive(key: RawRsaKey, public_key: RsaPublicKey) -> RawRsaKey:
    return key.derive(public_key)


def _sign(key: RawRsaKey, blinded_msg: bytes) -> bytes:
    """Sign, and check the result: a fault in the private operation can show a factor of the modulus (section 4.3)."""
    blind_sig = key.rsasp1(blinded_msg)
    if key.rsavp1(blind_sig) != blinded_msg:
        raise BackendError("the signer's result is wrong and is not released", section="RFC 9474, section 4.3")
    return blind_sig


def _sign_share(key: RawRsaKey, blinded_msgs: Sequence[bytes]) -> list[bytes] | BackendError:
    """Sign a share of a batch. An error is returned, since a task group would wrap what is raised."""
    try:
        return [_sign(key, blinded_msg) for blinded_msg in blinded_msgs]
    except BackendError as exc:
        return exc


def _joined(shares: Sequence[list[bytes] | BackendError]) -> list[bytes]:
    signed: list[bytes] = []
    for share in shares:
        if isinstance(share, BackendError):
            raise share
        signed += share
    return signed
