"""A log that grows: entries that many tasks append, against batches that are written and synchronised and nothing else.

An append ends when the entry is on the disk and in a tree that the log has signed. Raw batches are one file with the
same entries, one `fsync` for each batch. All of them are on one disk, which is another one's too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Final

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import evolve

from benchmarks.log_cases import LOG, StoredTree, cosigned
from benchmarks.measure import Contender, Plan, Timings, measure, ratio_of, spread_of
from benchmarks.peers import Peers
from benchmarks.report import Goal, Row, at_least, at_most
from confsec.backends.log_session import COMMIT_PATH
from confsec.backends.log_storage import FolderStorage
from confsec.backends.log_writer import LogWriter
from confsec.backends.system import randbytes
from confsec.protocol.log_growth import LogCommit
from confsec.protocol.tile_paths import TILE_WIDTH, encode_entries, entries_path
from tests.interop.build import GO_TESSERA

__all__ = ["append_rows", "memory_row"]

ENTRY_SIZE: Final = 1000
"""Bytes of an entry: about those of a signed statement."""

ROUNDS: Final = 31
"""Turns of everybody: one with many tasks takes a second."""

TASKS: Final = (1, 64, 512, 2048)
MANY: Final = 2048
RATE_GOAL: Final = at_least(10_000)
MEMORY_GOAL: Final = at_most(1.2)
TESSERA: Final = GO_TESSERA.name

_SLICE: Final = 10
"""How many times as long a turn is as that of other benchmarks: a disk is not as steady as a processor."""

_EACH: Final = 8
"""Entries that each task appends in a turn, one after the other: at its beginning and end batches are small."""

_COMPUTED: Final = "Computing time of all threads of the process, the operating system's part and the tasks included."
_TESSERA_NOTE: Final = (
    "POSIX, batches of at most as many, in the tree; a checkpoint follows within 0.1 s. It does not look for entries "
    "that it has, as ours does."
)
_RAW_NOTE: Final = "One file, one fsync for each batch: no tree, no signature, no index of what is there."
_RSS: Final = (
    "What a process holds (VmRSS) that opened it, made its index anew and appended; up to 16 MiB of that are pages of "
    "the index."
)


def append_rows(plan: Plan, peers: Peers) -> Iterator[Row]:
    """Compare with raw batches of as many entries as there are tasks, and with tessera."""
    plan = evolve(plan, rounds=min(plan.rounds, ROUNDS), slice_seconds=plan.slice_seconds * _SLICE)
    for tasks in TASKS:
        what, least = (
            f"append, {tasks:,} task{'s' * (tasks > 1)}",
            max(tasks, min(_EACH * tasks, plan.log_entries // 20)),
        )
        with _contenders(tasks, peers) as contenders:
            timings = measure({name: partial(_at_least, least, run) for name, run in contenders.items()}, plan)
            computed = _computed(contenders["ours"], least)
        for name in list(timings)[1:]:
            yield _row(what, timings, name, note=_TESSERA_NOTE if name == TESSERA else _RAW_NOTE)
        if tasks == MANY:
            rate = 1 / spread_of(timings["ours"]).median
            yield Row(what=what, ours=rate, unit="/s", goal=RATE_GOAL)
            yield Row(what=f"{what}: computed for an entry", ours=computed, unit="s", note=_COMPUTED)


@contextmanager
def _contenders(tasks: int, peers: Peers) -> Generator[dict[str, Contender]]:
    with (
        TemporaryDirectory() as name,
        _others(folder := Path(name), tasks, peers) as others,
        _writer(folder / "ours") as append,
    ):
        yield {"ours": partial(append, tasks), **others}


def _at_least(least: int, run: Contender, count: int) -> float:
    """Have at least so many entries appended, and return how long `count` of them took."""
    whole = max(count, least)
    return run(whole) * count / whole


def _computed(append: Contender, count: int) -> float:
    begin = process_time()
    append(count)
    return (process_time() - begin) / count


def _row(what: str, timings: Timings, against: str, *, goal: Goal | None = None, note: str = "") -> Row:
    ratio = ratio_of(timings[against], timings["ours"])
    return Row(
        what=what,
        ours=1 / spread_of(timings["ours"]).median,
        unit="/s",
        against=against,
        theirs=1 / spread_of(timings[against]).median,
        result=ratio.median,
        low=ratio.low,
        high=ratio.high,
        goal=goal,
        note=note,
    )


# --- Ours -------------------------------------------------------------------------------------------------------------


@contextmanager
def _writer(folder: Path) -> Generator[Callable[[int, int], float]]:
    """Open a log in an event loop as its role has it, and yield what appends `count` entries from `tasks` tasks."""
    with start_blocking_portal("asyncio", {"use_uvloop": True}) as portal:
        writer = LogWriter(FolderStorage(folder), [LOG], folder.with_suffix(".db"))
        portal.call(writer.open)
        try:
            yield partial(_append_in_loop, portal, writer)
        finally:
            portal.call(writer.aclose)


def _append_in_loop(portal: BlockingPortal, writer: LogWriter, tasks: int, count: int) -> float:
    return portal.call(_append_all, writer, tasks, _entries(count))


async def _append_all(writer: LogWriter, tasks: int, entries: list[bytes]) -> float:
    rest = iter(entries)

    async def work() -> None:
        for entry in rest:
            await writer.append(entry)

    begin = perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(work)
    return perf_counter() - begin


def _entries(count: int) -> list[bytes]:
    return [randbytes(ENTRY_SIZE) for _ in range(count)]


# --- The others -------------------------------------------------------------------------------------------------------


@contextmanager
def _others(folder: Path, tasks: int, peers: Peers) -> Generator[dict[str, Contender]]:
    """Yield who else appends, into the same folder."""
    raw = {f"raw batches of {tasks:,}": partial(_raw, folder / "raw", tasks)}
    peer = peers.log_peer(GO_TESSERA)
    if peer is None:
        yield dict(raw)
        return
    log = {"folder": str(folder / "tessera"), "signing_keys": [LOG.encode()], "size": ENTRY_SIZE, "chunk": tasks}

    yield {**raw, TESSERA: lambda count: peer.bench("append", iterations=count, **log)}
    peer.log_close(folder / "tessera")


def _raw(path: Path, size: int, count: int) -> float:
    """Write entries in full batches, and return how long so many took."""
    batches = [b"".join(_entries(size)) for _ in range(-(-count // size))]
    with path.open("ab", buffering=0) as file:
        begin = perf_counter()
        for batch in batches:
            file.write(batch)
            os.fsync(file.fileno())
        return (perf_counter() - begin) * count / (len(batches) * size)


# --- Memory -----------------------------------------------------------------------------------------------------------


def memory_row(small: StoredTree, large: StoredTree) -> Row:
    """Let processes of their own open a log of each size, and append to it, and ask what they hold."""
    before, after = _resident(small), _resident(large)
    return Row(
        what="memory of a log that is open", ours=after / 1024, unit="MiB", against=f"{small.size:,} entries",
        theirs=before / 1024, result=after / before, goal=MEMORY_GOAL, note=_RSS,
    )  # fmt: skip


def _resident(tree: StoredTree) -> int:
    """Make a log of a tree, and return what the process holds that has it open, in KiB."""
    first, width = divmod(tree.size, TILE_WIDTH)
    files = {COMMIT_PATH: LogCommit(cosigned(tree.size, tree.root, 0), tree.size).encode()}
    if width:
        files[entries_path(first, width)] = encode_entries([tree.entry(tree.size - width + at) for at in range(width)])
    for path, data in files.items():
        (tree.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (tree.folder / path).write_bytes(data)
    command = [sys.executable, "-m", "benchmarks.log_append", str(tree.folder)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _open_and_append(folder: Path) -> None:
    """Open a log, which makes its index, append to it, and print what the process holds, in KiB."""
    with _writer(folder) as append:
        append(MANY, MANY)
        status = Path("/proc/self/status").read_text()
    print(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


if __name__ == "__main__":
    _open_and_append(Path(sys.argv[1]))
