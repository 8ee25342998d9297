"""Collateral: its parts as bytes, the two texts that Intel signs, levels, and that it may not go back in time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, LimitError, PolicyError, UnsupportedError
from confsec.protocol import cbor
from confsec.tee.simulated.intel import SimulatedIntel
from confsec.tee.tdx import collateral as module
from confsec.tee.tdx.collateral import (
    MAX_COLLATERAL,
    CachedCollateral,
    Collateral,
    CollateralFloor,
    Freshness,
    split_signed,
)
from confsec.tee.tdx.tcb import (
    MAX_JSON,
    EnclaveLevel,
    QeIdentity,
    TcbInfo,
    TcbLevel,
    TcbStatus,
    enclave_level,
    merge_statuses,
    module_identity,
    platform_level,
)
from tests.tee.tdx.cases import AT, real_collateral

INTEL = SimulatedIntel(issued_at=AT)
COLLATERAL = INTEL.collateral()
TCB_INFO: dict[str, Any] = json.loads(COLLATERAL.tcb_info)
QE_IDENTITY: dict[str, Any] = json.loads(COLLATERAL.qe_identity)


def text(value: object) -> bytes:
    return json.dumps(value).encode()


# --- The map ----------------------------------------------------------------------------------------------------------


def test_collateral_comes_back() -> None:
    assert Collateral.decode(COLLATERAL.encode()) == COLLATERAL
    assert COLLATERAL.record.value == COLLATERAL.encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.pop("pck-crl"),
        lambda members: members.update({"more": b""}),
        lambda members: members.update({"pck-crl": "text"}),
        lambda members: members.update({"tcb-info-signature": bytes(63)}),
        lambda members: members.update({"qe-identity-signature": bytes(65)}),
    ],
    ids=["a part is missing", "a part more", "text", "a short signature", "a long signature"],
)
def test_collateral_of_another_form_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    members = cbor.decode(COLLATERAL.encode(), what="collateral", limit=MAX_COLLATERAL)
    assert isinstance(members, dict)
    change(members)
    with pytest.raises(DecodeError):
        Collateral.decode(cbor.encode(members))


def test_collateral_that_is_too_long_is_refused() -> None:
    with pytest.raises(LimitError, match="too long"):
        Collateral.decode(evolve(COLLATERAL, pck_crl=bytes(MAX_COLLATERAL)).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_collateral_or_refused(data: bytes) -> None:
    with suppress(ConfsecError):
        Collateral.decode(data)


def test_collateral_ends_with_its_first_part() -> None:
    assert COLLATERAL.expires() == AT + timedelta(days=30)
    sooner = AT + timedelta(days=1)
    for knobs in (
        {"lists": {"root": {"next_update": sooner}}},
        {"lists": {"pck-authority": {"next_update": sooner}}},
        {"tcb_info": {"nextUpdate": f"{sooner:%Y-%m-%dT%H:%M:%SZ}"}},
        {"qe_identity": {"nextUpdate": f"{sooner:%Y-%m-%dT%H:%M:%SZ}"}},
        {"certificates": {"tcb-info-signer": {"not_after": sooner}}},
        {"certificates": {"qe-identity-signer": {"not_after": sooner}}},
    ):
        assert SimulatedIntel(issued_at=AT, **knobs).collateral().expires() == sooner


# --- Bodies of Intel's service ----------------------------------------------------------------------------------------


def body(signed: bytes, signature: bytes = b"ab" * 64, member: bytes = b"tcbInfo") -> bytes:
    return b'{"' + member + b'":' + signed + b',"signature":"' + signature + b'"}'


def test_signed_text_is_taken_out_as_it_is() -> None:
    signed = b'{"a": 1,  "b":{"signature":"no"}}'
    assert split_signed(body(signed), "tcbInfo") == (signed, b"\xab" * 64)
    assert split_signed(body(signed, b"AB" * 64) + b"\n", "tcbInfo") == (signed, b"\xab" * 64)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", body(b"{}", member=b"enclaveIdentity"), body(b"[]"), body(b"{}", b"ab" * 63), body(b"{}", b"xy" * 64),
     body(b"{}") + b"x", b" " + body(b"{}")],
)  # fmt: skip
def test_body_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        split_signed(data, "tcbInfo")


def test_body_that_is_too_long_is_refused() -> None:
    with pytest.raises(LimitError):
        split_signed(body(b"{}").ljust(MAX_COLLATERAL + 1), "tcbInfo")


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_tcb_info_says_what_is_written() -> None:
    info = TcbInfo.decode(COLLATERAL.tcb_info)
    assert (info.id, info.fmspc.hex(), info.evaluation_number) == ("TDX", "c0ff5ec00000", 20)
    assert (info.issue_date, info.next_update) == (AT, AT + timedelta(days=30))
    assert [level.status for level in info.levels] == [TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE]
    assert info.levels[1].advisories == ("INTEL-SA-00837",)
    assert info.module is not None
    assert info.module.id == ""
    assert [each.id for each in info.module_identities] == ["TDX_01"]


def test_qe_identity_says_what_is_written() -> None:
    identity = QeIdentity.decode(COLLATERAL.qe_identity)
    assert (identity.id, identity.isv_prod_id, identity.attributes.hex()[:2]) == ("TD_QE", 2, "11")


@pytest.mark.vectors
@pytest.mark.parametrize(
    ("name", "tee"),
    [
        ("v4-phala/tdx_quote_collateral.json", "TDX"),
        ("v5-outdated-phala/tdx_quote_outdated_collateral.json", "TDX"),
        ("sgx-v3-phala/sgx_quote_collateral.json", "SGX"),
    ],
)
def test_real_collateral_can_be_read(shared_vectors: Path, name: str, tee: str) -> None:
    collateral = real_collateral(shared_vectors / "tdx" / name)
    info = TcbInfo.decode(collateral.tcb_info)
    assert (info.id, info.module is None) == (tee, tee == "SGX")
    assert info.levels[0].tdx_components is None or tee == "TDX"
    assert Collateral.decode(collateral.encode()) == collateral


WRONG_TCB_INFO: tuple[tuple[str, dict[str, Any]], ...] = (
    ("version", {"version": 2}),
    ("type", {"tcbType": 1}),
    ("no id", {"id": None}),
    ("id", {"id": 3}),
    ("date", {"issueDate": "2025-06-19 10:16:03"}),
    ("date that is none", {"issueDate": "2025-13-19T10:16:03Z"}),
    ("date in other digits", {"issueDate": "٢٠٢٥-06-19T10:16:03Z"}),
    ("fmspc", {"fmspc": "c0ff5ec0000"}),
    ("fmspc in no hex", {"fmspc": "c0ff5ec0000g"}),
    ("fmspc with spaces", {"fmspc": "c0 ff 5e c00"}),
    ("number", {"tcbEvaluationDataNumber": -1}),
    ("true", {"tcbEvaluationDataNumber": True}),
    ("float", {"tcbEvaluationDataNumber": 17.0}),
    ("levels", {"tcbLevels": {}}),
    ("level", {"tcbLevels": [1]}),
    ("too many levels", {"tcbLevels": TCB_INFO["tcbLevels"][:1] * 129}),
    ("too many identities", {"tdxModuleIdentities": TCB_INFO["tdxModuleIdentities"] * 65}),
    ("module", {"tdxModule": []}),
    ("module without a mask", {"tdxModule": {"mrsigner": "00" * 48, "attributes": "00" * 8}}),
)


@pytest.mark.parametrize(("what", "change"), WRONG_TCB_INFO, ids=[what for what, _ in WRONG_TCB_INFO])
def test_tcb_info_of_another_form_is_refused(what: str, change: dict[str, Any]) -> None:
    value = {name: member for name, member in {**TCB_INFO, **change}.items() if member is not None}
    with pytest.raises((DecodeError, UnsupportedError)):
        TcbInfo.decode(text(value))


def level(**changes: Any) -> dict[str, Any]:
    return {**TCB_INFO["tcbLevels"][0], **changes}


def components(*svns: object) -> list[dict[str, object]]:
    return [{"svn": svn} for svn in svns]


WRONG_LEVELS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", level(tcbStatus="Good")),
    ("advisories", level(advisoryIDs="INTEL-SA-00837")),
    ("advisory", level(advisoryIDs=[837])),
    ("too many advisories", level(advisoryIDs=["INTEL-SA-00837"] * 257)),
    ("15 components", level(tcb={**TCB_INFO["tcbLevels"][0]["tcb"], "sgxtcbcomponents": components(*[0] * 15)})),
    ("17 components", level(tcb={**TCB_INFO["tcbLevels"][0]["tcb"], "tdxtcbcomponents": components(*[0] * 17)})),
    ("no components", level(tcb={"pcesvn": 1})),
    ("no list", level(tcb={"pcesvn": 1, "sgxtcbcomponents": {"svn": 1}})),
    ("no objects", level(tcb={"pcesvn": 1, "sgxtcbcomponents": [0] * 16})),
    ("large", level(tcb={"pcesvn": 1, "sgxtcbcomponents": components(256, *[0] * 15)})),
    ("negative", level(tcb={"pcesvn": 1, "sgxtcbcomponents": components(-1, *[0] * 15)})),
    ("true", level(tcb={"pcesvn": 1, "sgxtcbcomponents": components(True, *[0] * 15)})),
    ("pcesvn", level(tcb={"pcesvn": 65536, "sgxtcbcomponents": components(*[0] * 16)})),
)


@pytest.mark.parametrize(("what", "wrong"), WRONG_LEVELS, ids=[what for what, _ in WRONG_LEVELS])
def test_level_of_another_form_is_refused(what: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        TcbInfo.decode(text({**TCB_INFO, "tcbLevels": [wrong]}))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"1", b"{", b'{"version":3,"version":3}', b"[" * 10_000, b"\xff", b'{"version":1e3}']
)
def test_text_that_is_no_object_of_json_is_refused(data: bytes) -> None:
    for kind in (TcbInfo, QeIdentity):
        with pytest.raises(DecodeError):
            kind.decode(data)


def test_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(LimitError):
        TcbInfo.decode(COLLATERAL.tcb_info.ljust(MAX_JSON + 1))


@pytest.mark.parametrize(
    "change", [{"version": 3}, {"mrsigner": "00"}, {"isvprodid": 65536}, {"tcbLevels": [{"tcb": {}}]}]
)
def test_qe_identity_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((DecodeError, UnsupportedError)):
        QeIdentity.decode(text({**QE_IDENTITY, **change}))


def test_members_that_we_do_not_know_are_passed_over() -> None:
    more = text({**TCB_INFO, "more": [1.5, {"a": None}]})
    assert TcbInfo.decode(more) == TcbInfo.decode(COLLATERAL.tcb_info)


# --- Statuses and levels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["UpToDate"], "UpToDate"),
        ([], "UpToDate"),
        (["UpToDate", "SWHardeningNeeded"], "SWHardeningNeeded"),
        (["SWHardeningNeeded", "ConfigurationNeeded"], "ConfigurationAndSWHardeningNeeded"),
        (["ConfigurationAndSWHardeningNeeded", "UpToDate"], "ConfigurationAndSWHardeningNeeded"),
        (["OutOfDate", "UpToDate"], "OutOfDate"),
        (["OutOfDate", "SWHardeningNeeded"], "OutOfDate"),
        (["OutOfDate", "ConfigurationNeeded"], "OutOfDateConfigurationNeeded"),
        (["OutOfDate", "ConfigurationAndSWHardeningNeeded"], "OutOfDateConfigurationNeeded"),
        (["OutOfDateConfigurationNeeded", "UpToDate"], "OutOfDateConfigurationNeeded"),
        (["Revoked", "UpToDate", "OutOfDate"], "Revoked"),
    ],
)
def test_status_of_the_whole_has_every_trouble_of_its_parts(parts: list[str], whole: str) -> None:
    for order in permutations(parts):
        assert merge_statuses(map(TcbStatus, order)) is TcbStatus(whole)


@given(st.lists(st.sampled_from(TcbStatus), max_size=4))
def test_whole_is_never_better_than_a_part(parts: list[TcbStatus]) -> None:
    order = list(TcbStatus)
    assert all(order.index(merge_statuses(parts)) >= order.index(part) for part in parts)


def tcb_level(sgx: int, pce_svn: int, tdx: tuple[int, ...] | None) -> TcbLevel:
    return TcbLevel(
        (sgx,) * 16, pce_svn, None if tdx is None else tdx + (0,) * (16 - len(tdx)), TcbStatus.UP_TO_DATE, AT, ()
    )


def reaches(wanted: TcbLevel, *, sgx: int = 5, pce_svn: int = 5, tdx: tuple[int, ...] | None = (5, 0, 5)) -> bool:
    svn = None if tdx is None else bytes(tdx).ljust(16, b"\x00")
    return platform_level([wanted], sgx=(sgx,) * 16, pce_svn=pce_svn, tdx=svn) is wanted


def test_level_is_reached_in_all_its_numbers() -> None:
    assert reaches(tcb_level(5, 5, (5, 0, 5)))
    assert not reaches(tcb_level(6, 5, (5, 0, 5)))
    assert not reaches(tcb_level(5, 6, (5, 0, 5)))
    assert not reaches(tcb_level(5, 5, (6, 0, 5)))
    assert not reaches(tcb_level(5, 5, (5, 0, 6)))
    assert not reaches(tcb_level(5, 5, (5, 0, 5) + (0,) * 12 + (1,)))


def test_module_with_a_version_is_judged_by_its_own_levels() -> None:
    assert reaches(tcb_level(5, 5, (9, 9, 5)), tdx=(1, 1, 5))
    assert not reaches(tcb_level(5, 5, (0, 0, 6)), tdx=(1, 1, 5))


def test_levels_of_sgx_say_nothing_about_trust_domains() -> None:
    assert not reaches(tcb_level(5, 5, None))
    assert reaches(tcb_level(5, 5, None), tdx=None)
    assert reaches(tcb_level(5, 5, (9, 9, 9)), tdx=None)


def test_first_level_that_is_reached_counts() -> None:
    levels = [tcb_level(9, 9, (0,)), tcb_level(5, 5, (0,)), tcb_level(0, 0, (0,))]
    assert platform_level(levels, sgx=(5,) * 16, pce_svn=5, tdx=bytes(16)) is levels[1]
    assert platform_level([], sgx=(5,) * 16, pce_svn=5, tdx=bytes(16)) is None
    enclave = [EnclaveLevel(svn, TcbStatus.UP_TO_DATE, AT, ()) for svn in (8, 6, 2)]
    assert enclave_level(enclave, 7) is enclave[1]
    assert enclave_level(enclave, 1) is None


def test_module_is_found_by_its_version() -> None:
    info = TcbInfo.decode(text({**TCB_INFO, "tdxModuleIdentities": [
        {**TCB_INFO["tdxModuleIdentities"][0], "id": "TDX_0a"}, {**TCB_INFO["tdxModuleIdentities"][0], "id": "TDX_10"},
    ]}))  # fmt: skip
    assert module_identity(info, bytes((1, 0)) + bytes(14)) is info.module
    assert module_identity(info, bytes((1, 10)) + bytes(14)) is info.module_identities[0]
    assert module_identity(info, bytes((1, 16)) + bytes(14)) is info.module_identities[1]
    assert module_identity(info, bytes((1, 1)) + bytes(14)) is None


# --- Time -------------------------------------------------------------------------------------------------------------


def issued(at: datetime = AT, **knobs: Any) -> Collateral:
    return SimulatedIntel(issued_at=at, **knobs).collateral()


HOUR = timedelta(hours=1)


def test_floor_takes_what_is_as_new_and_what_is_newer() -> None:
    floor = CollateralFloor()
    floor.admit(COLLATERAL)
    floor.admit(COLLATERAL)
    floor.admit(issued(AT + HOUR))
    floor.admit(issued(AT + 2 * HOUR, tcb_info={"tcbEvaluationDataNumber": 21}))


def later(**knobs: Any) -> Collateral:
    """Return collateral that is newer but for one part."""
    return issued(AT + HOUR, **knobs)


@pytest.mark.parametrize(
    ("older", "what"),
    [
        (issued(AT - HOUR), "TCB info"),
        (later(tcb_info={"issueDate": "2025-12-31T23:59:59Z"}), "TCB info TDX c0ff5ec00000"),
        (later(tcb_info={"tcbEvaluationDataNumber": 19}), "TCB info TDX c0ff5ec00000"),
        (later(qe_identity={"issueDate": "2025-12-31T23:59:59Z"}), "QE identity TD_QE"),
        (later(qe_identity={"tcbEvaluationDataNumber": 19}), "QE identity TD_QE"),
        (later(lists={"root": {"this_update": AT - HOUR}}), "Intel SGX Root CA"),
        (later(lists={"pck-authority": {"this_update": AT - HOUR}}), "Intel SGX PCK Platform CA"),
    ],
)
def test_floor_refuses_each_part_that_goes_back_in_time(older: Collateral, what: str) -> None:
    floor = CollateralFloor()
    floor.admit(COLLATERAL)
    with pytest.raises(PolicyError, match="goes back in time") as error:
        floor.admit(older)
    assert what in str(error.value)
    floor.admit(COLLATERAL)  # nothing of what was refused is remembered


def test_floor_is_one_for_each_platform() -> None:
    floor = CollateralFloor()
    floor.admit(issued(AT + HOUR, lists={name: {"this_update": AT} for name in ("root", "pck-authority")},
                       qe_identity={"issueDate": "2025-06-01T00:00:00Z"}))  # fmt: skip
    floor.admit(issued(AT, pck={"fmspc": bytes(6)}))


def test_floor_has_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_FLOORS", 4)
    floor = CollateralFloor()
    floor.admit(COLLATERAL)
    with pytest.raises(LimitError, match="too many"):
        floor.admit(issued(AT, pck={"fmspc": bytes(6)}))


def test_cache_asks_anew_when_half_of_the_time_is_over() -> None:
    kept = CachedCollateral.of(COLLATERAL, AT)
    assert kept.refresh_at == AT + timedelta(days=15)
    assert kept.freshness(AT + timedelta(days=14)) is Freshness.FRESH
    assert kept.freshness(AT + timedelta(days=15)) is Freshness.DUE
    assert kept.freshness(AT + timedelta(days=30)) is Freshness.DUE
    assert kept.freshness(AT + timedelta(days=30, seconds=1)) is Freshness.EXPIRED


def test_collateral_that_was_over_when_it_came_is_expired() -> None:
    kept = CachedCollateral.of(COLLATERAL, datetime(2027, 1, 1, tzinfo=UTC))
    assert kept.refresh_at == kept.fetched_at
    assert kept.freshness(kept.fetched_at) is Freshness.EXPIRED
