// Shows the verdict on a checkpoint, the checkpoint itself, and who cosigned it.

import { toHex } from "./bytes.js";
import { button, code, counted, element, fact, mark, pill, time } from "./dom.js";
import { TYPES } from "./note.js";
import { printable, printableLines } from "./statements.js";

const WORDS = {
  good: ["Verified", "Everything below was computed in this browser, and holds."],
  warn: ["Verified in part", "What was checked holds. Not everything could be checked: see below."],
  bad: ["Refused", "Do not rely on this log: a check failed."],
};
const STATUS = {
  good: ["pass", "good"],
  wrong: ["fail", "wrong"],
  absent: ["skip", "did not sign"],
  unchecked: ["warn", "not checked in this browser"],
  future: ["fail", "from the future: not counted"],
};

/** Show what all checks mean, and each of them. */
export function showVerdict(look, checks) {
  const [title, sentence] = WORDS[look];
  return [
    verdictCard(look, element("h1", {}, title), sentence),
    element("div", { class: "card" }, element("ul", { class: "checks" }, ...checks.map(showCheck))),
  ];
}

/** Show that there is nothing to judge. */
export function showNothing(message) {
  return verdictCard("bad", element("h1", {}, "Refused"), printable(message, 600));
}

/** A card in the colour of a verdict. */
export function verdictCard(look, heading, sentence) {
  return element("div", { class: `card verdict ${look}` }, mark(look), element("div", {}, heading, element("p", {}, sentence)));
}

function showCheck({ status, title, text }) {
  const head = element("p", { class: "head" }, pill(status, status), element("b", {}, title));
  return element("li", { class: `check ${status}` }, head, element("p", {}, printable(text, 1200)));
}

/** Show that the log does not keep what it showed, with both notes: they are the evidence. */
export function showAlarm(alarm, seen, note) {
  const sentence = `${alarm.message} Keep both checkpoints below: with their signatures they are evidence.`;
  return element(
    "div", { class: "alarm" },
    element("div", {}, element("strong", {}, alarm.title), element("p", {}, printable(sentence, 1200)),
      seen && unfold("The checkpoint that this browser saw before", pre(seen.note)),
      unfold("The checkpoint that the log shows now", pre(note))),
  );
}

/** Something that unfolds. */
export function unfold(title, ...content) {
  return element("details", {}, element("summary", {}, title), ...content);
}

/** Text as it was written, in several lines. */
export function pre(text) {
  return element("pre", { tabindex: "0" }, code(printableLines(text)));
}

/** Show the checkpoint. */
export function showCheckpoint({ checkpoint, quorum, log }, { now, again, forget }) {
  const { origin, size, root, extensions } = checkpoint;
  const facts = [
    fact("Origin", code(printable(origin, 400))),
    fact("Size", counted(size, "entry", "entries")),
    fact("Root", code(toHex(root), "hash")),
    fact("A quorum first saw it", quorum?.known === undefined ? "not known" : time(quorum.known * 1000, now)),
    fact("A quorum's word is from", quorum?.fresh === undefined ? "not known" : time(quorum.fresh * 1000, now)),
    log && fact("Key of the log", code(printable(log.key.text, 2200))),
    extensions.length > 0 && fact("Extension lines", code(printable(extensions.join("\n"), 1000))),
  ];
  return [
    element("h2", {}, "Latest checkpoint"),
    element("dl", { class: "facts card" }, ...facts),
    element("p", { class: "actions" }, button("Check again", again), forget && button("Forget this log in this browser", forget, "quiet")),
  ];
}

/** Show the witnesses of the policy, and what became of the signature of each. */
export function showWitnesses({ witnesses, strangers }, now) {
  const rows = witnesses.map(({ name, key, status, time: seconds }) => {
    const [look, word] = STATUS[status];
    return element(
      "li", { class: "witness" },
      element("div", {}, element("b", {}, printable(name, 100)), " ", element("span", { class: "soft" }, printable(key.name, 255))),
      element("div", { class: "soft" }, `${TYPES[key.type].name}, key ${key.id}`),
      element("div", { class: "said" }, pill(look, word), status === "good" && time(seconds * 1000, now)),
    );
  });
  const others = strangers > 0 && element("p", { class: "soft" }, `${counted(strangers, "signature")} of keys that the list does not name: passed over.`);
  const none = rows.length === 0 && element("p", {}, "The log names no witnesses.");
  return [element("h2", {}, "Who cosigned it"), element("div", { class: "card" }, rows.length > 0 && element("ul", { class: "witnesses" }, ...rows), none, others)];
}
