"""A log writer that is killed: `log_program.py FOLDER FIRST LAST`, with the crash points FIRST to LAST.

For each point it forks a process that appends to the log in FOLDER and kills itself, with SIGKILL, at the so-maniest
time that something is about to reach the disk, or just has. On standard output it says in lines what others have seen
until then: `saw SIZE ROOT` for a tree that might have gone to witnesses, `acknowledged INDEX ENTRY` for an entry.
The last process is not killed. Nothing here is shared with the writer but its public face.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio

from confsec.backends.log_storage import FolderStorage
from confsec.backends.log_writer import LogWriter
from confsec.protocol.note_keys import KeyType, Signer

SIGNER = Signer("log.example/killed", KeyType.ED25519, bytes(32))
AT_ONCE = 40
ROUNDS = 4


class Killer:
    """Kills the process at the `point`-th event; never for 0."""

    def __init__(self, point: int) -> None:
        self._left = point

    def event(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Count what reaches the disk: before and after each."""
        fsync, replace, mkdir = os.fsync, Path.replace, Path.mkdir

        def counting_fsync(descriptor: int) -> None:
            self.event()
            fsync(descriptor)

        def counting_replace(path: Path, target: Path) -> Path:
            self.event()
            moved = replace(path, target)
            self.event()
            return moved

        def counting_mkdir(path: Path, *arguments: object, **more: object) -> None:
            self.event()
            mkdir(path, *arguments, **more)  # type: ignore[arg-type]

        os.fsync, Path.replace, Path.mkdir = counting_fsync, counting_replace, counting_mkdir  # type: ignore[method-assign,assignment]


def say(line: str) -> None:
    """Write a line at once and whole: what is said is said, also when the next thing is the end."""
    os.write(1, f"{line}\n".encode())


async def append(folder: Path, point: int) -> None:
    writer = LogWriter(FolderStorage(folder / "log"), [SIGNER], folder / "index.db")
    await writer.open()
    say(f"saw {writer.tree.size} {writer.tree.root.hex()}")

    async def one(number: int) -> None:
        entry = f"{point}-{number}"
        index = await writer.append(entry.encode())
        say(f"saw {writer.tree.size} {writer.tree.root.hex()}")
        say(f"acknowledged {index} {entry}")

    for first in range(0, AT_ONCE * ROUNDS, AT_ONCE):
        async with anyio.create_task_group() as tasks:
            for number in range(first, first + AT_ONCE):
                tasks.start_soon(one, number)
    await writer.aclose()


def main() -> None:
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for point in [*range(first, last + 1), 0]:
        process = os.fork()
        if process == 0:
            Killer(point).install()
            anyio.run(append, folder, point, backend=("asyncio", "trio")[point % 2])
            os._exit(0)
        status = os.waitpid(process, 0)[1]
        say(f"ended {point} {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
