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
from confsec.protocol import statement_rules
from confsec.protocol.statement import encode_canonical
from confsec.protocol.statement_policy import StatementPolicy, claimed_type

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
    """The policy of a log. What it says of an entry it has from what the policy verified, and from nothing else."""

    def __init__(self, policy: StatementPolicy) -> None:
        """Admit what `policy` believes."""
        self._policy: Final = policy

    @property
    def rules(self) -> bytes:
        """SHA-256 of what `identify` goes by. Raises `ConfigError` for a policy that no file can say."""
        return sha256(statement_rules.to_toml(self._policy).encode()).digest()

    def verify(self, entry: bytes, *, at: datetime) -> None:
        """Check that the policy believes an entry at this time.

        Raises `DecodeError` for what is no statement, `VerificationError` if too few of the signers signed it, and
        `TransparencyError` for one that does not count.
        """
        self._policy.verify(entry, predicate_type=claimed_type(entry), at=at)

    def identify(self, entry: bytes) -> StatementIdentity | None:
        """Return what tells a statement apart, whether it has ended or not.

        None for an entry that the policy does not believe, as another policy may have let it in: what is older than
        it, or the same, nobody could append, or it is no worse than without it.
        """
        try:
            verified = self._policy.verify_as_issued(entry)
        except ConfsecError:
            return None
        names = [verified.statement.predicate_type, *verified.names]
        subject = sha256(encode_canonical([*names])).digest() if verified.newest_only else b""
        return StatementIdentity(verified.statement.digest, int(verified.predicate.issued.timestamp()), subject)
