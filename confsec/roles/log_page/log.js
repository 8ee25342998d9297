// The page of a log: fetches its checkpoint, judges it, and shows it and its entries.

import { Missing, Refusal, toText } from "./bytes.js";
import { checkFresh, checkMemory, checkQuorum, checkSigned, checkTree, verdictOf } from "./checks.js";
import { button, counted, element, replace } from "./dom.js";
import { showEntry, showEntryRefused, showPager, showRefused, showRow, showSearch } from "./entries.js";
import { makeFetcher } from "./fetcher.js";
import { judgeCheckpoint } from "./judge.js";
import { Memory } from "./memory.js";
import { MAX_NOTE } from "./note.js";
import { MAX_POLICY, decodePolicy } from "./policy.js";
import { MAX_HITS, MAX_REFUSED, search } from "./search.js";
import { decodeEntry, printable } from "./statements.js";
import { TileReader, WIDTH } from "./tiles.js";
import { showAlarm, showCheckpoint, showNothing, showVerdict, showWitnesses } from "./view.js";

const PER_PAGE = 20n;
const HASH = /^#(entry|page)=(0|[1-9][0-9]{0,18})$/;
const SEARCH = /^#search=(.{1,800})$/;

const base = new URL(".", location.href);
const place = (id) => document.getElementById(id);

let tree = null; // what the entries belong to: { reader, look }
let moved = false; // whether the visitor went from one view of entries to another
let stop = new AbortController(); // ends what the last view of entries still does

// --- The checkpoint -------------------------------------------------------------------------------------------------

async function load() {
  place("main").dataset.state = "loading";
  try {
    requireCryptography();
    await judge(makeFetcher(base));
  } catch (error) {
    refuseAll(error);
  }
  await showEntries();
  place("main").dataset.state = "ready";
}

function requireCryptography() {
  if (!globalThis.crypto?.subtle) {
    throw new Refusal("Nothing was checked: browsers give cryptography only to pages that come by https, or from this machine.");
  }
}

function refuseAll(error) {
  if (!(error instanceof Refusal || error instanceof Missing)) throw error;
  tree = null;
  place("main").dataset.verdict = "bad";
  replace(place("alarm"));
  replace(place("verdict"), showNothing(error.message));
  for (const id of ["checkpoint", "witnesses", "entries"]) replace(place(id));
}

async function judge(fetchFile) {
  const now = Date.now();
  const [bytes, policyBytes] = await Promise.all([fetchFile("checkpoint", MAX_NOTE), fetchFile("witnesses", MAX_POLICY)]);
  if (!bytes) throw new Missing("The log serves no checkpoint.");
  const policy = policyBytes && (await decodePolicy(policyBytes));
  const policyText = policyBytes ? toText(policyBytes) : "";
  const judgement = await judgeCheckpoint(bytes, policy, Math.floor(now / 1000));
  const { checkpoint } = judgement;
  const reader = new TileReader(checkpoint.size, checkpoint.root, fetchFile);
  const memory = openMemory();
  const remembered = await checkMemory(memory, judgement, reader, policyText);
  const checks = [
    checkSigned(judgement, policy), checkQuorum(judgement, policy), checkFresh(judgement, now),
    await checkTree(reader), remembered,
  ];
  const look = verdictOf(checks);
  const noteText = toText(bytes);
  const accept = () => remember(memory, judgement, noteText, policyText, now);
  if (look !== "bad" && judgement.log?.status === "good" && !remembered.isChanged) accept();
  tree = { reader, look };
  show(judgement, checks, { look, memory, now, noteText, remembered, accept });
}

function openMemory() {
  try {
    return new Memory(base.pathname, localStorage);
  } catch {
    return null; // a browser that keeps nothing throws SecurityError
  }
}

function remember(memory, { checkpoint, quorum }, note, policy, now) {
  try {
    memory?.save({ checkpoint, note, policy, at: now, fresh: quorum?.fresh ?? null });
  } catch (error) {
    if (error.name !== "QuotaExceededError") throw error; // full: the older memory stays, and is no worse
  }
}

function show(judgement, checks, { look, memory, now, noteText, remembered, accept }) {
  const { checkpoint } = judgement;
  const forget = memory && (() => {
    memory.forget();
    load();
  });
  const acceptButton = remembered.isChanged && look !== "bad" && element("p", { class: "actions" }, button("I compared them: remember the new witnesses", () => {
    accept();
    load();
  }));
  document.title = `${{ good: "Verified", warn: "In part", bad: "Refused" }[look]}: ${printable(checkpoint.origin, 100)}`;
  place("main").dataset.verdict = look;
  replace(place("origin"), printable(checkpoint.origin, 200));
  replace(place("alarm"), remembered.alarm && showAlarm(remembered.alarm, loadQuietly(memory), noteText));
  replace(place("verdict"), ...showVerdict(look, checks), acceptButton);
  replace(place("checkpoint"), ...showCheckpoint(judgement, { now, again: load, forget }));
  replace(place("witnesses"), ...showWitnesses(judgement, now));
}

function loadQuietly(memory) {
  try {
    return memory.load();
  } catch {
    return null; // that it cannot be read was said among the checks
  }
}

// --- The entries ----------------------------------------------------------------------------------------------------

async function showEntries() {
  stop.abort();
  stop = new AbortController();
  if (!tree) return;
  const { signal } = stop;
  const [, word, number] = HASH.exec(location.hash) ?? [];
  const query = decodeQuery();
  if (word === "entry") await showOne(BigInt(number), signal);
  else if (query) await showFound(query, signal);
  else await showPage(word === "page" ? BigInt(number) : 1n, signal);
}

function decodeQuery() {
  try {
    return decodeURIComponent(SEARCH.exec(location.hash)?.[1] ?? "").slice(0, 200);
  } catch {
    return "";
  }
}

function frame(query, ...content) {
  const form = showSearch(query, (wanted) => go(wanted === "" ? "page=1" : `search=${encodeURIComponent(wanted)}`));
  const refused = tree.look === "bad" && element("p", { class: "notice" }, "These are entries of a checkpoint that was refused. Do not rely on them.");
  replace(place("entries"), element("h2", { id: "entries-title", tabindex: "-1" }, "Entries"), refused, form, ...content);
  if (moved) place("entries-title").focus(); // where the visitor was is gone
}

function go(hash) {
  location.hash = hash;
}

async function showPage(page, signal) {
  const { reader } = tree;
  const pages = reader.size === 0n ? 1n : (reader.size + PER_PAGE - 1n) / PER_PAGE;
  const at = page < 1n ? 1n : page > pages ? pages : page;
  const last = reader.size - 1n - (at - 1n) * PER_PAGE;
  const first = last - PER_PAGE + 1n > 0n ? last - PER_PAGE + 1n : 0n;
  const rows = await rowsBetween(first, last);
  if (signal.aborted) return;
  const list = rows.length ? element("ol", { class: "card rows" }, ...rows) : element("p", { class: "card" }, "The log is empty.");
  frame("", list, showPager(at, pages, (other) => go(`page=${other}`)));
}

/** Make the rows of some entries, the newest first, bundle by bundle. */
async function rowsBetween(first, last) {
  const rows = [];
  const width = BigInt(WIDTH);
  for (let high = last; high >= first; ) {
    const bundle = high / width;
    const low = bundle * width > first ? bundle * width : first;
    rows.push(...(await rowsOf(bundle, low, high)));
    high = low - 1n;
  }
  return rows;
}

async function rowsOf(bundle, low, high) {
  try {
    const entries = await tree.reader.entries(bundle);
    const start = bundle * BigInt(WIDTH);
    const numbers = Array.from({ length: Number(high - low) + 1 }, (_, at) => high - BigInt(at));
    return numbers.map((index) => {
      const entry = decodeEntry(entries[Number(index - start)]);
      return showRow({ index, entry }, tree.look, Date.now());
    });
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof Missing)) throw error;
    return [showRefused(low, high, error)];
  }
}

async function showOne(index, signal) {
  const { reader, look } = tree;
  let content;
  try {
    if (index >= reader.size) throw new Refusal(`The tree has ${counted(reader.size, "entry", "entries")} and not this one.`);
    const bundle = await reader.readEntries(index / BigInt(WIDTH));
    const bytes = bundle[Number(index % BigInt(WIDTH))];
    const trace = await reader.prove(index, bytes);
    content = showEntry(index, decodeEntry(bytes), trace, { look, root: reader.root, size: reader.size, now: Date.now() });
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof Missing)) throw error;
    content = showEntryRefused(index, error);
  }
  if (signal.aborted) return;
  replace(place("entries"), ...content);
  place("entry-title").focus();
}

async function showFound(query, signal) {
  const { reader, look } = tree;
  const rows = element("ol", { class: "card rows" });
  const progress = element("progress", { max: String(reader.size), value: "0", "aria-label": "Entries searched" });
  const said = element("p", { class: "said", role: "status" });
  const ended = new AbortController(); // by the visitor, who keeps what was found, or with the whole view
  const cancel = button("Stop", () => ended.abort());
  signal.addEventListener("abort", () => ended.abort());
  frame(query, element("div", { class: "progress" }, progress, cancel), said, rows);
  let [done, hits, refused] = [0n, 0, 0];
  for await (const step of search(reader, query, ended.signal)) {
    done = step.done;
    hits += step.hits.length;
    progress.value = Number(done);
    said.textContent = `${counted(done, "entry", "entries")} of ${reader.size} read, ${counted(hits, "hit")}`;
    rows.append(...step.hits.map((hit) => showRow(hit, look, Date.now())));
    if (!step.refused) continue;
    refused += 1;
    rows.append(showRefused(step.refused.first, step.refused.last, step.refused.error));
  }
  if (signal.aborted) return;
  cancel.disabled = true;
  replace(said, ...summary({ done, hits, refused, size: reader.size }));
}

function summary({ done, hits, refused, size }) {
  const found = `${counted(hits, "hit")} in ${counted(done, "entry", "entries")}.`;
  const full = hits >= MAX_HITS && `The search ended after ${MAX_HITS} hits: ask for something narrower.`;
  const broken = refused >= MAX_REFUSED && "The search ended: too much of the log cannot be verified.";
  const ended = done < size && ` Not all ${size} entries were read. ${full || broken || "The search was stopped."}`;
  const missed = refused > 0 && element("b", { class: "bad" }, ` Not complete: ${counted(refused, "bundle")} of entries could not be verified, and nothing in them was searched.`);
  return [found, ended, missed];
}

addEventListener("hashchange", async () => {
  moved = true;
  place("main").dataset.state = "loading";
  await showEntries();
  place("main").dataset.state = "ready";
});
await load();
