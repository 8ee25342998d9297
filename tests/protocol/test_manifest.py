"""Manifest and freshness items."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError
from confsec.protocol import cbor
from confsec.protocol.binding import Mode
from confsec.protocol.manifest import Freshness, Manifest
from confsec.testing import check_any_bytes, check_round_trip


def test_they_round_trip() -> None:
    check_round_trip(Freshness, Freshness(Mode.CHALLENGE, bytes(32)).encode())
    check_round_trip(Manifest, Manifest({"engine": "llama.cpp", "models": [b"\x01"]}).encode())


@pytest.mark.parametrize(
    "item",
    [{}, {"mode": 2, "nonce": bytes(32)}, {"mode": 0, "nonce": bytes(31)}, {"mode": 0, "nonce": bytes(32), "x": 1}],
)
def test_refuses_a_freshness_item_that_is_none(item: dict[str, cbor.CborValue]) -> None:
    with pytest.raises(DecodeError):
        Freshness.decode(cbor.encode(item))


def test_refuses_a_manifest_that_is_none() -> None:
    with pytest.raises(DecodeError, match="map"):
        Manifest.decode(cbor.encode([1]))
    with pytest.raises(LimitError):
        Manifest.decode(cbor.encode({"x": bytes(65_536)}))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    check_any_bytes(Freshness.decode, data)
    check_any_bytes(Manifest.decode, data)
