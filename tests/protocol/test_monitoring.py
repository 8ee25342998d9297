"""What a monitor says of entries, and what it remembers."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from hashlib import sha256

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError
from confsec.protocol import cbor, json_general
from confsec.protocol.latest_statements import LatestStatements
from confsec.protocol.monitor_memory import LogMemory
from confsec.protocol.monitoring import Alert, AlertKind, EntryExaminer, Finding, Watch
from confsec.protocol.note import MAX_NOTE
from confsec.protocol.predicates import DirectoryStatement, IssuerKeys, Predicate, Revocation, RevokedItem, RevokedKind
from confsec.protocol.signatures import SigningKey
from confsec.protocol.statement import Statement
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.protocol.transparency import TrustedLog
from confsec.protocol.tree_reader import LoggedEntry
from tests.protocol.disguises import disguise
from tests.protocol.statement_cases import ALICE, AT, BOB, DAY, DIRECTORY, ISSUER_KEYS, REVOCATION, digest
from tests.protocol.token_cases import TOKEN_KEY
from tests.protocol.token_keys import ED25519, P256

RULE = StatementRule(signers=(ALICE, BOB), threshold=1, subject_names=None, max_age=DAY, newest_only=True)
POLICY = StatementPolicy({each.TYPE: RULE for each in (DirectoryStatement, IssuerKeys, Revocation)})
NAME = "service.example"


def envelope(predicate: Predicate, *, key: SigningKey = ED25519) -> bytes:
    return predicate.about(NAME).to_envelope().sign(key).encode()


def revocation(kind: RevokedKind, revoked: bytes) -> bytes:
    item = RevokedItem(kind=kind, digest=revoked, reason="It was stolen.", since=AT - DAY)
    return evolve(REVOCATION, revoked=(item,)).about(NAME).to_envelope().sign(P256).encode()


def examiner(
    *, policy: StatementPolicy | None = POLICY, watch: Watch | None = None, new: bool = True, only: bool = True
) -> EntryExaminer:
    return EntryExaminer(watch or Watch(), policy, LatestStatements(), report_new=new, statements_only=only)


def examine(at: EntryExaminer, data: bytes, *, index: int = 7, days: int = 0) -> tuple[Finding, ...]:
    return at.examine(LoggedEntry(index, data), at=AT + days * DAY)


def kinds(found: tuple[Finding, ...]) -> list[AlertKind]:
    return [each.kind for each in found]


# --- Entries


def test_a_good_statement_is_new_and_nothing_else() -> None:
    data = envelope(DIRECTORY)
    (found,) = examine(examiner(), data)
    assert (found.kind, found.what) == (AlertKind.NEW, "the log has a new entry")
    assert found.details == {
        "index": 7,
        "sha256": sha256(data).hexdigest(),
        "predicateType": DirectoryStatement.TYPE,
        "subjects": [{"digest": {"sha256": sha256(DIRECTORY.directory.encode()).hexdigest()}, "name": NAME}],
        "verified": True,
    }
    assert examine(examiner(new=False), data) == ()


def test_a_statement_that_has_ended_since_is_no_news() -> None:
    assert kinds(examine(examiner(), envelope(DIRECTORY), days=400)) == [AlertKind.NEW]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no statement", "not JSON"),
        (b"{}", "other members"),
        (envelope(DIRECTORY, key=P256).replace(b'"sig":"', b'"sig":"AAAA'), "too few"),
        (envelope(evolve(DIRECTORY, issued=AT + DAY, valid_until=AT + 2 * DAY)), "future"),
        (Statement(DIRECTORY.about(NAME).subjects, "https://other.example/v1", {}).to_envelope().sign(P256).encode(),
         "nobody may make"),
        (Statement(DIRECTORY.about(NAME).subjects, DIRECTORY.TYPE, {}).to_envelope().sign(P256).encode(), "members"),
    ],
    ids=["no JSON", "no envelope", "not signed", "from the future", "no rule", "no predicate"],
)  # fmt: skip
def test_what_no_rule_admits_is_refused(data: bytes, reason: str) -> None:
    new, refused = examine(examiner(), data)
    assert (new.kind, refused.kind) == (AlertKind.NEW, AlertKind.REFUSED)
    assert reason in str(refused.details["reason"])
    assert refused.details["sha256"] == sha256(data).hexdigest()


def test_where_anything_may_be_logged_it_is_only_new() -> None:
    assert kinds(examine(examiner(only=False), b"no statement")) == [AlertKind.NEW]


def test_without_a_policy_signatures_are_not_looked_at() -> None:
    data = envelope(DIRECTORY).replace(b'"sig":"', b'"sig":"AAAA')
    (found,) = examine(examiner(policy=None), data)
    assert found.kind is AlertKind.NEW
    assert "nothing in it is verified" in found.what
    assert found.details["verified"] is False


def test_an_older_statement_or_a_second_one_is_refused() -> None:
    at = examiner(new=False)
    later = evolve(DIRECTORY, issued=AT + timedelta(minutes=1), directory=f"{DIRECTORY.directory}# changed\n")
    assert examine(at, envelope(later)) == ()
    (refused,) = examine(at, envelope(DIRECTORY))
    assert "older" in str(refused.details["reason"])


def test_what_is_revoked_in_the_log_is_refused_from_there_on() -> None:
    at = examiner(new=False)
    assert examine(at, envelope(ISSUER_KEYS)) == ()
    assert examine(at, revocation(RevokedKind.KEY, bytes.fromhex(ALICE.key_id))) == ()
    (refused,) = examine(at, envelope(DIRECTORY))
    assert "revoked" in str(refused.details["reason"])
    assert at.policy is not None
    assert (RevokedKind.KEY, bytes.fromhex(ALICE.key_id)) in at.policy.revoked


def test_a_revocation_that_nobody_may_make_revokes_nothing() -> None:
    at = examiner(new=False, policy=StatementPolicy({DirectoryStatement.TYPE: RULE}))
    assert kinds(examine(at, revocation(RevokedKind.KEY, bytes.fromhex(ALICE.key_id)))) == [AlertKind.REFUSED]
    assert examine(at, envelope(DIRECTORY)) == ()


def test_more_revocations_than_can_be_remembered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confsec.protocol.monitoring.MAX_REVOKED", 0)
    at = examiner(new=False)
    (refused,) = examine(at, revocation(RevokedKind.KEY, digest("a")))
    assert "more is revoked" in str(refused.details["reason"])
    assert at.policy == POLICY


@pytest.mark.parametrize(
    ("watch", "data"),
    [
        (Watch(subjects=frozenset({NAME})), envelope(DIRECTORY)),
        (Watch(frozenset({sha256(DIRECTORY.directory.encode()).digest()})), envelope(DIRECTORY)),
        (Watch(frozenset({bytes.fromhex(ALICE.key_id)})), envelope(DIRECTORY)),
        (Watch(frozenset({DIRECTORY.about(NAME).digest})), envelope(DIRECTORY)),
        (Watch(frozenset({sha256(TOKEN_KEY.to_spki()).digest()})), envelope(ISSUER_KEYS)),
        (Watch(frozenset({digest("c")})), revocation(RevokedKind.KEY, digest("c"))),
        (Watch(frozenset({sha256(b"anything").digest()})), b"anything"),
    ],
    ids=["name", "subject", "signer", "statement", "key inside", "revoked digest", "entry"],
)
def test_what_is_watched_is_found_wherever_it_stands(watch: Watch, data: bytes) -> None:
    (found,) = examine(examiner(watch=watch, new=False, only=False), data)
    assert found.kind is AlertKind.WATCHED
    assert found.details["watched"] == [*watch.subjects, *(each.hex() for each in watch.digests)]
    assert examine(examiner(watch=Watch(frozenset({digest("f")})), new=False, only=False), data) == ()


def test_a_watched_statement_that_is_refused_is_both() -> None:
    watch = Watch(subjects=frozenset({NAME}))
    data = envelope(DIRECTORY).replace(b'"sig":"', b'"sig":"AAAA')
    found = examine(examiner(watch=watch), data)
    assert kinds(found) == [AlertKind.NEW, AlertKind.WATCHED, AlertKind.REFUSED]
    assert all(each.details["verified"] is False for each in found)
    assert "nothing in it is verified" in found[1].what


def test_what_one_policy_might_believe_does_not_hide_behind_a_bundle() -> None:
    evil = evolve(DIRECTORY, directory="evil")
    watch = Watch(frozenset({sha256(b"evil").digest()}))
    assert kinds(examine(examiner(watch=watch, new=False), envelope(evil))) == [AlertKind.WATCHED]
    disguised = disguise(envelope(evil), envelope(DIRECTORY))
    for policy in (POLICY, None):
        found = examine(examiner(watch=watch, policy=policy), disguised)
        assert kinds(found) == [AlertKind.NEW, AlertKind.REFUSED]
        assert "predicateType" not in found[0].details


def test_a_bundle_of_sigstore_is_looked_into() -> None:
    inner = json_general.decode(envelope(DIRECTORY), what="an envelope", limit=1 << 20)
    bundle = {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": inner}
    watch = Watch(subjects=frozenset({NAME}))
    found = examine(examiner(watch=watch, policy=None), json_general.encode(bundle))
    assert kinds(found) == [AlertKind.NEW, AlertKind.WATCHED]
    del bundle["dsseEnvelope"]
    assert kinds(examine(examiner(), json_general.encode(bundle))) == [AlertKind.NEW, AlertKind.REFUSED]


@given(data=st.binary(max_size=300), member=st.sampled_from(["payload", "payloadType", "signatures"]))
def test_no_entry_stops_a_monitor(data: bytes, member: str) -> None:
    for entry in (data, b'{"%s":"%s"}' % (member.encode(), b64encode(data))):
        assert kinds(examine(examiner(), entry)) == [AlertKind.NEW, AlertKind.REFUSED]


def test_kinds_are_in_the_order_of_their_gravity() -> None:
    assert sorted(AlertKind, key=lambda kind: kind.gravity) == list(AlertKind)
    assert max(AlertKind, key=lambda kind: kind.gravity) is AlertKind.FORKED


def test_an_alert_is_json() -> None:
    alert = Alert(kind=AlertKind.SPLIT, log="one", at=AT, what="it is split", details={"index": 1})
    assert alert.to_json() == {
        "kind": "split", "log": "one", "at": "2026-11-28T07:00:00Z", "what": "it is split", "index": 1
    }  # fmt: skip


# --- Memory

MEMORY = LogMemory(
    TrustedLog("log.example/one", 7, digest("a"), AT),
    b"a note",
    5,
    {"https://log.example": TrustedLog("log.example/one", 7, digest("a"), AT), "mirror": TrustedLog("log.example/one")},
    frozenset({(RevokedKind.KEY, digest("b")), (RevokedKind.SUBJECT, digest("c"))}),
)


def test_the_memory_comes_back() -> None:
    assert LogMemory.decode(MEMORY.encode()) == MEMORY
    assert LogMemory.decode(LogMemory(TrustedLog("log.example/one")).encode()).next == 0


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"next": 8},
        {"note": bytes(MAX_NOTE + 1)},
        {"latest": b""},
        {"trusted": b""},
        {"sources": [["one"]]},
        {"sources": [["b", TrustedLog("o").encode()], ["a", TrustedLog("o").encode()]]},
        {"revoked": [["person", digest("a")]]},
        {"revoked": [["key", b"short"]]},
    ],
)
def test_a_damaged_memory_is_refused(change: dict[str, cbor.CborValue]) -> None:
    value = cbor.decode(MEMORY.encode(), what="it", limit=1 << 20)
    assert isinstance(value, dict)
    with pytest.raises(DecodeError):
        LogMemory.decode(cbor.encode({**value, **change}))


@given(data=st.binary(max_size=100), at=st.integers(0, 10_000))
def test_any_bytes_are_a_memory_or_refused(data: bytes, at: int) -> None:
    whole = MEMORY.encode()
    at %= len(whole)
    for changed in (data, whole[:at] + data[:1] + whole[at + 1 :]):
        try:
            assert LogMemory.decode(changed).encode() == changed
        except ConfsecError:
            continue
