"""The page of a Proof: whole, closed to the outside, escaped, and no wider than a phone."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from attrs import evolve

from confsec.cli import run
from confsec.cli.proof_html import proof_page, refusal_page
from confsec.cli.proof_markup import element
from confsec.cli.proof_view import Judgement, judge
from confsec.errors import ProofError
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, Policy, PolicyReader
from tests.cli.fake_tee import POLICY, FakeVerifier, demo_policy, make_evidence, make_file, read_fake
from tests.protocol.log_world import World
from tests.recorded.make_logged_proof import PROOF_FILE
from tests.support import require_or_skip

READER = PolicyReader({"sev-snp": read_fake}, (PRODUCTION, UNSAFE_UNATTESTED, demo_policy()))
CHROMIUM = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files",
]  # fmt: skip
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e'
OTHER_ROOT = World(threshold=3).root
VOID = {"meta", "path", "circle"}
ATTRIBUTES = {
    "aria-hidden", "aria-label", "charset", "class", "content", "cx", "cy", "d", "http-equiv", "lang", "name", "open",
    "r", "role", "viewbox",
}  # fmt: skip


class Page(HTMLParser):
    """Reads a page, and remembers what is in it. Fails for tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.style = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        elif data.strip():
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def judgement(policy: Policy = POLICY, *, judged: Policy | None = None, **knobs: bool) -> Judgement:
    data = make_file([make_evidence(seed, **knobs) for seed in "ab"], policy)
    return judge(data, READER, policy=judged)


def page_of(judged: Judgement) -> str:
    return proof_page(judged, file="proof.cbor", version="1.2.3")


def refused() -> Judgement:
    loose = evolve(POLICY, verifiers=(FakeVerifier(unsafe_debug=True),))
    return judgement(loose, judged=evolve(POLICY, verifiers=(FakeVerifier(level=9),)), debug=True)


PAGES: dict[str, Callable[[], str]] = {
    "trusted": lambda: page_of(judgement()),
    "simulated": lambda: page_of(judgement(demo_policy(), simulated=True)),
    "refused": lambda: page_of(refused()),
    "logged": lambda: page_of(judge(PROOF_FILE.read_bytes(), READER)),
    "otherroot": lambda: page_of(judge(PROOF_FILE.read_bytes(), READER, root=OTHER_ROOT)),
    "evil": lambda: page_of(judgement(evolve(POLICY, name=EVIL))),
    "broken": lambda: refusal_page(ProofError(f"it was changed {EVIL}"), b"data", version="1.2.3"),
}

each_page = pytest.mark.parametrize("name", list(PAGES))


@each_page
def test_page_is_well_formed_and_closed_to_the_outside(name: str) -> None:
    text = PAGES[name]()
    page = Page(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert {"script", "img", "link", "a", "iframe", "form", "object", "base"} & set(page.tags) == set()
    assert {attribute for attribute, _ in page.attributes} <= ATTRIBUTES
    assert not re.search(r"url\(|@import|https?:|//", page.style)
    assert page.tags.count("h1") == page.tags.count("main") == page.tags.count("title") == 1


@each_page
def test_page_tells_browsers_to_load_nothing(name: str) -> None:
    page = Page(PAGES[name]())
    (policy,) = [value for key, value in page.attributes if key == "content" and value.startswith("default-src")]
    digest = base64.b64encode(sha256(page.style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_what_somebody_else_wrote_is_escaped() -> None:
    for name in ("evil", "broken"):
        text = PAGES[name]()
        assert "<script" not in text
        assert "<img" not in text
        assert "\u202e" not in text
        assert "<script>alert(1)</script>" in Page(text).text


def test_a_trusted_page_says_what_was_checked_and_what_follows() -> None:
    page = Page(page_of(judgement()))
    for part in (
        "Trusted", "Every recorded check replays", "Anybody can conclude", "Nobody can conclude from it", "vendor",
        "REPORT_DATA is the binding", "sev-snp.field-39", "AMD 56860, table 9", "Leaves to assume: amd",
        "sev-snp: Milan 1.55.31 with snp 7", "AMD's processors and keys", "confsec verify proof.cbor", "confsec 1.2.3",
        judgement().digest.hex(), "minimum_nodes",
    ):  # fmt: skip
        assert part in page.text
    assert "SIMULATED" not in page.text


def test_a_simulated_page_never_says_trusted_in_big_letters() -> None:
    text = PAGES["simulated"]()
    page = Page(text)
    assert "<h1>Simulated</h1>" in text
    assert page.text.index("SIMULATED") < page.text.index("Simulated", page.text.index("confsec Proof"))
    assert "Trusted only under UNSAFE_DEMO_POLICY" in page.text
    assert "<title>Simulated: a confsec Proof</title>" in text


def test_a_refused_page_shows_what_refused_and_unfolds_it() -> None:
    text = PAGES["refused"]()
    page = Page(text)
    assert "<h1>Refused</h1>" in text
    assert "What refused it" in page.text
    assert "which the Proof names" in page.text
    assert "firmware is behind FAKE-SB-1: snp by 2 levels" in page.text
    assert text.count(' open="open"') == 2


def test_a_broken_proof_shows_nothing_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confsec.tee.registry.POLICIES", READER)
    data = bytearray(make_file([make_evidence("a")]))
    data[-1] ^= 1
    (tmp_path / "proof.cbor").write_bytes(data)
    out = tmp_path / "page.html"
    assert run(["verify", str(tmp_path / "proof.cbor"), "--html", str(out)]) == 1
    assert "sev-snp" not in out.read_text(encoding="utf-8")


def test_the_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confsec.tee.registry.POLICIES", READER)
    (tmp_path / "proof.cbor").write_bytes(make_file([make_evidence("a")]))
    out = tmp_path / "page.html"
    assert run(["verify", str(tmp_path / "proof.cbor"), "--html", str(out)]) == 0
    assert "<h1>Trusted</h1>" in out.read_text(encoding="utf-8")
    assert run(["verify", str(tmp_path / "proof.cbor"), "--html", str(tmp_path / "no" / "page.html")]) == 2


def test_an_attribute_that_could_run_something_is_not_written() -> None:
    with pytest.raises(ValueError, match="onclick"):
        element("p", "text", onclick="alert(1)")


WIDTHS = (320, 360, 1280)
MEASURE = """<pre id="told"></pre><script>
addEventListener("load", () => {
  const told = [...document.querySelectorAll("iframe")].map((frame) => {
    const root = frame.contentDocument.documentElement;
    const style = frame.contentWindow.getComputedStyle(root.querySelector("main"));
    return `${frame.id} ${root.clientWidth} ${root.scrollWidth} ${style.paddingBottom}`;
  });
  document.getElementById("told").textContent = told.join("\\n") + "\\n";
});
</script>"""


def test_pages_are_no_wider_than_their_windows_and_have_their_style(tmp_path: Path) -> None:
    """Frames ask the browser, which obeys the policy of each page; the pages themselves run no script."""
    chromium = shutil.which("chromium")
    if chromium is None:
        require_or_skip("chromium is not installed")
    frames = ""
    for name, make in PAGES.items():
        unfolded = make().replace("<details>", '<details open="open">')
        (tmp_path / f"{name}.html").write_text(unfolded, encoding="utf-8")
        for width in WIDTHS:
            size = f'style="border:0;width:{width}px;height:900px"'
            frames += f'<iframe id="{name}-{width}" src="{name}.html" {size}></iframe>'
    (tmp_path / "frames.html").write_text(frames + MEASURE)
    command = [str(chromium), *CHROMIUM, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    finished = subprocess.run(
        [*command, f"file://{tmp_path / 'frames.html'}"], check=True, capture_output=True, text=True, timeout=100
    )
    told = re.findall(r"([a-z]+)-(\d+) (\d+) (\d+) (\S+)\n", finished.stdout.partition('<pre id="told">')[2])
    assert len(told) == len(PAGES) * len(WIDTHS), finished.stdout[-500:]
    for name, width, inside, needed, padding in told:
        assert int(width) - 20 <= int(inside) <= int(width)
        assert (name, width, int(needed) <= int(inside)) == (name, width, True)
        assert padding != "0px"
