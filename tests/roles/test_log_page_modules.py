"""The modules of the log's page, run by Node: against published vectors, and against trees that Python made."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from confsec.protocol.merkle import CompactRange
from confsec.protocol.tiles import TileTree, new_tiles
from confsec.roles.log_page import PAGE_FILES, page_file
from tests.roles.log_folder import FolderLog, make_statement
from tests.support import ROOT, require_or_skip

LARGE = 273 * 256 + 112
CASES = {"accept": 26, "refuse": 373, "degenerate": 3, "all": 402}
"""All proofs among the vectors. Three have roots that are no hashes: others accept them, we do not."""


def make_small(folder: Path) -> None:
    log = FolderLog(folder)
    log.append(*(make_statement(f"release.example/{at}", issued=datetime.now(UTC)) for at in range(300)))
    log.append(b"plain text entry", b"\x00\x01\xff")
    log.publish()


def make_large(folder: Path) -> dict[str, object]:
    """Write the tiles of a tree of some levels, without entries, and return proofs of it."""
    leaves = [sha256(b"%d" % at).digest() for at in range(LARGE)]
    tiles = new_tiles(0, {}, leaves)
    for tile, data in tiles.items():
        (folder / tile.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / tile.path).write_bytes(data)
    root = CompactRange().append(*leaves).root
    tree = TileTree(LARGE, root, tiles)
    indices = [0, 1, 255, 256, 65_535, 65_536, 69_887, 69_888, LARGE - 2, LARGE - 1]
    older = [0, 1, 3, 255, 256, 257, 65_535, 65_536, 65_537, 69_888, LARGE - 1, LARGE]
    return {
        "size": LARGE,
        "root": root.hex(),
        "leaves": {at: leaves[at].hex() for at in indices},
        "proofs": {at: [each.hex() for each in tree.inclusion_proof(at)] for at in indices},
        "older": [(size, CompactRange().append(*leaves[:size]).root.hex()) for size in older],
    }


def test_modules_do_what_the_standards_say(tmp_path: Path, shared_vectors: Path) -> None:
    node = shutil.which("node")
    if node is None:
        require_or_skip("node is not installed")
    for name in PAGE_FILES:
        found = page_file(name)
        assert found is not None
        (tmp_path / name).write_bytes(found[1])
    (tmp_path / "package.json").write_text('{"type": "module"}')
    tests = (ROOT / "tests" / "roles" / "log_page.test.mjs").read_text(encoding="utf-8")
    (tmp_path / "log_page.test.mjs").write_text(tests, encoding="utf-8")
    make_small(tmp_path / "small")
    (tmp_path / "large.json").write_text(json.dumps(make_large(tmp_path / "large")))
    env = {**os.environ, "VECTORS": str(shared_vectors), "LOG": str(tmp_path), "CASES": json.dumps(CASES)}
    command = [str(node), "--test", "--test-reporter=tap", "log_page.test.mjs"]
    finished = subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=110)
    assert finished.returncode == 0, finished.stdout[-6000:]
    count = re.findall(r"^# (tests|pass|fail|skipped|todo) (\d+)$", finished.stdout, re.MULTILINE)
    assert {name: int(number) for name, number in count} == {
        "tests": tests.count("\ntest("), "pass": tests.count("\ntest("), "fail": 0, "skipped": 0, "todo": 0,
    }  # fmt: skip
