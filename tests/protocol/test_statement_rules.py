"""The file of rules for statements."""

from __future__ import annotations

import tomllib
from datetime import timedelta

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfigError
from confsec.protocol.dsse import DsseKey
from confsec.protocol.predicates import PREDICATES, DirectoryStatement, ModelDigests, RevokedKind
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.protocol.statement_rules import from_table, from_toml, to_toml
from confsec.protocol.wire import encode_base64
from tests.protocol.statement_cases import ALICE, BOB, DAY
from tests.protocol.token_keys import P256

RULE = StatementRule(
    signers=(BOB, ALICE), threshold=2, subject_names=frozenset({"b.example", "a ü"}), max_age=DAY, newest_only=True
)
ANYTHING = StatementRule(signers=(ALICE,), threshold=1, subject_names=None, max_age=None, newest_only=False)
POLICY = StatementPolicy(
    {DirectoryStatement.TYPE: RULE, ModelDigests.TYPE: ANYTHING},
    frozenset({(RevokedKind.KEY, bytes(32)), (RevokedKind.SUBJECT, b"\1" * 32)}),
)
TEXT = f"""\
version = 1

[keys]
"alice" = "{encode_base64(ALICE.spki)}"
"bob" = "{encode_base64(BOB.spki)}"

[[rule]]
predicate_type = "https://confsec.dev/statement/directory/v1"
signers = ["bob", "alice"]
threshold = 2
subjects = ["a ü", "b.example"]
maximum_age = 86400
newest_only = true

[[rule]]
predicate_type = "https://confsec.dev/statement/model/v1"
signers = ["alice"]
threshold = 1
subjects = "ANY"
maximum_age = "UNLIMITED"
newest_only = false

[[revoked]]
kind = "key"
digest = "{bytes(32).hex()}"

[[revoked]]
kind = "subject"
digest = "{"01" * 32}"
"""


def test_a_policy_is_written_as_people_read_it() -> None:
    assert to_toml(POLICY) == TEXT


def test_a_file_says_what_it_says() -> None:
    assert from_toml(TEXT) == POLICY


def test_a_policy_can_be_a_table_of_another_file() -> None:
    text = 'title = "root"\n' + to_toml(POLICY, table="statements")
    assert from_table(tomllib.loads(text)["statements"], what="[statements]") == POLICY


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9) | st.sampled_from(['a"b', "a b", "#.="])
RULES = st.builds(
    StatementRule,
    signers=st.just((ALICE,)),
    threshold=st.just(1),
    subject_names=st.none() | st.frozensets(NAMES, min_size=1, max_size=3),
    max_age=st.none() | st.integers(1, 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    newest_only=st.booleans(),
)
REVOKED = st.frozensets(st.tuples(st.sampled_from(RevokedKind), st.binary(min_size=32, max_size=32)), max_size=3)


@given(st.dictionaries(st.sampled_from(list(PREDICATES)), RULES, min_size=1), REVOKED)
def test_what_is_written_is_read_as_the_same(
    rules: dict[str, StatementRule], revoked: frozenset[tuple[RevokedKind, bytes]]
) -> None:
    policy = StatementPolicy(rules, revoked)
    assert from_toml(to_toml(policy)) == policy
    assert to_toml(from_toml(to_toml(policy))) == to_toml(policy)


ALICE_LINE = f'"alice" = "{encode_base64(ALICE.spki)}"\n'
WRONG = {
    "no TOML": ("[keys]", "[keys", "not TOML"),
    "another version": ("version = 1", "version = 2", "another version"),
    "no version": ("version = 1", "", "another version"),
    "an unknown key": (
        "version = 1",
        "version = 1\nwitnesses = 3",
        "got 'witnesses', want rule, keys, identities, revoked",
    ),
    "an unknown key of a rule": ("threshold = 2", "threshold = 2\nthresold = 1", "rule 1 .*'thresold', want predicate"),
    "a key too little": ("threshold = 2\n", "", "rule 1 does not say all: want threshold"),
    "keys that are none": (f'{ALICE_LINE}"bob" = "{encode_base64(BOB.spki)}"', "", "no table of keys"),
    "a key that is no text": (ALICE_LINE, '"alice" = 1\n', "text"),
    "a key that is no base64": (ALICE_LINE, '"alice" = "?"\n', "base64"),
    "a key that is none": (ALICE_LINE, '"alice" = "AAAA"\n', "'alice' cannot be used: a key is no key"),
    "a key by two names": (ALICE_LINE, ALICE_LINE + ALICE_LINE.replace("alice", "eve"), "one key by two names"),
    "a key that no rule names": (
        '["bob", "alice"]\nthreshold = 2',
        '["alice"]\nthreshold = 1',
        "no rule names: got 'bob'",
    ),
    "a signer without a key": ('["alice"]', '["alicia"]', "no key: got 'alicia', want alice, bob"),
    "a signer twice": ('["alice"]', '["alice", "alice"]', "one entry twice"),
    "a signer that is no text": ('["alice"]', "[1]", "text"),
    "signers that are no list": ('["alice"]', '"alice"', "array"),
    "nobody": ('["alice"]', "[]", "rule 2: a threshold"),
    "a threshold that nobody reaches": ("threshold = 2", "threshold = 3", "threshold"),
    "a threshold that is no number": ("threshold = 2", "threshold = true", "unsigned integer"),
    "an unknown type": ("statement/model/v1", "statement/model/v2", "unknown predicate type.* want https"),
    "a type that is no text": ('"https://confsec.dev/statement/model/v1"', "1", "text"),
    "two rules for one type": ("statement/model/v1", "statement/directory/v1", "two rules"),
    "no subjects": ('["a ü", "b.example"]', "[]", "no list of names"),
    "subjects that are no list": ('["a ü", "b.example"]', '"any"', "no list of names"),
    "a subject that is a pattern": ("b.example", "*.example", "pattern"),
    "a subject that nobody can see": ("b.example", r"b\u200b", "cannot be shown"),
    "an age that is no number": ("86400", '"1d"', "no time"),
    "an age of nothing": ("86400", "0", "no time"),
    "an age of truth": ("86400", "true", "no time"),
    "an age of a life": ("86400", "86400000000", "no time"),
    "an answer that is none": ("newest_only = true", "newest_only = 1", "neither true nor false"),
    "a revoked thing of no kind": ('kind = "key"', 'kind = "house"', "unknown kind.*statement, key, subject"),
    "a revoked thing without digest": ("00" * 32, "00", "SHA-256"),
    "a rule that is none": ("[[rule]]", "[rule]", "TOML"),
    "a file that is too long": ("version = 1", "version = 1\n" + "#" * (1 << 18), "too long"),
    "a file of too many parts": ("version = 1", "version = 1\n" + "\n" * 6144, "too many parts"),
    "a line of too many dots": ("version = 1", "version = 1\na" + ".a" * 65 + " = 1", "too many dots"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_file_that_is_not_right_in_every_key_is_refused(wrong: tuple[str, str, str]) -> None:
    old, new, message = wrong
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        from_toml(TEXT.replace(old, new, 1))


def test_every_refusal_says_where_the_keys_stand() -> None:
    with pytest.raises(ConfigError, match=r"docs/statements\.md"):
        from_toml(TEXT.replace("threshold = 2\n", ""))


@pytest.mark.parametrize("value", [None, [], {"keys": {}, "rule": 1}, {"keys": {"a": "A"}, "rule": [1]}])
def test_a_table_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"\[root\]"):
        from_table(value, what="[root]")


def test_a_policy_without_rules_is_none() -> None:
    members = tomllib.loads(TEXT)
    with pytest.raises(ConfigError, match="no rule"):
        from_table({"keys": members["keys"], "rule": []}, what="[root]")


NAMESAKE = DsseKey("alice", BOB.spki)
UNWRITABLE = {
    "parts of seconds": evolve(RULE, max_age=timedelta(seconds=1.5)),
    "one name of two keys": evolve(RULE, signers=(NAMESAKE,), threshold=1),
    "two names of one key": evolve(RULE, signers=(DsseKey.of("carol", P256), ALICE)),
    "a name that nobody can see": evolve(RULE, subject_names=frozenset({"a\x7f"})),
    "no subject": evolve(RULE, subject_names=frozenset()),
}


@pytest.mark.parametrize("rule", UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_policy_that_no_file_can_say_is_not_written(rule: StatementRule) -> None:
    both = evolve(ANYTHING, signers=(ALICE, BOB))
    with pytest.raises(ConfigError):
        to_toml(StatementPolicy({DirectoryStatement.TYPE: rule, ModelDigests.TYPE: both}))
