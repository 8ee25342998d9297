"""Ours beside dcap-qvl: on real quotes and on simulated ones, whole and changed, both accept or both refuse.

Where only we refuse is listed in `STRICTER`; where only dcap-qvl does, a test of its own says so. dcap-qvl decides
about signatures, collateral and the TD's attributes; what only a policy of ours asks for is not compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dcap_qvl  # type: ignore[import-untyped]  # a module of Rust without types
import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, strategies as st

from confsec.protocol.checks import Status
from confsec.protocol.policy import UNSAFE_ANY
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY, SimulatedIntel, make_root
from confsec.tee.tdx.collateral import Collateral
from confsec.tee.tdx.evidence import Quote
from confsec.tee.tdx.policy import TdxPolicy
from confsec.tee.tdx.tcb import TcbStatus
from confsec.tee.x509 import decode_chain
from tests.tee.tdx.cases import AT, REAL_POLICY, look, real_collateral as read_collateral, request

ROOT = make_root("the oracle's root", marked=False)
"""dcap-qvl refuses the mark of simulators, as it should. So its simulated quotes hang from a root without one."""

ANY: Final[dict[str, Any]] = dict.fromkeys(
    ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id", "mr_owner", "mr_owner_config", "mr_seam"), UNSAFE_ANY
)
EVERY_STATUS: Final = tuple(each for each in TcbStatus if each is not TcbStatus.REVOKED)
POLICY: Final = evolve(
    SIMULATED_TDX_POLICY,
    trust_anchors=(ROOT.fingerprint,),
    accepted_tcb_statuses=EVERY_STATUS,
    grace_days=3650,
    min_tcb_evaluation=0,
    min_tee_tcb_svn=bytes(16),
    min_qe_svn=0,
    min_pce_svn=0,
    allow_dynamic_platform=True,
    allow_cached_keys=True,
    allow_smt=True,
    **ANY,
)
"""What dcap-qvl asks for, and nothing else."""

OURS_ALONE: Final = {"tdx.report-data", "tdx.ccel", "tdx.ccel-replay-0", "tdx.ccel-replay-1", "tdx.ccel-replay-2"}

STRICTER: Final = {
    "tdx.quote": "we refuse bytes after the end",
    "tdx.pck-path": "we take the one path of three certificates that Intel's quotes have",
    "tdx.tcb-info-path": "as for the PCK, with two",
    "tdx.qe-identity-path": "as for the PCK, with two",
    "tdx.pck-root": "dcap-qvl takes the path to its root, whatever else stands beside it",
    "tdx.tcb-info-root": "as for the PCK",
    "tdx.qe-identity-root": "as for the PCK",
    "tdx.pck-key-usage": "the CA's key must be one that may sign certificates",
    "tdx.pck-names": "the PCK certificate must be named as one",
    "tdx.tcb-info-signer-name": "Intel's signer must be named as one",
    "tdx.qe-identity-signer-name": "Intel's signer must be named as one",
    "tdx.qe-vendor": "the quoting enclave must be Intel's by the header, too",
    "tdx.pce-id": "PCEID is compared as FMSPC is",
    "tdx.migration": "a TD that may be moved is refused by the policy",
    "tdx.xfam": "XFAM must be one that a TD can have",
    "tdx.module-known": "a module of a version must have an identity",
    "tdx.attestation-key": "all 64 bytes of report data are compared",
    "tdx.collateral": "both revocation lists must be there and readable, in 768 KiB",
    "tdx.tcb-info": "JSON of one reading: no member twice, dates in one form",
    "tdx.qe-identity": "as for TCB info; version 3 is not taken",
    "tdx.attributes-reserved": "bits of a meaning that we do not know are refused",
}
"""What only we refuse."""


def as_theirs(quote: bytes, collateral: Collateral) -> Any:
    """Return our collateral in dcap-qvl's form."""

    def pem(chain: bytes) -> str:
        return "".join(
            x509.load_der_x509_certificate(each.encoded).public_bytes(Encoding.PEM).decode()
            for each in decode_chain(chain)
        )

    chain = Quote.decode(quote).signature.certification_data.removesuffix(b"\x00")
    authority = b"".join(
        x509.load_der_x509_certificate(each.encoded).public_bytes(Encoding.PEM) for each in decode_chain(chain)[1:]
    )
    return dcap_qvl.QuoteCollateralV3.from_json(
        json.dumps(
            {
                "pck_crl_issuer_chain": authority.decode(),
                "root_ca_crl": collateral.root_crl.hex(),
                "pck_crl": collateral.pck_crl.hex(),
                "tcb_info_issuer_chain": pem(collateral.tcb_info_chain),
                "tcb_info": collateral.tcb_info.decode(),
                "tcb_info_signature": collateral.tcb_info_signature.hex(),
                "qe_identity_issuer_chain": pem(collateral.qe_identity_chain),
                "qe_identity": collateral.qe_identity.decode(),
                "qe_identity_signature": collateral.qe_identity_signature.hex(),
            }
        )
    )


def theirs(quote: bytes, collateral: Any, root: bytes | None, at: datetime = AT) -> str:
    """Return the status that dcap-qvl finds, or why it refuses after an exclamation mark."""
    try:
        if root is None:
            return str(dcap_qvl.verify(quote, collateral, int(at.timestamp())).status)
        return str(dcap_qvl.verify_with_root_ca(quote, collateral, root, int(at.timestamp())).status)
    except ValueError as exc:
        return f"!{exc}"


def ours(quote: bytes, collateral: Collateral, policy: TdxPolicy = POLICY, at: datetime = AT) -> tuple[str, set[str]]:
    """Return the status that we find, and the checks that refuse, without those of our own platforms."""
    found = look(request(quote, collateral, at=at), policy)
    failed = {check.id for check in found.checks if check.status is Status.FAIL} - OURS_ALONE
    return next(check.got for check in found.checks if check.id == "tdx.tcb-status"), failed


ROOT_DER: Final = ROOT.certificate.public_bytes(Encoding.DER)


def simulated(**knobs: Any) -> SimulatedIntel:
    return SimulatedIntel(issued_at=AT, root=ROOT, marked=False, **knobs)


GOOD = simulated()
QUOTE, COLLATERAL = GOOD.quote(), GOOD.collateral()
THEIR_COLLATERAL = as_theirs(QUOTE, COLLATERAL)


def assert_agree(quote: bytes, collateral: Collateral, converted: Any = None) -> None:
    """Have both accept, or both refuse, or one of the listed checks refuse alone."""
    verdict = theirs(quote, converted or as_theirs(quote, collateral), ROOT_DER)
    _, failed = ours(quote, collateral)
    if verdict.startswith("!"):
        assert failed, verdict
    else:
        assert failed <= STRICTER.keys(), (verdict, failed)


# --- Simulated quotes, whole ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
def test_both_accept_good_simulated_quotes(version: int) -> None:
    intel = simulated(version=version)
    quote = intel.quote()
    assert theirs(quote, as_theirs(quote, intel.collateral()), ROOT_DER) == "UpToDate"
    assert ours(quote, intel.collateral()) == ("UpToDate", set())


def test_mark_of_simulators_is_refused_by_others() -> None:
    intel = SimulatedIntel(issued_at=AT)
    root = intel.root.certificate.public_bytes(Encoding.DER)
    assert "UnsupportedCriticalExtension" in theirs(intel.quote(), as_theirs(intel.quote(), intel.collateral()), root)


HARDENING: Final = [{**json.loads(COLLATERAL.tcb_info)["tcbLevels"][0], "tcbStatus": "SWHardeningNeeded"}]


@pytest.mark.parametrize(
    ("knobs", "status"),
    [
        ({"pck": {"pce_svn": 11}}, "OutOfDate"),
        ({"qe_report": {"isv_svn": 2}}, "OutOfDate"),
        ({"td": {"tee_tcb_svn": b"\x02\x01\x02" + bytes(13)}}, "OutOfDate"),
        ({"tcb_info": {"tcbLevels": HARDENING}}, "SWHardeningNeeded"),
        ({"tcb_info": {"tcbLevels": HARDENING}, "qe_report": {"isv_svn": 2}}, "OutOfDate"),
        # A module of a version is judged by the levels of its identity, and not by the first two components.
        ({"td": {"tee_tcb_svn": b"\x04\x01\x02" + bytes(13)}}, "UpToDate"),
    ],
)
def test_both_find_the_same_status(knobs: dict[str, Any], status: str) -> None:
    intel = simulated(**knobs)
    quote = intel.quote()
    assert theirs(quote, as_theirs(quote, intel.collateral()), ROOT_DER) == status
    assert ours(quote, intel.collateral()) == (status, set())


def test_only_dcap_qvl_refuses_other_statuses_of_a_quoting_enclave() -> None:
    """Intel gives quoting enclaves three statuses. We merge whatever is written, and the policy decides."""
    level = {"tcb": {"isvsvn": 4}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "SWHardeningNeeded"}
    intel = simulated(qe_identity={"tcbLevels": [level]})
    quote = intel.quote()
    assert "Unrecognized TCB status" in theirs(quote, as_theirs(quote, intel.collateral()), ROOT_DER)
    assert ours(quote, intel.collateral()) == ("SWHardeningNeeded", set())


def test_attributes_are_refused_by_both() -> None:
    for attributes in (0, 1 << 28 | 1, 1 << 28 | 1 << 4, 1 << 28 | 1 << 40):
        intel = simulated(td={"td_attributes": attributes.to_bytes(8, "little")})
        quote = intel.quote()
        assert theirs(quote, as_theirs(quote, intel.collateral()), ROOT_DER).startswith("!")
        assert ours(quote, intel.collateral())[1]


KNOBS: Final[tuple[dict[str, Any], ...]] = (
    {"forged": frozenset({"quote"})},
    {"forged": frozenset({"qe-report"})},
    {"forged": frozenset({"pck"})},
    {"forged": frozenset({"pck-authority"})},
    {"forged": frozenset({"tcb-info"})},
    {"forged": frozenset({"qe-identity"})},
    {"forged": frozenset({"tcb-info-signer"})},
    {"forged": frozenset({"qe-identity-signer"})},
    {"forged": frozenset({"root-crl"})},
    {"forged": frozenset({"pck-crl"})},
    {"header": {"attestation_key_type": 3}},
    {"header": {"qe_vendor_id": bytes(16)}},
    {"certificates": {"pck": {"not_after": AT - timedelta(hours=1)}}},
    {"certificates": {"pck-authority": {"authority": False}}},
    {"certificates": {"pck-authority": {"usages": ("crl_sign",)}}},
    {"certificates": {"pck-authority": {"usages": ("key_cert_sign",)}}},
    {"certificates": {"pck": {"critical": ["1.2.3.4"]}}},
    {"certificates": {"tcb-info-signer": {"not_after": AT - timedelta(hours=1)}}},
    {"certificates": {"tcb-info-signer": {"serial": 99}}, "lists": {"root": {"revoked": [99]}}},
    {"certificates": {"qe-identity-signer": {"serial": 99}}, "lists": {"root": {"revoked": [99]}}},
    {"lists": {"root": {"revoked": [2]}}},
    {"lists": {"pck-authority": {"revoked": [3]}}},
    {"lists": {"root": {"this_update": AT - timedelta(days=2), "next_update": AT - timedelta(days=1)}}},
    {"lists": {"pck-authority": {"this_update": AT - timedelta(days=2), "next_update": AT - timedelta(days=1)}}},
    {"tcb_info": {"nextUpdate": "2025-12-31T23:59:59Z"}},
    {"tcb_info": {"issueDate": "2026-01-01T01:00:00Z"}},
    {"tcb_info": {"id": "SGX"}},
    {"tcb_info": {"version": 2}},
    {"tcb_info": {"fmspc": "000000000000"}},
    {"tcb_info": {"pceId": "0100"}},
    {"tcb_info": {"tdxModuleIdentities": []}},
    {"qe_identity": {"nextUpdate": "2025-12-31T23:59:59Z"}},
    {"qe_identity": {"id": "QE"}},
    {"qe_report": {"report_data": bytes(64)}},
    {"qe_report": {"mr_signer": bytes(32)}},
    {"qe_report": {"isv_prod_id": 1}},
    {"qe_report": {"misc_select": b"\x01\x00\x00\x00"}},
    {"qe_report": {"attributes": b"\x35" + bytes(15)}},
    {"qe_report": {"attributes": b"\x13" + bytes(15)}, "qe_identity": {"attributesMask": "F9" + "FF" * 7 + "00" * 8}},
    {"qe_report": {"isv_svn": 1}},
    {"pck": {"components": (0,) * 16, "cpu_svn": bytes(16)}},
    {"pck": {"pce_svn": 3}},
    {"td": {"mr_signer_seam": b"\x01" * 48}},
    {"td": {"seam_attributes": b"\x01" + bytes(7)}},
    {"td": {"tee_tcb_svn": b"\x01\x01\x02" + bytes(13)}},
    {"td": {"xfam": bytes(8)}},
    {"version": 5, "td": {"mr_service_td": b"\x01" * 48}},
)
"""What is wrong, one thing at a time."""


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_both_refuse_the_same_defects(knobs: dict[str, Any]) -> None:
    intel = simulated(**knobs)
    _, failed = ours(intel.quote(), intel.collateral())
    assert failed, "a defect that we do not find"
    assert_agree(intel.quote(), intel.collateral())


# --- Changed bytes ----------------------------------------------------------------------------------------------------


def changed(data: bytes, place: float, value: int) -> bytes:
    position = int(place * len(data))
    return data[:position] + bytes([data[position] ^ value]) + data[position + 1 :]


places = st.floats(0, 1, exclude_max=True)
values = st.integers(1, 255)


@given(places, values)
def test_agree_on_changed_quotes(place: float, value: int) -> None:
    assert_agree(changed(QUOTE, place, value), COLLATERAL, THEIR_COLLATERAL)


@given(st.sampled_from([each.name for each in Collateral.__attrs_attrs__]), places, values)
def test_agree_on_changed_collateral(part: str, place: float, value: int) -> None:
    mutant = evolve(COLLATERAL, **{part: changed(getattr(COLLATERAL, part), place, value)})
    converted = None
    with suppress(Exception):  # what our reader refuses, or JSON cannot hold, has no form of theirs
        converted = as_theirs(QUOTE, mutant)
    if converted is None:
        assert ours(QUOTE, mutant)[1]
    else:
        assert_agree(QUOTE, mutant, converted)


@given(
    tee_tcb_svn=st.lists(st.integers(0, 9), min_size=3, max_size=3),
    components=st.lists(st.integers(0, 6), min_size=16, max_size=16),
    pce_svn=st.integers(0, 20),
    isv_svn=st.integers(0, 9),
)
def test_agree_on_levels(tee_tcb_svn: list[int], components: list[int], pce_svn: int, isv_svn: int) -> None:
    """The module's version is 0 here, where both compare all components."""
    tee_tcb_svn[1] = 0
    intel = simulated(
        td={"tee_tcb_svn": bytes(tee_tcb_svn) + bytes(13)},
        pck={"components": tuple(components), "cpu_svn": bytes(components), "pce_svn": pce_svn},
        qe_report={"isv_svn": isv_svn},
    )
    quote = intel.quote()
    verdict = theirs(quote, as_theirs(quote, intel.collateral()), ROOT_DER)
    status, failed = ours(quote, intel.collateral())
    assert verdict.startswith("!") if failed else verdict == status


# --- Real quotes ------------------------------------------------------------------------------------------------------


REAL: Final = (
    ("v4-phala/tdx_quote", "v4-phala/tdx_quote_collateral.json", datetime(2025, 6, 20, tzinfo=UTC)),
    (
        "v5-outdated-phala/tdx_quote_outdated",
        "v5-outdated-phala/tdx_quote_outdated_collateral.json",
        datetime(2026, 2, 19, tzinfo=UTC),
    ),
)


@pytest.mark.vectors
@pytest.mark.parametrize(("quote", "collateral", "at"), REAL, ids=["4", "5"])
@pytest.mark.parametrize("days", [-60, 0, 60], ids=["too early", "in time", "too late"])
def test_agree_on_real_quotes(shared_vectors: Path, quote: str, collateral: str, at: datetime, days: int) -> None:
    folder = shared_vectors / "tdx"
    data = Quote.decode((folder / quote).read_bytes(), drop_zero_padding=True).encode()
    converted = dcap_qvl.QuoteCollateralV3.from_json((folder / collateral).read_text())
    at += timedelta(days=days)
    verdict = theirs(data, converted, None, at)
    policy = evolve(REAL_POLICY, accepted_tcb_statuses=EVERY_STATUS, grace_days=3650, min_tcb_evaluation=0)
    status, failed = ours(data, read_collateral(folder / collateral), policy, at)
    assert verdict.startswith("!") if failed else verdict == status


@pytest.mark.vectors
def test_agree_on_changed_real_quotes(shared_vectors: Path) -> None:
    folder = shared_vectors / "tdx/v4-phala"
    data = Quote.decode((folder / "tdx_quote").read_bytes(), drop_zero_padding=True).encode()
    converted = dcap_qvl.QuoteCollateralV3.from_json((folder / "tdx_quote_collateral.json").read_text())
    collateral, at = read_collateral(folder / "tdx_quote_collateral.json"), REAL[0][2]

    @given(places, values)
    def run(place: float, value: int) -> None:
        mutant = changed(data, place, value)
        verdict, (_, failed) = theirs(mutant, converted, None, at), ours(mutant, collateral, REAL_POLICY, at)
        assert failed if verdict.startswith("!") else failed <= STRICTER.keys()

    check: Callable[[], None] = run
    check()
