"""Reports, levels of firmware, tables of certificates: what is decoded encodes back."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, EvidenceError, LimitError
from confsec.protocol.checks import Status
from confsec.protocol.cmw import Endorsements
from confsec.protocol.policy import UNSAFE_ANY
from confsec.protocol.rats import VENDOR, Vouch
from confsec.tee.sev_snp.certificates import ARK_GUID, ASK_GUID, VCEK_GUID, CertificateTable, kds_url
from confsec.tee.sev_snp.evidence import (
    REPORT_SIZE,
    AttestationReport,
    FirmwareVersion,
    Product,
    SigningKey,
    Tcb,
    decode_tcb,
    encode_tcb,
    possible_products,
)
from confsec.tee.sev_snp.floors import AMD_FLOORS_2026_10
from confsec.tee.sev_snp.policy import SnpPolicy
from confsec.tee.sev_snp.report import signature
from confsec.tee.sev_snp.subject import SnpSubject
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated import amd
from confsec.tee.simulated.amd import UNSAFE_SIMULATED_SNP, VALID, SimulatedAmd
from confsec.tee.simulated.issue import issue_certificate
from confsec.tee.simulated.roots import SIMULATED_AMD_ROOTS, SIMULATED_OID
from confsec.tee.x509 import decode_chain, encode_chain, verify_certificate_signature
from tests.tee.sev_snp.cases import (
    AMD,
    LOW,
    POLICY,
    look,
    look_azure,
    look_outside,
    look_svsm,
    low_floors,
    refusing,
    report,
    request,
    runtime_data,
    vcek,
    vlek,
)

LEVELS = st.integers(0, 255)
TCBS = st.builds(Tcb, fmc=st.just(0), bootloader=LEVELS, tee=LEVELS, snp=LEVELS, microcode=LEVELS)


@given(st.binary(min_size=REPORT_SIZE, max_size=REPORT_SIZE))
def test_any_report_encodes_back(data: bytes) -> None:
    assert AttestationReport.decode(data).encode() == data


@pytest.mark.parametrize("size", [0, REPORT_SIZE - 1, REPORT_SIZE + 1])
def test_report_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(DecodeError):
        AttestationReport.decode(bytes(size))


def test_fields_stand_where_the_table_says() -> None:
    found = report(version=5, guest_svn=7, chip_id=b"c" * 64, launch_tcb=b"l" * 8)
    data = found.encode()
    assert data[0x004] == 7
    assert data[0x050:0x090] == found.report_data
    assert data[0x1A0:0x1E0] == b"c" * 64
    assert data[0x1E8:0x1EB] == bytes((3, 58, 1))
    assert data[0x1F0:0x1F8] == b"l" * 8
    assert found.current_version.text == "1.58.3"
    assert found.abi == (0, 58)
    assert not found.has_author_key


@given(TCBS, st.sampled_from(Product))
def test_levels_encode_back(tcb: Tcb, product: Product) -> None:
    assert decode_tcb(encode_tcb(tcb, product), product) == tcb


def test_levels_have_two_layouts() -> None:
    tcb = Tcb(fmc=1, bootloader=2, tee=3, snp=4, microcode=5)
    assert encode_tcb(tcb, Product.TURIN) == bytes((1, 2, 3, 4, 0, 0, 0, 5))
    assert encode_tcb(tcb, Product.GENOA) == bytes((2, 3, 0, 0, 0, 0, 4, 5))


@pytest.mark.parametrize("product", Product)
def test_level_with_a_reserved_byte_is_refused(product: Product) -> None:
    with pytest.raises(DecodeError):
        decode_tcb(bytes((0, 0, 0, 0, 1, 0, 0, 0)), product)


def test_level_says_how_far_it_is_behind() -> None:
    assert LOW.behind(AMD.tcb) == {"fmc": 0, "bootloader": 3, "tee": 1, "snp": 29, "microcode": 219}
    assert AMD.tcb.meets(LOW)
    assert not LOW.meets(AMD.tcb)


@pytest.mark.parametrize(
    "cpuid, product",
    [
        (b"\x19\x00\x00", Product.MILAN),
        (b"\x19\x0f\x01", Product.MILAN),
        (b"\x19\x10\x01", Product.GENOA),
        (b"\x19\x1f\x01", Product.GENOA),
        (b"\x19\xa0\x02", Product.GENOA),
        (b"\x19\xaf\x02", Product.GENOA),
        (b"\x1a\x00\x01", Product.TURIN),
        (b"\x1a\x11\x01", Product.TURIN),
    ],
)
def test_processor_tells_the_product(cpuid: bytes, product: Product) -> None:
    assert possible_products(report(cpuid=cpuid)) == {product}


@pytest.mark.parametrize("cpuid", [b"\x19\x20\x00", b"\x19\x9f\x00", b"\x19\xb0\x00", b"\x1a\x12\x00", b"\x1a\x50\x00"])
def test_processor_of_another_product_is_none(cpuid: bytes) -> None:
    assert possible_products(report(cpuid=cpuid)) == frozenset()


def test_unknown_signing_key_is_refused() -> None:
    assert report(key_info=SigningKey.VLEK.value << 2).signing_key is SigningKey.VLEK
    with pytest.raises(EvidenceError):
        _ = report(key_info=2 << 2).signing_key


# --- Certificates -----------------------------------------------------------------------------------------------------

TABLE = CertificateTable({VCEK_GUID: vcek().certificate.encoded, ASK_GUID: AMD.ask.encoded, ARK_GUID: AMD.ark.encoded})


def test_table_is_read_and_written() -> None:
    assert CertificateTable.decode(TABLE.encode() + bytes(100)) == TABLE
    assert decode_chain(TABLE.chain()) == (vcek().certificate, AMD.ask, AMD.ark)
    assert CertificateTable({}).chain() == b""


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_error(data: bytes) -> None:
    with suppress(ConfsecError):
        CertificateTable.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TABLE.encode()[:-1],
        CertificateTable({VCEK_GUID: b""}).encode()[:24] * 2 + bytes(24),
        CertificateTable({VCEK_GUID: b"x"}).encode()[:24],
    ],
    ids=["empty", "cut", "twice", "no end"],
)
def test_table_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        CertificateTable.decode(data)


def test_table_that_is_too_long_is_refused() -> None:
    entries = {UUID(int=number): b"" for number in range(1, 18)}
    for data in (bytes((1 << 17) + 1), CertificateTable(entries).encode()):
        with pytest.raises(LimitError):
            CertificateTable.decode(data)


def test_amd_has_certificates_at_addresses_of_their_level() -> None:
    tcb = Tcb(fmc=1, bootloader=2, tee=0, snp=4, microcode=81)
    hwid = bytes(range(64))
    turin = "https://kdsintf.amd.com/vcek/v1/Turin/0001020304050607?fmcSPL=01&blSPL=02&teeSPL=00&snpSPL=04&ucodeSPL=81"
    assert kds_url(Product.TURIN, SigningKey.VCEK, hwid=hwid, tcb=tcb) == turin
    milan = f"https://kdsintf.amd.com/vcek/v1/Milan/{hwid.hex()}?blSPL=02&teeSPL=00&snpSPL=04&ucodeSPL=81"
    assert kds_url(Product.MILAN, SigningKey.VCEK, hwid=hwid, tcb=tcb) == milan
    assert kds_url(Product.GENOA, SigningKey.VLEK) == "https://kdsintf.amd.com/vlek/v1/Genoa/cert_chain"


@pytest.mark.parametrize("product", Product)
def test_simulated_vendor_is_marked_and_published(product: Product) -> None:
    vendor = SimulatedAmd(product)
    assert vendor.ark.fingerprint in SIMULATED_AMD_ROOTS
    for certificate in (vendor.ark, vendor.ask, vendor.asvk, vcek(product).certificate, vlek(product).certificate):
        assert certificate.extensions[SIMULATED_OID].critical
        assert "SIMULATED - NOT AMD" in certificate.subject.text
        assert "confsec simulated TEE" in certificate.subject.text
    for certificate in (vendor.ark, vendor.ask, vendor.asvk):
        verify_certificate_signature(certificate, vendor.ark)
    assert vcek(product).certificate.serial == 0


def test_roots_of_simulated_vendor_are_all_listed() -> None:
    assert {SimulatedAmd(product).ark.fingerprint for product in Product} == SIMULATED_AMD_ROOTS
    assert set(UNSAFE_SIMULATED_SNP.trust_anchors) == SIMULATED_AMD_ROOTS


def test_simulated_measurement_is_a_digest() -> None:
    assert hashlib.sha384(b"confsec simulated guest").digest() == amd.SIMULATED_MEASUREMENT


# --- Findings ---------------------------------------------------------------------------------------------------------


def edges(vouches: tuple[Vouch, ...]) -> set[tuple[str, str]]:
    return {(vouch.by, vouch.of) for vouch in vouches}


def test_measured_guest_vouches_for_all() -> None:
    found = look()
    assert found.simulated
    assert found.expires == datetime(2049, 12, 31, tzinfo=UTC)
    assert edges(found.vouches) == {
        (VENDOR, "sev-snp"),
        ("sev-snp", "binding"),
        ("sev-snp", "operating-system"),
    }


def test_svsm_vouches_for_its_vtpm() -> None:
    assert edges(look_svsm().vouches) == {
        (VENDOR, "sev-snp"),
        ("sev-snp", "binding"),
        ("sev-snp", "svsm-manifest"),
        ("svsm-manifest", "tpm-ak"),
    }


def test_paravisor_vouches_for_its_vtpm_and_the_guests_word() -> None:
    assert edges(look_azure().vouches) == {
        (VENDOR, "sev-snp"),
        ("sev-snp", "azure-runtime-data"),
        ("azure-runtime-data", "binding"),
        ("azure-runtime-data", "tpm-ak"),
    }


def test_guest_does_not_vouch_for_a_tpm_outside() -> None:
    assert edges(look_outside().vouches) == {(VENDOR, "sev-snp"), ("sev-snp", "binding")}


@pytest.mark.parametrize("measured", ["UNSAFE_ANY", "another"])
def test_unknown_system_vouches_for_no_system(measured: str) -> None:
    values = UNSAFE_ANY if measured == "UNSAFE_ANY" else (bytes(48),)
    policy = {"measurements": values, "firmware_measurements": values}
    assert ("sev-snp", "operating-system") not in edges(look(policy=policy).vouches)
    assert ("svsm-manifest", "tpm-ak") not in edges(look_svsm(policy=policy).vouches)
    assert not {"binding", "tpm-ak"} & {of for _, of in edges(look_azure(policy=policy).vouches)}


def test_what_was_not_compared_vouches_for_nothing() -> None:
    assert edges(look(report(vmpl=1)).vouches) == {(VENDOR, "sev-snp"), ("sev-snp", "operating-system")}
    assert edges(look(report(report_data=bytes(64))).vouches) == {(VENDOR, "sev-snp"), ("sev-snp", "operating-system")}
    assert ("azure-runtime-data", "tpm-ak") not in edges(look_azure(runtime_data(modulus=1 << 2047 | 1)).vouches)
    assert ("azure-runtime-data", "binding") not in edges(look_azure(runtime_data(bytes(64))).vouches)
    assert ("svsm-manifest", "tpm-ak") not in edges(look_svsm(items={"svsm-manifest": b"", "tpm-ak": b""}).vouches)


def test_report_that_is_not_sound_vouches_for_nothing() -> None:
    for found in (look(crl=None), look(report(chip_id=bytes(range(64)))), look(at=datetime(2050, 1, 1, tzinfo=UTC))):
        assert found.vouches == ()
        assert found.claims
    unsigned = look(items={"sev-snp": report().encode()})
    assert unsigned.claims == {}
    assert unsigned.vouches == ()


def test_claims_say_how_far_firmware_is_behind() -> None:
    floors = tuple(floor for floor in AMD_FLOORS_2026_10 if floor.product is Product.GENOA)
    vendor = SimulatedAmd(Product.GENOA)
    level = Tcb(bootloader=10, tee=0, snp=0x17, microcode=0x54)
    issued = vendor.issue_vcek(tcb=level)
    found = look(report(vendor), amd=vendor, issued=issued, policy={"tcb_floors": floors})
    assert found.claims["tcb_behind"] == {
        "AMD-SB-3016": {"snp": 4},
        "AMD-SB-3020": {"snp": 4},
        "AMD-SB-3027": {"microcode": 2},
    }
    assert found.claims["tcb"] == level.parts


def test_processor_without_a_floor_is_refused() -> None:
    floors = tuple(floor for floor in POLICY.tcb_floors if floor.product is not Product.MILAN)
    wanted = [f"sev-snp.{name}" for name in ("tcb-floor", "launch-tcb-floor", "committed-tcb-floor")]
    assert refusing(look(policy={"tcb_floors": floors})) == wanted
    assert refusing(look(policy={"tcb_floors": ()})) == wanted


def test_floor_of_one_stepping_is_not_for_another() -> None:
    floors = tuple(floor for floor in AMD_FLOORS_2026_10 if floor.product is Product.MILAN)
    old = report(cpuid=b"\x19\x01\x02")
    assert refusing(look(policy={"tcb_floors": floors})) == []
    assert refusing(look(old, policy={"tcb_floors": floors})) == []


def test_report_that_does_not_tell_its_stepping_is_refused() -> None:
    found = look(report(version=2), policy={"tcb_floors": AMD_FLOORS_2026_10, "min_report_version": 2})
    assert refusing(found) == [f"sev-snp.{name}-floor" for name in ("tcb", "launch-tcb", "committed-tcb")]
    assert found.claims["tcb_behind"] == {}


def test_mitigations_need_a_report_that_has_them() -> None:
    assert refusing(look(policy={"required_mitigations": (0,)})) == [
        "sev-snp.launch-mitigations",
        "sev-snp.current-mitigations",
    ]


def test_missing_evidence_and_endorsements_are_failed_checks() -> None:
    asked = request({}, chain=None, crl=None)
    assert refusing(SnpVerifier(POLICY).verify(asked)) == ["sev-snp.report"]
    signed = vcek().sign(report()).encode()
    asked = evolve(request({"sev-snp": signed}, chain=b"", crl=None), endorsements=Endorsements.of({}))
    assert refusing(SnpVerifier(POLICY).verify(asked)) == ["sev-snp.certificates"]


def test_list_that_cannot_be_read_does_not_hide_the_rest() -> None:
    found = look(crl=b"0")
    assert [check.status for check in found.checks].count(Status.SKIP) == 6
    assert found.expires is not None
    assert found.vouches == ()


def test_policy_of_low_floors_is_one() -> None:
    assert isinstance(low_floors()["tcb_floors"], tuple)
    assert isinstance(POLICY, SnpPolicy)
    assert FirmwareVersion(1, 2, 3).encode() == bytes((3, 2, 1))


def test_signing_key_that_is_not_on_a_curve_signs_nothing() -> None:
    """The check of the key stops the table before; the signature's check does not rely on that."""
    leaf = issue_certificate(
        AMD.ask_signer,
        subject=vcek().certificate.subject,
        public_key=AMD.ask.public_key_info,
        serial=0,
        valid=VALID,
        extensions=vcek().certificate.extensions,
    )
    chain = encode_chain((leaf, AMD.ask, AMD.ark))
    subject = SnpSubject(POLICY, request({"sev-snp": vcek().sign(report()).encode()}, chain=chain, crl=None))
    assert signature(subject).status is Status.FAIL
    assert subject.crl_flaw is None
