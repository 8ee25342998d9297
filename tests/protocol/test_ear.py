"""Attestation results: what is written comes back, by profile; what no verifier would say is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, LocalProtocolError, UnsupportedError, VerificationError
from confsec.protocol import cbor_general, json_general
from confsec.protocol.ar4si import TRUST_CLAIMS, TrustTier, TrustVector, describe_claim, worst_tier
from confsec.protocol.cbor_general import CborItem
from confsec.protocol.cmw_messages import CollectionCmw, ConceptualMessage, RecordCmw
from confsec.protocol.cose import CoseSign1
from confsec.protocol.ear import EAR_PROFILE, Ear, EarAppraisal, EarProfile, VerifierId
from confsec.protocol.jose import Jws, public_key_from_jwk
from confsec.protocol.signatures import SigningKey
from confsec.testing import check_any_bytes
from tests.protocol.token_keys import ED25519, OTHER, P256, P384
from tests.support import OWN_VECTORS, load_vectors

NOW = datetime(2026, 11, 28, tzinfo=UTC)
VERIFIER = VerifierId("https://confsec.example", "confsec 0.1")
GOOD = TrustVector(hardware=2, executables=3, runtime_opaque=2)
EVIDENCE = RecordCmw("application/cmw+cbor", b"evidence", ConceptualMessage.EVIDENCE)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
CLAIM = st.none() | st.integers(-128, 127)
ASPECTS = ["instance_identity", "configuration", "executables", "file_system", "hardware", "runtime_opaque",
           "storage_opaque", "sourced_data"]  # fmt: skip
VECTORS = st.builds(TrustVector, **dict.fromkeys(ASPECTS, CLAIM)).filter(lambda vector: bool(vector.claims))
NONCES = st.none() | st.binary(min_size=8, max_size=64)
CLAIMS = st.dictionaries(TEXT, st.integers(-99, 99) | TEXT | st.booleans(), max_size=2)
PRIVATE = st.dictionaries(st.sampled_from(["x", "y", "vendor/z"]), st.fixed_dictionaries({"a": TEXT}), max_size=2)
TIMES = st.integers(0, 253_402_300_799).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
KEYS: list[SigningKey] = [P256, P384, ED25519]


def no_better(tier: TrustTier) -> st.SearchStrategy[TrustTier]:
    return st.sampled_from([each for each in TrustTier if each.trust <= tier.trust])


@st.composite
def appraisals(draw: st.DrawFn, profile: EarProfile) -> EarAppraisal:
    vector = draw(st.none() | VECTORS)
    draft = profile is not EarProfile.VERAISON
    return EarAppraisal(
        status=draw(no_better(vector.tier) if vector else st.sampled_from(TrustTier)),
        trust_vector=vector,
        policy_ids=tuple(draw(st.lists(TEXT, max_size=3 if draft else 1))),
        profile=draw(st.sampled_from(["", "tag:example.com,2026:tee#1", "1.2.3"])),
        nonce=draw(NONCES),
        attester_claims=draw(CLAIMS) if draft else {},
        verifier_claims=draw(CLAIMS) if draft else {},
        extensions=draw(PRIVATE),
    )


@st.composite
def results(draw: st.DrawFn) -> Ear:
    profile = draw(st.sampled_from(EarProfile))
    found = draw(st.dictionaries(TEXT, appraisals(profile), min_size=1, max_size=3))
    plain = Ear(issued_at=NOW, verifier=VERIFIER, appraisals=found)
    evidence: st.SearchStrategy[RecordCmw | bytes] = (
        st.just(EVIDENCE) if profile.wraps_evidence else st.binary(min_size=1, max_size=9)
    )
    topology = st.dictionaries(TEXT, st.lists(TEXT, min_size=1, max_size=2).map(tuple), max_size=2)
    return Ear(
        issued_at=draw(TIMES),
        verifier=VerifierId(draw(TEXT), draw(TEXT)),
        appraisals=found,
        status=draw(st.none() | no_better(plain.worst_status)),
        expires=draw(st.none() | TIMES),
        nonce=draw(NONCES),
        raw_evidence=draw(st.none() | evidence),
        topology=draw(topology) if profile is not EarProfile.VERAISON else {},
        profile=profile,
        extensions=draw(PRIVATE),
    )


def result(**changes: Any) -> Ear:
    appraisal = EarAppraisal(status=TrustTier.AFFIRMING, trust_vector=GOOD)
    return Ear(**{"issued_at": NOW, "verifier": VERIFIER, "appraisals": {"node": appraisal}, **changes})


def changed(**members: Any) -> bytes:
    """Return the JSON of a good result with other members; None takes one away."""
    claims = {**json.loads(result(status=TrustTier.AFFIRMING).to_json()), **members}
    return json_general.encode({name: value for name, value in claims.items() if value is not None})


# --- tiers and vectors


@pytest.mark.parametrize(
    "tier, claims",
    [
        (TrustTier.NONE, (-1, 0, 1)),
        (TrustTier.AFFIRMING, (2, 31, -2, -32)),
        (TrustTier.WARNING, (32, 95, -33, -96)),
        (TrustTier.CONTRAINDICATED, (96, 127, -97, -128)),
    ],
)
def test_claims_belong_to_tiers(tier: TrustTier, claims: tuple[int, ...]) -> None:
    assert {TrustTier.of_claim(claim) for claim in claims} == {tier}
    assert TrustTier.from_word(tier.word) is TrustTier.from_number(int(tier)) is tier


@pytest.mark.parametrize("value", ["unknown", "Affirming", "AFFIRMING", 2, None, ""])
def test_word_that_is_no_tier_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        TrustTier.from_word(value)


@pytest.mark.parametrize("value", [1, 3, -2, True, 2.0, "2", None])
def test_number_that_is_no_tier_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        TrustTier.from_number(value)


@given(VECTORS)
def test_vector_comes_back_by_names_and_numbers(vector: TrustVector) -> None:
    assert TrustVector.from_names(vector.claims) == TrustVector.from_numbers(vector.to_numbers()) == vector


def test_worst_claim_makes_the_tier_and_silence_does_not_count() -> None:
    assert TrustVector(hardware=2, executables=0).tier is TrustTier.AFFIRMING
    assert TrustVector(hardware=2, executables=33, file_system=-1).tier is TrustTier.WARNING
    assert TrustVector(hardware=99, executables=33).tier is TrustTier.CONTRAINDICATED
    assert TrustVector(hardware=0).tier is worst_tier([]) is TrustTier.NONE


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrustVector(hardware=128),
        lambda: TrustVector(hardware=-129),
        lambda: TrustVector(hardware=True),
        lambda: TrustVector.from_names({}),
        lambda: TrustVector.from_names({"speed": 2}),
        lambda: TrustVector.from_names({"hardware": "genuine_hw"}),
        lambda: TrustVector.from_names({"hardware": 2.0}),
        lambda: TrustVector.from_numbers({8: 2}),
        lambda: TrustVector.from_numbers({0: True}),
    ],
)
def test_vector_that_is_none_is_refused(make: Callable[[], TrustVector]) -> None:
    with pytest.raises(DecodeError):
        make()


def test_each_standard_claim_is_described() -> None:
    assert len(TRUST_CLAIMS) == len(ASPECTS)
    for aspect, claims in TRUST_CLAIMS.items():
        assert aspect.replace("-", "_") in ASPECTS
        for number, words in claims.values():
            assert describe_claim(aspect, number) == words
    assert describe_claim("hardware", -40) == "warning, for a reason that is no standard"
    assert describe_claim("speed", 99) == "contraindicated, for a reason that is no standard"


# --- results


@given(results(), st.sampled_from(KEYS))
def test_result_comes_back_from_jwt_and_cwt(ear: Ear, key: SigningKey) -> None:
    assert Ear.from_jwt(ear.to_jwt(key), key.public_key()) == ear
    assert Ear.from_cwt(ear.to_cwt(key), key.public_key()) == ear
    for other in (OTHER.public_key(), P384.public_key() if key is not P384 else P256.public_key()):
        with pytest.raises(VerificationError):
            Ear.from_jwt(ear.to_jwt(key), other)
        with pytest.raises(VerificationError):
            Ear.from_cwt(ear.to_cwt(key), other)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_result_or_our_error(data: bytes) -> None:
    check_any_bytes(Ear.from_json, data)
    check_any_bytes(Ear.from_cbor, data)


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_flipped_bit_of_a_cwt_is_refused(place: int, bit: int) -> None:
    data = bytearray(result().to_cwt(P256))
    data[place % len(data)] ^= 1 << bit
    with pytest.raises(ConfsecError):
        Ear.from_cwt(bytes(data), P256.public_key())


def test_new_results_are_written_in_the_draft_and_say_what_they_are() -> None:
    assert EAR_PROFILE is result().profile is EarProfile.DRAFT_04
    assert Jws.decode(result().to_jwt(P256)).header == {"alg": "ES256", "typ": "eat+jwt"}
    assert CoseSign1.decode(result().to_cwt(ED25519)).headers == {1: -8, 16: "application/eat+cwt"}
    assert json.loads(result().to_json())["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"


def test_algorithm_may_be_named() -> None:
    assert Jws.decode(result().to_jwt(ED25519, algorithm="Ed25519")).header["alg"] == "Ed25519"
    assert CoseSign1.decode(result().to_cwt(P256, algorithm="ESP256")).algorithm == -9
    for algorithms in (["ES384"], []):
        with pytest.raises(VerificationError):
            Ear.from_jwt(result().to_jwt(P256), P256.public_key(), algorithms=algorithms)
        with pytest.raises(VerificationError):
            Ear.from_cwt(result().to_cwt(P256), P256.public_key(), algorithms=algorithms)


def test_result_ends_when_it_says() -> None:
    ear = result(expires=NOW + timedelta(hours=1))
    for late in (timedelta(hours=1), timedelta(days=1)):
        with pytest.raises(VerificationError, match="expired"):
            Ear.from_jwt(ear.to_jwt(P256), P256.public_key(), at=NOW + late)
        with pytest.raises(VerificationError, match="expired"):
            Ear.from_cwt(ear.to_cwt(P256), P256.public_key(), at=NOW + late)
    assert Ear.from_jwt(ear.to_jwt(P256), P256.public_key(), at=NOW) == ear
    assert Ear.from_cwt(ear.to_cwt(P256), P256.public_key(), at=NOW) == ear
    result().verify_current(NOW + timedelta(days=9999))


@pytest.mark.parametrize(
    "at",
    [datetime(2026, 1, 1), datetime(2026, 1, 1, microsecond=1, tzinfo=UTC)],  # noqa: DTZ001 - that is the defect
)
def test_times_are_aware_and_in_whole_seconds(at: datetime) -> None:
    for changes in ({"issued_at": at}, {"expires": at}):
        with pytest.raises(DecodeError, match="whole seconds"):
            result(**changes)


def test_times_of_other_zones_are_the_same_times() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    assert Ear.from_json(result(issued_at=elsewhere).to_json()) == result()


# --- status


@pytest.mark.parametrize("tier", TrustTier)
@pytest.mark.parametrize("worst", [2, 33, 96, 0])
def test_status_is_no_better_than_the_vector(tier: TrustTier, worst: int) -> None:
    vector = TrustVector(hardware=worst, executables=worst)
    if tier.trust <= vector.tier.trust:
        assert EarAppraisal(status=tier, trust_vector=vector).status is tier
        return
    with pytest.raises(DecodeError, match="better than its trustworthiness vector"):
        EarAppraisal(status=tier, trust_vector=vector)


def test_status_of_all_is_no_better_than_the_worst_appraisal() -> None:
    def of(*tiers: TrustTier) -> dict[str, EarAppraisal]:
        return {str(number): EarAppraisal(status=tier) for number, tier in enumerate(tiers)}

    affirming, warning, none = TrustTier.AFFIRMING, TrustTier.WARNING, TrustTier.NONE
    assert result(appraisals=of(affirming, affirming), status=affirming).status is affirming
    assert result(appraisals=of(affirming, none)).worst_status is none
    assert result(appraisals=of(warning, none)).worst_status is warning
    for appraisals in (of(affirming, warning), of(affirming, none)):
        with pytest.raises(DecodeError, match="better than its appraisals"):
            result(appraisals=appraisals, status=affirming)


def test_result_has_appraisals() -> None:
    for appraisals in ({}, {str(number): EarAppraisal(status=TrustTier.NONE) for number in range(65)}):
        with pytest.raises(DecodeError, match="no appraisals, or too many"):
            result(appraisals=appraisals)


# --- claims


@pytest.mark.parametrize("missing", ["iat", "ear_verifier_id", "submods"])
def test_claims_have_to_be_there(missing: str) -> None:
    with pytest.raises(DecodeError, match=missing):
        Ear.from_json(changed(**{missing: None}))


@pytest.mark.parametrize("profile", [None, "tag:ietf.org,2026:rats/ear#02", "tag:example.com,2026:ear", 7, ["a"]])
def test_other_profile_is_unsupported(profile: object) -> None:
    with pytest.raises(UnsupportedError, match="profile"):
        Ear.from_json(changed(eat_profile=profile))
    with pytest.raises(UnsupportedError, match="profile"):
        Ear.from_cbor(cbor_general.encode({265: "tag:ietf.org,2026:rats/ear#02"}))


APPRAISAL = {"ear_status": "affirming"}


@pytest.mark.parametrize(
    "defect, members",
    [
        ("a time with a fraction", {"iat": 1.5}),
        ("an end with a fraction", {"exp": 1e9}),
        ("a status by number", {"ear_status": 2}),
        ("a better status", {"ear_status": "affirming", "submods": {"a": {"ear_status": "warning"}}}),
        ("a verifier without a build", {"ear_verifier_id": {"developer": "a"}}),
        ("a verifier with more", {"ear_verifier_id": {"developer": "a", "build": "b", "c": "d"}}),
        ("a verifier by numbers", {"ear_verifier_id": {"0": "a", "1": "b"}}),
        ("a verifier that is text", {"ear_verifier_id": "a"}),
        ("a build that is a number", {"ear_verifier_id": {"developer": "a", "build": 1}}),
        ("two nonces", {"eat_nonce": ["AAAAAAAAAAA", "AAAAAAAAAAA"]}),
        ("evidence that is bytes", {"ear_raw_evidence": "AAAA"}),
        ("evidence that is a collection", {"ear_raw_evidence": {"a": ["a/b", "AA"]}}),
        ("an empty topology", {"ear_device_topology": {}}),
        ("a topology with an empty list", {"ear_device_topology": {"a": []}}),
        ("a topology that is a list", {"ear_device_topology": ["a"]}),
        ("no appraisals", {"submods": {}}),
        ("an appraisal that is a token", {"submods": {"a": ["JWT", "e30.e30.AA"]}}),
        ("an appraisal without a status", {"submods": {"a": {}}}),
        ("an empty vector", {"submods": {"a": {**APPRAISAL, "ear_trustworthiness_vector": {}}}}),
        ("a vector that is a list", {"submods": {"a": {**APPRAISAL, "ear_trustworthiness_vector": [2]}}}),
        (
            "a claim by its name",
            {"submods": {"a": {**APPRAISAL, "ear_trustworthiness_vector": {"hardware": "genuine_hw"}}}},
        ),
        ("a better appraisal", {"submods": {"a": {**APPRAISAL, "ear_trustworthiness_vector": {"hardware": 96}}}}),
        ("one policy", {"submods": {"a": {**APPRAISAL, "ear_appraisal_policy_ids": "a"}}}),
        ("no policies", {"submods": {"a": {**APPRAISAL, "ear_appraisal_policy_ids": []}}}),
        ("a policy that is a number", {"submods": {"a": {**APPRAISAL, "ear_appraisal_policy_ids": [1]}}}),
        ("empty claims", {"submods": {"a": {**APPRAISAL, "ear_attester_claims": {}}}}),
        ("claims that are a list", {"submods": {"a": {**APPRAISAL, "ear_verifier_claims": [1]}}}),
        ("a name of Veraison", {"ear.status": "affirming"}),
        ("a name of Veraison in an appraisal", {"submods": {"a": {**APPRAISAL, "ear.appraisal-policy-id": "a"}}}),
        ("names of Veraison only", {"submods": {"a": {"ear.status": "affirming"}}}),
    ],
)
def test_refuses_in_the_draft(defect: str, members: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        Ear.from_json(changed(**members))


def veraison(appraisal: dict[str, Any] | None = None, **members: Any) -> bytes:
    claims = {
        "eat_profile": EarProfile.VERAISON.value,
        "iat": 1666091373,
        "ear.verifier-id": {"developer": "Acme Inc.", "build": "rrtrap-v1.0.0"},
        "submods": {"test": {"ear.status": "affirming", **(appraisal or {})}},
        **members,
    }
    return json_general.encode(claims)


def test_veraison_has_names_of_its_own() -> None:
    vector = {"hardware": "genuine_hw", "executables": 3}
    policy = "policy://test/01234"
    ear = Ear.from_json(veraison({"ear.trustworthiness-vector": vector, "ear.appraisal-policy-id": policy}))
    assert ear.appraisals["test"].trust_vector == TrustVector(hardware=2, executables=3)
    assert ear.appraisals["test"].policy_ids == (policy,)
    written = json.loads(ear.to_json())
    assert written["submods"]["test"]["ear.trustworthiness-vector"] == {"hardware": 2, "executables": 3}


@pytest.mark.parametrize(
    "appraisal, members",
    [
        ({}, {"ear_status": "affirming"}),
        ({}, {"ear_device_topology": {"a": ["b"]}}),
        ({"ear_status": "affirming"}, {}),
        ({"ear_attester_claims": {"a": 1}}, {}),
        ({"ear.appraisal-policy-id": ["a"]}, {}),
        ({"ear.trustworthiness-vector": {"hardware": "bad claim"}}, {}),
        ({"ear.trustworthiness-vector": {"hardware": "approved_fs"}}, {}),
        ({}, {"ear.raw-evidence": ["a/b", "AA"]}),
    ],
)
def test_refuses_names_and_forms_of_the_draft_in_veraison(appraisal: dict[str, Any], members: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        Ear.from_json(veraison(appraisal, **members))


def test_veraison_names_one_policy() -> None:
    two = EarAppraisal(status=TrustTier.NONE, policy_ids=("a", "b"))
    with pytest.raises(DecodeError, match="one policy"):
        result(profile=EarProfile.VERAISON, appraisals={"a": two}).to_json()


@pytest.mark.parametrize("evidence", [b"bytes", CollectionCmw({"a": EVIDENCE})])
def test_evidence_is_a_record_in_the_newest_drafts(evidence: Any) -> None:
    for profile in (EarProfile.DRAFT_04, EarProfile.DRAFT_05):
        for write in (Ear.to_json, Ear.to_cbor):
            with pytest.raises(DecodeError, match="no CMW record"):
                write(result(raw_evidence=evidence, profile=profile))
    with pytest.raises(DecodeError):
        result(raw_evidence=EVIDENCE, profile=EarProfile.DRAFT_03).to_json()


@pytest.mark.parametrize(
    "claims",
    [
        {1004: {"developer": "a", "build": "b"}},
        {1000: "affirming"},
        {1000: 3},
        {1001: {0: 2}},
        {1002: b"evidence"},
        {266: {"a": {1000: 2, 1001: {"hardware": 2}}}},
        {266: {"a": {1000: 2, 1003: "a"}}},
        {266: {"a": b"token"}},
        {266: {"a": {1000: 2, 1005: {b"a": 1}}}},
        {"ear_status": 2},
    ],
)
def test_refuses_in_cbor(claims: dict[Any, CborItem]) -> None:
    good = cbor_general.as_map(cbor_general.decode(result().to_cbor(), what="it", limit=9999), what="it")
    assert Ear.from_cbor(cbor_general.encode({**good, 99: 1})).extensions == {99: 1}
    if 1001 in claims:  # a vector does not belong here, and is ignored like any other claim
        assert Ear.from_cbor(cbor_general.encode({**good, **claims})).status is None
        return
    with pytest.raises(DecodeError):
        Ear.from_cbor(cbor_general.encode({**good, **claims}))


def test_extension_does_not_take_the_place_of_a_claim() -> None:
    assert Ear.from_json(result(extensions={"iat": 1, "x": {}}).to_json()) == result(extensions={"x": {}})


def test_claims_of_attesters_have_to_be_json_in_a_jwt() -> None:
    measured = EarAppraisal(status=TrustTier.NONE, attester_claims={"digest": b"\1"})
    ear = result(appraisals={"a": measured})
    with pytest.raises(LocalProtocolError):
        ear.to_jwt(P256)
    assert Ear.from_cwt(ear.to_cwt(P256), P256.public_key()) == ear


# --- vectors


def test_vectors_of_our_own_are_written_to_the_byte() -> None:
    """There are no public ones for a result as CWT. The keys are published: 11 on P-256, and bytes 0 to 31."""
    vectors = load_vectors(OWN_VECTORS / "ear.json")
    public_key = public_key_from_jwk(vectors["key"])
    assert public_key == P256.public_key()
    for case in (each for each in vectors["cases"] if each["valid"]):
        ear = Ear.from_json(json_general.encode(case["claims"]))
        assert ear.to_cbor().hex() == case["cbor"]
        assert ear.to_cwt(P256).hex() == case["cwt"]
        assert Ear.from_cwt(bytes.fromhex(case["cwt"]), public_key) == ear
        assert ear.to_jwt(P256) == case["jwt"]
        assert Ear.from_jwt(case["jwt"], public_key) == ear
