"""Policies for TDX are data, of one spelling, without a permissive default."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfigError, DecodeError
from confsec.protocol import cbor
from confsec.protocol.policy import UNSAFE_ANY
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY
from confsec.tee.tdx.policy import INTEL_SGX_ROOT, RegisterRule, TdxPolicy
from confsec.tee.tdx.tcb import TcbStatus
from confsec.tee.tdx.verifier import TdxVerifier, read_tdx_policy
from tests.tee.tdx.cases import REAL_POLICY

ONE, TWO = bytes([1]) * 48, bytes([2]) * 48
FULL = evolve(
    REAL_POLICY,
    accepted_tcb_statuses=(TcbStatus.UP_TO_DATE, TcbStatus.SW_HARDENING_NEEDED),
    denied_advisories=("INTEL-SA-00615", "INTEL-SA-00837"),
    mr_td=(ONE, TWO),
    rtmr0=RegisterRule(values=(ONE,)),
    rtmr1=RegisterRule(required=(ONE,), allowed=(TWO,)),
)


def digests() -> st.SearchStrategy[tuple[bytes, ...]]:
    return st.lists(st.binary(min_size=48, max_size=48), max_size=3, unique=True).map(lambda each: tuple(sorted(each)))


@given(
    values=digests(),
    required=digests(),
    days=st.integers(0, 3650),
    svn=st.binary(min_size=16, max_size=16),
    flags=st.lists(st.booleans(), min_size=6, max_size=6),
    statuses=st.sets(st.sampled_from([each for each in TcbStatus if each is not TcbStatus.REVOKED])),
)
def test_policies_come_back(
    values: tuple[bytes, ...],
    required: tuple[bytes, ...],
    days: int,
    svn: bytes,
    flags: list[bool],
    statuses: set[TcbStatus],
) -> None:
    names = ("allow_dynamic_platform", "allow_cached_keys", "allow_smt", "unsafe_allow_debug", "unsafe_allow_migration",
             "unsafe_allow_sept_ve")  # fmt: skip
    chosen: dict[str, Any] = dict(zip(names, flags, strict=True))
    policy = evolve(
        FULL,
        mr_td=values,
        rtmr2=RegisterRule(required=required) if required else UNSAFE_ANY,
        grace_days=days,
        min_tee_tcb_svn=svn,
        accepted_tcb_statuses=tuple(each for each in TcbStatus if each in statuses),
        **chosen,
    )
    item = policy.to_item()
    assert TdxPolicy.from_item(cbor.decode(cbor.encode(item), what="a policy", limit=1 << 16)) == policy


def in_hex(value: Any) -> Any:
    """Return an item as a TOML file would have it."""
    match value:
        case bytes():
            return value.hex()
        case list():
            return [in_hex(each) for each in value]
        case dict():
            return {name: in_hex(each) for name, each in value.items()}
        case _:
            return value


def test_file_may_write_bytes_in_hex_and_lists_in_any_order() -> None:
    item = in_hex(FULL.to_item())
    item["mr_td"] = [TWO.hex(), ONE.hex()]
    item["denied_advisories"] = ["INTEL-SA-00837", "INTEL-SA-00615"]
    item["accepted_tcb_statuses"] = ["SWHardeningNeeded", "UpToDate"]
    item["trust_anchors"] = ["intel-sgx-root"]
    assert TdxPolicy.from_item(item) == FULL
    assert FULL.trust_anchors == (INTEL_SGX_ROOT,)


@pytest.mark.parametrize("name", sorted(FULL.to_item()))
def test_no_key_has_a_default(name: str) -> None:
    item = FULL.to_item()
    del item[name]
    with pytest.raises(DecodeError, match="not a map of its members"):
        TdxPolicy.from_item(item)


def test_key_that_no_policy_has_is_refused() -> None:
    with pytest.raises(DecodeError, match="not a map of its members"):
        TdxPolicy.from_item({**FULL.to_item(), "allow_debug": True})
    with pytest.raises(DecodeError):
        TdxPolicy.from_item([])


WRONG: tuple[tuple[str, Any], ...] = (
    ("trust_anchors", ["amd-milan"]),
    ("trust_anchors", [bytes(31)]),
    ("trust_anchors", [INTEL_SGX_ROOT, INTEL_SGX_ROOT]),
    ("trust_anchors", "UNSAFE_ANY"),
    ("accepted_tcb_statuses", ["Good"]),
    ("accepted_tcb_statuses", ["Revoked"]),
    ("accepted_tcb_statuses", ["UpToDate", "UpToDate"]),
    ("accepted_tcb_statuses", "UNSAFE_ANY"),
    ("denied_advisories", ["x" * 65]),
    ("denied_advisories", [615]),
    ("grace_days", -1),
    ("grace_days", 3651),
    ("grace_days", "UNSAFE_ANY"),
    ("min_tcb_evaluation", 1 << 32),
    ("min_tee_tcb_svn", bytes(15)),
    ("min_qe_svn", True),
    ("min_pce_svn", "13"),
    ("allow_smt", 1),
    ("mr_td", [bytes(47)]),
    ("mr_td", [ONE, ONE]),
    ("mr_td", "ANY"),
    ("mr_td", [ONE] * 1025),
    ("rtmr0", []),
    ("rtmr0", [ONE, ONE]),
    ("rtmr0", {"required": []}),
    ("rtmr0", {"required": [], "allowed": []}),
    ("rtmr0", {"required": [ONE, ONE], "allowed": []}),
    ("rtmr0", {"required": [], "allowed": [bytes(32)]}),
    ("rtmr3", {"required": [ONE], "allowed": []}),
    ("unsafe_allow_debug", "UNSAFE_ANY"),
)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_value_of_another_form_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DecodeError):
        TdxPolicy.from_item({**FULL.to_item(), name: value})


@pytest.mark.parametrize(
    "change",
    [
        {"accepted_tcb_statuses": (TcbStatus.OUT_OF_DATE, TcbStatus.UP_TO_DATE)},
        {"accepted_tcb_statuses": (TcbStatus.REVOKED,)},
        {"mr_td": (TWO, ONE)},
        {"denied_advisories": ("b", "a")},
    ],
)
def test_policy_has_one_spelling(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        evolve(FULL, **change)


def test_register_has_values_or_events() -> None:
    with pytest.raises(ConfigError, match="either values or events"):
        RegisterRule()
    with pytest.raises(ConfigError, match="either values or events"):
        RegisterRule(values=(ONE,), required=(TWO,))
    with pytest.raises(ConfigError, match="sorted"):
        RegisterRule(required=(TWO, ONE))


def test_root_of_a_simulator_cannot_be_read_from_data() -> None:
    assert SIMULATED_TDX_POLICY.accepts_simulated
    assert not REAL_POLICY.accepts_simulated
    with pytest.raises(DecodeError, match="root of a simulator"):
        TdxPolicy.from_item(SIMULATED_TDX_POLICY.to_item())


def test_verifier_is_read_from_the_table_of_a_policy() -> None:
    verifier = read_tdx_policy(FULL.to_item())
    assert verifier == TdxVerifier(FULL)
    assert (verifier.name, verifier.accepts_simulated, verifier.to_item()) == ("tdx", False, FULL.to_item())
