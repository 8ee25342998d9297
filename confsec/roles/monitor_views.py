"""What the sources of a log show, and whether it fits together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeVar, final

import anyio
from attrs import field, frozen

from confsec.backends.log_source import Fetch, read_log
from confsec.errors import (
    BackendError,
    ConfsecError,
    DeadlineError,
    ForkedLogError,
    LocalProtocolError,
    PeerError,
    StaleLogError,
    TransportError,
    UncosignedError,
)
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.monitoring import AlertKind
from confsec.protocol.note import SignedNote
from confsec.protocol.tiles import tiles_for_consistency
from confsec.protocol.transparency import TrustedLog, verify_checkpoint
from confsec.protocol.tree_reader import CHECKPOINT_PATH, TreeReader, verify_growth
from confsec.roles.monitor_config import MonitoredLog

__all__ = ["View", "in_time", "kind_of", "look", "read_growth"]

_T = TypeVar("_T")

_SECONDS: Final = 60.0
"""One look at a source, and one batch of entries, take no longer."""


@final
@frozen
class View:
    """A checkpoint that a source shows, and that the log signed."""

    source: str
    fetch: Fetch = field(repr=False)
    note: bytes = field(repr=False)
    checkpoint: Checkpoint

    fresh_since: datetime | None
    """How fresh the word of a quorum is; None where no quorum cosigned it."""

    @property
    def shown(self) -> TrustedLog:
        """What is remembered of it."""
        return TrustedLog(self.checkpoint.origin, self.checkpoint.size, self.checkpoint.root, self.fresh_since)


async def look(log: MonitoredLog, source: str, fetch: Fetch, *, at: datetime) -> View:
    """Fetch the checkpoint that a source shows now.

    Raises what `verify_checkpoint` raises except `UncosignedError`, what `fetch` raises, and `StaleLogError` if there
    is none.
    """
    note = await in_time(lambda: fetch(CHECKPOINT_PATH))
    if note is None:
        raise StaleLogError("the source has no checkpoint", section="C2SP tlog-tiles, APIs")
    try:
        cosigned = verify_checkpoint(note, log.policy, origin=log.origin, at=at)
    except UncosignedError:  # the log's own signature was verified before
        return View(source, fetch, note, Checkpoint.decode(SignedNote.decode(note).text), None)
    return View(source, fetch, note, cosigned.checkpoint, cosigned.fresh_since)


async def read_growth(old: TrustedLog | Checkpoint, view: View) -> tuple[bytes, ...]:
    """Return the proof that what a view shows begins with a tree that is not larger.

    Raises `ForkedLogError` if it does not, and what reading the log raises.
    """
    new = view.checkpoint
    if old.size == new.size and old.root != new.root:
        raise ForkedLogError("the log has two trees of one size: it was forked", got=f"{old.size} entries")
    if old.size in {0, new.size}:
        return ()
    reader = TreeReader(new, tiles=tiles_for_consistency(old.size, new.size))
    await in_time(lambda: read_log(reader, view.fetch))
    proof = reader.tree.consistency_proof(old.size)
    verify_growth(old.size, old.root, reader.tree, proof)
    return proof


async def in_time(run: Callable[[], Awaitable[_T]]) -> _T:
    """Wait for a step, but not for long. Raises `DeadlineError`, and what it raises."""
    try:
        with anyio.fail_after(_SECONDS):
            return await run()
    except TimeoutError as exc:
        raise DeadlineError("the source takes too long", want=f"{_SECONDS:g} s") from exc


def kind_of(error: ConfsecError) -> AlertKind:
    """Return what an alert about an error of a source is about. Raises a bug of ours again."""
    match error:
        case LocalProtocolError():
            raise error
        case TransportError() | PeerError() | BackendError() | StaleLogError():
            return AlertKind.STALLED
        case _:
            return AlertKind.DEFECTIVE
