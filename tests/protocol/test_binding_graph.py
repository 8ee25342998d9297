"""The binding graph: what a path reaches, and what is unbound."""

from __future__ import annotations

from confsec.protocol.binding_graph import path_to, reached, unbound
from confsec.protocol.platforms import BINDING, BOUND_ITEMS, KEY_CONFIG, OPERATING_SYSTEM
from confsec.protocol.rats import VENDOR, Vouch

REPORT = Vouch(VENDOR, "sev-snp", "the signature")
BOUND = Vouch("sev-snp", BINDING, "REPORT_DATA")


def test_what_no_path_reaches_is_unbound() -> None:
    assert unbound(["sev-snp", "tpm-quote"], [REPORT]) == ("tpm-quote",)
    assert unbound(BOUND_ITEMS, [REPORT]) == tuple(sorted(BOUND_ITEMS))
    assert unbound(BOUND_ITEMS, [REPORT, BOUND]) == ()


def test_items_that_vouch_for_each_other_are_unbound_all_the_same() -> None:
    circle = [Vouch("a", "b", ""), Vouch("b", "a", ""), Vouch("a", OPERATING_SYSTEM, "")]
    assert unbound(["a", "b", OPERATING_SYSTEM], [REPORT, BOUND, *circle]) == ("a", "b", OPERATING_SYSTEM)


def test_a_path_begins_at_a_vendor() -> None:
    assert [edge.of for edge in path_to(KEY_CONFIG, [BOUND, REPORT])] == ["sev-snp", BINDING, KEY_CONFIG]
    assert path_to(KEY_CONFIG, [BOUND]) == ()
    assert path_to(VENDOR, []) == ()
    assert reached([]) == {VENDOR}


def test_a_shorter_path_is_shown_first() -> None:
    detour = [Vouch("sev-snp", "tpm-ak", ""), Vouch("tpm-ak", "tpm-quote", ""), Vouch("sev-snp", "tpm-quote", "")]
    assert [edge.of for edge in path_to("tpm-quote", [*detour, REPORT])] == ["sev-snp", "tpm-quote"]
