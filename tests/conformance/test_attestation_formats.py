"""Vectors of attestation's formats: a good case passes, and fails as soon as anything that it states is another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from confsec.conformance.cases import Case, CaseResult, MismatchError, Outcome, run_case
from confsec.conformance.edn import named_edn_cbor
from confsec.conformance.keys import public_key_of, signing_key_of
from confsec.conformance.kinds import CaseFile, FileCase, run_file_case
from confsec.conformance.registry import find_kind, find_schema, recognise
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import Tag
from confsec.protocol.cmw_messages import CollectionCmw, RecordCmw, TagCmw, encode_cmw_cbor, sign_cmw
from confsec.protocol.cose import sign1
from confsec.protocol.eat_tokens import sign_cwt
from confsec.protocol.wire import encode_base64url
from tests.conformance.support import counts, only_report, outcome, write
from tests.protocol.token_keys import ED25519, OTHER, P256
from tests.support import OWN_VECTORS, load_vectors

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
POINT = P256.public_key().public_numbers()
KEY = {"kty": "EC", "crv": "P-256", "x_hex": f"{POINT.x:064x}", "y_hex": f"{POINT.y:064x}", "d_hex": f"{11:064x}"}
OKP = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": encode_base64url(ED25519.public_key().public_bytes_raw()),
    "d": encode_base64url(bytes(range(32))),
}


def run(kind_name: str, tmp_path: Path, files: dict[str, Any], *, expect: str = "accept", **params: Any) -> CaseResult:
    """Run one case of a kind on files with these contents."""
    kind = find_kind(kind_name)
    assert kind is not None
    places = {}
    for role, content in files.items():
        path = tmp_path / role
        path.write_bytes(content) if isinstance(content, bytes) else write(path, content)
        places[role] = CaseFile(path)
    return run_file_case(kind, FileCase(id="a", kind=kind_name, files=places, expect=expect, params=params))


def run_schema(name: str, case: Case, protocol: str = "") -> CaseResult:
    schema = find_schema(name, protocol)
    assert schema is not None
    assert schema.check is not None
    return run_case("a", case, schema.check)


# --- COSE


def cose_wg(key: Any = None, algorithm: str = "ES256", **stated: Any) -> dict[str, Any]:
    signer = ED25519 if algorithm == "EdDSA" else P256
    message = sign1(b"text", signer, algorithm=algorithm, external_aad=b"\1")
    return {
        "input": {
            "plaintext": "text",
            "sign0": {"key": key or (OKP if algorithm == "EdDSA" else KEY), "alg": algorithm, "external": "01"},
            **stated,
        },
        "intermediates": {"ToBeSign_hex": message.to_be_signed(external_aad=b"\1").hex()},
        "output": {"cbor": message.encode().hex()},
    }


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_example_of_cose_wg(tmp_path: Path, algorithm: str) -> None:
    document = cose_wg(algorithm=algorithm)
    if algorithm == "EdDSA":  # made again, and signed without anything from outside
        message = sign1(b"text", ED25519, algorithm=algorithm)
        document["input"]["sign0"]["external"] = ""
        document["intermediates"]["ToBeSign_hex"] = message.to_be_signed().hex()
        document["output"]["cbor"] = message.encode().hex()
    assert run("cose-sign1", tmp_path, {"vector": document}).outcome is PASSED
    assert run("cose-sign1", tmp_path, {"vector": document}, expect="refuse").outcome is FAILED


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["input"].update(plaintext="other"),
        lambda document: document["input"].update(plaintext_hex="00"),
        lambda document: document["input"]["sign0"].update(external=""),
        lambda document: document["input"]["sign0"].update(alg="ES384"),
        lambda document: document["input"]["sign0"].update(key=OKP),
        lambda document: document["input"]["sign0"].pop("key"),
        lambda document: document["input"]["sign0"]["key"].pop("x_hex"),
        lambda document: document["input"]["sign0"]["key"].update(kty="oct"),
        lambda document: document["intermediates"].update(ToBeSign_hex="00"),
        lambda document: document["output"].update(cbor="zz"),
        lambda document: document["output"].update(cbor=document["output"]["cbor"] + "00"),
    ],
)
def test_change_in_an_example_of_cose_wg_fails(tmp_path: Path, change: Callable[[Any], object]) -> None:
    document = copy.deepcopy(cose_wg())
    change(document)
    assert run("cose-sign1", tmp_path, {"vector": document}).outcome is FAILED


def gluecose(operation: str, **changes: Any) -> dict[str, Any]:
    protected, detached = b"\xa1\x01\x26", changes.get("detached", False)
    message = sign1(b"text", P256, algorithm="ES256", unprotected={4: b"1"}, detached=detached)
    to_be_signed = message.to_be_signed(detached_payload=b"text" if detached else None)
    stated = {
        "verify": {
            "taggedCOSESign1": {"cborHex": message.encode().hex()},
            **({"payload": "74657874"} if detached else {}),
        },
        "sign": {
            "payload": b"text".hex(),
            "protectedHeaders": {"cborHex": protected.hex()},
            "unprotectedHeaders": {"cborHex": cbor_general.encode({4: b"1"}).hex()},
            "tbsHex": {"cborHex": to_be_signed.hex()},
            "detached": detached,
            "expectedOutput": {"cborHex": message.encode().hex()},
            "fixedOutputLength": 12,
        },
    }[operation]
    return {"key": KEY, "alg": "ES256", f"sign1::{operation}": {**stated, **changes}}


@pytest.mark.parametrize("operation", ["sign", "verify"])
@pytest.mark.parametrize("detached", [True, False])
def test_example_of_gluecose(tmp_path: Path, operation: str, detached: bool) -> None:  # noqa: FBT001 - a column
    assert run("cose-sign1", tmp_path, {"vector": gluecose(operation, detached=detached)}).outcome is PASSED


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": "00"},
        {"protectedHeaders": {"cborHex": "a10127"}},
        {"unprotectedHeaders": {"cborHex": "a1044132"}},
        {"tbsHex": {"cborHex": "00"}},
        {"external": "00"},
        {"expectedOutput": {"cborHex": "00"}},
    ],
)
def test_change_in_an_example_of_gluecose_fails(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert run("cose-sign1", tmp_path, {"vector": gluecose("sign", **changes)}).outcome is FAILED


def test_example_that_we_cannot_sign_again_is_compared_in_its_fixed_bytes(tmp_path: Path) -> None:
    document = gluecose("sign")
    document["key"] = {name: value for name, value in KEY.items() if name != "d_hex"}
    assert run("cose-sign1", tmp_path, {"vector": document}).outcome is PASSED
    document["sign1::sign"]["expectedOutput"]["cborHex"] = "d28443a10126a10441324474657874" + "5840" + "00" * 64
    assert run("cose-sign1", tmp_path, {"vector": document}).outcome is FAILED


def test_signature_that_is_refused_is_what_a_negative_case_wants(tmp_path: Path) -> None:
    document = gluecose("verify")
    document["key"] = {"kty": "EC", "crv": "P-256", "x_hex": f"{OTHER.public_key().public_numbers().x:064x}",
                       "y_hex": f"{OTHER.public_key().public_numbers().y:064x}"}  # fmt: skip
    assert run("cose-sign1", tmp_path, {"vector": document}, expect="refuse").outcome is PASSED
    assert run("cose-sign1", tmp_path, {"vector": document}).outcome is FAILED


@pytest.mark.parametrize("kind", ["cose-sign", "cose-mac", "cose-mac0", "cose-encrypt", "cose-encrypt0"])
def test_other_messages_are_skipped_with_a_reason(tmp_path: Path, kind: str) -> None:
    result = run(kind, tmp_path, {"vector": {}})
    assert (result.outcome, "out of scope" in result.reason) == (SKIPPED, True)


def test_message_without_certificates_is_no_statement(tmp_path: Path) -> None:
    message = sign1(b"", P256, algorithm="ES256").encode()
    assert run("cose-sign1", tmp_path, {"message": message}, expect="parse").outcome is FAILED
    assert run("cose-sign1", tmp_path, {"message": message}, expect="parse", issuer="did:x").outcome is FAILED


@pytest.mark.vectors
def test_statement_about_firmware_verifies_with_the_key_that_it_brings(shared_vectors: Path) -> None:
    place = CaseFile(shared_vectors / "sev-snp" / "azure-kms-snp.json", "/uvm_endorsements")
    kind = find_kind("cose-sign1")
    assert kind is not None

    def outcome_of(**params: Any) -> Outcome:
        params = {"encoding": {"message": "base64"}, **params}
        case = FileCase(id="a", kind="cose-sign1", files={"message": place}, expect="parse", params=params)
        return run_file_case(kind, case).outcome

    assert outcome_of(feed="ContainerPlat-AMD-UVM") is PASSED
    assert outcome_of(feed="another") is FAILED
    assert outcome_of(expected={"launch_measurement": "00" * 48}) is FAILED


# --- keys


def test_keys_of_vectors() -> None:
    assert public_key_of({**KEY, "kty": "EC2", "use": "enc"}) == P256.public_key()
    signer = signing_key_of(OKP)
    assert signer is not None
    assert signer.public_key() == ED25519.public_key()
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    n = encode_base64url(public.public_numbers().n.to_bytes(256, "big"))
    assert public_key_of({"kty": "RSA", "n": n, "e": "AQAB", "d": "AA"}) == public
    assert signing_key_of({"kty": "RSA", "n": n, "e": "AQAB", "d": "AA"}) is None
    with pytest.raises(MismatchError):
        public_key_of(None)


# --- wrappers

RECORD = RecordCmw("a/b", b"\1\2")


@pytest.mark.parametrize(
    "case, want",
    [
        ({"json": '["a/b", "AQI"]', "valid": True, "type": "a/b", "value": "0102"}, PASSED),
        ({"json": '["a/b", "AQI"]', "valid": True, "type": "a/c"}, FAILED),
        ({"json": '["a/b", "AQI"]', "valid": True, "value": "0103"}, FAILED),
        ({"json": '["a/b", "AQI"]', "valid": False}, FAILED),
        ({"json": '["a/b", "AQI="]', "valid": False}, PASSED),
        ({"json": '{"a": ["a/b", "AQI"]}', "valid": True}, FAILED),
        ({"cbor": encode_cmw_cbor(TagCmw(1, b"\1")).hex(), "valid": True, "tag": 1668546818, "value": "01"}, PASSED),
        ({"cbor": encode_cmw_cbor(TagCmw(1, b"\1")).hex(), "valid": True, "tag": 1668546819}, FAILED),
        ({"cbor": encode_cmw_cbor(TagCmw(1, b"\1")).hex(), "valid": True, "type": "a/b"}, FAILED),
        ({"cbor": encode_cmw_cbor(RECORD).hex(), "valid": True, "tag": 1668546818}, FAILED),
        ({"cbor": "9f63612f624101ff", "valid": True}, FAILED),
        ({"cbor": "zz", "valid": False}, FAILED),
        ({"signed_cmw": sign_cmw(RECORD, P256, algorithm="ES256").hex(), "valid": True}, PASSED),
        ({"signed_cmw": sign1(b"", P256, algorithm="ES256").encode().hex(), "valid": False}, PASSED),
        (
            {
                "signed_cmw": sign_cmw(RECORD, P256, algorithm="ES256").hex(),
                "valid": False,
                "peer_error": "signature verification failed",
            },
            PASSED,
        ),
    ],
)
def test_wrappers_in_a_list(case: Case, want: Outcome) -> None:
    assert run_schema("cmw-records", case).outcome is want


def test_list_of_wrappers_is_recognised_and_each_is_run(tmp_path: Path) -> None:
    document = {
        "json": [{"json": '["a/b", "AQI"]', "valid": True}],
        "cbor": [{"cbor": encode_cmw_cbor(RECORD).hex(), "valid": True}, 7],
        "signed": [{"signed_cmw": "00", "valid": False}],
        "other": [1],
    }
    assert counts(only_report(write(tmp_path / "a.json", document))) == (3, 1, 0)
    assert recognise({"signed": [1]}) is None


@pytest.mark.parametrize(
    "kind, files, want",
    [
        ("cmw-record", {"record": ["a/b", "AQI"]}, PASSED),
        ("cmw-record", {"json": ["a/b", "AQI"]}, PASSED),
        ("cmw-collection", {"json": {"a": ["a/b", "AQI"]}}, PASSED),
        ("cmw-collection", {"cbor": encode_cmw_cbor(CollectionCmw({1: RECORD})), "diag": b"{}"}, PASSED),
        ("cmw-collection", {"cbor": encode_cmw_cbor(RECORD)}, FAILED),
        ("cmw-record", {"json": {"a": ["a/b", "AQI"]}}, FAILED),
        ("cmw-record", {"cbor": b"\x80"}, FAILED),
    ],
)
def test_wrappers_in_files(tmp_path: Path, kind: str, files: dict[str, Any], want: Outcome) -> None:
    assert run(kind, tmp_path, files).outcome is want


@pytest.mark.vectors
def test_certificate_without_a_wrapper_fails(tmp_path: Path, shared_vectors: Path) -> None:
    certificate = (shared_vectors / "cmw" / "veraison" / "x509-cert+cbor-cmw.der").read_bytes()
    assert run("cmw-x509", tmp_path, {"cert": certificate}).outcome is PASSED
    oid = bytes.fromhex("2b06010505070123")
    assert run("cmw-x509", tmp_path, {"cert": certificate.replace(oid, oid[:-1] + b"\x63")}).outcome is FAILED


# --- examples in diagnostic notation


def test_example_without_bytes_is_skipped() -> None:
    schema = named_edn_cbor("x", lambda case: None)
    assert schema.check is not None
    assert run_case("a", {"cbor": None}, schema.check).outcome is SKIPPED
    assert run_case("a", {"cbor": ""}, schema.check).outcome is PASSED


def test_example_is_read_as_its_protocol_says() -> None:
    record = encode_cmw_cbor(RECORD).hex()
    assert run_schema("named-edn-cbor", {"cbor": record}, "cmw").outcome is PASSED
    assert run_schema("named-edn-cbor", {"cbor": record}, "ear").outcome is FAILED
    assert run_schema("named-edn-cbor", {"cbor": record}, "cwt-eat").outcome is FAILED
    assert find_schema("named-edn-cbor", "tpm") is None
    assert recognise([{"name": "a", "edn": "[]", "cbor": record}]) is None


# --- claims


def test_claims_in_files(tmp_path: Path) -> None:
    assert run("eat", tmp_path, {"claims": {"swname": "a", "dbgstat": "disabled"}}, expect="parse").outcome is PASSED
    assert run("eat", tmp_path, {"claims": {"dbgstat": "off"}}, expect="parse").outcome is FAILED
    assert run("eat", tmp_path, {"claims": [["CBOR", "oA"], {"a": "e30"}]}, expect="parse").outcome is FAILED


PSA: dict[str | int, Any] = {"eat_profile": "http://arm.com/psa/2.0.0", 2394: 1, 2399: [{1: "BL", 2: b"\1"}]}
PSA_STATED = {
    "eat-profile": "http://arm.com/psa/2.0.0",
    "psa-client-id": 1,
    "psa-software-components": [{"measurement-type": "BL", "measurement-value": "AQ=="}],
}


@pytest.mark.parametrize(
    "changes, want",
    [
        ({}, PASSED),
        ({"psa-client-id": 2}, FAILED),
        ({"psa-nonce": "AA=="}, FAILED),
        ({"psa-new": 1}, FAILED),
        ({"psa-software-components": [{"measurement-type": "BL", "measurement-value": "AA=="}]}, FAILED),
    ],
)
def test_token_says_what_is_stated(tmp_path: Path, changes: dict[str, Any], want: Outcome) -> None:
    files = {"token": sign_cwt(PSA, P256, algorithm="ES256"), "key": KEY, "claims": {**PSA_STATED, **changes}}
    assert run("eat", tmp_path, files).outcome is want
    files["token"] = sign_cwt(PSA, OTHER, algorithm="ES256")
    assert run("eat", tmp_path, files).outcome is FAILED


@pytest.mark.parametrize("item", [{}, Tag(399, []), Tag(398, {}), Tag(399, {44234: b""})])
def test_token_of_cca_has_two_halves(tmp_path: Path, item: Any) -> None:
    files = {"token": cbor_general.encode(item), "key": KEY, "realm_key": KEY, "claims": {}}
    assert run("eat", tmp_path, files).outcome is FAILED


def test_cwt_with_a_mac_is_skipped(tmp_path: Path) -> None:
    assert run("cwt", tmp_path, {"vector": {}}, structure="cose-mac0").outcome is SKIPPED


# --- results

EAR = load_vectors(OWN_VECTORS / "ear.json")


@pytest.mark.parametrize("member", ["claims", "cbor", "jwt", "cwt"])
def test_change_in_a_signed_result_fails(member: str) -> None:
    good, other = EAR["cases"][:2]
    document = {"key": EAR["key"], "cases": [good]}
    [(_, case)] = find_cases(document)
    assert outcome(case, among=document) is PASSED
    assert outcome({**case, member: other[member]}, among=document) is FAILED


def find_cases(document: Any) -> list[tuple[str, Any]]:
    schema = recognise(document)
    assert schema is not None
    return list(schema.list_cases(document))


def test_negative_result_has_to_be_refused_in_both_forms() -> None:
    good = EAR["cases"][0]
    bad = next(case for case in EAR["cases"] if not case["valid"])
    for case in ({**bad, "jwt": good["jwt"]}, {**bad, "cwt": good["cwt"]}):
        document = {"key": EAR["key"], "cases": [case]}
        [(_, with_key)] = find_cases(document)
        assert outcome(with_key, among=document) is FAILED


@pytest.mark.parametrize(
    "case, want",
    [
        ({"tier": "warning", "value": 32}, PASSED),
        ({"tier": "warning", "value": 33}, FAILED),
        ({"tier": "warn", "valid": False}, PASSED),
        ({"tier": "warning", "value": 32, "valid": False}, FAILED),
        ({"in": {"hardware": "genuine_hw"}, "expect": {"hardware": 2}}, PASSED),
        ({"in": {"hardware": "genuine_hw"}, "expect": {"hardware": 32}}, FAILED),
        ({"in": {"hardware": "approved_fs"}, "valid": False}, PASSED),
    ],
)
def test_tiers_and_vectors(case: Case, want: Outcome) -> None:
    assert run_schema("ear-trust-vector-and-tier", case).outcome is want


@pytest.mark.parametrize(
    "change, profile, want",
    [
        ({}, "tag:github.com,2023:veraison/ear", PASSED),
        ({}, "tag:ietf.org,2026:rats/ear#04", FAILED),
        ({"iat": 1.5}, "tag:github.com,2023:veraison/ear", FAILED),
    ],
)
def test_claims_of_results(tmp_path: Path, change: dict[str, Any], profile: str, want: Outcome) -> None:
    claims = next(case for case in EAR["cases"] if case.get("name") == "Veraison's profile")["claims"]
    assert run("ear-claims", tmp_path, {"claims": {**claims, **change}}, profile=profile).outcome is want


@pytest.mark.parametrize("item", [{1: 2}, b"bytes", [Tag(1, 2)]])
def test_example_in_json_that_is_none_fails(item: Any) -> None:
    case = {"name": "an-example-json", "cbor": cbor_general.encode(item).hex()}
    result = run_schema("named-edn-cbor", case, "ear")
    assert (result.outcome, result.reason) == (FAILED, "the example is no JSON")
