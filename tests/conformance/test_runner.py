"""Which files are run, how often, and what is made of those that cannot be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from confsec.conformance import runner
from confsec.conformance.cases import (
    Case,
    CaseResult,
    CaseSkippedError,
    MismatchError,
    Outcome,
    check_refused,
    check_same,
    run_case,
)
from confsec.conformance.reports import FileReport
from confsec.conformance.runner import run_vectors
from confsec.errors import ConfigError, DecodeError, LocalProtocolError
from tests.conformance.support import counts, only_report, write
from tests.support import OWN_VECTORS, load_vectors

OK = {"name": "a response", "encoded": "0140c8", "decoded": {"status": 200}, "valid": True}
BAD = {"name": "a wrong status", "encoded": "0140c9", "decoded": {"status": 200}, "valid": True}


COUNTS = ("passed", "failed", "skipped")
ATTESTATION = {
    "cmw": [34, 0, 0],
    "corim": [115, 0, 5],
    "cose": [24, 0, 63],  # other messages than COSE_Sign1
    "cwt-eat": [21, 0, 3],  # tokens that are encrypted or have a MAC
    "ear": [21, 0, 0],
    "merkle": [400, 0, 3],  # roots that are no hashes
    "scitt": [7, 0, 44],  # DIDs of issuers, and a receipt of CCF's tree
    "sev-snp": [38, 0, 0],
    "sigstore": [69, 0, 15],  # signed with a bare key, in binary form, or no bundle
    "tdx": [25, 0, 0],
    "tlog": [63, 0, 8],  # what the peer reads and the standard forbids
    "tpm": [36, 0, 0],
}
"""Sets whose cases are files of their own, a few for each file: how many cases passed, failed and were skipped."""


def manifest(*cases: object, protocol: str = "bhttp", **more: object) -> dict[str, object]:
    return {"protocol": protocol, "cases": list(cases), **more}


def entry(name: str, **members: object) -> dict[str, object]:
    files = {"vectors": name}
    return {"kind": "json-list", "files": files, "schema": "bhttp-message", "count": 1, "expect": "per-case", **members}


# --- cases


def test_every_way_to_end_a_case() -> None:
    def ends(error: Exception | None) -> CaseResult:
        def check(case: Case) -> None:
            if error:
                raise error

        return run_case("a", {}, check)

    assert ends(None) == CaseResult("a", Outcome.PASSED)
    assert ends(CaseSkippedError("no")) == CaseResult("a", Outcome.SKIPPED, "no")
    assert ends(MismatchError("x differs")) == CaseResult("a", Outcome.FAILED, "x differs")
    assert ends(DecodeError("bad", got="1\n2")) == CaseResult("a", Outcome.FAILED, "refused: bad: got 1 2 [decode]")
    assert ends(KeyError("x")) == CaseResult("a", Outcome.FAILED, "KeyError: 'x'")
    assert ends(RecursionError("deep")).outcome is Outcome.FAILED


def test_a_difference_is_shown_where_it_begins() -> None:
    with pytest.raises(MismatchError, match="enc differs from byte 100: got 01ff, want 02ff"):
        check_same("enc", bytes(100) + b"\1\xff", bytes(100) + b"\2\xff")
    with pytest.raises(MismatchError, match=r"enc differs from byte 2: got nothing, want 0{32}…"):
        check_same("enc", b"ab", b"ab" + bytes(40))
    with pytest.raises(MismatchError, match="flag differs: got 1, want True"):
        check_same("flag", 1, True)


def test_a_misuse_of_our_own_is_no_refusal() -> None:
    def misuse() -> None:
        raise LocalProtocolError("wrong step")

    check_refused(misuse, locally=True)
    with pytest.raises(MismatchError, match="not refused but misused: wrong step"):
        check_refused(misuse)


# --- files


def test_folder_is_walked_and_each_file_is_run_by_its_form(tmp_path: Path) -> None:
    write(tmp_path / "b" / "any name.json", [OK, OK])
    write(tmp_path / "a.json", {"cases": [OK, BAD], "more": 1})
    reports = list(run_vectors([tmp_path]))
    assert [(Path(report.file).name, counts(report)) for report in reports] == [
        ("a.json", (1, 1, 0)),
        ("any name.json", (2, 0, 0)),
    ]
    assert reports[0].reason == "a wrong status: status differs: got 201, want 200"


def test_file_is_run_once_however_often_it_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [OK])
    (tmp_path / "link.json").symlink_to(path)
    assert len(list(run_vectors([path, tmp_path, tmp_path / "." / "a.json"]))) == 1


def test_empty_folder_has_no_reports(tmp_path: Path) -> None:
    assert list(run_vectors([tmp_path])) == []


def test_what_explains_or_makes_vectors_is_passed_over(tmp_path: Path) -> None:
    for name in ("README.md", "make.py", ".hidden.json", ".git/config.json", "__pycache__/a.json"):
        write(tmp_path / name, [OK])
    assert list(run_vectors([tmp_path])) == []


@pytest.mark.parametrize(
    "name, text, reason, skipped",
    [
        ("a.json", '{"cases": [{"x": 1}, {"x": 2}]}', "the form of this file is not known", 2),
        ("a.json", '{"x": 1}', "the form of this file is not known", 1),
        ("a.json", '{"x": ', "not JSON: JSONDecodeError", 1),
        ("a.json", "[" * 200_000, "not JSON: RecursionError", 1),
        ("a.bin", "\x00", "not a vector file: no JSON", 1),
        ("README", "text", "not a vector file: no JSON", 1),
    ],
)
def test_unknown_file_in_a_folder_is_skipped_with_a_reason(
    tmp_path: Path, name: str, text: str, reason: str, skipped: int
) -> None:
    write(tmp_path / name, text)
    report = only_report(tmp_path)
    assert (counts(report), report.reason) == ((0, 0, skipped), reason)


@pytest.mark.parametrize(
    "name, text, want",
    [
        ("a.json", '{"x": ', (0, 1, 0)),
        ("a.json", '{"x": 1}', (0, 0, 1)),
        ("a.bin", "\x00", (0, 0, 1)),
        ("vectors", '[{"encoded": "0140c8", "decoded": {"status": 200}}]', (1, 0, 0)),
    ],
)
def test_file_that_is_named(tmp_path: Path, name: str, text: str, want: tuple[int, int, int]) -> None:
    assert counts(only_report(write(tmp_path / name, text))) == want


def test_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_FILE_SIZE", 1024 * 1024)
    path = write(tmp_path / "a.json", "[" + " " * 1024 * 1024 + "]")
    assert counts(only_report(tmp_path)) == (0, 0, 1)
    assert counts(only_report(path)) == (0, 1, 0)
    assert only_report(path).reason == "the file: larger than 1 MiB"


def test_what_is_no_regular_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nowhere")
    assert list(run_vectors([tmp_path])) == []
    with pytest.raises(ConfigError, match="neither a file nor a folder"):
        list(run_vectors([tmp_path / "pipe.json"]))


def test_path_that_does_not_exist_stops_before_anything_is_run(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [OK])
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        next(run_vectors([path, tmp_path / "nowhere"]))


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.json", [OK])
    # Root reads everything, so refusals are made up.
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *args: False)
        with pytest.raises(ConfigError, match="permission denied"):
            list(run_vectors([path]))

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        assert only_report(tmp_path).reason == "cannot be read: Permission denied"
    monkeypatch.setattr(os, "scandir", refuse)
    assert only_report(tmp_path).reason == "cannot be read: Permission denied"


# --- manifests


def test_manifest_says_what_is_run(tmp_path: Path) -> None:
    write(tmp_path / "cases.json", manifest(entry("a.json")))
    write(tmp_path / "a.json", [OK])
    assert [(Path(report.file).name, counts(report)) for report in run_vectors([tmp_path])] == [("a.json", (1, 0, 0))]
    assert [Path(report.file).name for report in run_vectors([tmp_path / "cases.json"])] == ["a.json"]


def test_file_that_the_manifest_does_not_name_is_run_by_its_form(tmp_path: Path) -> None:
    write(tmp_path / "cases.json", manifest(entry("a.json")))
    write(tmp_path / "a.json", [OK])
    write(tmp_path / "b.json", [BAD])
    assert [counts(report) for report in run_vectors([tmp_path])] == [(1, 0, 0), (0, 1, 0)]


@pytest.mark.parametrize(
    "members, document, want, reason",
    [
        ({"expect": "refuse"}, [OK], (0, 1, 0), "a response: accepted, and has to be refused"),
        ({"expect": "refuse"}, [{**OK, "encoded": "0440c8"}], (1, 0, 0), ""),
        ({"expect": "parse"}, [OK], (0, 0, 1), "to parse these cases is not known"),
        ({"count": 3}, [OK], (1, 0, 0), "the manifest says 3 cases, and there are 1"),
        ({"count": "many"}, [OK], (1, 0, 0), ""),
        ({"schema": "ohttp-key-config"}, [OK], (0, 1, 0), "a response: the case has no input, or not as text"),
        ({"schema": "new-form"}, [OK], (1, 0, 0), ""),
        ({"schema": "new-form", "count": 9}, [{}] * 9, (0, 0, 9), "the schema new-form is not known"),
        ({"schema": "wycheproof-jwk"}, {"testGroups": [{"tests": [{}, {}]}]}, (0, 0, 2), None),
        ({"kind": "new-kind"}, [OK], (0, 0, 1), "cases of the kind new-kind are not known"),
        ({}, [], (0, 1, 0), "the file: there are no cases of bhttp-message in it"),
        ({}, "no json", (0, 1, 0), "the file: not JSON: JSONDecodeError"),
        ({"files": {"vectors": "missing.json"}}, None, (0, 1, 0), "the file: there is no such file"),
    ],
)
def test_manifest_entry(
    tmp_path: Path, members: dict[str, object], document: object, want: tuple[int, int, int], reason: str | None
) -> None:
    write(tmp_path / "cases.json", manifest(entry("a.json", **members)))
    if document is not None:
        write(tmp_path / "a.json", document)
    report = only_report(tmp_path)
    assert counts(report) == want
    assert reason is None or report.reason == reason


def test_protocol_that_is_not_here_is_skipped_whole(tmp_path: Path) -> None:
    cases = [entry("a.json", schema="voprf-rfc9497", count=5), {"kind": "x", "files": {"key": "k", "b": "b.pem"}}]
    write(tmp_path / "cases.json", manifest(*cases, protocol="voprf"))
    for name in ("a.json", "b.pem", "k"):
        write(tmp_path / name, "no json")
    reports = list(run_vectors([tmp_path]))
    assert [(Path(report.file).name, counts(report)) for report in reports] == [("a.json", (0, 0, 5)), ("k", (0, 0, 1))]
    reason = "tokens that verify with the issuer's private key (VOPRF) are not part of this version"
    assert {report.reason for report in reports} == {reason}


def test_unused_files_are_reported_and_count_nothing(tmp_path: Path) -> None:
    unused = [{"file": "*/README", "why": "text"}, {"file": "key.json", "why": "a key"}, {"file": "gone", "why": ""}, 7]
    write(tmp_path / "cases.json", manifest(entry("a.json"), unused=unused))
    write(tmp_path / "a.json", [OK])
    for name in ("key.json", "b/README", "c/README"):
        write(tmp_path / name, "{}")
    reports = list(run_vectors([tmp_path]))
    assert [counts(report) for report in reports] == [(1, 0, 0), (0, 0, 0), (0, 0, 0)]
    assert [report.reason for report in reports[1:]] == ["unused: text", "unused: a key"]


def test_set_that_leans_on_another_leaves_the_file_to_it(tmp_path: Path) -> None:
    write(tmp_path / "a" / "cases.json", manifest(entry("../b/b.json")))
    write(tmp_path / "b" / "cases.json", manifest(entry("b.json")))
    write(tmp_path / "b" / "b.json", [OK])
    assert [counts(report) for report in run_vectors([tmp_path])] == [(1, 0, 0), (1, 0, 0)]


@pytest.mark.parametrize(
    "document", [[OK], {"cases": [OK]}, {"cases": [OK], "protocol": "bhttp"}, {"messages": [OK], "protocol": "x"}]
)
def test_vector_file_may_be_called_cases(tmp_path: Path, document: object) -> None:
    write(tmp_path / "cases.json", document)
    assert counts(only_report(tmp_path)) == (1, 0, 0)


def test_broken_manifest_is_no_manifest(tmp_path: Path) -> None:
    write(tmp_path / "cases.json", "{")
    write(tmp_path / "a.json", [OK])
    assert [counts(report) for report in run_vectors([tmp_path])] == [(1, 0, 0), (0, 0, 1)]
    assert counts(only_report(tmp_path / "cases.json")) == (0, 1, 0)


# --- reports


def test_report_tells_the_first_failures_and_counts_the_others() -> None:
    results = [CaseResult(f"case {number}", Outcome.FAILED, "no") for number in range(5)]
    report = FileReport("a", (*results, CaseResult("x", Outcome.SKIPPED, "late", 2)), Path(), "a note")
    assert report.reason == "case 0: no; case 1: no; case 2: no; and 2 more; 2 skipped: late; a note"
    assert report.to_json() == {"file": "a", "passed": 0, "failed": 5, "skipped": 2, "reason": report.reason}


# --- what is published


def test_own_vectors_pass() -> None:
    reports = list(run_vectors([OWN_VECTORS]))
    assert sum(report.failed + report.skipped for report in reports) == 0
    sealed = [path for folder in ("sealed", "sealed_invalid") for path in (OWN_VECTORS / folder).glob("*.json")]
    assert sum(report.passed for report in reports) > len(sealed) + 80


@pytest.mark.vectors
def test_published_vectors_in_scope_pass(shared_vectors: Path) -> None:
    reports = list(run_vectors([shared_vectors]))
    assert [report for report in reports if report.failed] == []
    passed = {
        f"{report.folder.name}/{Path(report.file).name}": report.passed
        for report in reports
        if report.passed and report.folder.name not in ATTESTATION
    }
    assert passed == {
        "bhttp/rfc9292-section5.json": 4,
        "bhttp/martinthomson-bhttp.json": 4,
        "bhttp/confidentsecurity-bhttp.json": 4,
        "blind-rsa/emsa-pss.json": 1,
        "blind-rsa/partially-blind-rsa-draft02.json": 3,
        "blind-rsa/rfc9474.json": 3,
        "cbor/rfc8949-appendix-a.json": 26,
        "hpke/rfc9180.json": 96,
        "hpke/hpke-pq-draft.json": 7,
        "ohttp/rfc9458-appendix-a.json": 1,
        "ohttp/chunked-ohttp-draft-example.json": 1,
        "ohttp/key-config.json": 19,
        "ohttp/chunk-framing.json": 8,
        "privacypass/auth-scheme-extensions-draft01.json": 4,
        "privacypass/generic-batched-go.json": 2,
        "privacypass/generic-batched-rust.json": 1,
        "privacypass/generic-batched-ts.json": 5,
        "privacypass/pbrsa-metadata-draft03.json": 1,
        "privacypass/rfc9577-token-challenge.json": 4,
        "privacypass/rfc9577-www-authenticate.json": 1,
        "privacypass/rfc9578-type2-publicly-verifiable.json": 4,
        "privacypass/type2-pat-go.json": 5,
        "primitives/ecdsa_secp256r1_sha256_p1363_test.json": 197,
        "primitives/ecdsa_secp384r1_sha384_p1363_test.json": 210,
        "primitives/ed25519_test.json": 113,
        "primitives/json_web_signature_test.json": 87,
        "primitives/rsa_pss_2048_sha384_mgf1_48_test.json": 106,
        "primitives/x25519_test.json": 389,
        "primitives/mlkem_768_test.json": 145,
    }
    assert all(report.reason for report in reports if not report.passed)
    totals = {
        protocol: [
            sum(getattr(report, name) for report in reports if report.folder.name == protocol) for name in COUNTS
        ]
        for protocol in ATTESTATION
    }
    assert totals == ATTESTATION


@pytest.mark.vectors
@pytest.mark.parametrize("protocol", ["ohttp", "bhttp", "blind-rsa", "hpke", "cbor", "primitives", "privacypass"])
def test_copies_under_other_names_without_a_manifest_give_the_same(
    shared_vectors: Path, tmp_path: Path, protocol: str
) -> None:
    for number, path in enumerate(sorted((shared_vectors / protocol).glob("*.json"))):
        if path.name != "cases.json":
            shutil.copyfile(path, tmp_path / f"{number}")
    by_manifest, by_form = (
        sorted(counts(report) for report in run_vectors([folder])) for folder in (shared_vectors / protocol, tmp_path)
    )
    assert by_form == by_manifest


@pytest.mark.vectors
@pytest.mark.parametrize(
    "name", ["hpke/rfc9180.json", "bhttp/rfc9292-section5.json", "ohttp/key-config.json", "ohttp/chunk-framing.json"]
)
def test_single_cases_as_a_bare_list_keep_their_form(shared_vectors: Path, tmp_path: Path, name: str) -> None:
    cases = load_vectors(shared_vectors / name)["cases"]
    paths = [write(tmp_path / f"{number}.json", [case]) for number, case in enumerate(cases)]
    assert {counts(report) for report in run_vectors(paths)} == {(1, 0, 0)}
