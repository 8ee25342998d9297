"""Policies: what they demand, how they are written, and what no file can say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from attrs import evolve, frozen

from confsec.errors import AppraisalError, ConfigError, DecodeError
from confsec.protocol import cbor
from confsec.protocol.checks import Check, Status
from confsec.protocol.platforms import Assumption
from confsec.protocol.policy import (
    ATTESTATION_CHECK,
    MAX_POLICY,
    PRODUCTION,
    UNSAFE_ANY,
    UNSAFE_UNATTESTED,
    Policy,
    PolicyReader,
)
from confsec.protocol.rats import TeeFindings, VerificationRequest

FILE = """
name = "ours"
minimum_nodes = 3
maximum_age = 1800
platforms = ["sev-snp"]
accepted_assumptions = ["amd"]
manifests = ["0000000000000000000000000000000000000000000000000000000000000001"]
unsafe_waived = ["log.fleet", "token.spend"]

[sev-snp]
simulated = false
"""


@frozen
class Verifier:
    """Stands for a kind of TEE: what is looked at here is the policy around it."""

    accepts_simulated: bool = False
    name: str = "sev-snp"

    @property
    def lists(self) -> frozenset[str]:
        return frozenset()

    def with_values(self, values: Mapping[str, tuple[bytes, ...]]) -> Verifier:
        return self

    def to_item(self) -> dict[str, cbor.CborValue]:
        return {"simulated": self.accepts_simulated}

    def verify(self, request: VerificationRequest) -> TeeFindings:
        raise AssertionError(request)


def read_verifier(table: cbor.CborValue) -> Verifier:
    members = cbor.as_map(table, what="the table [sev-snp]", keys=("simulated",))
    return Verifier(accepts_simulated=members["simulated"] is True)


READER = PolicyReader({"sev-snp": read_verifier})


def check(status: Status, check_id: str = "log.fleet") -> Check:
    return Check(check_id, "RFC 0", status, "because")


def test_reads_a_policy_file() -> None:
    policy = READER.from_toml(FILE)
    assert policy == Policy(
        name="ours",
        minimum_nodes=3,
        maximum_age=timedelta(minutes=30),
        platforms=("sev-snp",),
        accepted_assumptions=(Assumption.AMD,),
        manifests=(bytes(31) + b"\x01",),
        unsafe_waived=("log.fleet", "token.spend"),
        verifiers=(Verifier(),),
    )
    assert READER.from_item(policy.to_item()) == policy
    assert READER.from_item(cbor.decode(cbor.encode(policy.to_item()), what="a policy", limit=4096)) == policy


def test_any_manifest_has_to_be_said() -> None:
    text = FILE.replace('["0000000000000000000000000000000000000000000000000000000000000001"]', '"UNSAFE_ANY"')
    policy = READER.from_toml(text)
    assert policy.manifests == UNSAFE_ANY
    assert repr(policy.manifests) == "UNSAFE_ANY"
    assert READER.from_item(policy.to_item()) == policy


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("minimum_nodes = 3", "minimum_nodes = 0"),
        ("minimum_nodes = 3", "minimum_nodes = '3'"),
        ("minimum_nodes = 3", "minimum_nodes = 10001"),
        ("minimum_nodes = 3", f"minimum_nodes = {1 << 70}"),
        ('name = "ours"', 'name = "PRODUCTION\\u200b"'),
        ("minimum_nodes = 3", ""),
        ("minimum_nodes = 3", "minimum_nodes = 3\nunknown = 1"),
        ("maximum_age = 1800", "maximum_age = 3601"),
        ("maximum_age = 1800", "maximum_age = 0"),
        ("maximum_age = 1800", "maximum_age = 99999999999999"),
        ("maximum_age = 1800", ""),
        ('"log.fleet", "token.spend"', '"log.fleet", "log.fleet"'),
        ('"log.fleet"', f'"{ATTESTATION_CHECK}"'),
        ('name = "ours"', 'name = ""'),
        ('name = "ours"', 'name = "UNSAFE_UNATTESTED"'),
        ('name = "ours"', 'name = "PRODUCTION"'),
        ('name = "ours"', "name ="),
        ('["log.fleet", "token.spend"]', '"log.fleet"'),
        ('["amd"]', '["everything"]'),
        ('["amd"]', "[1]"),
        ('["sev-snp"]', '["sev-snp", "tdx"]'),
        ('["sev-snp"]', '["enclave"]'),
        ("[sev-snp]", "[sev]"),
        ("simulated = false", "simulated = true"),
        ("simulated = false", ""),
        ('01"]', '0g"]'),
        ('01"]', '"]'),
    ],
)
def test_refuses_a_policy_file_that(old: str, new: str) -> None:
    assert old in FILE
    with pytest.raises(ConfigError):
        READER.from_toml(FILE.replace(old, new))


def test_a_proof_names_a_constant_by_its_digest_and_nothing_like_it() -> None:
    for constant in (UNSAFE_UNATTESTED, PRODUCTION):
        assert READER.from_item(constant.to_item()) is constant
    item = UNSAFE_UNATTESTED.to_item()
    forgeries: tuple[cbor.CborValue, ...] = (
        {**item, "constant": "PRODUCTION"},
        {**item, "digest": bytes(32)},
        {**item, "constant": 1},
        [],
    )
    for forged in forgeries:
        with pytest.raises(DecodeError):
            READER.from_item(forged)
    with pytest.raises(DecodeError, match=ATTESTATION_CHECK):
        READER.from_item({**UNSAFE_UNATTESTED.to_members(), "name": "fine"})
    with pytest.raises(DecodeError):
        READER.from_item({**READER.from_toml(FILE).to_item(), "maximum_age": 7200})


def test_only_a_constant_accepts_simulated_roots() -> None:
    demo = evolve(READER.from_toml(FILE), name="DEMO", verifiers=(Verifier(accepts_simulated=True),))
    assert demo.accepts_simulated
    with pytest.raises(DecodeError, match="simulated"):
        READER.from_item(demo.to_item())
    constant = evolve(demo, constant=True)
    assert PolicyReader({}, (constant,)).from_item(constant.to_item()) is constant
    with pytest.raises(DecodeError, match="does not publish"):
        READER.from_item(constant.to_item())


def test_a_policy_in_code_has_one_spelling() -> None:
    policy = READER.from_toml(FILE)
    with pytest.raises(ConfigError, match="sorted"):
        evolve(policy, unsafe_waived=("token.spend", "log.fleet"))
    with pytest.raises(ConfigError, match="sorted"):
        evolve(policy, manifests=(b"b", b"a"))
    with pytest.raises(ConfigError, match="table"):
        evolve(policy, verifiers=())


def test_production_waives_nothing_and_accepts_nothing_until_it_names_software() -> None:
    assert PRODUCTION.unsafe_waived == ()
    assert PRODUCTION.platforms == ()
    assert not PRODUCTION.accepts_simulated


@pytest.mark.parametrize("status", [Status.PASS, Status.INFO])
def test_what_passes_or_informs_is_accepted(status: Status) -> None:
    PRODUCTION.require([check(status)])


def test_a_skip_is_accepted_only_with_a_waiver() -> None:
    READER.from_toml(FILE).require([check(Status.SKIP)])
    with pytest.raises(AppraisalError, match=r"log\.fleet: because"):
        PRODUCTION.require([check(Status.SKIP)])
    with pytest.raises(AppraisalError) as refused:
        READER.from_toml(FILE).require([check(Status.SKIP, "log.directory"), check(Status.PASS)])
    assert refused.value.codes == ("log.directory",)
    assert len(refused.value.checks) == 2


def test_a_failure_is_never_accepted() -> None:
    with pytest.raises(AppraisalError, match=r"log\.fleet"):
        READER.from_toml(FILE).require([check(Status.PASS), check(Status.FAIL)])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#" * (MAX_POLICY + 1), "too long"),
        ("x = [" + "0," * 7000 + "]", "too many parts"),
        (".".join("a" * 100) + " = 1", "too many dots"),
    ],
)
def test_refuses_a_file_that_would_take_long_to_read(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        READER.from_toml(text)
