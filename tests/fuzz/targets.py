"""One table of what is fuzzed: a decoder, good inputs for it, and how its value is written again.

A decoder of this table takes any bytes. It returns a value or raises a `ConfsecError`, and nothing else ever; it looks
at all that the value would read only when somebody asks. Whole verifiers are in it, too: they never raise at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache, partial
from hashlib import sha256
from typing import Any, Final

from attrs import evolve, field, frozen

from confsec.errors import ConfsecError, TransparencyError
from confsec.protocol import cbor
from confsec.protocol.cbor_general import decode as decode_general_cbor
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.claims import EAT_CLAIMS
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.cmw_messages import (
    decode_cmw,
    decode_cmw_extension,
    decode_signed_cmw,
    encode_cmw_cbor,
    encode_cmw_extension,
    encode_cmw_json,
    sign_cmw,
)
from confsec.protocol.corim import Corim
from confsec.protocol.corim_signed import SignedCorim
from confsec.protocol.cose import CoseSign1
from confsec.protocol.dsse import Envelope
from confsec.protocol.ear import Ear
from confsec.protocol.eat_tokens import DetachedBundle, decode_cwt
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.jose import Jws
from confsec.protocol.json_general import decode as decode_general_json
from confsec.protocol.latest_statements import LatestStatements
from confsec.protocol.log_root import LogRoot
from confsec.protocol.logged_values import STATEMENTS, LoggedValues, read_logged
from confsec.protocol.manifest import Freshness, Manifest
from confsec.protocol.note import SignedNote
from confsec.protocol.platforms import (
    AZURE_RUNTIME_DATA,
    CCEL,
    FRESHNESS,
    MANIFEST,
    SEV_SNP,
    SVSM_MANIFEST,
    TDX,
    TPM_AK,
    TPM_KEY,
    TPM_LOG,
    TPM_QUOTE,
)
from confsec.protocol.predicates import read_predicate
from confsec.protocol.proof import _compute, _open_envelope, replay_proof
from confsec.protocol.rats import EvidenceVerifier, VerificationRequest
from confsec.protocol.receipt import Receipt, verify_consistency_receipt, verify_inclusion_receipt
from confsec.protocol.service_logs import ServiceLogs, check_directory, check_fleet, check_root
from confsec.protocol.sigstore import read_envelope
from confsec.protocol.statement import Statement
from confsec.protocol.statement_policy import StatementPolicy
from confsec.protocol.statement_rules import from_toml, to_toml
from confsec.protocol.tile_paths import Tile, decode_entries, encode_entries
from confsec.protocol.tiles import TileTree
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import TrustedLog
from confsec.protocol.transparent_statement import SignedStatement, verify_transparent_statement
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.tee import measured_boot
from confsec.tee.azure import HclReport, RuntimeData
from confsec.tee.cel import CelLog
from confsec.tee.event_log import EventLog, HashAlgorithm
from confsec.tee.registry import POLICIES
from confsec.tee.sev_snp.certificates import CertificateTable, ChipCertificate
from confsec.tee.sev_snp.evidence import AttestationReport
from confsec.tee.sev_snp.subject import SNP_CERTIFICATES, SNP_CRL
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import UNSAFE_SIMULATED_SNP
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY
from confsec.tee.simulated.tpm import UNSAFE_SIMULATED_TPM
from confsec.tee.svsm import ServicesManifest
from confsec.tee.tdx.collateral import TDX_COLLATERAL, Collateral, split_signed
from confsec.tee.tdx.evidence import EnclaveReport, Quote
from confsec.tee.tdx.pck import SGX_EXTENSION, PckExtension
from confsec.tee.tdx.tcb import QeIdentity, TcbInfo
from confsec.tee.tdx.verifier import TdxVerifier
from confsec.tee.tpm.evidence import TPM_AK_CERTIFICATE, TpmKey, TpmQuote
from confsec.tee.tpm.statement import AkStatement, SignedAkStatement
from confsec.tee.tpm.structures import Attest, CreationData, PublicArea
from confsec.tee.tpm.verifier import TpmVerifier
from confsec.tee.x509 import Certificate, RevocationList, decode_chain
from tests.fuzz import log_seeds, seeds
from tests.protocol import receipt_cases, statement_cases
from tests.protocol.statement_cases import ALICE, BOB
from tests.protocol.test_merkle import LEAVES, root_of
from tests.tee.composites import EPOCH

__all__ = ["TARGETS", "Target"]


@frozen(kw_only=True)
class Target:
    """One decoder."""

    name: str
    decode: Callable[[bytes], Any]

    make_seeds: Callable[[], tuple[bytes, ...]] = field(repr=False)
    """Makes inputs that it takes."""

    encode: Callable[[Any], bytes] | None = field(default=None, repr=False)
    """Writes a value as it was read, where there is one spelling."""

    @property
    def seeds(self) -> tuple[bytes, ...]:
        """Good inputs."""
        return _seeds_of(self)

    def run(self, data: bytes) -> None:
        """Decode; where there is one spelling, compare. Raises what the decoder raises, and `AssertionError`."""
        value = self.decode(data)
        if self.encode is not None:
            assert self.encode(value) == data, "what was read is written in another way"


@cache
def _seeds_of(target: Target) -> tuple[bytes, ...]:
    return target.make_seeds()


def _root(data: bytes) -> LogRoot:
    root = LogRoot.from_toml(_text(data))
    assert LogRoot.from_toml(root.to_toml()) == root
    return root


def _service_logs(data: bytes) -> ServiceLogs:
    """Read the ends of both logs, and look at all that a Proof says of them."""
    logs = ServiceLogs.from_item(cbor.decode(data, what="logs", limit=1 << 20))
    for finding in (check_root(logs), check_directory(logs), check_fleet(logs, b"", maximum_age=timedelta(hours=1))):
        assert finding.why
    return logs


def _logged_statements(data: bytes) -> LoggedValues:
    record = CmwRecord("application/vnd.confsec.statements+cbor", data)
    return read_logged(Endorsements.of({STATEMENTS: record}), log_seeds.artifacts().root, at=statement_cases.AT)


def _item(label: str, *platforms: str) -> Callable[[], tuple[bytes, ...]]:
    return lambda: tuple(seeds.item(label, platform) for platform in platforms)


# --- Certificates and logs --------------------------------------------------------------------------------------------


def _certificate(data: bytes) -> Certificate:
    certificate = Certificate.decode(data)
    _look_into(certificate)
    return certificate


def _look_into(certificate: Certificate) -> None:
    """Read all that is read only when somebody asks. What cannot be read there is refused by the check that asks."""
    assert isinstance(certificate.subject.text, str)
    for name in ("basic_constraints", "key_usage", "extended_key_usage", "subject_alternative_names", "crl_urls"):
        _read(partial(getattr, certificate, name))
    _read(lambda: certificate.public_key)
    _read(lambda: ChipCertificate.of(certificate))
    _read(lambda: PckExtension.of(certificate))


def _read(read: Callable[[], object]) -> None:
    try:
        read()
    except ConfsecError:
        return


_MANY: Final = 1000


def _revocation_list(data: bytes) -> RevocationList:
    crl = RevocationList.decode(data)
    crl.entry_for(1)
    _read(lambda: crl.critical_entry_extensions)
    if len(crl.entries) < _MANY:  # nothing but conformance asks for all of them
        _read(lambda: crl.revoked_serials)
    return crl


def _event_log(data: bytes, *, of_td: bool = False) -> EventLog:
    log = EventLog.decode_ccel(data) if of_td else EventLog.decode(data)
    bank = HashAlgorithm.SHA384 if of_td else HashAlgorithm.SHA256
    for read in (log.replay, log.trusted, *(partial(look, log) for look in _BOOT)):
        _read(partial(read, bank))
    return log


_BOOT: Final = (measured_boot.boot_applications, measured_boot.grub_command_lines, measured_boot.secure_boot)


def _certificates() -> Iterator[bytes]:
    for label, platform in ((SNP_CERTIFICATES, "sev-snp"), (TPM_AK_CERTIFICATE, "tpm")):
        yield from (each.encoded for each in decode_chain(seeds.item(label, platform)))
    quote = Quote.decode(seeds.quotes()[0])
    yield from (each.encoded for each in decode_chain(quote.signature.certification_data.removesuffix(b"\x00")))


def _chains() -> tuple[bytes, ...]:
    quote = Quote.decode(seeds.quotes()[0])
    return seeds.item(SNP_CERTIFICATES, "sev-snp"), quote.signature.certification_data.removesuffix(b"\x00")


def _lists() -> tuple[bytes, ...]:
    collateral = Collateral.decode(seeds.item(TDX_COLLATERAL, "tdx"))
    return seeds.item(SNP_CRL, "sev-snp"), collateral.root_crl, collateral.pck_crl


def _sgx_extension() -> tuple[bytes, ...]:
    return tuple(
        certificate.extensions[SGX_EXTENSION].value
        for certificate in decode_chain(_chains()[1])
        if SGX_EXTENSION in certificate.extensions
    )


# --- Quotes and TPM structures ----------------------------------------------------------------------------------------


def _quote(data: bytes) -> Quote:
    quote = Quote.decode(data)
    _read(lambda: EnclaveReport.decode(quote.signature.qe_report))
    _read(lambda: decode_chain(quote.signature.certification_data))
    return quote


def _public_area(data: bytes) -> PublicArea:
    public = PublicArea.decode(data)
    _read(lambda: public.public_key_info)
    assert public.name
    return public


def _statement(data: bytes) -> SignedAkStatement:
    signed = SignedAkStatement.decode(data)
    _read(lambda: AkStatement.decode(signed.statement))
    _read(lambda: signed.verify_signature(bytes(32)))
    return signed


def _attests() -> tuple[bytes, ...]:
    return (
        TpmQuote.decode(seeds.item(TPM_QUOTE, "tpm")).attest,
        TpmKey.decode(seeds.item(TPM_KEY, "tpm")).attest,
    )


# --- Messages ---------------------------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _flattened_jws() -> bytes:
    header, payload, signature = _text(seeds.jws()).split(".")
    return f'{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}'.encode()


def _policy_item(data: bytes) -> object:
    return POLICIES.from_item(cbor.decode(data, what="a policy", limit=1 << 20))


def _proof_of(contents: bytes) -> object:
    """Replay a Proof of these contents whose digest is right: else nothing behind the digest would be reached."""
    head = b"\x87" + cbor.encode("confsec proof") + cbor.encode(3) + contents + b"\x80\x80\x80\x58\x20"
    return _compute(opened := _open_envelope(head + sha256(head).digest(), POLICIES), opened.epoch.began)


def _proof_contents() -> bytes:
    value = cbor.decode(seeds.proof(), what="a Proof", limit=1 << 20)
    assert isinstance(value, list)
    return cbor.encode(value[2])


# --- Whole verifiers --------------------------------------------------------------------------------------------------


def _verify(data: bytes, *, verifier: EvidenceVerifier, platform: str, label: str) -> object:
    """Have a verifier look at a good node with one item, or one thing beside it, that is this."""
    node = seeds.node(platform)
    items, endorsements = dict(node.evidence.items), dict(node.endorsements)
    where = items if label in items else endorsements
    where[label] = evolve(where[label], value=data)
    request = VerificationRequest(
        evidence=Evidence.of(items),
        endorsements=Endorsements.of(endorsements),
        binding=node.binding,
        platform=node.platform,
        at=EPOCH.began,
    )
    return verifier.verify(request)


def _verifier(verifier: EvidenceVerifier, platform: str, *labels: str) -> tuple[Target, ...]:
    return tuple(
        Target(
            name=f"verify-{platform}-{label}",
            decode=partial(_verify, verifier=verifier, platform=platform, label=label),
            make_seeds=_item(label, platform),
        )
        for label in labels
    )


_SNP: Final = SnpVerifier(UNSAFE_SIMULATED_SNP)
_TDX: Final = TdxVerifier(SIMULATED_TDX_POLICY)
_TPM: Final = TpmVerifier(UNSAFE_SIMULATED_TPM)


def _checkpoint(data: bytes) -> SignedNote:
    """Read a note, and what it says of a log."""
    note = SignedNote.decode(data)
    Checkpoint.decode(note.text)
    return note


def _receipt(data: bytes) -> Receipt:
    receipt = Receipt.decode(data)
    _read(lambda: verify_inclusion_receipt(receipt, LEAVES[1], receipt_cases.LOG, at=receipt_cases.AT))
    old = root_of(LEAVES[:3])
    _read(lambda: verify_consistency_receipt(receipt, 3, old, receipt_cases.LOG, at=receipt_cases.AT))
    return receipt


def _signed_statement(data: bytes) -> SignedStatement:
    statement = SignedStatement.decode(data)
    verify = partial(verify_transparent_statement, statement, receipt_cases.ISSUER, [receipt_cases.LOG])
    _read(partial(verify, at=receipt_cases.AT))
    return statement


def _statement_of(data: bytes) -> Statement:
    statement = Statement.decode(data)
    _read(lambda: _predicate(statement))
    return statement


def _predicate(statement: Statement) -> None:
    predicate = read_predicate(statement)
    assert predicate.to_statement(*statement.subjects) == statement, "a predicate is written in another way"


def _envelope(data: bytes) -> Envelope:
    envelope = read_envelope(data)
    _read(lambda: envelope.verify([ALICE, BOB], threshold=2))
    assert Envelope.decode(envelope.encode()) == read_envelope(envelope.encode()) == envelope
    _read(lambda: _require_same(envelope, data))
    return envelope


def _require_same(envelope: Envelope, data: bytes) -> None:
    assert Envelope.decode(data) == envelope, "some bytes have two readings"


def _rules(data: bytes) -> StatementPolicy:
    rules = from_toml(_text(data))
    _read(lambda: _written_rules(rules))  # a key under two names is read, and no file can say which one is meant
    return rules


def _written_rules(rules: StatementPolicy) -> None:
    assert from_toml(to_toml(rules)) == rules


def _tiles(data: bytes) -> TileTree:
    """Read the tiles of a tree, one behind the other: only the right ones lead to its root."""
    given = {}
    for tile in log_seeds.tiles():
        given[tile], data = data[: 32 * tile.width], data[32 * tile.width :]
    if data:
        raise TransparencyError("there is more than the tiles")
    tree = TileTree(log_seeds.SIZE, log_seeds.ROOT, given)
    tree.inclusion_proof(299)
    return tree


def _all_tiles(*_: object) -> bytes:
    return b"".join(log_seeds.tiles().values())


def _encode(value: Any) -> bytes:
    encoded: bytes = value.encode()
    return encoded


TARGETS: Final = (
    # Certificates and logs
    Target(name="certificate", decode=_certificate, make_seeds=lambda: tuple(_certificates())),
    Target(name="certificate-chain", decode=decode_chain, make_seeds=_chains),
    Target(name="revocation-list", decode=_revocation_list, make_seeds=_lists),
    Target(name="event-log", decode=_event_log, make_seeds=_item(TPM_LOG, "tpm"), encode=_encode),
    Target(name="ccel", decode=partial(_event_log, of_td=True), make_seeds=_item(CCEL, "tdx")),
    Target(name="cel", decode=CelLog.decode, make_seeds=lambda: (seeds.cel(),)),
    # SEV-SNP
    Target(
        name="snp-report",
        decode=AttestationReport.decode,
        make_seeds=_item(SEV_SNP, "sev-snp", "azure-sev-snp"),
        encode=_encode,
    ),
    Target(
        name="snp-certificate-table",
        decode=lambda data: CertificateTable.decode(data).chain(),
        make_seeds=lambda: (seeds.certificate_table(),),
    ),
    Target(name="svsm-manifest", decode=ServicesManifest.decode, make_seeds=_item(SVSM_MANIFEST, "sev-snp-svsm")),
    Target(name="azure-hcl-report", decode=HclReport.decode, make_seeds=lambda: (seeds.hcl_report(),)),
    Target(
        name="azure-runtime-data",
        decode=RuntimeData.decode,
        make_seeds=_item(AZURE_RUNTIME_DATA, "azure-sev-snp", "azure-tdx"),
    ),
    # TDX
    Target(name="tdx-quote", decode=_quote, make_seeds=seeds.quotes, encode=_encode),
    Target(name="tdx-pck-extension", decode=PckExtension.decode, make_seeds=_sgx_extension),
    Target(name="tdx-collateral", decode=Collateral.decode, make_seeds=_item(TDX_COLLATERAL, "tdx"), encode=_encode),
    Target(name="tdx-tcb-info", decode=TcbInfo.decode, make_seeds=lambda: (seeds.collateral()["tcb-info"],)),
    Target(name="tdx-qe-identity", decode=QeIdentity.decode, make_seeds=lambda: (seeds.collateral()["qe-identity"],)),
    Target(
        name="tdx-pcs-body",
        decode=partial(split_signed, member="tcbInfo"),
        make_seeds=lambda: (seeds.collateral()["body"],),
    ),
    # TPM
    Target(name="tpm-public-area", decode=_public_area, make_seeds=_item(TPM_AK, "tpm", "azure-tdx"), encode=_encode),
    Target(name="tpm-quote", decode=TpmQuote.decode, make_seeds=_item(TPM_QUOTE, "tpm", "azure-tdx"), encode=_encode),
    Target(name="tpm-key", decode=TpmKey.decode, make_seeds=_item(TPM_KEY, "tpm", "azure-tdx"), encode=_encode),
    Target(name="tpm-attest", decode=Attest.decode, make_seeds=_attests, encode=_encode),
    Target(
        name="tpm-creation-data",
        decode=CreationData.decode,
        make_seeds=lambda: (TpmKey.decode(seeds.item(TPM_KEY, "tpm")).creation_data,),
        encode=_encode,
    ),
    Target(name="tpm-ak-statement", decode=_statement, make_seeds=lambda: (seeds.statement(),), encode=_encode),
    # Messages
    Target(name="cbor", decode=partial(cbor.decode, what="x", limit=1 << 20), make_seeds=lambda: (seeds.proof(),)),
    Target(
        name="cbor-general",
        decode=partial(decode_general_cbor, what="x", limit=1 << 20),
        make_seeds=lambda: (seeds.corim(), seeds.cose()),
    ),
    Target(
        name="json-general",
        decode=partial(decode_general_json, what="x", limit=1 << 20),
        make_seeds=lambda: (seeds.EAR.to_json(), seeds.collateral()["tcb-info"]),
    ),
    Target(
        name="evidence",
        decode=Evidence.decode,
        make_seeds=lambda: tuple(seeds.node(name).evidence.encoded for name in seeds.NODES),
        encode=lambda value: Evidence.of(value.items).encoded,
    ),
    Target(
        name="endorsements",
        decode=Endorsements.decode,
        make_seeds=lambda: tuple(Endorsements.of(seeds.node(name).endorsements).encoded for name in seeds.NODES),
    ),
    Target(
        name="cmw",
        decode=decode_cmw,
        make_seeds=lambda: tuple(
            write(each) for write in (encode_cmw_cbor, encode_cmw_json) for each in (seeds.RECORD, seeds.COLLECTION)
        ),
    ),
    Target(
        name="cmw-extension", decode=decode_cmw_extension, make_seeds=lambda: (encode_cmw_extension(seeds.COLLECTION),)
    ),
    Target(
        name="cmw-signed",
        decode=decode_signed_cmw,
        make_seeds=lambda: (sign_cmw(seeds.COLLECTION, seeds.KEY, algorithm="ES256"),),
    ),
    Target(name="cose-sign1", decode=CoseSign1.decode, make_seeds=lambda: (seeds.cose(), seeds.cwt())),
    Target(name="jws", decode=lambda data: Jws.decode(_text(data)), make_seeds=lambda: (seeds.jws(),)),
    Target(name="jws-flattened", decode=Jws.decode_flattened, make_seeds=lambda: (_flattened_jws(),)),
    Target(name="cwt", decode=decode_cwt, make_seeds=lambda: (seeds.cwt(),)),
    Target(name="eat-cbor", decode=EAT_CLAIMS.decode_cbor, make_seeds=lambda: (seeds.eat_claims()[0],)),
    Target(name="eat-json", decode=EAT_CLAIMS.decode_json, make_seeds=lambda: (seeds.eat_claims()[1],)),
    Target(name="eat-bundle", decode=DetachedBundle.decode_cbor, make_seeds=lambda: (seeds.detached_bundle(),)),
    Target(
        name="eat-bundle-json",
        decode=DetachedBundle.decode_json,
        make_seeds=lambda: (b'[["JWT","e30.e30.AA"],{"a":"e30"}]',),
    ),
    Target(name="ear-cbor", decode=Ear.from_cbor, make_seeds=lambda: (seeds.EAR.to_cbor(),)),
    Target(name="ear-json", decode=Ear.from_json, make_seeds=lambda: (seeds.EAR.to_json(),)),
    Target(name="corim", decode=Corim.decode, make_seeds=lambda: (seeds.corim(),)),
    Target(name="corim-signed", decode=SignedCorim.decode, make_seeds=lambda: (seeds.signed_corim(),)),
    # Our own
    Target(name="manifest", decode=Manifest.decode, make_seeds=_item(MANIFEST, "tdx"), encode=_encode),
    Target(name="freshness", decode=Freshness.decode, make_seeds=_item(FRESHNESS, "tdx"), encode=_encode),
    Target(name="fleet-record", decode=FleetRecord.decode, make_seeds=lambda: (seeds.fleet_record(),), encode=_encode),
    Target(
        name="policy-toml",
        decode=lambda data: POLICIES.from_toml(_text(data)),
        make_seeds=lambda: (seeds.policy_toml(),),
    ),
    Target(
        name="policy-item",
        decode=_policy_item,
        make_seeds=lambda: (cbor.encode(seeds.policy().to_item()), cbor.encode(seeds.DEMO_POLICY.to_item())),
    ),
    Target(name="proof", decode=partial(replay_proof, policies=POLICIES), make_seeds=lambda: (seeds.proof(),)),
    Target(name="proof-contents", decode=_proof_of, make_seeds=lambda: (_proof_contents(),)),
    # Logs
    Target(name="checkpoint", decode=_checkpoint, make_seeds=lambda: (seeds.checkpoint(),), encode=_encode),
    Target(name="tlog-proof", decode=TlogProof.decode, make_seeds=lambda: (seeds.tlog_proof(),), encode=_encode),
    Target(
        name="witness-policy",
        decode=lambda data: WitnessPolicy.decode(WitnessPolicy.decode(data).encode()),
        make_seeds=lambda: (seeds.witness_policy(),),
    ),
    Target(name="trusted-log", decode=TrustedLog.decode, make_seeds=lambda: (seeds.trusted_log(),), encode=_encode),
    Target(
        name="latest-statements", decode=LatestStatements.decode, make_seeds=log_seeds.latest_statements, encode=_encode
    ),
    Target(name="tiles", decode=_tiles, make_seeds=lambda: (_all_tiles(),), encode=_all_tiles),
    Target(
        name="tile-path",
        decode=lambda data: Tile.from_path(_text(data)),
        make_seeds=lambda: (b"tile/0/000", b"tile/3/x001/x234/067.p/12"),
        encode=lambda tile: tile.path.encode(),
    ),
    Target(
        name="entry-bundle",
        decode=partial(decode_entries, width=3),
        make_seeds=lambda: (log_seeds.BUNDLE,),
        encode=encode_entries,
    ),
    Target(name="dsse-envelope", decode=_envelope, make_seeds=log_seeds.envelopes),
    Target(name="statement", decode=_statement_of, make_seeds=log_seeds.statements, encode=_encode),
    Target(name="statement-foreign", decode=Statement.decode_foreign, make_seeds=log_seeds.statements),
    Target(name="statement-rules", decode=_rules, make_seeds=lambda: (log_seeds.rules(),)),
    Target(name="cose-receipt", decode=_receipt, make_seeds=log_seeds.receipts),
    Target(name="signed-statement", decode=_signed_statement, make_seeds=log_seeds.signed_statements),
    Target(name="log-root", decode=_root, make_seeds=lambda: (log_seeds.root(),)),
    Target(name="service-logs", decode=_service_logs, make_seeds=lambda: (log_seeds.service_logs(),)),
    Target(name="logged-statements", decode=_logged_statements, make_seeds=lambda: (log_seeds.logged_statements(),)),
    # Whole verifiers
    *_verifier(_SNP, "sev-snp", SEV_SNP, SNP_CERTIFICATES, SNP_CRL),
    *_verifier(_SNP, "sev-snp-svsm", SVSM_MANIFEST),
    *_verifier(_SNP, "azure-sev-snp", AZURE_RUNTIME_DATA),
    *_verifier(_TDX, "tdx", TDX, TDX_COLLATERAL, CCEL),
    *_verifier(_TDX, "azure-tdx", AZURE_RUNTIME_DATA),
    *_verifier(_TPM, "tpm", TPM_AK, TPM_QUOTE, TPM_KEY, TPM_LOG, TPM_AK_CERTIFICATE),
)
"""All targets."""
