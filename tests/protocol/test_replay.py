"""Replayed requests, and requests from another time (RFC 9458, section 6.5)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from confsec.errors import BusyError, DateError, ReplayError
from confsec.protocol.replay import ReplayWindow, verify_date
from confsec.testing import EPOCH, check_any_bytes

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def test_second_arrival_is_refused() -> None:
    window = ReplayWindow()
    window.reserve(b"a", now=EPOCH, key_expires=EPOCH + HOUR)
    window.reserve(b"b", now=EPOCH, key_expires=EPOCH + HOUR)
    for enc in (b"a", b"b"):
        with pytest.raises(ReplayError, match="this request arrived before"):
            window.reserve(enc, now=EPOCH + MINUTE, key_expires=EPOCH + 2 * HOUR)


def test_request_is_remembered_as_long_as_its_key_opens_it() -> None:
    window = ReplayWindow()
    expires = EPOCH + HOUR + timedelta(seconds=30)
    window.reserve(b"a", now=EPOCH, key_expires=expires)
    with pytest.raises(ReplayError):
        window.reserve(b"a", now=expires - timedelta(microseconds=1), key_expires=expires)
    assert len(window) == 1
    window.reserve(b"b", now=expires + 2 * MINUTE, key_expires=expires + HOUR)
    assert len(window) == 1


def test_request_with_a_date_is_remembered_until_its_date_is_too_old() -> None:
    window = ReplayWindow(date_tolerance=5 * MINUTE)
    window.reserve(b"a", now=EPOCH, key_expires=EPOCH + HOUR)
    # A Date of 5 minutes ahead is accepted at EPOCH, and still 10 minutes later.
    with pytest.raises(ReplayError):
        window.reserve(b"a", now=EPOCH + 10 * MINUTE, key_expires=EPOCH + HOUR)
    window.reserve(b"b", now=EPOCH + 12 * MINUTE, key_expires=EPOCH + HOUR)
    assert len(window) == 1


def test_date_does_not_outlive_the_key() -> None:
    window = ReplayWindow(date_tolerance=HOUR)
    window.reserve(b"a", now=EPOCH, key_expires=EPOCH + MINUTE)
    window.reserve(b"b", now=EPOCH + 3 * MINUTE, key_expires=EPOCH + HOUR)
    assert len(window) == 1


def test_nothing_is_forgotten_that_a_slow_exchange_could_repeat() -> None:
    window = ReplayWindow()
    expires = EPOCH + HOUR
    window.reserve(b"a", now=EPOCH, key_expires=expires)
    window.reserve(b"b", now=expires + MINUTE, key_expires=expires + HOUR)
    with pytest.raises(ReplayError, match="arrived before"):
        window.reserve(b"a", now=expires + MINUTE / 60, key_expires=expires)
    window.reserve(b"c", now=expires + 2 * MINUTE, key_expires=expires + HOUR)
    with pytest.raises(ReplayError, match="took too long"):
        window.reserve(b"a", now=expires - MINUTE / 60, key_expires=expires)


def test_exchange_that_began_too_long_ago_is_refused() -> None:
    window = ReplayWindow()
    window.reserve(b"a", now=EPOCH + HOUR, key_expires=EPOCH + 2 * HOUR)
    window.reserve(b"b", now=EPOCH + HOUR - MINUTE, key_expires=EPOCH + 2 * HOUR)
    with pytest.raises(ReplayError, match="too long to be told from a replay"):
        window.reserve(b"c", now=EPOCH + HOUR - MINUTE - MINUTE / 60, key_expires=EPOCH + 2 * HOUR)


def test_full_window_refuses_and_forgets_nothing() -> None:
    window = ReplayWindow(capacity=2)
    for enc in (b"a", b"b"):
        window.reserve(enc, now=EPOCH, key_expires=EPOCH + HOUR)
    with pytest.raises(BusyError, match="at most 2 requests"):
        window.reserve(b"c", now=EPOCH, key_expires=EPOCH + HOUR)
    with pytest.raises(ReplayError):
        window.reserve(b"a", now=EPOCH, key_expires=EPOCH + HOUR)
    window.reserve(b"c", now=EPOCH + HOUR + 2 * MINUTE, key_expires=EPOCH + 2 * HOUR)


@pytest.mark.parametrize(
    "date", ["Tue, 01 Jan 2030 00:00:00 GMT", "Tuesday, 01-Jan-30 00:00:00 GMT", "Tue Jan  1 00:00:00 2030"]
)
def test_dates_in_all_forms_of_http_are_read(date: str) -> None:
    for offset in (-MINUTE, timedelta(0), MINUTE):
        verify_date(date, now=EPOCH + offset, tolerance=MINUTE)
    for offset in (-MINUTE - timedelta(seconds=1), MINUTE + timedelta(seconds=1)):
        with pytest.raises(DateError, match="not now"):
            verify_date(date, now=EPOCH + offset, tolerance=MINUTE)


def test_request_without_a_date_is_refused_where_dates_are_asked_for() -> None:
    with pytest.raises(DateError, match="has no Date"):
        verify_date(None, now=EPOCH, tolerance=MINUTE)


@pytest.mark.parametrize("date", ["", "now", "Tue, 01 Jan 2030 00:00:00 +9999", "Tue, 99 Jan 2030 00:00:00 GMT"])
def test_what_is_no_date_is_refused(date: str) -> None:
    with pytest.raises(DateError, match="is none"):
        verify_date(date, now=EPOCH, tolerance=MINUTE)


@given(st.text(max_size=80))
def test_any_date_is_accepted_or_refused(date: str) -> None:
    check_any_bytes(lambda data: verify_date(data.decode(), now=EPOCH, tolerance=MINUTE), date.encode())
