"""EAR, the result of an appraisal as others read it: a JWT or a CWT (draft-ietf-rats-ear).

A result names its verifier and its time, and has an appraisal for each attester that was looked at: a tier, the
trustworthiness vector behind it, and what the verifier learned. Its profile says how claims are named. Two families
are known: that of the draft, in which new results are written, and that of Veraison, which is older and has other
names. A result that uses names of the other family is refused, not guessed at.

    result = Ear(issued_at=now, verifier=VerifierId("confsec", "0.1"), appraisals={"node": EarAppraisal(...)})
    token = result.to_jwt(private_key)
    Ear.from_jwt(token, public_key, at=now)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, Self, TypeVar, final

from attrs import field, frozen

from confsec.errors import DecodeError, UnsupportedError, VerificationError
from confsec.protocol import cbor_general, cose, jose, json_general
from confsec.protocol.ar4si import TRUST_CLAIMS, TrustTier, TrustVector, worst_tier
from confsec.protocol.cbor_general import as_map
from confsec.protocol.claim_tables import MAX_CLAIMS, Claim, ClaimCodec, Claims, ClaimTable, binary, same_in_both
from confsec.protocol.claims import EAT_CLAIMS
from confsec.protocol.cmw_messages import RecordCmw, cmw_from_cbor, cmw_from_json, cmw_to_cbor, cmw_to_json
from confsec.protocol.cose import sign1, verify_sign1
from confsec.protocol.eat_tokens import decode_cwt
from confsec.protocol.jose import Jws, sign_jws, verify_jws
from confsec.protocol.json_general import as_object
from confsec.protocol.signatures import PublicKey, SigningKey, default_algorithm

__all__ = ["EAR_PROFILE", "MAX_APPRAISALS", "Ear", "EarAppraisal", "EarProfile", "VerifierId"]

MAX_APPRAISALS: Final = 64
"""A result has at most so many appraisals."""

_SECTION: Final = "draft-ietf-rats-ear, section 3"
_NONCE_SIZES: Final = range(8, 65)
_HEADER_TYPE: Final = 16  # typ of COSE (RFC 9596), which says of a token what it is, as in JOSE
_T = TypeVar("_T")


class EarProfile(Enum):
    """Which names and forms a result uses."""

    VERAISON = "tag:github.com,2023:veraison/ear"
    """The one of the Veraison project: names with dots, one policy."""

    DRAFT_03 = "tag:ietf.org,2026:rats/ear#03"
    """The draft, revision 03: raw evidence is bytes."""

    DRAFT_04 = "tag:ietf.org,2026:rats/ear#04"
    """The draft, revision 04: raw evidence is a CMW record."""

    DRAFT_05 = "tag:ietf.org,2026:rats/ear#05"
    """The draft, revision 05: the same claims as 04."""

    @property
    def wraps_evidence(self) -> bool:
        """Whether raw evidence is a CMW record, rather than bytes."""
        return self in {EarProfile.DRAFT_04, EarProfile.DRAFT_05}


EAR_PROFILE: Final = EarProfile.DRAFT_04
"""The profile of new results: the newest revision that was published when this was written."""


@final
@frozen
class VerifierId:
    """Who appraised (AR4SI, section 2.2.2)."""

    developer: str
    """Who made the verifier: a URI or a name."""

    build: str
    """Which software it is."""


@final
@frozen(kw_only=True)
class EarAppraisal:
    """What came of looking at one attester."""

    status: TrustTier
    """No better than the worst tier in the vector."""

    trust_vector: TrustVector | None = None
    """Why. Only whoever asked for the appraisal may have wanted it left out."""

    policy_ids: tuple[str, ...] = ()
    """The policies that were applied, in their order. Veraison's profile has at most one."""

    profile: str = ""
    """What says how to read the claims here: a URI or an OID, or nothing."""

    nonce: bytes | None = None
    """The nonce in the evidence: 8 to 64 bytes. It says how fresh the evidence is."""

    attester_claims: Claims = field(factory=dict)
    """What the attester says, from the evidence."""

    verifier_claims: Claims = field(factory=dict)
    """What the verifier says, from its policy."""

    extensions: Claims = field(factory=dict)
    """Any other claim, as it came."""

    def __attrs_post_init__(self) -> None:
        if self.trust_vector is not None and self.status.trust > self.trust_vector.tier.trust:
            raise DecodeError(
                "the status of an appraisal is better than its trustworthiness vector",
                got=self.status.word,
                want=self.trust_vector.tier.word,
                section=_SECTION,
            )


@final
@frozen(kw_only=True)
class Ear:
    """An attestation result."""

    issued_at: datetime
    """When: aware, in whole seconds."""

    verifier: VerifierId

    appraisals: Mapping[str, EarAppraisal]
    """At least one, by the label of its attester."""

    status: TrustTier | None = None
    """For all attesters together: no better than the worst of them. None where the verifier leaves it to the reader."""

    expires: datetime | None = None
    """From when on it may not be used."""

    nonce: bytes | None = None
    """What whoever asked sent along: 8 to 64 bytes. It says how fresh the result is."""

    raw_evidence: RecordCmw | bytes | None = field(default=None, repr=False)
    """The evidence. Which of the two forms it has, the profile says. It may tell who the attester is: leave it out."""

    topology: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """Which attesters are parts of which, by label."""

    profile: EarProfile = EAR_PROFILE

    extensions: Claims = field(factory=dict)
    """Any other claim, as it came."""

    def __attrs_post_init__(self) -> None:
        if not 0 < len(self.appraisals) <= MAX_APPRAISALS:
            raise DecodeError("a result has no appraisals, or too many", got=len(self.appraisals), section=_SECTION)
        for at in (self.issued_at, self.expires):
            if at is not None and (at.tzinfo is None or at.microsecond):
                raise DecodeError("a time is not in whole seconds with a time zone", section="RFC 9711, section 4.3.1")
        worst = self.worst_status
        if self.status is not None and self.status.trust > worst.trust:
            raise DecodeError(
                "the status of a result is better than its appraisals",
                got=self.status.word,
                want=worst.word,
                section=_SECTION,
            )

    @property
    def worst_status(self) -> TrustTier:
        """The tier of least trust among the appraisals; an attester of which nothing is said is not affirmed."""
        tiers = [appraisal.status for appraisal in self.appraisals.values()]
        worst = worst_tier(tiers)
        return TrustTier.NONE if TrustTier.NONE in tiers and worst is TrustTier.AFFIRMING else worst

    def verify_current(self, at: datetime) -> None:
        """Check that the result may be used at a time. Raises `VerificationError` if it may no longer."""
        if self.expires is not None and at >= self.expires:
            raise VerificationError("a result has expired", got=self.expires.isoformat(), section=_SECTION)

    # --- JWT

    def to_jwt(self, key: SigningKey, *, algorithm: str | None = None) -> str:
        """Sign the result as a JWT. The algorithm is the one of the key, unless another is named."""
        header = {"typ": "eat+jwt"}
        name = algorithm or default_algorithm(key)
        return sign_jws(self.to_json(), key, algorithm=name, header=header).encode()

    @classmethod
    def from_jwt(
        cls,
        token: str,
        key: PublicKey,
        *,
        at: datetime | None = None,
        algorithms: Collection[str] = jose.DEFAULT_ALGORITHMS,
    ) -> Self:
        """Check the signature of a JWT with the verifier's key, and return the result.

        `at` is when it is used; without it, whether it has expired is left to `verify_current`. Raises
        `VerificationError`, `DecodeError`, and `UnsupportedError` for another profile.
        """
        return cls.from_json(verify_jws(Jws.decode(token), key, algorithms=algorithms).payload)._at(at)  # noqa: SLF001

    def to_json(self) -> bytes:
        """Return the claims in JSON, without a signature."""
        return json_general.encode(_TABLES[self.profile].to_json(self._to_claims()))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read the claims in JSON. Nobody signed them. Raises `DecodeError` and `UnsupportedError`."""
        members = as_object(json_general.decode(data, what="a result", limit=MAX_CLAIMS), what="a result")
        profile = _find_profile(members.get("eat_profile"))
        return cls._from_claims(_TABLES[profile].from_json(members), profile)

    # --- CWT

    def to_cwt(self, key: SigningKey, *, algorithm: str | None = None) -> bytes:
        """Sign the result as a CWT: a COSE_Sign1 with its tag. The algorithm is as in `to_jwt`."""
        name = algorithm or default_algorithm(key)
        return sign1(self.to_cbor(), key, algorithm=name, protected={_HEADER_TYPE: "application/eat+cwt"}).encode()

    @classmethod
    def from_cwt(
        cls,
        token: bytes,
        key: PublicKey,
        *,
        at: datetime | None = None,
        algorithms: Collection[str] = cose.DEFAULT_ALGORITHMS,
    ) -> Self:
        """Check the signature of a CWT with the verifier's key, and return the result, as `from_jwt` does."""
        return cls.from_cbor(verify_sign1(decode_cwt(token), key, algorithms=algorithms))._at(at)  # noqa: SLF001

    def to_cbor(self) -> bytes:
        """Return the claims in CBOR, without a signature."""
        return cbor_general.encode(_TABLES[self.profile].to_cbor(self._to_claims()))

    @classmethod
    def from_cbor(cls, data: bytes) -> Self:
        """Read the claims in CBOR. Nobody signed them. Raises `DecodeError` and `UnsupportedError`."""
        members = as_map(cbor_general.decode(data, what="a result", limit=MAX_CLAIMS), what="a result")
        profile = _find_profile(members.get(265))
        return cls._from_claims(_TABLES[profile].from_cbor(members), profile)

    # --- Claims

    def _at(self, at: datetime | None) -> Self:
        if at is not None:
            self.verify_current(at)
        return self

    def _to_claims(self) -> Claims:
        """Return the claims by our names for them; those that say nothing are left out."""
        claims = {
            "eat_profile": self.profile.value,
            "iat": int(self.issued_at.timestamp()),
            "exp": None if self.expires is None else int(self.expires.timestamp()),
            "ear_verifier_id": self.verifier,
            "ear_status": self.status,
            "ear_raw_evidence": self.raw_evidence,
            "eat_nonce": self.nonce,
            "ear_device_topology": self.topology or None,
            "submods": {label: _appraisal_claims(appraisal) for label, appraisal in self.appraisals.items()},
        }
        return _joined(self.extensions, claims)

    @classmethod
    def _from_claims(cls, claims: Claims, profile: EarProfile) -> Self:
        rest = _Rest(claims, profile)
        rest.take("eat_profile", str)
        return cls(
            profile=profile,
            issued_at=_datetime(rest.take("iat", int)),
            expires=_datetime(expires) if (expires := rest.take_if("exp", int)) is not None else None,
            verifier=rest.take("ear_verifier_id", VerifierId),
            status=rest.take_if("ear_status", TrustTier),
            raw_evidence=rest.take_evidence(),
            nonce=rest.take_if("eat_nonce", bytes),
            topology=rest.take_if("ear_device_topology", dict) or {},
            appraisals={label: _appraisal(claims, profile) for label, claims in rest.take("submods", dict).items()},
            extensions=rest.others(),
        )


def _find_profile(value: object) -> EarProfile:
    for profile in EarProfile:
        if value == profile.value:
            return profile
    raise UnsupportedError("a result of a profile that we do not know", want=EAR_PROFILE.value, section=_SECTION)


def _datetime(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _joined(extensions: Claims, claims: Mapping[str, Any]) -> Claims:
    """Put claims together. What says nothing is left out, and no extension takes the place of a claim."""
    joined: dict[str | int, Any] = dict(extensions.items())
    joined.update((name, value) for name, value in claims.items() if value is not None)
    return joined


def _appraisal_claims(appraisal: EarAppraisal) -> Claims:
    claims = {
        "eat_profile": appraisal.profile or None,
        "ear_status": appraisal.status,
        "ear_trustworthiness_vector": appraisal.trust_vector,
        "ear_appraisal_policy_ids": appraisal.policy_ids or None,
        "eat_nonce": appraisal.nonce,
        "ear_attester_claims": appraisal.attester_claims or None,
        "ear_verifier_claims": appraisal.verifier_claims or None,
    }
    return _joined(appraisal.extensions, claims)


def _appraisal(claims: object, profile: EarProfile) -> EarAppraisal:
    if not isinstance(claims, dict):
        raise DecodeError("an appraisal is a token of its own, or a digest", want="a claims-set", section=_SECTION)
    rest = _Rest(claims, profile)
    return EarAppraisal(
        profile=rest.take_if("eat_profile", str) or "",
        status=rest.take("ear_status", TrustTier),
        trust_vector=rest.take_if("ear_trustworthiness_vector", TrustVector),
        policy_ids=rest.take_if("ear_appraisal_policy_ids", tuple) or (),
        nonce=rest.take_if("eat_nonce", bytes),
        attester_claims=rest.take_if("ear_attester_claims", dict) or {},
        verifier_claims=rest.take_if("ear_verifier_claims", dict) or {},
        extensions=rest.others(),
    )


@final
class _Rest:
    """The claims of a claims-set that nobody took so far."""

    def __init__(self, claims: Claims, profile: EarProfile) -> None:
        self._claims: Final[dict[str | int, Any]] = dict(claims.items())
        self._profile: Final = profile
        mixed = sorted(_FOREIGN_NAMES[profile].intersection(map(str, claims)))
        if mixed:
            raise DecodeError("a result mixes the names of two profiles", got=", ".join(mixed), section=_SECTION)

    def take(self, name: str, kind: type[_T]) -> _T:
        """Take a claim that has to be there."""
        value = self.take_if(name, kind)
        if value is None:
            raise DecodeError("a result lacks a claim", want=name, section=_SECTION)
        return value

    def take_if(self, name: str, kind: type[_T]) -> _T | None:
        """Take a claim if it is there."""
        value = self._claims.pop(name, None)
        if value is not None and not isinstance(value, kind):
            raise DecodeError("a claim is not of the kind that a result has", got=name, section=_SECTION)
        return value

    def take_evidence(self) -> RecordCmw | bytes | None:
        """Take the evidence, if it is there, in the form that the profile gives it."""
        name = "ear_raw_evidence"
        return self.take_if(name, RecordCmw) if self._profile.wraps_evidence else self.take_if(name, bytes)

    def others(self) -> Claims:
        """Return the rest: a receiver ignores what it does not know."""
        return self._claims


# --- How claims are written -------------------------------------------------------------------------------------------


def _verifier(value: object, developer: Any, build: Any) -> VerifierId:
    members: Mapping[Any, Any] = value if isinstance(value, Mapping) else {}
    if members.keys() != {developer, build} or not all(isinstance(each, str) for each in members.values()):
        raise DecodeError("a verifier is named by its developer and its build", section=_SECTION)
    return VerifierId(members[developer], members[build])


_VERIFIER: Final = ClaimCodec(
    from_cbor=lambda _, value: _verifier(value, 0, 1),
    from_json=lambda _, value: _verifier(value, "developer", "build"),
    to_cbor=lambda _, value: {0: value.developer, 1: value.build},
    to_json=lambda _, value: {"developer": value.developer, "build": value.build},
)

_STATUS: Final = ClaimCodec(
    from_cbor=lambda _, value: TrustTier.from_number(value),
    from_json=lambda _, value: TrustTier.from_word(value),
    to_cbor=lambda _, value: int(value),
    to_json=lambda _, value: value.word,
)


def _vector(value: object, read: Callable[[Any], TrustVector]) -> TrustVector:
    if not isinstance(value, dict):
        raise DecodeError("no trustworthiness vector", section=_SECTION)
    return read(value)


def _named_claims(value: Mapping[str, object]) -> TrustVector:
    """Read a vector that may have names of claims in place of their numbers, as Veraison's reader takes them."""
    return TrustVector.from_names(
        {aspect: TRUST_CLAIMS.get(aspect, {}).get(claim, (claim, ""))[0] if isinstance(claim, str) else claim
         for aspect, claim in value.items()}
    )  # fmt: skip


def _vector_codec(from_json: Callable[[Any], TrustVector]) -> ClaimCodec:
    return ClaimCodec(
        from_cbor=lambda _, value: _vector(value, TrustVector.from_numbers),
        from_json=lambda _, value: _vector(value, from_json),
        to_cbor=lambda _, value: value.to_numbers(),
        to_json=lambda _, value: dict(value.claims),
    )


def _policies(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(each, str) for each in value):
        raise DecodeError("no list of policies", section=_SECTION)
    return tuple(value)


_POLICIES: Final = ClaimCodec(
    from_cbor=lambda _, value: _policies(value),
    from_json=lambda _, value: _policies(value),
    to_cbor=lambda _, value: list(_policies(value)),
    to_json=lambda _, value: list(_policies(value)),
)


def _one_policy(value: object) -> tuple[str, ...]:
    if not isinstance(value, str):
        raise DecodeError("no policy", section=_SECTION)
    return (value,)


def _only(value: tuple[str, ...]) -> str:
    if len(value) != 1:
        raise DecodeError("this profile names one policy", got=len(value), section=_SECTION)
    return value[0]


_ONE_POLICY: Final = ClaimCodec(
    from_cbor=lambda _, value: _one_policy(value),
    from_json=lambda _, value: _one_policy(value),
    to_cbor=lambda _, value: _only(value),
    to_json=lambda _, value: _only(value),
)


def _record(value: object) -> RecordCmw:
    if not isinstance(value, RecordCmw):
        raise DecodeError("raw evidence is no CMW record", section=_SECTION)
    return value


_WRAPPED: Final = ClaimCodec(
    from_cbor=lambda _, value: _record(cmw_from_cbor(value)),
    from_json=lambda _, value: _record(cmw_from_json(value)),
    to_cbor=lambda _, value: cmw_to_cbor(_record(value)),
    to_json=lambda _, value: cmw_to_json(_record(value)),
)


def _claims_map(value: object) -> dict[str | int, Any]:
    """Return claims of attester or verifier, which mean nothing to us. JSON has names only."""
    if not isinstance(value, dict) or not value or any(isinstance(name, bytes) for name in value):
        raise DecodeError("no map of claims, or an empty one", section=_SECTION)
    return value


def _topology(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not value or not all(isinstance(label, str) for label in value):
        raise DecodeError("no topology, or an empty one", section=_SECTION)
    return {label: _policies(parts) for label, parts in value.items()}


_TOPOLOGY: Final = ClaimCodec(
    from_cbor=lambda _, value: _topology(value),
    from_json=lambda _, value: _topology(value),
    to_cbor=lambda _, value: {label: list(parts) for label, parts in value.items()},
    to_json=lambda _, value: {label: list(parts) for label, parts in value.items()},
)

_BYTES: Final = binary(range(1, MAX_CLAIMS))


def _draft_claims(raw_evidence: ClaimCodec) -> tuple[Claim, ...]:
    return (
        Claim("ear_status", 1000, _STATUS),
        Claim("ear_trustworthiness_vector", 1001, _vector_codec(TrustVector.from_names)),
        Claim("ear_raw_evidence", 1002, raw_evidence),
        Claim("ear_appraisal_policy_ids", 1003, _POLICIES),
        Claim("ear_verifier_id", 1004, _VERIFIER),
        Claim("ear_attester_claims", 1005, same_in_both(_claims_map)),
        Claim("ear_verifier_claims", 1006, same_in_both(_claims_map)),
        Claim("ear_device_topology", 1007, _TOPOLOGY),
    )


_VERAISON_CLAIMS: Final = (
    Claim("ear_status", 1000, _STATUS, "ear.status"),
    Claim("ear_trustworthiness_vector", 1001, _vector_codec(_named_claims), "ear.trustworthiness-vector"),
    Claim("ear_raw_evidence", 1002, _BYTES, "ear.raw-evidence"),
    Claim("ear_appraisal_policy_ids", 1003, _ONE_POLICY, "ear.appraisal-policy-id"),
    Claim("ear_verifier_id", 1004, _VERIFIER, "ear.verifier-id"),
)

_TABLES: Final[Mapping[EarProfile, ClaimTable]] = {
    EarProfile.VERAISON: EAT_CLAIMS.extended(_VERAISON_CLAIMS),
    EarProfile.DRAFT_03: EAT_CLAIMS.extended(_draft_claims(_BYTES)),
    EarProfile.DRAFT_04: EAT_CLAIMS.extended(_draft_claims(_WRAPPED)),
    EarProfile.DRAFT_05: EAT_CLAIMS.extended(_draft_claims(_WRAPPED)),
}

_FOREIGN_NAMES: Final[Mapping[EarProfile, frozenset[str]]] = {
    profile: frozenset(claim.in_json for claim in _VERAISON_CLAIMS)
    if profile is not EarProfile.VERAISON
    else frozenset(claim.name for claim in _draft_claims(_WRAPPED)) - {claim.name for claim in _VERAISON_CLAIMS}
    for profile in EarProfile
}
