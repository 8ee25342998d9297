"""Cases of a manifest that are files: how their bytes are read, and what is made of what the check says."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from confsec.conformance import kinds, registry
from confsec.conformance.cases import CaseSkippedError, MismatchError
from confsec.conformance.kinds import CaseFile, FileCase, Kind
from confsec.errors import DecodeError
from tests.conformance.support import counts, only_report, write

PEM = "-----BEGIN REPORT-----\nAQID\n-----END REPORT-----\n"


def case_of(path: Path, part: str = "", **params: object) -> FileCase:
    files = {"report": CaseFile(path, part)}
    return FileCase(id="a", kind="k", files=files, expect="accept", params=params)


def use_kind(monkeypatch: pytest.MonkeyPatch, check: Callable[[FileCase], None] | None, missing: str = "") -> None:
    monkeypatch.setitem(registry._KIND_BY_NAME, "new-kind", Kind(name="new-kind", check=check, missing=missing))


def manifest(tmp_path: Path, *cases: dict[str, object]) -> None:
    document = {
        "protocol": "bhttp",
        "cases": [{"kind": "new-kind", "files": {"report": "r.bin"}, **each} for each in cases],
    }
    write(tmp_path / "cases.json", document)


# --- reading


@pytest.mark.parametrize(
    "encoding, text",
    [
        ("hex", "010203\n"),
        ("base64", "AQ\nID"),
        ("base64url", "AQID"),
        ("pem", f"before\n{PEM}{PEM}"),
        ("json-bytes", "[1, 2, 3]"),
        ("a bincode of some sort", "\x01\x02\x03"),
        (None, "\x01\x02\x03"),
    ],
)
def test_bytes_of_a_role_are_decoded_as_the_case_says(tmp_path: Path, encoding: str | None, text: str) -> None:
    path = write(tmp_path / "r", text)
    assert case_of(path, encoding={"report": encoding}).read("report") == b"\1\2\3"
    assert case_of(path, encoding={"report": encoding}, slice={"report": [1, 2]}).read("report") == b"\2"


@pytest.mark.parametrize("encoding", ["hex", "base64", "base64url", "pem", "json-bytes"])
def test_what_is_not_in_the_stated_encoding_is_a_broken_vector(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "r", "not this ü")
    with pytest.raises(MismatchError, match=f"report is not {encoding}"):
        case_of(path, encoding={"report": encoding}).read("report")


@pytest.mark.parametrize("part", [[2, 9], [2, 1], [-1, 2], [1], "1..2", ["0", "1"]])
def test_slice_that_does_not_fit_is_a_broken_vector(tmp_path: Path, part: object) -> None:
    path = write(tmp_path / "r", "abc")
    with pytest.raises(MismatchError, match="cannot be cut"):
        case_of(path, slice={"report": part}).read("report")


def test_a_part_of_a_file_is_a_json_pointer_or_a_member_of_a_txtar(tmp_path: Path) -> None:
    document = write(tmp_path / "a.json", {"a/b": [{"c": "text"}, {"d": [1]}]})
    assert case_of(document, "/a~1b/0/c").read("report") == b"text"
    assert case_of(document, "/a~1b/1/d").read("report") == b"[1]"
    assert case_of(document, "/a~1b/1").json("report") == {"d": [1]}
    assert case_of(document).json("report") == json.loads(document.read_text(encoding="utf-8"))
    archive = write(tmp_path / "a.txt", "comment\n-- one --\n1\n-- two.json --\n{}\n-- three --\n")
    assert case_of(archive, "one").read("report") == b"1\n"
    assert case_of(archive, "two.json").json("report") == {}


@pytest.mark.parametrize(
    "part, text, reason",
    [
        ("/a", "{}", "nothing at /a"),
        ("/a/b", '{"a": 1}', "nothing at /a/b"),
        ("/1", "[1]", "nothing at /1"),
        ("/x", "[1]", "nothing at /x"),
        ("/a", "{", "is not JSON"),
        ("member", "-- other --\n", "no member member"),
    ],
)
def test_part_that_is_not_there_is_a_broken_vector(tmp_path: Path, part: str, text: str, reason: str) -> None:
    path = write(tmp_path / "r", text)
    with pytest.raises(MismatchError, match=reason):
        case_of(path, part).read("report")


def test_file_that_cannot_be_read_is_a_broken_vector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MismatchError, match="there is no file r"):
        case_of(tmp_path / "r").read("report")
    with pytest.raises(MismatchError, match="the case has no file for key"):
        case_of(tmp_path / "r").read("key")
    path = write(tmp_path / "r", "x" * 2_000_000)
    with monkeypatch.context() as patched:
        patched.setattr(kinds, "MAX_FILE_SIZE", 1024 * 1024)
        with pytest.raises(MismatchError, match="r is larger than 1 MiB"):
            case_of(path).read("report")

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MismatchError, match="r cannot be read: Permission denied"):
        case_of(path).read("report")


def test_time_of_verification() -> None:
    def at(stated: object) -> datetime | None:
        return FileCase(id="a", kind="k", files={}, expect="accept", stated_at=stated).at

    assert at(None) is None
    assert at("2025-06-20T00:00:00Z") == at("2025-06-20T00:00:00") == datetime(2025, 6, 20, tzinfo=UTC)
    with pytest.raises(MismatchError, match="not a date"):
        at("yesterday")


# --- running


def refuse_two(case: FileCase) -> None:
    if case.read("report") == b"2":
        raise DecodeError("a two")


@pytest.mark.parametrize(
    "content, expect, want",
    [
        ("1", "accept", (1, 0, 0)),
        ("2", "accept", (0, 1, 0)),
        ("1", "refuse", (0, 1, 0)),
        ("2", "refuse", (1, 0, 0)),
        ("1", "parse", (1, 0, 0)),
        ("1", "guess", (0, 0, 1)),
        (None, "accept", (0, 1, 0)),
        (None, "refuse", (0, 1, 0)),
    ],
)
def test_kind_is_run_and_its_answer_compared_with_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, expect: str, want: tuple[int, int, int]
) -> None:
    use_kind(monkeypatch, refuse_two)
    manifest(tmp_path, {"id": "a", "expect": expect})
    if content is not None:
        write(tmp_path / "r.bin", content)
    assert counts(only_report(tmp_path)) == want


def test_cases_that_share_a_file_are_one_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[FileCase] = []

    def check(case: FileCase) -> None:
        seen.append(case)
        if case.id == "b":
            raise CaseSkippedError("not this one")

    use_kind(monkeypatch, check)
    more = {"files": {"report": "r.bin", "key": "../other/a.txt#k", "list": ["x"]}, "params": {"n": 1}}
    manifest(
        tmp_path,
        {"id": "a", "expect": "parse", "at": "2025-06-20", **more},
        {"id": "b", "expect": "accept", "params": 1},
    )
    write(tmp_path / "r.bin", "1")
    report = only_report(tmp_path)
    assert (counts(report), report.reason) == ((1, 0, 1), "1 skipped: not this one")
    first, second = seen
    assert first.files == {
        "report": CaseFile(tmp_path / "r.bin"),
        "key": CaseFile(tmp_path.parent / "other" / "a.txt", "k"),
    }
    assert (first.parse_only, first.params, first.at) == (True, {"n": 1}, datetime(2025, 6, 20, tzinfo=UTC))
    assert (second.parse_only, second.params, second.at) == (False, {}, None)


def test_kind_without_a_check_is_skipped_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_kind(monkeypatch, None, "such receipts are not read")
    manifest(tmp_path, {"id": "a", "expect": "accept"})
    write(tmp_path / "r.bin", base64.b64encode(b"1").decode())
    assert only_report(tmp_path).reason == "such receipts are not read"
