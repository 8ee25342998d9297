"""Witness policies: their form, and whose word is enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.witness_policy import MAX_POLICY, WitnessPolicy

LOG = Signer("log.example/one", KeyType.ED25519, bytes(32))
WITNESSES = [Signer(f"w{n}.example", KeyType.ED25519_COSIGNATURE, bytes([n]) * 32) for n in range(1, 6)]
KEYS = [each.key.encode() for each in WITNESSES]
NAMES = "".join(f"witness w{n} {key}\n" for n, key in enumerate(KEYS, 1))
START = datetime(2026, 1, 1, tzinfo=UTC)


def read(text: str) -> WitnessPolicy:
    return WitnessPolicy.decode(text.encode("utf-8", "surrogateescape"))


def at(*minutes: int) -> dict[str, datetime]:
    return {f"w{n}": START + timedelta(minutes=minute) for n, minute in enumerate(minutes, 1)}


def test_a_policy_comes_back() -> None:
    text = f"""# who is known
    log {LOG.key.encode()} https://log.example/one
{NAMES}\tgroup  x 2 w1 w2\tw3
group y any w4 w5
group both all x y

quorum both"""
    policy = read(text)
    assert WitnessPolicy.decode(policy.encode()) == policy
    assert policy.find_log("log.example/one").url == "https://log.example/one"
    assert [group.threshold for group in policy.groups] == [2, 1, 2]
    policy.require_quorum()


def test_names_are_opaque_bytes() -> None:
    data = f"witness w\N{KELVIN SIGN} {KEYS[0]}\n".encode() + b"witness w\xff " + KEYS[1].encode() + b"\nquorum w\xff\n"
    policy = WitnessPolicy.decode(data)
    assert policy.encode() == data


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no quorum"),
        (NAMES, "no quorum"),
        ("quorum w1\n", "line 1"),
        (NAMES + "quorum w1\nquorum w2\n", "second"),
        (NAMES + "quorum w1 w2\n", "forms"),
        (NAMES + "quorum w\u00a01\n", "line 6"),
        (NAMES + f"witness w1 {LOG.key.encode()}\nquorum w1\n", "taken"),
        (NAMES + f"witness none {LOG.key.encode()}\nquorum w1\n", "taken"),
        (NAMES + f"witness other {KEYS[0]}\nquorum w1\n", "one key"),
        (NAMES + "group g 3 w1 w2\nquorum g\n", "so many"),
        (NAMES + "group g 0 w1 w2\nquorum g\n", "so many"),
        (NAMES + "group g 01 w1 w2\nquorum g\n", "so many"),
        (NAMES + "group g 1\nquorum g\n", "forms"),
        (NAMES + "group g 1 w1 w1\nquorum g\n", "twice"),
        (NAMES + "group g 1 w1\ngroup h 1 w1\nquorum g\n", "twice"),
        (NAMES + "group g 1 none\nquorum g\n", "no line before"),
        (NAMES + "group g 1 g\nquorum g\n", "no line before"),
        (f"log {LOG.key.encode()}\nlog {LOG.key.encode()}\nquorum none\n", "two logs"),
        (f"log {KEYS[0]}\nquorum none\n", "does not sign"),
        (f"log {LOG.key.encode()} url more\nquorum none\n", "forms"),
        ("log key\nquorum none\n", "line 1"),
        ("quorum none\r\n", "control"),
        ("#" * (MAX_POLICY + 1), "too long"),
        ("\n" * 2000, "too many lines"),
    ],
)
def test_other_text_is_no_policy(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        read(text)


def test_a_witness_signs_with_a_key_for_that() -> None:
    spki_key = (
        "rekor.sigstore.dev+c0d23d6a+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhtmPtrWm3U1eQXBogSMdGvXwBcK5AW5i0h"
        "rZLOC96l+smGNM7nwZ4QvFK/4sueRoVj//QP22Ni4Qt9DPfkWLc="
    )
    with pytest.raises(ConfigError, match="does not sign"):
        read(f"witness w {spki_key}\nquorum w\n")
    old = Signer("w", KeyType.ED25519, b"1" * 32)
    (witness,) = read(f"witness w {old.key.encode()}\nquorum w\n").witnesses
    assert witness.key.type is KeyType.ED25519_COSIGNATURE


def test_without_a_quorum_nobody_is_believed() -> None:
    policy = read(NAMES + "quorum none\n")
    assert WitnessPolicy.decode(policy.encode()) == policy
    assert policy.known_since(at(1, 2, 3)) is None
    with pytest.raises(ConfigError, match="asks no witness"):
        policy.require_quorum()
    with pytest.raises(ConfigError, match="does not know"):
        policy.find_log("other")


def test_one_witness_can_be_a_quorum() -> None:
    policy = read(NAMES + "quorum w2\n")
    assert policy.known_since(at(1, 5)) == policy.fresh_since(at(1, 5)) == START + timedelta(minutes=5)
    assert policy.known_since(at(1)) is None


def test_the_times_of_a_quorum() -> None:
    policy = read(NAMES + "group x 2 w1 w2 w3\ngroup y any w4 w5\ngroup both all x y\nquorum both\n")
    times = at(10, 20, 30, 5, 40)
    assert policy.known_since(times) == START + timedelta(minutes=20)
    assert policy.fresh_since(times) == START + timedelta(minutes=20)
    del times["w4"]
    assert policy.known_since(times) == START + timedelta(minutes=40)
    assert policy.known_since(at(10, 20, 30)) is None


@given(st.dictionaries(st.sampled_from([f"w{n}" for n in range(1, 6)]), st.integers(0, 50)), st.integers(1, 5))
def test_times_are_those_of_the_best_choice(minutes: dict[str, int], threshold: int) -> None:
    policy = read(NAMES + f"group g {threshold} w1 w2 w3 w4 w5\nquorum g\n")
    times = {name: START + timedelta(minutes=minute) for name, minute in minutes.items()}
    if len(times) < threshold:
        assert policy.known_since(times) is policy.fresh_since(times) is None
        return
    ordered = sorted(times.values())
    assert policy.known_since(times) == ordered[threshold - 1]
    assert policy.fresh_since(times) == ordered[-threshold]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_policy_or_an_error(data: bytes) -> None:
    try:
        policy = WitnessPolicy.decode(data)
    except ConfsecError:
        return
    assert WitnessPolicy.decode(policy.encode()) == policy


@pytest.mark.parametrize(
    ("groups", "splits"),
    [
        ("group q 2 a b c\nquorum q", False),
        ("group q 1 a b c\nquorum q", True),
        ("group q 2 a b c d\nquorum q", True),
        ("group q 3 a b c d\nquorum q", False),
        ("quorum a", False),
        ("quorum none", True),
        ("group x 1 a b\ngroup q 2 x c\nquorum q", False),
        ("group x 1 a b\ngroup y 1 c d\ngroup q 2 x y\nquorum q", True),
        ("group x 2 a b\ngroup y 2 c d\ngroup q 1 x y\nquorum q", True),
        ("group x 1 a b\ngroup q all x c d\nquorum q", False),
    ],
)
def test_quorums_that_share_nobody_are_found(groups: str, splits: bool) -> None:  # noqa: FBT001
    """Also by trying every pair of sets of witnesses."""
    signers = {name: Signer(f"{name}.example", KeyType.ED25519_COSIGNATURE, name.encode() * 32) for name in "abcd"}
    text = "".join(f"witness {name} {each.key.encode()}\n" for name, each in signers.items()) + groups + "\n"
    policy = WitnessPolicy.decode(text.encode())
    assert policy.may_split is splits
    now = datetime(2026, 11, 28, tzinfo=UTC)
    sets = [{name: now for place, name in enumerate("abcd") if number >> place & 1} for number in range(16)]
    disjoint = any(
        policy.known_since(one) and policy.known_since(other) and one.keys().isdisjoint(other)
        for one in sets
        for other in sets
    )
    assert disjoint is (splits and policy.quorum != "")
