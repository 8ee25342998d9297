"""Problem details (RFC 9457), as the roles and the client use them inside an encapsulation.

Every error of ours has a stable `code`; a problem carries it, so that the client raises the class that the role raised.
"""

from __future__ import annotations

import json
from typing import Final, Literal, Self

from attrs import frozen

from confsec.errors import (
    AccountError,
    AccountRevokedError,
    BusyError,
    ConfsecError,
    DeadlineError,
    PeerError,
    QuotaError,
    RateLimitError,
    ReplayError,
    RequestIdError,
    StateChangedError,
    TokenChallengeError,
    TokenEpochError,
    TokenKeyError,
    TokenMissingError,
    TokenOriginError,
    TokenSignatureError,
    TokenSpentError,
    TokenTypeError,
    UnknownKeyError,
)

__all__ = ["MAX_PROBLEM", "PROBLEM_TYPE", "Problem", "TokenState"]

PROBLEM_TYPE: Final = "application/problem+json"
"""The media type of a problem."""

MAX_PROBLEM: Final = 65_536
"""A problem has at most 64 KiB."""

TokenState = Literal["spent", "not_spent"]
"""What became of the token that came with the request."""

_SECTION: Final = "RFC 9457, section 3"
_RAISED_AS_THEY_ARE: Final = (
    UnknownKeyError,
    ReplayError,
    BusyError,
    StateChangedError,
    RateLimitError,
    DeadlineError,
    AccountError,
    AccountRevokedError,
    QuotaError,
    RequestIdError,
    TokenMissingError,
    TokenTypeError,
    TokenChallengeError,
    TokenOriginError,
    TokenKeyError,
    TokenEpochError,
    TokenSignatureError,
    TokenSpentError,
)


@frozen(kw_only=True)
class Problem:
    """Why a role did not answer a request."""

    status: int
    """The HTTP status of the answer that carried the problem."""

    code: str
    """The stable code of the error: `ConfsecError.code`, or empty if the sender has none."""

    title: str
    """A sentence for people. Names what was wrong, never what was in the request."""

    token_state: TokenState | None = None
    """Set where a token was sent."""

    @classmethod
    def of(cls, error: ConfsecError, *, token_state: TokenState | None = None) -> Self:
        """Describe an error of ours."""
        return cls(status=error.status_hint, code=error.code, title=error.what, token_state=token_state)

    @classmethod
    def decode(cls, data: bytes, *, status: int) -> Self:
        """Read the body of an answer with `status`. Members that we do not know are ignored.

        A body that is no problem, a page of some server in the middle say, is a problem without code and title.
        """
        try:
            value = json.loads(data.decode("utf-8")) if len(data) <= MAX_PROBLEM else None
        except (ValueError, RecursionError):
            value = None
        members = value if isinstance(value, dict) else {}
        code, title, state = members.get("code"), members.get("title"), members.get("token_state")
        return cls(
            status=status,
            code=code if isinstance(code, str) else "",
            title=title if isinstance(title, str) else "",
            token_state=state if state in {"spent", "not_spent"} else None,
        )

    def encode(self) -> bytes:
        """Write the body of the answer."""
        members: dict[str, object] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        if self.token_state is not None:
            members["token_state"] = self.token_state
        return json.dumps(members).encode()

    def to_error(self, who: str) -> ConfsecError:
        """Return the error to raise at the client. `who` names the role that answered."""
        error = self._error(who)
        error.token_state = self.token_state
        return error

    def _error(self, who: str) -> ConfsecError:
        for error in _RAISED_AS_THEY_ARE:
            if error.code == self.code:
                return error(f"{who} refused: {self.title}", section=_SECTION)
        what = f"{who} refused: {self.title}" if self.title else f"{who} refused"
        return PeerError(what, status=self.status, peer_code=self.code)
