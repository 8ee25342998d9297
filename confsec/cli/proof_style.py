"""The style sheet of a Proof's page: light and dark, from a narrow phone to paper."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Final

__all__ = ["CONTENT_POLICY", "STYLE"]

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --ink: #16191d; --soft: #586069; --line: #dde1e6; --code: #eef0f3;
  --good: #0a6b3d; --good-paper: #e3f4ea; --bad: #a8201a; --bad-paper: #fdeaea;
  --warn: #7a5200; --warn-paper: #fff3d6; --note: #0b5a94; --note-paper: #e5f1fb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0e1114; --card: #171b20; --ink: #e8ebee; --soft: #9aa4af; --line: #2b323a; --code: #20262d;
    --good: #63d297; --good-paper: #12301f; --bad: #ff8f87; --bad-paper: #3a1715;
    --warn: #f0be5c; --warn-paper: #33270c; --note: #79bdf2; --note-paper: #10293d;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif;
  overflow-wrap: anywhere;
}
main { max-width: 58rem; margin: 0 auto; padding: 1rem 1rem 3rem; }
h1, h2, h3, p, ul, ol, dl, dd, figure { margin: 0; padding: 0; }
ul, ol { list-style: none; }
code { font: 0.875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.75rem 0 0.9rem; letter-spacing: -0.01em; }
h3 { font-size: 1rem; line-height: 1.4; }
.soft { color: var(--soft); }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 0.875rem; padding: 1.1rem 1.25rem;
}
.card + .card { margin-top: 1rem; }

.alarm {
  border-radius: 0.875rem; padding: 0.5rem; margin-bottom: 1rem;
  background: repeating-linear-gradient(-45deg, #f2b705 0 0.9rem, #1d1d1d 0.9rem 1.8rem);
  -webkit-print-color-adjust: exact; print-color-adjust: exact;
}
.alarm div { background: #fff7dc; color: #221a00; border-radius: 0.5rem; padding: 0.7rem 1rem; }
.alarm strong { display: block; font-size: 1.15rem; letter-spacing: 0.12em; }

.verdict { display: grid; gap: 0.25rem 1.25rem; padding: 1.5rem; border-width: 0; }
.verdict .name { color: inherit; opacity: 0.8; font-size: 0.875rem; letter-spacing: 0.04em; }
.verdict svg { width: 4rem; height: 4rem; fill: none; stroke: currentColor; stroke-width: 3; }
.verdict svg path { stroke-width: 4; stroke-linecap: round; stroke-linejoin: round; }
.verdict h1 { font-size: clamp(2.1rem, 9vw, 3.25rem); line-height: 1.1; letter-spacing: -0.03em; }
.verdict p { max-width: 44rem; }
.verdict.good { background: var(--good-paper); color: var(--good); }
.verdict.bad { background: var(--bad-paper); color: var(--bad); }
.verdict.warn { background: var(--warn-paper); color: var(--warn); }
@media (min-width: 36rem) {
  .verdict { grid-template-columns: auto 1fr; align-items: center; padding: 2rem; }
  .verdict svg { width: 5.5rem; height: 5.5rem; }
}

.facts { display: grid; grid-template-columns: 1fr; gap: 0.1rem 1.5rem; margin-top: 1rem; }
.facts dt { color: var(--soft); font-size: 0.875rem; margin-top: 0.55rem; }
@media (min-width: 36rem) {
  .facts { grid-template-columns: minmax(9rem, max-content) 1fr; gap: 0.45rem 1.5rem; }
  .facts dt { margin-top: 0; padding-top: 0.1rem; }
}

.two { display: grid; gap: 1rem; }
.two .card + .card { margin-top: 0; }
@media (min-width: 44rem) { .two { grid-template-columns: 1fr 1fr; } }
.points { margin-top: 0.6rem; display: grid; gap: 0.6rem; }
.points li { padding-left: 1.5rem; position: relative; }
.points li::before { position: absolute; left: 0; content: "\\2013"; color: var(--soft); }
.can { border-top: 4px solid var(--good); }
.cannot { border-top: 4px solid var(--warn); }

.node header { display: flex; flex-wrap: wrap; gap: 0.4rem 0.9rem; align-items: baseline; }
.node h3 { font-size: 1.15rem; }
.node .parts { display: grid; gap: 1.25rem; margin-top: 1rem; }
.node h4 { margin: 0 0 0.5rem; font-size: 0.875rem; color: var(--soft); font-weight: 600; }
.pills { display: flex; flex-wrap: wrap; gap: 0.35rem; }
.pill {
  display: inline-block; border-radius: 1rem; padding: 0.05rem 0.6rem; font-size: 0.8125rem; font-weight: 600;
  white-space: nowrap; background: var(--code); color: var(--soft);
}
.pill.pass { background: var(--good-paper); color: var(--good); }
.pill.fail { background: var(--bad-paper); color: var(--bad); }
.pill.skip { background: var(--warn-paper); color: var(--warn); }
.pill.info { background: var(--note-paper); color: var(--note); }
.late { color: var(--warn); font-weight: 600; }

.graph li { position: relative; padding-top: 0.45rem; }
.graph > ul > li { padding-top: 0; }
.graph li ul { margin-left: 0.55rem; padding-left: 0.9rem; border-left: 2px solid var(--line); }
.graph li li::before {
  content: ""; position: absolute; left: -0.9rem; top: 1.15rem; width: 0.7rem; border-top: 2px solid var(--line);
}
.graph li li:last-child::after {
  content: ""; position: absolute; left: calc(-0.9rem - 2px); top: calc(1.15rem + 2px); bottom: 0; width: 2px;
  background: var(--card);
}
.graph b { font-weight: 600; }
.graph .why { display: block; color: var(--soft); font-size: 0.875rem; line-height: 1.4; }
.graph .loose b { color: var(--bad); }

details { border-top: 1px solid var(--line); }
details:last-child { border-bottom: 1px solid var(--line); }
summary {
  cursor: pointer; padding: 0.55rem 0; display: flex; flex-wrap: wrap; gap: 0.35rem 0.75rem; align-items: center;
}
summary::-webkit-details-marker { display: none; }
summary::before {
  content: ""; width: 0.45rem; height: 0.45rem; border: solid var(--soft); border-width: 0 2px 2px 0;
  transform: rotate(-45deg); margin: 0 0.2rem 0 0.1rem; transition: transform 0.15s;
}
details[open] > summary::before { transform: rotate(45deg); }
summary:focus-visible { outline: 2px solid var(--note); outline-offset: 2px; border-radius: 0.25rem; }
summary b { min-width: 6rem; }
details > .checks { padding-bottom: 0.9rem; }

.checks { display: grid; gap: 0.9rem; }
.checks .pill { min-width: 3.1rem; text-align: center; }
.check { padding-left: 0.8rem; border-left: 3px solid var(--line); }
.check.pass { border-color: var(--good); }
.check.fail { border-color: var(--bad); }
.check.skip { border-color: var(--warn); }
.check.info { border-color: var(--note); }
.check .head { display: flex; flex-wrap: wrap; gap: 0.15rem 0.6rem; align-items: baseline; }
.check .head code { font-weight: 600; }
.check .section { color: var(--soft); font-size: 0.8125rem; }
.compare { display: grid; grid-template-columns: 2.75rem 1fr; font-size: 0.9375rem; }
.compare dt { color: var(--soft); }

.policy ul { margin-left: 0.4rem; padding-left: 0.9rem; border-left: 1px solid var(--line); }
.policy li { padding: 0.12rem 0; }
.policy .waiver, .policy .waiver code { color: var(--warn); font-weight: 600; }
.digests { display: grid; gap: 0.75rem; }
.digests dt { color: var(--soft); font-size: 0.875rem; }
pre {
  margin: 0.75rem 0 0; background: var(--code); border-radius: 0.5rem; padding: 0.7rem 0.9rem; white-space: pre-wrap;
}
footer { margin-top: 2.5rem; color: var(--soft); font-size: 0.875rem; }

@media (max-width: 25rem) {
  main { padding: 0.6rem 0.6rem 2rem; }
  .card { padding: 0.9rem; border-radius: 0.7rem; }
  .verdict { padding: 1.1rem; }
  .graph li ul { margin-left: 0.3rem; padding-left: 0.6rem; }
  .graph li li::before { left: -0.6rem; width: 0.45rem; }
  .graph li li:last-child::after { left: calc(-0.6rem - 2px); }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --code: #f2f2f2;
    --good: #0a5c35; --good-paper: #fff; --bad: #97130e; --bad-paper: #fff;
    --warn: #6b4700; --warn-paper: #fff; --note: #0b4a7a; --note-paper: #fff;
  }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  h2 { margin-top: 1.6rem; }
  h2, h3, h4, summary { break-after: avoid; }
  .check, .points li, .digests div, .alarm, .verdict { break-inside: avoid; }
  .card, .verdict { border: 1px solid var(--line); border-radius: 0.4rem; }
  .pill { border: 1px solid currentColor; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  summary::before { display: none; }
}
@page { margin: 16mm; }
"""
"""The style sheet. It names no other file."""

_DIGEST: Final = base64.b64encode(sha256(STYLE.encode()).digest()).decode("ascii")

CONTENT_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
"""What a browser may load for the page (W3C CSP 3): nothing, and of style sheets only the one above."""
