"""Every benchmark runs, at a size that takes no time, and prints what it promises. No time is asserted anywhere."""

from __future__ import annotations

import hmac
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import appraise_cases, log, ohttp, sealed
from benchmarks.__main__ import BENCHMARKS, PAGE
from benchmarks.appraise import clear_caches
from benchmarks.log_cases import LOG, ORIGIN, POLICY, StoredTree, cosigned, hashed_by
from benchmarks.measure import SMOKE, measure, ratio_of, spread_of
from benchmarks.page import update_page
from benchmarks.report import Report, Row, at_least, at_most, cost, markdown_table, share, speed_up
from confsec.protocol.note import SignedNote
from confsec.protocol.transparency import verify_checkpoint
from tests.interop.peers import PeerSuite
from tests.support import ROOT, require_or_skip

pytestmark = pytest.mark.bench

ROW_KEYS = {
    "what",
    "ours",
    "unit",
    "against",
    "theirs",
    "result",
    "result_unit",
    "low",
    "high",
    "goal",
    "met",
    "note",
}


def run_benchmarks(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--json", *arguments]
    finished = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    printed: dict[str, Any] = json.loads(finished.stdout)
    return printed


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_prints_the_promised_json(name: str) -> None:
    printed = run_benchmarks(name)
    assert {"cpu", "cores", "kernel", "python", "openssl", "packages"} <= printed["machine"].keys()
    assert printed["smoke"] is True
    assert printed["benchmarks"].keys() == {name}
    rows, missing = printed["benchmarks"][name]["rows"], printed["benchmarks"][name]["missing"]
    if missing and not rows:
        require_or_skip("; ".join(missing.values()))
    assert rows
    for row in rows:
        assert row.keys() == ROW_KEYS
        assert row["ours"] > 0
        assert (row["met"] is None) == (row["goal"] is None)


def test_every_goal_of_the_project_is_in_a_row() -> None:
    printed = run_benchmarks("ohttp", "stream", "import")["benchmarks"]
    goals = {name: {row["goal"] for row in found["rows"]} - {None} for name, found in printed.items()}
    assert goals == {"ohttp": {"≤ 1.3 ×"}, "stream": {"≥ 0.6 ×"}, "import": {"≤ 150 ms"}}


@pytest.mark.parametrize("suite", ohttp.SUITES, ids=str)
def test_raw_primitives_of_an_exchange_are_those_that_we_call(
    suite: PeerSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, raw = ohttp.exchange(suite), ohttp.raw_exchange(suite)
    assert count_hmacs(ours, monkeypatch) == count_hmacs(raw, monkeypatch) != Counter()


@pytest.mark.parametrize("kem_id", sealed.KEMS)
@pytest.mark.parametrize("count", [1, 3])
def test_raw_primitives_of_a_sealed_exchange_are_those_that_we_call(
    kem_id: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, raw = sealed.exchange(kem_id, count), sealed.raw_exchange(kem_id, count)
    assert count_hmacs(ours, monkeypatch) == count_hmacs(raw, monkeypatch) != Counter()


def count_hmacs(work: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, int]]:
    """Return how often `work` computes HMACs of which sizes."""
    counted: Counter[tuple[int, int]] = Counter()
    digest = hmac.digest

    def counting(key: bytes, message: bytes, name: str) -> bytes:
        counted[len(key), len(message)] += 1
        return digest(key, message, name)

    work()  # what is computed once, and kept, is computed now
    with monkeypatch.context() as patch:
        patch.setattr(hmac, "digest", counting)
        work()
    return counted


@pytest.mark.parametrize("platform", ["sev-snp", "tdx", "tpm"])
def test_bare_signatures_are_those_that_a_verifier_checks(platform: str) -> None:
    _, case = appraise_cases.node_case(platform)
    clear_caches()
    assert count_signatures(case.verify) == count_signatures(case.verify_signatures) != Counter()


@pytest.mark.vectors
@pytest.mark.parametrize("make", [appraise_cases.real_snp, appraise_cases.real_tdx])
def test_bare_signatures_are_those_of_real_evidence(
    make: Callable[[], appraise_cases.Case | None], shared_vectors: Path
) -> None:
    case = make()
    assert case is not None
    clear_caches()
    assert count_signatures(case.verify) == count_signatures(case.verify_signatures)


@pytest.mark.parametrize("platform", ["sev-snp", "tdx", "tpm"])
def test_evidence_that_was_seen_before_is_checked_with_the_signatures_of_its_tee_alone(platform: str) -> None:
    _, case = appraise_cases.node_case(platform)
    case.verify()
    assert sum(count_signatures(case.verify).values()) == {"sev-snp": 1, "tdx": 2, "tpm": 2}[platform]


@pytest.mark.parametrize("size", [1000, 20_000, 66_000])
def test_hashes_of_a_proof_are_as_many_as_it_takes(size: int, tmp_path: Path) -> None:
    tree, index, old = StoredTree.make(tmp_path, size), size * 2 // 3, size // 3
    inclusion, _ = log.inclusion_case(tree, index)
    assert len(hashed_by(inclusion)) == len(tree.prove_inclusion(index))
    consistency, _ = log.consistency_case(tree, old)
    # Its first hash is where both trees begin; each of the others leads to the larger root, and some to the smaller.
    assert len(proof := tree.prove_consistency(old)) - 1 <= len(hashed_by(consistency)) <= 2 * (len(proof) - 1)
    assert {len(message) for message in hashed_by(inclusion) + hashed_by(consistency)} == {65}


@pytest.mark.parametrize("cosigners", [0, 2])
def test_bare_signatures_of_a_checkpoint_are_those_that_are_verified(cosigners: int) -> None:
    note = cosigned(1000, bytes(32), cosigners)
    signatures = log.signatures_of(note)

    def bare() -> None:
        for key, signature, message in signatures:
            key.verify(signature, message)

    def ours() -> None:
        if cosigners:
            verify_checkpoint(note, POLICY, origin=ORIGIN)
        else:
            SignedNote.decode(note).verify([LOG.key])

    assert count_signatures(ours) == count_signatures(bare)
    assert count_signatures(bare).total() == cosigners + 1


def count_signatures(work: Callable[[], None]) -> Counter[tuple[str, int]]:
    """Return how often `work` verifies signatures with keys of which kind and size."""
    counted: Counter[tuple[str, int]] = Counter()

    def profile(frame: object, event: str, called: Any) -> None:
        key: Any = getattr(called, "__self__", None)
        if event == "c_call" and called.__name__ == "verify" and hasattr(key, "public_bytes"):
            counted[type(key).__name__, getattr(key, "key_size", 256)] += 1  # Ed25519 has one size

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counted


def test_contenders_take_turns_and_each_comes_first() -> None:
    turns: list[str] = []

    def contender(name: str, seconds: float) -> Callable[[int], float]:
        def run(iterations: int) -> float:
            turns.append(name)
            return seconds * iterations

        return run

    timings = measure({"ours": contender("ours", 2.0), "theirs": contender("theirs", 1.0)}, SMOKE)
    assert timings == {"ours": (2.0, 2.0), "theirs": (1.0, 1.0)}
    assert turns[-4:] == ["ours", "theirs", "theirs", "ours"]


def test_ratio_is_made_within_each_round() -> None:
    # The machine was ten times slower in the second round, for both.
    ratio = ratio_of([1.0, 20.0, 3.0], [2.0, 40.0, 2.0])
    assert (ratio.low, ratio.median, ratio.high) == (0.5, 0.5, 1.0)
    assert spread_of([3.0]).high == 3.0


def test_cost_grows_and_speed_falls_with_our_time() -> None:
    timings = {"ours": (2.0, 2.0), "theirs": (1.0, 1.0)}
    assert cost("x", timings, "theirs", goal=at_most(1.5)).met is False
    assert cost("x", timings, "theirs").result == 2.0
    assert speed_up("x", timings, "theirs", goal=at_least(0.5)).met is True
    row = share("x", timings, "theirs", size=10)
    assert (row.ours, row.theirs, row.result, row.met) == (5.0, 10.0, 0.5, None)


def test_table_shows_the_goal_with_its_unit_and_whether_it_is_met() -> None:
    row = Row(what="a | b", ours=0.2, unit="s", goal=at_most(0.15), note="A note.")
    table = markdown_table(Report(name="x", title="y", rows=(row,), missing={"a peer": "not served"}))
    assert "| a \\| b 1) | 200 ms |  |  |  |  | ≤ 150 ms | no |" in table
    assert "1) A note." in table
    assert "Missing: a peer: not served" in table


def test_page_keeps_what_was_not_measured(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- measured: machine --><!-- end of machine -->\n"
        "<!-- measured: x -->old<!-- end of x -->\n<!-- measured: z -->kept<!-- end of z -->\n"
    )
    report = Report(name="x", title="y", rows=(Row(what="w", ours=1.0, unit="s"),))
    update_page(page, {"cpu": "fast"}, [report])
    text = page.read_text()
    assert "* cpu: fast" in text
    assert "| w | 1 s |" in text
    assert "old" not in text
    assert "<!-- measured: z -->kept<!-- end of z -->" in text
    with pytest.raises(ValueError, match="no place for y"):
        update_page(page, {}, [Report(name="y", title="", rows=())])


def test_published_page_has_a_place_for_every_benchmark() -> None:
    text = PAGE.read_text()
    for name in ("machine", *BENCHMARKS):
        assert f"<!-- measured: {name} -->" in text
        assert f"<!-- end of {name} -->" in text


def test_time_is_shown_in_the_unit_that_suits_it() -> None:
    rows = tuple(Row(what=str(seconds), ours=seconds, unit="s") for seconds in (2.0, 0.0123, 4.56e-5, 7e-9, 0.0))
    cells = [line.split(" | ")[1] for line in markdown_table(Report(name="x", title="", rows=rows)).splitlines()[4:]]
    assert cells == ["2 s", "12.3 ms", "45.6 µs", "7 ns", "0 ns"]
