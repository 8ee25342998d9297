"""A vector with one wrong bit fails: no byte string that a good case states goes unread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from confsec.conformance.cases import Outcome
from confsec.conformance.registry import recognise
from tests.conformance.support import Case, Place, byte_strings, corrupt, outcome
from tests.support import OWN_VECTORS, load_vectors

FILES = [
    "hpke_rfc9180.json",
    "hpke_pq_draft.json",
    "ohttp_rfc9458_appendix_a.json",
    "ohttp_chunked_draft_example.json",
    "bhttp_rfc9292_section5.json",
    "sealed/one_recipient.json",
    "sealed/one_recipient_tpm.json",
]


def cases_of(document: Any) -> list[Case]:
    schema = recognise(document)
    assert schema is not None
    return [case for _, case in schema.list_cases(document) if isinstance(case, dict)]


def is_free(case: Case, place: Place) -> bool:
    """Say whether a value can differ and the case still holds."""
    # ML-KEM takes no randomness from us, so what an encapsulation was made from is not all read; and an exchange uses
    # one of the suites that the key configuration lists.
    return place == ("ikmE",) and "skEm" not in case


def survivors(cases: list[Case], document: object) -> list[tuple[int, Place]]:
    return [
        (number, place)
        for number, case in enumerate(cases)
        for place, text in byte_strings(case)
        if not is_free(case, place) and outcome(corrupt(case, place, text), among=document) is not Outcome.FAILED
    ]


@pytest.mark.parametrize("name", FILES)
def test_one_wrong_bit_in_any_byte_string_fails(name: str) -> None:
    document = load_vectors(OWN_VECTORS / name)
    cases = cases_of(document)
    assert {outcome(case, among=document) for case in cases} == {Outcome.PASSED}
    assert survivors(cases, document) == []


@pytest.mark.vectors
@pytest.mark.parametrize(
    "name", ["hpke/rfc9180.json", "ohttp/rfc9458-appendix-a.json", "ohttp/chunked-ohttp-draft-example.json"]
)
def test_one_wrong_bit_in_a_published_case_fails(shared_vectors: Path, name: str) -> None:
    document = load_vectors(shared_vectors / name)
    assert survivors(cases_of(document)[:40:13], document) == []


@pytest.mark.vectors
@pytest.mark.parametrize(
    "name",
    [
        "blind-rsa/rfc9474.json",
        "blind-rsa/partially-blind-rsa-draft02.json",
        "privacypass/auth-scheme-extensions-draft01.json",
        "privacypass/pbrsa-metadata-draft03.json",
        "privacypass/rfc9577-token-challenge.json",
        "privacypass/rfc9577-www-authenticate.json",
        "privacypass/rfc9578-type2-publicly-verifiable.json",
    ],
)
def test_one_wrong_bit_in_a_published_case_of_tokens_fails(shared_vectors: Path, name: str) -> None:
    document = load_vectors(shared_vectors / name)
    assert survivors(cases_of(document)[:2], document) == []


@pytest.mark.vectors
@pytest.mark.parametrize("name", ["x25519_test.json", "mlkem_768_test.json"])
def test_one_wrong_bit_in_a_primitive_fails(shared_vectors: Path, name: str) -> None:
    document = load_vectors(shared_vectors / "primitives" / name)
    cases = [case for case in cases_of(document) if case["result"] == "valid"][:20]
    assert len(cases) == 20
    assert survivors(cases, document) == []
