"""What tests of attested services share: epochs that begin when they are told to, and attesters that can be changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

import anyio
import anyio.lowlevel

from confsec.backends import system
from confsec.errors import BackendError
from confsec.protocol.binding import Binding
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.epoch import Epoch
from confsec.protocol.kem_base import DiffieHellman
from confsec.tee.api import Attestation, Attester, EpochAttester
from confsec.tee.simulated.attester import SimulatedSnpAttester


class ToldEpochs:
    """A source of epochs that come when a test says so. Each begins a second after the one before."""

    def __init__(self) -> None:
        self.epoch = Epoch.local(int(system.now().timestamp()) - 60)
        self.error: BackendError | None = None
        """What the next one who waits gets, once."""
        self._turned = anyio.Event()

    async def current(self) -> Epoch:
        await anyio.lowlevel.checkpoint()
        return self.epoch

    async def wait_after(self, epoch: Epoch) -> Epoch:
        await anyio.lowlevel.checkpoint()
        while self.epoch.began <= epoch.began:
            await self._turned.wait()
        error, self.error = self.error, None
        if error is not None:
            raise error
        return self.epoch

    def turn(self) -> Epoch:
        """Begin the next epoch."""
        self.epoch = Epoch.local(int(self.epoch.began.timestamp()) + 1)
        turned, self._turned = self._turned, anyio.Event()
        turned.set()
        return self.epoch


Change = Callable[[Attestation], Attestation]


@final
class Changed:
    """An attester whose evidence a test changes, delays or refuses, and who counts what is open."""

    def __init__(self, attester: Attester | None = None) -> None:
        self.attester = attester or SimulatedSnpAttester()
        self.change: Change = lambda attestation: attestation
        self.error: Exception | None = None
        self.hold: anyio.Event | None = None
        self.holding = anyio.Event()
        self.open = 0
        self.closed = False
        self.bindings: list[Binding] = []

    @property
    def platform(self) -> str:
        return self.attester.platform

    async def begin(self) -> _ChangedEpoch:
        begun = _ChangedEpoch(self, await self.attester.begin())
        self.open += 1
        return begun

    async def aclose(self) -> None:
        self.closed = True
        await self.attester.aclose()


@final
class _ChangedEpoch:
    def __init__(self, changed: Changed, begun: EpochAttester) -> None:
        self._changed = changed
        self._begun = begun

    @property
    def ak(self) -> bytes | None:
        return self._begun.ak

    @property
    def request_key(self) -> DiffieHellman | None:
        return self._begun.request_key

    async def attest(self, binding: Binding) -> Attestation:
        changed = self._changed
        changed.bindings.append(binding)
        if changed.hold is not None:
            changed.holding.set()
            await changed.hold.wait()
        if changed.error is not None:
            raise changed.error
        return changed.change(await self._begun.attest(binding))

    async def aclose(self) -> None:
        self._changed.open -= 1
        await self._begun.aclose()


def with_items(items: Mapping[str, CmwRecord]) -> Change:
    """Put other items into the evidence."""
    return lambda attestation: Attestation(items={**attestation.items, **items}, endorsements=attestation.endorsements)
