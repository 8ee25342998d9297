"""The policy for TPMs: read strictly, written out in full, and never a simulator's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from confsec.errors import ConfigError, DecodeError
from confsec.protocol import cbor
from confsec.protocol.policy import UNSAFE_ANY
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.simulated.tpm import SIMULATED_REGISTRAR_KEY, UNSAFE_SIMULATED_TPM
from confsec.tee.tpm.policy import GOOGLE_EK_AK_ROOT, GOOGLE_EK_ROOT, ROOT_NAMES, TpmPolicy
from confsec.tee.tpm.structures import PcrSelection
from confsec.tee.tpm.verifier import TpmVerifier, read_tpm_policy

DIGEST = "11" * 32
TABLE: dict[str, cbor.CborValue] = {
    "trust_anchors": ["google-ek-ak"],
    "registrars": ["22" * 32],
    "maximum_statement_age": 365,
    "bank": "sha256",
    "pcr_selection": [0, 4, 7, 9, 11],
    "pcr_values": {"0": [DIGEST]},
    "boot_applications": [DIGEST],
    "kernel_command_lines": ["quiet"],
    "uki_sections": {".linux": [DIGEST]},
    "unsafe_allow_no_secure_boot": False,
    "unsafe_allow_no_production": False,
}


def policy(**changes: cbor.CborValue) -> TpmPolicy:
    """Read the table with other members."""
    return TpmPolicy.from_item(TABLE | changes)


def test_a_table_says_what_stands_in_it() -> None:
    found = policy()
    assert found.trust_anchors == (GOOGLE_EK_AK_ROOT,)
    assert found.maximum_statement_age == timedelta(days=365)
    assert found.bank is HashAlgorithm.SHA256
    assert found.selection == PcrSelection.of(HashAlgorithm.SHA256, (0, 4, 7, 9, 11))
    assert found.pcr_values == {0: (bytes.fromhex(DIGEST),)}
    assert found.uki_sections == {".linux": (bytes.fromhex(DIGEST),)}
    assert not found.accepts_simulated
    assert ROOT_NAMES["google-ek"] == GOOGLE_EK_ROOT


def test_what_is_written_out_reads_back() -> None:
    waived: dict[str, cbor.CborValue] = {
        "boot_applications": "UNSAFE_ANY",
        "kernel_command_lines": "UNSAFE_ANY",
        "uki_sections": "UNSAFE_ANY",
        "pcr_values": {},
    }
    sha384: dict[str, cbor.CborValue] = {
        "bank": "sha384",
        "pcr_values": {"9": ["11" * 48], "4": ["11" * 48, "00" * 48]},
        "boot_applications": [],
        "kernel_command_lines": [],
        "uki_sections": {},
    }
    every: tuple[dict[str, cbor.CborValue], ...] = ({}, waived, sha384)
    for changes in every:
        found = policy(**changes)
        assert TpmPolicy.from_item(found.to_item()) == found
        assert cbor.decode(cbor.encode(found.to_item()), what="policy", limit=1 << 16) == found.to_item()
        assert hash(found) == hash(TpmPolicy.from_item(found.to_item()))


def test_the_verifier_is_its_policy() -> None:
    verifier = read_tpm_policy(TABLE)
    assert verifier == TpmVerifier(policy())
    assert (verifier.name, verifier.accepts_simulated) == ("tpm", False)
    assert verifier.to_item() == policy().to_item()
    assert TpmVerifier(UNSAFE_SIMULATED_TPM).accepts_simulated


def test_bytes_may_be_bytes() -> None:
    assert policy(boot_applications=[bytes.fromhex(DIGEST)], trust_anchors=[GOOGLE_EK_AK_ROOT]) == policy()


@pytest.mark.parametrize("name", TABLE)
def test_no_key_may_be_missing(name: str) -> None:
    with pytest.raises(DecodeError):
        TpmPolicy.from_item({key: value for key, value in TABLE.items() if key != name})


@pytest.mark.parametrize(
    "changes",
    [
        {"other": 1},
        {"trust_anchors": ["amd-milan"]},
        {"trust_anchors": ["google-ek-ak", "google-ek-ak"]},
        {"trust_anchors": "UNSAFE_ANY"},
        {"trust_anchors": [1]},
        {"registrars": ["22" * 31]},
        {"registrars": ["22" * 32] * 2},
        {"maximum_statement_age": 0},
        {"maximum_statement_age": 3651},
        {"maximum_statement_age": "1"},
        {"bank": "sha1"},
        {"bank": 11},
        {"pcr_selection": []},
        {"pcr_selection": [0, 4, 7, 9, 11, 24]},
        {"pcr_selection": [0, 0, 4, 7, 9, 11]},
        {"pcr_selection": [0, 4, 9, 11]},
        {"pcr_selection": [0, 7, 9, 11]},
        {"pcr_selection": [0, 4, 7, 11]},
        {"pcr_selection": [0, 4, 7, 9]},
        {"pcr_selection": [4, 7, 9, 11]},
        {"pcr_values": {"00": [DIGEST]}},
        {"pcr_values": {"24": [DIGEST]}},
        {"pcr_values": {"0": []}},
        {"pcr_values": {"0": [DIGEST, DIGEST]}},
        {"pcr_values": {"0": ["11" * 48]}},
        {"pcr_values": []},
        {"pcr_values": "UNSAFE_ANY"},
        {"boot_applications": []},
        {"boot_applications": ["11" * 31]},
        {"boot_applications": [DIGEST, DIGEST]},
        {"boot_applications": "ANY"},
        {"kernel_command_lines": []},
        {"kernel_command_lines": [1]},
        {"kernel_command_lines": ["x" * 4097]},
        {"kernel_command_lines": ["quiet", "quiet"]},
        {"uki_sections": {".other": [DIGEST]}},
        {"uki_sections": {".linux": []}},
        {"uki_sections": {".linux": [DIGEST, DIGEST]}},
        {"uki_sections": {"." + str(number): [DIGEST] for number in range(25)}},
        {"uki_sections": {}, "boot_applications": "UNSAFE_ANY"},
        {"uki_sections": []},
        {"unsafe_allow_no_secure_boot": 1},
        {"unsafe_allow_no_production": "no"},
    ],
)
def test_what_is_not_meant_is_refused(changes: dict[str, cbor.CborValue]) -> None:
    with pytest.raises(DecodeError):
        policy(**changes)


def test_a_simulator_is_never_trusted_by_a_file() -> None:
    simulated: tuple[dict[str, cbor.CborValue], ...] = (
        {"trust_anchors": list(UNSAFE_SIMULATED_TPM.trust_anchors)},
        {"registrars": [SIMULATED_REGISTRAR_KEY]},
    )
    for changes in simulated:
        with pytest.raises(DecodeError, match="simulator"):
            policy(**changes)


def test_a_table_is_a_table() -> None:
    values: tuple[cbor.CborValue, ...] = ([], "UNSAFE_ANY", None)
    for value in values:
        with pytest.raises(DecodeError):
            TpmPolicy.from_item(value)


@pytest.mark.parametrize(
    "changes",
    [
        {"bank": HashAlgorithm.SHA1},
        {"maximum_statement_age": timedelta(hours=30)},
        {"maximum_statement_age": timedelta(hours=1)},
        {"maximum_statement_age": timedelta(days=4000)},
        {"trust_anchors": (bytes(32), bytes(32))},
    ],
)
def test_code_is_held_to_the_same(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        UNSAFE_SIMULATED_TPM.replace(**changes)


def test_a_pinned_pcr_says_what_a_list_would() -> None:
    pinned = policy(
        pcr_values={"4": [DIGEST], "9": [DIGEST]}, boot_applications=[], kernel_command_lines=[], uki_sections={}
    )
    assert pinned.identifies_system
    by_uki = policy(pcr_values={"11": [DIGEST]}, boot_applications="UNSAFE_ANY", uki_sections={})
    assert not by_uki.identifies_system


def test_a_system_is_known_by_what_was_started_and_how() -> None:
    assert policy().identifies_system
    assert not policy(boot_applications="UNSAFE_ANY").identifies_system
    assert not policy(kernel_command_lines="UNSAFE_ANY").identifies_system
    # A kernel that is not unified takes any initial RAM disk.
    unnamed: tuple[Any, ...] = ("UNSAFE_ANY", {})
    for sections in unnamed:
        assert not policy(uki_sections=sections).identifies_system
        assert policy(uki_sections=sections, pcr_values={"9": [DIGEST]}).identifies_system


def test_secure_boot_can_be_given_up_in_plain_words() -> None:
    assert policy(unsafe_allow_no_secure_boot=True, pcr_selection=[0, 4, 9, 11]).unsafe_allow_no_secure_boot


def test_any_stands_for_any() -> None:
    assert policy(boot_applications="UNSAFE_ANY").boot_applications == UNSAFE_ANY
