"""Reading what is new in a log: its newest checkpoint, that it only grew, and the entries (C2SP tlog-tiles).

`LogUpdate` begins at what a reader remembers of the log and ends at what it remembers next, and gives out nothing that
was not checked against the root that a quorum of witnesses stands by. What it asks for are static files that everybody
asks for; `confsec/backends/log_source.py` fetches them.

    checkpoint ──→ tiles ──→ bundles of entries ──→ news
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, final

from attrs import field, frozen

from confsec.errors import ConfsecError, LocalProtocolError, TransparencyError
from confsec.protocol.tiles import tiles_for_consistency
from confsec.protocol.transparency import CosignedCheckpoint, TrustedLog
from confsec.protocol.tree_reader import CHECKPOINT_PATH, LoggedEntry, TreeReader, advance
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["LogNews", "LogUpdate", "LoggedEntry"]

_SECTION: Final = "C2SP tlog-tiles, APIs"


@final
@frozen
class LogNews:
    """What a log has that was not seen before. Made by `LogUpdate` alone."""

    trusted: TrustedLog
    """What to remember from now on."""

    cosigned: CosignedCheckpoint
    """The newest checkpoint, and who stands by it."""

    note: bytes = field(repr=False)
    """This checkpoint as it is signed."""

    entries: tuple[LoggedEntry, ...] = ()
    """The entries that were asked for, in order."""


@final
class LogUpdate:
    """Reads what is new in one log since `trusted`. For one update; another one begins at what this one ends with.

    Whoever drives it hands in the files that are `wanted`, in any order, until there are none. After an error nothing
    is wanted, and nothing can be had.
    """

    def __init__(
        self,
        trusted: TrustedLog,
        policy: WitnessPolicy,
        *,
        at: datetime,
        maximum_age: timedelta,
        newest: int | None = None,
        entries: bool = True,
    ) -> None:
        """Read the entries since what is remembered, and those among the last `newest` that were seen before.

        Where nothing is remembered, `newest` are all that is read: the log's past is not walked. Without `entries`
        only the checkpoint and that the log grew are looked at. `at` is the time now, and `maximum_age` how old the
        witnesses' word may be.
        """
        if newest is not None and newest < 0:
            raise LocalProtocolError("nobody can read fewer than no entries", got=newest)
        self._trusted: Final = trusted
        self._policy: Final = policy
        self._at: Final = at
        self._maximum_age: Final = maximum_age
        self._newest: Final = newest
        self._with_entries: Final = entries
        self._note = b""
        self._cosigned: CosignedCheckpoint | None = None
        self._reader: TreeReader | None = None
        self._failed = False

    @property
    def wanted(self) -> tuple[str, ...]:
        """The paths of the files that are needed next, relative to the log's prefix; none at the end."""
        if self._failed:
            return ()
        return (CHECKPOINT_PATH,) if self._reader is None else self._reader.wanted

    @property
    def note(self) -> bytes:
        """The signed checkpoint as it was received, believed or not: evidence, where it is refused."""
        return self._note

    def receive(self, path: str, body: bytes) -> None:
        """Take a file.

        Raises what `TrustedLog.verify_newer` raises, and `DecodeError`, `LimitError` or `TransparencyError` for a file
        that is not the log's, or for more entries than are read at once.
        """
        with self._failing():
            if self._reader is not None:
                self._reader.receive(path, body)
            elif path == CHECKPOINT_PATH:
                self._receive_checkpoint(body)
            else:
                raise LocalProtocolError("this file is not wanted", got=path)

    def missing(self, path: str) -> None:
        """Learn that the log has no such file: a partial tile may have been replaced by the full one.

        Raises `TransparencyError` for anything else (C2SP tlog-tiles, Partial Tiles).
        """
        with self._failing():
            if self._reader is None:
                raise TransparencyError("the log has no checkpoint", want=CHECKPOINT_PATH, section=_SECTION)
            self._reader.missing(path)

    def finish(self) -> LogNews:
        """Return what is new. Raises `ForkedLogError` for a log that did not only grow."""
        with self._failing():
            if self._reader is None or self._cosigned is None:
                raise LocalProtocolError("the log is not read to its end")
            entries = self._reader.finish()
            return LogNews(advance(self._trusted, self._cosigned, self._reader), self._cosigned, self._note, entries)

    def _receive_checkpoint(self, note: bytes) -> None:
        self._note = note
        cosigned = self._trusted.verify_newer(note, policy=self._policy, at=self._at, maximum_age=self._maximum_age)
        size = cosigned.checkpoint.size
        tiles = tiles_for_consistency(self._trusted.size, size) if self._needs_proof(size) else ()
        self._reader = TreeReader(cosigned.checkpoint, start=self._start(size), stop=size, tiles=tiles)
        self._cosigned = cosigned

    def _start(self, size: int) -> int:
        """Return the first entry that is read."""
        if not self._with_entries:
            return size
        if self._newest is None:
            return self._trusted.size
        newest = max(0, size - self._newest)
        return min(newest, self._trusted.size) if self._trusted.size else newest

    def _needs_proof(self, size: int) -> bool:
        return 0 < self._trusted.size < size

    @contextmanager
    def _failing(self) -> Iterator[None]:
        if self._failed:
            raise LocalProtocolError("this update failed", hint="Begin another one")
        try:
            yield
        except ConfsecError:
            self._failed = True
            raise
