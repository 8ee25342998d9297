"""A Proof as one page for browsers: no script, nothing loaded from anywhere, for a phone, a desk and paper.

The page is a picture of a verdict, and says so: anybody can write such a page. What can be checked is the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from confsec.cli.proof_claims import firmware_lines
from confsec.cli.proof_conclusions import conclusions
from confsec.cli.proof_logs import log_cards, root_facts
from confsec.cli.proof_markup import Content, Markup, document, element, together
from confsec.cli.proof_style import CONTENT_POLICY, STYLE
from confsec.cli.proof_view import (
    MEANINGS,
    CheckGroup,
    GraphItem,
    Judgement,
    binding_tree,
    counted,
    dated,
    group_checks,
    number,
    platform_name,
    replays,
    unbound_items,
    utc,
    warning_of,
)
from confsec.errors import ConfsecError
from confsec.protocol import cbor
from confsec.protocol.appraisal import AttestationResult
from confsec.protocol.checks import Check, Status
from confsec.protocol.cmw import Endorsements, Evidence
from confsec.protocol.policy import Policy
from confsec.protocol.rats import VENDOR

__all__ = ["proof_page", "refusal_page"]

_MARKS: Final = {
    "good": ("M15 25l7 7 12-15",),
    "bad": ("M16 16l16 16", "M32 16l-16 16"),
    "warn": ("M24 13v14", "M24 34v.5"),
}
_SHORT: Final = 16


def proof_page(judgement: Judgement, *, file: str, version: str) -> str:
    """Return the page of a Proof that replays. `file` is its name, `version` that of this software."""
    proof = judgement.proof
    parts = [
        *_alarm(judgement),
        _verdict(judgement),
        *_refusing(judgement),
        *_section("What this tells you", _conclusions(judgement)),
        *_section(
            f"The {number(len(proof.nodes), 'node')} that could read the request",
            *map(_node, proof.nodes, proof.contents.evidence),
        ),
        *_section(
            "Checked before the request was sealed",
            element("div", _checks(proof.checks), kind="card"),
        ),
        *_logs(judgement),
        *_section(
            "What has to be true besides",
            element("div", _points(proof.assumptions), kind="card"),
        ),
        *_section("The policy", *_policies(judgement)),
        *_section("Digests", _digests(judgement)),
        *_section("Check it yourself", _how_to(judgement, file)),
        _footer(version),
    ]
    return _page(_headline(judgement), parts)


def refusal_page(error: ConfsecError, data: bytes, *, version: str) -> str:
    """Return the page of a Proof that does not replay: nothing that it says is shown."""
    verdict = element(
        "header",
        _icon("bad"),
        element("div", _name(), element("h1", "Refused"), element("p", str(error))),
        kind="card verdict bad",
    )
    facts = element("dl", *_fact("SHA-256 of the file", _code(sha256(data).hexdigest())), kind="facts")
    note = element("p", "What the file says is not shown, since nobody can tell who wrote it.")
    return _page(
        "Refused", [verdict, *_section("The file", element("div", note, facts, kind="card")), _footer(version)]
    )


def _page(verdict: str, parts: Iterable[Markup]) -> str:
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=CONTENT_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{verdict}: a confsec Proof"),
    ]
    return document(head, element("body", element("main", *parts)), style=STYLE)


def _section(heading: str, *content: Markup) -> list[Markup]:
    return [element("section", element("h2", heading), *content)]


# --- The verdict ------------------------------------------------------------------------------------------------------


def _alarm(judgement: Judgement) -> list[Markup]:
    word, sentence = warning_of(judgement.proof, judgement.named)
    if not word:
        return []
    return [
        element(
            "div",
            element("div", element("strong", word), _sentence(sentence)),
            kind="alarm",
            role="alert",
        )
    ]


def _verdict(judgement: Judgement) -> Markup:
    word, _ = warning_of(judgement.proof, judgement.named)
    look = "bad" if not judgement.trusted else "warn" if word else "good"
    sentence = _sentence(replays(judgement))
    if word and judgement.trusted:
        sentence = f"Trusted only under {judgement.policy.name}: {replays(judgement)}."
    text = element("div", _name(), element("h1", _headline(judgement)), element("p", sentence))
    return together(element("header", _icon(look), text, kind=f"card verdict {look}"), _facts(judgement))


def _headline(judgement: Judgement) -> str:
    """Return the verdict in a word. No picture of this page says "trusted" of what is not there."""
    if not judgement.trusted:
        return "Refused"
    return warning_of(judgement.proof, judgement.named)[0].capitalize() or "Trusted"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _name() -> Markup:
    return element("p", "confsec Proof", kind="name")


def _icon(look: str) -> Markup:
    lines = [element("path", d=path) for path in _MARKS[look]]
    return element("svg", element("circle", cx="24", cy="24", r="21"), *lines, viewBox="0 0 48 48", aria_hidden="true")


def _facts(judgement: Judgement) -> Markup:
    proof = judgement.proof
    policy = [_policy_name(judgement.policy)]
    if judgement.named != judgement.policy:
        named = _policy_name(judgement.named)
        policy.append(element("span", " instead of ", named, ", which the Proof names", kind="soft"))
    facts = [
        *_fact("Policy", *policy),
        *_fact("Epoch began", dated(proof)),
        *(_fact("Judged at", utc(judgement.at)) if judgement.at != proof.contents.epoch.began else ()),
        *_fact("Platforms", ", ".join(sorted({platform_name(node) for node in proof.nodes}))),
        *_fact("Checks", _pills(proof.all_checks)),
    ]
    return element("dl", *facts, kind="facts card")


def _policy_name(policy: Policy) -> Markup:
    """Return name and digest: two policies may have one name."""
    return together(element("b", policy.name), " ", element("code", f"{policy.digest.hex()[:_SHORT]}…"))


def _fact(name: str, *content: Content) -> tuple[Markup, Markup]:
    return element("dt", name), element("dd", *content)


def _refusing(judgement: Judgement) -> list[Markup]:
    """Say what refused it: the root, which no check of the Proof can judge, and checks."""
    return [*_section_of_root(judgement), *_section_of_checks(judgement)]


def _section_of_root(judgement: Judgement) -> list[Markup]:
    error = judgement.other_root
    if error is None:
        return []
    facts = element("dl", *root_facts(judgement), kind="facts")
    return _section(
        "What refused it: the root", element("div", element("p", f"{error.what}. {error.hint}."), facts, kind="card")
    )


def _section_of_checks(judgement: Judgement) -> list[Markup]:
    if judgement.refusal is None:
        return []
    decisive = set(judgement.refusal.codes)
    seen = dict.fromkeys(check for check in judgement.proof.all_checks if check.id in decisive and _refuses(check))
    return _section("What refused it", element("div", _checks(tuple(seen)), kind="card"))


def _refuses(check: Check) -> bool:
    return check.status in {Status.FAIL, Status.SKIP}


def _conclusions(judgement: Judgement) -> Markup:
    found = conclusions(judgement)
    can = element("div", element("h3", "Anybody can conclude"), _points(found.can), kind="card can")
    cannot = element("div", element("h3", "Nobody can conclude from it"), _points(found.cannot), kind="card cannot")
    return element("div", can, cannot, kind="two")


def _points(sentences: Iterable[str]) -> Markup:
    return element("ul", *(element("li", sentence) for sentence in sentences), kind="points")


# --- A node -----------------------------------------------------------------------------------------------------------


def _node(node: AttestationResult, evidence: Evidence) -> Markup:
    header = element(
        "header",
        element("h3", "node ", _code(node.node_id.hex()[:_SHORT] + "…")),
        element("span", platform_name(node), kind="soft"),
        _pills(node.checks),
    )
    parts = [*_graph(node, evidence), *_claims(node), element("div", *map(_group, group_checks(node.checks)))]
    return element("article", header, element("div", *parts, kind="parts"), kind="card node")


def _graph(node: AttestationResult, evidence: Evidence) -> list[Markup]:
    if node.platform is None:
        return []
    root = _graph_item(binding_tree(node.vouches), simulated=node.simulated)
    items = [root, *map(_loose_item, unbound_items(node, evidence))]
    return [element("div", element("h4", "What vouches for what"), element("ul", *items), kind="graph")]


def _graph_item(item: GraphItem, *, simulated: bool = False) -> Markup:
    meaning = MEANINGS.get(item.name, "")
    if simulated and item.name == VENDOR:
        meaning = "SIMULATED, and nobody's"
    reasons = [item.because] * bool(item.because) + [f"and {edge.by}: {edge.because}" for edge in item.others]
    lines = [element("span", reason, kind="why") for reason in reasons]
    below = [element("ul", *map(_graph_item, item.children))] if item.children else []
    return element("li", element("b", item.name), " ", element("span", meaning, kind="soft"), *lines, *below)


def _loose_item(name: str) -> Markup:
    return element("li", element("b", name), element("span", "nothing vouches for it", kind="why"), kind="loose")


def _claims(node: AttestationResult) -> list[Markup]:
    lines = [element("p", line.text, kind="late" if line.is_behind else "") for line in firmware_lines(node.claims)]
    if node.expires:
        lines.append(element("p", f"What vouches for it ends {utc(node.expires)}."))
    if node.assumes:
        lines.append(element("p", f"Leaves to assume: {', '.join(each.value for each in node.assumes)}."))
    return [element("div", element("h4", "Firmware and assumptions"), *lines)] if lines else []


# --- Checks -----------------------------------------------------------------------------------------------------------


def _group(group: CheckGroup) -> Markup:
    """Return a group that unfolds. One in which something failed is unfolded."""
    summary = element("summary", element("b", group.name), _pills(group.checks))
    failing = group.of(Status.FAIL)
    return element("details", summary, _checks(group.failures_first), open="open" if failing else "")


def _pills(checks: Sequence[Check]) -> Markup:
    pills = [
        element("span", f"{count} {status.value}", kind=f"pill {status.value}") for status, count in counted(checks)
    ]
    return element("span", *pills, kind="pills")


def _checks(checks: Iterable[Check]) -> Markup:
    return element("ul", *map(_check, checks), kind="checks")


def _check(check: Check) -> Markup:
    head = element(
        "p",
        element("span", check.status.value, kind=f"pill {check.status.value}"),
        _code(check.id),
        element("span", check.section, kind="section"),
        kind="head",
    )
    return element("li", head, element("p", check.why), *_compared(check), kind=f"check {check.status.value}")


def _compared(check: Check) -> list[Markup]:
    """Return what was expected and found; once, if they are the same."""
    both = [("got", check.got)] if check.want == check.got else [("want", check.want), ("got", check.got)]
    parts = [part for name, value in both if value for part in _fact(name, _code(value))]
    return [element("dl", *parts, kind="compare")] if parts else []


def _logs(judgement: Judgement) -> list[Markup]:
    logs = judgement.proof.contents.logs
    return [] if logs is None else _section("What everybody is shown", *log_cards(logs))


# --- The policy, and what can be compared -----------------------------------------------------------------------------


def _policies(judgement: Judgement) -> list[Markup]:
    """Return the policy that judges in full; of one that the Proof names instead, its name."""
    cards = []
    if judgement.named != judgement.policy:
        named = _policy_name(judgement.named)
        cards.append(element("p", "The Proof names the policy ", named, ". It was judged by another:", kind="card"))
    return [*cards, _policy(judgement.policy)]


def _policy(policy: Policy) -> Markup:
    """Return all that a policy says; the tables of its verifiers unfold."""
    kind = " a constant, published with the software" if policy.constant else ""
    heading = element("h3", policy.name, element("span", kind, kind="soft"))
    around = {name: value for name, value in policy.to_members().items() if not isinstance(value, dict)}
    tables = [_table(verifier.name, verifier.to_item()) for verifier in policy.verifiers]
    return element("div", heading, _members(around, top=True), *tables, kind="card policy")


def _table(name: str, members: Mapping[str, cbor.CborValue]) -> Markup:
    count = element("span", number(len(members), "key"), kind="soft")
    return element("details", element("summary", element("b", f"[{name}]"), count), _members(members))


def _members(members: Mapping[str, cbor.CborValue], *, top: bool = False) -> Markup:
    items = [_member(name, value) for name, value in members.items() if not (top and name == "name")]
    return element("ul", *items)


def _member(name: str, value: cbor.CborValue) -> Markup:
    waived = value == "UNSAFE_ANY" or (name.startswith("unsafe_") and value not in ([], False, None))
    return element("li", f"{name} ", _value(value), kind="waiver" if waived else "")


def _value(value: cbor.CborValue) -> Markup:
    match value:
        case None:
            return element("span", "nothing", kind="soft")
        case bool():
            return _code("yes" if value else "no")
        case bytes():
            return _code(value.hex())
        case list() if not value:
            return element("span", "none", kind="soft")
        case list() if all(isinstance(item, str | int) for item in value):
            return _code(", ".join(map(str, value)))
        case list():
            return element("ul", *(element("li", _value(item)) for item in value))
        case dict():
            return _members(value)
        case _:
            return _code(str(value))


def _digests(judgement: Judgement) -> Markup:
    contents = judgement.proof.contents
    rows = [
        ("SHA-256 of the file", judgement.digest),
        ("Policy", judgement.policy.digest),
        *([("Root: compare it with yours", judgement.named_root)] if judgement.named_root else []),
        ("Fleet record", sha256(contents.fleet_record).digest()),
    ]
    for node, evidence, beside in zip(judgement.proof.nodes, contents.evidence, contents.endorsements, strict=True):
        rows += _node_digests(node, evidence, beside)
    pairs = [element("div", *_fact(name, _code(digest.hex()))) for name, digest in rows]
    return element("dl", *pairs, kind="card digests")


def _node_digests(node: AttestationResult, evidence: Evidence, beside: Endorsements) -> list[tuple[str, bytes]]:
    short = node.node_id.hex()[:_SHORT]
    return [
        ("Node ID: SHA-256 of its KeyConfig", node.node_id),
        (f"Evidence of {short}…", evidence.digest),
        (f"Endorsements of {short}…", sha256(beside.encoded).digest()),
    ]


def _how_to(judgement: Judgement, file: str) -> Markup:
    text = (
        "This page is a picture of a verdict, and anybody can write such a page. What can be checked is the file: take "
        "it, install the software yourself, and let it compute everything again. It needs no network."
    )
    return element("div", element("p", text), element("pre", _code(f"confsec verify {file}")), kind="card")


def _footer(version: str) -> Markup:
    text = f"Written by confsec {version}. This page holds no script and loads nothing."
    return element("footer", element("p", text))


def _code(text: str) -> Markup:
    return element("code", text)
