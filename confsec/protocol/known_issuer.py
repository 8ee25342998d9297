"""Who signed a COSE message, by the claims in its protected headers (RFC 9597), and whom a reader knows.

The name counts only together with the key: a message says `iss` of itself, and the caller says which key belongs to
it. How the caller learned that is its own matter; nothing is looked up here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from math import isfinite
from typing import Final, Self, final

from attrs import frozen

from confsec.errors import DecodeError, TransparencyError
from confsec.protocol.cbor_general import CborItem, CborKey, as_map
from confsec.protocol.claim_tables import verify_current
from confsec.protocol.cose import CoseSign1, verify_sign1
from confsec.protocol.epoch import CLOCK_DIFFERENCE
from confsec.protocol.signatures import PublicKey

__all__ = ["HEADER_CWT_CLAIMS", "HeaderClaims", "KnownIssuer"]

HEADER_CWT_CLAIMS: Final = 15
"""Claims about the message: `CWT Claims` (RFC 9597, section 2)."""

_ISS, _SUB, _EXP, _NBF = 1, 2, 4, 5
_SECTION: Final = "RFC 8392, section 3.1"


@final
@frozen(kw_only=True)
class HeaderClaims:
    """The claims of a message about itself that are read here. Others are left alone."""

    issuer: str | None = None
    """`iss`: who made it."""

    subject: str | None = None
    """`sub`: what it is about."""

    expires: float | None = None
    """`exp`: from when on it no longer counts, in seconds since 1970."""

    not_before: float | None = None
    """`nbf`: from when on it counts, in seconds since 1970."""

    @classmethod
    def of(cls, headers: Mapping[CborKey, CborItem]) -> Self:
        """Read them from protected headers, where there are any. Raises `DecodeError`."""
        claims = as_map(headers.get(HEADER_CWT_CLAIMS, {}), what="the claims in the headers")
        return cls(
            issuer=_text(claims, _ISS, "iss"),
            subject=_text(claims, _SUB, "sub"),
            expires=_time(claims, _EXP, "exp"),
            not_before=_time(claims, _NBF, "nbf"),
        )

    def verify_current(self, at: datetime) -> None:
        """Check `exp` and `nbf`, where they are, with clocks that may differ a little. Raises `VerificationError`."""
        times = {"exp": self.expires, "nbf": self.not_before}
        present = {name: time for name, time in times.items() if time is not None}
        verify_current(present, now=at, skew=CLOCK_DIFFERENCE)


@final
@frozen
class KnownIssuer:
    """Somebody whose messages the caller believes."""

    issuer: str | None
    """What has to stand in `iss`, to the letter; None for one whose messages name nobody."""

    key: PublicKey
    """The only key of theirs that counts."""

    def require_named(self, claims: HeaderClaims) -> None:
        """Check that a message says it is from here. Raises `TransparencyError`."""
        if claims.issuer != self.issuer:
            raise TransparencyError(
                "a message is of another issuer", got=claims.issuer or "nobody", want=self.issuer or "nobody",
                section=_SECTION,
            )  # fmt: skip

    def verify(
        self,
        message: CoseSign1,
        *,
        detached_payload: bytes | None,
        algorithms: Collection[str],
        understood: Collection[CborKey],
    ) -> bytes:
        """Check the signature, and return the payload. Raises `VerificationError` and `UnsupportedError`."""
        return verify_sign1(
            message, self.key, detached_payload=detached_payload, algorithms=algorithms, understood=understood
        )


def _text(claims: Mapping[CborKey, CborItem], label: int, name: str) -> str | None:
    value = claims.get(label)
    if label in claims and not isinstance(value, str):
        raise DecodeError(f"the claim {name} is no text", section=_SECTION)
    return value if isinstance(value, str) else None


def _time(claims: Mapping[CborKey, CborItem], label: int, name: str) -> float | None:
    if label not in claims:
        return None
    value = claims[label]
    # "The NumericDate MUST NOT be tagged", and of what is no number nobody could say whether it is over.
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise DecodeError(f"the claim {name} is no time", section="RFC 8392, section 2")
    return value
