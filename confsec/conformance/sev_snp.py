"""Vectors of SEV-SNP: reports alone and in what others put around them, chains, revocation lists, inputs of launches.

A case is verified by the production verifier under a policy that demands what the case states and nothing else. What a
report is about is compared apart: nobody published a binding of ours.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import cbor2

from confsec.conformance.cases import CaseSkippedError, MismatchError, check_same
from confsec.conformance.kinds import FileCase, Kind
from confsec.errors import DecodeError, EvidenceError
from confsec.protocol.binding import Binding, Mode
from confsec.protocol.checks import require_passed
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.platforms import AZURE_RUNTIME_DATA, MEDIA_TYPES, PLATFORMS, SEV_SNP
from confsec.protocol.policy import UNSAFE_ANY
from confsec.protocol.rats import VerificationRequest
from confsec.tee.azure import HclReport, HclReportType, RuntimeData
from confsec.tee.sev_snp.certificates import AMD_ROOTS, CertificateTable, ChipCertificate
from confsec.tee.sev_snp.evidence import (
    PLATFORM_BITS,
    POLICY_BITS,
    AttestationReport,
    Product,
    SigningKey,
    Tcb,
)
from confsec.tee.sev_snp.policy import Demand, SnpPolicy, TcbFloor
from confsec.tee.sev_snp.subject import CERTIFICATES_TYPE, CRL_TYPE, SNP_CERTIFICATES, SNP_CRL, SigningNames
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.x509 import (
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    Certificate,
    RevocationList,
    decode_chain,
    encode_chain,
    find_path,
    verify_certificate_signature,
    verify_crl_current,
    verify_crl_extensions,
    verify_crl_issuer,
    verify_crl_signature,
    verify_extensions,
    verify_is_authority,
    verify_path_length,
    verify_root,
    verify_signs_certificates,
    verify_signs_crls,
    verify_valid_at,
)

__all__ = [
    "KINDS",
    "check_snp_azure_hcl",
    "check_snp_container",
    "check_snp_crl",
    "check_snp_ek_chain",
    "check_snp_launch_inputs",
    "check_snp_report",
    "check_snp_root_chain",
]

_CERTIFICATE_ROLES: Final = ("vcek", "vlek", "chain", "ask", "ark", "asvk")
_BINDING_ROWS: Final = ("report-data", "azure-ak", "azure-user-data")
_EVERYWHERE: Final = datetime(2025, 6, 20, tzinfo=UTC)
_AT: Final = re.compile(r"(base64url|base64|hex|json-bytes|PEM text)\b.* at (/\S+)")
_MAX_REPORT: Final = 1 << 16
_OVMF_FOOTER: Final = UUID("96b582de-1fb2-45f7-baea-a366c55a082d")
_AUTH_BLOCK: Final = struct.Struct("<II56s512s1028s60s512s1028s892s")
_ECDSA_P384: Final = 1


# --- Reports ----------------------------------------------------------------------------------------------------------


def check_snp_report(case: FileCase) -> None:
    """Check one report with its certificates."""
    _check(case, case.read("report"), _certificates(case), about=None)


def check_snp_azure_hcl(case: FileCase) -> None:
    """Check the report in an HCL report, and that it is about the runtime data."""
    hcl = HclReport.decode(case.read("report"))
    if hcl.kind is not HclReportType.SNP:
        raise EvidenceError("an HCL report of another TEE", got=hcl.kind.name)
    RuntimeData.decode(hcl.runtime_data)
    _check(case, hcl.hardware_report, _certificates(case), about=hcl.runtime_data)


def check_snp_container(case: FileCase) -> None:
    """Check the report in a TSM report, a CMW collection, or what a project made of its own."""
    found = _Container.read(case)
    certificates = (*_certificates(case), *found.certificates)
    _check(case, found.report, certificates, about=None)
    expected = case.params.get("expected", {})
    if found.provider is not None and "provider" in expected:
        check_same("provider", found.provider, expected["provider"])
    nonce = case.params.get("nonce")
    if nonce is not None:
        wanted = bytes.fromhex(nonce)
        got = AttestationReport.decode(found.report).report_data
        if not 0 < len(wanted) <= len(got) or got != wanted.ljust(len(got), b"\0"):
            raise EvidenceError("the report answers another nonce", got=got.hex(), want=nonce)


def _check(case: FileCase, data: bytes, certificates: Collection[Certificate], *, about: bytes | None) -> None:
    report = AttestationReport.decode(data)
    check_same("report again", report.encode(), data)
    if not case.parse_only:
        _verify(case, data, certificates, about)
    _compare(case, report, about)


def _verify(case: FileCase, data: bytes, certificates: Collection[Certificate], about: bytes | None) -> None:
    items = {SEV_SNP: data} | ({AZURE_RUNTIME_DATA: about} if about is not None else {})
    platform = "sev-snp" if about is None else "azure-sev-snp"
    endorsements = {SNP_CERTIFICATES: CmwRecord(CERTIFICATES_TYPE, encode_chain(tuple(dict.fromkeys(certificates))))}
    if "crl" in case.files:
        endorsements[SNP_CRL] = CmwRecord(CRL_TYPE, case.read("crl"))
    request = VerificationRequest(
        evidence=Evidence.of({label: CmwRecord(MEDIA_TYPES[label], value) for label, value in items.items()}),
        endorsements=Endorsements.of(endorsements),
        binding=Binding(mode=Mode.CHALLENGE, nonce=bytes(32), key_config=b"", manifest=b""),
        platform=next(each for each in PLATFORMS if each.name == platform),
        at=case.at or _EVERYWHERE,
    )
    findings = SnpVerifier(_policy(case)).verify(request)
    left_out = _BINDING_ROWS if about is None else _BINDING_ROWS[1:]
    checks = [check for check in findings.checks if check.id.removeprefix("sev-snp.") not in left_out]
    require_passed(checks, what="the report is refused")


def _policy(case: FileCase) -> SnpPolicy:
    """Return a policy that demands what the case states."""
    params = case.params
    stated = params.get("policy", {})
    products = [params["product"]] if "product" in params else [product.value for product in Product]
    guest: dict[str, Demand] = dict.fromkeys(POLICY_BITS, UNSAFE_ANY)
    if not stated.get("allow_debug", False):
        guest["debug"] = False
    return SnpPolicy(
        trust_anchors=tuple(sorted(AMD_ROOTS.values())),
        products=tuple(sorted(products)),
        signing_keys=(params["ek"],) if "ek" in params else ("vcek", "vlek"),
        csp_ids=UNSAFE_ANY,
        unsafe_allow_missing_crl=not stated.get("require_fresh_crl", False),
        min_report_version=params.get("report_version", 0),
        guest_policy=guest,
        platform_info=dict.fromkeys(PLATFORM_BITS, UNSAFE_ANY),
        min_abi=(0, 0),
        min_firmware=(0, 0, 0),
        unsafe_allow_provisional_firmware=True,
        min_guest_svn=0,
        vmpl=params.get("vmpl", 0),
        measurements=UNSAFE_ANY,
        firmware_measurements=UNSAFE_ANY,
        host_data=UNSAFE_ANY,
        family_ids=UNSAFE_ANY,
        image_ids=UNSAFE_ANY,
        id_keys=UNSAFE_ANY,
        author_keys=UNSAFE_ANY,
        tcb_floors=tuple(
            TcbFloor(product=product, cpu=b"", advisories=("none",), tcb=Tcb(bootloader=0, tee=0, snp=0, microcode=0))
            for product in sorted(Product, key=lambda product: product.value)
        ),
        required_mitigations=(),
        accepted_chips=UNSAFE_ANY,
        denied_chips=(),
    )


def _compare(case: FileCase, report: AttestationReport, about: bytes | None) -> None:
    """Compare the fields that the case states."""
    expected = case.params.get("expected", {})
    fields = {
        "report_data": report.report_data,
        "measurement": report.measurement,
        "host_data": report.host_data,
        "chip_id": report.chip_id,
        "reported_tcb": report.reported_tcb,
        "runtime_data_sha256": None if about is None else report.report_data[:32],
    }
    for name, value in fields.items():
        if name in expected:
            check_same(name, value, bytes.fromhex(expected[name]))
    if "guest_policy" in expected:
        check_same("guest_policy", report.policy, int(expected["guest_policy"], 16))
    if case.parse_only and "report_version" in case.params:
        check_same("report_version", report.version, case.params["report_version"])


# --- Certificates and lists -------------------------------------------------------------------------------------------


def check_snp_ek_chain(case: FileCase) -> None:
    """Check a chip's certificate up to the root, and what it says of the chip."""
    certificates = _certificates(case)
    leaf = next((each for each in certificates if each.subject.common_name.startswith(("SEV-VCEK", "SEV-VLEK"))), None)
    if leaf is None:
        raise EvidenceError("there is no certificate of a signing key")
    chip = ChipCertificate.of(leaf)
    path = find_path(leaf, certificates)
    _verify_path(path, case.at or _EVERYWHERE)
    key = SigningKey.VLEK if case.params.get("ek") == "vlek" else SigningKey.VCEK
    names = SigningNames.of(key, chip.product)
    if [each.subject.common_name for each in path] != [names.leaf, names.intermediate, names.root]:
        raise EvidenceError("the path is of another product", got=chip.product.value)
    check_same("product", chip.product.value, case.params.get("product", chip.product.value))
    expected = case.params.get("expected", {})
    if "hwid" in expected:
        check_same("hwid", chip.hwid, bytes.fromhex(expected["hwid"]))
    for name, level in expected.get("tcb", {}).items():
        check_same(f"tcb {name}", chip.tcb.parts[name], level)


def check_snp_root_chain(case: FileCase) -> None:
    """Check that each intermediate leads to its pinned root."""
    certificates = _certificates(case)
    middle = [each for each in certificates if not each.self_issued]
    if not middle:
        raise EvidenceError("there is no intermediate")
    product = case.params.get("product", "")
    for each in middle:
        path = find_path(each, certificates)
        _verify_path(path, case.at or _EVERYWHERE)
        if product and not all(step.subject.common_name.endswith(f"-{product}") for step in path):
            raise EvidenceError("the chain is of another product", got=path[-1].subject.common_name, want=product)


def _verify_path(path: tuple[Certificate, ...], at: datetime) -> None:
    """Make every check of a path, one after the other."""
    verify_root(path[-1], AMD_ROOTS.values())
    for below, (certificate, issuer) in enumerate(pairwise(path)):
        verify_certificate_signature(certificate, issuer)
        verify_is_authority(issuer)
        verify_path_length(issuer, authorities_below=below)
        verify_signs_certificates(issuer)
    for each in path:
        verify_extensions(each, known=(BASIC_CONSTRAINTS, KEY_USAGE))
        verify_valid_at(each, at)


def check_snp_crl(case: FileCase) -> None:
    """Check a revocation list with the root that issued it."""
    crl = RevocationList.decode(case.read("crl"))
    roots = [each for each in _certificates(case) if each.self_issued]
    if len(roots) != 1:
        raise EvidenceError("there is not one root", got=len(roots))
    verify_root(roots[0], AMD_ROOTS.values())
    verify_signs_crls(roots[0])
    verify_crl_issuer(crl, roots[0])
    verify_crl_signature(crl, roots[0])
    verify_crl_extensions(crl)
    verify_crl_current(crl, case.at or _EVERYWHERE)
    expected = case.params.get("expected", {})
    for name in ("this_update", "next_update"):
        if name in expected:
            check_same(name, getattr(crl, name), datetime.fromisoformat(expected[name]))
    if "revoked_serials" in expected:
        check_same(
            "revoked_serials", crl.revoked_serials, frozenset(int(each, 16) for each in expected["revoked_serials"])
        )


def _certificates(case: FileCase) -> tuple[Certificate, ...]:
    """Return all certificates of a case: PEM or DER, also in base64, one or several in a file."""
    return tuple(
        certificate
        for role in _CERTIFICATE_ROLES
        if role in case.files
        for certificate in _decode_certificates(case.file(role).read())
    )


def _decode_certificates(data: bytes) -> tuple[Certificate, ...]:
    """Read certificates. Text around PEM blocks, as in a txtar file, is left out."""
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", data, re.DOTALL)
    if blocks:
        return decode_chain(b"\n".join(blocks))
    if re.fullmatch(rb"[A-Za-z0-9+/=\s_-]+", data):
        return _decode_certificates(_base64(data.decode("ascii")))
    return decode_chain(data)


# --- Containers -------------------------------------------------------------------------------------------------------


class _Container:
    """What others put around a report: it may bring certificates, and name its provider."""

    def __init__(self, report: bytes, certificates: tuple[Certificate, ...] = (), provider: str | None = None) -> None:
        self.report = report
        self.certificates = certificates
        self.provider = provider

    @classmethod
    def read(cls, case: FileCase) -> _Container:
        """Take the report out, as the case or the form of the file says. Raises `CaseSkippedError` for a new form."""
        role = next((role for role in ("evidence", "container", "report", "bundle") if role in case.files), None)
        if role is None:
            raise MismatchError("the case has no container")
        data = case.read(role)
        named = dict(_named_parts(case, data))
        if "outblob" in named or "report" in named:
            return cls._of_parts(named.get("outblob") or named["report"], named)
        document = _document(data)
        for each in _walk(document):
            if found := _of_object(each):
                return cls._of_parts(found["report"], found)
        raise CaseSkippedError("this form of container is not known")

    @classmethod
    def _of_parts(cls, report: bytes, parts: Mapping[str, Any]) -> _Container:
        certificates: tuple[Certificate, ...] = ()
        if parts.get("auxblob"):
            certificates += decode_chain(CertificateTable.decode(parts["auxblob"]).chain())
        for name in ("vcek", "vlek"):
            if parts.get(name):
                certificates += _decode_certificates(parts[name])
        return cls(report, certificates, parts.get("provider"))


def _named_parts(case: FileCase, data: bytes) -> Iterator[tuple[str, Any]]:
    """Return the parts of a JSON document for which the manifest says where they are, and how they are encoded."""
    encodings = case.params.get("encoding", {})
    places = {name: found for name, text in encodings.items() if (found := _AT.search(str(text)))}
    if not places:
        return
    document = _document(data)
    for name, found in places.items():
        yield name, _decode_part(found[1], _at(document, found[2].rstrip(",;")))
    if isinstance(document, dict) and isinstance(document.get("provider"), str):
        yield "provider", document["provider"]


def _at(document: Any, pointer: str) -> Any:
    for part in pointer.strip("/").split("/"):
        try:
            document = document[int(part)] if isinstance(document, list) else document[part]
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            raise MismatchError(f"the container has nothing at {pointer}") from exc
    return document


def _decode_part(encoding: str, value: Any) -> bytes:
    match encoding:
        case "json-bytes":
            return bytes(value)
        case "hex":
            return bytes.fromhex(value)
        case "PEM text":
            return str(value).encode()
        case _:
            return _base64(value)


def _document(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        pass
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError) as exc:
        raise DecodeError("the container is neither JSON nor CBOR") from exc


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    """Go through all maps, also those in the records of a CMW collection, whose values are JSON or CBOR again."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _walk(each)
    elif isinstance(value, list):
        if len(value) >= 2 and isinstance(value[0], str) and isinstance(value[1], str | bytes):
            try:
                inner = value[1] if isinstance(value[1], bytes) else _base64(value[1])
                yield from _walk(_document(inner))
            except (DecodeError, MismatchError):
                return
        for each in value:
            yield from _walk(each)


def _of_object(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the parts of a TSM report, or of a body that holds a compressed report, in their project's spelling."""
    if "outblob" in value:
        found = {name: _bytes(value[name]) for name in ("outblob", "auxblob") if value.get(name)}
        return {"report": found["outblob"], "auxblob": found.get("auxblob", b""), "provider": value.get("provider")}
    if isinstance(value.get("body"), str) and "format" in value:
        packed = zlib.decompressobj(wbits=31)
        return {"report": packed.decompress(_base64(value["body"]), _MAX_REPORT)}
    return None


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else _base64(value)


def _base64(text: str) -> bytes:
    """Decode base64 of either alphabet, with padding or without."""
    plain = re.sub(r"\s", "", text).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as exc:
        raise MismatchError("a part of the container is not base64") from exc


# --- Inputs of launches -----------------------------------------------------------------------------------------------


def check_snp_launch_inputs(case: FileCase) -> None:
    """Read the tables at the ends of firmware images, and an authentication block."""
    for role in case.files:
        data = case.read(role)
        if role.startswith("ovmf"):
            _read_ovmf_table(data)
        elif role == "auth_block":
            _read_auth_block(data)


def _read_ovmf_table(image: bytes) -> dict[UUID, bytes]:
    """Read the entries of the GUIDed table, from its footer 32 bytes before the end (OvmfPkg, ResetVector)."""
    end = len(image) - 32
    size = _ovmf_entry(image, end, _OVMF_FOOTER)
    table = image[end - size : end - 18]
    entries: dict[UUID, bytes] = {}
    while table:
        guid = UUID(bytes_le=table[-16:])
        size = _ovmf_entry(table, len(table), guid)
        entries[guid] = table[-size:-18]
        table = table[:-size]
    return entries


def _ovmf_entry(data: bytes, end: int, guid: UUID) -> int:
    """Return the size of the entry that ends here, header and all."""
    if end < 18 or data[end - 16 : end] != guid.bytes_le:
        raise DecodeError("there is no table of OVMF", want=str(guid))
    size = int.from_bytes(data[end - 18 : end - 16], "little")
    if not 18 <= size <= end:
        raise DecodeError("an entry of OVMF's table has a size that it cannot have", got=size)
    return size


def _read_auth_block(data: bytes) -> None:
    """Read an ID authentication block (AMD 56860, table 76)."""
    if len(data) != _AUTH_BLOCK.size:
        raise DecodeError("an authentication block has another size", got=len(data), want=_AUTH_BLOCK.size)
    id_key, author_key, *_ = _AUTH_BLOCK.unpack(data)
    if id_key != _ECDSA_P384 or author_key not in {0, _ECDSA_P384}:
        raise DecodeError("an authentication block has keys of another kind", got=f"{id_key}, {author_key}")


KINDS: Final = (
    Kind(name="snp-report", check=check_snp_report),
    Kind(name="snp-azure-hcl", check=check_snp_azure_hcl),
    Kind(name="snp-tsm-report", check=check_snp_container),
    Kind(name="snp-ratsd-cmw", check=check_snp_container),
    Kind(name="snp-dstack", check=check_snp_container),
    Kind(name="snp-tinfoil-bundle", check=check_snp_container),
    Kind(name="snp-ek-chain", check=check_snp_ek_chain),
    Kind(name="snp-root-chain", check=check_snp_root_chain),
    Kind(name="snp-crl", check=check_snp_crl),
    Kind(name="snp-launch-inputs", check=check_snp_launch_inputs),
)
"""The kinds of cases in the folder sev-snp."""
