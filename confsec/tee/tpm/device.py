"""A TPM 2.0 for a program that runs on an event loop, and its request keys (extra `tpm`).

All that blocks runs in threads, one call at a time: under the lock of a `TpmDevice`, which the thread that opens a
request takes as well. Work that began goes to its end, cancelled or not, so that nothing stays loaded behind it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TypeVar, final

import anyio
import anyio.to_thread

from confsec.errors import ConfsecError, LocalProtocolError
from confsec.tee.tpm.connection import Connection, MadeKey, explain, is_broken
from confsec.tee.tpm.keys import BANK, DEFAULT_PCRS, OWN_AK, AkSource, EndorsementKey, TpmStatements
from confsec.tee.tpm.structures import PcrSelection, PublicArea

__all__ = ["TpmDevice", "TpmRequestKey"]

_T = TypeVar("_T")


@final
class TpmRequestKey:
    """A P-256 key in a TPM: a `DiffieHellman` that works only while the PCRs are those that it was made under.

    Made by `TpmDevice.create_request_key`.
    """

    def __init__(self, device: TpmDevice, made: MadeKey) -> None:
        self._device = device
        self._made: MadeKey | None = made
        self._public_key = made.point

    @property
    def public_key(self) -> bytes:
        """The uncompressed point: 65 bytes."""
        return self._public_key

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        """Return the shared X coordinate, 32 bytes. Blocks; safe in any thread.

        Raises `DecodeError` for what is no point of P-256, `BackendError` when a PCR was extended since the key was
        made or the TPM fails, and `LocalProtocolError` once the key is closed.
        """
        return self._device.work_now(lambda tpm: tpm.ecdh(self.made, peer_public_key))

    @property
    def made(self) -> MadeKey:
        """What the TPM gave for it. Raises `LocalProtocolError` once the key is closed."""
        if self._made is None:
            raise LocalProtocolError("this request key was closed")
        return self._made

    async def aclose(self) -> None:
        """Erase the key: forget its saved context, and unload it. Never raises for a TPM that is gone."""
        made, self._made = self._made, None
        if made is not None:
            await self._device.forget(made)

    def __repr__(self) -> str:
        return f"<TpmRequestKey {self._public_key[1:9].hex()}>"


@final
class TpmDevice:
    """A TPM, reached by a TCTI: `device:/dev/tpmrm0`, or `swtpm:host=127.0.0.1,port=2321` for a software TPM.

    One object for each TPM and process. It connects at the first use, and anew after the connection broke.
    """

    def __init__(self, tcti: str) -> None:
        """Name the TPM in the words of tpm2-tss (man 7 tss2-tcti)."""
        self.tcti: Final = tcti
        self._limiter = anyio.CapacityLimiter(1)
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"TpmDevice({self.tcti!r})"

    async def read_pcrs(self, pcrs: Iterable[int] = DEFAULT_PCRS) -> dict[int, bytes]:
        """Return PCRs of the SHA-256 bank as they are at one moment. Raises `BackendError`."""
        chosen = tuple(pcrs)
        return await self._work(lambda tpm: tpm.read_pcrs(PcrSelection.of(BANK, chosen)))

    async def extend_pcr(self, pcr: int, digest: bytes) -> None:
        """Extend a PCR of the SHA-256 bank. All request keys that are bound to it die. Raises `BackendError`."""
        await self._work(lambda tpm: tpm.extend_pcr(pcr, digest))

    async def create_request_key(self, pcrs: Iterable[int] = DEFAULT_PCRS) -> TpmRequestKey:
        """Make a key that works as long as these PCRs stay as they are. Raises `BackendError`."""
        chosen = tuple(pcrs)
        return TpmRequestKey(self, await self._work(lambda tpm: tpm.create_key(PcrSelection.of(BANK, chosen))))

    async def attest(self, key: TpmRequestKey, qualifying_data: bytes, *, source: AkSource = OWN_AK) -> TpmStatements:
        """Have the TPM certify a request key and quote the PCRs that it is bound to.

        Raises `BackendError` when they are no longer those that the key was made under, or the TPM fails, and
        `ConfigError` when the AK's source is not there.
        """
        return await self._work(lambda tpm: tpm.attest(key.made, qualifying_data, source))

    async def attestation_key(self, source: AkSource = OWN_AK) -> PublicArea:
        """Return the public part of the AK. Raises `ConfigError` when its source is not there, and `BackendError`."""
        return await self._work(lambda tpm: tpm.attestation_key(source))

    async def endorsement_key(self) -> EndorsementKey:
        """Return the endorsement key whose certificate the TPM has; else the one that every TPM can make.

        Raises `BackendError`.
        """
        return await self._work(Connection.endorsement_key)

    async def ek_certificate(self) -> bytes | None:
        """Return the certificate of that endorsement key in DER, if the TPM has one. Raises `BackendError`."""
        return await self._work(Connection.ek_certificate)

    async def activate_credential(
        self, credential_blob: bytes, encrypted_secret: bytes, *, source: AkSource = OWN_AK
    ) -> bytes:
        """Answer a registrar's challenge: return the secret that only the TPM of that EK and AK can open.

        `credential_blob` is a TPM2B_ID_OBJECT, `encrypted_secret` a TPM2B_ENCRYPTED_SECRET. Raises `BackendError`.
        """
        return await self._work(lambda tpm: tpm.activate_credential(credential_blob, encrypted_secret, source))

    async def read_nv(self, index: int, *, by_owner: bool = False) -> bytes | None:
        """Return the content of an NV index, or None where there is none. Raises `BackendError`.

        It is read with the password of the index, or of the owner: both are empty, or it is not for us.
        """
        return await self._work(lambda tpm: tpm.read_nv(index, by_owner=by_owner))

    async def write_nv(self, index: int, content: bytes) -> None:
        """Write an NV index as its owner; where there is none, define one of that size. Raises `BackendError`."""
        await self._work(lambda tpm: tpm.write_nv(index, content))

    async def count_loaded(self) -> tuple[int, int]:
        """Return how many objects and how many sessions are loaded now. Raises `BackendError`."""
        return await self._work(Connection.count_loaded)

    async def flush(self) -> None:
        """Unload what is kept loaded to be quick: the keys last used, and their session. Raises `BackendError`."""
        await self._work(Connection.unload)

    async def forget(self, made: MadeKey) -> None:
        """Unload a key, if it is loaded. Never raises for a TPM that is gone."""
        with anyio.CancelScope(shield=True), suppress(ConfsecError):
            if self._connection is not None:
                await self._work(lambda tpm: tpm.unload_key(made))

    async def aclose(self) -> None:
        """Unload everything and close the connection. Never raises for a TPM that is gone."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close, limiter=self._limiter)

    def work_now(self, work: Callable[[Connection], _T]) -> _T:
        """Do `work` in this thread, when it is its turn. For `TpmRequestKey`; everybody else awaits."""
        with self._lock:
            if self._closed:
                raise LocalProtocolError("the TPM was closed", got=self.tcti)
            if self._connection is None:
                self._connection = Connection.open(self.tcti)
            try:
                return work(self._connection)
            except ConfsecError:
                raise
            except Exception as exc:
                if is_broken(exc):
                    self._drop()
                raise explain(exc) from exc

    async def _work(self, work: Callable[[Connection], _T]) -> _T:
        # Not abandoned when cancelled: whoever is cancelled waits until the TPM has nothing of it loaded any more.
        return await anyio.to_thread.run_sync(self.work_now, work, limiter=self._limiter)

    def _close(self) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
