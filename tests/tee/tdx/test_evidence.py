"""Quotes, TD reports and SGX extensions as bytes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, EvidenceError, LimitError, TruncatedError, UnsupportedError
from confsec.tee import der
from confsec.tee.simulated import intel as simulator
from confsec.tee.simulated.intel import SIMULATED_BODY, SIMULATED_INTEL_ROOT, SimulatedIntel, make_root
from confsec.tee.simulated.roots import SIMULATED_INTEL_ROOTS
from confsec.tee.tdx.evidence import (
    MAX_QUOTE,
    TEE_TDX,
    EnclaveReport,
    Quote,
    QuoteHeader,
    QuoteSignature,
    TdBody,
    TdReport,
    verify_td_report,
)
from confsec.tee.tdx.pck import SGX_EXTENSION, PckExtension
from confsec.tee.x509 import decode_chain
from tests.tee.tdx.cases import AT

INTEL = SimulatedIntel(issued_at=AT)
V4 = INTEL.quote()
V5 = evolve(INTEL, version=5).quote()
SIZED = {3: 384, 4: 584, 5: 648}
REAL = (
    "v4-phala/tdx_quote",
    "v5-outdated-phala/tdx_quote_outdated",
    "sgx-v3-phala/sgx_quote",
    "trustee/tdx_quote_4.dat",
    "trustee/tdx_quote_5.dat",
    "azure-vtpm-trustee/td-quote.bin",
    "ccel-cos113-go-tdx-guest/cos-113-tdx-quote.dat",
    "intel-qvl-generated/quote.dat",
)


def quotes() -> st.SearchStrategy[Quote]:
    """Any quote that there can be."""

    def build(version: int, *, sgx: bool, draw: Any) -> Quote:
        tee = 0 if version == 3 or sgx else 0x81
        size = 384 if tee == 0 else SIZED[version]
        body = draw(st.binary(min_size=size, max_size=size))
        return Quote(
            QuoteHeader(version, draw(st.integers(0, 0xFFFF)), tee, draw(st.binary(min_size=4, max_size=4)),
                        draw(st.binary(min_size=16, max_size=16)), draw(st.binary(min_size=20, max_size=20))),
            EnclaveReport.decode(body) if tee == 0 else TdBody.decode(body),
            QuoteSignature(bytes(64), bytes(64), draw(st.binary(min_size=384, max_size=384)), bytes(64),
                           draw(st.binary(max_size=40)), draw(st.integers(0, 0xFFFF)), draw(st.binary(max_size=80))),
        )  # fmt: skip

    @st.composite
    def composed(draw: st.DrawFn) -> Quote:
        return build(draw(st.sampled_from([3, 4, 5])), sgx=draw(st.booleans()), draw=draw)

    return composed()


@given(quotes())
def test_quotes_come_back(quote: Quote) -> None:
    assert Quote.decode(quote.encode()) == quote


@given(st.binary(max_size=700) | st.builds(lambda end: V4[:48] + end, st.binary(max_size=700)))
def test_any_bytes_are_a_quote_or_refused(data: bytes) -> None:
    with suppress(ConfsecError):
        assert Quote.decode(data).encode() == data


@pytest.mark.parametrize("quote", [V4, V5], ids=["4", "5"])
def test_quote_that_is_cut_anywhere_is_refused(quote: bytes) -> None:
    for size in range(0, len(quote), 7):
        with pytest.raises(DecodeError):
            Quote.decode(quote[:size])
    with pytest.raises(DecodeError, match="bytes after its end"):
        Quote.decode(quote + b"\x00")


def test_zero_padding_is_dropped_only_when_asked_for() -> None:
    assert Quote.decode(V4 + bytes(70), drop_zero_padding=True).encode() == V4
    with pytest.raises(DecodeError, match="bytes after its end"):
        Quote.decode(V4 + b"\x00\x01", drop_zero_padding=True)
    with pytest.raises(LimitError, match="too long"):
        Quote.decode(V4.ljust(MAX_QUOTE + 1, b"\x00"), drop_zero_padding=True)


@pytest.mark.parametrize("version", [0, 2, 6])
def test_quote_of_another_version_is_refused(version: int) -> None:
    with pytest.raises(UnsupportedError, match="another version"):
        Quote.decode(version.to_bytes(2, "little") + V4[2:])


@pytest.mark.parametrize(("kind", "size"), [(0, 584), (2, 648), (3, 584), (4, 648), (2, 0)])
def test_body_of_another_kind_is_refused(kind: int, size: int) -> None:
    head = kind.to_bytes(2, "little") + size.to_bytes(4, "little")
    with pytest.raises(DecodeError, match="no kind that we know"):
        Quote.decode(V5[:48] + head + V5[54:])


@pytest.mark.parametrize("version", [3, 5])
def test_body_of_an_enclave_in_the_quote_of_a_trust_domain_is_refused(version: int) -> None:
    """On Azure no essential check would look at the body, and what is said of it would raise."""
    quote = Quote.decode(V4)
    header = evolve(quote.header, version=version, tee_type=TEE_TDX)
    with pytest.raises(DecodeError, match="body of an enclave"):
        Quote.decode(evolve(quote, header=header, body=EnclaveReport.decode(bytes(384))).encode())


@pytest.mark.parametrize(("offset", "value"), [(128, 5), (130, 1)], ids=["type", "size"])
def test_certification_data_that_is_no_qe_report_is_refused(offset: int, value: int) -> None:
    start = 48 + 584 + 4 + offset
    with pytest.raises(DecodeError, match="not one QE report"):
        Quote.decode(V4[:start] + bytes([value]) + V4[start + 1 :])


def test_quote_of_an_enclave_has_no_trust_domain() -> None:
    quote = Quote.decode(V4)
    header = evolve(quote.header, version=3, tee_type=0)
    enclave = Quote.decode(evolve(quote, header=header, body=EnclaveReport.decode(bytes(384))).encode())
    with pytest.raises(EvidenceError, match="of an SGX enclave"):
        _ = enclave.td
    assert quote.td == SIMULATED_BODY


def test_debug_is_a_bit_of_an_enclaves_attributes() -> None:
    report = EnclaveReport.decode(bytes(384))
    assert not report.debug
    assert evolve(report, attributes=b"\x02" + bytes(15)).debug
    with pytest.raises(DecodeError):
        EnclaveReport.decode(bytes(385))
    with pytest.raises(TruncatedError):
        EnclaveReport.decode(bytes(383))


@pytest.mark.parametrize("size", [583, 585, 647, 649])
def test_body_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(DecodeError):
        TdBody.decode(bytes(size))


@pytest.mark.vectors
@pytest.mark.parametrize("name", REAL)
def test_real_quotes_come_back(shared_vectors: Path, name: str) -> None:
    data = (shared_vectors / "tdx" / name).read_bytes()
    again = Quote.decode(data, drop_zero_padding=True).encode()
    assert again == data.rstrip(b"\x00") + b"\x00" * (len(again) - len(data.rstrip(b"\x00")))
    assert Quote.decode(again).encode() == again


# --- TD reports -------------------------------------------------------------------------------------------------------


@pytest.fixture
def td_report(shared_vectors: Path) -> TdReport:
    hcl = (shared_vectors / "tdx/azure-vtpm-trustee/hcl-report.bin").read_bytes()
    return TdReport.decode(hcl[32 : 32 + 1024])


@pytest.mark.vectors
def test_td_report_has_the_body_of_its_quote(td_report: TdReport, shared_vectors: Path) -> None:
    verify_td_report(td_report)
    quote = (shared_vectors / "tdx/azure-vtpm-trustee/td-quote.bin").read_bytes()
    assert td_report.body == Quote.decode(quote, drop_zero_padding=True).body


@pytest.mark.vectors
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"report_type": b"\x00" * 4}, "another type"),
        ({"reserved_1": b"\x01" + bytes(11)}, "reserved bytes"),
        ({"reserved_2": b"\x01" + bytes(31)}, "reserved bytes"),
        ({"reserved_3": b"\x01" + bytes(16)}, "reserved bytes"),
        ({"tee_tcb_info": bytes(239)}, "another TEE_TCB_INFO"),
        ({"td_info": bytes(512)}, "another TDINFO"),
    ],
)
def test_td_report_that_contradicts_itself_is_refused(
    td_report: TdReport, change: dict[str, bytes], match: str
) -> None:
    with pytest.raises(EvidenceError, match=match):
        verify_td_report(evolve(td_report, **change))


@given(st.binary(min_size=1024, max_size=1024))
def test_td_reports_come_back(data: bytes) -> None:
    assert TdReport.decode(data).encode() == data


@pytest.mark.parametrize("size", [0, 1023, 1025])
def test_td_report_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(DecodeError):
        TdReport.decode(bytes(size))


# --- The SGX extension ------------------------------------------------------------------------------------------------


def pck(**changes: Any) -> PckExtension:
    return evolve(simulator._PCK, **changes)


@pytest.mark.parametrize(
    "value",
    [
        pck(),
        pck(components=(255,) * 16, pce_svn=65535, dynamic_platform=True, cached_keys=True, smt_enabled=True),
        pck(sgx_type=0, platform_instance_id=None, dynamic_platform=None, cached_keys=None, smt_enabled=None),
    ],
)
def test_sgx_extension_comes_back(value: PckExtension) -> None:
    assert PckExtension.decode(simulator._encode_pck(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        pck(components=(256,) + (0,) * 15),
        pck(components=(-1,) + (0,) * 15),
        pck(pce_svn=65536),
        pck(cpu_svn=bytes(15)),
        pck(ppid=bytes(17)),
        pck(fmspc=bytes(5)),
        pck(pce_id=b""),
        pck(platform_instance_id=bytes(15)),
        pck(sgx_type=0x80),
        pck(components=(0,) * 15),
    ],
)
def test_sgx_extension_with_a_part_of_another_form_is_refused(value: PckExtension) -> None:
    with pytest.raises(DecodeError):
        PckExtension.decode(simulator._encode_pck(value))


def test_sgx_extension_without_a_part_or_with_one_twice_is_refused() -> None:
    encoded = simulator._encode_pck(pck())
    parts = der.elements(encoded, "the SGX extension")
    with pytest.raises(DecodeError, match="lacks a part"):
        PckExtension.decode(der.encode_tlv(0x30, b"".join(parts[1:])))
    with pytest.raises(DecodeError, match="twice"):
        PckExtension.decode(der.encode_tlv(0x30, b"".join([*parts, parts[0]])))
    with pytest.raises(LimitError, match="too long"):
        PckExtension.decode(der.encode_tlv(0x30, bytes(5000)))


def test_sgx_extension_may_have_parts_that_we_do_not_know() -> None:
    parts = der.elements(simulator._encode_pck(pck()), "the SGX extension")
    more = der.elements(simulator._pairs(f"{SGX_EXTENSION}.9", [b"\x05\x00"]), "a part")
    assert PckExtension.decode(der.encode_tlv(0x30, b"".join([*parts, *more]))) == pck()


@given(st.binary(max_size=64), st.integers(0, 600), st.integers(0, 255))
def test_any_bytes_are_an_sgx_extension_or_refused(junk: bytes, place: int, value: int) -> None:
    encoded = bytearray(simulator._encode_pck(pck()))
    encoded[place % len(encoded)] = value
    for data in (bytes(encoded), junk):
        with suppress(ConfsecError):
            PckExtension.decode(data)


def test_certificate_without_the_extension_is_no_pck_certificate() -> None:
    chain = decode_chain(Quote.decode(V4).signature.certification_data.removesuffix(b"\x00"))
    assert PckExtension.of(chain[0]) == pck()
    with pytest.raises(EvidenceError, match="no PCK certificate"):
        PckExtension.of(chain[1])


# --- The simulated root -----------------------------------------------------------------------------------------------


def test_simulated_root_is_published_as_it_is_made() -> None:
    assert make_root("root").certificate == SIMULATED_INTEL_ROOT.certificate
    assert {SIMULATED_INTEL_ROOT.fingerprint} == SIMULATED_INTEL_ROOTS
    assert "SIMULATED - NOT INTEL" in SIMULATED_INTEL_ROOT.certificate.subject.rfc4514_string()


def test_simulated_evidence_is_the_same_each_time() -> None:
    assert SimulatedIntel(issued_at=AT).quote() == V4
    assert SimulatedIntel(issued_at=AT).collateral() == INTEL.collateral()
