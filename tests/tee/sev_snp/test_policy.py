"""Policies are read strictly, from a file and from a Proof, and none can accept a simulator."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from attrs import evolve, fields

from confsec.errors import ConfigError, DecodeError
from confsec.protocol import cbor
from confsec.protocol.policy import UNSAFE_ANY
from confsec.tee.sev_snp.certificates import AMD_ROOTS
from confsec.tee.sev_snp.evidence import Product, Tcb
from confsec.tee.sev_snp.floors import AMD_FLOORS_2026_10
from confsec.tee.sev_snp.policy import SnpPolicy, TcbFloor
from confsec.tee.sev_snp.verifier import SnpVerifier, read_snp_verifier
from confsec.tee.simulated.amd import UNSAFE_SIMULATED_SNP

GOOD = evolve(
    UNSAFE_SIMULATED_SNP,
    trust_anchors=(AMD_ROOTS["amd-genoa"],),
    tcb_floors=AMD_FLOORS_2026_10,
    required_mitigations=(0, 2),
    csp_ids=("CN=a", "CN=b"),
)

TOML = f"""
trust_anchors = ["amd-genoa"]
products = ["Turin", "Genoa"]
signing_keys = ["vcek"]
csp_ids = []
unsafe_allow_missing_crl = false
min_report_version = 3
min_abi = [0, 31]
min_firmware = [1, 55, 40]
unsafe_allow_provisional_firmware = false
min_guest_svn = 0
vmpl = 0
measurements = ["{"01" * 48}"]
firmware_measurements = []
host_data = ["{"00" * 32}"]
family_ids = "UNSAFE_ANY"
image_ids = "UNSAFE_ANY"
id_keys = ["{"00" * 48}"]
author_keys = ["{"00" * 48}"]
required_mitigations = []
accepted_chips = "UNSAFE_ANY"
denied_chips = ["{"aa" * 64}"]

[guest_policy]
smt = "UNSAFE_ANY"
migrate_ma = "forbidden"
debug = "forbidden"
single_socket = "UNSAFE_ANY"
cxl = "forbidden"
mem_aes_256_xts = "UNSAFE_ANY"
rapl_disabled = "UNSAFE_ANY"
ciphertext_hiding = "required"
page_swap_disabled = "UNSAFE_ANY"

[platform_info]
smt = "UNSAFE_ANY"
tsme = "UNSAFE_ANY"
ecc = "required"
rapl_disabled = "UNSAFE_ANY"
ciphertext_hiding = "UNSAFE_ANY"
alias_check_complete = "required"
iommu_write_safe = "UNSAFE_ANY"
tio = "UNSAFE_ANY"

[[tcb_floors]]
product = "Genoa"
cpu = "191101"
advisories = ["AMD-SB-3019"]
fmc = 0
bootloader = 10
tee = 0
snp = 23
microcode = 84
"""


def table() -> dict[str, Any]:
    return tomllib.loads(TOML)


def test_policy_is_read_from_a_file() -> None:
    policy = SnpPolicy.from_item(table())
    assert policy.trust_anchors == (AMD_ROOTS["amd-genoa"],)
    assert policy.products == ("Genoa", "Turin")
    assert policy.measurements == (b"\x01" * 48,)
    assert policy.family_ids == UNSAFE_ANY
    assert policy.guest_policy["debug"] is False
    assert policy.guest_policy["ciphertext_hiding"] is True
    assert policy.min_firmware == (1, 55, 40)
    level = Tcb(bootloader=10, tee=0, snp=23, microcode=84)
    floor = TcbFloor(product=Product.GENOA, cpu=b"\x19\x11\x01", advisories=("AMD-SB-3019",), tcb=level)
    assert policy.tcb_floors == (floor,)
    assert not policy.accepts_simulated


@pytest.mark.parametrize("policy", [GOOD, SnpPolicy.from_item(table())], ids=["constant", "file"])
def test_policy_is_the_same_after_a_proof(policy: SnpPolicy) -> None:
    verifier = SnpVerifier(policy)
    item = cbor.decode(cbor.encode(verifier.to_item()), what="a policy", limit=1 << 16)
    assert read_snp_verifier(item) == verifier
    assert verifier.name == "sev-snp"
    assert not verifier.accepts_simulated


def test_simulator_is_refused_from_data() -> None:
    assert UNSAFE_SIMULATED_SNP.accepts_simulated
    assert SnpVerifier(UNSAFE_SIMULATED_SNP).accepts_simulated
    with pytest.raises(DecodeError, match="simulator"):
        SnpPolicy.from_item(UNSAFE_SIMULATED_SNP.to_item())


@pytest.mark.parametrize("name", [each.name for each in fields(SnpPolicy)])
def test_missing_key_is_refused(name: str) -> None:
    found = table()
    del found[name]
    with pytest.raises(DecodeError):
        SnpPolicy.from_item(found)


@pytest.mark.parametrize("name", [each.name for each in fields(SnpPolicy)])
@pytest.mark.parametrize("value", [None, -1, "x", ["x"], [None], {}, {"x": 1}, [[]], [{}]], ids=repr)
def test_value_of_another_form_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DecodeError):
        SnpPolicy.from_item({**table(), name: value} if name != "csp_ids" or value != ["x"] else {})


def test_unknown_key_is_refused() -> None:
    with pytest.raises(DecodeError):
        SnpPolicy.from_item({**table(), "more": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"measurements": ["01" * 48, "01" * 48]},
        {"measurements": ["01" * 47]},
        {"measurements": ["0A" * 48]},
        {"trust_anchors": ["amd-rome"]},
        {"products": ["Rome"]},
        {"signing_keys": ["none"]},
        {"min_report_version": 6},
        {"vmpl": 4},
        {"min_abi": [1]},
        {"min_abi": [0, 256]},
        {"min_firmware": [1, 2, 3, 4]},
        {"required_mitigations": [64]},
        {"csp_ids": [""]},
        {"csp_ids": ["x" * 129]},
        {"host_data": "unsafe_any"},
    ],
    ids=repr,
)
def test_bad_value_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        SnpPolicy.from_item({**table(), **changes})


@pytest.mark.parametrize(
    "changes",
    [{"product": "Rome"}, {"cpu": "1911"}, {"cpu": ""}, {"advisories": []}, {"snp": 256}, {"more": 1}],
    ids=repr,
)
def test_bad_floor_is_refused(changes: dict[str, Any]) -> None:
    found = table()
    found["tcb_floors"] = [{**found["tcb_floors"][0], **changes}]
    with pytest.raises(DecodeError):
        SnpPolicy.from_item(found)


@pytest.mark.parametrize("name", ["guest_policy", "platform_info"])
def test_bits_are_all_named(name: str) -> None:
    found = table()
    first = next(iter(found[name]))
    empty: dict[str, Any] = {name: {}}
    for changed in ({**found[name], first: "maybe"}, {key: found[name][key] for key in found[name] if key != first}):
        with pytest.raises(DecodeError):
            SnpPolicy.from_item({**found, name: changed})
        with pytest.raises(ConfigError):
            evolve(GOOD, **empty)


def test_lists_stand_in_one_order() -> None:
    with pytest.raises(ConfigError):
        evolve(GOOD, products=("Turin", "Genoa"))
    with pytest.raises(ConfigError):
        evolve(GOOD, tcb_floors=AMD_FLOORS_2026_10[::-1])
    with pytest.raises(ConfigError):
        TcbFloor(product=Product.MILAN, cpu=b"", advisories=("b", "a"), tcb=GOOD.tcb_floors[0].tcb)


def test_any_cpu_is_written_out() -> None:
    item = GOOD.tcb_floors[0].to_item()
    assert item["cpu"] == "any"
    assert item["advisories"] == ["AMD-SB-3016"]
