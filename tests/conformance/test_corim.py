"""The checks for vectors of CoRIM: what they accept, and that they notice what is wrong with a vector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from confsec.conformance.cases import CaseResult, MismatchError, Outcome, run_case
from confsec.conformance.corim import KINDS, SCHEMAS
from confsec.conformance.corim_coserv import decode_coserv, decode_discovery
from confsec.conformance.corim_diag import parse_diagnostic
from confsec.conformance.corim_profiles import PROFILES, check_profile
from confsec.conformance.kinds import CaseFile, FileCase, run_file_case
from confsec.conformance.manifest import Manifest
from confsec.errors import DecodeError
from confsec.protocol.cbor_general import CborItem, CborKey, Tag, encode
from confsec.protocol.corim import Corim
from confsec.protocol.corim_signed import CORIM_TYPE
from confsec.protocol.cose import sign1
from tests.protocol.corim_cases import comid_item, corim, corim_item, encode_corim

CHECKS = {kind.name: kind for kind in KINDS}
KEY = Tag(554, "key")


def run(tmp_path: Path, kind: str, *, expect: str = "accept", params: Any = None, **files: bytes) -> CaseResult:
    for role, data in files.items():
        (tmp_path / role).write_bytes(data)
    case = FileCase(
        id="x",
        kind=kind,
        files={role: CaseFile(tmp_path / role) for role in files},
        expect=expect,
        params=params or {},
    )
    return run_file_case(CHECKS[kind], case)


@pytest.mark.vectors
def test_published_vectors_pass(shared_vectors: Path) -> None:
    folder = shared_vectors / "corim"
    manifest = Manifest.from_json(json.loads((folder / "cases.json").read_text()), folder)
    assert manifest is not None
    results = [run_file_case(CHECKS[entry.kind], entry.case) for entry in manifest.entries if entry.kind in CHECKS]
    assert [result for result in results if result.outcome is not Outcome.PASSED] == []
    assert len(results) >= 83


@pytest.mark.vectors
def test_examples_of_the_draft_pass_but_for_those_that_are_made_up(shared_vectors: Path) -> None:
    document = json.loads((shared_vectors / "corim" / "draft-examples.json").read_text())
    check = SCHEMAS[0].check
    assert check is not None
    results = [run_case(case["name"], case, check) for case in document["cases"]]
    skipped = [result.name for result in results if result.outcome is Outcome.SKIPPED]
    assert skipped == [
        "cmw-corim-collection.diag",
        "intrep-rel-ae-1.diag",
        "intrep-rel-ev-1.diag",
        "intrep-rel-evs-1.diag",
        "intrep-rel-rv-1.diag",
    ]
    assert all(result.outcome is not Outcome.FAILED for result in results)


@pytest.mark.vectors
def test_what_refuses_a_vector_of_a_profile_is_a_rule_of_the_profile(shared_vectors: Path) -> None:
    """All of them are good CoRIMs but one, whose class breaks the rule of CoRIM itself."""
    folder = shared_vectors / "corim"
    manifest = Manifest.from_json(json.loads((folder / "cases.json").read_text()), folder)
    assert manifest is not None
    refused = [entry.case for entry in manifest.entries if entry.expect == "refuse"]
    assert len(refused) >= 38
    broken = [case.id for case in refused if _is_broken(case.read("corim"))]
    assert broken == ["scheme-sevsnp-corim-sevsnp-bad-ta-no-vendor"]


def _is_broken(data: bytes) -> bool:
    try:
        Corim.decode(data)
    except DecodeError:
        return True
    return False


# --- Rules of profiles ------------------------------------------------------------------------------------------------

PSA, PLATFORM, REALM, SNP, PARSEC, ENACT = PROFILES
IMPLEMENTATION: dict[Any, Any] = {0: {0: Tag(560, bytes(32))}}
UEID = Tag(550, b"\x01" + bytes(32))
NODE: CborItem = {1: Tag(37, bytes(16))}
BOARD: CborItem = {0: {0: Tag(37, bytes(16))}}
SIGNER: CborItem = [Tag(560, bytes(32))]
HASH: CborItem = [[1, bytes(32)]]


def reference(environment: CborItem, *measurements: tuple[CborItem, CborItem]) -> CborItem:
    """Return a CoMID of one reference triple; a measurement key that is None is left out."""
    listed: list[CborItem] = [{1: mval} if mkey is None else {0: mkey, 1: mval} for mkey, mval in measurements]
    return comid_item(triples={0: [[environment, listed]]})


def attest_key(environment: CborItem, *keys: CborItem) -> CborItem:
    return comid_item(triples={3: [[environment, list(keys)]]})


GOOD: list[tuple[str, CborItem]] = [
    (PSA, reference(IMPLEMENTATION, ("psa.software-component", {2: HASH, 13: SIGNER, 0: {0: "1", 1: 1}}))),
    (PSA, attest_key({**IMPLEMENTATION, 1: UEID}, KEY)),
    (PLATFORM, reference(IMPLEMENTATION, ("cca.software-component", {2: HASH, 13: SIGNER, 0: {0: "1"}}))),
    (PLATFORM, reference(IMPLEMENTATION, ("cca.platform-config", {4: Tag(560, b"x")}))),
    (
        REALM,
        reference(IMPLEMENTATION, ("cca.rim", {2: HASH}), ("cca.rem0", {2: HASH}), ("cca.rpv", {4: Tag(560, b"")})),
    ),
    (SNP, reference({1: Tag(560, bytes(64))}, (641, {2: HASH}))),
    (SNP, attest_key({0: {1: "AMD", 2: "ARK-Milan"}}, Tag(555, "c"), Tag(556, "p"))),
    (PARSEC, reference(BOARD, (0, {2: HASH}))),
    (PARSEC, attest_key({0: {0: Tag(37, bytes(16))}, 1: Tag(560, b"")}, KEY)),
    (ENACT, reference(NODE, (None, {2: HASH}))),
    (ENACT, attest_key(NODE, KEY)),
]

BAD: list[tuple[str, CborItem]] = [
    (PSA, reference({0: {0: Tag(560, bytes(31))}}, ("psa.software-component", {2: HASH, 13: SIGNER}))),
    (PSA, reference({0: {1: "x"}}, ("psa.software-component", {2: HASH, 13: SIGNER}))),
    (PSA, reference({**IMPLEMENTATION, 1: UEID}, ("psa.software-component", {2: HASH, 13: SIGNER}))),
    (PSA, reference(IMPLEMENTATION, (None, {2: HASH, 13: SIGNER}))),
    (PSA, reference(IMPLEMENTATION, ("psa.software-component", {2: [[1, bytes(31)]], 13: SIGNER}))),
    (PSA, reference(IMPLEMENTATION, ("psa.software-component", {2: HASH}))),
    (PSA, reference(IMPLEMENTATION, ("psa.software-component", {2: HASH, 13: [KEY]}))),
    (PSA, attest_key(IMPLEMENTATION, KEY)),
    (PSA, attest_key({**IMPLEMENTATION, 1: Tag(550, b"\x02" + bytes(32))}, KEY)),
    (PSA, attest_key({**IMPLEMENTATION, 1: UEID}, KEY, KEY)),
    (PSA, attest_key({**IMPLEMENTATION, 1: UEID}, Tag(555, "c"))),
    (PLATFORM, reference(IMPLEMENTATION, ("cca.software-component", {2: HASH, 13: SIGNER, 0: {0: "1", 1: 1}}))),
    (PLATFORM, reference(IMPLEMENTATION, ("cca.platform-config", {2: HASH}))),
    (PLATFORM, reference(IMPLEMENTATION, (None, {2: HASH, 13: SIGNER}))),
    (REALM, reference({1: UEID}, ("cca.rim", {2: HASH}))),
    (REALM, reference(IMPLEMENTATION, ("cca.rem0", {2: HASH}))),
    (REALM, reference(IMPLEMENTATION, ("cca.rim", {2: HASH}), ("cca.rpv", {2: HASH}))),
    (REALM, reference(IMPLEMENTATION, ("cca.rim", {2: HASH}), ("cca.rem4", {2: HASH}))),
    (REALM, reference(IMPLEMENTATION, ("cca.rim", {2: [[1, bytes(32)], [7, bytes(48)]]}))),
    (REALM, attest_key({**IMPLEMENTATION, 1: UEID}, KEY)),
    (SNP, reference({0: {1: "AMD"}}, (641, {2: HASH}))),
    (SNP, reference({1: Tag(560, bytes(64))}, ("641", {2: HASH}))),
    (SNP, attest_key({0: {1: "AMD"}}, Tag(555, "c"))),
    (SNP, attest_key({1: Tag(560, b"")}, Tag(555, "c"))),
    (SNP, attest_key({0: {1: "AMD", 2: "ARK-Milan"}}, KEY)),
    (PARSEC, reference(IMPLEMENTATION, (0, {2: HASH}))),
    (PARSEC, reference({0: {0: Tag(37, bytes(16))}, 1: UEID}, (0, {2: HASH}))),
    (PARSEC, reference({0: {0: Tag(37, bytes(16))}, 2: Tag(560, b"")}, (0, {2: HASH}))),
    (PARSEC, reference(BOARD, ("0", {2: HASH}))),
    (PARSEC, reference(BOARD, (0, {1: 1}))),
    (PARSEC, attest_key(BOARD, KEY)),
    (PARSEC, attest_key({0: {0: Tag(37, bytes(16))}, 1: Tag(560, b"")}, KEY, KEY)),
    (ENACT, reference(BOARD, (None, {2: HASH}))),
    (ENACT, reference({1: Tag(37, bytes(16)), 2: Tag(560, b"")}, (None, {2: HASH}))),
    (ENACT, reference(NODE, (None, {2: HASH}), (None, {2: HASH}))),
    (ENACT, reference(NODE, (None, {2: [[1, bytes(32)], [7, bytes(48)]]}))),
    (ENACT, attest_key(NODE, KEY, KEY)),
]


@pytest.mark.parametrize("uri, comid", GOOD)
def test_what_keeps_to_its_profile_passes(tmp_path: Path, uri: str, comid: CborItem) -> None:
    data = encode_corim(corim_item(comid, m3=Tag(32, uri)))
    assert run(tmp_path, "corim", corim=data).outcome is Outcome.PASSED


@pytest.mark.parametrize("uri, comid", BAD)
def test_what_breaks_its_profile_is_refused(tmp_path: Path, uri: str, comid: CborItem) -> None:
    data = encode_corim(corim_item(comid, m3=Tag(32, uri)))
    result = run(tmp_path, "corim", corim=data)
    assert result.outcome is Outcome.FAILED
    assert "refused: a profile asks for" in result.reason


def test_another_profile_than_stated_is_refused() -> None:
    value = corim(reference(NODE, (None, {2: HASH})), m3=Tag(32, ENACT))
    check_profile(value, ("tpm-enacttrust",))
    for broken in (value, corim(), corim(m3=Tag(111, b"\x2a"))):
        with pytest.raises(DecodeError, match="without the profile"):
            check_profile(broken, ("psa", "cca"))


def test_a_corim_of_a_profile_that_we_do_not_know_is_only_read(tmp_path: Path) -> None:
    assert run(tmp_path, "corim", corim=encode_corim(corim_item(m3=Tag(32, "tag:x")))).outcome is Outcome.PASSED
    params = {"scheme": "arm-cca"}
    data = encode_corim(corim_item(m3=Tag(32, "tag:x")))
    assert run(tmp_path, "corim", params=params, expect="refuse", corim=data).outcome is Outcome.PASSED
    assert run(tmp_path, "corim", expect="refuse", corim=data).outcome is Outcome.FAILED


def test_a_signed_corim_without_content_is_skipped(tmp_path: Path) -> None:
    headers: dict[CborKey, CborItem] = {3: CORIM_TYPE, 8: encode({0: {0: "x"}})}
    message = sign1(b"", ec.derive_private_key(7, ec.SECP256R1()), algorithm="ES256", protected=headers, detached=True)
    result = run(tmp_path, "corim", corim=message.encode())
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "the content of this CoRIM travels elsewhere")


# --- Examples of the draft --------------------------------------------------------------------------------------------


def example(name: str, item: CborItem) -> Outcome:
    check = SCHEMAS[0].check
    assert check is not None
    return run_case("x", {"name": name, "cbor": encode(item).hex()}, check).outcome


@pytest.mark.parametrize(
    "name, item, outcome",
    [
        ("comid-x", comid_item(), Outcome.PASSED),
        ("comid-x", {1: {}}, Outcome.FAILED),
        ("corim-x", Tag(501, corim_item()), Outcome.PASSED),
        ("corim-x", corim_item(), Outcome.FAILED),
        ("protected-header-map-x", [], Outcome.FAILED),
        ("intrep-x", [{"cmtype": 1}], Outcome.PASSED),
        ("intrep-x", [{"cmtype": "1"}], Outcome.FAILED),
        ("intrep-x", [], Outcome.FAILED),
        ("intrep-x", 1, Outcome.FAILED),
        ("intrep-x", {"addition": {"environment": {}}}, Outcome.FAILED),
        ("intrep-x", {"series": [[{"element-list": [{"element-id": -1}]}]]}, Outcome.FAILED),
        ("other-x", [], Outcome.SKIPPED),
    ],
)
def test_an_example_is_checked_by_the_kind_that_its_name_says(name: str, item: CborItem, outcome: Outcome) -> None:
    assert example(name, item) is outcome


# --- CoSERV -----------------------------------------------------------------------------------------------------------

SELECTOR: CborItem = {0: [[{1: "x"}]]}
QUERY: CborItem = {0: 2, 1: SELECTOR, 2: 0}
DATE = Tag(0, "2030-12-13T18:30:02Z")
TRIPLE: CborItem = [{0: {1: "x"}}, [{1: {1: 1}}]]


def coserv(query: CborItem = QUERY, results: CborItem = None) -> dict[Any, Any]:
    return {0: "tag:x", 1: query} | ({} if results is None else {2: results})


@pytest.mark.parametrize(
    "item",
    [
        coserv(),
        coserv({0: 0, 1: {1: [[Tag(560, b"")]]}, 2: 2}),
        coserv({0: 1, 1: {2: [[Tag(37, bytes(16)), [{1: {1: 1}}]]]}, 2: 1}),
        coserv({3: [[0, "name"], [2, bytes(16)]]}),
        coserv(results={0: [], 10: DATE}),
        coserv(results={0: [{1: [KEY], 2: TRIPLE}], 10: DATE, 11: [["text/plain", b"x"]]}),
        coserv(results={1: [{1: [KEY], 2: TRIPLE}], 2: [{1: [KEY], 2: [[TRIPLE], [TRIPLE]]}], 10: DATE}),
        coserv(results={3: [{1: [KEY], 2: [{0: {1: "x"}}, [KEY]]}], 10: DATE}),
        {0: Tag(111, b"\x2a"), 1: QUERY},
    ],
)
def test_messages_of_coserv_are_read(item: CborItem) -> None:
    assert decode_coserv(encode(item)) == item


@pytest.mark.parametrize(
    "item",
    [
        [],
        {1: QUERY},
        {0: Tag(32, "tag:x"), 1: QUERY},
        coserv({0: 4, 1: SELECTOR, 2: 0}),
        coserv({0: 2, 1: SELECTOR, 2: 3}),
        coserv({0: 2, 1: {}, 2: 0}),
        coserv({0: 2, 1: {0: [[{1: "x"}]], 2: [[Tag(560, b"")]]}, 2: 0}),
        coserv({0: 2, 1: SELECTOR, 2: 0, 3: [[0, "x"]]}),
        coserv({3: [[3, "x"]]}),
        coserv(results={10: DATE}),
        coserv(results={0: []}),
        coserv(results={0: [], 3: [], 10: DATE}),
        coserv(results={1: [], 10: DATE}),
        coserv(results={0: [{2: TRIPLE}], 10: DATE}),
        coserv(results={0: [], 10: "2030-12-13T18:30:02Z"}),
        coserv(results={0: [], 10: Tag(0, "tomorrow")}),
        coserv(results={0: [], 10: Tag(0, "2030-12-13T18:30:02")}),
        coserv(results={0: [], 10: Tag(0, 5)}),
    ],
)
def test_messages_that_break_coserv_are_refused(item: CborItem) -> None:
    with pytest.raises(DecodeError):
        decode_coserv(encode(item))


DISCOVERY: dict[Any, Any] = {1: "1.0", 2: [{1: "text/plain", 2: ["collected"]}], 3: {"A": "/a"}}


def test_a_discovery_document_is_compared_in_all_its_forms(tmp_path: Path) -> None:
    diag = b'{1: "1.0", 2: [{1: "text/plain", 2: ["collected"]}], 3: {"A": "/a"}}'
    words = {
        "version": "1.0",
        "capabilities": [{"media-type": "text/plain", "artifact-support": ["collected"]}],
        "api-endpoints": {"A": "/a"},
    }
    good: dict[str, Any] = {"cbor": encode(DISCOVERY), "diag": diag, "json": json.dumps(words).encode()}
    assert run(tmp_path, "coserv", **good).outcome is Outcome.PASSED
    for role, wrong in (("diag", diag.replace(b"/a", b"/b")), ("json", good["json"].replace(b"/a", b"/b"))):
        assert run(tmp_path, "coserv", **(good | {role: wrong})).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "change",
    [{1: 1}, {2: []}, {2: [{1: "x", 2: ["all"]}]}, {2: [{1: "x", 2: ["rims", "rims"]}]}, {3: {}}, {3: []}, {4: []}],
)
def test_a_discovery_document_that_breaks_its_rule_is_refused(change: dict[Any, Any]) -> None:
    with pytest.raises(DecodeError):
        decode_discovery(encode(DISCOVERY | change))


# --- Diagnostic notation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, item",
    [
        ("1", 1),
        ("-17", -17),
        (' / a "comment" / "a/b" ', "a/b"),
        (r'"a\"\u00e9"', 'a"é'),
        ("h'00FFab'", b"\x00\xff\xab"),
        ("h''", b""),
        ("[1, [true, false], null]", [1, [True, False], None]),
        ("{}", {}),
        ('{1: "x", "y": [ ]}', {1: "x", "y": []}),
        ("37(h'00')", Tag(37, b"\x00")),
        ("1(2(3))", Tag(1, Tag(2, 3))),
    ],
)
def test_diagnostic_notation_is_read(text: str, item: CborItem) -> None:
    assert parse_diagnostic(text) == item


@pytest.mark.parametrize(
    "text", ["", "1 2", "[1 2]", "[1,", "{1 2}", "{1: 2 3: 4}", "h'0", "(1)", "1(2", "]", "'text'", "[1: 2]", "truth"]
)
def test_what_is_no_diagnostic_notation_is_a_mismatch(text: str) -> None:
    with pytest.raises(MismatchError):
        parse_diagnostic(text)
