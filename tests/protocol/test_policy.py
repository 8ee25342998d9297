"""Policies, and the verdict over checks."""

from __future__ import annotations

import pytest

from confsec.errors import ConfigError, DecodeError, PolicyError
from confsec.protocol.policy import (
    ATTESTATION_CHECK,
    PRODUCTION,
    UNSAFE_UNATTESTED,
    Check,
    Policy,
    Status,
    appraise_checks,
)

FILE = 'name = "ours"\nminimum_nodes = 3\nunsafe_waived = ["log.fleet", "token.spend"]\n'


def check(status: Status, check_id: str = "log.fleet") -> Check:
    return Check(check_id, "RFC 0", status, "because")


def test_reads_a_policy_file() -> None:
    policy = Policy.from_toml(FILE)
    assert policy == Policy(name="ours", minimum_nodes=3, unsafe_waived=("log.fleet", "token.spend"))
    assert Policy.from_item(policy.to_item()) == policy


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("minimum_nodes = 3", "minimum_nodes = 0"),
        ("minimum_nodes = 3", "minimum_nodes = '3'"),
        ("minimum_nodes = 3", ""),
        ("minimum_nodes = 3", "minimum_nodes = 3\nunknown = 1"),
        ('"log.fleet", "token.spend"', '"token.spend", "log.fleet"'),
        ('"log.fleet", "token.spend"', '"log.fleet", "log.fleet"'),
        ('"log.fleet"', f'"{ATTESTATION_CHECK}"'),
        ('name = "ours"', 'name = ""'),
        ('name = "ours"', 'name = "UNSAFE_UNATTESTED"'),
        ('name = "ours"', "name ="),
        ('["log.fleet", "token.spend"]', '"log.fleet"'),
    ],
)
def test_refuses_a_policy_file_that(old: str, new: str) -> None:
    assert old in FILE
    with pytest.raises(ConfigError):
        Policy.from_toml(FILE.replace(old, new))


def test_a_proof_can_name_the_constant_that_waives_attestation_and_nothing_like_it() -> None:
    item = UNSAFE_UNATTESTED.to_item()
    assert Policy.from_item(item) == UNSAFE_UNATTESTED
    with pytest.raises(DecodeError, match="UNSAFE_UNATTESTED"):
        Policy.from_item({**item, "name": "fine"})
    with pytest.raises(DecodeError):
        Policy.from_item({**item, "minimum_nodes": 2})
    with pytest.raises(DecodeError):
        Policy.from_item([])


def test_production_waives_nothing() -> None:
    assert PRODUCTION.unsafe_waived == ()


@pytest.mark.parametrize("status", [Status.PASS, Status.INFO])
def test_what_passes_or_informs_is_accepted(status: Status) -> None:
    appraise_checks([check(status)], PRODUCTION)


def test_a_skip_is_accepted_only_with_a_waiver() -> None:
    appraise_checks([check(Status.SKIP)], Policy.from_toml(FILE))
    with pytest.raises(PolicyError, match=r"log\.fleet: skip, because"):
        appraise_checks([check(Status.SKIP)], PRODUCTION)
    with pytest.raises(PolicyError):
        appraise_checks([check(Status.SKIP, "log.directory")], Policy.from_toml(FILE))


def test_a_failure_is_never_accepted() -> None:
    with pytest.raises(PolicyError, match=r"log\.fleet: fail"):
        appraise_checks([check(Status.PASS), check(Status.FAIL)], Policy.from_toml(FILE))
