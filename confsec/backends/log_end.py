"""The end of a state log, which decides what may follow it."""

from __future__ import annotations

from functools import cached_property
from typing import final

from confsec.backends.api import Clock
from confsec.backends.log_files import proof_path
from confsec.backends.log_storage import LogStorage
from confsec.backends.log_tiles import entries
from confsec.errors import ConfsecError
from confsec.protocol.log_state import MAX_STATE_ENTRIES
from confsec.protocol.state_admission import StateAdmission
from confsec.protocol.tile_paths import TILE_WIDTH

__all__ = ["LogEnd"]


@final
class LogEnd:
    """The last entries of a log of `size` entries, and those of a batch that may follow. Nothing is read too early."""

    def __init__(self, admission: StateAdmission, storage: LogStorage, size: int, *, clock: Clock) -> None:
        """Judge with `admission` what comes after what `storage` has."""
        self._admission = admission
        self._storage = storage
        self._size = size
        self._clock = clock

    def refuse(self, entry: bytes) -> ConfsecError | None:
        """Say why an entry may not follow. If it may, it is the last one from now on."""
        before, index = self._entries, self._size
        try:
            self._admission.verify(entry, index=index, before=before, proof=self._proof, at=self._clock())
        except ConfsecError as exc:
            return exc
        self._entries = (*before, entry)[-MAX_STATE_ENTRIES:]
        self._proof = None
        self._size += 1
        return None

    @cached_property
    def _entries(self) -> tuple[bytes, ...]:
        first = max(self._size - MAX_STATE_ENTRIES, 0)
        bundles = range(first // TILE_WIDTH, -(-self._size // TILE_WIDTH))
        found = [each for bundle in bundles for each in entries(self._storage, bundle, self._size)]
        return tuple(found[-MAX_STATE_ENTRIES:])

    @cached_property
    def _proof(self) -> bytes | None:
        """The proof under the first checkpoint with the last entry; none while no quorum has seen it."""
        file = self._storage.get(proof_path(self._size - 1)) if self._size else None
        return None if file is None else file.data
