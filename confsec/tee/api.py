"""What a node's role asks of its TEE: the interface of attesters.

An attester works in three steps, because a TPM's keys go into the binding, and the binding into the evidence:

1. `Attester.begin` makes what is new in an epoch: the TPM's part of the request key, if there is a TPM;
2. the role makes its KeyConfig from it, and the `Binding` from that;
3. `EpochAttester.attest` makes the evidence. It may be called again for the same keys: an auditor's challenge.

Whoever ends an epoch calls `EpochAttester.aclose`, and whatever a device holds for it is gone. Attesters do their input
and output in threads, so that no event loop waits for them, and nothing of it in their constructors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen

from confsec.protocol.binding import Binding
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.kem_base import DiffieHellman

__all__ = ["Attestation", "Attester", "EpochAttester", "Probe"]


@frozen(kw_only=True)
class Attestation:
    """What an attester made: the items of a TEE, and what vouches for them."""

    items: Mapping[str, CmwRecord] = field(repr=False)
    """Evidence by label, without `key-config` and `manifest`, which the role adds."""

    endorsements: Mapping[str, CmwRecord] = field(repr=False)
    """Endorsements by label, as far as the machine has them. Others may add what is missing."""


@frozen(kw_only=True)
class Probe:
    """Whether a kind of TEE is here."""

    tee: str
    """The kind: `sev-snp`, `tdx`, `tpm` or `simulated`."""

    found: bool
    """It is here and answers."""

    why: str
    """What was found, or what is missing and what would bring it: a sentence for people."""


class EpochAttester(Protocol):
    """An attester with the keys of one epoch."""

    @property
    def ak(self) -> bytes | None:
        """The attestation key of the TPM, as TPMT_PUBLIC; None where there is no TPM."""
        ...

    @property
    def request_key(self) -> DiffieHellman | None:
        """The P-256 half of the request key, held by the TPM; None where there is no TPM.

        Its `diffie_hellman` blocks: call it in a thread.
        """
        ...

    async def attest(self, binding: Binding) -> Attestation:
        """Make evidence about `binding`, whose `ak` is this one's.

        Raises `LocalProtocolError` for the binding of another AK, and `BackendError` when the device fails.
        """
        ...

    async def aclose(self) -> None:
        """Have the device forget the keys of this epoch. Never raises for a device that is gone."""
        ...


class Attester(Protocol):
    """A TEE that can attest. It lives as long as the node."""

    @property
    def platform(self) -> str:
        """The name of the row of `PLATFORMS` whose evidence it makes."""
        ...

    async def begin(self) -> EpochAttester:
        """Make the keys of a new epoch. Those of epochs before stay until they are closed.

        Raises `BackendError` when the device fails or is not there.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the device."""
        ...
