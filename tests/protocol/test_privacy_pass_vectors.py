"""The vectors of the RFCs and drafts, those that others published, and ours with one defect each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from confsec.conformance.cases import CaseSkippedError
from confsec.conformance.registry import find_schema, recognise
from tests.support import OWN_VECTORS, SHARED_VECTORS, load_vectors

OWN = [
    *sorted(OWN_VECTORS.glob("blind_rsa*.json")),
    *sorted(OWN_VECTORS.glob("privacy_pass*.json")),
    *sorted((OWN_VECTORS / "blind_rsa_invalid").glob("*.json")),
    *sorted((OWN_VECTORS / "privacy_pass_invalid").glob("*.json")),
]


def own_cases() -> list[Any]:
    cases = []
    for path in OWN:
        document = load_vectors(path)
        schema = recognise(document)
        assert schema is not None, path
        listed = list(schema.list_cases(document))
        cases += [
            pytest.param(schema.check, case, id=f"{path.stem}-{number}") for number, (_, case) in enumerate(listed)
        ]
    return cases


def shared_cases() -> list[Any]:
    cases = []
    for manifest in sorted(SHARED_VECTORS.glob("blind-rsa/cases.json")) + sorted(
        SHARED_VECTORS.glob("privacypass/cases.json")
    ):
        for entry in json.loads(manifest.read_text(encoding="utf-8"))["cases"]:
            schema = find_schema(entry["schema"])
            assert schema is not None, entry["schema"]
            document = load_vectors(manifest.parent / entry["files"]["vectors"])
            listed = list(schema.list_cases(document)) if schema.check else []
            cases += [
                pytest.param(schema.check, case, id=f"{entry['id']}-{number}")
                for number, (_, case) in enumerate(listed)
            ]
    return cases


@pytest.mark.parametrize("check, case", own_cases())
def test_vectors_in_the_repository(check: Any, case: Any) -> None:
    check(case)


@pytest.mark.vectors
@pytest.mark.parametrize("check, case", shared_cases())
def test_published_vectors(check: Any, case: Any, shared_vectors: Path) -> None:
    try:
        check(case)
    except CaseSkippedError as exc:
        # A batch of other types only: nothing of it is ours to check.
        assert "VOPRF" in str(exc)  # noqa: PT017 - what is skipped says why


def test_there_are_bad_inputs_of_each_kind() -> None:
    kinds = {
        load_vectors(path)["cases"][0]["structure"]
        for path in OWN
        if path.parent.name in {"blind_rsa_invalid", "privacy_pass_invalid"}
    }
    assert len(kinds) == 15
    assert len(OWN) > 100
