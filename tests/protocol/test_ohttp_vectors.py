"""RFC 9458, the chunked draft, and what others published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.ohttp_cases import CHECKS, Case
from tests.support import OWN_VECTORS, SHARED_VECTORS, load_vectors


def own_cases() -> list[Any]:
    files = {
        "ohttp_rfc9458_appendix_a.json": "ohttp-exchange",
        "ohttp_chunked_draft_example.json": "ohttp-chunked-exchange",
    }
    return [
        pytest.param(schema, case, id=case["name"])
        for name, schema in files.items()
        for case in load_vectors(OWN_VECTORS / name)["cases"]
    ]


def shared_cases() -> list[Any]:
    manifest = SHARED_VECTORS / "ohttp" / "cases.json"
    if not manifest.exists():
        return []
    return [
        pytest.param(entry["schema"], case, id=f"{entry['id']}-{case['name']}")
        for entry in json.loads(manifest.read_text())["cases"]
        for case in load_vectors(manifest.parent / entry["files"]["vectors"])["cases"]
    ]


@pytest.mark.parametrize("schema, case", own_cases())
def test_examples_of_the_standards(schema: str, case: Case) -> None:
    CHECKS[schema](case)


@pytest.mark.vectors
@pytest.mark.parametrize("schema, case", shared_cases())
def test_published_vectors(schema: str, case: Case, shared_vectors: Path) -> None:
    CHECKS[schema](case)


@pytest.mark.vectors
def test_all_published_cases_are_run(shared_vectors: Path) -> None:
    entries = json.loads((shared_vectors / "ohttp" / "cases.json").read_text())["cases"]
    assert {entry["schema"] for entry in entries} <= set(CHECKS)
    assert len(shared_cases()) == sum(entry["count"] for entry in entries) > 0


def test_framing_takes_long_payloads_and_lists_of_keys() -> None:
    CHECKS["ohttp-chunk-framing"]({"payload_repeat": ["ab", 16384], "final": False, "wire_prefix": "80004000abab"})
    config = "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003"
    CHECKS["ohttp-key-config"](
        {"input": "002d" + config, "expect": "accept", "media": "application/ohttp-keys", "keyIds": [1]}
    )
