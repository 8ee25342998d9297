"""Reading the end of a state log: what is in effect, that nobody is shown another, and nothing about who reads.

`StateUpdate` asks for the same files whatever the reader remembers, as long as the log has at most 16,384 entries: the
checkpoint, all tiles, the last entries, and the checkpoints in which a quorum first saw them. A longer log is asked for
the tiles that lead from the remembered size to the new one; whoever serves them learns the former to within 256 entries
if he knows who asks, which is why the fleet's log is read through the gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, final

from attrs import frozen

from confsec.errors import ConfsecError, LocalProtocolError, TransparencyError
from confsec.protocol.log_state import LogState, StateEntry
from confsec.protocol.tile_paths import TILE_WIDTH, Tile
from confsec.protocol.tiles import tile_at, tiles_for_consistency, tiles_for_root
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import CosignedCheckpoint, TrustedLog, strip_checkpoint
from confsec.protocol.tree_reader import CHECKPOINT_PATH, LoggedEntry, TreeReader, advance
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["Firsts", "StateNews", "StateUpdate"]

_WHOLE: Final = 64 * TILE_WIDTH
"""Of a tree with at most so many entries every tile is read: 512 KiB."""

_SECTION: Final = "docs/spec/log-root.md, State logs"


class Firsts(Enum):
    """Of which entries the first checkpoint is read that a quorum cosigned."""

    ALL = "all"
    """Of each: it says since when the entry was known."""

    NEWEST = "newest"
    """Of the last one, and this is the state's checkpoint then: the same bytes for everyone, whenever they read."""


@final
@frozen
class StateNews:
    """The end of a state log. Made by `StateUpdate` alone."""

    trusted: TrustedLog
    """What to remember from now on."""

    state: LogState
    """The last entries, with what proves them."""


@final
class StateUpdate:
    """Reads the end of one state log. For one update; after an error nothing can be had from it."""

    def __init__(
        self,
        trusted: TrustedLog,
        policy: WitnessPolicy,
        *,
        at: datetime,
        maximum_age: timedelta,
        entries: int,
        firsts: Firsts,
    ) -> None:
        """Read the last `entries` under a checkpoint that a quorum cosigned at most `maximum_age` before `at`."""
        self._trusted: Final = trusted
        self._policy: Final = policy
        self._at: Final = at
        self._maximum_age: Final = maximum_age
        self._count: Final = entries
        self._firsts: Final = firsts
        self._note = b""
        self._cosigned: CosignedCheckpoint | None = None
        self._reader: TreeReader | None = None
        self._proofs: dict[str, bytes] = {}
        self._wanted: set[str] = {CHECKPOINT_PATH}
        self._failed = False

    @property
    def wanted(self) -> tuple[str, ...]:
        """The paths of the files that are needed next, relative to the log's prefix; none at the end."""
        if self._failed:
            return ()
        return (self._reader.wanted if self._reader else ()) or tuple(sorted(self._wanted))

    @property
    def is_empty(self) -> bool:
        """Whether the log has no entries, as a quorum says."""
        return self._cosigned is not None and not self._cosigned.checkpoint.size

    def receive(self, path: str, body: bytes) -> None:
        """Take a file.

        Raises what `TrustedLog.verify_newer` raises, and `DecodeError`, `LimitError` or `TransparencyError` for a file
        that is not the log's.
        """
        with self._failing():
            if path in self._wanted:
                self._wanted.remove(path)
                self._receive_note(body) if path == CHECKPOINT_PATH else self._proofs.setdefault(path, body)
            elif self._reader is not None:
                self._reader.receive(path, body)
                self._ask_for_firsts()
            else:
                raise LocalProtocolError("this file is not wanted", got=path)

    def missing(self, path: str) -> None:
        """Learn that the log has no such file. Raises `TransparencyError`, but for a tile that is full meanwhile."""
        with self._failing():
            if path in self._wanted or self._reader is None:
                raise TransparencyError(
                    "the log does not have what a state log has", got=path, section=_SECTION,
                    hint="Its operator has to keep proofs (keep_proofs), and to have a quorum's word for each entry",
                )  # fmt: skip
            self._reader.missing(path)

    def finish(self) -> StateNews:
        """Return the end of the log. Raises `ForkedLogError` for a log that did not only grow."""
        with self._failing():
            if self._reader is None or self._cosigned is None or self.wanted:
                raise LocalProtocolError("the log is not read to its end")
            entries = tuple(self._entry(entry, self._reader) for entry in self._reader.finish())
            state = LogState(self._state_note(entries), entries)
            return StateNews(advance(self._trusted, self._cosigned, self._reader), state)

    def _receive_note(self, note: bytes) -> None:
        self._note = note
        cosigned = self._trusted.verify_newer(note, policy=self._policy, at=self._at, maximum_age=self._maximum_age)
        size = cosigned.checkpoint.size
        self._cosigned = cosigned
        if not size:
            raise TransparencyError("the log says nothing yet", got="no entries", section=_SECTION)
        self._reader = TreeReader(
            cosigned.checkpoint, start=max(0, size - self._count), stop=size, tiles=self._tiles(size)
        )

    def _tiles(self, size: int) -> Iterable[Tile]:
        if size <= _WHOLE:
            lowest = (tile_at(0, index, size) for index in range(-(-size // TILE_WIDTH)))
            return (*tiles_for_root(size), *lowest)
        return tiles_for_consistency(self._trusted.size, size) if 0 < self._trusted.size < size else ()

    def _ask_for_firsts(self) -> None:
        """Ask for the first checkpoints when the entries are there."""
        if self._reader is not None and self._cosigned is not None and not self._reader.wanted:
            size = self._cosigned.checkpoint.size
            count = self._count if self._firsts is Firsts.ALL else 1
            self._wanted = {_first_path(index) for index in range(max(0, size - count), size)}

    def _entry(self, entry: LoggedEntry, reader: TreeReader) -> StateEntry:
        first = self._first(entry.index).encode() if self._firsts is Firsts.ALL else b""
        return StateEntry(entry.index, entry.data, reader.tree.inclusion_proof(entry.index), first)

    def _state_note(self, entries: tuple[StateEntry, ...]) -> bytes:
        if self._firsts is Firsts.ALL:
            return self._strip(self._note)
        return self._first(entries[-1].index).checkpoint

    def _first(self, index: int) -> TlogProof:
        """Return the first checkpoint of an entry, without what could mark this reader's copy."""
        proof = TlogProof.decode(self._proofs[_first_path(index)])
        return TlogProof(proof.index, proof.hashes, self._strip(proof.checkpoint))

    def _strip(self, note: bytes) -> bytes:
        return strip_checkpoint(note, self._policy, origin=self._trusted.origin)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        if self._failed:
            raise LocalProtocolError("this update failed", hint="Begin another one")
        try:
            yield
        except ConfsecError:
            self._failed = True
            raise


def _first_path(index: int) -> str:
    return f"proof/{index}"
