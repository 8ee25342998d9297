"""A log that is killed loses nothing that it acknowledged, and never shows two trees of one size."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from confsec.backends.log_storage import FolderStorage
from confsec.backends.log_tiles import entries
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.log_growth import LogCommit
from confsec.protocol.merkle import CompactRange, leaf_hash
from confsec.protocol.note import SignedNote
from tests.backends import log_program

PROGRAM = Path(log_program.__file__)


def all_entries(folder: Path) -> list[bytes]:
    """Return what the log has, by its newest commit, which its files lead to."""
    storage = FolderStorage(folder / "log")
    file = storage.get("commit")
    assert file is not None
    note = SignedNote.decode(LogCommit.decode(file.data).checkpoint)
    note.verify([log_program.SIGNER.key])
    checkpoint = Checkpoint.decode(note.text)
    found = [
        each for index in range((checkpoint.size + 255) // 256) for each in entries(storage, index, checkpoint.size)
    ]
    assert CompactRange().append(*map(leaf_hash, found)).root == checkpoint.root
    return found


def check(folder: Path, output: str) -> dict[str, list[str]]:
    """Hold what was seen and acknowledged, in any of the lives of the log, against what it has now."""
    said = defaultdict[str, list[str]](list)
    for line in output.splitlines():
        said[line.partition(" ")[0]].append(line)
    found = all_entries(folder)
    for line in said["acknowledged"]:
        _, index, entry = line.split()
        assert found[int(index)] == entry.encode()
    assert len(found) == len(set(found))
    seen = {int(size): root for _, size, root in map(str.split, said["saw"])}
    assert len({tuple(line.split()) for line in said["saw"]}) == len(seen), "two trees of one size"
    tree = CompactRange()
    for size in sorted(seen):
        tree = tree.append(*map(leaf_hash, found[tree.size : size]))
        assert seen[size] == tree.root.hex()
    return said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_every_write_it_keeps_its_word(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path), "1", "48"]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    said = check(tmp_path, finished.stdout)
    statuses = [int(line.split()[2]) for line in said["ended"]]
    assert statuses.pop() == 0
    assert statuses.count(-signal.SIGKILL) > 40  # the last points may lie behind the end of the work
    assert set(statuses) <= {0, -signal.SIGKILL}
    assert finished.stderr == ""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_from_outside_at_any_time_it_keeps_its_word(tmp_path: Path) -> None:
    output = ""
    for number in range(6):
        command = [sys.executable, str(PROGRAM), str(tmp_path), str(1000 + number), str(1000 + number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(0.004 * number)
            os.killpg(process.pid, signal.SIGKILL)
            output += (first + process.stdout.read()).decode()
    finished = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), "1", "0"], check=True, capture_output=True, text=True
    )
    assert "ended 0 0" in finished.stdout
    check(tmp_path, output + finished.stdout)
