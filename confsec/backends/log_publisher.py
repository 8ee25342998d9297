"""Publishing what a quorum of witnesses cosigned, and nothing else.

The published checkpoint is the newest one that a quorum cosigned; while there is no quorum, it stays. A tree that does
not grow is cosigned again before long, so that readers see that the log lives. State logs also keep a proof of each
entry, under the first checkpoint that a quorum cosigned with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, final

import anyio
import anyio.to_thread

from confsec.backends.api import Clock, Transport
from confsec.backends.log_files import POLICY_PATH, proof_path
from confsec.backends.log_session import SignedTree
from confsec.backends.log_storage import StorageConflictError, StoredFile
from confsec.backends.log_tiles import consistency_proof, inclusion_proofs
from confsec.backends.log_witnesses import Cosigned, OldCopyError, WitnessClient, collect_cosignatures
from confsec.backends.log_writer import LogWriter
from confsec.backends.system import monotonic, now
from confsec.errors import BackendError, ConfigError, ConfsecError, TransparencyError
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.log_growth import partial_folders
from confsec.protocol.log_state import MAX_STATE_ENTRIES
from confsec.protocol.merkle import verify_consistency
from confsec.protocol.note import MAX_SIGNATURES, SignedNote
from confsec.protocol.tile_paths import TILE_WIDTH
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_checkpoint
from confsec.protocol.tree_reader import CHECKPOINT_PATH
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["LogPublisher"]

_FIRST_PAUSE: Final = 0.25
_LAST_PAUSE: Final = 30.0
"""Seconds between attempts to find a quorum: more each time."""

_log = logging.getLogger("confsec.log")


@final
class LogPublisher:
    """Has a log's trees cosigned and publishes them. Run `run` in a task, between `open` and the end."""

    def __init__(
        self,
        writer: LogWriter,
        policy: WitnessPolicy,
        transport: Transport,
        *,
        recosign_seconds: float,
        timeout: float,
        interval: float = 0.0,
        keep_proofs: bool = False,
        clock: Clock = now,
    ) -> None:
        """Publish what `writer` signs when a quorum of `policy` has cosigned it. Raises `ConfigError`.

        An unchanged tree is cosigned again after `recosign_seconds`; witnesses have `timeout` seconds to answer, and
        are not asked by `run` more often than every `interval` seconds.
        """
        policy.require_quorum()
        if policy.find_log(writer.origin).key not in writer.keys:
            raise ConfigError("the witness policy has another key for this log", got=writer.origin)
        self.clients: Final = [WitnessClient(each, transport) for each in policy.witnesses if each.url]
        """The witnesses that have a URL."""
        _require_usable(policy, asked=len(self.clients), signers=len(writer.keys))
        self.cosigned: Cosigned | None = None
        """What is published; None while nothing is."""
        self.error: str = ""
        """Why the last attempt to find a quorum failed, or nothing."""
        self.refused: OldCopyError | None = None
        """Why no tree is shown to witnesses any more, and nothing is appended: they know another one."""
        self._writer = writer
        self._policy = policy
        self._recosign_seconds = recosign_seconds
        self._timeout = timeout
        self._interval = interval
        self._keep_proofs = keep_proofs
        self._clock = clock
        self._file: StoredFile | None = None
        self._file_changed = False
        self._proved = 0
        self._kept = 0
        self._cosigned_at = 0.0
        self._asked = False
        self._published = anyio.Event()
        self._lock = anyio.Lock()

    async def open(self) -> None:
        """Read what is published, and write down who cosigns.

        Raises `TransparencyError` if the published tree is not the beginning of the one that the log has signed.
        """
        await anyio.to_thread.run_sync(self._open)

    async def run(self) -> None:
        """Have the newest tree cosigned and publish it, again and again, until witnesses know another one.

        They are asked as soon as this runs, as the files may be an old copy.
        """
        pause = _FIRST_PAUSE
        while self.refused is None:
            if self._asked:
                await self._wait_until_due()
            next_at = monotonic() + self._interval
            try:
                await self.publish()
                pause = _FIRST_PAUSE
                await anyio.sleep(max(next_at - monotonic(), 0))
            except ConfsecError as exc:
                self._complain(exc)
                await anyio.sleep(pause)
                await self._look_again()
                pause = min(2 * pause, _LAST_PAUSE)

    async def publish(self) -> Cosigned:
        """Have the newest tree cosigned now, and publish it.

        Raises `TransparencyError` if there is no quorum, `OldCopyError` if so many witnesses know another tree that
        there will be none, and `BackendError`; what was published stays.
        """
        async with self._lock:
            cosigned = await self._collect()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._write, cosigned)
        self.error = ""
        self._cosigned_at = monotonic()
        self._wake()
        return cosigned

    async def _collect(self) -> Cosigned:
        if self.refused is not None:
            raise self.refused
        self._asked, tree = True, self._writer.tree
        try:
            return await collect_cosignatures(
                tree, self.clients, self._writer.storage,
                policy=self._policy, origin=self._writer.origin, seconds=self._timeout, clock=self._clock,
            )  # fmt: skip
        except TransparencyError:
            if self._lacks_quorum(tree.size):
                newest = await self._writer.refresh()  # witnesses may know what another writer added
                if self._lacks_quorum(newest.size):
                    self._refuse()
            raise

    def _lacks_quorum(self, size: int) -> bool:
        """Say whether those who do not know another tree than ours of `size` entries are too few for a quorum."""
        now = self._clock()
        left = [each for each in self.clients if each.other_size is None or each.other_size <= size]
        return self._policy.known_since({each.witness.name: now for each in left}) is None

    def _refuse(self) -> None:
        self.refused = OldCopyError(
            "the witnesses know another tree of this log, so it takes no entries", got=self._writer.tree.size,
            hint="Stop it and restore its newest files, or begin a new log under a new name",
        )  # fmt: skip
        self._writer.refuse(self.refused)
        self._complain(self.refused)
        self._wake()
        raise self.refused

    def _wake(self) -> None:
        self._published.set()
        self._published = anyio.Event()

    async def wait_cosigned(self, index: int) -> Cosigned:
        """Wait until a checkpoint with this entry is published, and return the newest. Raises `OldCopyError`."""
        while self.cosigned is None or self.cosigned.tree.size <= index:
            if self.refused is not None:
                raise self.refused
            await self._published.wait()
        return self.cosigned

    async def prove(self, index: int) -> bytes:
        """Return the C2SP tlog-proof of an entry: the one that is kept, or else one under the published checkpoint.

        Raises `TransparencyError` if no quorum has seen it yet.
        """
        return await anyio.to_thread.run_sync(self._prove, index)

    async def _wait_until_due(self) -> None:
        """Wait until the tree has grown, or its cosignatures are old."""
        if self.cosigned is None:
            return
        left = self._cosigned_at + self._recosign_seconds - monotonic()
        with anyio.move_on_after(max(left, 0)):
            await self._writer.wait_beyond(self.cosigned.tree.size)

    async def _look_again(self) -> None:
        """See what another writer, if there is one, has made of the log."""
        with suppress(ConfsecError):  # the next attempt will say it
            await self._writer.refresh()
            if self._file_changed:
                await anyio.to_thread.run_sync(self._read)
                self._file_changed = False

    def _complain(self, error: ConfsecError) -> None:
        """Say once what is wrong, as long as it is the same."""
        sentence = "; ".join(
            [str(error), *(f"{each.witness.name}: {each.error}" for each in self.clients if each.error)]
        )
        if sentence != self.error:
            _log.warning("the log %s is not cosigned: %s", self._writer.origin, sentence)
        self.error = sentence

    # --- In a thread ---

    def _open(self) -> None:
        storage, text = self._writer.storage, self._policy.encode()
        known = storage.get(POLICY_PATH)
        if known is None or known.data != text:
            storage.replace(POLICY_PATH, text, known)
        self._read()

    def _read(self) -> None:
        """Take over what is published. It counts only if a quorum of the policy of today cosigned it."""
        self._file = self._writer.storage.get(CHECKPOINT_PATH)
        if self._file is None:
            return
        note = self._file.data
        checkpoint = Checkpoint.decode(SignedNote.decode(note).text)
        self._require_prefix(checkpoint, self._writer.tree)
        self._proved = checkpoint.size
        # Readers ask for the proofs of so many. They do not count under another policy, or are not there at all.
        self._kept = max(checkpoint.size - MAX_STATE_ENTRIES, 0)
        try:
            verified = verify_checkpoint(note, self._policy, origin=self._writer.origin)
        except TransparencyError as exc:
            _log.warning("the published checkpoint of %s does not count: %s", self._writer.origin, exc)
            return
        self.cosigned = Cosigned(SignedTree(checkpoint.size, checkpoint.root, note), note, verified)
        age = (self._clock() - verified.fresh_since).total_seconds()
        self._cosigned_at = monotonic() - max(age, 0)

    def _require_prefix(self, checkpoint: Checkpoint, tree: SignedTree) -> None:
        if checkpoint.size > tree.size:
            raise TransparencyError(
                "the published checkpoint is of a larger tree than the log knows of",
                got=checkpoint.size, want=f"at most {tree.size}", hint="A part of its files is an old copy",
            )  # fmt: skip
        grew = 0 < checkpoint.size < tree.size
        proof = consistency_proof(self._writer.storage, checkpoint.size, tree.size, tree.root) if grew else ()
        verify_consistency(checkpoint.size, tree.size, proof, checkpoint.root, tree.root)

    def _write(self, cosigned: Cosigned) -> None:
        """Write the proofs, and then the checkpoint, in place of the one that we know."""
        if self.cosigned is not None and self._is_older(cosigned, self.cosigned):
            raise TransparencyError("the witnesses' word is older than what is published", hint="Is a clock wrong?")
        if self._keep_proofs:
            for part in _parts(self._kept, cosigned.tree.size):
                self._write_proofs(part, cosigned)
            self._kept = cosigned.tree.size
        try:
            self._file = self._writer.storage.replace(CHECKPOINT_PATH, cosigned.note, self._file)
        except StorageConflictError:
            self._file_changed = True
            raise
        self._remove_partial(self._proved, cosigned.tree.size)
        self._proved = cosigned.tree.size
        self.cosigned = cosigned

    def _remove_partial(self, old_size: int, size: int) -> None:
        """Remove partial tiles and bundles that a published full one holds (C2SP tlog-tiles, Partial Tiles)."""
        try:
            self._writer.storage.remove(partial_folders(old_size, size))
        except BackendError as exc:  # they are in nobody's way
            _log.warning("partial tiles of %s stay: %s", self._writer.origin, exc)

    @staticmethod
    def _is_older(new: Cosigned, old: Cosigned) -> bool:
        return new.tree.size < old.tree.size or new.checkpoint.fresh_since < old.checkpoint.fresh_since

    def _write_proofs(self, indexes: range, cosigned: Cosigned) -> None:
        """Write proofs. One that is there stays if a quorum of today had cosigned it, whoever was killed afterwards."""
        proofs = inclusion_proofs(self._writer.storage, indexes, cosigned.tree.size, cosigned.tree.root)
        files = {proof_path(index): TlogProof(index, proofs[index], cosigned.note).encode() for index in indexes}
        for path in self._writer.storage.create(files):
            there = self._writer.storage.get(path)
            if there is None or not self._counts(there.data):
                self._writer.storage.replace(path, files[path], there)

    def _counts(self, proof: bytes) -> bool:
        try:
            verify_checkpoint(TlogProof.decode(proof).checkpoint, self._policy, origin=self._writer.origin)
        except ConfsecError:
            return False
        return True

    def _prove(self, index: int) -> bytes:
        if self.cosigned is None or index >= self.cosigned.tree.size:
            raise TransparencyError("no quorum has cosigned this entry yet", got=index)
        kept = self._writer.storage.get(proof_path(index)) if self._keep_proofs else None
        if kept is not None and self._counts(kept.data):
            return kept.data
        tree = self.cosigned.tree
        hashes = inclusion_proofs(self._writer.storage, [index], tree.size, tree.root)[index]
        return TlogProof(index, hashes, self.cosigned.note).encode()


def _require_usable(policy: WitnessPolicy, *, asked: int, signers: int) -> None:
    """Raise `ConfigError` for a policy of which nobody can be asked, or not all, or that cannot be published."""
    if not asked:
        raise ConfigError("no witness of the policy has a URL", want="lines of the form: witness name key URL")
    if asked + signers > MAX_SIGNATURES:
        raise ConfigError(
            "more witnesses have URLs than a checkpoint can have signatures", got=asked,
            want=f"at most {MAX_SIGNATURES - signers}", section="C2SP signed-note",
        )  # fmt: skip
    for name, url in [
        *((each.name, each.url) for each in policy.witnesses),
        *((each.key.name, each.url) for each in policy.logs),
    ]:
        if set(url) & set("?#@"):
            raise ConfigError(
                "a URL of the witness policy has a user, a query or a fragment", got=name,
                want="scheme, host and path", hint=f"The log publishes the policy, as /{POLICY_PATH}",
            )  # fmt: skip


def _parts(start: int, end: int) -> Iterator[range]:
    """Split entries into those of one tile each."""
    while start < end:
        stop = min(end, (start // TILE_WIDTH + 1) * TILE_WIDTH)
        yield range(start, stop)
        start = stop
