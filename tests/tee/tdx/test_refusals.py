"""Every check of TDX refuses something that no other check refuses."""

from __future__ import annotations

import pytest

from confsec.protocol.checks import Status
from confsec.tee.tdx.verifier import CHECKS
from tests.tee.refusal import Baseline, Refusal
from tests.tee.tdx.refusals import BASELINES, REFUSALS


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: f"{refusal.check_id}: {refusal.name}")
def test_exactly_one_check_refuses(refusal: Refusal) -> None:
    checks = refusal.verify().checks
    assert [check.id for check in checks if check.status is Status.FAIL] == [refusal.check_id]
    skipped = [check for check in checks if check.status is Status.SKIP]
    assert all(check.why == f"not looked at, since {refusal.check_id} failed" for check in skipped)


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)
def test_good_evidence_passes_every_check(baseline: Baseline) -> None:
    checks = baseline.verify().checks
    refused = [(check.id, check.why) for check in checks if check.status not in {Status.PASS, Status.INFO}]
    assert not refused
    assert [check.id for check in checks] == [row.id for row in CHECKS]


def test_every_check_is_the_only_one_to_refuse_something() -> None:
    assert {row.id for row in CHECKS} == {refusal.check_id for refusal in REFUSALS}
    assert len({row.id for row in CHECKS}) == len(CHECKS)
