"""A maker of TPMs that anybody can be, a registrar, and a TPM in software. All private keys are published here.

Certificates, statements and TPM structures are bit for bit of the real form, and the production verifier reads them;
only the names, the critical mark and the root are others. The demo's swtpm gets its EK certificate from this maker.
`SoftwareTpm` signs whatever it is told to: what a verifier has to refuse is made by changing one field before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Final

from attrs import evolve, field, frozen
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confsec.errors import DecodeError, EvidenceError
from confsec.protocol.policy import UNSAFE_ANY
from confsec.protocol.wire import Reader
from confsec.tee.der import encode_tlv
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.simulated.issue import (
    CERT_SIGN,
    CRL_SIGN,
    SIMULATED_MARK,
    Signer,
    basic_constraints,
    encode_oid,
    issue_certificate,
    key_usage,
    make_name,
    public_key_info,
)
from confsec.tee.simulated.roots import SIMULATED_TPM_REGISTRARS, SIMULATED_TPM_ROOTS
from confsec.tee.tpm.certificates import EK_CERTIFICATE_PURPOSE
from confsec.tee.tpm.credential import IDENTITY, Credential, kdf_a, kdf_e, wrap_credential
from confsec.tee.tpm.evidence import TpmKey, TpmQuote
from confsec.tee.tpm.keys import DEFAULT_PCRS
from confsec.tee.tpm.policy import TpmPolicy
from confsec.tee.tpm.registrar import Registrar
from confsec.tee.tpm.simulated_boot import SimulatedBoot
from confsec.tee.tpm.structures import (
    ALG_NULL,
    Attest,
    AttestType,
    Attributes,
    ClockInfo,
    CreationData,
    CreationInfo,
    EccCurve,
    EccKey,
    PcrSelection,
    PublicArea,
    QuoteInfo,
    RsaKey,
    Scheme,
    SchemeId,
    Symmetric,
    TpmSignature,
    pcr_policy_digest,
)
from confsec.tee.x509 import EXTENDED_KEY_USAGE, SUBJECT_ALTERNATIVE_NAME, Certificate, Extension, Name, encode_chain

__all__ = [
    "AK_ATTRIBUTES",
    "REQUEST_KEY_ATTRIBUTES",
    "SIMULATED_REGISTRAR_KEY",
    "UNSAFE_SIMULATED_TPM",
    "VALID",
    "PrivateKey",
    "SimulatedTpmMaker",
    "SoftwareTpm",
    "ek_alternative_name",
    "public_area",
    "published_key",
    "purpose",
    "simulated_registrar",
    "tpm_name",
]

VALID: Final = (datetime(2025, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC))
"""From and until when every certificate is valid, if nothing else is asked for."""

AK_ATTRIBUTES: Final = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.USER_WITH_AUTH
    | Attributes.RESTRICTED
    | Attributes.SIGN
)
"""What an attestation key has."""

REQUEST_KEY_ATTRIBUTES: Final = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.ADMIN_WITH_POLICY
    | Attributes.NO_DA
    | Attributes.DECRYPT
)
"""What a request key has: 0x000204b2."""

_EK_ATTRIBUTES: Final = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.ADMIN_WITH_POLICY
    | Attributes.RESTRICTED
    | Attributes.DECRYPT
)
_EK_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
"""PolicySecret of the endorsement hierarchy (TCG EK Credential Profile 2.5, annex B.3)."""

_HASHES: Final = {
    HashAlgorithm.SHA1: hashes.SHA1(),  # noqa: S303 - so that a test can show what is refused
    HashAlgorithm.SHA256: hashes.SHA256(),
    HashAlgorithm.SHA384: hashes.SHA384(),
    HashAlgorithm.SHA512: hashes.SHA512(),
}
_EC_CURVES: Final = {EccCurve.P256: ec.SECP256R1(), EccCurve.P384: ec.SECP384R1()}
_DIGITAL_SIGNATURE: Final = 0
_KEY_ENCIPHERMENT: Final = 2
_KEY_AGREEMENT: Final = 4
_TPM_NAMES: Final = (
    ("2.23.133.2.1", "id:00000000"),
    ("2.23.133.2.2", "SIMULATED"),
    ("2.23.133.2.3", "id:00000001"),
)
_ENDORSEMENT_HIERARCHY: Final = bytes.fromhex("4000000b")
_FIRMWARE: Final = 0x0001_0002_0003_0004

_BOOT: Final = SimulatedBoot()
_PINNED_PCRS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""What can be a key of the TPM in software."""


def tpm_name(common_name: str) -> Name:
    """Return a name that says that it is nobody's."""
    return make_name(
        (
            ("2.5.4.10", "confsec simulated TEE"),
            ("2.5.4.11", "SIMULATED - NOT A TPM VENDOR"),
            ("2.5.4.3", common_name),
        )
    )


@cache
def published_key(label: str, curve: EccCurve = EccCurve.P256) -> ec.EllipticCurvePrivateKey:
    """Return a private key that follows from its label: anybody can have it."""
    return ec.derive_private_key(
        int.from_bytes(sha256(f"confsec simulated {label}".encode()).digest()), _EC_CURVES[curve]
    )


def purpose(oid: str) -> Mapping[str, Extension]:
    """Make an extended key usage of one purpose."""
    return {EXTENDED_KEY_USAGE: Extension(critical=False, value=encode_tlv(0x30, encode_oid(oid)))}


def ek_alternative_name(
    names: tuple[tuple[str, str], ...] = _TPM_NAMES, *, critical: bool = True
) -> Mapping[str, Extension]:
    """Make the alternative name of an EK's certificate: manufacturer, model and version."""
    value = encode_tlv(0x30, encode_tlv(0xA4, make_name(names).encoded))
    return {SUBJECT_ALTERNATIVE_NAME: Extension(critical=critical, value=value)}


@frozen
class SimulatedTpmMaker:
    """A maker of TPMs with a root and an intermediate, both constants: it certifies whatever key it is given."""

    root_label: str = "TPM root"
    """What the root's key follows from. Another one makes a maker whom nobody trusts."""

    @property
    def root_signer(self) -> Signer:
        """The root's key."""
        return Signer(tpm_name("SIM TPM Root"), published_key(self.root_label, EccCurve.P384), digest="SHA384")

    @property
    def signer(self) -> Signer:
        """The intermediate's key."""
        return Signer(tpm_name("SIM TPM Intermediate"), published_key("TPM intermediate"))

    @property
    def root(self) -> Certificate:
        """The root."""
        return _issue_authority(self.root_signer, self.root_signer)

    @property
    def intermediate(self) -> Certificate:
        """The intermediate, below which no authority may stand."""
        return self.issue_authority(path_length=0)

    def issue_authority(
        self,
        *,
        ca: bool = True,
        path_length: int | None = None,
        usage: tuple[int, ...] = (CERT_SIGN, CRL_SIGN),
        valid: tuple[datetime, datetime] = VALID,
        extensions: Mapping[str, Extension] | None = None,
    ) -> Certificate:
        """Issue a certificate of the intermediate."""
        constraints = basic_constraints(ca=ca, path_length=path_length)
        return issue_certificate(
            self.root_signer,
            subject=self.signer.name,
            public_key=public_key_info(self.signer.key),
            serial=2,
            valid=valid,
            extensions={**constraints, **key_usage(*usage), **SIMULATED_MARK, **(extensions or {})},
        )

    def issue_ek_certificate(
        self,
        public_key: bytes,
        *,
        signer: Signer | None = None,
        valid: tuple[datetime, datetime] = VALID,
        extensions: Mapping[str, Extension] | None = None,
    ) -> Certificate:
        """Issue the certificate of an endorsement key, given as SubjectPublicKeyInfo.

        `extensions` replaces those of the profile that it names.
        """
        return issue_certificate(
            signer or self.signer,
            subject=make_name(()),
            public_key=public_key,
            serial=int.from_bytes(sha256(public_key).digest()[:8]),
            valid=valid,
            extensions={
                **basic_constraints(ca=False),
                **key_usage(_KEY_ENCIPHERMENT, _KEY_AGREEMENT),
                **purpose(EK_CERTIFICATE_PURPOSE),
                **ek_alternative_name(),
                **SIMULATED_MARK,
                **(extensions or {}),
            },
        )

    def issue_ak_certificate(
        self,
        public_key: bytes,
        *,
        valid: tuple[datetime, datetime] = VALID,
        extensions: Mapping[str, Extension] | None = None,
    ) -> Certificate:
        """Issue the certificate of an attestation key, as a cloud does. The key is given as SubjectPublicKeyInfo."""
        return issue_certificate(
            self.signer,
            subject=tpm_name("SIM AK"),
            public_key=public_key,
            serial=int.from_bytes(sha256(public_key).digest()[:8]),
            valid=valid,
            extensions={
                **basic_constraints(ca=False),
                **key_usage(_DIGITAL_SIGNATURE),
                **SIMULATED_MARK,
                **(extensions or {}),
            },
        )

    def chain(self, leaf: Certificate) -> bytes:
        """Return the endorsement that leads from a leaf to the root."""
        return encode_chain((leaf, self.intermediate, self.root))


def _issue_authority(signer: Signer, subject: Signer) -> Certificate:
    return issue_certificate(
        signer,
        subject=subject.name,
        public_key=public_key_info(subject.key),
        serial=1,
        valid=VALID,
        extensions={**basic_constraints(ca=True), **key_usage(CERT_SIGN, CRL_SIGN), **SIMULATED_MARK},
    )


_REGISTRAR: Final = Ed25519PrivateKey.from_private_bytes(sha256(b"confsec simulated TPM registrar").digest())

SIMULATED_REGISTRAR_KEY: Final = _REGISTRAR.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
"""The registrar's public key."""


def simulated_registrar() -> Registrar:
    """Return the registrar whom nobody should believe: it registers TPMs of the simulated maker."""
    return Registrar(SIMULATED_TPM_ROOTS, SIMULATED_REGISTRAR_KEY, _REGISTRAR.sign)


# --- A TPM in software ------------------------------------------------------------------------------------------------


def public_area(key: PrivateKey, /, **members: object) -> PublicArea:
    """Return the TPMT_PUBLIC of a key with these members."""
    numbers = key.public_key().public_numbers()
    if isinstance(numbers, rsa.RSAPublicNumbers):
        size = (numbers.n.bit_length() + 7) // 8
        unique: EccKey | RsaKey = RsaKey(
            8 * size, numbers.n.to_bytes(size, "big"), 0 if numbers.e == 65537 else numbers.e
        )
    else:
        curve = EccCurve.P256 if numbers.curve.name == "secp256r1" else EccCurve.P384
        unique = EccKey(curve, numbers.x.to_bytes(curve.size, "big"), numbers.y.to_bytes(curve.size, "big"))
    return PublicArea(**{"name_algorithm": HashAlgorithm.SHA256, "key": unique, **members})  # type: ignore[arg-type]  # attrs checks the names


@frozen(kw_only=True)
class SoftwareTpm:
    """A TPM without a chip. Its PCRs are those that a boot has left, and its keys are in this process."""

    ek_key: PrivateKey = field(factory=lambda: published_key("TPM endorsement key"), repr=False)
    """The endorsement key: RSA, P-256 or P-384."""

    ak_key: PrivateKey = field(factory=lambda: published_key("TPM attestation key"), repr=False)
    """The attestation key: ECC or RSA."""

    request_key: PrivateKey = field(factory=lambda: published_key("TPM request key"), repr=False)
    """What will be half of the node's key."""

    ak_attributes: Attributes = AK_ATTRIBUTES

    ak_scheme: Scheme | None = None
    """ECDSA or RSASSA with SHA-256, if nothing else is asked for."""

    ak_name_algorithm: HashAlgorithm = HashAlgorithm.SHA256

    boot: SimulatedBoot = _BOOT
    """What was booted."""

    extended: Mapping[int, bytes] = field(factory=dict)
    """Digests that somebody extended into PCRs since then, and that no log has."""

    @property
    def bank(self) -> HashAlgorithm:
        """The only bank of PCRs."""
        return HashAlgorithm.SHA256

    @property
    def ek(self) -> PublicArea:
        """The endorsement key's public area, as the profile's templates have it."""
        return public_area(
            self.ek_key,
            attributes=_EK_ATTRIBUTES,
            auth_policy=_EK_POLICY,
            symmetric=Symmetric(0x0006, 128, 0x0043),
        )

    @property
    def ak(self) -> PublicArea:
        """The attestation key's public area."""
        scheme = SchemeId.RSASSA if isinstance(self.ak_key, rsa.RSAPrivateKey) else SchemeId.ECDSA
        return public_area(
            self.ak_key,
            name_algorithm=self.ak_name_algorithm,
            attributes=self.ak_attributes,
            scheme=self.ak_scheme or Scheme(scheme, HashAlgorithm.SHA256),
        )

    def log(self) -> bytes:
        """Return the event log."""
        return self.boot.log().encode()

    def pcrs(self) -> dict[int, bytes]:
        """Return the values of PCRs 0 to 23."""
        size = self.bank.digest_size
        reset = {pcr: (b"\xff" if 17 <= pcr <= 22 else b"\x00") * size for pcr in range(24)}
        values = reset | self.boot.log().replay(self.bank)
        return values | {pcr: self.bank.digest(values[pcr] + digest) for pcr, digest in self.extended.items()}

    def values(self, selection: PcrSelection) -> tuple[bytes, ...]:
        """Return the values of the selected PCRs in order."""
        pcrs = self.pcrs()
        return tuple(pcrs[index] for index in selection.indices)

    def request_public(self, selection: PcrSelection, **changes: object) -> PublicArea:
        """Return the request key's public area: usable while the selected PCRs hold what they hold now."""
        policy = pcr_policy_digest((selection,), self.values(selection), hash_algorithm=HashAlgorithm.SHA256)
        members = {"attributes": REQUEST_KEY_ATTRIBUTES, "auth_policy": policy}
        return public_area(self.request_key, **(members | changes))

    def quote(self, qualifying_data: bytes, selection: PcrSelection, **changes: object) -> TpmQuote:
        """Do TPM2_Quote. `changes` are members of the TPMS_ATTEST."""
        values = self.values(selection)
        info = QuoteInfo((selection,), self.signature_hash.digest(b"".join(values)))
        attest = self.attest(AttestType.QUOTE, qualifying_data, info, **changes)
        return TpmQuote(attest=attest, signature=self.sign(attest), selections=(selection,), values=values)

    def certify_creation(self, public: PublicArea, qualifying_data: bytes, **changes: object) -> TpmKey:
        """Do TPM2_CertifyCreation for a key that was just created. `changes` are members of the TPMS_ATTEST."""
        creation = CreationData(
            parent_name_algorithm=ALG_NULL,
            parent_name=_ENDORSEMENT_HIERARCHY,
            parent_qualified_name=_ENDORSEMENT_HIERARCHY,
        ).encode()
        info = CreationInfo(public.name, public.name_algorithm.digest(creation))
        attest = self.attest(AttestType.CREATION, qualifying_data, info, **changes)
        return TpmKey(public=public, creation_data=creation, attest=attest, signature=self.sign(attest))

    def attest(
        self, kind: AttestType, qualifying_data: bytes, info: QuoteInfo | CreationInfo, /, **changes: object
    ) -> bytes:
        """Return a TPMS_ATTEST, ready to be signed."""
        attest = Attest(
            type=kind,
            qualified_signer=self._qualified_name,
            extra_data=qualifying_data,
            clock=ClockInfo(clock=123_456, reset_count=7, restart_count=0, safe=True),
            firmware_version=_FIRMWARE,
            attested=info,
        )
        return evolve(attest, **changes).encode()  # type: ignore[arg-type]  # attrs checks the names

    @property
    def signature_hash(self) -> HashAlgorithm:
        """The hash that the AK signs with, which is that of the quote's PCR digest, too."""
        return HashAlgorithm(self.ak.scheme.hash_algorithm or HashAlgorithm.SHA256)

    def sign(self, data: bytes) -> TpmSignature:
        """Sign with the AK, whatever it is."""
        algorithm = self.signature_hash
        digest = _HASHES[algorithm]
        if isinstance(self.ak_key, ec.EllipticCurvePrivateKey):
            size = (self.ak_key.key_size + 7) // 8
            der = self.ak_key.sign(data, ec.ECDSA(digest, deterministic_signing=True))
            numbers = tuple(each.to_bytes(size, "big") for each in decode_dss_signature(der))
            return TpmSignature(SchemeId.ECDSA, algorithm, numbers)
        if self.ak.scheme.algorithm == SchemeId.RSAPSS:
            pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
            return TpmSignature(SchemeId.RSAPSS, algorithm, (self.ak_key.sign(data, pss, digest),))
        return TpmSignature(SchemeId.RSASSA, algorithm, (self.ak_key.sign(data, padding.PKCS1v15(), digest),))

    def activate_credential(self, credential: Credential) -> bytes:
        """Do TPM2_ActivateCredential. Raises `EvidenceError` for what is not for this EK and this AK."""
        reader = Reader(credential.encrypted_secret)
        seed = self._open_seed(reader.vector(2))
        ek, blob = self.ek, Reader(Reader(credential.id_object).vector(2))
        blob.vector(2)
        key = kdf_a(ek.name_algorithm, seed, b"STORAGE", self.ak.name, b"", ek.symmetric.key_bits)
        decryptor = Cipher(AES(key), CFB(bytes(16))).decryptor()
        secret = Reader(decryptor.update(blob.rest()) + decryptor.finalize())
        try:
            opened = secret.vector(2)
            secret.finish()
        except DecodeError as exc:
            raise EvidenceError("a credential is for another TPM or another AK") from exc
        if wrap_credential(ek, self.ak.name, opened, seed) != credential.id_object:
            raise EvidenceError("a credential is for another TPM or another AK")
        return opened

    def _open_seed(self, encrypted: bytes) -> bytes:
        ek = self.ek
        if isinstance(self.ek_key, rsa.RSAPrivateKey):
            digest = _HASHES[ek.name_algorithm]
            return self.ek_key.decrypt(encrypted, padding.OAEP(padding.MGF1(digest), digest, IDENTITY + b"\x00"))
        reader, curve = Reader(encrypted), self.ek_key.curve
        x, y = reader.vector(2), reader.vector(2)
        peer = ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + x + y)
        z, own = self.ek_key.exchange(ec.ECDH(), peer), self.ek_key.public_key().public_numbers().x
        party_v = own.to_bytes(len(z), "big")
        return kdf_e(ek.name_algorithm, z, IDENTITY, x, party_v, 8 * ek.name_algorithm.digest_size)

    @property
    def _qualified_name(self) -> bytes:
        """The AK is a primary key of the endorsement hierarchy (Part 1, section 16)."""
        name = self.ak.name
        return name[:2] + self.ak.name_algorithm.digest(_ENDORSEMENT_HIERARCHY + name)


UNSAFE_SIMULATED_TPM: Final = TpmPolicy(
    trust_anchors=tuple(sorted(SIMULATED_TPM_ROOTS)),
    registrars=tuple(sorted(SIMULATED_TPM_REGISTRARS)),
    maximum_statement_age=timedelta(days=30),
    bank=HashAlgorithm.SHA256,
    pcr_selection=DEFAULT_PCRS,
    pcr_values={pcr: (value,) for pcr, value in SoftwareTpm().pcrs().items() if pcr in _PINNED_PCRS},
    boot_applications=(_BOOT.application,),
    kernel_command_lines=(_BOOT.command_line,),
    uki_sections=UNSAFE_ANY,
    unsafe_allow_no_secure_boot=False,
    unsafe_allow_no_production=False,
)
"""What the demo demands of its swtpm. Only a constant of this package may hold it: no file can."""
