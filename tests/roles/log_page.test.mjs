// The modules of the log's page without a page: `node --test`, in a folder that holds them beside this file.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { webcrypto } from "node:crypto";
import path from "node:path";
import test from "node:test";

import { Missing, Refusal, fromBase64, fromHex, fromText, same, toBase64, toHex, toText } from "./bytes.js";
import { judgeCheckpoint } from "./judge.js";
import { Alarm, Memory, compare } from "./memory.js";
import {
  leafHash, nodeHash, treeRoot, verifyConsistency, verifyInclusion, verifySubtreeConsistency, verifySubtreeInclusion,
} from "./merkle.js";
import { checkSignature, decodeCheckpoint, decodeKey, decodeNote } from "./note.js";
import { decodePolicy, describeQuorum, quorumTime } from "./policy.js";
import { search } from "./search.js";
import { decodeEntry, encodeCanonical, printable, searchText, shortType } from "./statements.js";
import { TileReader, decodeBundle, inclusionSpans, tilePath } from "./tiles.js";

globalThis.crypto ??= webcrypto; // Node 18 has it, and does not show it

const { CASES, VECTORS, LOG } = process.env;

/** Read JSON in which whole numbers may be as large as 64 bits: those become text. */
function readJson(...parts) {
  return JSON.parse(readFileSync(path.join(...parts), "utf-8").replace(/:\s*(\d{15,})/g, ':"$1"'));
}

function folderFetcher(folder, { gone = [], changed = {} } = {}) {
  return async (name) => {
    if (Object.hasOwn(changed, name)) return changed[name];
    const file = path.join(folder, name);
    return !gone.includes(name) && existsSync(file) ? new Uint8Array(readFileSync(file)) : null;
  };
}

// --- Published vectors ----------------------------------------------------------------------------------------------

const CHECKS = {
  "merkle-inclusion": (v, proof, h) => verifyInclusion(h("leafHash"), BigInt(v.leafIdx), BigInt(v.treeSize), proof, h("root")),
  "merkle-subtreeinclusion": (v, proof, h) =>
    verifySubtreeInclusion(h("leafHash"), BigInt(v.leafIdx), BigInt(v.start), BigInt(v.end), proof, h("root")),
  "merkle-consistency": (v, proof, h) => verifyConsistency(BigInt(v.size1), BigInt(v.size2), proof, h("root1"), h("root2")),
  "merkle-subtreeconsistency": (v, proof, h) =>
    verifySubtreeConsistency(BigInt(v.start), BigInt(v.end), BigInt(v.size), proof, h("root1"), h("root2")),
};
// Accepted by others with roots that are no hashes: of trees that are empty, or the same. We take 32 bytes.
const DEGENERATE = (v) => [v.root1, v.root2].some((root) => root !== undefined && fromBase64(root).length !== 32);

test("every published proof of a Merkle tree is accepted or refused as it should be", async () => {
  const counts = { accept: 0, refuse: 0, degenerate: 0 };
  for (const each of readJson(VECTORS, "merkle", "cases.json").cases.filter(({ kind }) => kind === "merkle-proof")) {
    const vector = readJson(VECTORS, "merkle", each.files.proof);
    const run = async () => {
      const hashOf = (name) => fromBase64(vector[name]);
      await CHECKS[each.params.schema](vector, (vector.proof ?? []).map(fromBase64), hashOf);
    };
    const degenerate = each.expect === "accept" && DEGENERATE(vector);
    if (each.expect === "accept" && !degenerate) await run();
    else await assert.rejects(run, Refusal, each.id);
    counts[degenerate ? "degenerate" : each.expect] += 1;
  }
  assert.deepEqual({ ...counts, all: counts.accept + counts.refuse + counts.degenerate }, JSON.parse(CASES));
});

test("the hashes of the published tree come out", async () => {
  const vector = readJson(VECTORS, "merkle", "rfc6962-tree-hashes.json");
  let level = await Promise.all(vector.leaves.map((leaf) => leafHash(fromHex(leaf))));
  for (const [size, root] of vector.roots.entries()) assert.equal(toHex(await treeRoot(level.slice(0, size))), root);
  for (let height = 0; height < 4; height += 1) {
    assert.deepEqual(level.map(toHex), vector[`level${height}`]);
    level = await Promise.all(Array.from({ length: level.length >> 1 }, (_, at) => nodeHash(level[2 * at], level[2 * at + 1])));
  }
});

test("every size of the published log is read, proved, and adds to those before", async () => {
  const folder = path.join(VECTORS, "tlog", "tessera-log");
  const trees = [];
  for (let size = 0; size < 16; size += 1) {
    const note = decodeNote(new Uint8Array(readFileSync(path.join(folder, `checkpoint.${size}`))));
    const checkpoint = await decodeCheckpoint(note.text);
    assert.equal(checkpoint.size, BigInt(size));
    const reader = new TileReader(checkpoint.size, checkpoint.root, folderFetcher(folder));
    await reader.verifyRoot();
    for (const before of trees) await reader.verifyExtends(before.size, before.root);
    const entries = size ? await reader.entries(0n) : [];
    for (const [at, entry] of entries.entries()) assert.equal((await reader.prove(BigInt(at), entry)).refusal, null);
    trees.push(checkpoint);
  }
});

test("published notes are read, and their signatures are as they should be", async () => {
  for (const each of readJson(VECTORS, "tlog", "signed-note.json").cases.filter((one) => !one.skey)) {
    const run = async () => {
      const keys = await Promise.all((each.vkeys ?? [each.vkey]).filter(Boolean).map(decodeKey));
      return each.note === undefined ? [] : statusesOf(decodeNote(fromText(each.note)), keys);
    };
    const malformed = /^(malformed|wrong key length)/.test(each.name);
    if (malformed) await assert.rejects(run, Refusal, each.name);
    else if (each.valid) assert.ok((await run()).every((status) => status === "good"), each.name);
    else assert.ok((await run()).every((status) => status === "wrong"), each.name);
  }
});

function statusesOf({ text, signatures }, keys) {
  return Promise.all(
    keys.map((key) => checkSignature(key, text, signatures.find((one) => one.name === key.name && one.id === key.id).signature)),
  ).then((found) => found.map(({ status }) => status));
}

test("published checkpoints are read or refused as they should be", async () => {
  for (const each of readJson(VECTORS, "tlog", "checkpoint-body.json").cases) {
    // The peer takes roots that are no hashes. We do not, so with one in its place the rest has to be right.
    const body = each.body.replace(/\n(YmFuYW5hcw==|dGhl[^\n]*)\n/, `\n${toBase64(new Uint8Array(32))}\n`);
    const empty = each.valid && each.body.includes("\n\n"); // extension lines without text, which the standard forbids
    if (each.valid && !empty) {
      const { origin, size } = await decodeCheckpoint(body);
      assert.deepEqual([origin, size], [each.origin, BigInt(each.size)]);
      await assert.rejects(decodeCheckpoint(each.body), Refusal);
    } else {
      await assert.rejects(decodeCheckpoint(body), Refusal, each.name);
    }
  }
});

test("published witness policies are read or refused, and their quorums counted", async () => {
  const { policies, quorum, witnesses } = readJson(VECTORS, "tlog", "witness-policy.json");
  for (const { name, policy, valid, threshold } of policies) {
    const keys = policy.split("\n").filter((line) => line.trim().startsWith("witness")).map((line) => line.split(/\s+/).filter(Boolean)[2]);
    const differs = /    #comment/.test(policy) || new Set(keys).size < keys.length; // both are forbidden by the standard
    if (valid && !differs) assert.equal((await decodePolicy(fromText(policy))).groups[0].threshold, threshold, name);
    else await assert.rejects(decodePolicy(fromText(policy)), Refusal, name);
  }
  for (const { policy_expr: expression, cosigned_by: by, satisfied } of quorum) {
    const policy = await decodePolicy(fromText(policyOf(expression, witnesses)));
    const times = new Map(by.map((name) => [`w${name.at(-1)}`, 1]));
    const asksNobody = policy.quorum === "";
    assert.equal(asksNobody || quorumTime(policy, times) !== undefined, satisfied, expression);
  }
});

function policyOf(expression, witnesses) {
  const lines = Object.entries(witnesses).map(([name, [key]]) => `witness w${name.at(-1)} ${key}`);
  if (expression.startsWith("0 of")) return [...lines, "quorum none", ""].join("\n");
  let rest = expression;
  for (let found; (found = /([0-9]) of \[([^[\]]*)\]/.exec(rest)); ) {
    lines.push(`group g${lines.length} ${found[1]} ${found[2].replaceAll(",", " ")}`);
    rest = rest.replace(found[0], `g${lines.length - 1}`);
  }
  return [...lines, `quorum ${rest}`, ""].join("\n");
}

// --- A large log, whose tiles and proofs Python made ----------------------------------------------------------------

const large = readJson(LOG, "large.json"); // { size, root, leaves: {index: hash}, proofs, older: [[size, root]] }

function largeReader(options) {
  return new TileReader(BigInt(large.size), fromHex(large.root), folderFetcher(path.join(LOG, "large"), options));
}

test("proofs from tiles on three levels are those of Python", async () => {
  const reader = largeReader();
  await reader.verifyRoot();
  for (const [index, proof] of Object.entries(large.proofs)) {
    const computed = await reader.inclusionProof(BigInt(index));
    assert.deepEqual(computed.map(({ hash }) => toHex(hash)), proof, index);
    await verifyInclusion(fromHex(large.leaves[index]), BigInt(index), reader.size, computed.map(({ hash }) => hash), reader.root);
  }
});

test("a tree adds to the older ones, and not to another", async () => {
  const reader = largeReader();
  for (const [size, root] of large.older) {
    await reader.verifyExtends(BigInt(size), fromHex(root));
    if (size > 0) await assert.rejects(reader.verifyExtends(BigInt(size), new Uint8Array(32)), Refusal);
  }
  await assert.rejects(reader.verifyExtends(BigInt(large.size) + 1n, reader.root), Refusal);
});

test("a wrong tile of any level is refused", async () => {
  const last = large.size - 1;
  for (const [name, index, at] of [
    [tilePath(0, 0n), 1, 0], [tilePath(1, 0n), 1, 32], [tilePath(1, 1n, 17), 1, 0], [tilePath(0, 273n, 112), 1, 0],
    [tilePath(2, 0n, 1), last, 0],
  ]) {
    const wrong = new Uint8Array(readFileSync(path.join(LOG, "large", name)));
    wrong[at] ^= 1;
    const reader = largeReader({ changed: { [name]: wrong } });
    const proof = (await reader.inclusionProof(BigInt(index))).map(({ hash }) => hash);
    const verified = verifyInclusion(fromHex(large.leaves[index]), BigInt(index), reader.size, proof, reader.root);
    await assert.rejects(verified, Refusal, name);
  }
});

test("a partial tile that is gone is read from the full one, and else it is missing", async () => {
  const size = 3n;
  const leaves = await Promise.all([0, 1, 2].map((each) => leafHash(Uint8Array.of(each))));
  const whole = new Uint8Array(256 * 32);
  leaves.forEach((leaf, at) => whole.set(leaf, 32 * at));
  const root = await treeRoot(leaves);
  const full = new TileReader(size, root, async (name) => (name === "tile/0/000" ? whole : null));
  await full.verifyRoot();
  await assert.rejects(new TileReader(size, root, async () => null).verifyRoot(), Missing);
  await assert.rejects(new TileReader(size, root, async () => whole).verifyRoot(), /another size/);
});

test("paths of tiles are those of the standard", () => {
  assert.equal(tilePath(0, 1234067n, 8), "tile/0/x001/x234/067.p/8");
  assert.equal(tilePath("entries", 0n), "tile/entries/000");
  assert.throws(() => inclusionSpans(1n, 3n, 8n), Refusal);
});

test("a bundle is read to its last byte, and no further", () => {
  assert.deepEqual(decodeBundle(Uint8Array.of(0, 1, 7, 0, 0), 2).map((each) => [...each]), [[7], []]);
  for (const bytes of [[0], [0, 2, 7], [0, 1, 7, 0], [0, 1, 7, 0, 0, 0]]) {
    assert.throws(() => decodeBundle(Uint8Array.from(bytes), 2), Refusal);
  }
});

// --- Signatures -----------------------------------------------------------------------------------------------------

const small = (name) => new Uint8Array(readFileSync(path.join(LOG, "small", name)));

test("signatures count when they are good, and only those of the list", async () => {
  const policy = await decodePolicy(small("witnesses"));
  const judged = await judgeCheckpoint(small("checkpoint"), policy, Date.now() / 1000);
  assert.equal(judged.log.status, "good");
  const later = judged.witnesses[2].status; // ML-DSA-44: Node has it from version 24 on
  assert.deepEqual(judged.witnesses.map(({ status }) => status), ["good", "good", later]);
  assert.ok(later === "good" || later === "unchecked");
  assert.equal(judged.quorum.state, "met");
  assert.equal(describeQuorum(policy), "2 of north, south, later");
  const nobody = await judgeCheckpoint(small("checkpoint"), null, 0);
  assert.deepEqual([nobody.log, nobody.quorum, nobody.strangers], [undefined, null, 4]);
});

test("a cosignature from the future does not count", async () => {
  const judged = await judgeCheckpoint(small("checkpoint"), await decodePolicy(small("witnesses")), 1_700_000_000);
  assert.deepEqual(judged.witnesses.slice(0, 2).map(({ status }) => status), ["future", "future"]);
  assert.notEqual(judged.quorum.state, "met");
});

test("what an unchecked signature would decide is undecided, and not met", async () => {
  const text = toText(small("witnesses")).replace("group all-of-us 2", "group all-of-us 3");
  const judged = await judgeCheckpoint(small("checkpoint"), await decodePolicy(fromText(text)), Date.now() / 1000);
  const { status } = judged.witnesses[2];
  assert.equal(judged.quorum.state, status === "good" ? "met" : "undecided");
});

test("a changed text makes every signature wrong", async () => {
  const text = toText(small("checkpoint")).replace("\n302\n", "\n301\n");
  const judged = await judgeCheckpoint(fromText(text), await decodePolicy(small("witnesses")), Date.now() / 1000);
  assert.deepEqual([judged.log, ...judged.witnesses].map(({ status }) => status).slice(0, 3), ["wrong", "wrong", "wrong"]);
  assert.equal(judged.quorum.state, "missing");
});

test("policies that the standard forbids are refused with their line", async () => {
  const lines = toText(small("witnesses")).trimEnd().split("\n");
  const [log, north, south] = lines;
  for (const [bad, want] of [
    [[...lines, "quorum none"], /second quorum/], [[log, log, "quorum none"], /Line 2.*one key/],
    [[north, north.replace(" north ", " other "), "quorum none"], /one key/], [[north, north], /taken/],
    [[north, "group g 2 north", "quorum g"], /so many/], [[north, "group g 1 north north", "quorum g"], /counts twice/],
    [[north, "group none 1 north", "quorum none"], /taken/], [[north, "group g 1 none", "quorum g"], /no line before/],
    [[log.replace("log ", "witness log "), "witness x nonsense", "quorum none"], /name\+id\+key/], [["word"], /neither/],
    [[south.replace(/\+[0-9a-f]{8}\+/, "+00000000+"), "quorum none"], /does not belong/], [[log], /says of no quorum/],
    [["quorum none\x01"], /control/], [Array(1025).fill("#"), /too many lines/],
  ]) {
    await assert.rejects(decodePolicy(fromText(bad.join("\n"))), want);
  }
});

test("notes that the standard forbids are refused", () => {
  const good = toText(small("checkpoint"));
  for (const bad of [
    "", "text\n", good.slice(0, -1), good.replace("log.example", "log\texample"), good.replace("— ", "- "),
    good + "— name AAAA\n", good + "— na+me AAAAAAA=\n", good + "— name AAAAAAB=\n", good + "— name AAAAAAAA\n".repeat(61),
    `${"x".repeat(262_144)}\n\n— name AAAAAAAA\n`,
  ]) {
    assert.throws(() => decodeNote(fromText(bad)), Refusal);
  }
  assert.throws(() => decodeNote(Uint8Array.of(0xff, 10, 10)), Refusal);
});

// --- Entries --------------------------------------------------------------------------------------------------------

const envelope = (payload, more = {}) =>
  fromText(JSON.stringify({ payloadType: "application/vnd.in-toto+json", payload: btoa(payload), signatures: [{ sig: "AA==", keyid: "k" }], ...more }));
const statement = (more = {}) => ({
  _type: "https://in-toto.io/Statement/v1", predicate: { issued: "2026-11-28T07:00:00Z", validUntil: null },
  predicateType: "https://confsec.dev/statement/image-manifest/v1", subject: [{ digest: { sha256: "ab" }, name: "N" }], ...more,
});

test("entries are what they are, and no more", () => {
  const kinds = (bytes) => decodeEntry(bytes).kind;
  const good = encodeCanonical(statement());
  assert.equal(kinds(envelope(good)), "statement");
  assert.equal(kinds(envelope("{}")), "envelope");
  assert.equal(kinds(envelope(good, { payloadType: "text/plain" })), "envelope");
  for (const broken of [{ signatures: [] }, { signatures: Array(17).fill({}) }, { signatures: [1] }, { payload: "?" }, { payload: "A" }]) {
    assert.equal(kinds(envelope(good, broken)), "text");
  }
  for (const broken of [{ subject: [{}] }, { subject: Array(4097).fill({ digest: {} }) }, { _type: "" }, { predicateType: 1 }]) {
    assert.equal(kinds(envelope(JSON.stringify(statement(broken)))), "envelope");
  }
  assert.equal(kinds(fromText("[".repeat(60_000))), "text");
  assert.equal(kinds(envelope(`${good.slice(0, -1)},"deep":${"[".repeat(5000)}${"]".repeat(5000)}}`)), "envelope");
  assert.equal(kinds(Uint8Array.of(0xff)), "bytes");
  assert.equal(kinds(Uint8Array.of()), "text");
});

test("a statement with two members of one name is of another spelling", () => {
  const good = encodeCanonical(statement());
  assert.equal(decodeEntry(envelope(good)).isCanonical, true);
  const twice = good.replace('"issued":', '"issued":"2020-01-01T00:00:00Z","issued":');
  assert.equal(decodeEntry(envelope(twice)).isCanonical, false);
});

test("times, types and texts to search in come out of a statement", () => {
  const entry = decodeEntry(envelope(encodeCanonical(statement())));
  assert.deepEqual([entry.issued, entry.validUntil, shortType(entry)], [Date.UTC(2026, 10, 28, 7), null, "image manifest"]);
  assert.equal(searchText(entry), "image manifest\nhttps://confsec.dev/statement/image-manifest/v1\nn\nsha256\nab\nk");
  const odd = decodeEntry(envelope(JSON.stringify(statement({ predicate: { issued: "2026-13-41T99:00:00Z" }, predicateType: "https://other.example/x" }))));
  assert.deepEqual([odd.issued, shortType(odd)], [null, "other.example/x"]);
});

test("characters that hide or turn text around are written out", () => {
  assert.equal(printable("a\u202eb\x00\n\u200d\ud800\u{e0041}"), "a\\u202eb\\u0000\\u000a\\u200d\\ud800\\U000e0041");
  assert.equal(printable("abcdef", 3), "abc…");
});

test("a search reads the newest first, ends after its limit, and names what it could not verify", async () => {
  const tree = await decodeCheckpoint(decodeNote(small("checkpoint")).text);
  const walk = async (query, options) => {
    const reader = new TileReader(tree.size, tree.root, folderFetcher(path.join(LOG, "small"), options));
    const steps = [];
    for await (const step of search(reader, query, new AbortController().signal)) steps.push(step);
    return steps;
  };
  const hits = (steps) => steps.flatMap((step) => step.hits.map(({ index }) => Number(index)));
  assert.deepEqual(hits(await walk("RELEASE.example/7")), [79, 78, 77, 76, 75, 74, 73, 72, 71, 70, 7]);
  assert.deepEqual((await walk("entry")).map(({ done }) => done), [46n, 302n]);
  assert.equal(hits(await walk("example")).length, 200);
  const wrong = small("tile/entries/000");
  wrong[9] ^= 1;
  const steps = await walk("release.example/7", { changed: { "tile/entries/000": wrong } });
  assert.deepEqual([hits(steps), steps[1].refused.first, steps[1].refused.last], [[], 0n, 255n]);
  const missing = await walk("x", { gone: ["tile/entries/001.p/46"] });
  assert.ok(missing[0].refused.error instanceof Missing);
});

test("a log that claims more than anybody can read does not keep a search busy", async () => {
  const reader = new TileReader(2n ** 62n + 1n, new Uint8Array(32), async () => null);
  const refused = [];
  for await (const step of search(reader, "x", new AbortController().signal)) refused.push(step.refused.last);
  assert.deepEqual([refused.length, refused[0], refused[1]], [20, 2n ** 62n, 2n ** 62n - 1n]);
});

// --- Memory ---------------------------------------------------------------------------------------------------------

const storage = (items = {}) => ({
  getItem: (name) => items[name] ?? null, setItem: (name, text) => (items[name] = text), removeItem: (name) => delete items[name],
});

test("what is remembered comes back, and what cannot be read is not forgotten in silence", () => {
  const memory = new Memory("/log/", storage());
  assert.equal(memory.load(), null);
  const checkpoint = { origin: "o", size: 2n ** 60n, root: new Uint8Array(32) };
  assert.ok(memory.save({ checkpoint, note: "n", policy: "p", at: 1, fresh: null }));
  assert.deepEqual(memory.load(), { ...checkpoint, note: "n", policy: "p", at: 1, fresh: null });
  assert.ok(!memory.save({ checkpoint, note: "n".repeat(700_000), policy: "p", at: 1, fresh: null }));
  memory.forget();
  assert.equal(memory.load(), null);
  for (const text of ["", "{}", "null", '{"version":1,"origin":"o","size":"-1","root":"","note":"","policy":"","at":1}']) {
    assert.throws(() => new Memory("/", storage({ "confsec log /": text })).load(), Refusal);
  }
});

test("a log that goes back, forks, or is another one raises the alarm", () => {
  const seen = { origin: "o", size: 5n, root: new Uint8Array(32) };
  assert.equal(compare(null, seen), "first");
  assert.equal(compare(seen, seen), "same");
  assert.equal(compare(seen, { ...seen, size: 6n }), "larger");
  for (const [other, title] of [[{ size: 4n }, "The log went back"], [{ root: new Uint8Array(32).fill(1) }, "The log was forked"], [{ origin: "p" }, "Another log"]]) {
    assert.throws(() => compare(seen, { ...seen, ...other }), (error) => error instanceof Alarm && error.title === title);
  }
});

test("hex and base64 have one spelling", () => {
  assert.ok(same(fromHex("00ff"), fromBase64("AP8=")));
  for (const bad of ["0", "0F", "xx"]) assert.throws(() => fromHex(bad), Refusal);
  for (const bad of ["AP8", "AP9=", "AP-_", "A===", " AP8="]) assert.throws(() => fromBase64(bad), Refusal);
});
