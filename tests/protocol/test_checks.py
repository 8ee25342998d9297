"""Tables of checks: their order, what stops them, and what refuses."""

from __future__ import annotations

import pytest

from confsec.errors import AppraisalError, EvidenceError
from confsec.protocol.checks import (
    Check,
    CheckDefinition,
    Finding,
    Status,
    at_least,
    equal,
    failed,
    holds,
    informs,
    one_of,
    passed,
    require_passed,
    run_checks,
    skipped,
)


def definition(check_id: str, finding: Finding, *, essential: bool = False) -> CheckDefinition[None]:
    return CheckDefinition(check_id, "RFC 0", lambda _: finding, essential=essential)


def test_checks_run_in_the_order_of_their_table() -> None:
    checks = run_checks(
        [definition("a", passed("fine")), definition("b", failed("bad")), definition("c", skipped("no"))], None
    )
    assert [(check.id, check.status) for check in checks] == [
        ("a", Status.PASS),
        ("b", Status.FAIL),
        ("c", Status.SKIP),
    ]


@pytest.mark.parametrize("finding", [failed("bad"), skipped("nobody looked"), informs("hm")])
def test_nothing_is_looked_at_after_an_essential_check_that_does_not_pass(finding: Finding) -> None:
    def never(_: None) -> Finding:
        raise AssertionError

    table = [definition("signature", finding, essential=True), CheckDefinition("claims", "RFC 0", never)]
    first, second = run_checks(table, None)
    assert first.status is finding.status
    assert second.status is Status.SKIP
    assert "signature" in second.why


def test_an_error_is_a_failed_check_that_says_what_was_wanted_and_found() -> None:
    def look(_: None) -> Finding:
        raise EvidenceError("the signature is of another key", got=7, want=b"\x01")

    (check,) = run_checks([CheckDefinition("signature", "RFC 0", look)], None)
    assert check == Check("signature", "RFC 0", Status.FAIL, "the signature is of another key", "01", "7")


def test_the_refusal_has_every_check_and_names_what_failed() -> None:
    checks = run_checks(
        [
            definition("fine", passed("ok")),
            definition("bad", equal("the colour", 1, 2), essential=True),
            definition("after", passed("x")),
        ],
        None,
    )
    with pytest.raises(AppraisalError) as refused:
        require_passed(checks, what="no", hint="Do this")
    assert refused.value.codes == ("bad",)
    assert [check.id for check in refused.value.checks] == ["fine", "bad", "after"]
    assert [check.id for check in refused.value.refused] == ["bad", "after"]
    assert str(refused.value) == "no: got bad: the colour differs (got 1, want 2). Do this"


def test_a_skip_refuses_without_a_waiver() -> None:
    checks = run_checks([definition("a", skipped("nobody looked"))], None)
    require_passed(checks, what="no", waived=["a"])
    with pytest.raises(AppraisalError, match="a: nobody looked"):
        require_passed(checks, what="no", waived=["b"])


def test_findings_compare_types_as_well() -> None:
    assert equal("x", 1, 1).status is Status.PASS
    assert equal("x", True, 1).status is Status.FAIL
    assert equal("x", b"1", "1").status is Status.FAIL


def test_findings_say_what_was_wanted_and_found() -> None:
    assert one_of("x", b"\x01", [b"\x01", b"\x02"]) == passed("x is one of those expected", want="01, 02", got="01")
    assert one_of("x", 1, []).want == "nothing: the policy lists no value"
    assert one_of("x", 1, []).status is Status.FAIL
    assert at_least("x", 2, 3) == failed("x is too low", want="at least 3", got=2)
    assert at_least("x", 3, 3).status is Status.PASS
    assert holds(True, "good", "bad", got=True).got == "yes"
    assert holds(False, "good", "bad", got=False).got == "no"
    assert len(informs("long", got="x" * 10_000).got) < 1000
