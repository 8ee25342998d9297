"""Each check refuses something that all others accept; nobody can take one away unseen."""

from __future__ import annotations

import pytest

from confsec.protocol.checks import Status
from confsec.tee.sev_snp.verifier import CHECKS
from tests.tee.refusal import Baseline, Refusal
from tests.tee.sev_snp.cases import refusing
from tests.tee.sev_snp.refusals import BASELINES, REFUSALS


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: f"{refusal.check_id}: {refusal.name}")
def test_exactly_one_check_refuses(refusal: Refusal) -> None:
    findings = refusal.verify()
    assert refusing(findings) == [refusal.check_id]
    failed = next(check for check in findings.checks if check.id == refusal.check_id)
    assert failed.why


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)
def test_good_evidence_is_accepted(baseline: Baseline) -> None:
    findings = baseline.verify()
    assert [check for check in findings.checks if check.status not in {Status.PASS, Status.INFO}] == []
    assert findings.claims


def test_every_check_refuses_something() -> None:
    assert {refusal.check_id for refusal in REFUSALS} == {row.id for row in CHECKS}


def test_ids_are_unique() -> None:
    assert len({row.id for row in CHECKS}) == len(CHECKS)
