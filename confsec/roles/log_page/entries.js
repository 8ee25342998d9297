// Shows entries: a page of them, one of them with the computation of its proof, and what a search found.

import { toHex } from "./bytes.js";
import { button, code, counted, element, fact, pill, time } from "./dom.js";
import { printable, shortType } from "./statements.js";
import { pre, unfold, verdictCard } from "./view.js";

const SHOWN_SUBJECTS = 50;

/** Show a row for an entry that is in the tree. `look` is that of the checkpoint. */
export function showRow({ index, entry }, look, now) {
  const statement = entry.kind === "statement";
  const expired = statement && entry.validUntil !== null && entry.validUntil <= now;
  return element(
    "li", { class: "row" },
    element(
      "a", { href: `#entry=${index}` },
      element("span", { class: "index" }, `${index}`),
      element("span", { class: "what" }, element("b", {}, shortType(entry)), element("span", { class: "soft" }, summary(entry))),
      element("span", { class: "when soft" }, statement && entry.issued !== null && time(entry.issued)),
    ),
    element("span", { class: "pills" }, expired && pill("skip", "ended"),
      look === "bad" ? pill("warn", "in a refused tree") : pill("pass", "in the tree")),
  );
}

function summary(entry) {
  if (entry.kind === "envelope") return printable(entry.payloadType, 80);
  if (entry.kind !== "statement") return printable(entry.raw.slice(0, 200).replace(/\s+/g, " "), entry.kind === "bytes" ? 64 : 80);
  const [first, ...rest] = entry.subjects;
  if (!first) return "about nothing";
  return printable(first.name || first.digests[0]?.[1] || "", 80) + (rest.length ? ` and ${rest.length} more` : "");
}

/** Show that some entries are not shown, and why. */
export function showRefused(first, last, error) {
  return element("li", { class: "row refused" }, pill("fail", "refused"), ` Entries ${first} to ${last} are not shown. ${printable(error.message, 600)}`);
}

/** Show an entry with its proof. What is not proved is not shown. */
export function showEntry(index, entry, trace, { look, root, size, now }) {
  const proved = trace.refusal === null;
  const refused = look === "bad" ? " But the checkpoint was refused." : "";
  const sentence = proved
    ? `This browser computed the root from the entry and ${counted(trace.steps.length, "hash", "hashes")}: it is the checkpoint’s.${refused}`
    : `${trace.refusal.message} What it says is not shown.`;
  const heading = element("h2", { id: "entry-title", tabindex: "-1" }, proved ? `Entry ${index} is in the tree` : `Entry ${index} is not proved`);
  return [
    back(),
    verdictCard(proved ? (look === "bad" ? "warn" : "good") : "bad", heading, printable(sentence, 800)),
    proved && showContent(entry, now),
    element("h3", { class: "over" }, "The proof, hash by hash"),
    showProof(index, trace, root, size),
  ];
}

/** Show that an entry could not be read. */
export function showEntryRefused(index, error) {
  const heading = element("h2", { id: "entry-title", tabindex: "-1" }, `Entry ${index} is not proved`);
  return [back(), verdictCard("bad", heading, printable(error.message, 800))];
}

function back() {
  return element("p", { class: "actions" }, element("a", { href: "#page=1" }, "← All entries"));
}

function showContent(entry, now) {
  const raw = unfold("The entry as it stands in the log", pre(entry.raw));
  if (entry.kind === "text" || entry.kind === "bytes") {
    const what = entry.kind === "text" ? "This is no statement. It is text:" : "This is no statement. In hex:";
    return element("div", { class: "card" }, element("p", {}, what), pre(entry.raw));
  }
  if (entry.kind === "envelope") {
    return element("div", { class: "card" }, element("dl", { class: "facts" }, fact("Payload type", code(printable(entry.payloadType, 300))), ...signers(entry)), pre(entry.payload), raw);
  }
  const shown = entry.subjects.slice(0, SHOWN_SUBJECTS).map(showSubject);
  const more = entry.subjects.length - shown.length;
  const facts = [
    fact("Says", element("b", {}, shortType(entry)), element("br"), code(printable(entry.type, 1024))),
    fact("About", element("ul", { class: "subjects" }, ...shown, more > 0 && element("li", { class: "soft" }, `and ${more} more: see below`))),
    entry.issued !== null && fact("Issued", time(entry.issued, now)),
    entry.validUntil !== null && fact("Valid until", time(entry.validUntil, now)),
    ...signers(entry),
    !entry.isCanonical && fact("Spelling", pill("warn", "another"), " Not as confsec writes statements: programs may read it differently from this page."),
  ];
  return element(
    "div", { class: "card" }, element("dl", { class: "facts" }, ...facts),
    unfold("The predicate", pre(JSON.stringify(entry.predicate, null, 2))),
    unfold("The statement as it was signed", pre(entry.payload)), raw,
  );
}

function signers({ signers: ids }) {
  const list = ids.map((id) => element("li", {}, id === "" ? "a key without an ID" : code(printable(id, 255))));
  return [fact("Signed, it says, by", element("ul", {}, ...list), element("span", { class: "soft" }, "Not checked here."))];
}

function showSubject({ name, digests }) {
  const lines = digests.slice(0, 8).map(([algorithm, digest]) => code(`${printable(algorithm, 40)}:${printable(digest, 200)}`, "hash"));
  return element("li", {}, element("b", {}, printable(name, 300)), ...lines);
}

function showProof(index, { leaf, proof, steps, refusal }, root, size) {
  const start = element("li", {}, label("SHA-256 of 00 and the entry", `entry ${index}`), hash(leaf));
  const rungs = steps.map(({ side, sibling, hash: computed }, at) => {
    const { start: from, end, tiles } = proof[at];
    const over = end - from === 1n ? `entry ${from}` : `entries ${from} to ${end - 1n}`;
    return element(
      "li", {}, label(`On the ${side}: ${over}`, `from ${tiles.join(", ")}`), hash(sibling),
      label("Together, SHA-256 of 01 and both"), hash(computed, "computed"),
    );
  });
  const computed = steps.length ? steps[steps.length - 1].hash : leaf;
  const end = element(
    "li", { class: refusal === null ? "pass" : "fail" },
    label("The root that comes out", `of ${counted(size, "entry", "entries")}`), hash(computed, "computed"),
    label("The root in the checkpoint"), hash(root),
    element("p", {}, refusal === null ? pill("pass", "the same") : pill("fail", "not the same")),
  );
  return element("ol", { class: "card ladder" }, start, ...rungs, end);
}

function label(text, note = "") {
  return element("span", { class: "label" }, text, note && element("span", { class: "soft" }, ` · ${note}`));
}

function hash(bytes, kind = "") {
  return code(toHex(bytes), `hash ${kind}`.trim());
}

/** Show how to go to newer and older entries. */
export function showPager(page, pages, go) {
  const newer = button("Newer", () => go(page - 1n));
  const older = button("Older", () => go(page + 1n));
  newer.disabled = page <= 1n;
  older.disabled = page >= pages;
  return element("p", { class: "pager actions" }, newer, element("span", {}, `Page ${page} of ${pages}`), older);
}

/** Make the form for searching. */
export function showSearch(query, run) {
  const input = element("input", { type: "search", id: "query", "aria-describedby": "query-help" });
  input.value = query;
  input.maxLength = 200;
  const form = element(
    "form", { class: "search", role: "search" },
    element("label", { class: "hidden" }, "Search in all entries"), input, element("button", { type: "submit" }, "Search"),
    element("p", { class: "soft", id: "query-help" }, "Name, digest, type or key ID. Your browser reads the log for it, so nobody learns what you look for."),
  );
  form.querySelector("label").htmlFor = "query";
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(input.value.trim());
  });
  return form;
}
