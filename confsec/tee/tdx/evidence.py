"""The quote of a trust domain as bytes: header, body, and what signs it, down to the certificate of the platform.

Versions 4 and 5 hold a TD report body of TDX 1.0 or 1.5; version 3, and the others with TEE type 0, hold the report
of an SGX enclave, which has the same chain. All integers are little-endian. Nothing here is trusted: `verifier.py`
decides.

What no signature covers: lengths, and the certification data, whose certificates have signatures of their own; white
space between their lines of PEM may change. Zero bytes after the end are refused unless the caller drops them.
"""

from __future__ import annotations

import hashlib
from typing import Final, Self

from attrs import astuple, field, frozen

from confsec.errors import DecodeError, EvidenceError, LimitError, UnsupportedError
from confsec.protocol.wire import Reader

__all__ = [
    "BODY_SGX",
    "BODY_TD_1_0",
    "BODY_TD_1_5",
    "CERTIFICATION_PCK_CHAIN",
    "ECDSA_P256",
    "INTEL_QE_VENDOR",
    "MAX_QUOTE",
    "TEE_SGX",
    "TEE_TDX",
    "EnclaveReport",
    "Quote",
    "QuoteHeader",
    "QuoteSignature",
    "TdBody",
    "TdReport",
    "verify_td_report",
]

_SECTION: Final = "Intel TDX DCAP Quoting Library API, appendix 3"
_REPORT_SECTION: Final = "Intel TDX module ABI, TDREPORT_STRUCT"

MAX_QUOTE: Final = 1 << 16
"""A quote has at most 65,536 bytes: real ones have about 5,000, of which most are certificates."""

TEE_SGX: Final = 0x00
"""TEE type of an SGX enclave."""

TEE_TDX: Final = 0x81
"""TEE type of a trust domain."""

ECDSA_P256: Final = 2
"""Attestation key type: ECDSA with P-256 and SHA-256."""

INTEL_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""The vendor id of Intel's quoting enclave."""

BODY_SGX: Final = 1
"""Body type of version 5: the report of an enclave."""

BODY_TD_1_0: Final = 2
"""Body type of version 5: TDX 1.0."""

BODY_TD_1_5: Final = 3
"""Body type of version 5: TDX 1.5."""

CERTIFICATION_PCK_CHAIN: Final = 5
"""Certification data type: PCK certificate, CA and root in PEM."""

_CERTIFICATION_QE_REPORT: Final = 6
_SIZES: Final = {BODY_SGX: 384, BODY_TD_1_0: 584, BODY_TD_1_5: 648}


def _uint(reader: Reader, size: int) -> int:
    return int.from_bytes(reader.take(size), "little")


def _le(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


@frozen
class QuoteHeader:
    """The first 48 bytes of a quote."""

    version: int
    """3, 4 or 5: it decides the layout."""

    attestation_key_type: int
    """2 is ECDSA with P-256."""

    tee_type: int
    """0x00 for SGX, 0x81 for TDX."""

    reserved: bytes
    """4 bytes: SVNs of QE and PCE in version 3. We read those in the QE report and the PCK certificate instead."""

    qe_vendor_id: bytes
    """Who made the quoting enclave: 16 bytes."""

    user_data: bytes
    """20 bytes of the platform: an id of it, in what Intel's quoting enclave writes."""

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take a header off the front of `reader`. Raises `UnsupportedError` for a version that we do not know."""
        version = _uint(reader, 2)
        if version not in {3, 4, 5}:
            raise UnsupportedError("a quote of another version", got=version, want="3, 4 or 5", section=_SECTION)
        return cls(
            version=version,
            attestation_key_type=_uint(reader, 2),
            tee_type=_uint(reader, 4),
            reserved=reader.take(4),
            qe_vendor_id=reader.take(16),
            user_data=reader.take(20),
        )

    def encode(self) -> bytes:
        head = _le(self.version, 2) + _le(self.attestation_key_type, 2) + _le(self.tee_type, 4)
        return head + self.reserved + self.qe_vendor_id + self.user_data


@frozen
class EnclaveReport:
    """What the processor says of an enclave: 384 bytes (Intel SDM, volume 3D, REPORT)."""

    cpu_svn: bytes
    misc_select: bytes
    reserved_1: bytes
    attributes: bytes
    mr_enclave: bytes
    reserved_2: bytes
    mr_signer: bytes
    reserved_3: bytes
    isv_prod_id: int
    isv_svn: int
    reserved_4: bytes
    report_data: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        reader = Reader(data, "enclave report")
        report = cls(
            cpu_svn=reader.take(16),
            misc_select=reader.take(4),
            reserved_1=reader.take(28),
            attributes=reader.take(16),
            mr_enclave=reader.take(32),
            reserved_2=reader.take(32),
            mr_signer=reader.take(32),
            reserved_3=reader.take(96),
            isv_prod_id=_uint(reader, 2),
            isv_svn=_uint(reader, 2),
            reserved_4=reader.take(60),
            report_data=reader.take(64),
        )
        reader.finish()
        return report

    def encode(self) -> bytes:
        return b"".join(
            (
                self.cpu_svn,
                self.misc_select,
                self.reserved_1,
                self.attributes,
                self.mr_enclave,
                self.reserved_2,
                self.mr_signer,
                self.reserved_3,
                _le(self.isv_prod_id, 2),
                _le(self.isv_svn, 2),
                self.reserved_4,
                self.report_data,
            )
        )

    @property
    def debug(self) -> bool:
        """Whether a debugger may look into the enclave: ATTRIBUTES, bit 1."""
        return bool(self.attributes[0] & 0x02)


@frozen
class TdBody:
    """What the TDX module says of a trust domain: 584 bytes in TDX 1.0, 648 in TDX 1.5."""

    tee_tcb_svn: bytes
    """SVNs of the TDX module (index 0 and 1: SVN and version of the module) and of what it rests on: 16 bytes."""

    mr_seam: bytes
    """Measurement of the TDX module: 48 bytes."""

    mr_signer_seam: bytes
    """Signer of the TDX module, zero for Intel's: 48 bytes."""

    seam_attributes: bytes
    """8 bytes."""

    td_attributes: bytes
    """8 bytes, bit 0 first."""

    xfam: bytes
    """Which extended features the TD may use: 8 bytes, bit 0 first."""

    mr_td: bytes
    """Measurement of what the TD began with: 48 bytes."""

    mr_config_id: bytes
    """The configuration that the owner wrote before the start: 48 bytes."""

    mr_owner: bytes
    """The owner, as the host wrote it: 48 bytes."""

    mr_owner_config: bytes
    """The owner's configuration, as the host wrote it: 48 bytes."""

    rtmrs: tuple[bytes, bytes, bytes, bytes]
    """What the TD measured at run time: four times 48 bytes."""

    report_data: bytes
    """The TD's own words: 64 bytes."""

    tee_tcb_svn_2: bytes | None = None
    """SVNs that the TD runs on now, after updates without a restart: 16 bytes. TDX 1.5 only."""

    mr_service_td: bytes | None = None
    """Service TDs that may act on this one, such as one for migration: 48 bytes. TDX 1.5 only."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        reader = Reader(data, "TD report body")
        fields = {
            "tee_tcb_svn": reader.take(16),
            "mr_seam": reader.take(48),
            "mr_signer_seam": reader.take(48),
            "seam_attributes": reader.take(8),
            "td_attributes": reader.take(8),
            "xfam": reader.take(8),
            "mr_td": reader.take(48),
            "mr_config_id": reader.take(48),
            "mr_owner": reader.take(48),
            "mr_owner_config": reader.take(48),
        }
        rtmrs = (reader.take(48), reader.take(48), reader.take(48), reader.take(48))
        report_data = reader.take(64)
        if reader.remaining:
            fields |= {"tee_tcb_svn_2": reader.take(16), "mr_service_td": reader.take(48)}
        reader.finish()
        return cls(rtmrs=rtmrs, report_data=report_data, **fields)

    def encode(self) -> bytes:
        return b"".join(
            (
                self.tee_tcb_svn,
                self.mr_seam,
                self.mr_signer_seam,
                self.seam_attributes,
                self.td_attributes,
                self.xfam,
                self.mr_td,
                self.mr_config_id,
                self.mr_owner,
                self.mr_owner_config,
                *self.rtmrs,
                self.report_data,
                self.tee_tcb_svn_2 or b"",
                self.mr_service_td or b"",
            )
        )


@frozen
class QuoteSignature:
    """What signs a quote: the attestation key, the quoting enclave that made it, and the platform's certificates."""

    signature: bytes
    """Over header and body, by the attestation key: r and s, 64 bytes."""

    attestation_key: bytes
    """The point's x and y: 64 bytes."""

    qe_report: bytes
    """The report of the quoting enclave, which names the attestation key: 384 bytes."""

    qe_report_signature: bytes
    """Over `qe_report`, by the platform's PCK: 64 bytes."""

    qe_auth_data: bytes
    """What the quoting enclave hashed beside the key."""

    certification_type: int
    """5 where certificates follow."""

    certification_data: bytes = field(repr=False)
    """PCK certificate, CA and root in PEM."""

    @classmethod
    def decode(cls, data: bytes, *, nested: bool) -> Self:
        """Read signature data. From version 4 on the QE report is `nested` in certification data of type 6."""
        reader = Reader(data, "quote signature")
        signature, attestation_key = reader.take(64), reader.take(64)
        if nested:
            kind, size = _uint(reader, 2), _uint(reader, 4)
            if kind != _CERTIFICATION_QE_REPORT or size != reader.remaining:
                raise DecodeError(
                    "a quote's certification data is not one QE report",
                    got=f"type {kind}, {size} of {reader.remaining} bytes",
                    want="type 6, all that is left",
                    section=_SECTION,
                )
        parsed = cls(
            signature=signature,
            attestation_key=attestation_key,
            qe_report=reader.take(384),
            qe_report_signature=reader.take(64),
            qe_auth_data=reader.take(_uint(reader, 2)),
            certification_type=_uint(reader, 2),
            certification_data=reader.take(_uint(reader, 4)),
        )
        reader.finish()
        return parsed

    def encode(self, *, nested: bool) -> bytes:
        """Return the signature data; the inverse of `decode`."""
        inner = (
            self.qe_report
            + self.qe_report_signature
            + _le(len(self.qe_auth_data), 2)
            + self.qe_auth_data
            + _le(self.certification_type, 2)
            + _le(len(self.certification_data), 4)
            + self.certification_data
        )
        head = self.signature + self.attestation_key
        return head + (_le(_CERTIFICATION_QE_REPORT, 2) + _le(len(inner), 4) if nested else b"") + inner


@frozen
class Quote:
    """A quote, version 3, 4 or 5."""

    header: QuoteHeader
    body: TdBody | EnclaveReport
    signature: QuoteSignature

    @classmethod
    def decode(cls, data: bytes, *, drop_zero_padding: bool = False) -> Self:
        """Read a quote that ends where `data` ends.

        Some devices hand out a fixed size, filled up with zero bytes. Only with `drop_zero_padding` are zero bytes
        after the end accepted, and `encode` does not give them back: attesters drop them, verifiers never see them.
        Raises `DecodeError`, and `UnsupportedError` for another version.
        """
        if len(data) > MAX_QUOTE:
            raise LimitError("a quote is too long", got=f"{len(data)} bytes", want=f"at most {MAX_QUOTE}")
        reader = Reader(data, "quote")
        header = QuoteHeader.read(reader)
        body = _read_body(reader, header)
        signature = QuoteSignature.decode(reader.take(_uint(reader, 4)), nested=header.version > 3)
        if not (drop_zero_padding and not any(data[reader.position :])):
            reader.finish()
        return cls(header, body, signature)

    def encode(self) -> bytes:
        signature = self.signature.encode(nested=self.header.version > 3)
        return self.signed_bytes + _le(len(signature), 4) + signature

    @property
    def signed_bytes(self) -> bytes:
        """What the attestation key signs: everything before the length of the signature."""
        body = self.body.encode()
        head = b""
        if self.header.version == 5:
            head = _le(next(kind for kind, size in _SIZES.items() if size == len(body)), 2) + _le(len(body), 4)
        return self.header.encode() + head + body

    @property
    def td(self) -> TdBody:
        """The body of a trust domain. Raises `EvidenceError` for the quote of an enclave."""
        if not isinstance(self.body, TdBody):
            raise EvidenceError("the quote is of an SGX enclave", want="one of a trust domain", section=_SECTION)
        return self.body


def _read_body(reader: Reader, header: QuoteHeader) -> TdBody | EnclaveReport:
    """Take the body whose kind follows from the header. What the two say of it must agree."""
    tdx = header.tee_type == TEE_TDX and header.version > 3
    kind = BODY_TD_1_0 if tdx else BODY_SGX
    if header.version == 5:
        kind, size = _uint(reader, 2), _uint(reader, 4)
        if _SIZES.get(kind) != size:
            raise DecodeError(
                "a quote's body is of no kind that we know",
                got=f"type {kind}, {size} bytes",
                want="1 with 384, 2 with 584 or 3 with 648",
                section=_SECTION,
            )
    if kind == BODY_SGX and header.tee_type == TEE_TDX:
        raise DecodeError("a quote of a trust domain has the body of an enclave", got=kind, section=_SECTION)
    body = reader.take(_SIZES[kind])
    return EnclaveReport.decode(body) if kind == BODY_SGX else TdBody.decode(body)


@frozen
class TdReport:
    """What the TDX module gives a TD to have it quoted: 1024 bytes. Its MAC can be checked on its own platform only."""

    report_type: bytes
    """TEE type 0x81, subtype, version and a zero byte."""

    reserved_1: bytes
    cpu_svn: bytes
    tee_tcb_info_hash: bytes
    """SHA-384 of `tee_tcb_info`."""

    td_info_hash: bytes
    """SHA-384 of `td_info`."""

    report_data: bytes
    reserved_2: bytes
    mac: bytes = field(repr=False)
    tee_tcb_info: bytes
    """The TDX module: 239 bytes."""

    reserved_3: bytes
    td_info: bytes
    """The TD: 512 bytes."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        reader = Reader(data, "TDREPORT")
        report = cls(*(reader.take(size) for size in (4, 12, 16, 48, 48, 64, 32, 32, 239, 17, 512)))
        reader.finish()
        return report

    def encode(self) -> bytes:
        return b"".join(astuple(self))

    @property
    def body(self) -> TdBody:
        """The body that a quote of version 4 has for this report."""
        return TdBody.decode(self.tee_tcb_info[8:128] + self.td_info[:400] + self.report_data)


def verify_td_report(report: TdReport) -> None:
    """Check that a report is of a TD and that the part under its MAC names the two others. Raises `EvidenceError`."""
    if report.report_type[0] != TEE_TDX:
        raise EvidenceError(
            "a TDREPORT is of another type", got=report.report_type[0], want=TEE_TDX, section=_REPORT_SECTION
        )
    if any(report.reserved_1 + report.reserved_2 + report.reserved_3):
        raise EvidenceError("a TDREPORT has reserved bytes that are not zero", section=_REPORT_SECTION)
    for what, part, named in (
        ("TEE_TCB_INFO", report.tee_tcb_info, report.tee_tcb_info_hash),
        ("TDINFO", report.td_info, report.td_info_hash),
    ):
        if hashlib.sha384(part).digest() != named:
            raise EvidenceError(f"a TDREPORT names another {what}", section=_REPORT_SECTION)
