"""A simulated Intel: quotes of trust domains that never were, with certificates and collateral to match, bit for bit.

Everybody has the private keys: each is the hash of its name. So a quote from here proves nothing about hardware, and
every certificate says so, in its subject and in a critical extension. The same verifying code looks at it as at any
other; only `UNSAFE_DEMO_POLICY` trusts the root. For tests there is a knob for each thing that can be wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from confsec.tee import der
from confsec.tee.event_log import Event, EventLog, EventType, HashAlgorithm
from confsec.tee.simulated.roots import SIMULATED_OID
from confsec.tee.tdx.collateral import Collateral
from confsec.tee.tdx.evidence import (
    CERTIFICATION_PCK_CHAIN,
    ECDSA_P256,
    INTEL_QE_VENDOR,
    TEE_TDX,
    EnclaveReport,
    Quote,
    QuoteHeader,
    QuoteSignature,
    TdBody,
)
from confsec.tee.tdx.pck import SGX_EXTENSION, PckExtension
from confsec.tee.tdx.policy import RegisterRule, TdxPolicy
from confsec.tee.tdx.tcb import TcbStatus

__all__ = [
    "SIMULATED_BODY",
    "SIMULATED_INTEL_ROOT",
    "SIMULATED_MEASUREMENTS",
    "SIMULATED_TDX_POLICY",
    "SimulatedIntel",
    "SimulatedRoot",
    "make_root",
    "simulated_key",
    "simulated_log",
]

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of P-256 (SP 800-186, section 3.2.1.3)."""

_BEGIN: Final = datetime(2020, 1, 1, tzinfo=UTC)
_END: Final = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
_SHA256: Final = hashes.SHA256()
_COMPONENTS: Final = (3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0)
_TDX_COMPONENTS: Final = (5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_DATE: Final = "2025-01-01T00:00:00Z"
_OLD_DATE: Final = "2024-01-01T00:00:00Z"
_NAMES: Final = {
    "root": "Intel SGX Root CA",
    "pck-authority": "Intel SGX PCK Platform CA",
    "pck": "Intel SGX PCK Certificate",
    "tcb-info-signer": "Intel SGX TCB Signing",
    "qe-identity-signer": "Intel SGX TCB Signing",
}
"""The roles of certificates, and the common names that the verifier looks for."""

_SERIALS: Final = {"root": 1, "pck-authority": 2, "pck": 3, "tcb-info-signer": 4, "qe-identity-signer": 4}
_AUTHORITIES: Final = {"root", "pck-authority"}


@lru_cache
def simulated_key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key that belongs to a name. It is a hash of the name, and no secret."""
    digest = hashlib.sha512(b"confsec simulated intel: " + name.encode()).digest()
    return ec.derive_private_key(int.from_bytes(digest, "big") % (_ORDER - 1) + 1, ec.SECP256R1())


@frozen
class SimulatedRoot:
    """A root and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate: what a policy names."""
        return self.certificate.fingerprint(_SHA256)


SIMULATED_INTEL_ROOT: Final = SimulatedRoot(
    x509.load_pem_x509_certificate(b"""-----BEGIN CERTIFICATE-----
MIICPjCCAeSgAwIBAgIBATAKBggqhkjOPQQDAjBpMRowGAYDVQQDDBFJbnRlbCBT
R1ggUm9vdCBDQTEeMBwGA1UECgwVY29uZnNlYyBzaW11bGF0ZWQgVEVFMR4wHAYD
VQQLDBVTSU1VTEFURUQgLSBOT1QgSU5URUwxCzAJBgNVBAYTAlVTMB4XDTIwMDEw
MTAwMDAwMFoXDTQ5MTIzMTIzNTk1OVowaTEaMBgGA1UEAwwRSW50ZWwgU0dYIFJv
b3QgQ0ExHjAcBgNVBAoMFWNvbmZzZWMgc2ltdWxhdGVkIFRFRTEeMBwGA1UECwwV
U0lNVUxBVEVEIC0gTk9UIElOVEVMMQswCQYDVQQGEwJVUzBZMBMGByqGSM49AgEG
CCqGSM49AwEHA0IABFU+NzMNItJt48hNKlCZorEu4vDqk8LNIlbRdef6bFqoZ/8h
QYFZVh65uzCwAG+4eHc9N4L5Qjmm2FV/2A5afYqjfTB7MBIGA1UdEwEB/wQIMAYB
Af8CAQEwDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQWBBSkzCxtMp13o//Xt6ZvxT03
h8DkUTAfBgNVHSMEGDAWgBSkzCxtMp13o//Xt6ZvxT03h8DkUTAVBgwrBgEEAYO/
MIaNHwEBAf8EAgUAMAoGCCqGSM49BAMCA0gAMEUCIQCegZ4gKIFr7CEYAGlXppf+
EjtGUideCh+ZQpkDnhvZ4QIgPCOt9FcpUyQy7F4W2GXHU56p0oKco6cCCPhFiunK
Crk=
-----END CERTIFICATE-----"""),
    simulated_key("root"),
)
"""The root of everything simulated here. Its certificate says that it is no root of Intel's."""


# --- What a simulated TD measured -------------------------------------------------------------------------------------

SIMULATED_MEASUREMENTS: Final[tuple[tuple[int, bytes], ...]] = (
    (0, b"simulated firmware configuration"),
    (0, bytes(4)),
    (1, b"simulated boot loader"),
    (1, b"simulated kernel"),
    (1, bytes(4)),
    (2, b"simulated command line"),
    (2, b"simulated initial RAM disk"),
)
"""What a simulated TD booted: the number of the RTMR, and the data that was measured into it."""


def simulated_log(measurements: Sequence[tuple[int, bytes]] = SIMULATED_MEASUREMENTS) -> bytes:
    """Return an event log with these measurements, in the form of ACPI's table CCEL."""
    spec = b"Spec ID Event03\x00" + bytes(4) + b"\x00\x02\x00\x02" + b"\x01\x00\x00\x00\x0c\x00\x30\x00\x00"
    events = [Event(1, EventType.NO_ACTION, {HashAlgorithm.SHA1: bytes(20)}, spec)]
    for rtmr, data in measurements:
        kind = EventType.SEPARATOR if data == bytes(4) else EventType.IPL
        events.append(Event(rtmr + 1, kind, {HashAlgorithm.SHA384: hashlib.sha384(data).digest()}, data))
    return EventLog(events=tuple(events), algorithms={HashAlgorithm.SHA384: 48}, crypto_agile=True, of_td=True).encode()


def _rtmrs(log: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    replayed = EventLog.decode_ccel(log).replay(HashAlgorithm.SHA384)
    first, second, third, fourth = (replayed.get(index + 1, bytes(48)) for index in range(4))
    return first, second, third, fourth


_LOG: Final = simulated_log()
_MR_TD: Final = hashlib.sha384(b"simulated firmware").digest()
_MR_SEAM: Final = hashlib.sha384(b"simulated TDX module").digest()

SIMULATED_BODY: Final = TdBody(
    tee_tcb_svn=bytes((5, 1, 2)) + bytes(13),
    mr_seam=_MR_SEAM,
    mr_signer_seam=bytes(48),
    seam_attributes=bytes(8),
    td_attributes=(1 << 28).to_bytes(8, "little"),
    xfam=(0x602E7).to_bytes(8, "little"),
    mr_td=_MR_TD,
    mr_config_id=bytes(48),
    mr_owner=bytes(48),
    mr_owner_config=bytes(48),
    rtmrs=_rtmrs(_LOG),
    report_data=bytes(64),
)
"""What a simulated TDX module says of a TD, but for the report data."""

_QE_REPORT: Final = EnclaveReport(
    cpu_svn=bytes(_COMPONENTS),
    misc_select=bytes(4),
    reserved_1=bytes(28),
    attributes=bytes.fromhex("1500000000000000e700000000000000"),
    mr_enclave=hashlib.sha256(b"simulated quoting enclave").digest(),
    reserved_2=bytes(32),
    mr_signer=hashlib.sha256(b"simulated signer of enclaves").digest(),
    reserved_3=bytes(96),
    isv_prod_id=2,
    isv_svn=6,
    reserved_4=bytes(60),
    report_data=bytes(64),
)

_PCK: Final = PckExtension(
    ppid=bytes(16),
    components=_COMPONENTS,
    pce_svn=13,
    cpu_svn=bytes(_COMPONENTS),
    pce_id=bytes(2),
    fmspc=bytes.fromhex("c0ff5ec00000"),
    sgx_type=1,
    platform_instance_id=bytes(16),
    dynamic_platform=False,
    cached_keys=False,
    smt_enabled=False,
)


@frozen(kw_only=True)
class SimulatedIntel:
    """Issues quotes and collateral. Each field but the first is a knob, and says what differs from what is good."""

    issued_at: datetime
    """When collateral is issued: a moment before it has to be valid."""

    lifetime: timedelta = timedelta(days=30)
    """How long collateral and lists hold."""

    root: SimulatedRoot = SIMULATED_INTEL_ROOT
    """Who certifies all."""

    marked: bool = True
    """Whether certificates have the critical extension. Other verifiers refuse it, which is what it is for."""

    version: int = 4
    """Of the quote: 4, with a body of TDX 1.0, or 5, with one of TDX 1.5."""

    header: Mapping[str, Any] = field(factory=dict)
    td: Mapping[str, Any] = field(factory=dict)
    qe_report: Mapping[str, Any] = field(factory=dict)
    signature: Mapping[str, Any] = field(factory=dict)
    """Members of `QuoteSignature`, put in after everything was signed."""

    pck: Mapping[str, Any] | None = field(factory=dict)
    """None leaves the SGX extension out."""

    tcb_info: Mapping[str, Any] = field(factory=dict)
    qe_identity: Mapping[str, Any] = field(factory=dict)
    """Members of the JSON; None leaves one out."""

    certificates: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    """By role: `common_name`, `serial`, `not_before`, `not_after`, `authority`, `usages`, `critical`, `issuer`."""

    lists: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    """By `root` and `pck-authority`: `issuer`, `revoked`, `this_update`, `next_update`, `critical`."""

    forged: frozenset[str] = frozenset()
    """What a stranger's key signed: a role, `root-crl`, `pck-crl`, `tcb-info`, `qe-identity`, `qe-report`, `quote`."""

    other_root: Mapping[str, SimulatedRoot] = field(factory=dict)
    """Who stands at the top of `pck`, `tcb-info` and `qe-identity`, if not `root`."""

    # --- What it issues ---

    def quote(self, report_data: bytes = bytes(64)) -> bytes:
        """Return a quote that says `report_data`, 64 bytes."""
        header = evolve(
            QuoteHeader(self.version, ECDSA_P256, TEE_TDX, bytes(4), INTEL_QE_VENDOR, bytes(20)), **self.header
        )
        body = evolve(SIMULATED_BODY, report_data=report_data)
        if self.version == 5:
            body = evolve(body, tee_tcb_svn_2=body.tee_tcb_svn, mr_service_td=bytes(48))
        unsigned = Quote(header, evolve(body, **self.td), _UNSIGNED)
        return evolve(unsigned, signature=self._sign(unsigned.signed_bytes)).encode()

    def collateral(self) -> Collateral:
        """Return the collateral for its quotes."""
        tcb_info, qe_identity = self._tcb_info_text(), self._qe_identity_text()
        return Collateral(
            tcb_info=tcb_info,
            tcb_info_signature=self._raw_signature("tcb-info", "tcb-info-signer", tcb_info),
            tcb_info_chain=self._signer_chain("tcb-info"),
            qe_identity=qe_identity,
            qe_identity_signature=self._raw_signature("qe-identity", "qe-identity-signer", qe_identity),
            qe_identity_chain=self._signer_chain("qe-identity"),
            root_crl=self._revocation_list("root", "root-crl"),
            pck_crl=self._revocation_list("pck-authority", "pck-crl"),
        )

    def pck_chain(self) -> tuple[x509.Certificate, x509.Certificate, x509.Certificate]:
        """Return PCK certificate, CA and root."""
        root = self.other_root.get("pck", self.root)
        authority = self._certificate("pck-authority", root.certificate.subject, root.key)
        key = simulated_key("pck-authority")
        extensions = []
        if self.pck is not None:
            value = _encode_pck(evolve(_PCK, **self.pck))
            extensions.append(x509.UnrecognizedExtension(x509.ObjectIdentifier(SGX_EXTENSION), value))
        leaf = self._certificate("pck", authority.subject, key, *extensions)
        return leaf, authority, root.certificate

    # --- The quote ---

    def _sign(self, signed: bytes) -> QuoteSignature:
        point = simulated_key("attestation").public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        auth_data = bytes(range(32))
        digest = hashlib.sha256(point[1:] + auth_data).digest()
        report = evolve(_QE_REPORT, report_data=digest + bytes(32))
        qe_report = evolve(report, **self.qe_report).encode()
        pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.pck_chain())
        signature = QuoteSignature(
            signature=self._raw_signature("quote", "attestation", signed),
            attestation_key=point[1:],
            qe_report=qe_report,
            qe_report_signature=self._raw_signature("qe-report", "pck", qe_report),
            qe_auth_data=auth_data,
            certification_type=CERTIFICATION_PCK_CHAIN,
            certification_data=pem + b"\x00",
        )
        return evolve(signature, **self.signature)

    def _signing_key(self, what: str, role: str) -> ec.EllipticCurvePrivateKey:
        return simulated_key("stranger" if what in self.forged else _KEY_OF_ROLE.get(role, role))

    def _raw_signature(self, what: str, role: str, signed: bytes) -> bytes:
        signature = self._signing_key(what, role).sign(signed, ec.ECDSA(_SHA256, deterministic_signing=True))
        return b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(signature))

    # --- JSON ---

    def _dates(self) -> dict[str, str]:
        return {"issueDate": _json_date(self.issued_at), "nextUpdate": _json_date(self.issued_at + self.lifetime)}

    def _tcb_info_text(self) -> bytes:
        pck = evolve(_PCK, **(self.pck or {}))
        module = {"mrsigner": bytes(48).hex(), "attributes": bytes(8).hex(), "attributesMask": "ff" * 8}
        value = {
            "id": "TDX",
            "version": 3,
            **self._dates(),
            "fmspc": pck.fmspc.hex().upper(),
            "pceId": pck.pce_id.hex().upper(),
            "tcbType": 0,
            "tcbEvaluationDataNumber": 20,
            "tdxModule": module,
            "tdxModuleIdentities": [
                {"id": "TDX_01", **module, "tcbLevels": [_enclave_level(4), _enclave_level(2, TcbStatus.OUT_OF_DATE)]}
            ],
            "tcbLevels": [_tcb_level(13), _tcb_level(11, TcbStatus.OUT_OF_DATE)],
        }
        return _json(value | dict(self.tcb_info))

    def _qe_identity_text(self) -> bytes:
        value = {
            "id": "TD_QE",
            "version": 2,
            **self._dates(),
            "tcbEvaluationDataNumber": 20,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": _QE_REPORT.mr_signer.hex().upper(),
            "isvprodid": _QE_REPORT.isv_prod_id,
            "tcbLevels": [_enclave_level(4), _enclave_level(2, TcbStatus.OUT_OF_DATE)],
        }
        return _json(value | dict(self.qe_identity))

    # --- Certificates and lists ---

    def _signer_chain(self, which: str) -> bytes:
        root = self.other_root.get(which, self.root)
        signer = self._certificate(f"{which}-signer", root.certificate.subject, root.key)
        return signer.public_bytes(Encoding.DER) + root.certificate.public_bytes(Encoding.DER)

    def _certificate(
        self,
        role: str,
        issuer: x509.Name,
        issuer_key: ec.EllipticCurvePrivateKey,
        *extensions: x509.ExtensionType,
    ) -> x509.Certificate:
        key = simulated_key("stranger") if role in self.forged else issuer_key
        knobs = dict(self.certificates.get(role, {}))
        critical = [SIMULATED_OID] * self.marked + knobs.pop("critical", [])
        return _issue(role, key, issuer=knobs.pop("issuer", issuer), extensions=extensions, critical=critical, **knobs)

    def _revocation_list(self, role: str, what: str) -> bytes:
        knobs = self.lists.get(role, {})
        root = self.other_root.get("pck", self.root)
        name = root.certificate.subject if role == "root" else _name(_NAMES["pck-authority"])
        key = root.key if role == "root" else simulated_key("pck-authority")
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(knobs.get("issuer", name))
            .last_update(knobs.get("this_update", self.issued_at))
            .next_update(knobs.get("next_update", self.issued_at + self.lifetime))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        for oid in knobs.get("critical", ()):
            builder = builder.add_extension(_mark(oid), critical=True)
        for serial in knobs.get("revoked", ()):
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_BEGIN).build()
            builder = builder.add_revoked_certificate(revoked)
        signer = simulated_key("stranger") if what in self.forged else key
        return builder.sign(signer, _SHA256, ecdsa_deterministic=True).public_bytes(Encoding.DER)


# --- Parts ------------------------------------------------------------------------------------------------------------

_KEY_OF_ROLE: Final = {"tcb-info-signer": "tcb-signer", "qe-identity-signer": "tcb-signer"}
_UNSIGNED: Final = QuoteSignature(bytes(64), bytes(64), bytes(384), bytes(64), b"", 0, b"")


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "confsec simulated TEE"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "SIMULATED - NOT INTEL"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


def _mark(oid: str) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), der.NULL)


def _issue(
    role: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    issuer: x509.Name,
    critical: Sequence[str],
    extensions: Sequence[x509.ExtensionType] = (),
    key: ec.EllipticCurvePublicKey | None = None,
    **knobs: Any,
) -> x509.Certificate:
    """Issue the certificate of a role, with what the knobs say differently."""
    authority = knobs.get("authority", role in _AUTHORITIES)
    path_length = {"root": 1, "pck-authority": 0}.get(role) if authority else None
    public = key or simulated_key(_KEY_OF_ROLE.get(role, role)).public_key()
    usages = knobs.get("usages", ("key_cert_sign", "crl_sign") if role in _AUTHORITIES else ("digital_signature",))
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(knobs.get("common_name", _NAMES[role])))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(knobs.get("serial", _SERIALS[role]))
        .not_valid_before(knobs.get("not_before", _BEGIN))
        .not_valid_after(knobs.get("not_after", _END))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
        .add_extension(_key_usage(usages), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    for oid in critical:
        builder = builder.add_extension(_mark(oid), critical=True)
    return builder.sign(issuer_key, _SHA256, ecdsa_deterministic=True)


def _key_usage(usages: Sequence[str]) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{name: name in usages for name in names})


def _json(value: Mapping[str, Any]) -> bytes:
    present = {name: member for name, member in value.items() if member is not None}
    return json.dumps(present, separators=(",", ":")).encode()


def _json_date(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _enclave_level(svn: int, status: TcbStatus = TcbStatus.UP_TO_DATE) -> dict[str, Any]:
    good = status is TcbStatus.UP_TO_DATE
    return {"tcb": {"isvsvn": svn}, "tcbDate": _DATE if good else _OLD_DATE, "tcbStatus": status.value}


def _tcb_level(pce_svn: int, status: TcbStatus = TcbStatus.UP_TO_DATE) -> dict[str, Any]:
    good = status is TcbStatus.UP_TO_DATE
    level: dict[str, Any] = {
        "tcb": {
            "sgxtcbcomponents": [{"svn": svn} for svn in _COMPONENTS],
            "pcesvn": pce_svn,
            "tdxtcbcomponents": [{"svn": svn} for svn in _TDX_COMPONENTS],
        },
        "tcbDate": _DATE if good else _OLD_DATE,
        "tcbStatus": status.value,
    }
    return level if good else level | {"advisoryIDs": ["INTEL-SA-00837"]}


def _encode_pck(pck: PckExtension) -> bytes:
    """Encode the SGX extension (Intel SGX PCK Certificate and CRL Profile, section 1.3.5)."""
    tcb = [asn1.encode_der(svn) for svn in (*pck.components, pck.pce_svn)] + [asn1.encode_der(pck.cpu_svn)]
    flags = (pck.dynamic_platform, pck.cached_keys, pck.smt_enabled)
    parts = [
        asn1.encode_der(pck.ppid),
        _pairs(f"{SGX_EXTENSION}.2", tcb),
        asn1.encode_der(pck.pce_id),
        asn1.encode_der(pck.fmspc),
        der.encode_tlv(0x0A, bytes((pck.sgx_type,))),
        asn1.encode_der(pck.platform_instance_id or b""),
        _pairs(f"{SGX_EXTENSION}.7", [asn1.encode_der(flag) for flag in flags if flag is not None]),
    ]
    under_platform_authority = pck.platform_instance_id is not None
    return _pairs(SGX_EXTENSION, parts if under_platform_authority else parts[:5])


def _pairs(oid: str, values: Sequence[bytes]) -> bytes:
    """Encode a SEQUENCE OF SEQUENCE { the next identifier below `oid`, value }."""
    pairs = (
        der.encode_tlv(0x30, asn1.encode_der(x509.ObjectIdentifier(f"{oid}.{index}")) + value)
        for index, value in enumerate(values, 1)
    )
    return der.encode_tlv(0x30, b"".join(pairs))


def make_root(name: str, *, marked: bool = True) -> SimulatedRoot:
    """Return a root whose key is that of a name. `make_root("root")` is `SIMULATED_INTEL_ROOT`, byte for byte."""
    key = simulated_key(name)
    critical = [SIMULATED_OID] * marked
    return SimulatedRoot(
        _issue("root", key, issuer=_name(_NAMES["root"]), critical=critical, key=key.public_key()), key
    )


# --- The policy that trusts it ----------------------------------------------------------------------------------------

SIMULATED_TDX_POLICY: Final = TdxPolicy(
    trust_anchors=(SIMULATED_INTEL_ROOT.fingerprint,),
    accepted_tcb_statuses=(TcbStatus.UP_TO_DATE,),
    denied_advisories=(),
    grace_days=0,
    min_tcb_evaluation=20,
    min_tee_tcb_svn=bytes((5, 1, 2)) + bytes(13),
    min_qe_svn=6,
    min_pce_svn=13,
    allow_dynamic_platform=False,
    allow_cached_keys=False,
    allow_smt=False,
    mr_td=(_MR_TD,),
    rtmr0=RegisterRule(values=(SIMULATED_BODY.rtmrs[0],)),
    rtmr1=RegisterRule(values=(SIMULATED_BODY.rtmrs[1],)),
    rtmr2=RegisterRule(values=(SIMULATED_BODY.rtmrs[2],)),
    rtmr3=(bytes(48),),
    mr_config_id=(bytes(48),),
    mr_owner=(bytes(48),),
    mr_owner_config=(bytes(48),),
    mr_seam=(_MR_SEAM,),
    mr_service_td=(bytes(48),),
    unsafe_allow_debug=False,
    unsafe_allow_migration=False,
    unsafe_allow_sept_ve=False,
)
"""What a good simulated quote passes. It trusts the simulated root, so no file can say the same."""
