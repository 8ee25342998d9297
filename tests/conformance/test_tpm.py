"""Cases of TPMs, made here: good ones pass, and each defect is told."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from confsec.conformance.cases import Outcome
from confsec.conformance.kinds import CaseFile, FileCase, run_file_case
from confsec.conformance.tpm import KINDS
from confsec.tee.event_log import EventLog, HashAlgorithm
from confsec.tee.simulated.tpm import SoftwareTpm, published_key
from confsec.tee.tpm.structures import PcrSelection, TpmSignature
from tests.tee.tpm.scenes import AT, MAKER, rsa_key

SHA256 = HashAlgorithm.SHA256
TPM = SoftwareTpm()
ALL = PcrSelection.of(SHA256, range(24))
QUOTE = TPM.quote(b"nonce", ALL)
BY_NAME = {kind.name: kind for kind in KINDS}


def run(
    folder: Path,
    kind: str,
    files: dict[str, bytes],
    *,
    at: datetime | None = None,
    expect: str = "accept",
    **params: Any,
) -> Outcome:
    """Run one case whose files have these bytes."""
    for role, data in files.items():
        (folder / role).write_bytes(data)
    case = FileCase(
        id="case",
        kind=kind,
        files={role: CaseFile(folder / role) for role in files},
        expect=expect,
        stated_at=at.isoformat() if at else None,
        params=params,
    )
    return run_file_case(BY_NAME[kind], case).outcome


def accepts(*args: Any, **kwargs: Any) -> bool:
    """Run a case and say whether it passed."""
    return run(*args, **kwargs) is Outcome.PASSED


def field(number: int, value: bytes | int) -> bytes:
    """Write one field of protobuf."""
    if isinstance(value, int):
        return bytes((number << 3,)) + varint(value)
    return bytes((number << 3 | 2,)) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Write a varint of protobuf."""
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80,)) + varint(value >> 7)


def gce(
    *, log: bytes | None = None, values: dict[int, bytes] | None = None, signature: TpmSignature = QUOTE.signature
) -> bytes:
    """Write an Attestation of go-tpm-tools."""
    found = dict(enumerate(QUOTE.values)) if values is None else values
    entries = b"".join(field(2, (field(1, pcr) if pcr else b"") + field(2, value)) for pcr, value in found.items())
    quote = field(1, QUOTE.attest) + field(2, signature.encode()) + field(3, field(1, SHA256) + entries)
    return field(1, TPM.ak.encode()) + field(2, quote) + field(3, TPM.log() if log is None else log) + field(9, 1)


SELECTION = {"sha256": list(range(24))}


def test_an_attestation_in_protobuf_passes(tmp_path: Path) -> None:
    good = {"nonce": b"nonce".hex(), "pcr_selection": SELECTION}
    assert accepts(tmp_path, "gce-attestation-pb", {"attestation": gce()}, **good)
    assert accepts(tmp_path, "gce-attestation-pb", {"attestation": gce()}, nonce=b"nonce".hex())
    other = {**good, "pcr_selection": SELECTION | {"sha1": []}}
    assert not accepts(tmp_path, "gce-attestation-pb", {"attestation": gce()}, **other)


@pytest.mark.parametrize(
    "data",
    [
        gce(log=EventLog.decode(TPM.log()).encode()[:-1]),
        gce(log=evolve(EventLog.decode(TPM.log()), events=EventLog.decode(TPM.log()).events[:-1]).encode()),
        gce(values=dict(enumerate((bytes(32), *QUOTE.values[1:])))),
        gce(signature=SoftwareTpm(ak_key=published_key("x")).sign(QUOTE.attest)),
        gce() + field(1, b"twice"),
        field(1, 5) + gce(),
        gce().replace(field(1, SHA256), field(1, b"\x0b")),
        gce() + bytes((1 << 3 | 1,)),
        gce() + bytes((9 << 3,)) + b"\xff" * 10,
        gce()[:-1],
    ],
)
def test_a_defect_of_an_attestation_in_protobuf_refuses(tmp_path: Path, data: bytes) -> None:
    params: dict[str, Any] = {"nonce": b"nonce".hex(), "pcr_selection": SELECTION}
    assert run(tmp_path, "gce-attestation-pb", {"attestation": data}, expect="refuse", **params) is Outcome.PASSED
    assert not accepts(tmp_path, "gce-attestation-pb", {"attestation": data}, **params)


def text(data: bytes) -> str:
    """Write base64."""
    return base64.b64encode(data).decode()


def dump(**changes: Any) -> bytes:
    """Write a dump of go-attestation."""
    pcrs = [{"Index": pcr, "Digest": text(value), "DigestAlg": 5} for pcr, value in enumerate(QUOTE.values)]
    parts: dict[str, Any] = {
        "AK": {"Public": text(TPM.ak.encode())},
        "Quote": {"Quote": text(QUOTE.attest), "Signature": text(QUOTE.signature.encode())},
        "Log": {"PCRs": pcrs[::-1], "Raw": text(TPM.log())},
    }
    return json.dumps(parts | changes).encode()


def test_a_dump_of_go_attestation_passes(tmp_path: Path) -> None:
    params = {"nonce": b"nonce".hex(), "pcr_selection": SELECTION}
    assert accepts(tmp_path, "go-attestation-dump", {"dump": dump()}, **params)
    assert not accepts(tmp_path, "go-attestation-dump", {"dump": dump()}, **{**params, "nonce": ""})
    fewer = {"sha256": list(range(23))}
    assert not accepts(tmp_path, "go-attestation-dump", {"dump": dump()}, **{**params, "pcr_selection": fewer})


# --- Attestations -----------------------------------------------------------------------------------------------------


def test_an_attestation_is_read_and_its_signature_checked(tmp_path: Path) -> None:
    files = {"message": QUOTE.attest, "signature": QUOTE.signature.encode(), "ak": TPM.ak.encode()}
    assert accepts(tmp_path, "tpm-attest", files)
    assert accepts(tmp_path, "tpm-attest", {"message": QUOTE.attest})
    assert not accepts(tmp_path, "tpm-attest", {"message": QUOTE.attest + b"\x00"})
    other = SoftwareTpm(ak_key=published_key("x")).ak.encode()
    assert not accepts(tmp_path, "tpm-attest", {**files, "ak": other})
    assert not accepts(tmp_path, "tpm-attest", {**files, "signature": files["signature"] + b"\x00"})


def test_a_quote_that_is_only_read_has_to_say_what_is_stated(tmp_path: Path) -> None:
    params = {
        "nonce": b"nonce".hex(),
        "pcr_selection": SELECTION,
        "pcr_digest": SHA256.digest(b"".join(QUOTE.values)).hex(),
    }
    files = {"message": QUOTE.attest, "signature": b""}
    assert accepts(tmp_path, "tpm-quote", files, expect="parse", **params)
    assert not accepts(tmp_path, "tpm-quote", files, expect="parse", **{**params, "pcr_digest": "00" * 32})
    assert not accepts(tmp_path, "tpm-quote", files, expect="parse", **{**params, "pcr_selection": {"sha256": [1]}})
    key = TPM.certify_creation(TPM.request_public(ALL), b"nonce")
    assert not accepts(tmp_path, "tpm-quote", {**files, "message": key.attest}, expect="parse", **params)


# --- Azure ------------------------------------------------------------------------------------------------------------


RSA_TPM = SoftwareTpm(ak_key=rsa_key(2048))
RSA_QUOTE = RSA_TPM.quote(b"nonce", ALL)


def url(number: int) -> str:
    """Write a number as RFC 7518 does."""
    return base64.urlsafe_b64encode(number.to_bytes(256, "big").lstrip(b"\x00")).decode().rstrip("=")


def hcl_report(tpm: SoftwareTpm = RSA_TPM) -> bytes:
    """Write an HCL report that names the AK of a TPM."""
    numbers: Any = tpm.ak_key.public_key().public_numbers()
    key = {"kid": "HCLAkPub", "kty": "RSA", "n": url(numbers.n), "e": url(numbers.e)}
    runtime = json.dumps({"keys": [key], "vm-configuration": {}, "user-data": "00" * 64}).encode()
    head = b"HCLA" + bytes(28) + bytes(1184)
    sizes = b"".join(each.to_bytes(4, "little") for each in (20 + len(runtime), 1, 2, 1, len(runtime)))
    return head + sizes + runtime


def sized(data: bytes) -> bytes:
    """Write bytes behind their length."""
    return len(data).to_bytes(8, "little") + data


def bincode(quote: Any = RSA_QUOTE) -> bytes:
    """Write a quote as Rust's bincode has it."""
    (signature,) = quote.signature.numbers
    return sized(signature) + sized(quote.attest) + (24).to_bytes(8, "little") + b"".join(quote.values)


def as_json(quote: Any = RSA_QUOTE, spell: Callable[[bytes], Any] = bytes.hex) -> bytes:
    """Write a quote in JSON."""
    (signature,) = quote.signature.numbers
    parts = {
        "message": spell(quote.attest),
        "signature": spell(signature),
        "pcrs": [spell(each) for each in quote.values],
    }
    return json.dumps(parts).encode()


@pytest.mark.parametrize("quote", [bincode(), as_json(), as_json(spell=list)])
def test_a_quote_of_azure_passes(tmp_path: Path, quote: bytes) -> None:
    files = {"quote": quote, "hcl_report": hcl_report()}
    assert accepts(tmp_path, "tpm-quote", files, nonce=b"nonce".hex(), pcr_selection=SELECTION)
    assert not accepts(tmp_path, "tpm-quote", files, nonce="00", pcr_selection=SELECTION)
    other = {**files, "hcl_report": hcl_report(SoftwareTpm(ak_key=_another_key()))}
    assert not accepts(tmp_path, "tpm-quote", other, nonce=b"nonce".hex(), pcr_selection=SELECTION)


def _another_key() -> Any:
    return rsa_key.__wrapped__(2048)


@pytest.mark.parametrize("data", [bincode()[:-1], bincode() + b"\x00", b"\xff" * 8 + bincode()[8:]])
def test_a_defect_of_bincode_refuses(tmp_path: Path, data: bytes) -> None:
    files = {"quote": data, "hcl_report": hcl_report()}
    assert accepts(tmp_path, "tpm-quote", files, expect="refuse", nonce=b"nonce".hex(), pcr_selection=SELECTION)


# --- Logs and certificates --------------------------------------------------------------------------------------------


def test_a_log_has_to_replay_to_what_is_stated(tmp_path: Path) -> None:
    log = TPM.boot.log()
    stated = {"sha256": {str(pcr): value.hex() for pcr, value in log.replay(SHA256).items()}}
    params = {
        "events": len(log.events),
        "format": "crypto-agile",
        "end_offset": len(log.encode()),
        "startup_locality": 0,
        "computed_pcrs": stated,
    }
    assert accepts(tmp_path, "tcg-event-log", {"log": log.encode()}, expect="parse", **params)
    for name, value in (
        ("events", 1),
        ("format", "sha1"),
        ("end_offset", 1),
        ("startup_locality", 3),
        ("computed_pcrs", {"sha256": {"0": "00"}}),
    ):
        assert not accepts(tmp_path, "tcg-event-log", {"log": log.encode()}, expect="parse", **{**params, name: value})


@pytest.mark.vectors
def test_a_table_of_ccel_has_to_be_right(tmp_path: Path, shared_vectors: Path) -> None:
    folder = shared_vectors / "tpm"
    log = (folder / "ccel/CCEL_unpadded.data.bin").read_bytes()
    table = (folder / "ccel/CCEL.bin").read_bytes()
    assert accepts(tmp_path, "ccel", {"log": log, "table": table}, expect="parse")
    for place in (0, 4, 36, 50):
        broken = table[:place] + bytes((table[place] ^ 1,)) + table[place + 1 :]
        assert not accepts(tmp_path, "ccel", {"log": log, "table": broken}, expect="parse")


@pytest.mark.vectors
def test_a_log_of_a_td_has_to_give_its_quote(tmp_path: Path, shared_vectors: Path) -> None:
    quote = (shared_vectors / "tdx/ccel-cos113-go-tdx-guest/cos-113-tdx-quote.dat").read_bytes()
    log = EventLog.decode_ccel((shared_vectors / "tpm/ccel/cos-113-intel-tdx-unpadded.bin").read_bytes())
    assert accepts(tmp_path, "ccel", {"log": log.encode(), "quote": quote})
    shorter = evolve(log, events=log.events[:-1]).encode()
    assert not accepts(tmp_path, "ccel", {"log": shorter, "quote": quote})
    sgx = (shared_vectors / "tdx").rglob("*sgx*quote*")
    for other in [path for path in sgx if path.is_file()][:1]:
        assert not accepts(tmp_path, "ccel", {"log": log.encode(), "quote": other.read_bytes()})


@pytest.mark.vectors
def test_a_canonical_log_has_to_hash_its_content(tmp_path: Path, shared_vectors: Path) -> None:
    data = base64.b64decode((shared_vectors / "tpm/cel.b64").read_text())
    assert accepts(tmp_path, "cel-tlv", {"log": data}, expect="parse")
    assert not accepts(tmp_path, "cel-tlv", {"log": data[:-1] + bytes((data[-1] ^ 1,))}, expect="parse")


def test_certificates_are_checked_by_what_they_are_for(tmp_path: Path) -> None:
    ak, ek = MAKER.issue_ak_certificate(TPM.ak.public_key_info), MAKER.issue_ek_certificate(TPM.ek.public_key_info)
    above = {"intermediate": MAKER.intermediate.encoded, "root": MAKER.root.encoded}
    assert accepts(tmp_path, "ak-cert", {"cert": ak.encoded, **above}, at=AT)
    assert accepts(tmp_path, "ek-cert", {"cert": ek.encoded, **above}, at=AT)
    assert accepts(tmp_path, "ca-cert", {"cert": MAKER.intermediate.encoded, "root": MAKER.root.encoded}, at=AT)
    assert not accepts(tmp_path, "ak-cert", {"cert": ek.encoded, **above}, at=AT)
    assert not accepts(tmp_path, "ek-cert", {"cert": ak.encoded, **above}, at=AT)
    assert not accepts(tmp_path, "ca-cert", {"cert": ak.encoded, **above}, at=AT)
    assert not accepts(tmp_path, "ak-cert", {"cert": ak.encoded, **above})
    assert accepts(tmp_path, "cert-chain", {"leaf": ak.encoded, **above}, expect="parse")
    assert not accepts(tmp_path, "cert-chain", {"leaf": MAKER.root.encoded, **above}, expect="parse")
