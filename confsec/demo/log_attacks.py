"""Attacks on what everybody is shown: an operator who shows one client another log, an old one, or two truths.

Where an attack needs cosignatures that honest witnesses do not give, the operator has bribed as many as it says.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Final, final
from urllib.parse import urlsplit

from attrs import evolve

from confsec.backends import system
from confsec.backends.api import HttpRequest, HttpResponse, Transport
from confsec.demo.evidence_attacks import genuine, read_entries
from confsec.demo.evil_operator import EvilOperator, answer_file, directory_entry, forge
from confsec.demo.target import Attack, Target
from confsec.errors import (
    ConfsecError,
    ForkedLogError,
    RolledBackLogError,
    StaleLogError,
    TransparencyError,
    UncosignedError,
)
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.kem import kem_from_id
from confsec.protocol.note import NoteSignature, SignedNote
from confsec.protocol.tree_reader import CHECKPOINT_PATH
from confsec.protocol.witnessing import AddCheckpoint
from confsec.testing_logs import MemoryLog

__all__ = ["LOG_ATTACKS"]

_X_WING: Final = 0x647A
_DAY: Final = timedelta(days=1)


@final
class _ShownLog:
    """A transport over which the operator shows his own log of directories."""

    def __init__(self, target: Target, files: Callable[[], dict[str, bytes]]) -> None:
        self._inner: Transport = target.transport
        self._authority = urlsplit(target.logs.root.directory.url).netloc
        self.files = files

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Answer from the operator's log, or pass the request on."""
        if urlsplit(request.url).netloc != self._authority:
            return self._inner.stream(request)
        return self._stream(urlsplit(request.url).path.lstrip("/"))

    @asynccontextmanager
    async def _stream(self, path: str) -> AsyncGenerator[HttpResponse]:
        yield answer_file(self.files().get(path))

    async def aclose(self) -> None:
        """Leave the transport to its owner."""


async def _split_view(target: Target) -> None:
    """Sign another tree of the same size, ask all witnesses for their word, and show what they gave."""
    fork = forge(target.logs, target.logs.keys.directories)
    fork.append(directory_entry(target.logs, _own_directory(target), _now()), _now())
    note = SignedNote.decode(fork.note(_now(), witnesses=0))
    for witness in target.logs.root.witnesses.witnesses:
        with suppress(ConfsecError):
            signature = await _ask_witness(target, witness.url, note)
            note = evolve(note, signatures=(*note.signatures, *signature))
    await target.ask(_ShownLog(target, lambda: fork.files(_now(), note=note.encode())))


async def _ask_witness(target: Target, url: str, note: SignedNote) -> tuple[NoteSignature, ...]:
    """Ask a witness as a log does, for a tree that adds to nothing."""
    request = HttpRequest(
        method="POST", url=f"{url}/add-checkpoint", content=AddCheckpoint(0, (), note.encode()).encode()
    )
    async with target.transport.stream(request) as response:
        content = b"".join([part async for part in response.content])
        lines = content.decode().splitlines() if response.status == 200 else []
        return tuple(map(NoteSignature.decode, lines))


async def _forked_log(target: Target) -> None:
    """Let a client see the true log, and then another one that all witnesses cosigned."""
    shown = _ShownLog(target, lambda: fork.files(_now()))
    fork = await _true_log(target)
    client = target.client(shown)
    await client.refresh()
    fork = forge(target.logs, target.logs.keys.directories)
    fork.append(directory_entry(target.logs, _own_directory(target), _now()), _now())
    await client.reload()


async def _rolled_back_log(target: Target) -> None:
    """Let a client see the true log, and then the one from before its newest entry."""
    log = await _true_log(target)
    size = log.size
    shown = _ShownLog(target, lambda: log.files(_now(), note=log.note(_now(), size=size)))
    client = target.client(shown)
    await client.refresh()
    size -= 1
    await client.reload()


async def _missing_quorum(target: Target) -> None:
    """Show the true log with the word of one witness: the operator keeps the others from the client."""
    log = await _true_log(target)
    await target.ask(_ShownLog(target, lambda: log.files(_now(), note=log.note(_now(), witnesses=1))))


async def _stale_log(target: Target) -> None:
    """Show the log as it was, so that what came after stays hidden."""
    log = await _true_log(target)
    await target.ask(_ShownLog(target, lambda: log.files(_now() - 2 * _DAY)))


async def _two_logged_directories(target: Target) -> None:
    """Log a second directory for one client's visit, openly: the first comes back afterwards."""
    log = await _true_log(target)
    log.append(directory_entry(target.logs, _own_directory(target), _now()), _now())
    await target.ask(_ShownLog(target, lambda: log.files(_now())))


async def _old_directory(target: Target) -> None:
    """Log the second directory, and show a client only the first."""
    log = await _true_log(target)
    log.append(directory_entry(target.logs, _own_directory(target), _now()), _now())
    files = await _files_of_first(log)
    await target.ask(_ShownLog(target, lambda: files | {CHECKPOINT_PATH: log.note(_now())}))


async def _files_of_first(log: MemoryLog) -> dict[str, bytes]:
    first = MemoryLog(log.origin, log.signer, log.witnesses, entries=log.entries[:1])
    first.firsts[0] = log.firsts[0]
    return first.files(_now())


async def _own_fleet(target: Target) -> None:
    """Log the true fleet, and show one client a record of one node of it, which the operator can watch."""
    shown = await genuine(target)
    operator = EvilOperator(
        target.logs, target.directory, shown.nodes[:1], beacon=shown.epoch.beacon, before=shown.before,
        logged=shown.nodes,
    )  # fmt: skip
    await target.ask(operator, operator.root)


async def _precomputed_root(target: Target) -> None:
    """Have evidence made for a tree that the operator computed in advance: no witness has signed its time."""
    shown = await genuine(target)
    log = forge(target.logs, target.logs.keys.fleets, shown.before)
    beacon = log.note(_now(), witnesses=1)
    operator = EvilOperator(target.logs, target.directory, shown.nodes, beacon=beacon, before=shown.before)
    await target.ask(operator, operator.root)


async def _true_log(target: Target) -> MemoryLog:
    """Return the log of directories as it is, in the hands of somebody who has all keys."""
    entries = await read_entries(target, target.logs.root.directory)
    log = forge(target.logs, target.logs.keys.directories)
    for entry in entries:
        log.append(entry, _now())
    return log


def _own_directory(target: Target) -> ServiceDirectory:
    """Return the service's directory with a key of the operator's own where the gateway's was."""
    (real, *_) = target.directory.gateway_key_configs
    own = evolve(real, kem_id=_X_WING, public_key=kem_from_id(_X_WING).generate(system.randbytes).public_key)
    return evolve(target.directory, gateway_key_configs=(own,))


def _now() -> datetime:
    return system.now().replace(microsecond=0)


LOG_ATTACKS: Final = (
    Attack(
        "split-view",
        "The operator signs another tree for one client, and asks the witnesses to cosign it.",
        (UncosignedError,),
        _split_view,
    ),
    Attack(
        "forked-log",
        "The operator has bribed all witnesses, and shows a client another log than it has seen.",
        (ForkedLogError,),
        _forked_log,
    ),
    Attack(
        "rolled-back-log",
        "The operator has bribed all witnesses, and shows a client the log from before an entry that it has seen.",
        (RolledBackLogError, TransparencyError),
        _rolled_back_log,
    ),
    Attack(
        "missing-quorum",
        "The operator shows a checkpoint that one witness of three has cosigned.",
        (UncosignedError,),
        _missing_quorum,
    ),
    Attack(
        "stale-log",
        "The operator shows a checkpoint that the witnesses cosigned two days ago.",
        (StaleLogError,),
        _stale_log,
    ),
    Attack(
        "two-logged-directories",
        "The operator logs a second directory for a short time, with a key of his own.",
        (TransparencyError,),
        _two_logged_directories,
    ),
    Attack(
        "withheld-directory",
        "The operator logs a new directory, and shows a client only the one before.",
        (TransparencyError,),
        _old_directory,
    ),
    Attack(
        "fleet-of-ones-own",
        "The operator logs one fleet, and shows a client another.",
        (TransparencyError,),
        _own_fleet,
    ),
    Attack(
        "precomputed-root",
        "The operator has evidence made for a tree that he computed in advance; one witness of three has signed it.",
        (UncosignedError,),
        _precomputed_root,
    ),
)
"""Attacks that a client has to refuse because others would see something else."""
