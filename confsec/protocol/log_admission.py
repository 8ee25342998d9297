"""What a log of statements takes: what its policy believes, once, and nothing that is older than what it has.

Nobody signs the envelope of a statement, so anyone could write the same statement in another spelling and append it
once more; and in a state log an old statement would become the newest leaf. So a log knows statements by what was
signed, and of those of which only the newest counts it takes none that is older.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Final, final

from attrs import field, frozen

from confsec.errors import ConfsecError, TransparencyError
from confsec.protocol.predicates import read_predicate
from confsec.protocol.sigstore import read_envelope
from confsec.protocol.statement import Statement, encode_canonical
from confsec.protocol.statement_policy import StatementPolicy

__all__ = ["AlreadyLoggedError", "LogAdmission", "StatementIdentity"]


@final
class AlreadyLoggedError(TransparencyError):
    """The log has this statement, in another envelope, or one that replaces it."""

    code = "already_logged"
    status_hint = 409


@final
@frozen
class StatementIdentity:
    """What a log tells statements apart by."""

    digest: bytes
    """SHA-256 of what was signed."""

    issued: int
    """When, in seconds since 1970."""

    subject: bytes = field(default=b"")
    """SHA-256 of its type and the names of its subjects, if only the newest about them counts; else nothing."""


@final
class LogAdmission:
    """The policy of a log. It judges an entry when it comes; what the log has is not judged again."""

    def __init__(self, policy: StatementPolicy) -> None:
        """Admit what `policy` believes."""
        self._policy: Final = policy

    def verify(self, entry: bytes, *, at: datetime) -> None:
        """Check that the policy believes an entry at this time.

        Raises `DecodeError` for what is no statement, `VerificationError` if too few of the signers signed it, and
        `TransparencyError` for one that does not count.
        """
        predicate_type = Statement.decode(read_envelope(entry).payload).predicate_type
        self._policy.verify(entry, predicate_type=predicate_type, at=at)

    def identify(self, entry: bytes) -> StatementIdentity | None:
        """Return what tells a statement apart; None for an entry that is none, as another policy may have let it in."""
        try:
            statement = Statement.decode(read_envelope(entry).payload)
            issued = read_predicate(statement).issued
        except ConfsecError:
            return None
        rule = self._policy.rules.get(statement.predicate_type)
        names = [statement.predicate_type, *(subject.name for subject in statement.subjects)]
        subject = sha256(encode_canonical([*names])).digest() if rule is not None and rule.newest_only else b""
        return StatementIdentity(statement.digest, int(issued.timestamp()), subject)
