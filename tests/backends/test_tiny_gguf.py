"""The tiny model: the same bytes everywhere, and a file that is what it says."""

from __future__ import annotations

import hashlib
import stat
import struct
from pathlib import Path

import pytest

from confsec.backends.tiny_gguf import tiny_gguf, write_tiny_gguf

SHA256 = "a55b6c367644894b39a1dcacec7293fcd7056c41998e67998b7da2aea518abd8"


def test_file_has_the_same_bytes_each_time() -> None:
    assert hashlib.sha256(tiny_gguf()).hexdigest() == SHA256


def test_file_is_a_few_hundred_kilobytes_of_gguf_version_3() -> None:
    data = tiny_gguf()
    assert len(data) < 512 * 1024
    magic, version, tensors, entries = struct.unpack_from("<4sIQQ", data)
    assert (magic, version, tensors, entries) == (b"GGUF", 3, 21, 22)


def test_file_is_written_for_its_owner_only_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_gguf(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == tiny_gguf()
    with pytest.raises(FileExistsError):
        write_tiny_gguf(path)
