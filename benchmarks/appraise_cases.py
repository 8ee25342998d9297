"""Evidence for the benchmark `appraise`: of real machines where the shared vectors are, and of simulated ones.

Each case has what a verifier is asked, and the signatures that it has to check: with keys that are loaded and bytes
that are cut out, so that checking these again is the least that anybody has to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from confsec.protocol.appraisal import TrustedKeyConfig, appraise_node
from confsec.protocol.checks import Status
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.node_keys import node_id
from confsec.protocol.platforms import MEDIA_TYPES, SEV_SNP, TDX, TPM_AK, TPM_KEY, TPM_QUOTE
from confsec.protocol.policy import UNSAFE_ANY
from confsec.protocol.rats import EvidenceVerifier, VerificationRequest
from confsec.protocol.session import _TrustedFleet
from confsec.tee.sev_snp.certificates import AMD_ROOTS
from confsec.tee.sev_snp.evidence import PLATFORM_BITS, POLICY_BITS, AttestationReport, Product, Tcb
from confsec.tee.sev_snp.policy import TcbFloor
from confsec.tee.sev_snp.subject import CERTIFICATES_TYPE, CRL_TYPE, SNP_CERTIFICATES, SNP_CRL
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import UNSAFE_SIMULATED_SNP
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY
from confsec.tee.simulated.tpm import UNSAFE_SIMULATED_TPM
from confsec.tee.tdx.collateral import TDX_COLLATERAL, Collateral, split_signed
from confsec.tee.tdx.evidence import Quote
from confsec.tee.tdx.verifier import TdxVerifier
from confsec.tee.tpm.evidence import TPM_AK_CERTIFICATE, TpmKey, TpmQuote
from confsec.tee.tpm.structures import PublicArea, TpmSignature
from confsec.tee.tpm.verifier import TpmVerifier
from confsec.tee.x509 import Certificate, RevocationList, decode_chain, encode_chain, find_path
from tests.support import SHARED_VECTORS
from tests.tee.composites import EPOCH, Node, make_node, policy_for
from tests.tee.tdx.cases import REAL_POLICY, real_collateral

__all__ = ["Case", "node_appraisal", "node_case", "real_snp", "real_tdx", "session_lookup", "tdx_sample"]

Signature = Callable[[], None]
"""Checks one signature with a key that is loaded already."""

_NO_TCB: Final = Tcb(bootloader=0, tee=0, snp=0, microcode=0)
_SNP_AT: Final = datetime(2026, 3, 1, tzinfo=UTC)
_SAMPLE_AT: Final = datetime(2023, 7, 1, 1, tzinfo=UTC)
_TDX_AT: Final = datetime(2025, 6, 20, tzinfo=UTC)


@frozen(kw_only=True)
class Case:
    """What one verifier looks at."""

    name: str
    """What it is, for people."""

    verifier: EvidenceVerifier
    request: VerificationRequest

    signatures: tuple[Signature, ...]
    """Each signature that the verifier checks."""

    refused: frozenset[str] = frozenset()
    """The checks that do not pass: nobody published an event log, or made the report about a binding of ours."""

    parts: Mapping[str, bytes] = field(factory=dict, repr=False)
    """The evidence as peers want it."""

    def verify(self) -> None:
        """Have the verifier look. Raises `AssertionError` if it does not find what it should."""
        checks = self.verifier.verify(self.request).checks
        found = {check.id for check in checks if check.status not in {Status.PASS, Status.INFO}}
        assert found == self.refused, found ^ self.refused

    def verify_signatures(self) -> None:
        """Check the signatures alone."""
        for verify in self.signatures:
            verify()


# --- SEV-SNP ----------------------------------------------------------------------------------------------------------


def real_snp(folder: Path = SHARED_VECTORS) -> Case | None:
    """Return a report of a Milan, version 3, with AMD's revocation list; None where the vectors are not there."""
    if not folder.is_dir():
        return None
    files = folder / "sev-snp" / "milan-v3-microsoft"
    report = (files / "milan_attestation_report.bin").read_bytes()
    vcek, ask, ark = (
        Certificate.decode_pem((files / f"milan_{name}.pem").read_bytes()) for name in ("vcek_a", "ask", "ark")
    )
    crl = _txtar(folder / "sev-snp" / "openpcc" / "sev_certificates.txt", "test_amd_milan_crl.pem")
    found = AttestationReport.decode(report)
    policy = evolve(
        UNSAFE_SIMULATED_SNP,
        trust_anchors=(AMD_ROOTS["amd-milan"],),
        products=(Product.MILAN.value,),
        guest_policy=dict.fromkeys(POLICY_BITS, UNSAFE_ANY) | {"debug": False},
        platform_info=dict.fromkeys(PLATFORM_BITS, UNSAFE_ANY),
        measurements=(found.measurement,),
        min_abi=(0, 0),
        min_firmware=(1, 0, 0),
        host_data=(found.host_data,),
        family_ids=UNSAFE_ANY,
        image_ids=UNSAFE_ANY,
        id_keys=UNSAFE_ANY,
        author_keys=UNSAFE_ANY,
        tcb_floors=(TcbFloor(product=Product.MILAN, cpu=b"", advisories=("none",), tcb=_NO_TCB),),
    )
    endorsements = {
        SNP_CERTIFICATES: CmwRecord(CERTIFICATES_TYPE, encode_chain((vcek, ask, ark))),
        SNP_CRL: CmwRecord(CRL_TYPE, RevocationList.decode(crl).encoded),
    }
    request = _real_request(SEV_SNP, report, endorsements, _SNP_AT)
    return Case(
        name="SNP, a report of a Milan",
        verifier=SnpVerifier(policy),
        request=request,
        signatures=tuple(_snp_signatures(request)),
        refused=frozenset({"sev-snp.report-data"}),
        parts={
            "report": report,
            "vcek": vcek.encoded,
            "ask": ask.encoded,
            "ark": ark.encoded,
            "crl": RevocationList.decode(crl).encoded,
        },
    )


def _snp_signatures(request: VerificationRequest) -> Iterator[Signature]:
    """Yield three signatures of RSA with 4096 bits, by AMD, and the report's."""
    leaf, *rest = decode_chain(request.endorsements.items[SNP_CERTIFICATES].value)
    path = find_path(leaf, rest)
    yield from _chain_signatures(path)
    crl = RevocationList.decode(request.endorsements.items[SNP_CRL].value)
    yield _signature(path[-1], crl.signature, crl.tbs)
    report = AttestationReport.decode(request.evidence.items[SEV_SNP].value)
    assert isinstance(leaf.public_key, ec.EllipticCurvePublicKey)
    yield _check(leaf.public_key.verify, encode_dss_signature(report.r, report.s), report.signed, ec.ECDSA(SHA384()))


# --- TDX --------------------------------------------------------------------------------------------------------------


def real_tdx(folder: Path = SHARED_VECTORS) -> Case | None:
    """Return a quote of version 4 with Intel's collateral; None where the vectors are not there."""
    if not folder.is_dir():
        return None
    files = folder / "tdx" / "v4-phala"
    quote = Quote.decode((files / "tdx_quote").read_bytes(), drop_zero_padding=True).encode()
    collateral = real_collateral(files / "tdx_quote_collateral.json")
    request = _real_request(TDX, quote, {TDX_COLLATERAL: collateral.record}, _TDX_AT)
    return Case(
        name="TDX, a quote with Intel's collateral",
        verifier=TdxVerifier(REAL_POLICY),
        request=request,
        signatures=tuple(_tdx_signatures(request)),
        refused=frozenset(f"tdx.{row}" for row in _NOT_OURS),
        parts={"quote": quote, "collateral": (files / "tdx_quote_collateral.json").read_bytes()},
    )


def tdx_sample(parts: Mapping[str, bytes]) -> Case:
    """Return the case of a quote and collateral in the parts that the peer in Go has."""
    tcb_info, tcb_info_signature = split_signed(parts["tcb-info"], "tcbInfo")
    qe_identity, qe_identity_signature = split_signed(parts["qe-identity"], "enclaveIdentity")
    chain = encode_chain(decode_chain(parts["signer-chain"]))
    collateral = Collateral(
        tcb_info=tcb_info,
        tcb_info_signature=tcb_info_signature,
        tcb_info_chain=chain,
        qe_identity=qe_identity,
        qe_identity_signature=qe_identity_signature,
        qe_identity_chain=chain,
        root_crl=parts["root-crl"],
        pck_crl=parts["pck-crl"],
    )
    # The sample has some bytes after its end, which we refuse: header and body, the size of the rest, and the rest.
    size = int.from_bytes(parts["quote"][_SIGNED_QUOTE : _SIGNED_QUOTE + 4], "little")
    quote = parts["quote"][: _SIGNED_QUOTE + 4 + size]
    request = _real_request(TDX, quote, {TDX_COLLATERAL: collateral.record}, _SAMPLE_AT)
    return Case(
        name="TDX, the sample of go-tdx-guest",
        verifier=TdxVerifier(evolve(REAL_POLICY, min_tcb_evaluation=0, unsafe_allow_sept_ve=True)),
        request=request,
        signatures=tuple(_tdx_signatures(request)),
        refused=frozenset(f"tdx.{row}" for row in (*_NOT_OURS, *_SAMPLE_BEHIND)),
        parts={**parts, "quote": quote},
    )


_SIGNED_QUOTE: Final = 48 + 584
_SAMPLE_BEHIND: Final = ("platform-level",)
"""No level of the sample's TCB info is reached: the peer passes over the version of a module."""

_NOT_OURS: Final = (
    "report-data",
    "ccel",
    *(f"ccel-replay-{register}" for register in range(3)),
    *(f"rtmr{register}" for register in range(3)),
)


def _tdx_signatures(request: VerificationRequest) -> Iterator[Signature]:
    """Yield nine signatures of ECDSA with P-256, or ten if two signers have signed TCB info and QE identity."""
    quote = Quote.decode(request.evidence.items[TDX].value)
    collateral = Collateral.decode(request.endorsements.items[TDX_COLLATERAL].value)
    pck, authority, root = decode_chain(quote.signature.certification_data.removesuffix(b"\x00"))
    yield from _chain_signatures((pck, authority, root))
    for encoded, issuer in ((collateral.root_crl, root), (collateral.pck_crl, authority)):
        crl = RevocationList.decode(encoded)
        yield _signature(issuer, crl.signature, crl.tbs)
    chains = (collateral.tcb_info_chain, collateral.qe_identity_chain)
    for chain in dict.fromkeys(chains):
        yield from _chain_signatures(decode_chain(chain))
    texts = (
        (collateral.tcb_info_signature, collateral.tcb_info),
        (collateral.qe_identity_signature, collateral.qe_identity),
    )
    for chain, (signature, text) in zip(chains, texts, strict=True):
        yield _p256(decode_chain(chain)[0].public_key, signature, text)
    yield _p256(pck.public_key, quote.signature.qe_report_signature, quote.signature.qe_report)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + quote.signature.attestation_key)
    yield _p256(key, quote.signature.signature, quote.signed_bytes)


def _p256(key: object, raw: bytes, signed: bytes) -> Signature:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    r, s = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
    return _check(key.verify, encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))


# --- TPM --------------------------------------------------------------------------------------------------------------


def _tpm_signatures(request: VerificationRequest) -> Iterator[Signature]:
    """Yield those on the AK's certificates, on its quote and on what it certified."""
    leaf, *rest = decode_chain(request.endorsements.items[TPM_AK_CERTIFICATE].value)
    yield from _chain_signatures(find_path(leaf, rest))
    ak = PublicArea.decode(request.evidence.items[TPM_AK].value).public_key()
    quote = TpmQuote.decode(request.evidence.items[TPM_QUOTE].value)
    key = TpmKey.decode(request.evidence.items[TPM_KEY].value)
    yield _tpm_signature(ak, quote.signature, quote.attest)
    yield _tpm_signature(ak, key.signature, key.attest)


def _tpm_signature(ak: object, signature: TpmSignature, signed: bytes) -> Signature:
    assert isinstance(ak, ec.EllipticCurvePublicKey)
    r, s = (int.from_bytes(value, "big") for value in signature.numbers)
    return _check(ak.verify, encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))


# --- Whole nodes of simulated vendors ---------------------------------------------------------------------------------


def node_case(platform: str) -> tuple[Node, Case]:
    """Return a simulated node of a platform with one verifier, and what that looks at."""
    node = make_node(platform)
    verifier, signatures = _SIMULATED[platform]
    request = VerificationRequest(
        evidence=node.evidence,
        endorsements=Endorsements.of(node.endorsements),
        binding=node.binding,
        platform=node.platform,
        at=EPOCH.began,
    )
    return node, Case(name=_NAMES[platform], verifier=verifier, request=request, signatures=tuple(signatures(request)))


_SIMULATED: Final[Mapping[str, tuple[EvidenceVerifier, Callable[[VerificationRequest], Iterator[Signature]]]]] = {
    "sev-snp": (SnpVerifier(UNSAFE_SIMULATED_SNP), _snp_signatures),
    "tdx": (TdxVerifier(SIMULATED_TDX_POLICY), _tdx_signatures),
    "tpm": (TpmVerifier(UNSAFE_SIMULATED_TPM), _tpm_signatures),
}

_NAMES: Final = {
    "sev-snp": "SNP, a simulated report",
    "tdx": "TDX, a simulated quote with its event log",
    "tpm": "TPM, simulated, with its event log",
}


def node_appraisal(node: Node) -> Callable[[], TrustedKeyConfig]:
    """Return what a client does with the bytes of a node."""
    evidence, policy = node.evidence, policy_for(node.platform)
    return partial(
        appraise_node,
        FleetNode(node_id(node.key_config), evidence.digest, 0),
        evidence.encoded,
        Endorsements.of(node.endorsements).encoded,
        policy=policy,
        epoch=EPOCH,
    )


def session_lookup() -> Callable[[], TrustedKeyConfig | None]:
    """Return what a session does with a node of the record that it has trusted already in the epoch."""
    node = make_node("sev-snp")
    trusted = node.appraise()
    listed = FleetNode(trusted.node_id, node.evidence.digest, 0)
    record = FleetRecord(beacon=EPOCH.beacon, nodes=(listed,))
    known = _TrustedFleet(record.encode(), record, (trusted,), EPOCH.began, EPOCH)
    found = partial(known.find, listed, EPOCH, EPOCH.began + timedelta(minutes=1))
    assert found() is trusted
    return found


# --- Parts ------------------------------------------------------------------------------------------------------------


def _real_request(label: str, value: bytes, endorsements: Mapping[str, CmwRecord], at: datetime) -> VerificationRequest:
    """Ask about evidence of a real machine, which is about something else than a binding of ours."""
    return VerificationRequest(
        evidence=Evidence.of({label: CmwRecord(MEDIA_TYPES[label], value)}),
        endorsements=Endorsements.of(endorsements),
        binding=make_node(label).binding,
        platform=make_node(label).platform,
        at=at,
    )


def _chain_signatures(path: Collection[Certificate]) -> Iterator[Signature]:
    for certificate, issuer in pairwise(path):
        yield _signature(issuer, certificate.signature, certificate.tbs)


def _signature(issuer: Certificate, signature: bytes, signed: bytes) -> Signature:
    """Return the check of a signature by an issuer: RSASSA-PSS with SHA-384, as AMD signs, or ECDSA."""
    key = issuer.public_key
    if isinstance(key, rsa.RSAPublicKey):
        return _check(key.verify, signature, signed, padding.PSS(padding.MGF1(SHA384()), 48), SHA384())
    digest = SHA256() if key.curve.name == "secp256r1" else SHA384()
    return _check(key.verify, signature, signed, ec.ECDSA(digest))


def _check(verify: Callable[..., None], *arguments: object) -> Signature:
    def check() -> None:
        verify(*arguments)

    return check


def _txtar(path: Path, name: str) -> bytes:
    """Return one file of a txtar archive."""
    _, _, rest = path.read_text().partition(f"-- {name} --\n")
    return rest.partition("\n-- ")[0].encode() + b"\n"
