"""Collateral may not go back in time."""

from __future__ import annotations

import pytest

from confsec.errors import EvidenceError, LimitError
from confsec.protocol.newest_seen import NewestSeen


def test_a_lower_number_than_before_is_refused() -> None:
    seen = NewestSeen()
    seen.admit({"a": 7})
    with pytest.raises(EvidenceError, match="goes back in time: a"):
        seen.admit({"b": 2, "a": 6})
    seen.admit({"b": 1})  # nothing of what was refused is remembered


def test_the_same_and_a_higher_number_are_admitted() -> None:
    seen = NewestSeen()
    for number in (7, 7, 8, 8):
        seen.admit({"a": number})


def test_the_memory_is_bounded() -> None:
    seen = NewestSeen()
    seen.admit({str(number): 0 for number in range(4096)})
    seen.admit({"7": 1})
    with pytest.raises(LimitError):
        seen.admit({"one more": 0})
