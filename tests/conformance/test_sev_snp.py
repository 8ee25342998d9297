"""Cases of SEV-SNP: reports are found in what others put around them, and what is not one is said to be none."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cbor2
import pytest

from confsec.conformance.cases import CaseSkippedError, MismatchError
from confsec.conformance.kinds import CaseFile, FileCase
from confsec.conformance.sev_snp import KINDS
from confsec.errors import ConfsecError, DecodeError, EvidenceError

pytestmark = pytest.mark.vectors

CHECKS = {kind.name: kind.check for kind in KINDS}


@pytest.fixture
def folder(shared_vectors: Path) -> Path:
    return shared_vectors / "sev-snp"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Maker:
    """Makes cases around the real report of a Genoa."""

    def __init__(self, folder: Path, out: Path) -> None:
        found = json.loads((folder / "genoa-veraison" / "sevsnp-tsm-report.json").read_text())
        self.tsm: dict[str, str] = found
        self.report = base64.urlsafe_b64decode(found["outblob"] + "==")
        self.table = base64.urlsafe_b64decode(found["auxblob"] + "==")
        self.roots = folder / "amd-roots-trustee" / "genoa_ask_ark_asvk.pem"
        self.out = out

    def run(self, kind: str, files: Mapping[str, bytes | Path], **params: Any) -> None:
        expect = params.pop("expect", "accept")
        written = {}
        for role, content in files.items():
            path = content if isinstance(content, Path) else self.out / role
            if isinstance(content, bytes):
                path.write_bytes(content)
            written[role] = CaseFile(path)
        case = FileCase(
            id="made", kind=kind, files=written, expect=expect, stated_at="2025-06-20T00:00:00Z", params=params
        )
        check = CHECKS[kind]
        assert check is not None
        check(case)

    def container(self, document: Any, *, kind: str = "snp-ratsd-cmw", **params: Any) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.run(kind, {"evidence": data, "chain": self.roots}, **{"product": "Genoa", "ek": "vcek", **params})


@pytest.fixture
def maker(folder: Path, tmp_path: Path) -> Maker:
    return Maker(folder, tmp_path)


CONTAINERS: dict[str, Callable[[Maker], Any]] = {
    "tsm report": lambda maker: maker.tsm,
    "tsm report in CBOR": lambda maker: cbor2.dumps({"outblob": maker.report, "auxblob": maker.table}),
    "record of a collection": lambda maker: {
        "__cmwc_t": "tag:example",
        "tsm": ["application/vnd.veraison.configfs-tsm+json", b64(json.dumps(maker.tsm).encode())],
    },
    "record of a collection in CBOR": lambda maker: cbor2.dumps(
        {"tsm": ["x", cbor2.dumps({"outblob": maker.report, "auxblob": maker.table})]}
    ),
    "list": lambda maker: [["no record"], ["text/plain", "*"], ["text/plain", b64(b"no document")], maker.tsm],
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_report_is_found(name: str, maker: Maker) -> None:
    maker.container(CONTAINERS[name](maker))


def test_compressed_report_is_found(maker: Maker) -> None:
    body = base64.b64encode(gzip.compress(maker.report)).decode()
    with pytest.raises(ConfsecError, match="refused"):  # it brings no certificate of the chip
        maker.container({"report": {"format": "https://a.example", "body": body}}, kind="snp-tinfoil-bundle")


def test_parts_are_taken_from_where_the_manifest_says(maker: Maker) -> None:
    vcek = maker.report.hex()
    document = {
        "a": [{"report": vcek, "bytes": list(maker.report), "table": b64(maker.table)}],
        "provider": "sev_guest\n",
    }
    table = {"auxblob": "base64url no padding at /a/0/table"}
    for encoding in ("hex at /a/0/report", "json-bytes at /a/0/bytes"):
        places = {**table, "report": encoding}
        maker.container(document, encoding=places, expected={"provider": "sev_guest\n"})
    with pytest.raises(MismatchError, match="provider"):
        maker.container(document, encoding={**table, "report": "hex at /a/0/report"}, expected={"provider": "another"})
    for pointer in ("/a/1/report", "/b", "/a/x"):
        with pytest.raises(MismatchError, match="nothing at"):
            maker.container(document, encoding={"report": f"hex at {pointer}"})


def test_chip_certificate_is_taken_from_the_container(maker: Maker, folder: Path) -> None:
    report = (folder / "milan-trustee" / "test-report.bin").read_bytes()
    vcek = (folder / "milan-trustee" / "test-vcek.der").read_bytes()
    pem = "-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(vcek).decode() + "-----END CERTIFICATE-----\n"
    roots = folder / "amd-roots-trustee" / "milan_ask_ark_asvk.pem"
    data = json.dumps({"report": b64(report), "der": b64(vcek), "pem": pem}).encode()
    for place in ("PEM text at /pem", "base64url DER at /der"):
        places = {"report": "base64url at /report", "vcek": place}
        maker.run("snp-dstack", {"evidence": data, "chain": roots}, product="Milan", ek="vcek", encoding=places)


def test_nonce_is_compared(maker: Maker) -> None:
    nonce = maker.report[0x50:0x90].hex()
    maker.container(maker.tsm, nonce=nonce)
    for wrong in ("00", "", nonce + "00"):
        with pytest.raises(EvidenceError, match="nonce"):
            maker.container(maker.tsm, nonce=wrong)


def test_container_of_another_form_is_skipped(maker: Maker) -> None:
    with pytest.raises(CaseSkippedError):
        maker.container({"something": "else"})
    with pytest.raises(DecodeError):
        maker.container(b"\xff")
    with pytest.raises(MismatchError):
        maker.run("snp-ratsd-cmw", {"chain": maker.roots})
    with pytest.raises(MismatchError):
        maker.container({"outblob": "*"})


@pytest.mark.parametrize("field", ["report_data", "measurement", "host_data", "chip_id", "reported_tcb"])
def test_stated_fields_are_compared(field: str, maker: Maker) -> None:
    with pytest.raises(MismatchError, match=field):
        maker.container(maker.tsm, expected={field: "00"})
    with pytest.raises(MismatchError, match="guest_policy"):
        maker.container(maker.tsm, expected={"guest_policy": "0x1"})


def test_parse_only_cases_are_not_verified(maker: Maker) -> None:
    maker.run("snp-report", {"report": maker.report}, expect="parse", report_version=3)
    with pytest.raises(MismatchError, match="report_version"):
        maker.run("snp-report", {"report": maker.report}, expect="parse", report_version=4)


def test_hcl_report_of_another_tee_is_refused(maker: Maker, folder: Path) -> None:
    hcl = bytearray((folder / "azure-vtpm-trustee" / "hcl-report.bin").read_bytes())
    hcl[1224] = 4
    with pytest.raises(EvidenceError, match="another TEE"):
        maker.run("snp-azure-hcl", {"report": bytes(hcl), "chain": maker.roots})


def test_chains_that_are_none_are_refused(maker: Maker, folder: Path) -> None:
    turin = {"vcek": folder / "turin-certs-virtee" / "vcek_turin.der"}
    chain = {"chain": folder / "turin-certs-virtee" / "cert_chain_turin"}
    maker.run("snp-ek-chain", {**turin, **chain}, product="Turin")
    for files in (chain, turin, {**turin, "chain": maker.roots}):
        with pytest.raises(EvidenceError):
            maker.run("snp-ek-chain", files, product="Turin")
    with pytest.raises(EvidenceError, match="another product"):
        maker.run("snp-ek-chain", {**turin, **chain}, product="Turin", ek="vlek")
    with pytest.raises(MismatchError):
        maker.run("snp-ek-chain", {**turin, **chain}, product="Turin", expected={"hwid": "00"})
    with pytest.raises(EvidenceError, match="another product"):
        maker.run("snp-root-chain", {"chain": maker.roots}, product="Milan")
    with pytest.raises(EvidenceError, match="no intermediate"):
        maker.run("snp-root-chain", {}, product="Milan")
    crl = CaseFile(folder / "openpcc" / "sev_certificates.txt", "test_amd_milan_crl.pem").read()
    with pytest.raises(EvidenceError, match="one root"):
        maker.run("snp-crl", {"crl": crl}, product="Milan")


def test_inputs_of_launches_that_are_none_are_refused(maker: Maker, folder: Path) -> None:
    inputs = folder / "launch-measurement-virtee"
    auth, ovmf = (inputs / "test_auth_block.bin").read_bytes(), (inputs / "ovmf_AmdSev_suffix.bin").read_bytes()
    maker.run("snp-launch-inputs", {"auth_block": auth, "ovmf": ovmf, "id_signature": b""}, expect="parse")
    short = bytearray(ovmf)
    short[-50:-48] = b"\x01\x00"
    for bad in ({"auth_block": auth[1:]}, {"auth_block": bytes(4096)}, {"ovmf": b""}, {"ovmf": bytes(short)}):
        with pytest.raises(DecodeError):
            maker.run("snp-launch-inputs", bad, expect="parse")


def test_time_of_cases_is_that_of_their_manifest() -> None:
    case = FileCase(id="x", kind="snp-report", files={}, expect="accept", stated_at="2025-06-20T00:00:00Z")
    assert case.at == datetime(2025, 6, 20, tzinfo=UTC)
