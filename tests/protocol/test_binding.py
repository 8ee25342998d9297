"""The binding: to the byte, and a change of anything changes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import LocalProtocolError
from confsec.protocol.binding import Binding, Mode, challenge_nonce, epoch_nonce
from tests.vectors import make_binding_vectors

CASES = json.loads(make_binding_vectors.FILE.read_text(encoding="utf-8"))["cases"]
BINDING = Binding(mode=Mode.EPOCH, nonce=bytes(32), key_config=b"key", manifest=b"manifest", ak=b"ak")


def test_the_vectors_are_what_the_specification_gives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(make_binding_vectors, "FILE", tmp_path / "binding.json")
    make_binding_vectors.main()
    assert json.loads((tmp_path / "binding.json").read_text())["cases"] == CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_the_binding_is_that_of_the_vectors(case: dict[str, str]) -> None:
    mode = Mode(int(case["binding_mode"], 16))
    source = bytes.fromhex(case["beacon"] if mode is Mode.EPOCH else case["challenge"])
    nonce = (epoch_nonce if mode is Mode.EPOCH else challenge_nonce)(source)
    assert nonce.hex() == case["nonce"]
    binding = Binding(
        mode=mode,
        nonce=nonce,
        key_config=bytes.fromhex(case["key_config"]),
        manifest=bytes.fromhex(case["manifest"]),
        ak=bytes.fromhex(case["ak"]) or None,
    )
    assert binding.value.hex() == case["report_data"]
    assert binding.qualifying_data.hex() == case["qualifying_data"]


@given(st.binary(max_size=40), st.binary(min_size=32, max_size=32))
def test_a_change_of_anything_is_another_binding(data: bytes, nonce: bytes) -> None:
    changed = [
        evolve(BINDING, mode=Mode.CHALLENGE),
        evolve(BINDING, nonce=nonce),
        evolve(BINDING, key_config=data),
        evolve(BINDING, manifest=data),
        evolve(BINDING, ak=data),
        evolve(BINDING, ak=None),
    ]
    for each in changed:
        assert (each.value == BINDING.value) == (each == BINDING)


@pytest.mark.parametrize("size", [0, 7, 65])
def test_a_challenge_has_8_to_64_bytes(size: int) -> None:
    with pytest.raises(LocalProtocolError, match="8 to 64"):
        challenge_nonce(bytes(size))


def test_a_nonce_has_32_bytes() -> None:
    with pytest.raises(LocalProtocolError, match="nonce"):
        evolve(BINDING, nonce=b"short")
