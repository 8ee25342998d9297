"""Every check of the table is missed when it is not there."""

from __future__ import annotations

import pytest

from confsec.protocol.checks import Status
from confsec.protocol.rats import TeeFindings
from confsec.tee.tpm.structures import ClockInfo
from confsec.tee.tpm.verifier import CHECKS
from tests.tee.refusal import Baseline, Refusal
from tests.tee.tpm.refusals import BASELINES, REFUSALS
from tests.tee.tpm.scenes import Scene

_INFORMS = {"tpm.quote-clock"}
"""What neither speaks for nor against trust has nothing to refuse."""


def _refusing(findings: TeeFindings) -> list[str]:
    return [check.id for check in findings.checks if check.status is Status.FAIL]


@pytest.mark.parametrize("refusal", [pytest.param(each, id=f"{each.check_id}: {each.name}") for each in REFUSALS])
def test_exactly_one_check_refuses(refusal: Refusal) -> None:
    assert _refusing(refusal.verify()) == [refusal.check_id]


@pytest.mark.parametrize("baseline", [pytest.param(each, id=each.name) for each in BASELINES])
def test_every_check_accepts_what_is_good(baseline: Baseline) -> None:
    findings = baseline.verify()
    assert [
        (check.id, check.why, check.got) for check in findings.checks if check.status in {Status.FAIL, Status.SKIP}
    ] == []
    assert findings.claims


def test_the_clock_informs() -> None:
    (clock,) = [check for check in Scene().verify().checks if check.id == "tpm.quote-clock"]
    assert (clock.status, clock.why) == (Status.INFO, "the clock is certain")
    assert clock.got == "boot 7, resumed 0 times, firmware 0x0001000200030004"
    unsafe = Scene(quote_members={"clock": ClockInfo(1, 2, 3, safe=False)})
    (clock,) = [check for check in unsafe.verify().checks if check.id == "tpm.quote-clock"]
    assert (clock.status, clock.why) == (Status.INFO, "the clock may have gone back")


def test_every_check_refuses_something() -> None:
    assert {definition.id for definition in CHECKS} == {refusal.check_id for refusal in REFUSALS} | _INFORMS


def test_checks_have_ids_of_their_own() -> None:
    ids = [definition.id for definition in CHECKS]
    assert len(set(ids)) == len(ids)
