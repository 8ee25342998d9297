"""Asking witnesses to cosign a log's tree, as C2SP tlog-witness has it.

Each witness is told what the log added to the tree that it cosigned last. Which one that was, it says itself (409) when
we do not know. Its answer counts only if the key of the policy signed our checkpoint.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, final

import anyio
import anyio.to_thread
from attrs import frozen

from confsec.backends.api import Clock, Headers, HttpRequest, HttpResponse, Transport, header
from confsec.backends.log_session import SignedTree
from confsec.backends.log_storage import LogStorage
from confsec.backends.log_tiles import consistency_proof
from confsec.backends.system import now
from confsec.errors import (
    BackendError,
    ConflictError,
    ConfsecError,
    DecodeError,
    InconsistentError,
    LimitError,
    PeerError,
    TransparencyError,
)
from confsec.protocol.merkle import MAX_TREE_SIZE
from confsec.protocol.note import MAX_NOTE, NoteSignature, SignedNote
from confsec.protocol.transparency import CosignedCheckpoint, verify_checkpoint
from confsec.protocol.witness_policy import Witness, WitnessPolicy
from confsec.protocol.witnessing import SIZE_TYPE, AddCheckpoint

__all__ = ["Cosigned", "OldCopyError", "WitnessClient", "collect_cosignatures"]

_ATTEMPTS: Final = 3
"""A witness that names another size each time is not asked for ever."""

_GRACE: Final = 0.25
"""Seconds that the others have once there is a quorum: more of them are better, and a dead one holds up nobody."""

_SECTION: Final = "C2SP tlog-witness, add-checkpoint"
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


@final
class OldCopyError(BackendError):
    """Witnesses know another tree of this log, and so many of them that no quorum is left."""

    code = "log_old_copy"
    status_hint = 503


@final
class WitnessClient:
    """One witness, as a log asks it."""

    def __init__(self, witness: Witness, transport: Transport) -> None:
        """Ask `witness`, whose URL is in the policy."""
        self.witness: Final = witness
        self.size: int | None = None
        """How many entries the tree had that it cosigned last, as far as we know."""
        self.cosigned_at: datetime | None = None
        """When it cosigned last, by its own clock."""
        self.error: str = ""
        """What was wrong the last time, or nothing."""
        self.other_size: int | None = None
        """So many entries must a tree of ours have to be the one that it knows, or a later one; None for any."""
        self._transport = transport

    async def cosign(self, tree: SignedTree, storage: LogStorage) -> NoteSignature:
        """Have a tree cosigned, and return the signature.

        Raises `TransparencyError` if the witness remembers a larger tree, or another one of this size. Raises
        `PeerError`, `TransportError` or `VerificationError` for the rest.
        """
        for _ in range(_ATTEMPTS):
            old_size = self.size or 0
            try:
                self.other_size = None
                signature = await self._ask(tree, storage, old_size)
            except ConflictError as exc:
                if exc.size > tree.size or exc.size == old_size:
                    if exc.size >= tree.size:
                        self.other_size = MAX_TREE_SIZE if exc.size == tree.size else exc.size
                    raise _forked(exc.size, tree.size) from exc
                self.size = exc.size
            else:
                self.size = tree.size
                return signature
        raise PeerError("a witness names another size each time", status=409, section=_SECTION)

    async def _ask(self, tree: SignedTree, storage: LogStorage, old_size: int) -> NoteSignature:
        proof: tuple[bytes, ...] = ()
        if 0 < old_size < tree.size:
            proof = await anyio.to_thread.run_sync(consistency_proof, storage, old_size, tree.size, tree.root)
        request = HttpRequest(
            method="POST",
            url=f"{self.witness.url.rstrip('/')}/add-checkpoint",
            headers=(("content-type", "text/plain; charset=utf-8"),),
            content=AddCheckpoint(old_size, proof, tree.note).encode(),
        )
        async with self._transport.stream(request) as response:
            body = await _read(response)
            if response.status == 409 and _media_type(response.headers) == SIZE_TYPE:
                raise ConflictError(_size(body), section=_SECTION)
            if response.status == InconsistentError.status_hint:  # it knows another tree of old_size
                self.other_size = MAX_TREE_SIZE
                raise _forked(old_size, tree.size)
            if response.status != 200:
                raise PeerError("a witness did not cosign", status=response.status, section=_SECTION)
        return self._signature(tree.note, body)

    def _signature(self, note: bytes, answer: bytes) -> NoteSignature:
        """Return the signature of the key that we know. "MUST ignore any cosignatures from unknown keys"."""
        key = self.witness.key
        text = SignedNote.decode(note).text
        try:
            lines = [NoteSignature.decode(line) for line in answer.decode("utf-8").splitlines()]
        except UnicodeDecodeError as exc:
            raise DecodeError("the answer of a witness is not text", section=_SECTION) from exc
        mine = [each for each in lines if (each.name, each.key_id) == (key.name, key.key_id)]
        if not mine:
            raise TransparencyError("a witness cosigned with another key than the policy has for it", want=key.name)
        self.cosigned_at = key.verify(text, mine[0].signature)
        return mine[0]


@final
@frozen
class Cosigned:
    """A tree that a quorum has cosigned."""

    tree: SignedTree
    note: bytes
    """The checkpoint with the signatures of the log and of its witnesses."""

    checkpoint: CosignedCheckpoint
    """What it proves."""


async def collect_cosignatures(
    tree: SignedTree,
    clients: list[WitnessClient],
    storage: LogStorage,
    *,
    policy: WitnessPolicy,
    origin: str,
    seconds: float,
    clock: Clock = now,
) -> Cosigned:
    """Ask all witnesses at once for at most so many `seconds`, and return what a quorum cosigned.

    Raises `TransparencyError` if there was no quorum; what was wrong with each stands in its client.
    """
    found: dict[str, NoteSignature] = {}

    async def ask(client: WitnessClient, scope: anyio.CancelScope) -> None:
        try:
            found[client.witness.name] = await client.cosign(tree, storage)
            client.error = ""
        except anyio.get_cancelled_exc_class():
            client.error = "no answer in time"
            raise
        except ConfsecError as exc:
            client.error = str(exc)
            return
        try:
            _cosigned(tree, clients, found, policy=policy, origin=origin, at=clock())
        except ConfsecError:
            return
        scope.deadline = min(scope.deadline, anyio.current_time() + _GRACE)

    with anyio.move_on_after(seconds) as scope:
        async with anyio.create_task_group() as tasks:
            for client in clients:
                tasks.start_soon(ask, client, scope)
    return _cosigned(tree, clients, found, policy=policy, origin=origin, at=clock())


def _cosigned(
    tree: SignedTree,
    clients: list[WitnessClient],
    found: dict[str, NoteSignature],
    *,
    policy: WitnessPolicy,
    origin: str,
    at: datetime,
) -> Cosigned:
    signed = SignedNote.decode(tree.note)
    cosignatures = [found[each.witness.name] for each in clients if each.witness.name in found]
    note = SignedNote(signed.text, (*signed.signatures, *cosignatures)).encode()
    return Cosigned(tree, note, verify_checkpoint(note, policy, origin=origin, at=at))


async def _read(response: HttpResponse) -> bytes:
    parts, size = list[bytes](), 0
    async for part in response.content:
        parts.append(part)
        size += len(part)
        if size > MAX_NOTE:
            raise LimitError("the answer of a witness is too long", want=f"at most {MAX_NOTE} bytes")
    return b"".join(parts)


def _media_type(headers: Headers) -> str:
    return (header(headers, "content-type") or "").partition(";")[0].strip().lower()


def _forked(witnessed: int, size: int) -> TransparencyError:
    return TransparencyError(
        "a witness remembers a tree that this log does not have", got=f"{witnessed} entries", want=f"at most {size}",
        section=_SECTION, hint="Are these files an old copy? Or somebody else signs with the log's key",
    )  # fmt: skip


def _size(body: bytes) -> int:
    match = _SIZE.fullmatch(body)
    if match is None:
        raise DecodeError("a witness names no size", section=_SECTION)
    return int(match[1])
