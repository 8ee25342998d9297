"""What a monitor says of a log's entries.

A monitor reads everything that a log shows and looks for what its owner wants to know: a statement about one of his
keys that he did not make, or one that no rule allows. It judges each entry as it was when it was made: that a statement
has ended since is nothing to report. Following the log is for others, `confsec/roles/monitor.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, final

from attrs import field, frozen

from confsec.errors import ConfsecError, DecodeError, LimitError
from confsec.protocol.dsse import Envelope
from confsec.protocol.json_general import JsonItem
from confsec.protocol.json_members import encode_time, time_of
from confsec.protocol.latest_statements import LatestStatements
from confsec.protocol.predicates import Revocation
from confsec.protocol.sigstore import read_envelope
from confsec.protocol.statement import Statement
from confsec.protocol.statement_policy import StatementPolicy
from confsec.protocol.tree_reader import LoggedEntry
from confsec.protocol.wire import decode_base64, decode_hex

__all__ = ["MAX_REVOKED", "Alert", "AlertKind", "EntryExaminer", "Finding", "Watch"]

MAX_REVOKED: Final = 8192
"""So many revoked digests are remembered."""

_MAX_SHOWN: Final = 16


class AlertKind(StrEnum):
    """What an alert is about, from the least grave to the gravest."""

    FIRST_CONTACT = "first-contact"
    """Nothing is remembered of the log: what it showed before now is not known."""

    RECOVERED = "recovered"
    """A condition that was reported is over."""

    NEW = "new"
    """The log has an entry more."""

    NODES = "nodes"
    """A fleet has another number of nodes than the one before."""

    WATCHED = "watched"
    """An entry speaks of a key, a digest or a name that is watched."""

    REFUSED = "refused"
    """An entry is no statement, or none that the policy admits."""

    UNDELIVERED = "undelivered"
    """The webhook did not take alerts."""

    STALLED = "stalled"
    """A source does not answer, or the witnesses' word is too old."""

    UNCOSIGNED = "uncosigned"
    """The log signed a checkpoint that no quorum of witnesses did."""

    DEFECTIVE = "defective"
    """What a source serves is not what the checkpoint says."""

    UNTIMELY = "untimely"
    """A directory or a fleet came too soon after the one before, or a directory was seen late."""

    RECORD_MISSING = "record-missing"
    """A fleet stands in the log whose record cannot be read."""

    RECORD_WRONG = "record-wrong"
    """What is served as the record of a fleet is not the one in the log."""

    ROLLED_BACK = "rolled-back"
    """A source shows an older checkpoint than before."""

    SPLIT = "split"
    """Two sources show trees of which neither begins with the other."""

    FORKED = "forked"
    """A source shows a tree that does not begin with the one that was seen."""

    @property
    def gravity(self) -> int:
        """Its place in this order, from 0."""
        return list(AlertKind).index(self)


@final
@frozen(kw_only=True)
class Alert:
    """Something that the owner of a monitor is told."""

    kind: AlertKind

    log: str
    """What the monitor calls the log."""

    at: datetime
    """When it was found out."""

    what: str
    """A sentence."""

    details: Mapping[str, JsonItem] = field(factory=dict)
    """What else is known. What comes from a log is somebody else's text."""

    def to_json(self) -> dict[str, JsonItem]:
        """Write it."""
        time = encode_time(self.at.replace(microsecond=0))
        return {"kind": self.kind.value, "log": self.log, "at": time, "what": self.what, **self.details}


@final
@frozen
class Watch:
    """What the owner of a monitor wants to hear of."""

    digests: frozenset[bytes] = frozenset()
    """SHA-256 of keys (of their SubjectPublicKeyInfo), artifacts, statements or entries."""

    subjects: frozenset[str] = frozenset()
    """Exact names of subjects."""


@final
@frozen
class Finding:
    """What is to be said of one entry."""

    kind: AlertKind
    what: str
    details: Mapping[str, JsonItem]


# --- Entries ----------------------------------------------------------------------------------------------------------


@final
class EntryExaminer:
    """Looks at one entry after another, in the order of the log, and learns from verified revocations."""

    def __init__(
        self,
        watch: Watch,
        policy: StatementPolicy | None,
        latest: LatestStatements,
        *,
        report_new: bool = True,
        statements_only: bool = True,
    ) -> None:
        """Look for what is watched. Without a policy, no signature of a statement is verified.

        `latest` is kept up to date. With `statements_only`, an entry that is no statement is refused.
        """
        self.policy = policy
        self.latest: Final = latest
        self._watch: Final = watch
        self._report_new: Final = report_new
        self._statements_only: Final = statements_only

    def examine(self, entry: LoggedEntry, *, at: datetime) -> tuple[Finding, ...]:
        """Return what is to be said of an entry at a time; nothing of an entry is believed before this.

        Raises nothing for what the entry holds.
        """
        statement, verified, refusal = self._judge(entry.data, at)
        details = {**_details(entry, statement), "verified": verified}
        known = "" if verified else ": nothing in it is verified"
        found = [Finding(AlertKind.NEW, f"the log has a new entry{known}", details)] if self._report_new else []
        if hits := self._hits(entry.data, statement):
            what = f"an entry speaks of what is watched{known}"
            found.append(Finding(AlertKind.WATCHED, what, {**details, "watched": hits}))
        if refusal is not None:
            found.append(Finding(AlertKind.REFUSED, "an entry is refused", {**details, "reason": refusal}))
        return tuple(found)

    def _judge(self, data: bytes, at: datetime) -> tuple[Statement | None, bool, str | None]:
        """Return the statement of an entry, if it is one, whether it is verified, and why it is refused, if it is."""
        try:
            claimed = Statement.decode_foreign(read_envelope(data).payload)
        except ConfsecError as exc:
            return None, False, str(exc) if self._statements_only else None
        if self.policy is None:
            return claimed, False, None
        try:
            return self._verify(self.policy, data, claimed, at), True, None
        except ConfsecError as exc:
            return claimed, False, str(exc)

    def _verify(self, policy: StatementPolicy, data: bytes, claimed: Statement, at: datetime) -> Statement:
        """Return what the policy verified, which alone is believed."""
        # A log keeps what has ended, so each statement is judged at the time that it gives itself; one from the future
        # is judged now, and refused.
        time = min(at, _issued(claimed, at))
        verified = policy.verify(data, predicate_type=claimed.predicate_type, at=time)
        self.latest.admit(verified)
        if isinstance(verified.predicate, Revocation):
            policy = policy.with_revocation(verified)
            if len(policy.revoked) > MAX_REVOKED:
                raise LimitError("more is revoked than a monitor remembers", want=f"at most {MAX_REVOKED}")
            self.policy = policy
        return verified.statement

    def _hits(self, data: bytes, statement: Statement | None) -> list[JsonItem]:
        """Return what of the watched things an entry speaks of, in the form in which they are configured."""
        if statement is None:
            names, digests = frozenset[str](), {sha256(data).digest()}
        else:
            names = frozenset(subject.name for subject in statement.subjects)
            digests = {sha256(data).digest(), *_digests_of(read_envelope(data), statement)}
        found = [*sorted(names & self._watch.subjects), *sorted(each.hex() for each in digests & self._watch.digests)]
        return list(found)


def _issued(statement: Statement, at: datetime) -> datetime:
    """Return when a statement says that it was made; where it does not say that, its verification will refuse it."""
    try:
        return time_of(statement.predicate.get("issued"), "issued")
    except ConfsecError:
        return at


def _digests_of(envelope: Envelope, statement: Statement) -> Iterator[bytes]:
    """Give every digest that an envelope speaks of, and that of every key in it, signed or not."""
    yield sha256(envelope.payload).digest()
    for signature in envelope.signatures:
        yield from _digests_in(signature.key_id)
    for subject in statement.subjects:
        yield subject.digest
    for text in _texts(dict(statement.predicate)):
        yield from _digests_in(text)


def _digests_in(text: str) -> Iterator[bytes]:
    """Give the digest that a text is in hex, or that of the bytes that it is in base64."""
    for decode in (decode_hex, decode_base64):
        try:
            data = decode(text)
        except DecodeError:
            continue
        yield data if decode is decode_hex else sha256(data).digest()


def _texts(value: JsonItem) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from _texts(each)
        case dict():
            for each in value.values():
                yield from _texts(each)
        case _:
            return


def _details(entry: LoggedEntry, statement: Statement | None) -> dict[str, JsonItem]:
    details: dict[str, JsonItem] = {"index": entry.index, "sha256": sha256(entry.data).hexdigest()}
    if statement is None:
        return details
    shown = statement.subjects[:_MAX_SHOWN]
    subjects: list[JsonItem] = [subject.to_json() for subject in shown]
    return {**details, "predicateType": statement.predicate_type, "subjects": subjects}
