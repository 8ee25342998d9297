"""The epochs of a node: a new key and new evidence in each, made while the key before still serves.

Without a TEE there is only the key. With one, in this order (`tee/api.py`): the attester begins, the key configuration
is made, the binding is made from it, and evidence of the binding. Only when all of it is there does the new key serve.
A node that cannot attest says so and shows nothing, since what it would show is old; it tries again and again,
and its keys still open what was sealed to them for as long as they live.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, final

import anyio
from attrs import frozen

from confsec.backends.api import Clock, EpochSource
from confsec.errors import BackendError, ConfsecError, LocalProtocolError, NotAllowedError, RateLimitError
from confsec.protocol.binding import Binding, Mode, challenge_nonce
from confsec.protocol.cmw import KEY_CONFIG_LABEL, CmwRecord, Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.hybrid_kem import HybridDecapsulator
from confsec.protocol.kem import MLKEM768_P256, Decapsulator, Kem, KemPrivateKey
from confsec.protocol.key_config import MEDIA_TYPE_OHTTP_KEYS, KeyConfig, encode_key_configs
from confsec.protocol.machine import RandBytes
from confsec.protocol.manifest import Freshness, Manifest
from confsec.protocol.node_keys import NodeKey, NodeKeys, node_key_config
from confsec.protocol.platforms import FRESHNESS, MANIFEST, MEDIA_TYPES
from confsec.tee.api import Attestation, Attester, EpochAttester

__all__ = ["NodeEpochs", "Shown", "unattested_evidence"]

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to attest: twice as long after each, and never longer than this."""

_ERASE_EVERY: Final = 10.0
"""Seconds after which keys that are too old are looked for, also where no new epoch begins."""

_NO_ENDORSEMENTS: Final = Endorsements.of({})

_log = logging.getLogger("confsec.roles")


@frozen
class Shown:
    """What a node shows of an epoch."""

    epoch: Epoch
    evidence: Evidence
    endorsements: Endorsements


@frozen
class _Held:
    """A key that serves, and what of it has to be let go of."""

    key: NodeKey
    pq: KemPrivateKey | None
    """The half in this process of a key whose other half a device holds."""
    attester: EpochAttester | None

    async def aclose(self) -> None:
        if self.pq is not None:
            self.pq.erase()
        if self.attester is not None:
            await self.attester.aclose()


@final
class NodeEpochs:
    """The keys of one node and the evidence of the newest. `begin` first; then `keep` runs in the background."""

    def __init__(
        self,
        source: EpochSource,
        attester: Attester | None,
        *,
        kem: Kem,
        keys: NodeKeys,
        clock: Clock,
        randbytes: RandBytes,
        challenge_interval: float,
    ) -> None:
        """Make keys of `kem`, or with half of them in the TPM, if the attester has one, which stays the caller's.

        `challenge_interval` is how many seconds lie between two answers to auditors.
        """
        self.keys: Final = keys
        self._source = source
        self._attester = attester
        self._kem = kem
        self._now = clock
        self._randbytes = randbytes
        self._challenge_interval = challenge_interval
        self._manifest = b""
        self._beside: Mapping[str, CmwRecord] = {}
        self._held: list[_Held] = []
        self._shown: Shown | None = None
        self._failing = False
        self._challenge = anyio.Lock()
        self._challenged_at = float("-inf")

    @property
    def shown(self) -> Shown:
        """What is shown now. Raises `BusyError` without a key, and `BackendError` if it would be old."""
        _ = self.keys.current
        if self._shown is None or self._failing:
            raise BackendError("the node could not attest in this epoch", hint="Look into its log for the reason")
        return self._shown

    async def begin(self, manifest: Manifest, *, beside: Mapping[str, CmwRecord] | None = None) -> None:
        """Begin the current epoch, and show `beside` with the endorsements of each.

        Raises what the attester raises: a node that cannot attest does not start.
        """
        self._manifest = manifest.encode()
        self._beside = beside or {}
        await self.begin_epoch(await self._source.current())

    async def keep(self) -> None:
        """Begin each epoch that comes, and erase keys that are too old, until this is cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_beginning)
            tasks.start_soon(self._keep_erasing)

    async def aclose(self) -> None:
        """Erase all keys, and have the device forget its halves."""
        self.keys.erase()
        with anyio.CancelScope(shield=True):
            await self._let_go()

    async def begin_epoch(self, epoch: Epoch) -> None:
        """Make a key and evidence for `epoch`, then have it serve. Until then, and if this raises, nothing changes."""
        if self._attester is None:
            key_config = self.keys.rotate(self._kem.generate(self._randbytes), self._now()).key_config
            self._take(Shown(epoch, unattested_evidence(key_config), _NO_ENDORSEMENTS), None, None)
        else:
            await self._attest_epoch(self._attester, epoch)
        await self._let_go()

    def blocks(self, node_id: bytes) -> bool:
        """Tell whether a device holds half of this key, so that to decapsulate takes its time."""
        return any(held.key.node_id == node_id and held.pq is not None for held in self._held)

    async def answer_challenge(self, challenge: bytes) -> bytes:
        """Attest the current key for an auditor, and return the evidence. Clients do not seal to it: its mode says so.

        Raises `NotAllowedError` without a TEE, `RateLimitError` for more than one at a time or too many, and what the
        attester raises.
        """
        if self._attester is None:
            raise NotAllowedError("nothing vouches for this node: it has no TEE")
        early = anyio.current_time() - self._challenged_at < self._challenge_interval
        if early or self._challenge.locked():
            raise RateLimitError("challenges are answered one by one", hint="Try again in a few seconds")
        async with self._challenge:
            self._challenged_at = anyio.current_time()
            _, held = self.keys.current, self._held[-1]
            assert held.attester is not None  # noqa: S101 - where there is an attester, each key has one
            freshness = Freshness(Mode.CHALLENGE, challenge_nonce(challenge))
            evidence, _ = await self._attest(held.attester, held.key.key_config, freshness)
            return evidence.encoded

    async def _attest_epoch(self, attester: Attester, epoch: Epoch) -> None:
        begun = await attester.begin()
        try:
            decapsulator, pq = self._make_key(begun)
            freshness = Freshness(Mode.EPOCH, epoch.nonce)
            evidence, endorsements = await self._attest(begun, node_key_config(decapsulator), freshness)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await begun.aclose()
            raise
        # From here to the end nothing waits, so nobody sees a key without its evidence or the other way round.
        self.keys.rotate(decapsulator, self._now())
        shown = Endorsements.of({**endorsements.items, **self._beside}) if self._beside else endorsements
        self._take(Shown(epoch, evidence, shown), pq, begun)

    def _make_key(self, begun: EpochAttester) -> tuple[Decapsulator, KemPrivateKey | None]:
        """Make the key of an epoch. A TPM never holds all of it, since it may be outside the TEE."""
        if begun.request_key is None:
            return self._kem.generate(self._randbytes), None
        pq = MLKEM768_P256.pq.generate(self._randbytes)
        return HybridDecapsulator(MLKEM768_P256, pq=pq, traditional=begun.request_key), pq

    async def _attest(
        self, begun: EpochAttester, key_config: KeyConfig, freshness: Freshness
    ) -> tuple[Evidence, Endorsements]:
        binding = Binding(
            mode=freshness.mode,
            nonce=freshness.nonce,
            key_config=key_config.encode(),
            manifest=self._manifest,
            ak=begun.ak,
        )
        attestation = await begun.attest(binding)
        items = {
            **_key_item(key_config),
            MANIFEST: CmwRecord(MEDIA_TYPES[MANIFEST], self._manifest),
            FRESHNESS: CmwRecord(MEDIA_TYPES[FRESHNESS], freshness.encode()),
        }
        return Evidence.of(_joined(items, attestation)), Endorsements.of(attestation.endorsements)

    def _take(self, shown: Shown, pq: KemPrivateKey | None, attester: EpochAttester | None) -> None:
        self._held.append(_Held(self.keys.current, pq, attester))
        self._shown = shown
        self._failing = False

    async def _let_go(self) -> None:
        """Let go of what belongs to keys that are erased."""
        live = set(self.keys.node_ids)
        gone = [held for held in self._held if held.key.node_id not in live]
        self._held = [held for held in self._held if held.key.node_id in live]
        for held in gone:
            await held.aclose()

    async def _keep_beginning(self) -> None:
        assert self._shown is not None  # noqa: S101 - begin() comes first
        epoch = self._shown.epoch
        while True:
            try:
                epoch = await self._source.wait_after(epoch)
            except BackendError as exc:
                # Evidence of the epoch that was is no older for it. If this lasts, the keys end by their own age.
                _log.warning("nobody says which epoch it is: %s", _reason(exc))
                await anyio.sleep(_FIRST_PAUSE)
            else:
                epoch = await self._insist(epoch)

    async def _insist(self, epoch: Epoch) -> Epoch:
        """Begin `epoch`, or whichever it is when that works at last, and return it."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self.begin_epoch(epoch)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the node lives on and shows nothing
                self._failing = True
                _log.warning("the node cannot attest, and is not to be listed: %s", _reason(exc))
            else:
                return epoch
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            with suppress(BackendError):
                epoch = await self._source.current()

    async def _keep_erasing(self) -> None:
        while True:
            await anyio.sleep(_ERASE_EVERY)
            self.keys.erase_expired(self._now())
            await self._let_go()


def unattested_evidence(key_config: KeyConfig) -> Evidence:
    """Return evidence that holds the key and nothing that vouches for it: there is no TEE."""
    return Evidence.of(_key_item(key_config))


def _key_item(key_config: KeyConfig) -> dict[str, CmwRecord]:
    return {KEY_CONFIG_LABEL: CmwRecord(MEDIA_TYPE_OHTTP_KEYS, encode_key_configs([key_config]))}


def _joined(items: dict[str, CmwRecord], attestation: Attestation) -> dict[str, CmwRecord]:
    """Put the items of the role and of the TEE together. Raises `LocalProtocolError` if one stands in for another."""
    if not items.keys().isdisjoint(attestation.items):
        raise LocalProtocolError("an attester made an item that is the role's", got=", ".join(attestation.items))
    return {**items, **attestation.items}


def _reason(error: Exception) -> str:
    """Say what went wrong. Errors of ours hold no secrets; of others only the kind is told."""
    return f"{error} [{error.code}]" if isinstance(error, ConfsecError) else type(error).__name__
