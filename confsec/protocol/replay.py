"""What a gateway does against replayed requests (RFC 9458, section 6.5).

A request is known by its `enc`, "a high-entropy value that is freshly generated for every request". A gateway remembers
those that it answered for as long as the same bytes would be accepted again: until their key expires or, where clients
send a Date, until that Date is too old. The window forgets nothing before its time; when it is full it refuses.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final, final

from confsec.errors import BusyError, DateError, ReplayError

__all__ = ["MAX_REPLAY_ENTRIES", "ReplayWindow", "verify_date"]

MAX_REPLAY_ENTRIES: Final = 1_000_000
"""How many requests a window remembers unless told otherwise: about 100 MB."""

_SECTION: Final = "RFC 9458, section 6.5"
_DATE_SECTION: Final = "RFC 9458, section 6.5.1"
_MAX_DATE: Final = 64
_MINUTE: Final = timedelta(minutes=1)
_PATIENCE: Final = _MINUTE


@final
class ReplayWindow:
    """The requests that must not be answered again. One for each gateway, shared by its exchanges."""

    def __init__(self, *, capacity: int = MAX_REPLAY_ENTRIES, date_tolerance: timedelta | None = None) -> None:
        """Remember at most `capacity` requests.

        With `date_tolerance`, a request is forgotten once its Date must be too old. Then the gateway has to refuse what
        `verify_date` refuses with the same tolerance and the same `now`, requests without a Date included.
        """
        self._capacity = capacity
        self._date_tolerance = date_tolerance
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._claimed: set[bytes] = set()
        # The same digests by the minute in which they can be forgotten.
        self._expiries: dict[datetime, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._claimed)

    def reserve(self, enc: bytes, *, now: datetime, key_expires: datetime) -> None:
        """Claim `enc`, whose key opens messages until `key_expires`, for the exchange that began at `now`.

        Raises `ReplayError` if it was claimed before, and `BusyError` if the window is full.
        """
        self._latest = max(self._latest, now)
        horizon = self._latest - _PATIENCE
        # Whoever begins an exchange, and sends its header when we have forgotten what he repeats, is too late.
        if now < horizon:
            raise ReplayError("this request took too long to be told from a replay", section=_SECTION)
        self._forget(horizon)
        digest = hashlib.sha256(enc).digest()
        if digest in self._claimed:
            raise ReplayError("this request arrived before", section=_SECTION)
        if len(self._claimed) >= self._capacity:
            raise BusyError("the replay window is full", want=f"at most {self._capacity} requests", section=_SECTION)
        self._claimed.add(digest)
        self._expiries.setdefault(self._expiry(now, key_expires), []).append(digest)

    def _forget(self, horizon: datetime) -> None:
        for expiry in [expiry for expiry in self._expiries if expiry <= horizon]:
            self._claimed.difference_update(self._expiries.pop(expiry))

    def _expiry(self, now: datetime, key_expires: datetime) -> datetime:
        """Return when the same bytes are refused for another reason, rounded up to a minute so that times are few."""
        expiry = key_expires
        if self._date_tolerance is not None:
            # What is accepted now has a Date of at most `now + tolerance`, and is refused from `tolerance` after it on.
            expiry = min(expiry, now + 2 * self._date_tolerance)
        return expiry.replace(second=0, microsecond=0) + _MINUTE


def verify_date(date: str | None, *, now: datetime, tolerance: timedelta) -> None:
    """Check that the Date field of a decrypted request is within `tolerance` of `now` (section 6.5.1).

    The tolerance allows for travel and for clocks, and is no secret. Raises `DateError`: the answer to it is
    encapsulated and has the problem type `PROBLEM_DATE` and the gateway's own Date, by which the client may correct its
    clock (section 6.5.2).
    """
    if date is None:
        raise DateError("the request has no Date", section=_DATE_SECTION)
    if abs(_parse_date(date) - now) > tolerance:
        raise DateError("the Date of the request is not now", want=f"within {tolerance}", section=_DATE_SECTION)


def _parse_date(text: str) -> datetime:
    # Imported here because it takes longer to import than all of this package, and only gateways need it.
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text[:_MAX_DATE])
        # The oldest of HTTP's three forms names no zone, and means UTC as the others do (RFC 9110, section 5.6.7).
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError) as exc:
        raise DateError("the Date of the request is none", section="RFC 9110, section 5.6.7") from exc
