"""Real reports verify, and no bit of them can be changed unseen."""

from __future__ import annotations

import base64
import json
from functools import cache

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.conformance.kinds import FileCase
from confsec.conformance.sev_snp import check_snp_report
from confsec.errors import AppraisalError
from confsec.tee.sev_snp.certificates import AMD_ROOTS, CertificateTable
from confsec.tee.sev_snp.evidence import REPORT_SIZE, SIGNED_SIZE, AttestationReport, Product
from confsec.tee.sev_snp.verifier import CHECKS
from confsec.tee.x509 import decode_chain
from tests.support import SHARED_VECTORS
from tests.tee.sev_snp.published import NAMES, Published, _case, load

pytestmark = [pytest.mark.vectors, pytest.mark.usefixtures("shared_vectors")]

FIELDS = (
    ("version", 0x000),
    ("guest_svn", 0x004),
    ("policy", 0x008),
    ("family_id", 0x010),
    ("image_id", 0x020),
    ("vmpl", 0x030),
    ("signature_algorithm", 0x034),
    ("current_tcb", 0x038),
    ("platform_info", 0x040),
    ("key_info", 0x048),
    ("reserved", 0x04C),
    ("report_data", 0x050),
    ("measurement", 0x090),
    ("host_data", 0x0C0),
    ("id_key_digest", 0x0E0),
    ("author_key_digest", 0x110),
    ("report_id", 0x140),
    ("report_id_ma", 0x160),
    ("reported_tcb", 0x180),
    ("cpuid", 0x188),
    ("chip_id", 0x1A0),
    ("committed_tcb", 0x1E0),
    ("current_version", 0x1E8),
    ("committed_version", 0x1EC),
    ("launch_tcb", 0x1F0),
    ("launch_mitigations", 0x1F8),
    ("current_mitigations", 0x200),
    ("reserved at the end", 0x208),
    ("R", 0x2A0),
    ("S", 0x2E8),
    ("behind R and S", 0x330),
)


@cache
def published(name: str) -> Published:
    return load(name)


@pytest.mark.parametrize("name", NAMES)
def test_real_report_is_accepted(name: str) -> None:
    found = published(name)
    assert found.refusing() == set()
    claims = found.look().claims
    assert claims["product"] == found.case.params["product"]
    assert claims["measurement"] == found.decoded.measurement
    assert found.decoded.encode() == found.report
    assert not found.look().simulated


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field, offset", FIELDS, ids=[name for name, _ in FIELDS])
def test_changed_field_is_refused(name: str, field: str, offset: int) -> None:
    found = published(name)
    changed = bytearray(found.report)
    changed[offset] ^= 1
    assert found.refusing(bytes(changed)) & {row.id for row in CHECKS}


@given(st.sampled_from(NAMES), st.integers(0, 8 * REPORT_SIZE - 1))
def test_flipped_bit_is_refused(name: str, bit: int) -> None:
    found = published(name)
    changed = bytearray(found.report)
    changed[bit // 8] ^= 1 << bit % 8
    refused = found.refusing(bytes(changed))
    assert refused
    if bit // 8 < SIGNED_SIZE and "sev-snp.signature" not in refused:
        raise AssertionError("only the signature covers all of it")


@given(st.integers(0, 2000), st.integers(1, 255))
def test_changed_certificate_is_refused(at: int, change: int) -> None:
    found = published("milan-virtee")
    chain = bytearray(found.chain)
    chain[at % 1300] ^= change
    assert evolve(found, chain=bytes(chain)).refusing()


@pytest.mark.parametrize(
    "name, check",
    [
        ("milan-debug-go-sev-guest-no-debug", "policy.debug"),
        ("milan-debug-go-sev-guest-vlek-chain", "chain"),
        ("milan-trustee-wrong-vcek-legacy", "chain-signatures"),
        ("milan-trustee-wrong-vcek-new", "chain-signatures"),
        ("vlek-trustee-expired", "chain-validity"),
        ("milan-v3-microsoft-vcek-b-not-yet-valid", "chain-validity"),
        ("turin-microsoft-milan-root", "chain"),
        ("openpcc-gce-milan-v4-foreign-vcek", "signature"),
    ],
)
def test_negative_case_is_refused_for_its_reason(name: str, check: str) -> None:
    with pytest.raises(AppraisalError) as caught:
        check_snp_report(case(name))
    assert f"sev-snp.{check}" in caught.value.codes


def case(name: str) -> FileCase:
    return _case(SHARED_VECTORS / "sev-snp", name)


def test_report_of_one_chip_is_refused_under_the_certificate_of_another() -> None:
    one, other = published("milan-virtee"), published("milan-trustee-good")
    assert evolve(one, chain=other.chain).refusing()


def test_malleable_signature_verifies_and_is_another_report() -> None:
    """(R, n - S) is as good as (R, S): only the digest of the evidence tells them apart."""
    found = published("milan-virtee")
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
    twin = bytearray(found.report)
    twin[0x2E8:0x330] = (order - found.decoded.s).to_bytes(72, "little")
    assert found.refusing(bytes(twin)) == set()
    assert found.ask(bytes(twin)).evidence.digest != found.ask().evidence.digest


def test_roots_are_those_of_amd() -> None:
    for name, product in zip(("milan", "genoa", "turin"), Product, strict=True):
        path = published(NAMES[0]).case.files["report"].path.parent.parent / "amd-roots-trustee"
        chain = decode_chain((path / f"{name}_ask_ark_asvk.pem").read_bytes())
        root = next(each for each in chain if each.self_issued)
        assert root.fingerprint == AMD_ROOTS[f"amd-{name}"]
        assert root.subject.common_name == f"ARK-{product.value}"


def test_real_certificate_table_is_read() -> None:
    folder = published(NAMES[0]).case.files["report"].path.parent.parent
    found = json.loads((folder / "genoa-veraison" / "sevsnp-tsm-report.json").read_text())
    table = CertificateTable.decode(base64.urlsafe_b64decode(found["auxblob"] + "=="))
    assert CertificateTable.decode(table.encode()) == table
    report = AttestationReport.decode(base64.urlsafe_b64decode(found["outblob"] + "=="))
    assert report.version == 3
    assert table.chain()
