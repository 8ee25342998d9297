"""Epochs and the beacons that name them."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError
from confsec.protocol.checks import Status
from confsec.protocol.epoch import Epoch


@given(st.integers(0, 99_999_999_999))
def test_a_local_beacon_names_its_epoch(began: int) -> None:
    epoch = Epoch.local(began)
    assert Epoch.from_beacon(epoch.beacon) == epoch
    assert epoch.began.timestamp() == began


@pytest.mark.parametrize(
    "beacon",
    [
        b"",
        b"confsec unsafe local epoch\n01\n",
        b"confsec unsafe local epoch\n1",
        b"confsec unsafe local epoch\n123456789012\n",
        b"x\n1\n",
    ],
)
def test_refuses_a_beacon_of_another_kind(beacon: bytes) -> None:
    with pytest.raises(DecodeError):
        Epoch.from_beacon(beacon)


def test_the_nonce_is_the_hash_of_the_beacon_with_its_label() -> None:
    epoch = Epoch.local(1_893_456_000)
    assert epoch.nonce == sha256(b"confsec epoch v1\x00" + epoch.beacon).digest()


def test_nobody_but_the_operator_dates_a_local_epoch() -> None:
    epoch = Epoch.local(1_893_456_000)
    assert epoch.began == datetime(2030, 1, 1, tzinfo=UTC)
    assert epoch.age_proof.status is Status.SKIP
    assert "2030-01-01 00:00:00 UTC" in epoch.age_proof.why
