"""Cases of TPMs: quotes, event logs and certificates, as other projects and clouds have recorded them.

What others put around a quote is taken apart here; the quote, the log and the certificates are read and checked by the
functions that the verifier uses. Its policy has no part in it: old quotes are of SHA-1.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from attrs import evolve, frozen

from confsec.conformance import sev_snp
from confsec.conformance.cases import MismatchError, check_same
from confsec.conformance.kinds import CaseFile, FileCase, Kind
from confsec.errors import DecodeError, EvidenceError
from confsec.protocol.binding import Binding, Mode
from confsec.protocol.checks import require_passed, run_checks
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.platforms import AZURE_RUNTIME_DATA, MEDIA_TYPES, PLATFORMS, TDX
from confsec.protocol.rats import VerificationRequest
from confsec.protocol.wire import Reader, decode_base64url
from confsec.tee.azure import HclReport, HclReportType, JwkRsa, RuntimeData
from confsec.tee.cel import CelLog
from confsec.tee.event_log import EventLog, HashAlgorithm
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY
from confsec.tee.tdx.evidence import Quote, TdBody
from confsec.tee.tdx.policy import INTEL_SGX_ROOT
from confsec.tee.tdx.subject import Subject
from confsec.tee.tdx.verifier import CHECKS
from confsec.tee.tpm.certificates import (
    CertificatePath,
    verify_ak_usage,
    verify_ek_usage,
    verify_no_authority,
    verify_path,
)
from confsec.tee.tpm.structures import (
    GENERATED_VALUE,
    Attest,
    AttestType,
    Attributes,
    PcrSelection,
    PublicArea,
    QuoteInfo,
    RsaKey,
    SchemeId,
    TpmSignature,
    verify_tpm_signature,
)
from confsec.tee.x509 import Certificate, decode_chain, verify_is_authority

__all__ = [
    "KINDS",
    "check_ak_certificate",
    "check_authority_certificate",
    "check_azure_vtpm_evidence",
    "check_ccel",
    "check_cel",
    "check_certificate_chain",
    "check_ek_certificate",
    "check_event_log",
    "check_gce_attestation",
    "check_go_attestation_dump",
    "check_tpm_attest",
    "check_tpm_quote",
]

_Value = TypeVar("_Value")

_SHA256: Final = HashAlgorithm.SHA256
_PEM: Final = b"-----BEGIN"
_ALL_PCRS: Final = tuple(range(24))
_AT: Final = datetime(2025, 6, 20, tzinfo=UTC)


@frozen(kw_only=True)
class _Quote:
    """A quote, whatever it came in."""

    ak: PublicArea
    message: bytes
    signature: TpmSignature
    selection: PcrSelection
    values: tuple[bytes, ...]
    """The values of the selected PCRs, ascending."""

    def verify(self, nonce: bytes) -> None:
        """Check signature, nonce, selection and PCR digest. Raises `EvidenceError` and `DecodeError`."""
        verify_tpm_signature(self.ak, self.signature, self.message)
        info = _quote_info(self.message, nonce)
        if info.selections != (self.selection,):
            raise EvidenceError("other PCRs were quoted", want=self.selection.encode().hex())
        if self.signature.hash_algorithm.digest(b"".join(self.values)) != info.pcr_digest:
            raise EvidenceError("the PCR values are not those that were quoted")


def _quote_info(message: bytes, nonce: bytes) -> QuoteInfo:
    attest = Attest.decode(message)
    check_same("attestation again", attest.encode(), message)
    if attest.magic != GENERATED_VALUE or attest.type != AttestType.QUOTE or not isinstance(attest.attested, QuoteInfo):
        raise EvidenceError("an attestation is no quote of a TPM", got=f"{attest.type:#06x}")
    if attest.extra_data != nonce:
        raise EvidenceError("a quote answers another nonce", got=attest.extra_data.hex(), want=nonce.hex())
    return attest.attested


def _nonce(case: FileCase) -> bytes:
    return bytes.fromhex(case.params["nonce"])


def _selection(case: FileCase, bank: HashAlgorithm) -> PcrSelection:
    return PcrSelection.of(bank, case.params.get("pcr_selection", {}).get(bank.name.lower(), _ALL_PCRS))


# --- Quotes of Azure's vTPM -------------------------------------------------------------------------------------------


def check_tpm_quote(case: FileCase) -> None:
    """Check a quote of Azure's vTPM with the AK in the runtime data. Without an AK, only read it."""
    if "message" in case.files:
        info = _quote_info(case.read("message"), _nonce(case))
        check_same("selection", info.selections, (_selection(case, _SHA256),))
        check_same("PCR digest", info.pcr_digest, bytes.fromhex(case.params["pcr_digest"]))
        return
    data = case.read("quote")
    message, signature, values = _quote_parts(json.loads(data)) if data.startswith(b"{") else _bincode_parts(data)
    _azure_quote(_runtime_ak(_hcl_report(case)), message, signature, values).verify(_nonce(case))


def check_tpm_attest(case: FileCase) -> None:
    """Read an attestation, and check its signature where the case has the AK."""
    message = case.read("message")
    attest = Attest.decode(message)
    check_same("attestation again", attest.encode(), message)
    if "ak" in case.files and "signature" in case.files:
        verify_tpm_signature(
            PublicArea.decode(case.read("ak")), _whole(TpmSignature.read, case.read("signature")), message
        )


def check_azure_vtpm_evidence(case: FileCase) -> None:
    """Check what a guest on Azure shows: a quote of its vTPM, by the AK that the report of the hardware names."""
    document = case.json("evidence") if "evidence" in case.files else {}
    quote = next((document[name] for name in ("quote", "tpm_quote") if name in document), None)
    quote = case.json("tpm_quote") if quote is None else quote
    report = next((document[name] for name in ("report", "hcl_report") if name in document), None)
    hcl = HclReport.decode(case.read("hcl_report") if report is None else _bytes(report))
    _azure_quote(_runtime_ak(hcl), *_quote_parts(quote)).verify(_nonce(case))
    expected = case.params.get("expected", {}).get("runtime_data_sha256")
    if expected is not None:
        check_same("runtime data", hashlib.sha256(hcl.runtime_data).hexdigest(), expected)
    if hcl.kind is HclReportType.SNP:
        encoded = _bytes(report) if report is not None else case.read("hcl_report")
        _check_snp(case, encoded, document["vcek"])
    else:
        td_quote = _bytes(document["td_quote"]) if "td_quote" in document else case.read("td_quote")
        _check_tdx(case, td_quote, hcl)


def _check_snp(case: FileCase, hcl: bytes, vcek: str) -> None:
    """Have the report checked as one of SEV-SNP, with the certificates that came with it."""
    certificate = vcek.encode() if vcek.startswith("-----") else decode_base64url(vcek.rstrip("="))
    chain = case.file("chain")
    files = {"report": _Held(chain.path, data=hcl), "vcek": _Held(chain.path, data=certificate), "chain": chain}
    params = {name: value for name, value in case.params.items() if name != "encoding"}
    sev_snp.check_snp_azure_hcl(evolve(case, files=files, params=params))


_TDX_ROWS: Final = frozenset(
    f"tdx.{name}"
    for name in (
        "quote",
        "tee-type",
        "attestation-key-type",
        "qe-vendor",
        "certification-data",
        "pck-path",
        "pck-root",
        "pck-authority-signature",
        "pck-authority",
        "pck-key-usage",
        "pck-signature",
        "pck-names",
        "pck-extensions",
        "pck-validity",
        "qe-report-signature",
        "attestation-key",
        "quote-signature",
        "report-data",
        "azure-runtime-data",
    )
)
"""The checks that need no collateral: none was published for these platforms."""


def _check_tdx(case: FileCase, td_quote: bytes, hcl: HclReport) -> None:
    """Have the quote checked as one of TDX, and that it is about the runtime data."""
    # Azure's service hands out quotes with zeros behind them.
    whole = Quote.decode(td_quote, drop_zero_padding=True).encode()
    items = {TDX: whole, AZURE_RUNTIME_DATA: hcl.runtime_data}
    request = VerificationRequest(
        evidence=Evidence.of({label: CmwRecord(MEDIA_TYPES[label], value) for label, value in items.items()}),
        endorsements=Endorsements.of({}),
        binding=Binding(mode=Mode.CHALLENGE, nonce=bytes(32), key_config=b"", manifest=b""),
        platform=next(each for each in PLATFORMS if each.name == "azure-tdx"),
        at=case.at or _AT,
    )
    subject = Subject(request=request, policy=evolve(SIMULATED_TDX_POLICY, trust_anchors=(INTEL_SGX_ROOT,)))
    rows = [row for row in CHECKS if row.id in _TDX_ROWS]
    require_passed(run_checks(rows, subject), what="the quote is refused")


@frozen
class _Held(CaseFile):
    """A part of a file that was taken out already."""

    data: bytes = b""

    def read(self) -> bytes:
        """Return the part."""
        return self.data


def _hcl_report(case: FileCase) -> HclReport:
    """Read the HCL report: the file itself, or a member of a document of JSON."""
    data = case.file("hcl_report").read()
    if data.startswith(b"{"):
        document = json.loads(data)
        data = _bytes(document.get("report") or document.get("hcl_report"))
    return HclReport.decode(data)


def _runtime_ak(hcl: HclReport) -> JwkRsa:
    return RuntimeData.decode(hcl.runtime_data).ak


def _azure_quote(ak: JwkRsa, message: bytes, signature: bytes, values: Sequence[bytes]) -> _Quote:
    """Put a quote together: the runtime data has the AK's numbers alone, and the signature comes bare."""
    size = (ak.n.bit_length() + 7) // 8
    public = PublicArea(
        name_algorithm=_SHA256,
        attributes=Attributes.RESTRICTED | Attributes.SIGN,
        key=RsaKey(8 * size, ak.n.to_bytes(size, "big"), ak.e),
    )
    return _Quote(
        ak=public,
        message=message,
        signature=TpmSignature(SchemeId.RSASSA, _SHA256, (signature,)),
        selection=PcrSelection.of(_SHA256, _ALL_PCRS),
        values=tuple(values),
    )


def _quote_parts(document: Mapping[str, Any]) -> tuple[bytes, bytes, list[bytes]]:
    """Return message, signature and PCR values of a quote in JSON: hex, or lists of numbers."""
    return (
        _bytes(document["message"]),
        _bytes(document["signature"]),
        [_bytes(value) for value in document["pcrs"]],
    )


def _bincode_parts(data: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """Return message, signature and PCR values of a quote in Rust's bincode: lengths are 64 bits, little-endian."""
    reader = Reader(data, "quote in bincode")
    signature, message = (reader.take(_bincode_length(reader)) for _ in range(2))
    values = [reader.take(32) for _ in range(_bincode_length(reader))]
    reader.finish()
    return message, signature, values


def _bincode_length(reader: Reader) -> int:
    length = int.from_bytes(reader.take(8), "little")
    if length > reader.remaining:
        raise DecodeError("a length in bincode is too large", got=length)
    return length


def _bytes(value: Any) -> bytes:
    """Return bytes that JSON spells as hex, as base64url or as a list of numbers."""
    if isinstance(value, list):
        return bytes(value)
    try:
        return bytes.fromhex(value)
    except ValueError:
        return decode_base64url(value.rstrip("="))


def _whole(read: Callable[[Reader], _Value], data: bytes) -> _Value:
    reader = Reader(data)
    value = read(reader)
    reader.finish()
    return value


# --- Quotes of Google's and Microsoft's tools -------------------------------------------------------------------------


def check_gce_attestation(case: FileCase) -> None:
    """Check an Attestation of go-tpm-tools, in protobuf: a quote for each bank, and the event log."""
    fields = _Protobuf(case.read("attestation"))
    ak = PublicArea.decode(fields.one(1))
    log = EventLog.decode(fields.one(3))
    quotes = fields.all(2)
    if "pcr_selection" in case.params:
        check_same("quotes", len(quotes), len(case.params["pcr_selection"]))
    for encoded in quotes:
        quote = _Protobuf(encoded)
        pcrs = _Protobuf(quote.one(3))
        bank = HashAlgorithm(pcrs.number(1))
        values = dict(sorted(_protobuf_pcr(entry) for entry in pcrs.all(2)))
        check_same("PCRs", tuple(values), _selection(case, bank).indices)
        _Quote(
            ak=ak,
            message=quote.one(1),
            signature=_whole(TpmSignature.read, quote.one(2)),
            selection=_selection(case, bank),
            values=tuple(values.values()),
        ).verify(_nonce(case))
        _check_replay(log, bank, values)


def check_go_attestation_dump(case: FileCase) -> None:
    """Check a dump of go-attestation: quote, PCRs and event log of one machine."""
    dump = case.json("dump")
    (bank_name,) = case.params["pcr_selection"]
    bank = HashAlgorithm[bank_name.upper()]
    pcrs = {entry["Index"]: base64.b64decode(entry["Digest"]) for entry in dump["Log"]["PCRs"]}
    values = dict(sorted(pcrs.items()))
    _Quote(
        ak=PublicArea.decode(base64.b64decode(dump["AK"]["Public"])),
        message=base64.b64decode(dump["Quote"]["Quote"]),
        signature=_whole(TpmSignature.read, base64.b64decode(dump["Quote"]["Signature"])),
        selection=_selection(case, bank),
        values=tuple(values.values()),
    ).verify(_nonce(case))
    _check_replay(EventLog.decode(base64.b64decode(dump["Log"]["Raw"])), bank, values)


def _check_replay(log: EventLog, bank: HashAlgorithm, values: Mapping[int, bytes]) -> None:
    """Check that a log gives the quoted values of what it has events of."""
    for pcr, value in log.replay(bank).items():
        if values.get(pcr) != value:
            raise EvidenceError("the event log does not give a quoted PCR", got=pcr)


def _protobuf_pcr(entry: bytes) -> tuple[int, bytes]:
    """Read an entry of map<uint32, bytes>: what has the default value may be left out."""
    fields = _Protobuf(entry)
    return fields.number(1), fields.one(2)


class _Protobuf:
    """The fields of a message, as far as go-tpm-tools uses them: varints and bytes (Protocol Buffers, Encoding)."""

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        for number, value in _protobuf_fields(Reader(data, "protobuf")):
            self._fields.setdefault(number, []).append(value)

    def all(self, number: int) -> list[bytes]:
        """Return all values of a field of bytes. Raises `DecodeError` for numbers."""
        found = self._fields.get(number, [])
        values = [value for value in found if isinstance(value, bytes)]
        if len(values) != len(found):
            raise DecodeError("a field of protobuf is a number", got=number)
        return values

    def one(self, number: int) -> bytes:
        """Return the one value of a field of bytes. Raises `DecodeError`."""
        values = self.all(number)
        if len(values) != 1:
            raise DecodeError("a field of protobuf is not there once", got=f"{number}: {len(values)}")
        return values[0]

    def number(self, number: int) -> int:
        """Return a number, 0 if it is left out. Raises `DecodeError`."""
        values = self._fields.get(number, [0])
        if len(values) != 1 or not isinstance(values[0], int):
            raise DecodeError("a field of protobuf is no number", got=number)
        return values[0]


def _protobuf_fields(reader: Reader) -> Iterator[tuple[int, int | bytes]]:
    while reader.remaining:
        number, wire_type = divmod(_protobuf_varint(reader), 8)
        match wire_type:
            case 0:
                yield number, _protobuf_varint(reader)
            case 2:
                yield number, reader.take(_protobuf_varint(reader))
            case _:
                raise DecodeError("protobuf has another wire type", got=wire_type)


def _protobuf_varint(reader: Reader) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = reader.uint(1)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise DecodeError("a varint of protobuf is too long")


# --- Event logs -------------------------------------------------------------------------------------------------------


def check_event_log(case: FileCase) -> None:
    """Read a firmware's log, and compare what it replays to."""
    data = case.read("log")
    log = EventLog.decode(data)
    check_same("log again", log.encode(), data)
    _compare(case, log, "computed_pcrs")


def check_ccel(case: FileCase) -> None:
    """Read the log of a TD, and compare what it replays to: with the quote, where there is one."""
    data = case.read("log")
    log = EventLog.decode_ccel(data)
    check_same("log again", log.encode(), data[: len(log.encode())])
    _compare(case, log, "computed_rtmr_index")
    if "table" in case.files:
        _check_ccel_table(case.read("table"))
    if "expected_parse" in case.files:
        _compare_events(log, case.json("expected_parse"))
    if "quote" in case.files:
        body = Quote.decode(case.read("quote"), drop_zero_padding=True).body
        if not isinstance(body, TdBody):
            raise EvidenceError("the quote is not of a trust domain")
        for register, value in log.replay(HashAlgorithm.SHA384).items():
            if body.rtmrs[register - 1] != value:
                raise EvidenceError("the log does not give a register of the quote", got=f"RTMR{register - 1}")


def check_cel(case: FileCase) -> None:
    """Read a canonical event log, and see that each content is what its digests are over."""
    log = CelLog.decode(case.read("log"))
    for event in log.events:
        for bank in event.digests:
            check_same(f"content of record {event.number}", event.trusted(bank), event.content)
    log.replay(HashAlgorithm.SHA384)


def _compare(case: FileCase, log: EventLog, registers: str) -> None:
    params = case.params
    if "events" in params:
        check_same("events", len(log.events), params["events"])
    if "format" in params:
        check_same("format", "crypto-agile" if log.crypto_agile else "sha1", params["format"])
    if "end_offset" in params:
        check_same("end", len(log.encode()), params["end_offset"])
    if "startup_locality" in params:
        check_same("startup locality", log.startup_locality, params["startup_locality"])
    for bank, values in params.get(registers, {}).items():
        replayed = log.replay(HashAlgorithm[bank.upper()])
        check_same(f"{bank} registers", {str(each): value.hex() for each, value in replayed.items()}, values)


def _compare_events(log: EventLog, document: Any) -> None:
    """Compare registers, digests and data with what another implementation read."""
    theirs = [
        (entry["index"], [each["digest"] for each in entry["digests"]], base64.b64decode(entry["event"]))
        for entry in document["uefi_event_logs"]
    ]
    ours = [(event.register, [each.hex() for each in event.digests.values()], event.data) for event in log.events[1:]]
    check_same("events of another reader", ours, theirs)


def _check_ccel_table(table: bytes) -> None:
    """Check the ACPI table that leads to the log (UEFI 2.10, section 38.4.1): signature, length, checksum, type."""
    check_same("signature of the table", table[:4], b"CCEL")
    check_same("length of the table", int.from_bytes(table[4:8], "little"), len(table))
    check_same("checksum of the table", sum(table) & 0xFF, 0)
    check_same("type of the table: TDX", table[36], 2)


# --- Certificates -----------------------------------------------------------------------------------------------------


def check_ak_certificate(case: FileCase) -> None:
    """Check the certificate of an attestation key up to its root."""
    path = _verified_path(case)
    verify_no_authority(path.leaf)
    verify_ak_usage(path.leaf)


def check_ek_certificate(case: FileCase) -> None:
    """Check the certificate of an endorsement key up to its root. Clouds leave out what the TCG's profile asks for."""
    path = _verified_path(case)
    verify_no_authority(path.leaf)
    verify_ek_usage(path.leaf)


def check_authority_certificate(case: FileCase) -> None:
    """Check the certificate of an authority up to its root."""
    verify_is_authority(_verified_path(case).leaf)


def check_certificate_chain(case: FileCase) -> None:
    """Read a chain from leaf to root, and check its names and signatures: it was made for tests and knows no time."""
    chain = b"".join(_certificate(case, role).encoded for role in ("leaf", "intermediate", "root"))
    path = CertificatePath.decode(chain)
    check_same("certificates", len(path.certificates), 3)
    path.verify_signatures()


def _verified_path(case: FileCase) -> CertificatePath:
    chain = b"".join(
        _certificate(case, role).encoded for role in ("cert", "intermediate", "root") if role in case.files
    )
    path = CertificatePath.decode(chain)
    if case.at is None:
        raise MismatchError("the case states no time")
    verify_path(path, trust_anchors=(_certificate(case, "root").fingerprint,), at=case.at)
    return path


def _certificate(case: FileCase, role: str) -> Certificate:
    """Read a certificate in DER or PEM; text around PEM is left out."""
    data = case.read(role)
    (certificate,) = decode_chain(data[data.index(_PEM) :] if _PEM in data else data)
    return certificate


KINDS: Final = (
    Kind(name="tpm-quote", check=check_tpm_quote),
    Kind(name="tpm-attest", check=check_tpm_attest),
    Kind(name="azure-vtpm-evidence", check=check_azure_vtpm_evidence),
    Kind(name="gce-attestation-pb", check=check_gce_attestation),
    Kind(name="go-attestation-dump", check=check_go_attestation_dump),
    Kind(name="tcg-event-log", check=check_event_log),
    Kind(name="ccel", check=check_ccel),
    Kind(name="cel-tlv", check=check_cel),
    Kind(name="ak-cert", check=check_ak_certificate),
    Kind(name="ek-cert", check=check_ek_certificate),
    Kind(name="ca-cert", check=check_authority_certificate),
    Kind(name="cert-chain", check=check_certificate_chain),
)
"""The kinds of cases about TPMs, in whatever folder they are."""
