"""What a verifier concludes: claims, what vouches for what, when it ends; and that nothing signed can be changed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, strategies as st

from confsec.errors import EvidenceError
from confsec.protocol.checks import Status
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.platforms import (
    AZURE_RUNTIME_DATA,
    BINDING as BINDING_NAME,
    CCEL,
    OPERATING_SYSTEM,
    TDX,
    TPM_AK,
)
from confsec.protocol.policy import UNSAFE_ANY
from confsec.protocol.rats import VENDOR, TeeFindings
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY, SimulatedIntel, make_root, simulated_log
from confsec.tee.tdx import subject
from confsec.tee.tdx.collateral import MAX_COLLATERAL, TDX_COLLATERAL, Collateral
from confsec.tee.tdx.evidence import MAX_QUOTE, Quote
from confsec.tee.tdx.policy import TdxPolicy
from confsec.tee.tdx.tcb import MAX_JSON, TcbStatus
from tests.tee.tdx.cases import (
    AT,
    BINDING,
    REAL_POLICY,
    azure,
    failed_ids,
    look,
    platform,
    public_area,
    real_collateral,
    real_request,
    request,
    runtime_data,
    simulate,
)

INTEL = SimulatedIntel(issued_at=AT)
QUOTE = INTEL.quote(BINDING.value)
COLLATERAL = INTEL.collateral()


def edges(findings: TeeFindings) -> set[tuple[str, str]]:
    return {(vouch.by, vouch.of) for vouch in findings.vouches}


BELOW_VENDOR = {(VENDOR, TDX)}
ALL = BELOW_VENDOR | {(TDX, BINDING_NAME), (TDX, CCEL), (TDX, OPERATING_SYSTEM)}


# --- What follows -----------------------------------------------------------------------------------------------------


def test_good_evidence_vouches_for_key_log_and_system() -> None:
    assert edges(simulate()) == ALL
    assert simulate().simulated
    assert simulate().expires == AT + timedelta(days=30)


def test_tpm_outside_is_not_vouched_for() -> None:
    binding = evolve(BINDING, ak=public_area())
    items = {CCEL: simulated_log(), TPM_AK: public_area()}
    found = look(request(INTEL.quote(binding.value), COLLATERAL, items=items, binding=binding, on=platform("tdx-tpm")))
    assert failed_ids(found) == []
    assert edges(found) == ALL


def test_azure_vouches_for_runtime_data_and_through_it_for_key_and_tpm() -> None:
    runtime = {(AZURE_RUNTIME_DATA, BINDING_NAME), (AZURE_RUNTIME_DATA, TPM_AK)}
    assert edges(azure()) == BELOW_VENDOR | {(TDX, AZURE_RUNTIME_DATA)} | runtime
    assert edges(azure(runtime_data(bytes(64)))) == edges(azure()) - {(AZURE_RUNTIME_DATA, BINDING_NAME)}
    assert edges(azure(ak=public_area((1 << 2047) + 3))) == BELOW_VENDOR | {
        (TDX, AZURE_RUNTIME_DATA), (AZURE_RUNTIME_DATA, BINDING_NAME),
    }  # fmt: skip
    assert edges(azure(report_data=bytes(64))) == BELOW_VENDOR


def test_quote_about_another_key_vouches_for_no_key() -> None:
    found = simulate(binding=evolve(BINDING, key_config=b"another key"))
    assert edges(found) == ALL - {(TDX, BINDING_NAME)}


@pytest.mark.parametrize("member", ["mr_td", "mr_seam", "mr_owner"])
def test_unknown_firmware_vouches_for_no_system(member: str) -> None:
    found = simulate(td={member: b"\x01" * 48})
    assert (TDX, OPERATING_SYSTEM) not in edges(found)
    assert bool(edges(found)) == (member == "mr_td")  # what is no boot measurement unmakes the whole quote


def test_debugged_domain_vouches_for_nothing() -> None:
    found = simulate(td={"td_attributes": (1 << 28 | 1).to_bytes(8, "little")})
    assert edges(found) == set()
    assert found.claims["debug"] is True


@pytest.mark.parametrize("member", ["mr_td", "rtmr0", "rtmr1", "rtmr2"])
def test_what_was_not_compared_vouches_for_no_system(member: str) -> None:
    found = simulate({member: UNSAFE_ANY})
    assert edges(found) == ALL - {(TDX, OPERATING_SYSTEM)}
    informing = {check.id for check in found.checks if check.status is Status.INFO}
    assert informing == {f"tdx.{member.replace('_', '-')}"}


def test_nothing_is_said_of_a_quote_that_nobody_signed() -> None:
    for broken in ("quote", "qe-report", "pck", "tcb-info", "root-crl"):
        found = simulate(forged=frozenset({broken}))
        assert (found.claims, found.vouches, found.expires, found.simulated) == ({}, (), None, False)


def test_claims_say_how_far_behind_a_platform_is() -> None:
    claims = simulate().claims
    assert (claims["tcb_status"], claims["tcb_date"], claims["tcb_newest_date"]) == (
        "UpToDate", "2025-01-01", "2025-01-01",
    )  # fmt: skip
    late = simulate(pck={"pce_svn": 11}).claims
    assert (late["tcb_status"], late["tcb_date"], late["tcb_newest_date"]) == ("OutOfDate", "2024-01-01", "2025-01-01")
    assert late["advisories"] == ["INTEL-SA-00837"]
    assert simulate(pck={"components": (0,) * 16}).claims["tcb_status"] == "none"
    assert simulate(tcb_info={"tcbLevels": []}).claims["tcb_newest_date"] == "none"


def test_statuses_of_all_parts_are_merged() -> None:
    conf = {"tcb": {"isvsvn": 4}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "ConfigurationNeeded"}
    found = simulate(qe_identity={"tcbLevels": [conf]}, pck={"pce_svn": 11})
    assert found.claims["tcb_status"] == TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED.value


def test_revoked_level_is_refused_by_every_policy() -> None:
    revoked = {"tcb": {"isvsvn": 4}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "Revoked"}
    every = tuple(each for each in TcbStatus if each is not TcbStatus.REVOKED)
    found = simulate({"accepted_tcb_statuses": every}, qe_identity={"tcbLevels": [revoked]})
    assert failed_ids(found) == ["tdx.tcb-status"]


def test_dates_at_the_ends_of_time_are_compared() -> None:
    """Adding to them would overflow, which is no error that anybody expects."""
    late = {"tcb": {"isvsvn": 4}, "tcbDate": "9999-12-31T23:59:59Z", "tcbStatus": "OutOfDate"}
    policy = {"grace_days": 1, "accepted_tcb_statuses": (TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE)}
    assert not failed_ids(simulate(policy, qe_identity={"tcbLevels": [late]}))
    assert not failed_ids(simulate(tcb_info={"issueDate": "0001-01-01T00:00:00Z"}))


def test_evidence_ends_with_the_first_certificate() -> None:
    sooner = AT + timedelta(days=1)
    assert simulate(certificates={"pck": {"not_after": sooner}}).expires == sooner


def test_other_root_is_not_called_simulated() -> None:
    root = make_root("a root of somebody")
    found = simulate({"trust_anchors": (root.fingerprint,)}, root=root, marked=False)
    assert not found.simulated
    marked = simulate({"trust_anchors": (root.fingerprint,)}, root=root)
    assert failed_ids(marked) == [
        "tdx.pck-extensions", "tdx.tcb-info-signer-extensions", "tdx.qe-identity-signer-extensions",
    ]  # fmt: skip


def test_evidence_without_a_quote_is_refused() -> None:
    good = request(QUOTE, COLLATERAL)
    without = evolve(good, evidence=Evidence.of({CCEL: good.evidence.items[CCEL]}))
    assert failed_ids(look(without)) == ["tdx.quote"]
    other = evolve(good, evidence=Evidence.of({**good.evidence.items, TDX: CmwRecord("text/plain", QUOTE)}))
    assert failed_ids(look(other)) == ["tdx.quote"]
    typed = evolve(good, endorsements=Endorsements.of({TDX_COLLATERAL: CmwRecord("text/plain", b"")}))
    assert failed_ids(look(typed)) == ["tdx.collateral"]


def test_certificate_with_a_key_of_another_kind_signs_nothing() -> None:
    key = ec.derive_private_key(7, ec.SECP384R1()).public_key()
    assert failed_ids(simulate(certificates={"pck": {"key": key}})) == ["tdx.qe-report-signature"]


def test_signature_of_another_curve_is_refused_before_it_is_looked_at() -> None:
    """An ECDSA signature of P-384 has larger numbers, and would not verify either; ours says why."""
    key = ec.derive_private_key(7, ec.SECP384R1()).public_key()
    with pytest.raises(EvidenceError, match="key of another kind"):
        subject.verify_p256("it", key, bytes(64), b"", section="")


def test_attestation_key_that_is_no_point_signs_nothing() -> None:
    quote = Quote.decode(QUOTE)
    key = b"\xff" * 64
    digest = hashlib.sha256(key + quote.signature.qe_auth_data).digest() + bytes(32)
    knobs: dict[str, Any] = {"signature": {"attestation_key": key}, "qe_report": {"report_data": digest}}
    assert failed_ids(simulate(**knobs)) == ["tdx.quote-signature"]


# --- Nothing signed can be changed ------------------------------------------------------------------------------------


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def is_refused(quote: bytes, collateral: Collateral, policy: TdxPolicy = SIMULATED_TDX_POLICY) -> bool:
    return bool(failed_ids(look(request(quote, collateral), policy)))


PEM_FROM = QUOTE.index(b"-----BEGIN")
"""Before this everything is signed, or a length. What follows are certificates in PEM, whose white space is free."""


@given(st.integers(0, 8 * PEM_FROM - 1))
def test_flipped_bit_of_a_quote_is_refused(bit: int) -> None:
    assert is_refused(flipped(QUOTE, bit), COLLATERAL)


@given(st.integers(8 * PEM_FROM, 8 * len(QUOTE) - 1))
def test_flipped_bit_of_certificates_is_refused_or_changes_white_space(bit: int) -> None:
    changed = flipped(QUOTE, bit)
    if is_refused(changed, COLLATERAL):
        return
    before, after = (Quote.decode(each).signature.certification_data.removesuffix(b"\x00") for each in (QUOTE, changed))
    assert before.split() == after.split()


@given(st.sampled_from([each.name for each in Collateral.__attrs_attrs__]), st.floats(0, 1, exclude_max=True))
def test_flipped_bit_of_collateral_is_refused(part: str, where: float) -> None:
    data = getattr(COLLATERAL, part)
    changed = flipped(data, int(where * 8 * len(data)))
    assert is_refused(QUOTE, evolve(COLLATERAL, **{part: changed}))


@pytest.mark.vectors
def test_flipped_bit_of_a_real_quote_is_refused(shared_vectors: Path) -> None:
    data = (shared_vectors / "tdx/v4-phala/tdx_quote").read_bytes()
    quote = Quote.decode(data, drop_zero_padding=True).encode()
    collateral = real_collateral(shared_vectors / "tdx/v4-phala/tdx_quote_collateral.json")
    at = datetime(2025, 6, 20, tzinfo=UTC)
    policy = evolve(REAL_POLICY, rtmr0=UNSAFE_ANY)
    good = set(failed_ids(look(real_request(quote, collateral, at), policy)))
    assert good == {"tdx.report-data", "tdx.ccel-replay-0"}  # it answers no nonce of ours, and came without a log
    chance = random.Random(1)
    for _ in range(150):
        bit = chance.randrange(8 * quote.index(b"-----BEGIN"))
        found = failed_ids(look(real_request(flipped(quote, bit), collateral, at), policy))
        assert set(found) - good


@given(st.binary(max_size=300))
def test_any_bytes_give_findings(data: bytes) -> None:
    assert failed_ids(look(request(data, COLLATERAL))) == ["tdx.quote"]
    for part in ("tcb_info", "tcb_info_chain", "root_crl"):
        assert is_refused(QUOTE, evolve(COLLATERAL, **{part: data}))


# --- Work is bounded --------------------------------------------------------------------------------------------------


def costly() -> list[tuple[str, Callable[[], TeeFindings]]]:
    certificates = QUOTE[:PEM_FROM] + b"-----BEGIN CERTIFICATE-----\n" + b"A" * (MAX_QUOTE - PEM_FROM - 28)
    many = b'{"a":[' + b"{}," * 16_000 + b"{}]}"
    return [
        ("a long quote", partial(look, request(certificates, COLLATERAL))),
        ("a quote of a megabyte", partial(look, request(bytes(900_000), COLLATERAL))),
        (
            "a long list",
            partial(look, request(QUOTE, evolve(COLLATERAL, pck_crl=b"\x30\x83\x0a\x00\x00" + bytes(655_360)))),
        ),
        ("a long chain", partial(look, request(QUOTE, evolve(COLLATERAL, tcb_info_chain=b"\x30\x00" * 200_000)))),
        ("long texts", partial(look, request(QUOTE, evolve(COLLATERAL, tcb_info=many.ljust(MAX_JSON))))),
        ("long collateral", partial(look, request(QUOTE, evolve(COLLATERAL, root_crl=bytes(MAX_COLLATERAL))))),
    ]


@pytest.mark.parametrize(("name", "work"), costly(), ids=[name for name, _ in costly()])
def test_large_input_is_refused(name: str, work: Callable[[], TeeFindings]) -> None:
    """How long each takes is in the benchmark of the worst inputs."""
    assert failed_ids(work())


def test_large_lists_of_strangers_are_not_remembered() -> None:
    kept = subject._recurring_crl.cache_info().currsize
    large = SimulatedIntel(issued_at=AT, lists={"root": {"revoked": range(100, 2000)}}).collateral()
    assert not is_refused(QUOTE, large)
    assert subject._recurring_crl.cache_info().currsize <= max(kept, 1) + 1
    assert len(large.root_crl) > subject._RECURRING_SIZE
