"""For each check of the table, evidence that it alone refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from attrs import evolve, frozen

from confsec.protocol.binding import Binding
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.platforms import AZURE_RUNTIME_DATA, MEDIA_TYPES, SVSM_MANIFEST
from confsec.protocol.policy import UNSAFE_ANY
from confsec.tee.der import encode_tlv
from confsec.tee.event_log import Event, EventLog, EventType, HashAlgorithm
from confsec.tee.measured_boot import command_line_digest
from confsec.tee.simulated.issue import (
    CERT_SIGN,
    CRL_SIGN,
    SIMULATED_MARK,
    Signer,
    basic_constraints,
    issue_certificate,
    key_usage,
    public_key_info,
)
from confsec.tee.simulated.tpm import (
    AK_ATTRIBUTES,
    REQUEST_KEY_ATTRIBUTES,
    VALID,
    SimulatedTpmMaker,
    SoftwareTpm,
    ek_alternative_name,
    public_area,
    published_key,
    purpose,
    tpm_name,
)
from confsec.tee.tpm.certificates import GCE_INSTANCE_OID
from confsec.tee.tpm.policy import TpmPolicy
from confsec.tee.tpm.simulated_boot import SimulatedBoot, measured_event
from confsec.tee.tpm.statement import _LABEL, SignedAkStatement, registrar_id
from confsec.tee.tpm.structures import (
    AttestType,
    Attributes,
    CreationInfo,
    EccCurve,
    EccKey,
    PcrSelection,
    Scheme,
    SchemeId,
    TpmSignature,
    pcr_policy_digest,
)
from confsec.tee.x509 import Extension
from tests.tee.refusal import Baseline, Refusal
from tests.tee.tpm.scenes import AT, MAKER, OTHER_REGISTRAR, Scene, platform, rsa_key

__all__ = ["BASELINES", "GOOD_SCENES", "REFUSALS", "SCENES", "OtherBoot", "gce_instance", "relaxed", "sections"]

GOOD: Final = Scene()
CERTIFIED: Final = Scene(by_certificate=True)
SVSM_ITEM: Final = {SVSM_MANIFEST: CmwRecord(MEDIA_TYPES[SVSM_MANIFEST], b"manifest")}
AZURE_ITEM: Final = {AZURE_RUNTIME_DATA: CmwRecord(MEDIA_TYPES[AZURE_RUNTIME_DATA], b"{}")}
BOOT: Final = SimulatedBoot()


@frozen(kw_only=True)
class OtherBoot(SimulatedBoot):
    """A boot in whose log something is changed before it is measured."""

    change: Callable[[tuple[Event, ...]], tuple[Event, ...]]

    def log(self) -> EventLog:
        log = SimulatedBoot.log(self)
        return evolve(log, events=self.change(log.events))


def gce_instance(*, production: bool) -> Mapping[str, Extension]:
    """Make the extension in which Google tells of an instance."""
    flag = encode_tlv(0xA1, b"\x01\x01" + (b"\xff" if production else b"\x00"))
    texts = [encode_tlv(0x0C, text) for text in (b"europe-west4-a", b"project", b"name")]
    value = texts[0] + b"\x02\x01\x01" + texts[1] + b"\x02\x01\x02" + texts[2]
    properties = encode_tlv(0xA0, encode_tlv(0x30, encode_tlv(0xA0, b"\x02\x01\x00") + flag))
    return {GCE_INSTANCE_OID: Extension(critical=False, value=encode_tlv(0x30, value + properties))}


def sections(boot: SimulatedBoot = BOOT) -> dict[str, tuple[bytes, ...]]:
    """Return the digests of a boot's sections."""
    parts = {
        ".linux": boot.kernel,
        ".osrel": boot.os_release,
        ".cmdline": boot.command_line.encode(),
        ".initrd": boot.initrd,
    }
    return {name: (HashAlgorithm.SHA256.digest(part),) for name, part in parts.items()}


def without(attribute: Attributes) -> dict[str, Any]:
    """Return what makes a request key without an attribute."""
    return {"key_members": {"attributes": REQUEST_KEY_ATTRIBUTES & ~attribute}}


def having(attribute: Attributes) -> dict[str, Any]:
    """Return what makes a request key with one more attribute."""
    return {"key_members": {"attributes": REQUEST_KEY_ATTRIBUTES | attribute}}


def ak(**members: Any) -> dict[str, Any]:
    """Return what makes another AK."""
    return {"tpm": SoftwareTpm(**members)}


def relaxed(**members: Any) -> TpmPolicy:
    """Return a policy that pins no PCR, so that what a boot shows is for the log to tell."""
    return GOOD.policy.replace(**{"pcr_values": {}, **members})


def _flip(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,))


def _forged(signature: TpmSignature) -> TpmSignature:
    return evolve(signature, numbers=(signature.numbers[0], _flip(signature.numbers[1])))


def _other_attest(item: Any) -> Any:
    """Sign something that is no TPMS_ATTEST."""
    attest = b"\xffTCG but no more"
    return evolve(item, attest=attest, signature=SoftwareTpm().sign(attest))


def _other_policy(**members: Any) -> dict[str, Any]:
    return {"policy": GOOD.policy.replace(**members)}


def _boot(policy: TpmPolicy, **members: Any) -> dict[str, Any]:
    return {"tpm": SoftwareTpm(boot=evolve(BOOT, **members)), "policy": policy}


def _reselected(quote: Any) -> Any:
    """Say that the values are of other PCRs, as many."""
    return evolve(quote, selections=(PcrSelection.of(HashAlgorithm.SHA256, [*range(13), 23]),))


def _other_values(quote: Any) -> Any:
    """Give another value for PCR 14, of which there are no events."""
    return evolve(quote, values=(*quote.values[:-1], bytes(31) + b"\x01"))


def _other_ak(binding: Binding) -> Binding:
    """Bind another AK, so that everything else still says the same."""
    return _SameQualifyingData(
        mode=binding.mode, nonce=binding.nonce, key_config=binding.key_config, manifest=binding.manifest, ak=b"other",
        said=binding.value,
    )  # fmt: skip


class _SameQualifyingData(Binding):
    """A binding whose value is told, and not computed."""

    def __init__(self, *, said: bytes, **members: Any) -> None:
        super().__init__(**members)
        object.__setattr__(self, "said", said)

    @property
    def value(self) -> bytes:
        said: bytes = self.said  # type: ignore[attr-defined]
        return said


def _without_magic(kind: str) -> dict[str, Any]:
    return {kind: {"magic": 0}}


def _another_tpms_ek() -> bytes:
    return SoftwareTpm(ek_key=published_key("another EK")).ek.public_key_info


def _unknown_critical() -> dict[str, Extension]:
    return {"1.2.3.4": Extension(critical=True, value=b"\x05\x00")}


def _wrong_signer() -> Signer:
    return Signer(MAKER.signer.name, published_key("somebody else"))


def _second_authority() -> tuple[Signer, bytes]:
    """Make an authority below the one that may have none below."""
    second = Signer(tpm_name("SIM second"), published_key("second intermediate"))
    certificate = issue_certificate(
        MAKER.signer,
        subject=second.name,
        public_key=public_key_info(second.key),
        serial=3,
        valid=VALID,
        extensions={**basic_constraints(ca=True), **key_usage(CERT_SIGN), **SIMULATED_MARK},
    )
    return second, certificate.encoded


_SECOND: Final = _second_authority()


def _no_statement(signed: SignedAkStatement) -> SignedAkStatement:
    """Sign bytes that are no statement."""
    return evolve(signed, statement=b"\x01", signature=GOOD.registrar.sign(_LABEL + b"\x01"))


def _shorter(log: bytes) -> bytes:
    whole = EventLog.decode(log)
    return evolve(whole, events=whole.events[:-1]).encode()


def _measured(change: Callable[[tuple[Event, ...]], tuple[Event, ...]]) -> dict[str, Any]:
    return {"tpm": SoftwareTpm(boot=OtherBoot(change=change)), "policy": relaxed()}


def _started_beside(events: tuple[Event, ...]) -> tuple[Event, ...]:
    return (*events, measured_event(4, EventType.EFI_BOOT_SERVICES_APPLICATION, b"another", digest=bytes(32)))


def _started_nothing(events: tuple[Event, ...]) -> tuple[Event, ...]:
    return tuple(event for event in events if event.event_type != EventType.EFI_BOOT_SERVICES_APPLICATION)


def _pretending(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Start with another command line, and extend the good one later, as its system can."""
    evil = command_line_digest("init=/bin/sh", HashAlgorithm.SHA256)
    label = b"LOADED_IMAGE::LoadOptions\x00"
    return (
        *(event for event in events if event.register != 9),
        measured_event(9, EventType.EVENT_TAG, label, digest=evil),
        *(event for event in events if event.register == 9),
    )


def _secure_boot_later(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Boot without Secure Boot, and extend that it was on, as the system can."""
    first, *rest = (event for event in events if event.register == 7)
    off = measured_event(7, first.event_type, first.data[:-1] + b"\x00")
    return (*(event for event in events if event.register != 7), off, *rest, first)


def _certified_other() -> dict[str, Any]:
    info = CreationInfo(
        b"\x00\x0b" + bytes(32),
        HashAlgorithm.SHA256.digest(GOOD.tpm.certify_creation(GOOD.tpm.ak, b"").creation_data),
    )
    return {"key_attest_members": {"attested": info}}


def _sha384_key() -> dict[str, Any]:
    selection = PcrSelection.of(HashAlgorithm.SHA256, GOOD.pcrs)
    policy = pcr_policy_digest((selection,), GOOD.tpm.values(selection), hash_algorithm=HashAlgorithm.SHA384)
    return {"key_members": {"name_algorithm": HashAlgorithm.SHA384, "auth_policy": policy}}


def _point(label: str) -> Callable[[bytes], bytes]:
    key = public_area(published_key(label), attributes=REQUEST_KEY_ATTRIBUTES).key
    assert isinstance(key, EccKey)
    point = key.point
    return lambda _: point


def _p384_key() -> dict[str, object]:
    key = public_area(published_key("P-384 request key", EccCurve.P384), attributes=REQUEST_KEY_ATTRIBUTES).key
    return {"key": key}


_EVERY: Final[tuple[tuple[str, str, Scene, Mapping[str, Any]], ...]] = (
    # 1. The attestation key
    ("tpm.ak-format", "an AK that is no TPMT_PUBLIC", GOOD, {"ak_item": lambda item: item[:-1]}),
    ("tpm.ak-algorithm", "an AK of RSA with 1024 bits", GOOD, ak(ak_key=rsa_key(1024))),
    ("tpm.ak-algorithm", "an AK of RSA with the exponent 3", GOOD, ak(ak_key=rsa_key(2048, 3))),
    ("tpm.ak-scheme", "an AK that signs with SHA-1", GOOD, ak(ak_scheme=Scheme(SchemeId.ECDSA, HashAlgorithm.SHA1))),
    ("tpm.ak-scheme", "an AK whose scheme is open", GOOD, ak(ak_scheme=Scheme(SchemeId.NULL))),
    ("tpm.ak-scheme", "an AK for key agreement", GOOD, ak(ak_scheme=Scheme(SchemeId.ECDH, HashAlgorithm.SHA256))),
    ("tpm.ak-name-algorithm", "an AK whose name is of SHA-1", GOOD, ak(ak_name_algorithm=HashAlgorithm.SHA1)),
    ("tpm.ak-restricted", "an AK that signs anything", GOOD, ak(ak_attributes=AK_ATTRIBUTES & ~Attributes.RESTRICTED)),
    ("tpm.ak-sign-only", "an AK that decrypts, too", GOOD, ak(ak_attributes=AK_ATTRIBUTES | Attributes.DECRYPT)),
    ("tpm.ak-sign-only", "an AK that does not sign", GOOD, ak(ak_attributes=AK_ATTRIBUTES & ~Attributes.SIGN)),
    ("tpm.ak-fixed-tpm", "an AK that can move", GOOD, ak(ak_attributes=AK_ATTRIBUTES & ~Attributes.FIXED_TPM)),
    ("tpm.ak-fixed-parent", "an AK whose parent can change", GOOD,
     ak(ak_attributes=AK_ATTRIBUTES & ~Attributes.FIXED_PARENT)),
    ("tpm.ak-sensitive-data-origin", "an AK that was imported", GOOD,
     ak(ak_attributes=AK_ATTRIBUTES & ~Attributes.SENSITIVE_DATA_ORIGIN)),
    ("tpm.ak-bound", "an AK that the binding does not name", GOOD, {"binding": _other_ak}),
    # 2. Who vouches for it
    ("tpm.ak-vouched-for", "no endorsements", GOOD, {"endorsements": lambda _: {}}),
    ("tpm.ak-vouched-for", "an EK without a statement", GOOD,
     {"endorsements": lambda found: {"tpm-ek-certificate": found["tpm-ek-certificate"]}}),
    ("tpm.ak-vouched-for", "a TPM inside a TEE whose report is not there", GOOD, {"platform": platform("azure-tdx")}),
    ("tpm.chain-format", "a chain that is none", GOOD, {"chain": lambda chain: chain[:-1]}),
    ("tpm.chain-format", "an empty chain", GOOD, {"chain": lambda _: b""}),
    ("tpm.chain-root", "a root that the policy does not name", GOOD, _other_policy(trust_anchors=(bytes(32),))),
    ("tpm.chain-root", "a maker with a root of its own", GOOD, {"maker": SimulatedTpmMaker("another root")}),
    ("tpm.chain-complete", "an intermediate that is a trust anchor, and no root", CERTIFIED,
     {"chain": lambda chain: chain[: -len(MAKER.root.encoded)],
      "policy": GOOD.policy.replace(trust_anchors=(MAKER.intermediate.fingerprint,))}),
    ("tpm.chain-signatures", "a leaf that another key signed", GOOD, {"leaf": {"signer": _wrong_signer()}}),
    ("tpm.chain-authorities", "an intermediate that is no authority", GOOD,
     {"authority": {"ca": False, "path_length": None}}),
    ("tpm.chain-usage", "an intermediate that may only sign CRLs", GOOD, {"authority": {"usage": (CRL_SIGN,)}}),
    ("tpm.chain-lengths", "two intermediates where one may be", GOOD,
     {"leaf": {"signer": _SECOND[0]}, "chain": lambda chain: chain + _SECOND[1]}),
    ("tpm.chain-validity", "a leaf that has expired", GOOD, {"leaf": {"valid": (VALID[0], AT - timedelta(seconds=1))}}),
    ("tpm.chain-validity", "an intermediate that has expired", GOOD,
     {"authority": {"valid": (VALID[0], AT - timedelta(seconds=1))}}),
    ("tpm.chain-validity", "a leaf of tomorrow", GOOD, {"leaf": {"valid": (AT + timedelta(days=1), VALID[1])}}),
    ("tpm.chain-extensions", "a critical extension that nobody knows", GOOD,
     {"leaf": {"extensions": _unknown_critical()}}),
    ("tpm.chain-extensions", "the same in the intermediate", GOOD, {"authority": {"extensions": _unknown_critical()}}),
    ("tpm.chain-leaf", "a leaf that is an authority", GOOD, {"leaf": {"extensions": basic_constraints(ca=True)}}),
    ("tpm.ak-certificate-usage", "an AK certificate for key agreement", CERTIFIED,
     {"leaf": {"extensions": key_usage(4)}}),
    ("tpm.ak-certificate-key", "the certificate of another AK", CERTIFIED, {"certified": _another_tpms_ek()}),
    ("tpm.ak-certificate-instance", "an instance that is none of production", CERTIFIED,
     {"leaf": {"extensions": gce_instance(production=False)}}),
    ("tpm.ek-usage", "an EK certificate for signing", GOOD, {"leaf": {"extensions": key_usage(0)}}),
    ("tpm.ek-purpose", "a certificate for a web server", GOOD, {"leaf": {"extensions": purpose("1.3.6.1.5.5.7.3.1")}}),
    ("tpm.ek-name", "an EK certificate that does not name its TPM", GOOD,
     {"leaf": {"extensions": ek_alternative_name((("2.5.4.3", "TPM"),))}}),
    ("tpm.ek-name", "a name that nobody has to look at", GOOD,
     {"leaf": {"extensions": ek_alternative_name(critical=False)}}),
    ("tpm.statement-format", "a statement that is none", GOOD, {"statement_item": lambda item: item[:-1]}),
    ("tpm.statement-registrar", "a registrar that the policy does not list", GOOD, {"registrar": OTHER_REGISTRAR}),
    ("tpm.statement-registrar", "a policy without registrars", GOOD, _other_policy(registrars=())),
    ("tpm.statement-signature", "a statement that another registrar signed", GOOD,
     {"registrar": OTHER_REGISTRAR,
      "signed_statement": lambda signed: evolve(signed, registrar=registrar_id(GOOD.registrar.public_key))}),
    ("tpm.statement-content", "signed bytes that are no statement", GOOD, {"signed_statement": _no_statement}),
    ("tpm.statement-ek", "a statement about another EK", GOOD,
     {"statement": lambda statement: evolve(statement, ek_certificate=bytes(32))}),
    ("tpm.statement-ak", "a statement about another AK", GOOD,
     {"statement": lambda statement: evolve(statement, ak_name=SoftwareTpm(ak_key=published_key("other")).ak.name)}),
    ("tpm.statement-age", "a statement of last year", GOOD,
     {"statement": lambda statement: evolve(statement, issued=datetime(2025, 11, 28, tzinfo=UTC))}),
    ("tpm.statement-age", "a statement of tomorrow", GOOD,
     {"statement": lambda statement: evolve(statement, issued=AT + timedelta(days=1))}),
    # 3. The quote
    ("tpm.quote-format", "a quote with a byte more", GOOD, {"quote_item": lambda item: item + b"\x00"}),
    ("tpm.quote-format", "a quote without its last value", GOOD,
     {"quote": lambda quote: evolve(quote, values=quote.values[:-1])}),
    ("tpm.quote-signature", "a quote that another key signed", GOOD,
     {"quote": lambda quote: evolve(quote, signature=_forged(quote.signature))}),
    ("tpm.quote-attest", "signed bytes that are no attestation", GOOD, {"quote": _other_attest}),
    ("tpm.quote-magic", "an attestation that the TPM did not make", GOOD, _without_magic("quote_members")),
    ("tpm.quote-type", "a time stamp in place of a quote", GOOD,
     {"quote_members": {"type": AttestType.TIME, "attested": bytes(33)}}),
    ("tpm.quote-qualifying-data", "a quote for another binding", GOOD, {"quote_members": {"extra_data": bytes(32)}}),
    ("tpm.quote-selection", "a quote without PCR 14", GOOD, {"pcrs": GOOD.pcrs[:-1]}),
    ("tpm.quote-selection", "a quote with one PCR more", GOOD, {"pcrs": (*GOOD.pcrs, 23)}),
    ("tpm.quote-values", "values that are said to be of other PCRs", GOOD, {"quote": _reselected}),
    ("tpm.pcr-digest", "values that were not quoted", GOOD, {"quote": _other_values}),
    ("tpm.pcr-values", "firmware that the policy does not know", GOOD, _boot(GOOD.policy, firmware=b"other")),
    ("tpm.pcr-values", "a PCR that somebody extended", GOOD, _other_policy(
        pcr_values={**GOOD.policy.pcr_values, 14: (bytes(31) + b"\x01",)})),
    # 4. The boot
    ("tpm.log-format", "a log that ends early", GOOD, {"log": lambda log: log[:-1]}),
    ("tpm.log-replay", "a log without its last event", GOOD, {"log": _shorter}),
    ("tpm.log-replay", "a PCR that was extended behind the log", GOOD,
     {"tpm": SoftwareTpm(extended={5: bytes(32)}), "policy": relaxed()}),
    ("tpm.secure-boot", "Secure Boot is off", GOOD, _boot(relaxed(), secure_boot=False)),
    ("tpm.boot-applications", "another kernel", GOOD, _boot(relaxed(), kernel=b"evil")),
    ("tpm.boot-applications", "an application that was started beside", GOOD, _measured(_started_beside)),
    ("tpm.boot-applications", "a boot that started nothing", GOOD, _measured(_started_nothing)),
    ("tpm.kernel-command-line", "a command line that the system pretends to have", GOOD, _measured(_pretending)),
    ("tpm.secure-boot", "a system that pretends that Secure Boot was on", GOOD, _measured(_secure_boot_later)),
    ("tpm.uki-sections", "a section that the policy does not know", GOOD,
     {"policy": relaxed(uki_sections=sections() | {".initrd": (bytes(32),)})}),
    ("tpm.uki-sections", "a section that is missing", GOOD,
     {"policy": relaxed(uki_sections=sections() | {".dtb": (bytes(32),)})}),
    # 5. The request key
    ("tpm.key-format", "a key with a byte more", GOOD, {"key_item": lambda item: item + b"\x00"}),
    ("tpm.key-signature", "a certification that another key signed", GOOD,
     {"key": lambda key: evolve(key, signature=_forged(key.signature))}),
    ("tpm.key-attest", "signed bytes that are no attestation", GOOD, {"key": _other_attest}),
    ("tpm.key-magic", "a certification that the TPM did not make", GOOD, _without_magic("key_attest_members")),
    ("tpm.key-type", "a certification of a key that was loaded", GOOD,
     {"key_attest_members": {"type": AttestType.CERTIFY, "attested": bytes(4)}}),
    ("tpm.key-qualifying-data", "a certification for another binding", GOOD,
     {"key_attest_members": {"extra_data": bytes(32)}}),
    ("tpm.key-name", "a certification of another key", GOOD, _certified_other()),
    ("tpm.key-creation-hash", "the creation data of another key", GOOD,
     {"key": lambda key: evolve(key, creation_data=_flip(key.creation_data))}),
    ("tpm.key-name-algorithm", "a key whose name is of SHA-384", GOOD, _sha384_key()),
    ("tpm.key-algorithm", "a key on P-384", GOOD, {"key_members": _p384_key(), "point": _point("TPM request key")}),
    ("tpm.key-scheme", "a key with a scheme of its own", GOOD,
     {"key_members": {"scheme": Scheme(SchemeId.ECDH, HashAlgorithm.SHA256)}}),
    ("tpm.key-fixed-tpm", "a key that can move", GOOD, without(Attributes.FIXED_TPM)),
    ("tpm.key-fixed-parent", "a key whose parent can change", GOOD, without(Attributes.FIXED_PARENT)),
    ("tpm.key-sensitive-data-origin", "a key that was imported", GOOD, without(Attributes.SENSITIVE_DATA_ORIGIN)),
    ("tpm.key-admin-with-policy", "a key that a password certifies", GOOD, without(Attributes.ADMIN_WITH_POLICY)),
    ("tpm.key-no-password", "a key that a password opens", GOOD, having(Attributes.USER_WITH_AUTH)),
    ("tpm.key-decrypt-only", "a key that signs, too", GOOD, having(Attributes.SIGN)),
    ("tpm.key-decrypt-only", "a key that is restricted", GOOD, having(Attributes.RESTRICTED)),
    ("tpm.key-no-da", "a key that can be locked out", GOOD, without(Attributes.NO_DA)),
    ("tpm.key-other-attributes", "a key that can be duplicated in the clear", GOOD,
     having(Attributes.ENCRYPTED_DUPLICATION)),
    ("tpm.key-other-attributes", "a key that dies with each boot", GOOD, having(Attributes.ST_CLEAR)),
    ("tpm.key-policy", "a key without a policy", GOOD, {"key_members": {"auth_policy": b""}}),
    ("tpm.key-policy", "a key that is bound to fewer PCRs", GOOD, {"key_pcrs": (0,)}),
    # 6. The KeyConfig
    ("tpm.key-kem", "a KeyConfig of P-256 alone", GOOD, {"kem_id": 0x0010}),
    ("tpm.key-point", "a KeyConfig with another P-256 half", GOOD, {"point": _point("another request key")}),
)  # fmt: skip

SCENES: Final = tuple((check_id, name, scene.changed(**changes)) for check_id, name, scene, changes in _EVERY)
"""All of them, to be looked at again."""

REFUSALS: Final = tuple(Refusal(check_id, name, scene.verify) for check_id, name, scene in SCENES)

_WAIVED: Final = GOOD.policy.replace(
    pcr_values={},
    boot_applications=UNSAFE_ANY,
    kernel_command_lines=UNSAFE_ANY,
    unsafe_allow_no_secure_boot=True,
    unsafe_allow_no_production=True,
)

GOOD_SCENES: Final[tuple[tuple[str, Scene], ...]] = (
    ("a registrar vouches", GOOD),
    ("a certificate vouches", CERTIFIED),
    ("a certificate of an instance vouches", CERTIFIED.changed(leaf={"extensions": gce_instance(production=True)})),
    ("a certificate of a test machine, which the policy takes",
     CERTIFIED.changed(policy=_WAIVED, leaf={"extensions": gce_instance(production=False)})),
    ("the report of an SVSM vouches",
     GOOD.changed(platform=platform("sev-snp-svsm"), extra_items=SVSM_ITEM, endorsements=lambda _: {})),
    ("Azure's runtime data vouches",
     GOOD.changed(platform=platform("azure-tdx"), extra_items=AZURE_ITEM, endorsements=lambda _: {})),
    ("an AK of RSA", GOOD.changed(tpm=SoftwareTpm(ak_key=rsa_key(2048)))),
    ("an AK of RSA-PSS", GOOD.changed(
        tpm=SoftwareTpm(ak_key=rsa_key(2048), ak_scheme=Scheme(SchemeId.RSAPSS, HashAlgorithm.SHA384)))),
    ("an AK on P-384", GOOD.changed(tpm=SoftwareTpm(ak_key=published_key("AK", EccCurve.P384)))),
    ("an endorsement key of RSA", GOOD.changed(tpm=SoftwareTpm(ek_key=rsa_key(2048)))),
    ("sections are listed", GOOD.changed(policy=relaxed(uki_sections=sections()))),
    ("PCRs are pinned, and nothing is listed", GOOD.changed(
        policy=GOOD.policy.replace(boot_applications=(), kernel_command_lines=(), uki_sections={}))),
    ("nothing about the boot is demanded, and Secure Boot is off",
     GOOD.changed(policy=_WAIVED, tpm=SoftwareTpm(boot=evolve(BOOT, secure_boot=False)))),
    ("nothing about the boot is demanded, and the log shows nothing",
     GOOD.changed(policy=_WAIVED, tpm=SoftwareTpm(boot=OtherBoot(change=lambda events: events[:1])))),
)  # fmt: skip
"""What has to be accepted."""

BASELINES: Final = tuple(Baseline(name, scene.verify) for name, scene in GOOD_SCENES)
