"""Drawing without a bias."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, strategies as st

from confsec.protocol.draw import draw, draw_index
from confsec.testing import seeded_randbytes


@given(st.lists(st.integers(), unique=True, max_size=20), st.integers(0, 25), st.text(max_size=8))
def test_draws_different_items_that_were_there(items: list[int], count: int, seed: str) -> None:
    drawn = draw(items, count, seeded_randbytes(seed))
    assert len(drawn) == min(count, len(items)) == len(set(drawn))
    assert set(drawn) <= set(items)


def test_every_item_is_about_equally_likely_at_every_place() -> None:
    randbytes = seeded_randbytes("many draws")
    places = [Counter[int]() for _ in range(3)]
    for _ in range(6000):
        for place, item in enumerate(draw(range(10), 3, randbytes)):
            places[place][item] += 1
    # The chance that one of 30 counts, each of mean 600 and deviation 23, lies this far out is below 1 in 10^5.
    assert all(480 < count < 720 for place in places for count in place.values())


def test_a_number_that_would_favour_small_ones_is_drawn_again() -> None:
    numbers = iter([b"\xff" * 8, (7).to_bytes(8, "big")])
    assert draw_index(5, lambda _size: next(numbers)) == 2
