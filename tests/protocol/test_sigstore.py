"""Who may sign with Sigstore, and what policies and their files make of it. Nothing is verified here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
from attrs import evolve, field, frozen
from hypothesis import event, given, strategies as st

from confsec.errors import ConfigError, ConfsecError, DecodeError, TransparencyError, VerificationError
from confsec.protocol.dsse import DsseSignature, Envelope
from confsec.protocol.predicates import DirectoryStatement, FleetStatement, RevokedKind
from confsec.protocol.sigstore import MAX_BUNDLE, SignedBundle, SigstoreIdentity, is_bundle, read_envelope
from confsec.protocol.statement import PAYLOAD_TYPE
from confsec.protocol.statement_policy import StatementPolicy, StatementRule, VerifiedStatement
from confsec.protocol.statement_rules import from_table, from_toml, to_toml
from tests.protocol.disguises import disguise
from tests.protocol.statement_cases import ALICE, AT, BOB, DAY, DIRECTORY
from tests.protocol.token_keys import ED25519

ISSUER = "https://token.example"
WORKFLOW = "^https://git[.]example/me/.*@refs/tags/v[0-9]+$"
CAROL = SigstoreIdentity("carol", ISSUER, "carol@example.com")
RELEASES = SigstoreIdentity("releases", ISSUER, WORKFLOW)
NAME = "service.example"
BUNDLE = b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}'
SPKI = b"the key in a certificate"


@frozen
class Verifier:
    """Takes every bundle for one that `signer` signed."""

    payload: bytes = DIRECTORY.about(NAME).encode()
    payload_type: str = PAYLOAD_TYPE
    signer: SigstoreIdentity = CAROL
    asked: list[tuple[SigstoreIdentity, ...]] = field(factory=list)

    @property
    def bundle(self) -> bytes:
        """The bundle in which it says that this is."""
        envelope = Envelope(self.payload_type, self.payload, (DsseSignature(b"s"),))
        return BUNDLE[:-1] + b', "dsseEnvelope": ' + envelope.encode() + b"}"

    def verify_envelope(self, bundle: bytes, identities: Sequence[SigstoreIdentity]) -> SignedBundle:
        assert is_bundle(bundle)
        self.asked.append(tuple(identities))
        if self.signer not in identities:
            raise TransparencyError("somebody else signed")
        return SignedBundle(self.signer, self.signer.subject, SPKI, self.payload_type, self.payload)


RULE = StatementRule(
    signers=(ALICE, CAROL, RELEASES), threshold=1, subject_names=frozenset({NAME}), max_age=DAY, newest_only=True
)


def policy(verifier: Verifier | None = None, rule: StatementRule = RULE) -> StatementPolicy:
    return StatementPolicy({DirectoryStatement.TYPE: rule}, bundles=verifier or Verifier())


# --- Identities


@pytest.mark.parametrize(
    "subject",
    [
        "", ".*", "carol@example[.]com", "^carol@example.com", "carol@example.com$", "^$", "a|b", "a b",
        "a\x00", "a" * 1025, "^.*@example[.]com$", "^.+$", "^(.*)$", "^(?:.{3,}x)$", "^.?$",
        "^carol@example[.]com|.*$", "^(carol|.*)$", "^[^ ]+$", "^https://[a-z.]+/.*$", "^[a-z]+@.*$", "^[a-z]+$",
    ],
)  # fmt: skip
def test_an_unanchored_pattern_is_refused(subject: str) -> None:
    with pytest.raises(ConfigError):
        SigstoreIdentity("carol", ISSUER, subject)


def test_a_pattern_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ConfigError, match="no regular expression"):
        SigstoreIdentity("carol", ISSUER, "^(a$")


@pytest.mark.parametrize("issuer", ["", "^https://token.example$", "https://.*", "https://token.example "])
def test_an_issuer_is_never_a_pattern(issuer: str) -> None:
    with pytest.raises(ConfigError, match="an exact URL"):
        SigstoreIdentity("carol", issuer, "carol@example.com")


@pytest.mark.parametrize("name", ["", "a\n", "a" * 256])
def test_an_identity_has_a_name_for_us(name: str) -> None:
    with pytest.raises(ConfigError, match="no name"):
        SigstoreIdentity(name, ISSUER, "carol@example.com")


@pytest.mark.parametrize(
    ("subject", "signer", "good"),
    [
        ("carol@example.com", "carol@example.com", True),
        ("carol@example.com", "carol@exampleXcom", False),
        ("carol@example.com", "Carol@example.com", False),
        ("carol@example.com", "", False),
        (WORKFLOW, "https://git.example/me/w@refs/tags/v1", True),
        (WORKFLOW, "https://git.example/me/w@refs/tags/v1\n", False),
        (WORKFLOW, "https://git.example/me/w@refs/tags/v\N{ARABIC-INDIC DIGIT ONE}", False),
        (WORKFLOW, "https://evil/https://git.example/me/w@refs/tags/v1", False),
        (WORKFLOW, f"https://git.example/me/{'w' * 1000}@refs/tags/v1", False),
        ("^a|b$", "ab", False),
        ("^a|b$", "evil b", False),
        ("^a|b$", "b", True),
    ],
)
def test_an_identity_is_the_whole_text(subject: str, signer: str, good: bool) -> None:  # noqa: FBT001 - a column
    identity = SigstoreIdentity("carol", ISSUER, subject)
    with pytest.raises(TransparencyError):
        identity.check("https://other.example", signer)
    if good:
        identity.check(ISSUER, signer)
        return
    with pytest.raises(TransparencyError):
        identity.check(ISSUER, signer)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"{}", b'{"mediaType": 1}', b'{"mediaType": "application/json"}',
        DIRECTORY.about(NAME).to_envelope().sign(ED25519).encode(),
        BUNDLE + b" " * MAX_BUNDLE,
    ],
)  # fmt: skip
def test_what_does_not_call_itself_a_bundle_is_none(data: bytes) -> None:
    assert not is_bundle(data)


def test_bundles_of_every_version_call_themselves_so() -> None:
    assert is_bundle(BUNDLE)
    assert is_bundle(b'{"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"}')


def test_what_an_envelope_claims_can_be_read_also_in_a_bundle() -> None:
    envelope = DIRECTORY.about(NAME).to_envelope().sign(ED25519)
    bundle = BUNDLE[:-1] + b', "dsseEnvelope": ' + envelope.encode() + b"}"
    assert read_envelope(envelope.encode()) == read_envelope(bundle) == envelope


@pytest.mark.parametrize("data", [b"{}", BUNDLE, BUNDLE[:-1] + b', "dsseEnvelope": {}}'])
def test_what_has_no_envelope_claims_nothing(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_envelope(data)


@pytest.mark.parametrize(
    "member", ["payload", "payloadType", "signatures", "dsse_envelope", "messageSignature", "media_type", "x"]
)
def test_a_bundle_holds_an_envelope_and_nothing_else(member: str) -> None:
    assert read_envelope(Verifier().bundle).payload == Verifier().payload
    with pytest.raises(DecodeError, match="more than an envelope"):
        read_envelope(Verifier().bundle[:-1] + b', "%s": 1}' % member.encode())


def test_a_signed_envelope_that_calls_itself_a_bundle_has_no_reading() -> None:
    signed, inner = DIRECTORY.about(NAME).to_envelope().sign(ED25519).encode(), Verifier().bundle
    disguised = disguise(signed, json.dumps(json.loads(inner)["dsseEnvelope"]).encode())
    for read in (read_envelope, Envelope.decode):
        with pytest.raises(DecodeError):
            read(disguised)
    for rule in (RULE, evolve(RULE, signers=(ALICE,)), evolve(RULE, signers=(CAROL,))):
        with pytest.raises(DecodeError):
            policy(rule=rule).verify(disguised, predicate_type=DirectoryStatement.TYPE, at=AT)


MEMBERS = st.sampled_from(
    [
        *json.loads(DIRECTORY.about(NAME).to_envelope().sign(ED25519).encode()).items(),
        *json.loads(Verifier().bundle).items(),
        *json.loads(Verifier(payload=b"other").bundle)["dsseEnvelope"].items(),
        ("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.1"),
        ("mediaType", "text/plain"),
        ("verificationMaterial", {}),
        ("dsse_envelope", {}),
        ("payload_type", PAYLOAD_TYPE),
        ("x", None),
    ]
)


@given(
    start=st.sampled_from([DIRECTORY.about(NAME).to_envelope().sign(ED25519).encode(), Verifier().bundle]),
    added=st.lists(MEMBERS, max_size=4),
    removed=st.lists(MEMBERS, max_size=2),
)
def test_any_object_has_one_reading_at_most(
    start: bytes, added: list[tuple[str, Any]], removed: list[tuple[str, Any]]
) -> None:
    gone = {name for name, _ in removed}
    members = {name: value for name, value in [*json.loads(start).items(), *added] if name not in gone}
    data = json.dumps(members).encode()
    inner = json.dumps(members.get("dsseEnvelope")).encode()
    outer = json.dumps({name: members.get(name) for name in ("payload", "payloadType", "signatures")}).encode()
    alone = [found for found in (_read(Envelope.decode, each) for each in (inner, outer)) if found]
    read, plain = _read(read_envelope, data), _read(Envelope.decode, data)
    event(f"{len(alone)} envelopes to be seen, {'one' if read else 'none'} read")
    assert read is None or alone == [read]
    assert plain is None or plain == read
    for verified in _verified(data):
        assert read is not None
        assert verified.statement.encode() == read.payload


def _read(decode: Callable[[bytes], Envelope], data: bytes) -> Envelope | None:
    try:
        return decode(data)
    except DecodeError:
        return None


def _verified(data: bytes) -> Iterator[VerifiedStatement]:
    """Give what policies of keys, of identities and of both believe, where every bundle is signed."""
    for signers in ((ALICE,), (CAROL,), (ALICE, CAROL)):
        with suppress(ConfsecError):
            believes = policy(rule=evolve(RULE, signers=signers))
            yield believes.verify(data, predicate_type=DirectoryStatement.TYPE, at=AT)
            yield believes.verify_as_issued(data)


# --- Policies


def test_a_bundle_counts_where_an_envelope_does() -> None:
    verifier = Verifier()
    verified = policy(verifier).verify(verifier.bundle, predicate_type=DirectoryStatement.TYPE, at=AT)
    assert verified.predicate == DIRECTORY
    assert verified.signers == (CAROL,)
    assert verified.newest_only
    assert verifier.asked == [(CAROL, RELEASES)]
    envelope = DIRECTORY.about(NAME).to_envelope().sign(ED25519).encode()
    assert policy(verifier).verify(envelope, predicate_type=DirectoryStatement.TYPE, at=AT).signers == (ALICE,)
    assert len(verifier.asked) == 1


def test_a_bundle_of_somebody_else_does_not_count() -> None:
    verifier = Verifier(signer=SigstoreIdentity("stranger", ISSUER, "evil@example.com"))
    with pytest.raises(TransparencyError, match="somebody else"):
        policy(verifier).verify(verifier.bundle, predicate_type=DirectoryStatement.TYPE, at=AT)


def test_a_bundle_is_no_envelope_where_only_keys_count() -> None:
    keys = evolve(RULE, signers=(ALICE,))
    with pytest.raises(TransparencyError, match="no identity"):
        policy(rule=keys).verify(Verifier().bundle, predicate_type=DirectoryStatement.TYPE, at=AT)


def test_an_envelope_does_not_count_where_only_identities_do() -> None:
    envelope = DIRECTORY.about(NAME).to_envelope().sign(ED25519).encode()
    with pytest.raises(VerificationError, match="too few"):
        policy(rule=evolve(RULE, signers=(CAROL,))).verify(envelope, predicate_type=DirectoryStatement.TYPE, at=AT)


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"payload_type": "text/plain"}, TransparencyError),
        ({"payload": b"{}"}, DecodeError),
        ({"payload": DIRECTORY.about(NAME).encode() + b" "}, DecodeError),
        ({"payload": DIRECTORY.about("other.example").encode()}, TransparencyError),
    ],
)
def test_what_a_bundle_says_is_checked_like_all_statements(members: dict[str, Any], error: type[Exception]) -> None:
    verifier = Verifier(**members)
    with pytest.raises(error):
        policy(verifier).verify(verifier.bundle, predicate_type=DirectoryStatement.TYPE, at=AT)


@pytest.mark.parametrize("members", [{"payload": b"other"}, {"payload_type": "other"}])
def test_what_was_signed_is_what_the_bundle_shows(members: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match="not what the bundle shows"):
        policy(Verifier(**members)).verify(Verifier().bundle, predicate_type=DirectoryStatement.TYPE, at=AT)


def test_an_old_statement_does_not_count_though_its_bundle_verifies() -> None:
    with pytest.raises(TransparencyError, match="ended"):
        policy().verify(Verifier().bundle, predicate_type=DirectoryStatement.TYPE, at=AT + DAY)


def test_the_key_of_a_certificate_can_be_revoked() -> None:
    revoked = evolve(policy(), revoked=frozenset({(RevokedKind.KEY, sha256(SPKI).digest())}))
    with pytest.raises(TransparencyError, match="revoked key"):
        revoked.verify(Verifier().bundle, predicate_type=DirectoryStatement.TYPE, at=AT)


def test_a_policy_that_names_identities_needs_what_verifies_bundles() -> None:
    with pytest.raises(ConfigError, match="nothing verifies"):
        StatementPolicy({DirectoryStatement.TYPE: RULE})


@pytest.mark.parametrize(
    "members",
    [
        {"threshold": 2},
        {"signers": (CAROL, evolve(RELEASES, name="carol"))},
        {"signers": (ALICE, evolve(CAROL, name="alice"))},
        {"signers": (CAROL, evolve(CAROL, name="carola"))},
        {"signers": (evolve(CAROL, name=".*"),)},
    ],
)
def test_rules_that_nobody_means_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        evolve(RULE, **members)


def test_a_rule_tells_keys_from_identities() -> None:
    rule = evolve(RULE, signers=(CAROL, BOB, RELEASES, ALICE))
    assert rule.keys == (BOB, ALICE)
    assert rule.identities == (CAROL, RELEASES)


# --- Files


TEXT = """\
version = 1

[identities."carol"]
issuer = "https://token.example"
subject = "carol@example.com"

[identities."releases"]
issuer = "https://token.example"
subject = "^https://git[.]example/me/.*@refs/tags/v[0-9]+$"

[[rule]]
predicate_type = "https://confsec.dev/statement/directory/v1"
signers = ["carol", "releases"]
threshold = 1
subjects = ["service.example"]
maximum_age = 86400
newest_only = true
"""
ONLY_IDENTITIES = evolve(RULE, signers=(CAROL, RELEASES))


def test_a_file_may_name_identities_instead_of_keys() -> None:
    assert to_toml(policy(rule=ONLY_IDENTITIES)) == TEXT
    verifier = Verifier()
    read = from_toml(TEXT, bundles=verifier)
    assert read == policy(rule=ONLY_IDENTITIES)
    assert read.bundles is verifier


@pytest.mark.parametrize("table", ["", "statements"])
def test_a_file_may_name_both(table: str) -> None:
    text = to_toml(policy(), table=table)
    assert 'identities."carol"' in text
    if not table:
        assert from_toml(text, bundles=Verifier()) == policy()


def test_a_file_with_identities_needs_what_verifies_bundles() -> None:
    with pytest.raises(ConfigError, match="nothing verifies"):
        from_toml(TEXT)


def test_two_identities_of_a_file_do_not_have_one_name() -> None:
    other = evolve(RULE, signers=(evolve(RELEASES, name="carol"),))
    rules = {DirectoryStatement.TYPE: ONLY_IDENTITIES, FleetStatement.TYPE: other}
    with pytest.raises(ConfigError, match="one name"):
        to_toml(StatementPolicy(rules, bundles=Verifier()))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('subject = "carol@example.com"\n', "", "does not say all"),
        ('subject = "carol@example.com"', "subject = 1", "subject of"),
        ('subject = "carol@example.com"', 'subject = "carol@.*"', "open at an end"),
        ('issuer = "https://token.example"\nsubject = "carol', 'issuer = ""\nsubject = "carol', "an exact URL"),
        ('[identities."carol"]', '[identities."carol"]\nkey = 1', "unknown"),
        ('[identities."releases"]', '[identities."release"]', "has no key"),
        ('signers = ["carol", "releases"]', 'signers = ["carol"]', "no rule names"),
    ],
)
def test_a_file_that_says_nothing_good_of_identities_is_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        from_toml(TEXT.replace(old, new), bundles=Verifier())


@pytest.mark.parametrize(
    "members", [{"identities": 1}, {"identities": {"carol": 1}}, {"identities": {f"n{n}": {} for n in range(513)}}]
)
def test_identities_are_a_table_of_tables(members: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        from_table({"rule": [], **members}, what="it", bundles=Verifier())


def test_a_key_and_an_identity_do_not_have_one_name() -> None:
    text = to_toml(policy()).replace('[identities."carol"]', '[identities."alice"]')
    with pytest.raises(ConfigError, match="one name"):
        from_toml(text, bundles=Verifier())
