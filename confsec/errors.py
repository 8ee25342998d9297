"""What can go wrong, as one tree.

::

    ConfsecError
    ├── LocalProtocolError       we asked for a step that is not allowed now: a bug in the caller
    ├── RemoteProtocolError      the peer's bytes break the specification
    │   ├── DecodeError          a value that is no encoding of anything
    │   │   ├── TruncatedError   the bytes end too early
    │   │   └── LimitError       larger than we are willing to read
    │   ├── DecryptionError      never says why
    │   ├── UnknownKeyError      sealed to a key that is not (or no longer) here
    │   ├── ReplayError          the same encapsulation a second time
    │   ├── DateError            a request from another time
    │   ├── NotAllowedError      a method and path that nobody serves here
    │   ├── RequestIdError       another request came under this id before
    │   └── PeerError            the peer answered with a problem of its own (RFC 9457)
    ├── VerificationError        well-formed, not trusted
    │   ├── EvidenceError        evidence that does not show what it should show
    │   ├── PolicyError          good evidence of something that is not accepted
    │   │   └── AppraisalError   … with every check, what was expected and what was found
    │   ├── TokenError
    │   │   ├── TokenMissingError
    │   │   ├── TokenTypeError
    │   │   ├── TokenChallengeError    answers another challenge
    │   │   │   └── TokenOriginError   answers the challenge of another origin
    │   │   ├── TokenKeyError          signed by a key that we do not know
    │   │   │   └── TokenEpochError    … or whose time is over, or has not come
    │   │   ├── TokenSignatureError
    │   │   └── TokenSpentError
    │   ├── AccountError         no account, or not its key
    │   │   ├── AccountRevokedError
    │   │   └── QuotaError       the account had all that it may have in this epoch
    │   ├── TransparencyError
    │   │   ├── UnknownLogError        of a log that nobody here follows
    │   │   ├── UnsignedError          signed by no key of its log
    │   │   ├── InconsistentError      the log did not only grow
    │   │   └── ConflictError          the witness remembers another tree
    │   └── ProofError
    ├── UnsupportedError         an algorithm, version or feature that we do not have
    ├── ConfigError              a setting or an argument that cannot be used
    ├── MissingExtraError        a package that an optional part needs is not installed
    ├── BackendError             a store, an engine or a device failed
    │   ├── EngineError
    │   ├── StateChangedError    the machine is no longer what its evidence says
    │   └── BusyError            full or draining: try again later
    │       └── RateLimitError   too much at once from this account
    └── TransportError           bytes could not travel
        ├── ConnectError
        ├── DisconnectedError    the peer went away in the middle
        └── DeadlineError        the time we allow has passed

The class builds the sentence from its fields: what is wrong, what we got, what we want, and where the
standard says so. Fields hold identifiers and sizes, never contents, keys or secrets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, Protocol, final

__all__ = [
    "AccountError",
    "AccountRevokedError",
    "AppraisalError",
    "BackendError",
    "BusyError",
    "CheckLike",
    "ConfigError",
    "ConflictError",
    "ConfsecError",
    "ConnectError",
    "DateError",
    "DeadlineError",
    "DecodeError",
    "DecryptionError",
    "DisconnectedError",
    "EngineError",
    "EvidenceError",
    "ForkedLogError",
    "InconsistentError",
    "LimitError",
    "LocalProtocolError",
    "MissingExtraError",
    "NotAllowedError",
    "PeerError",
    "PolicyError",
    "ProofError",
    "QuotaError",
    "RateLimitError",
    "RemoteProtocolError",
    "ReplayError",
    "RequestIdError",
    "RolledBackLogError",
    "StaleLogError",
    "StateChangedError",
    "TokenChallengeError",
    "TokenEpochError",
    "TokenError",
    "TokenKeyError",
    "TokenMissingError",
    "TokenOriginError",
    "TokenSignatureError",
    "TokenSpentError",
    "TokenTypeError",
    "TransparencyError",
    "TransportError",
    "TruncatedError",
    "UncosignedError",
    "UnknownKeyError",
    "UnknownLogError",
    "UnsignedError",
    "UnsupportedError",
    "VerificationError",
]


class ConfsecError(Exception):
    """The root of everything that confsec raises on purpose."""

    code: ClassVar[str] = "error"
    """Stable, for logs, metrics and conformance: a lower-case word."""

    token_state: str | None = None
    """What became of the token that was sent, `spent` or `not_spent`, if a peer's answer said so."""

    status_hint: ClassVar[int] = 500
    """The HTTP status that fits best when a server has to answer with this error."""

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        want: object = None,
        section: str = "",
        hint: str = "",
    ) -> None:
        """Describe the error.

        `what` names the thing that is wrong, `got` and `want` are identifiers or sizes, `section` says where the
        rule stands ("RFC 9458, section 3.1"), and `hint` tells the reader what to do next.
        """
        super().__init__(what)
        self.what = what
        self.got = got
        self.want = want
        self.section = section
        self.hint = hint

    def __str__(self) -> str:
        sentence = self.what
        if self.got is not None:
            sentence += f": got {self.got}"
        if self.want is not None:
            sentence += f"{',' if self.got is not None else ':'} want {self.want}"
        if self.section:
            sentence += f" ({self.section})"
        if self.hint:
            sentence += f". {self.hint}"
        return sentence


class LocalProtocolError(ConfsecError):
    """A step that is not allowed now, or a value that may not be sent: a bug in the caller."""

    code = "local_protocol"


class RemoteProtocolError(ConfsecError):
    """The peer's bytes break the specification."""

    code = "remote_protocol"
    status_hint = 400


class DecodeError(RemoteProtocolError):
    """These bytes are no encoding of the value that was expected."""

    code = "decode"


@final
class TruncatedError(DecodeError):
    """The bytes end before the value does."""

    code = "truncated"


@final
class LimitError(DecodeError):
    """The value is larger, longer or more numerous than we are willing to read."""

    code = "limit"
    status_hint = 413


@final
class DecryptionError(RemoteProtocolError):
    """The ciphertext does not open. Never says why: the reason would be an oracle."""

    code = "decryption"


@final
class UnknownKeyError(RemoteProtocolError):
    """The message is sealed to a key that is not, or no longer, here: fetch the newest one and seal anew."""

    code = "unknown_key"
    status_hint = 422


@final
class ReplayError(RemoteProtocolError):
    """The same encapsulation arrived a second time (RFC 9458, section 6.5)."""

    code = "replay"
    status_hint = 409


@final
class DateError(RemoteProtocolError):
    """The Date of a request is too far from ours: one of the clocks is wrong (RFC 9458, section 6.5.2)."""

    code = "date"
    status_hint = 400


@final
class NotAllowedError(RemoteProtocolError):
    """A method and path that are on no allow-list. `got` shows them only if they are short and printable."""

    code = "not_allowed"
    status_hint = 404


@final
class RequestIdError(RemoteProtocolError):
    """Another request came under this id before: an id is for one request, and for its repetitions."""

    code = "request_id"
    status_hint = 409


class PeerError(RemoteProtocolError):
    """The peer answered with a problem of its own (RFC 9457).

    `status` is the HTTP status, `peer_code` the peer's stable `code` member or the empty string.
    """

    code = "peer"
    status_hint = 502

    def __init__(
        self, what: str, *, status: int, peer_code: str = "", section: str = "RFC 9457", hint: str = ""
    ) -> None:
        super().__init__(
            what, got=f"status {status}" + (f" {peer_code}" if peer_code else ""), section=section, hint=hint
        )
        self.status = status
        self.peer_code = peer_code


class VerificationError(ConfsecError):
    """Well-formed, and not trusted."""

    code = "verification"
    status_hint = 403


class EvidenceError(VerificationError):
    """Evidence that does not show what it should show."""

    code = "evidence"


class PolicyError(VerificationError):
    """Good evidence of something that the policy does not accept."""

    code = "policy"


class CheckLike(Protocol):
    """A check as `AppraisalError` lists it (`confsec.protocol.checks.Check` is one)."""

    @property
    def id(self) -> str:
        """The stable id."""
        ...

    @property
    def section(self) -> str:
        """Where the rule stands."""
        ...

    @property
    def why(self) -> str:
        """What came of it, as a sentence."""
        ...

    @property
    def want(self) -> str:
        """What was expected, or nothing."""
        ...

    @property
    def got(self) -> str:
        """What was found, or nothing."""
        ...


@final
class AppraisalError(PolicyError):
    """An appraisal that ended in refusal. `checks` are all checks that were made, `refused` those that refuse."""

    code = "appraisal"

    def __init__(
        self,
        what: str,
        *,
        checks: Sequence[CheckLike],
        refused: Sequence[CheckLike],
        decisive: Sequence[CheckLike],
        hint: str = "",
    ) -> None:
        """Describe the refusal. The sentence names the `decisive` checks: the others follow from them."""
        super().__init__(what, got="; ".join(map(_check_line, decisive)), hint=hint)
        self.checks: Final = tuple(checks)
        self.refused: Final = tuple(refused)
        self.decisive: Final = tuple(decisive)

    @property
    def codes(self) -> tuple[str, ...]:
        """The ids of the decisive checks."""
        return tuple(check.id for check in self.decisive)


def _check_line(check: CheckLike) -> str:
    """Say in one line what a check wanted and found."""
    compared = [f"{name} {value}" for name, value in (("got", check.got), ("want", check.want)) if value]
    return f"{check.id}: {check.why}" + (f" ({', '.join(compared)})" if compared else "")


class TokenError(VerificationError):
    """A token that does not pay."""

    code = "token"
    status_hint = 401


@final
class TokenMissingError(TokenError):
    """No token where one is needed: answer the challenge that comes with this error."""

    code = "token_missing"


@final
class TokenTypeError(TokenError):
    """A token of a type that is not taken here."""

    code = "token_type"


class TokenChallengeError(TokenError):
    """A token that answers another challenge than those of this verifier."""

    code = "token_challenge"


@final
class TokenOriginError(TokenChallengeError):
    """A token that answers the challenge of another origin."""

    code = "token_origin"


class TokenKeyError(TokenError):
    """A token key that nobody knows here, or that may not be used as one."""

    code = "token_key"


@final
class TokenEpochError(TokenKeyError):
    """A token key whose time is over or has not come: fetch tokens of the current epoch."""

    code = "token_epoch"


@final
class TokenSignatureError(TokenError):
    """A signature that does not verify."""

    code = "token_signature"


@final
class TokenSpentError(TokenError):
    """A token that was spent, or that was sent with another request before."""

    code = "token_spent"
    status_hint = 409


class AccountError(VerificationError):
    """No account, or not its key. Never says which of the two."""

    code = "account"
    status_hint = 401


@final
class AccountRevokedError(AccountError):
    """An account that the operator has closed."""

    code = "account_revoked"
    status_hint = 403


@final
class QuotaError(AccountError):
    """The account had all the tokens that it may have in this epoch."""

    code = "quota"
    status_hint = 429


class TransparencyError(VerificationError):
    """A statement that the log does not prove."""

    code = "transparency"


class UncosignedError(TransparencyError):
    """A checkpoint that its log signed, and no quorum of witnesses."""

    code = "log_uncosigned"


class StaleLogError(TransparencyError):
    """A checkpoint that the witnesses last stood by too long ago."""

    code = "log_stale"


class RolledBackLogError(TransparencyError):
    """A checkpoint that is older than one that was seen."""

    code = "log_rolled_back"


class ForkedLogError(TransparencyError):
    """A checkpoint of a tree that does not begin with one that was seen: both are signed, so this can be shown."""

    code = "log_forked"

    proof: tuple[bytes, ...] = ()
    """What leads from the newer checkpoint's root to another old root than the one that was seen, where there is it."""


class UnknownLogError(TransparencyError):
    """A checkpoint of a log that this witness does not follow."""

    code = "unknown_log"
    status_hint = 404


class UnsignedError(TransparencyError):
    """A checkpoint that none of its log's known keys signed."""

    code = "unsigned_checkpoint"
    status_hint = 403


class InconsistentError(TransparencyError):
    """A checkpoint whose proof does not show that the log only grew."""

    code = "inconsistent"
    status_hint = 422


class ConflictError(TransparencyError):
    """A request that begins at another tree than the witness remembers."""

    code = "conflict"
    status_hint = 409

    def __init__(self, size: int, *, section: str = "") -> None:
        super().__init__("the witness remembers another tree", got=f"{size} entries", section=section)
        self.size: Final = size
        """How many entries the tree has that the witness cosigned last."""


class ProofError(VerificationError):
    """A Proof whose recorded checks do not replay to what it records."""

    code = "proof"


class UnsupportedError(ConfsecError):
    """An algorithm, version or feature that we do not have."""

    code = "unsupported"
    status_hint = 501


class ConfigError(ConfsecError):
    """A setting, a file or an argument that cannot be used. The command line exits with 2."""

    code = "config"


class MissingExtraError(ConfigError):
    """An optional part is needed and not installed. The hint is the line to type."""

    code = "missing_extra"

    def __init__(self, package: str, *, extra: str, before: str = "") -> None:
        """Name the package and the extra that brings it; `before` is a command that has to come first, if one has."""
        super().__init__(
            f"this needs the package {package}, which is not installed",
            hint=f"Type: {before}{' && ' if before else ''}pip install 'confsec-protocol[{extra}]'",
        )
        self.package = package
        self.extra = extra


class BackendError(ConfsecError):
    """A store, an engine or a device failed."""

    code = "backend"
    status_hint = 502


class EngineError(BackendError):
    """The inference engine did not answer as it should."""

    code = "engine"


class StateChangedError(BackendError):
    """A key does not open any more, since the machine is no longer what its evidence said. Nothing was read."""

    code = "state_changed"
    status_hint = 503


class BusyError(BackendError):
    """Full or draining. Nothing was done; try again later."""

    code = "busy"
    status_hint = 503


@final
class RateLimitError(BusyError):
    """Too much at once from one account. Nothing was done; try again later."""

    code = "rate_limit"
    status_hint = 429


class TransportError(ConfsecError):
    """Bytes could not travel."""

    code = "transport"
    status_hint = 502


class ConnectError(TransportError):
    """No connection could be made, so the peer saw nothing."""

    code = "connect"


class DisconnectedError(TransportError):
    """The peer went away in the middle of an exchange."""

    code = "disconnected"


class DeadlineError(TransportError):
    """The time that we allow has passed."""

    code = "deadline"
    status_hint = 504
