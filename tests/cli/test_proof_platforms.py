"""What people see of the evidence of each platform, as the verifiers of this package judge it."""

from __future__ import annotations

import pytest
from attrs import evolve

from confsec.cli import run
from confsec.cli.proof_claims import FirmwareLine, firmware_lines
from confsec.cli.proof_html import proof_page
from confsec.cli.proof_tree import proof_tree
from confsec.cli.proof_view import Judgement, judge
from confsec.protocol import cbor
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.node_keys import node_id
from confsec.protocol.platforms import PLATFORMS
from confsec.protocol.policy import Policy, PolicyReader
from confsec.protocol.proof import make_proof
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from confsec.tee.registry import POLICIES
from confsec.tee.sev_snp.verifier import SnpVerifier
from tests.cli.test_proof_page import Page
from tests.tee.composites import EPOCH, make_node, policy_for

each_platform = pytest.mark.parametrize("name", [platform.name for platform in PLATFORMS])


def judged(name: str, *, by: Policy | None = None) -> Judgement:
    """Judge the Proof of a node of a platform, whose policy is a constant for this test."""
    node = make_node(name)
    policy = evolve(
        policy_for(node.platform), name="UNSAFE_TEST", unsafe_waived=UNSAFE_DEMO_POLICY.unsafe_waived, constant=True
    )
    record = FleetRecord(EPOCH.beacon, (FleetNode(node_id(node.key_config), node.evidence.digest, 0),))
    data = make_proof(policy, record.encode(), record, [node.appraise(policy)]).encode()
    return judge(data, PolicyReader(POLICIES.verifiers, (policy,)), policy=by)


def shown(judgement: Judgement, *, every: bool = False) -> str:
    from rich.console import Console

    out = Console(width=80)
    with out.capture() as captured:
        out.print(proof_tree(judgement.proof, every=every))
    return captured.get()


@each_platform
def test_tree_and_page_show_what_vouches_for_everything(name: str) -> None:
    judgement = judged(name)
    assert judgement.trusted
    tree, page = shown(judgement), Page(proof_page(judgement, file="proof.cbor", version="1"))
    assert max(map(len, tree.splitlines())) <= 80
    assert "nothing vouches for" not in tree + page.text
    (evidence,) = judgement.proof.contents.evidence
    for label in (*evidence.items, "operating-system"):
        assert f"→ {label} " in tree
        assert label in page.texts
    assert len(shown(judgement, every=True)) > len(tree)


def test_an_operating_system_that_nothing_vouches_for_is_named() -> None:
    policy = policy_for(make_node("sev-snp").platform)
    (verifier,) = [each for each in policy.verifiers if isinstance(each, SnpVerifier)]
    other = evolve(verifier, policy=evolve(verifier.policy, measurements=(bytes(48),)))
    judgement = judged("sev-snp", by=evolve(policy, name="other", verifiers=(other,)))
    assert not judgement.trusted
    assert "✘ nothing vouches for operating-system" in shown(judgement)
    page = Page(proof_page(judgement, file="proof.cbor", version="1"))
    assert page.texts[page.texts.index("nothing vouches for it") - 1] == "operating-system"


def test_the_demo_policy_is_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "show", "UNSAFE_DEMO_POLICY"]) == 0
    out = capsys.readouterr().out
    for part in ("[sev-snp]", "[tdx]", "[tpm]", "accepts simulated hardware", "tcb_floors", "pcr_values"):
        assert part in out


# --- Firmware ---------------------------------------------------------------------------------------------------------


def line(**claims: cbor.CborValue) -> tuple[FirmwareLine, ...]:
    return firmware_lines({"tee": claims})


def test_a_verifier_that_says_nothing_of_firmware_has_no_line() -> None:
    assert line(measurement=b"x") == ()


def test_levels_that_are_missing_are_counted_by_advisory() -> None:
    assert line(tcb_behind={"SB-1": {"snp": 1, "microcode": 12}, "SB-2": None}) == (
        FirmwareLine("tee: firmware is behind SB-1: snp by 1 level, microcode by 12 levels", is_behind=True),
        FirmwareLine("tee: firmware is behind SB-2: it does not reach it", is_behind=True),
    )
    assert line(tcb_behind={}) == (FirmwareLine("tee: firmware reaches every floor of the policy", is_behind=False),)
    assert line(tcb={"snp": 1}, product="Genoa")[0].text == "tee: Genoa with snp 1"


def test_a_status_is_shown_with_dates_and_advisories() -> None:
    assert line(tcb_status="UpToDate", tcb_date="2026-01-01", tcb_newest_date="2026-01-01", advisories=[]) == (
        FirmwareLine("tee: TCB UpToDate, of 2026-01-01", is_behind=False),
    )
    names: list[cbor.CborValue] = [f"SA-{index}" for index in range(10)]
    late = line(tcb_status="OutOfDate", tcb_date="2025-01-01", tcb_newest_date="2026-01-01", advisories=names)
    assert late == (
        FirmwareLine("tee: TCB OutOfDate, of 2025-01-01 where the newest is of 2026-01-01", is_behind=True),
        FirmwareLine(
            "tee: advisories that apply: SA-0, SA-1, SA-2, SA-3, SA-4, SA-5, SA-6, SA-7 and 2 more", is_behind=True
        ),
    )
    assert line(tcb_status="none", tcb_date="none") == (FirmwareLine("tee: TCB none", is_behind=True),)
