"""Each form of vector: what passes, what fails, what is skipped, and what it is recognised by."""

from __future__ import annotations

import base64
from typing import Any

import cbor2
import pytest

from confsec.conformance.cases import CaseResult, Outcome
from confsec.conformance.registry import MISSING_PROTOCOLS, SCHEMAS, recognise
from confsec.protocol import cbor as codec
from confsec.protocol.gateway_keys import GatewayKeyring
from confsec.protocol.kem import MLKEM768_X25519
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.ohttp import OhttpClient, OhttpGateway
from confsec.testing import EPOCH, seeded_randbytes
from tests.conformance.support import Case, outcome, run_one
from tests.protocol.ohttp_cases import key_around
from tests.support import OWN_VECTORS, load_vectors

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED

GET: Case = {
    "encoded": "00034745540568747470730b6578616d706c652e636f6d012f",
    "decoded": {"method": "GET", "scheme": "https", "authority": "example.com", "path": "/"},
    "valid": True,
}
OK: Case = {"encoded": "0140c8", "decoded": {"status": 200}, "valid": True}
CONFIG = "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003"
HTTP1_RESPONSE = "HTTP/1.1 103 \r\nKeep-Alive: 5\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhi"
HTTP1 = "GET /a HTTP/1.1\r\nHost: example.com\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-End: 2\r\n\r\n"


def cbor(text: str, **members: object) -> Case:
    return {"hex": text, "cbor": base64.b64encode(bytes.fromhex(text)).decode(), "roundtrip": True, **members}


def wycheproof(kind: str, test: Case, **group: object) -> Any:
    return {"testGroups": [{"type": kind, **group, "tests": [{"tcId": 1, **test}]}]}


def wycheproof_outcome(document: Any) -> Outcome:
    schema = recognise(document)
    assert schema is not None
    [(_, case)] = schema.list_cases(document)
    return outcome(case, among=document)


# --- binary HTTP


@pytest.mark.parametrize(
    "case, want",
    [
        pytest.param(GET, PASSED, id="request"),
        pytest.param(OK, PASSED, id="response"),
        pytest.param({**OK, "encoded": "0140c8000000"}, PASSED, id="with empty sections"),
        pytest.param({**OK, "encoded": "0140c8" + "00" * 90}, PASSED, id="padded"),
        pytest.param({**OK, "encoded": "01800000c8"}, PASSED, id="status in a longer form"),
        pytest.param({**OK, "encoded": "0340c80001780178000000"}, FAILED, id="content that is not stated"),
        pytest.param({**OK, "encoded": "0140c9"}, FAILED, id="another status"),
        pytest.param({**OK, "encoded": "0140c8000001"}, FAILED, id="padding that is not zero"),
        pytest.param({**OK, "decoded": GET["decoded"]}, FAILED, id="a request instead of a response"),
        pytest.param({**OK, "truncatable_by": [1]}, FAILED, id="cannot be cut"),
        pytest.param({**OK, "encoded": "0140c8000000", "truncatable_by": [1, 2, 3]}, PASSED, id="can be cut"),
        pytest.param({**OK, "valid": False}, FAILED, id="good, and said to be bad"),
        pytest.param({**OK, "valid": "no"}, FAILED, id="neither good nor bad"),
        pytest.param({"encoded": "0440c8", "valid": False}, PASSED, id="bad"),
        pytest.param({"encoded": "0440c8", "error": "framing"}, PASSED, id="bad, by its error alone"),
        pytest.param({**OK, "encoded": "0440c8"}, FAILED, id="bad, and said to be good"),
        pytest.param({"valid": False}, FAILED, id="nothing to decode"),
        pytest.param({"encoded": "no hex", "valid": False}, FAILED, id="a broken vector is no refusal"),
        pytest.param({"http1": HTTP1, "absent_fields": ["Connection", "X-Hop", "Keep-Alive"]}, PASSED, id="converted"),
        pytest.param({"http1": HTTP1, "absent_fields": ["X-End"]}, FAILED, id="a field that stays"),
        pytest.param({"http1": HTTP1, "absent_fields": [], "valid": False}, FAILED, id="can be converted"),
        pytest.param({"http1": "GET /", "valid": False}, PASSED, id="cannot be converted"),
        pytest.param({"http1": "GET /", "encoded": "00", "valid": False}, PASSED, id="cannot be converted, with bytes"),
        pytest.param({"http1": "GET /", "absent_fields": []}, FAILED, id="cannot be, and should be"),
        pytest.param({"http1": HTTP1_RESPONSE, "absent_fields": ["keep-alive"]}, PASSED, id="response converted"),
        pytest.param({"http1": HTTP1_RESPONSE, "absent_fields": ["link"]}, FAILED, id="an early field that stays"),
        pytest.param({**GET, "http1": HTTP1, "absent_fields": ["connection"]}, PASSED, id="both ways"),
        pytest.param({**GET, "encoded": "0140c8", "http1": HTTP1, "absent_fields": []}, FAILED, id="one of both ways"),
        pytest.param("text", FAILED, id="no object"),
    ],
)
def test_bhttp_message(case: object, want: Outcome) -> None:
    assert outcome(case, among=[GET]) is want


@pytest.mark.parametrize(
    "change, want",
    [({}, PASSED), ({"code": "truncated"}, FAILED), ({"encoded": "0140c8"}, FAILED), ({"kind": "request"}, PASSED)],
)
def test_bhttp_defect(change: Case, want: Outcome) -> None:
    case = {"defect": "framing indicator", "kind": "response", "encoded": "0540c8", "code": "decode", **change}
    assert outcome(case) is want


# --- Oblivious HTTP


@pytest.mark.parametrize(
    "case, want",
    [
        pytest.param({"input": CONFIG, "expect": "accept", "reserialize": CONFIG, "keyId": 1}, PASSED, id="good"),
        pytest.param({"input": CONFIG, "expect": "accept", "algorithms": [[1, 1], [1, 3]]}, PASSED, id="suites"),
        pytest.param({"input": CONFIG, "expect": "accept", "algorithms": [[1, 3], [1, 1]]}, FAILED, id="other order"),
        pytest.param({"input": CONFIG, "expect": "accept", "keyId": 2}, FAILED, id="another key id"),
        pytest.param({"input": CONFIG, "expect": "accept", "reserialize": CONFIG[:-1] + "1"}, FAILED, id="other bytes"),
        pytest.param({"input": CONFIG, "expect": "reject"}, FAILED, id="good, and said to be bad"),
        pytest.param({"input": CONFIG[:-2], "expect": "reject"}, PASSED, id="truncated"),
        pytest.param({"input": CONFIG[:-2], "expect": "accept"}, FAILED, id="truncated, and said to be good"),
        pytest.param({"input": CONFIG, "expect": "reject", "note": "peer policy: no"}, PASSED, id="policy of a peer"),
        pytest.param({"input": "01", "expect": "reject", "note": "peer policy: no"}, PASSED, id="policy, and ours too"),
        pytest.param({"input": CONFIG, "expect": "panics"}, SKIPPED, id="statement about a peer"),
        pytest.param({"input": "zz", "expect": "reject"}, FAILED, id="a broken vector is no refusal"),
        pytest.param({"input": "010040" + "00" * 800, "expect": "accept"}, SKIPPED, id="KEM that we do not have"),
        pytest.param({"input": "010040" + "00" * 800, "expect": "accept", "kemId": 32}, FAILED, id="another KEM"),
        pytest.param({"input": "010040" + "00" * 800, "expect": "reject"}, PASSED, id="unknown KEM refused"),
    ],
)
def test_ohttp_key_config(case: Case, want: Outcome) -> None:
    assert outcome(case, among=[{"input": CONFIG, "expect": "accept"}]) is want


@pytest.mark.parametrize(
    "change, want",
    [
        ({}, PASSED),
        ({"keyIds": [2]}, FAILED),
        ({"reserialize": "002d" + CONFIG}, PASSED),
        ({"expect": "reject"}, FAILED),
        ({"input": "002c" + CONFIG, "expect": "reject"}, PASSED),
    ],
)
def test_ohttp_list_of_key_configs(change: Case, want: Outcome) -> None:
    media = "application/ohttp-keys"
    case = {"input": "002d" + CONFIG, "expect": "accept", "media": media, "keyIds": [1], **change}
    assert outcome(case) is want


@pytest.mark.parametrize(
    "case, want",
    [
        pytest.param({"wire": "050102030405", "payload": "0102030405", "final": False}, PASSED, id="chunk"),
        pytest.param({"wire": "00010203", "payload": "010203", "final": True}, PASSED, id="final chunk"),
        pytest.param({"wire": "00010203", "payload": "010203", "final": False}, FAILED, id="not the final chunk"),
        pytest.param({"wire": "0301020300", "chunks": [["010203", False], ["", True]]}, PASSED, id="two chunks"),
        pytest.param({"wire": "03010203", "chunks": [["010203", False]]}, PASSED, id="without an end"),
        pytest.param({"wire": "0301020300", "chunks": [["010203", False]]}, FAILED, id="one chunk too few"),
        pytest.param({"wire": "0a0102", "expect": "need more data"}, PASSED, id="incomplete"),
        pytest.param({"wire": "0101000a", "expect": "need more data"}, FAILED, id="complete"),
        pytest.param({"wire": "0a0102", "expect": "explodes"}, SKIPPED, id="unknown expectation"),
        pytest.param(
            {"payload_repeat": ["ab", 16384], "final": False, "wire_prefix": "80004000abab"}, PASSED, id="long"
        ),
        pytest.param(
            {"payload_repeat": ["ab", 16384], "final": False, "wire_prefix": "80004001abab"}, FAILED, id="off"
        ),
        pytest.param({"payload_repeat": ["ab", 1 << 40], "final": False, "wire_prefix": ""}, SKIPPED, id="endless"),
        pytest.param({"payload": "01", "final": False}, FAILED, id="nothing to compare with"),
        pytest.param(
            {"baseNonce": "00" * 12, "counter": 1 << 40, "nonce": "00" * 6 + "010000000000"}, PASSED, id="far"
        ),
        pytest.param({"baseNonce": "00" * 12, "counter": 1, "nonce": "00" * 12}, FAILED, id="nonce"),
        pytest.param({"baseNonce": "00" * 12, "counter": -1, "nonce": "00" * 12}, FAILED, id="negative"),
    ],
)
def test_ohttp_chunk_framing(case: Case, want: Outcome) -> None:
    assert outcome(case, among=[{"wire": "", "expect": "need more data"}]) is want


@pytest.mark.parametrize("name", ["ohttp_rfc9458_appendix_a", "ohttp_chunked_draft_example", "hpke_rfc9180"])
def test_a_good_case_that_is_said_to_be_bad_fails(name: str) -> None:
    document = load_vectors(OWN_VECTORS / f"{name}.json")
    assert outcome({**document["cases"][0], "valid": False}, among=document) is FAILED


def test_an_exchange_that_does_not_open_may_be_said_to_be_bad() -> None:
    document = load_vectors(OWN_VECTORS / "ohttp_rfc9458_appendix_a.json")
    case = {**document["cases"][0], "encapsulatedRequest": document["cases"][0]["encapsulatedRequest"][:-2]}
    assert outcome({**case, "valid": False}, among=document) is PASSED
    assert outcome(case, among=document) is FAILED


def test_an_exchange_with_a_kem_that_cannot_be_replayed_is_opened() -> None:
    randbytes = seeded_randbytes("conformance")
    private_key = MLKEM768_X25519.generate(randbytes)
    config = KeyConfig(7, MLKEM768_X25519.kem_id, private_key.public_key, (SymmetricSuite(2, 2),))
    client = OhttpClient(config, randbytes=randbytes)
    enc_request = client.encapsulate(b"request")
    keyring = GatewayKeyring([key_around(private_key, config)])
    gateway = OhttpGateway(keyring, randbytes=lambda size: b"n" * size, now=EPOCH)
    gateway.receive_data(enc_request)
    gateway.receive_eof()
    case = {
        "keyId": 7,
        "kemId": 0x647A,
        "kdfId": 2,
        "aeadId": 2,
        "skR": private_key.private_bytes().hex(),
        "request": b"request".hex(),
        "encapsulatedRequest": enc_request.hex(),
        "response": b"response".hex(),
        "responseNonce": (b"n" * 32).hex(),
        "encapsulatedResponse": gateway.encapsulate_response(b"response").hex(),
    }
    assert outcome(case) is PASSED
    assert outcome({**case, "response": b"another!".hex()}) is FAILED


def test_a_chunked_exchange_without_its_parts_is_sent_in_one_chunk() -> None:
    document = load_vectors(OWN_VECTORS / "ohttp_chunked_draft_example.json")
    case = {
        name: value for name, value in document["cases"][0].items() if name not in {"requestParts", "responseParts"}
    }
    result = run_one(case, among=document)
    assert result.outcome is FAILED
    assert result.reason.startswith("encapsulatedResponse differs")


def test_an_ephemeral_key_that_is_too_short_fails() -> None:
    document = load_vectors(OWN_VECTORS / "ohttp_rfc9458_appendix_a.json")
    result = run_one({**document["cases"][0], "skE": "00"}, among=document)
    assert result == CaseResult("case", FAILED, "needs more random bytes than the 1 stated")


# --- HPKE


def test_kems_without_authenticated_modes_have_none() -> None:
    document = load_vectors(OWN_VECTORS / "hpke_pq_draft.json")
    case = {**document["cases"][0], "mode": 2, "skSm": "00" * 32}
    del case["key"], case["base_nonce"], case["exporter_secret"]
    assert "has no authenticated modes" in run_one(case, among=document).reason


@pytest.mark.parametrize(
    "change, want, why",
    [
        ({"kem_id": 0x40}, SKIPPED, "ML-KEM-512 (KEM 0x0040) is not implemented"),
        ({"kdf_id": 0x12}, SKIPPED, "TurboSHAKE128 (KDF 0x0012) is not implemented"),
        ({"aead_id": 0x77}, SKIPPED, "AEAD 0x0077 is not implemented"),
        ({"kem_id": "32"}, FAILED, "the case has no kem_id, or not as a number of 16 bits"),
        ({"mode": 4}, FAILED, "there is no mode 4"),
        ({"mode": 0}, FAILED, "presence of a sender's key differs: got True, want False"),
        ({"aead_id": 0xFFFF}, FAILED, None),
        ({"aead_id": 0xFFFF, "key": "", "base_nonce": ""}, FAILED, None),
        ({"exports": [{}]}, FAILED, None),
        ({"shared_secret": None}, FAILED, "the case has no shared_secret, or not as text"),
    ],
)
def test_hpke_case(change: Case, want: Outcome, why: str | None) -> None:
    document = load_vectors(OWN_VECTORS / "hpke_rfc9180.json")
    case = next(case for case in document["cases"] if case["mode"] == 2)
    result = run_one({**case, **change}, among=document)
    assert result.outcome is want
    assert why is None or result.reason == why


# --- CBOR


@pytest.mark.parametrize(
    "case, want",
    [
        pytest.param(cbor("01", decoded=1), PASSED, id="1"),
        pytest.param(cbor("f5", decoded=True), PASSED, id="true"),
        pytest.param(cbor("f6", decoded=None), PASSED, id="null"),
        pytest.param(cbor("f5", decoded=1), FAILED, id="true is not 1"),
        pytest.param(cbor("01", decoded=True), FAILED, id="1 is not true"),
        pytest.param(cbor("8101", decoded=[True]), FAILED, id="nor in an array"),
        pytest.param(cbor("a1616101", decoded={"a": True}), FAILED, id="nor in a map"),
        pytest.param(cbor("a1616101", decoded={"b": 1}), FAILED, id="another key"),
        pytest.param(cbor("8101", decoded=[1, 2]), FAILED, id="another length"),
        pytest.param(cbor("4101", diagnostic="h'01'"), PASSED, id="bytes"),
        pytest.param(cbor("4101", diagnostic="h'02'"), FAILED, id="other bytes"),
        pytest.param(cbor("3bffffffffffffffff", decoded=-(1 << 64)), PASSED, id="the least integer"),
        pytest.param(cbor("01", diagnostic="1"), SKIPPED, id="notation"),
        pytest.param(cbor("01", decoded=1, roundtrip=False), FAILED, id="said not to be deterministic"),
        pytest.param(cbor("01", decoded=1, valid=False), FAILED, id="said to be bad"),
        pytest.param({"hex": "01", "cbor": "AA==", "decoded": 1, "roundtrip": True}, FAILED, id="two encodings"),
        pytest.param(cbor("0101", decoded=1), FAILED, id="bytes after it"),
        pytest.param(cbor("18", decoded=1), FAILED, id="truncated"),
        pytest.param({"hex": "01", "decoded": 1, "roundtrip": True}, PASSED, id="hex alone"),
        pytest.param(cbor("8101", decoded=[1]), PASSED, id="array"),
        pytest.param(cbor("81f93c00", decoded=[1.0]), SKIPPED, id="float in an array"),
        pytest.param(cbor("9b000000ff00000000", decoded=[]), FAILED, id="array without end"),
        pytest.param(cbor("f93c00", decoded=1.0), SKIPPED, id="float"),
        pytest.param(cbor("c001", decoded=1), SKIPPED, id="tag"),
        pytest.param(cbor("9fff", decoded=[], roundtrip=False), SKIPPED, id="indefinite length"),
        pytest.param(cbor("1c", decoded=[]), SKIPPED, id="reserved length"),
        pytest.param(cbor("1801", decoded=1), SKIPPED, id="longer than needed"),
        pytest.param(cbor("190018", decoded=24), SKIPPED, id="two bytes, longer than needed"),
        pytest.param(cbor("a10102", diagnostic="{1: 2}"), SKIPPED, id="key that is no text"),
        pytest.param(cbor("f7", diagnostic="undefined"), SKIPPED, id="undefined"),
        pytest.param(cbor("81" * 80 + "01", decoded=[]), SKIPPED, id="deep"),
    ],
)
def test_cbor(case: Case, want: Outcome) -> None:
    assert outcome(case) is want


def test_what_our_cbor_should_leave_out_and_does_not_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "decode", lambda data, **options: cbor2.loads(data))
    assert run_one(cbor("f93c00", decoded=1.0)).reason == "accepted, and has to be refused"


# --- primitives

LOW_ORDER = {"private": "88" * 32, "public": "00" * 32, "shared": "00" * 32}


@pytest.mark.parametrize(
    "result, want", [("acceptable", PASSED), ("invalid", PASSED), ("valid", FAILED), ("?", FAILED)]
)
def test_x25519_refuses_a_point_of_small_order(result: str, want: Outcome) -> None:
    document = wycheproof("XdhComp", {**LOW_ORDER, "result": result}, curve="curve25519")
    assert wycheproof_outcome(document) is want


@pytest.mark.parametrize("curve, want", [("curve448", FAILED), ("curve41417", SKIPPED)])
def test_other_curves(curve: str, want: Outcome) -> None:
    assert wycheproof_outcome(wycheproof("XdhComp", {**LOW_ORDER, "result": "valid"}, curve=curve)) is want


@pytest.mark.parametrize(
    "change, want",
    [
        ({"parameterSet": "ML-KEM-512"}, SKIPPED),
        ({"result": "invalid"}, PASSED),
        ({"result": "invalid", "c": "00" * 1088}, FAILED),
        ({"result": "invalid", "c": "00" * 1088, "seed": "00" * 63}, PASSED),
        ({"result": "valid"}, FAILED),
        ({"result": "valid", "c": "00" * 1088}, FAILED),
    ],
)
def test_ml_kem(change: Case, want: Outcome) -> None:
    test = {"seed": "00" * 64, "c": "00" * 1087, "K": "", "parameterSet": "ML-KEM-768", **change}
    assert wycheproof_outcome(wycheproof("MLKEMTest", test)) is want


SIGNED: Case = {
    "publicKey": {
        "curve": "secp256r1",
        "uncompressed": "042927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838"
        "c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e",
    },
    "sha": "SHA-256",
    "msg": "313233343030",
    "sig": "2ba3a8be6b94d5ec80a6d9d1190a436effe50d85a1eee859b8cc6af9bd5c2e18"
    "4cd60b855d442f5b3c7b11eb6c4e0ae7525fe710fab9aa7c77a67f79e6fadd76",
    "result": "valid",
}


@pytest.mark.parametrize(
    "change, want",
    [
        ({}, PASSED),
        ({"result": "invalid"}, FAILED),
        ({"msg": "", "result": "invalid"}, PASSED),
        ({"msg": ""}, FAILED),
        ({"sig": "zz", "result": "invalid"}, FAILED),
        ({"result": "acceptable"}, FAILED),
        ({"publicKey": None, "result": "invalid"}, FAILED),
        ({"publicKey": {**SIGNED["publicKey"], "curve": "secp256k1"}}, SKIPPED),
        ({"sha": "SHA3-256"}, SKIPPED),
    ],
)
def test_signatures(change: Case, want: Outcome) -> None:
    assert wycheproof_outcome(wycheproof("EcdsaP1363Verify", {**SIGNED, **change})) is want


def test_rsa_pss_with_other_parameters_is_skipped() -> None:
    test = {"sha": "SHA-384", "mgf": "MGF1", "mgfSha": "SHA-384", "sLen": 20, "result": "valid"}
    assert wycheproof_outcome(wycheproof("RsassaPssVerify", test)) is SKIPPED


ES256 = {"kty": "EC", "crv": "P-256", "x": "04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY",
         "y": "UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw"}  # fmt: skip
JWS = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIn0.Zm9v."
    "5cA0OHyMP7ezamUd5c9kV-FrGxdx4hbGXOdplQkutrqWrte5P-pAvsE3Ve6xSyU3YDQwUHjVVOtvcrEbbnZ8yA"
)


@pytest.mark.parametrize(
    "change, want",
    [
        ({}, PASSED),
        ({"public": {**ES256, "alg": "ES256"}}, PASSED),
        ({"public": {**ES256, "alg": "ES384"}}, SKIPPED),
        ({"public": {**ES256, "alg": "ES384"}, "result": "invalid"}, PASSED),
        ({"public": {**ES256, "alg": "HS256"}}, SKIPPED),
        ({"public": {**ES256, "use": "enc"}}, FAILED),
        ({"result": "invalid"}, FAILED),
        ({"jws": JWS[:-1] + "B", "result": "invalid"}, PASSED),
        ({"jws": 7, "result": "invalid"}, FAILED),
        ({"public": 7, "result": "invalid"}, FAILED),
    ],
)
def test_json_web_signatures(change: Case, want: Outcome) -> None:
    test = {"public": ES256, "jws": JWS, "result": "valid", **change}
    assert wycheproof_outcome(wycheproof("JsonWebSignature", test)) is want


# --- forms


def test_each_schema_has_one_name_and_either_a_check_or_a_reason() -> None:
    assert len({(schema.protocol, schema.name) for schema in SCHEMAS}) == len(SCHEMAS)
    assert all(bool(schema.check) != bool(schema.missing) for schema in SCHEMAS)
    assert all(reason.endswith("not part of this version") for reason in MISSING_PROTOCOLS.values())


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        7,
        "text",
        {"cases": []},
        {"cases": {"a": 1}},
        [1, 2],
        [[]],
        [{}],
        {"testGroups": 1},
        {"testGroups": [1]},
        # Other formats use the same words.
        [{"encoded": "c2sp.org/tlog-proof@v1\n", "valid": True, "hashes": []}],
        [{"encoded": "", "valid": False}],
        [{"encoded": "not hex", "valid": False}],
        [{"input": {"did": "did:x509:0"}, "expect": "x"}],
        [{"hex": "text", "roundtrip": True}],
    ],
)
def test_other_documents_are_of_no_known_form(document: object) -> None:
    assert recognise(document) is None


@pytest.mark.parametrize(
    "document, name",
    [
        ([GET], "bhttp-message"),
        ([{"encoded": "04", "valid": False}], "bhttp-message"),
        ({"cases": [{"encoded": "broken"}, GET]}, "bhttp-message"),
        ({"messages": [{"http1": HTTP1}]}, "bhttp-message"),
        ({"cases": [{"input": "broken", "expect": "accept"}, {"input": "", "expect": "reject"}]}, "ohttp-key-config"),
        ({"testGroups": [{"type": "XdhComp", "tests": 7}]}, "wycheproof-xdh"),
        ([{"payload_repeat": ["ab", 2], "final": False, "wire": "02abab"}], "ohttp-chunk-framing"),
        (wycheproof("SomethingNew", {}), "wycheproof"),
        (wycheproof("EddsaVerify", {}), "wycheproof-eddsa"),
    ],
)
def test_form_is_recognised_by_what_is_whole(document: object, name: str) -> None:
    schema = recognise(document)
    assert schema is not None
    assert schema.name == name


# --- the sealed request


@pytest.mark.parametrize(
    "change, why",
    [
        ({"refused": {"step": "chunks", "code": "limit"}}, "the step and the code of the refusal differs"),
        ({"refused": {"step": "key", "code": "decode"}}, "the step and the code of the refusal differs"),
        ({"sealed_request": "no hex"}, "sealed_request is not hex"),
    ],
)
def test_sealed_defect_is_refused_where_and_how_it_says(change: Case, why: str) -> None:
    case = load_vectors(OWN_VECTORS / "sealed_invalid" / "request_padding_marked_02.json")
    assert outcome(case, among=case) is PASSED
    result = run_one({**case, **change}, among=case)
    assert result.outcome is FAILED
    assert result.reason.startswith(why)


def test_sealed_message_that_opens_is_no_defect() -> None:
    valid = load_vectors(OWN_VECTORS / "sealed" / "one_recipient.json")
    case = load_vectors(OWN_VECTORS / "sealed_invalid" / "request_padding_marked_02.json")
    case |= {"nodes": valid["nodes"], "sealed_request": valid["request"]["sealed_request"]}
    assert run_one(case, among=case).reason == "accepted, and has to be refused"
    response = load_vectors(OWN_VECTORS / "sealed_invalid" / "response_chunk_altered.json")
    sent = valid["responses"][0]
    recipient = {**valid["request"]["recipients"][0], "response_secret": sent["response_secret"]}
    response |= {"recipients": [recipient], "sealed_response": sent["sealed_response"]}
    assert run_one(response, among=response).reason == "accepted, and has to be refused"


def test_sealed_nodes_have_hybrid_keys() -> None:
    case = load_vectors(OWN_VECTORS / "sealed_invalid" / "request_padding_marked_02.json")
    case["nodes"][0]["kem_id"] = "0x0020"
    assert "nodes have no keys of DHKEM(X25519" in run_one(case, among=case).reason
