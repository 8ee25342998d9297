"""Which statements are believed: signed by whom, how old, not revoked, and never older than what was seen.

Nothing here has a permissive default. `StatementPolicy.verify` makes `VerifiedStatement`s, and nothing else does.
Whether a statement is in a log is asked after that, and only then `LatestStatements` (`latest_statements.py`) remembers
it: what the log does not prove would else shut out what is true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Self, TypeAlias, final

from attrs import evolve, field, frozen

from confsec.errors import ConfigError, LocalProtocolError, TransparencyError, VerificationError
from confsec.protocol.dsse import DsseKey
from confsec.protocol.epoch import CLOCK_DIFFERENCE
from confsec.protocol.predicates import Predicate, Revocation, RevokedKind, read_predicate
from confsec.protocol.sigstore import BundleVerifier, SigstoreIdentity, is_bundle, read_envelope
from confsec.protocol.statement import PAYLOAD_TYPE, Statement

__all__ = [
    "StatementPolicy",
    "StatementRule",
    "StatementSigner",
    "Verified",
    "VerifiedStatement",
    "claimed_type",
]

_SECTION: Final = "docs/spec/statements.md, Who is believed"
_MAX_SIGNERS: Final = 64
_PATTERN_SIGNS: Final = re.compile(r"[\^$*|(){}\[\]\\\s]")


StatementSigner: TypeAlias = DsseKey | SigstoreIdentity
"""Who signs statements: a key that signs envelopes, or somebody who signs bundles with Sigstore."""


@final
@frozen(kw_only=True)
class StatementRule:
    """Who may say what one predicate type says, and for how long it counts."""

    signers: tuple[StatementSigner, ...]
    """The keys and identities that count. Two have neither one name nor one key."""

    threshold: int
    """How many of them have to sign. With identities it is 1: a bundle has one signature."""

    subject_names: frozenset[str] | None
    """What the statements may be about, by exact names; None for anything, where the digest is what is compared."""

    max_age: timedelta | None
    """How long after `issued` they count; None where only `validUntil` ends them."""

    newest_only: bool
    """Whether a statement is replaced by the next about the same subjects. An older one is then refused."""

    def __attrs_post_init__(self) -> None:
        for signer in self.signers:
            _require_exact(signer.name)
        names, keys = {signer.name for signer in self.signers}, {_key_of(signer) for signer in self.signers}
        if not len(names) == len(keys) == len(self.signers) <= _MAX_SIGNERS:
            raise ConfigError("two signers have one name or one key, or there are too many", want=f"{_MAX_SIGNERS}")
        most = 1 if self.identities else len(self.signers)
        if not 1 <= self.threshold <= most:
            raise ConfigError("a threshold that nobody or anybody reaches", got=self.threshold, want=f"1 to {most}")
        for name in self.subject_names or ():
            _require_exact(name)

    @property
    def keys(self) -> tuple[DsseKey, ...]:
        """The signers that are keys."""
        return tuple(signer for signer in self.signers if isinstance(signer, DsseKey))

    @property
    def identities(self) -> tuple[SigstoreIdentity, ...]:
        """The signers that sign with Sigstore."""
        return tuple(signer for signer in self.signers if isinstance(signer, SigstoreIdentity))


@final
class Verified:
    """What a policy holds and nobody else: the permission to call a statement verified."""

    __slots__ = ()

    def __init__(self) -> None:
        raise LocalProtocolError("only a policy can verify a statement", hint="Call StatementPolicy.verify")


_VERIFIED: Final = object.__new__(Verified)


@final
class VerifiedStatement:
    """A statement that a policy believes. It is made by `StatementPolicy.verify` and nowhere else."""

    __slots__ = ("_newest_only", "_predicate", "_signers", "_statement")

    def __init__(
        self,
        statement: Statement,
        predicate: Predicate,
        *,
        signers: tuple[StatementSigner, ...],
        newest_only: bool,
        verified: Verified,
    ) -> None:
        """Not for callers: `verified` is what only a policy has. Raises `LocalProtocolError` without it."""
        if verified is not _VERIFIED:
            raise LocalProtocolError("a VerifiedStatement comes only from a policy", hint="Call StatementPolicy.verify")
        self._statement = statement
        self._predicate = predicate
        self._signers = signers
        self._newest_only = newest_only

    @property
    def statement(self) -> Statement:
        """The statement."""
        return self._statement

    @property
    def predicate(self) -> Predicate:
        """What it says."""
        return self._predicate

    @property
    def signers(self) -> tuple[StatementSigner, ...]:
        """Who signed, of those that count."""
        return self._signers

    @property
    def newest_only(self) -> bool:
        """Whether older statements about the same subjects are refused from now on: see `latest_statements.py`."""
        return self._newest_only

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its subjects."""
        return tuple(subject.name for subject in self._statement.subjects)

    def __repr__(self) -> str:
        return f"VerifiedStatement({self._statement.predicate_type!r}, {self.names!r})"


def claimed_type(envelope: bytes) -> str:
    """Return the predicate type that an envelope or a bundle claims to have: a question to ask a policy, no answer.

    Raises `DecodeError` for what is no statement.
    """
    return Statement.decode(read_envelope(envelope).payload).predicate_type


@final
@frozen
class StatementPolicy:
    """The rule for each predicate type, and what is revoked."""

    rules: Mapping[str, StatementRule]
    """By the URI of the predicate type. A type without a rule is refused."""

    revoked: frozenset[tuple[RevokedKind, bytes]] = frozenset()
    """Kinds and digests that are no longer good."""

    bundles: BundleVerifier | None = field(default=None, eq=False)
    """Verifies bundles of Sigstore, where a rule names identities: `confsec.backends.sigstore` has one."""

    def __attrs_post_init__(self) -> None:
        if self.bundles is None and any(rule.identities for rule in self.rules.values()):
            raise ConfigError(
                "a rule names identities of Sigstore, and nothing verifies their bundles",
                hint="Give the policy `bundles`: a SigstoreVerifier with your trusted root.",
            )

    def with_revocation(self, verified: VerifiedStatement) -> Self:
        """Return the policy with what a verified revocation names. Nothing becomes good again by this.

        Raises `LocalProtocolError` for another statement.
        """
        if not isinstance(verified.predicate, Revocation):
            raise LocalProtocolError("this statement revokes nothing", got=verified.statement.predicate_type)
        return evolve(self, revoked=self.revoked | {(item.kind, item.digest) for item in verified.predicate.revoked})

    def verify(self, envelope: bytes, *, predicate_type: str, at: datetime) -> VerifiedStatement:
        """Check a statement of this type at a time. It comes in an envelope, or in a bundle where identities count.

        Raises `DecodeError` for what is none, `VerificationError` if too few of the signers signed it, and
        `TransparencyError` for one that does not count.
        """
        # 1. to 4. Its signers said it, and may.
        verified = self._believe(envelope, predicate_type)
        # 5. Its time has come and is not over.
        _check_time(verified.predicate, self._rule(predicate_type), at)
        return verified

    def verify_as_issued(self, envelope: bytes, *, predicate_type: str | None = None) -> VerifiedStatement:
        """Check a statement as of when it was issued, whenever that was: a log keeps what has ended since.

        Without a type it may be of any that has a rule. Raises the same as `verify`.
        """
        verified = self._believe(envelope, predicate_type or claimed_type(envelope))
        _check_time(verified.predicate, self._rule(verified.statement.predicate_type), verified.predicate.issued)
        return verified

    def _believe(self, envelope: bytes, predicate_type: str) -> VerifiedStatement:
        # 1. Somebody may say such things at all.
        rule = self._rule(predicate_type)
        # 2. The signers signed these bytes, as a statement, with keys that are good.
        payload, signers = self._open(envelope, rule)
        # 3. The bytes are a statement of this type, and its predicate is about its subjects.
        statement = Statement.decode(payload)
        _require_type(statement, predicate_type)
        predicate = read_predicate(statement)
        # 4. It is about what the policy takes, and neither it nor its subjects are revoked.
        self._check_subjects(statement, rule)
        return VerifiedStatement(
            statement, predicate, signers=signers, newest_only=rule.newest_only, verified=_VERIFIED
        )

    def _rule(self, predicate_type: str) -> StatementRule:
        if predicate_type not in self.rules:
            raise TransparencyError("nobody may make such a statement", got=predicate_type, section=_SECTION)
        return self.rules[predicate_type]

    def _open(self, data: bytes, rule: StatementRule) -> tuple[bytes, tuple[StatementSigner, ...]]:
        """Return what was signed, and who signed it. There is one reading of `data`: that of `read_envelope`."""
        envelope = read_envelope(data)
        _require_payload_type(envelope.payload_type)
        if is_bundle(data):
            if self.bundles is None or not rule.identities:
                raise TransparencyError("a bundle of Sigstore does not count where no identity does", section=_SECTION)
            bundle = self.bundles.verify_envelope(data, rule.identities)
            if (bundle.payload_type, bundle.payload) != (envelope.payload_type, envelope.payload):
                raise VerificationError("what was signed is not what the bundle shows", section=_SECTION)
            return envelope.payload, self._good_keys({bundle.identity: bundle.spki}, rule.threshold)
        signed = envelope.verify(rule.keys, threshold=rule.threshold)
        return envelope.payload, self._good_keys({key: key.spki for key in signed}, rule.threshold)

    def _good_keys(self, signed: Mapping[StatementSigner, bytes], threshold: int) -> tuple[StatementSigner, ...]:
        good = tuple(
            signer for signer, spki in signed.items() if (RevokedKind.KEY, sha256(spki).digest()) not in self.revoked
        )
        if len(good) < threshold:
            raise TransparencyError(
                "a statement is signed with a revoked key", got=len(good), want=f"{threshold} good ones",
                section=_SECTION,
            )  # fmt: skip
        return good

    def _check_subjects(self, statement: Statement, rule: StatementRule) -> None:
        if (RevokedKind.STATEMENT, statement.digest) in self.revoked:
            raise TransparencyError("a statement is revoked", got=statement.digest.hex(), section=_SECTION)
        for subject in statement.subjects:
            if rule.subject_names is not None and subject.name not in rule.subject_names:
                raise TransparencyError("a statement is about something else", got=subject.name, section=_SECTION)
            if (RevokedKind.SUBJECT, subject.digest) in self.revoked:
                raise TransparencyError("what a statement is about is revoked", got=subject.name, section=_SECTION)


def _require_exact(name: str) -> None:
    """Refuse an empty name, and a pattern in its place: it would match nobody, or be taken for a name."""
    if not name or _PATTERN_SIGNS.search(name.replace(" ", "_")):
        raise ConfigError("a name is empty or a pattern", want="an exact name", section=_SECTION)


def _key_of(signer: StatementSigner) -> object:
    """Return what tells signers apart, whatever they are called."""
    return signer.spki if isinstance(signer, DsseKey) else (signer.issuer, signer.subject)


def _require_payload_type(payload_type: str) -> None:
    if payload_type != PAYLOAD_TYPE:
        raise TransparencyError("an envelope holds something else", want=PAYLOAD_TYPE, section=_SECTION)


def _require_type(statement: Statement, predicate_type: str) -> None:
    if statement.predicate_type != predicate_type:
        raise TransparencyError(
            "a statement is of another type", got=statement.predicate_type, want=predicate_type, section=_SECTION
        )


def _check_time(predicate: Predicate, rule: StatementRule, at: datetime) -> None:
    if predicate.issued > at + CLOCK_DIFFERENCE:
        raise TransparencyError("a statement is issued in the future", got=predicate.issued, section=_SECTION)
    if predicate.valid_until is not None and at >= predicate.valid_until:
        raise TransparencyError("a statement has ended", got=predicate.valid_until, section=_SECTION)
    if rule.max_age is not None and at - predicate.issued > rule.max_age:
        raise TransparencyError(
            "a statement is too old", got=predicate.issued, want=f"at most {rule.max_age}", section=_SECTION
        )
