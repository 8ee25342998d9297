"""`confsec witness`: keys that others can read, and a witness that starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from confsec import cli
from confsec.protocol.note_keys import KeyType, NoteKey, Signer


def test_keys_are_made_once_and_their_public_halves_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys"
    assert cli.run(["witness", "key", "witness.example/w1", "--out", str(file), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    keys = [NoteKey.decode(text) for text in printed["keys"]]
    assert [key.type for key in keys] == [KeyType.ED25519_COSIGNATURE, KeyType.ML_DSA_44_COSIGNATURE]
    assert [Signer.decode(line).key for line in file.read_text().split()] == keys
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert cli.run(["witness", "key", "witness.example/w1", "--out", str(file)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_name_that_no_key_may_have_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["witness", "key", "two words", "--out", str(tmp_path / "keys")]) != 0
    assert "spaces" in capsys.readouterr().err
    assert not (tmp_path / "keys").exists()


def test_the_printed_keys_stand_in_policies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["witness", "key", "witness.example/w1", "--out", str(tmp_path / "keys")]) == 0
    lines = capsys.readouterr().out.split()
    assert [NoteKey.decode(line).name for line in lines] == ["witness.example/w1"] * 2
