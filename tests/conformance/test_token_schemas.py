"""Vectors of blind RSA and Privacy Pass: what passes, what fails, and what is skipped."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from confsec.conformance.cases import Outcome
from confsec.conformance.registry import recognise
from tests.conformance.support import Case, byte_strings, corrupt, outcome, run_one
from tests.support import OWN_VECTORS, load_vectors

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED


def case_of(name: str, number: int = 0) -> Case:
    case: Case = load_vectors(OWN_VECTORS / f"{name}.json")["cases"][number]
    return copy.deepcopy(case)


BLIND = case_of("blind_rsa_rfc9474")
PARTIALLY = case_of("blind_rsa_partially_draft")
CHALLENGE = case_of("privacy_pass_rfc9577_challenges")
HEADER = case_of("privacy_pass_rfc9577_header")
ISSUANCE = case_of("privacy_pass_rfc9578")
METADATA = case_of("privacy_pass_metadata")
BATCH = case_of("privacy_pass_batches", 2)
DEFECT = case_of("privacy_pass_invalid/token_for_another_origin")
# One item of another type: a truncated key id and an element, and the element that answers with its proof.
VOPRF: Case = {"type": "0001", "token_challenge": "0001" + CHALLENGE["issuer_name"]}
VOPRF_REQUEST, VOPRF_RESPONSE = "0001" + "11" * 50, "010001" + "22" * 145


def names(document: object) -> str:
    schema = recognise(document)
    assert schema is not None
    return schema.name


def mixed() -> Case:
    """Put a token of another type before those of ours."""
    case = case_of("privacy_pass_batches")
    request, response = bytes.fromhex(VOPRF_REQUEST), bytes.fromhex(VOPRF_RESPONSE)
    sizes = len(request) + 259, len(response) + 259
    case["issuance"].insert(0, VOPRF)
    case["token_request"] = (0x4000 | sizes[0]).to_bytes(2, "big").hex() + VOPRF_REQUEST + case["token_request"][4:]
    case["token_response"] = (0x4000 | sizes[1]).to_bytes(2, "big").hex() + VOPRF_RESPONSE + case["token_response"][4:]
    return case


@pytest.mark.parametrize(
    "case, name",
    [
        (BLIND, "blind-rsa-rfc9474"),
        (PARTIALLY, "partially-blind-rsa"),
        (CHALLENGE, "pp-token-challenge"),
        (HEADER, "pp-www-authenticate"),
        (ISSUANCE, "pp-issuance-type2"),
        (METADATA, "pp-issuance-pbrsa"),
        (BATCH, "pp-issuance-generic"),
        (DEFECT, "pp-defect"),
        ({"issuance": [ISSUANCE], "token_request": "41050103000208"}, "pp-issuance-generic-old"),
        ({"issuance": [ISSUANCE], "token_request": "zz"}, "pp-issuance-generic"),
        ({"issuance": [ISSUANCE], "token_request": ""}, "pp-issuance-generic"),
        ({"token_request": "", "nonce": "", "skS": ""}, "pp-issuance-voprf"),
        ({"token_request": "", "nonces": [], "sk_s": ""}, "pp-issuance-amortized"),
        ({"issuer_origin_alias": ""}, "pp-type3-anon-origin-id"),
        ({"encrypted_token_request": ""}, "pp-type3-origin-encryption"),
    ],
)
def test_forms_are_told_apart(case: Case, name: str) -> None:
    assert names([case]) == names({"source": "x", "cases": [case]}) == name


def test_encoding_is_recognised_without_a_list() -> None:
    document = {"msg": "", "salt": "", "expected": ""}
    assert names(document) == "emsa-pss"
    assert outcome(document, among=document) is FAILED


@pytest.mark.parametrize("case", [CHALLENGE, HEADER, METADATA, BATCH, PARTIALLY])
def test_one_wrong_bit_in_any_byte_string_fails(case: Case) -> None:
    assert outcome(case) is PASSED
    survivors = [
        place for place, text in byte_strings(case) if outcome(corrupt(case, place, text), among=[case]) is not FAILED
    ]
    assert survivors == []


@pytest.mark.parametrize(
    "base, change, want",
    [
        pytest.param(BLIND, {}, PASSED, id="blind"),
        pytest.param(BLIND, {"name": "RSABSSA-SHA512"}, FAILED, id="no variant"),
        pytest.param(BLIND, {"name": "RSABSSA-SHA384-PSS-Deterministic"}, FAILED, id="another variant"),
        pytest.param(BLIND, {"sLen": "0x00"}, FAILED, id="another salt length"),
        pytest.param(BLIND, {"is_randomized": "0x00"}, FAILED, id="said not to be randomized"),
        pytest.param(BLIND, {"d": "0x03"}, FAILED, id="another private exponent"),
        pytest.param(BLIND, {"inv": 7}, FAILED, id="a number that is no text"),
        pytest.param(BLIND, {"inv": "0x"}, FAILED, id="a number without digits"),
        pytest.param(BLIND, {"valid": False}, FAILED, id="good, and said to be bad"),
        pytest.param(PARTIALLY, {"name": "RSAPBSSA-SHA384-PSS-Randomized"}, FAILED, id="variant needs a prefix"),
        pytest.param(PARTIALLY, {"msg_prefix": "00"}, FAILED, id="a prefix that does not belong"),
        pytest.param(CHALLENGE, {"token_type": 2}, PASSED, id="type as a number"),
        pytest.param(CHALLENGE, {"token_type": "0x0002"}, PASSED, id="type with 0x"),
        pytest.param(CHALLENGE, {"token_type": "two"}, FAILED, id="no type"),
        pytest.param(CHALLENGE, {"token_type": 65536}, FAILED, id="type too large"),
        pytest.param(CHALLENGE, {"token_type": 5}, FAILED, id="another type"),
        pytest.param(HEADER, {"max-age-0": "10"}, PASSED, id="age as text"),
        pytest.param(HEADER, {"max-age-0": 11}, FAILED, id="another age"),
        pytest.param(HEADER, {"max-age-0": None}, FAILED, id="age that is not stated"),
        pytest.param(HEADER, {"token-type-0": 1}, FAILED, id="another type in the challenge"),
        pytest.param(HEADER, {"token-type-0": None}, PASSED, id="type not stated"),
        pytest.param(HEADER, {"token-key-0": ""}, FAILED, id="key that is not stated"),
        pytest.param(HEADER, {"token-challenge-1": "00"}, FAILED, id="one challenge more"),
        pytest.param(HEADER, {"WWW-Authenticate": 7}, FAILED, id="no field"),
        pytest.param(HEADER, {"WWW-Authenticate": "PrivateToken"}, FAILED, id="malformed field"),
        pytest.param(HEADER, {"WWW-Authenticate": "PrivateToken", "valid": False}, PASSED, id="malformed, as stated"),
        pytest.param(ISSUANCE, {"skS": METADATA["skS"]}, FAILED, id="another private key"),
        pytest.param(ISSUANCE, {"token": METADATA["token"]}, FAILED, id="another token"),
        pytest.param(BATCH, {"issuance": []}, FAILED, id="no items"),
        pytest.param(BATCH, {"issuance": 7}, FAILED, id="items that are none"),
        pytest.param(BATCH, {"issuance": BATCH["issuance"][:2]}, FAILED, id="an item less"),
        pytest.param(BATCH, {"token_response": "00"}, FAILED, id="no responses"),
        pytest.param(DEFECT, {}, PASSED, id="defect"),
        pytest.param(DEFECT, {"code": "token_challenge"}, FAILED, id="refused for something else"),
        pytest.param(DEFECT, {"code": ""}, FAILED, id="no code"),
        pytest.param(DEFECT, {"good": None}, FAILED, id="nothing good"),
        pytest.param(DEFECT, {"good": {"origin": "nobody.example"}}, FAILED, id="bad without its defect too"),
        pytest.param(DEFECT, {"origin": "router.example"}, FAILED, id="no defect"),
        pytest.param(DEFECT, {"structure": "unheard-of"}, SKIPPED, id="structure that we do not know"),
    ],
)
def test_outcomes(base: Case, change: dict[str, Any], want: Outcome) -> None:
    assert outcome({**base, **change}, among=[base]) is want


def test_other_types_in_a_batch_are_passed_over() -> None:
    case = mixed()
    assert outcome(case) is PASSED
    for change in ({"token_request": case["token_request"] + "00"}, {"token_response": case["token_response"][:-2]}):
        assert outcome({**case, **change}) is FAILED


def test_a_batch_of_other_types_is_skipped() -> None:
    case = {"issuance": [VOPRF], "token_request": "34" + VOPRF_REQUEST, "token_response": "4094" + VOPRF_RESPONSE}
    result = run_one(case)
    assert (result.outcome, "VOPRF" in result.reason) == (SKIPPED, True)
    assert outcome({**case, "issuance": [{**VOPRF, "token_challenge": "0002"}]}) is FAILED
    assert outcome({**case, "token_response": "4094" + VOPRF_RESPONSE.replace("010001", "000001", 1)}) is FAILED
    unknown = {"type": "0003", "token_challenge": "0003"}
    assert outcome({**case, "issuance": [unknown]}) is SKIPPED


def test_a_batch_in_the_older_framing_has_to_be_refused() -> None:
    old = {"issuance": [ISSUANCE], "token_request": "41050103000208", "token_response": "41020100"}
    assert outcome(old) is PASSED
    good = case_of("privacy_pass_batches")
    assert outcome(good, among=[old]) is FAILED
    assert outcome({**old, "issuance": []}, among=[old]) is FAILED


def test_an_issuer_that_refused_is_no_success() -> None:
    case = case_of("privacy_pass_batches")
    case["token_response"] = "0100"
    assert outcome(case) is FAILED


def test_a_key_of_another_kind_is_no_key() -> None:
    # An Ed25519 key in PEM (RFC 8410, section 10.3).
    pem = (
        b"-----BEGIN PRIVATE KEY-----\n"
        b"MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
        b"-----END PRIVATE KEY-----\n"
    )
    result = run_one({**ISSUANCE, "skS": pem.hex()})
    assert (result.outcome, result.reason) == (FAILED, "skS is no RSA key")
