"""Putting fleet records into their log: one for each epoch, and always the same one.

A record is in effect when a quorum of witnesses has seen its statement as the newest entry. Once a statement was sent
it may be in the log, whatever the answer was, so it is this one that is sent again until the epoch is over. A router
that starts anew goes on with the statement that it had sent, and serves the record that is the newest in the log, if it
still has it. Else it waits for the next epoch: two records of one epoch would look like one that was made for somebody.

Several routers of one service share the folder. Each looks at the log before it sends: if another one was first, it
serves that record. Where two sign at once, the log takes one statement, and the other router finds that at its next
try.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final, final

import anyio
import anyio.to_thread
from attrs import frozen

from confsec.backends.api import Clock
from confsec.backends.log_source import Fetch, read_log
from confsec.backends.system import randbytes
from confsec.errors import BackendError, ConfsecError, TransparencyError
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.log_root import LogRoot
from confsec.protocol.log_state import LogState
from confsec.protocol.predicates import FleetStatement, read_predicate
from confsec.protocol.service_state import find_fleet
from confsec.protocol.signatures import SigningKey
from confsec.protocol.sigstore import read_envelope
from confsec.protocol.state_reader import Firsts, StateUpdate
from confsec.protocol.statement import Statement, Subject
from confsec.protocol.transparency import TrustedLog

__all__ = ["FleetPublisher"]

_KEPT: Final = 16
"""So many records are served and kept: for monitors, and clients that read the log just before it grew."""

_HOLDS: Final = timedelta(hours=1)
"""A fleet statement holds for this long; what ends sooner is its epoch."""

_SENT: Final = "sent"
"""The file with the statement that was sent last: it may be in the log, or on its way."""

_log = logging.getLogger("confsec.roles")


@frozen
class _Sent:
    """A record on its way into the log."""

    beacon: bytes
    record: bytes
    entry: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the record."""
        return sha256(self.record).digest()


@final
class FleetPublisher:
    """The fleet records of one service, as its log has them."""

    def __init__(
        self,
        root: LogRoot,
        key: SigningKey,
        *,
        append: Callable[[bytes], Awaitable[object]],
        fetch: Fetch,
        folder: Path | None,
        clock: Clock,
    ) -> None:
        """Sign with `key`, and put records into the log of fleets of `root`.

        `append` returns when a quorum has seen the entry; `fetch` reads the log. Records are kept in `folder` if there
        is one, so that a router that starts anew can go on with them.
        """
        self.root: Final = root
        """The root that the service is known by."""
        self._key = key
        self._append = append
        self._fetch = fetch
        self._folder = folder
        self._now = clock
        self._records: dict[bytes, bytes] = {}
        self._current: bytes | None = None
        self._sent: _Sent | None = None
        self._beacon = b""

    @property
    def current(self) -> bytes | None:
        """The record in effect; None until there is one."""
        return self._current

    def find(self, digest: bytes) -> bytes | None:
        """Return a record by its SHA-256."""
        return self._records.get(digest)

    def is_done(self, beacon: bytes) -> bool:
        """Tell whether the epoch of this beacon has its record: then it gets no other."""
        return self._beacon == beacon

    async def begin(self) -> None:
        """See which record is the newest in the log. Raises what fetching and reading it raise."""
        self._sent = await self._load_sent()
        if self._sent is not None:
            self._remember(self._sent.digest, self._sent.record)
        await self._look()

    async def _look(self) -> None:
        """Take over the newest record in the log, if it is here, whoever has put it there."""
        state = await self._read_state()
        if state is None:
            return
        read = _read_statement(state.entries[-1].data)
        self._beacon = read[0].beacon if read else b""
        try:
            newest = find_fleet(state, self.root)
        except ConfsecError as exc:
            # The next record mends it: nobody else will append one.
            _log.warning("clients refuse the newest fleet in the log, until the next epoch or the one after: %s", exc)
            return
        record = self._records.get(newest.digest) or await self._load(newest.digest)
        if record is None:
            _log.warning(
                "the newest fleet record in the log is not here: waiting for the next epoch. "
                "Routers of one service share the folder fleet_records"
            )
        else:
            newest.check_record(record)
            self._adopt(newest.digest, record)

    async def publish(self, record: FleetRecord) -> None:
        """Put a record into the log, or the one of its epoch that was sent before; nothing if the log has one of it.

        Returns when it is in effect. Raises what reading the log, signing and appending raise; then call it again.
        """
        await self._look()
        if self.is_done(record.beacon):
            return
        if self._sent is None or self._sent.beacon != record.beacon:
            self._sent = self._sign(record)
        sent = self._sent
        self._remember(sent.digest, sent.record)  # a client may see it in the log before the answer is here
        await self._keep(sent)
        await self._append(sent.entry)
        self._adopt(sent.digest, sent.record)
        self._beacon = sent.beacon

    def _sign(self, record: FleetRecord) -> _Sent:
        encoded, issued = record.encode(), _whole(self._now())
        statement = FleetStatement(
            issued=issued, valid_until=issued + _HOLDS, beacon=record.beacon, nodes=len(record.nodes)
        )
        subject = Subject(self.root.name, sha256(encoded).digest())
        envelope = statement.to_statement(subject).to_envelope().sign(self._key).encode()
        self._verify(envelope, issued)
        return _Sent(record.beacon, encoded, envelope)

    def _verify(self, envelope: bytes, issued: datetime) -> None:
        """Refuse what clients would refuse: a log takes nothing back."""
        self.root.statements.verify(envelope, predicate_type=FleetStatement.TYPE, at=issued)

    def _adopt(self, digest: bytes, record: bytes) -> None:
        self._current = record
        self._remember(digest, record)

    def _remember(self, digest: bytes, record: bytes) -> None:
        """Serve a record, and no longer those that nobody asks for any more."""
        self._records.pop(digest, None)
        self._records[digest] = record
        for old in list(self._records)[:-_KEPT]:
            if self._records[old] != self._current:
                del self._records[old]

    async def _read_state(self) -> LogState | None:
        """Return the end of the log, or None for an empty log."""
        log = self.root.fleet
        update = StateUpdate(
            TrustedLog(log.origin), self.root.witnesses, at=self._now(), maximum_age=log.epoch, entries=2,
            firsts=Firsts.NEWEST,
        )  # fmt: skip
        try:
            return (await read_log(update, self._fetch)).state
        except TransparencyError:
            if update.is_empty:
                return None
            raise

    async def _keep(self, sent: _Sent) -> None:
        if self._folder is not None:
            await anyio.to_thread.run_sync(_write, self._folder, sent, list(self._records))

    async def _load_sent(self) -> _Sent | None:
        """Return what was sent last, if it is here as a whole, and clients do not refuse it."""
        entry = await self._read_file(_SENT)
        read = _read_statement(entry) if entry else None
        record = await self._load(read[1]) if read else None
        if not entry or not read or not record:
            return None
        try:
            self._verify(entry, read[0].issued)
        except ConfsecError as exc:
            _log.warning("the fleet statement that was sent last is dropped, clients refuse it: %s", exc)
            return None
        return _Sent(read[0].beacon, record, entry)

    async def _load(self, digest: bytes) -> bytes | None:
        """Return a record, or None if it is not here, or damaged."""
        record = await self._read_file(_name(digest))
        return record if record is not None and sha256(record).digest() == digest else None

    async def _read_file(self, name: str) -> bytes | None:
        if self._folder is None:
            return None
        try:
            return await anyio.Path(self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise BackendError(f"a fleet record in {self._folder} cannot be read", got=exc.strerror) from exc


def _write(folder: Path, sent: _Sent, kept: list[bytes]) -> None:
    """Write what is sent into the folder, to the disk, and remove records that nobody asks for any more."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in ((_name(sent.digest), sent.record), (_SENT, sent.entry)):
            _replace(folder, name, content)
        _sync(folder)
        _remove_old(folder, {_name(each) for each in (*kept, sent.digest)})
    except OSError as exc:
        raise BackendError(f"a fleet record cannot be kept in {folder}", got=exc.strerror) from exc


def _remove_old(folder: Path, names: set[str]) -> None:
    """Remove files with other names than these, but for the newest: another router may be about to send them."""
    ages = [(file.stat().st_mtime_ns, file) for file in folder.glob("*.fleet")]
    for _, file in sorted(ages)[:-_KEPT]:
        if file.name not in names:
            file.unlink()


def _replace(folder: Path, name: str, content: bytes) -> None:
    """Write a file under a name that no other router has, to the disk, before it gets its own."""
    temporary = folder / f".{name}.{randbytes(8).hex()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(folder / name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_statement(entry: bytes) -> tuple[FleetStatement, bytes] | None:
    """Return what a fleet statement says, whoever signed it, and of which record; None for anything else."""
    try:
        statement = Statement.decode(read_envelope(entry).payload)
        predicate = read_predicate(statement)
    except ConfsecError:
        return None
    return (predicate, statement.subjects[0].digest) if isinstance(predicate, FleetStatement) else None


def _name(digest: bytes) -> str:
    return f"{digest.hex()}.fleet"


def _whole(time: datetime) -> datetime:
    return time.replace(microsecond=0)
