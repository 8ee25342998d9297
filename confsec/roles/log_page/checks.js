// The list of what was checked of the checkpoint, each with its verdict: pass, fail, warn, or info.

import { Missing, Refusal, sha256, fromText, toHex } from "./bytes.js";
import { counted, distance } from "./dom.js";
import { Alarm, compare } from "./memory.js";
import { Fork } from "./merkle.js";
import { TYPES } from "./note.js";
import { decodePolicy, describeQuorum } from "./policy.js";

/** Milliseconds after which the witnesses' word is called old. */
const OLD = 24 * 3600 * 1000;

const check = (status, title, text, alarm = null) => ({ status, title, text, alarm });

/** Say what became of the log's own signature. */
export function checkSigned({ checkpoint, log }, policy) {
  const title = "The log signed it";
  if (!policy) return check("warn", title, "The log serves no list of keys, so nobody knows which key would be its own.");
  if (!log) return check("fail", title, `The log's list of keys has none for ${checkpoint.origin}.`);
  const texts = {
    good: ["pass", `With the key ${log.key.name}+${log.key.id}.`],
    wrong: ["fail", "The signature is wrong: somebody changed the checkpoint, or never had the key."],
    absent: ["fail", "There is no signature by the log's key."],
    unchecked: ["warn", `${TYPES[log.key.type].name} is not checked in this browser.`],
  };
  const [status, text] = texts[log.status];
  return check(status, title, text);
}

/** Say whether a quorum of witnesses cosigned. */
export function checkQuorum({ witnesses, quorum }, policy) {
  const title = "A quorum of witnesses cosigned it";
  if (!policy) return check("warn", title, "The log names no witnesses.");
  const wrong = witnesses.filter((each) => each.status === "wrong").map((each) => each.name);
  if (wrong.length) return check("fail", title, `The signature of ${wrong.join(" and of ")} is wrong.`);
  const wanted = `The quorum is ${describeQuorum(policy)}.`;
  const unchecked = witnesses.filter((each) => each.status === "unchecked").length;
  const texts = {
    met: ["pass", `${counted(quorum.good, "good signature")}. ${wanted}`],
    undecided: ["warn", `${counted(unchecked, "signature")} not checked in this browser would decide. ${wanted}`],
    missing: ["fail", `${counted(quorum.good, "good signature")}: too few. ${wanted} The log may show you what it shows nobody else.`],
    nobody: ["warn", "The log asks no witness: it alone says what is in it, and could say something else to others."],
  };
  const [status, text] = texts[quorum.state];
  return check(status, title, text);
}

/** Say how old the witnesses' word is. */
export function checkFresh({ quorum }, now) {
  const title = "The witnesses' word is fresh";
  if (quorum?.fresh === undefined) return check("warn", title, "No quorum is known to have spoken.");
  const age = now - quorum.fresh * 1000;
  const text = `All of a quorum stood by it ${distance(age)}, or later.`;
  return age > OLD ? check("warn", title, `${text} The log stands still, or is kept from you.`) : check("pass", title, text);
}

/** Compute the root from the tiles. */
export async function checkTree(reader) {
  const title = "The tiles lead to its root";
  return attempt(title, async () => {
    await reader.verifyRoot();
    return check("pass", title, `Computed from the tiles at the edge of ${counted(reader.size, "entry", "entries")}.`);
  });
}

/** Compare with what this browser remembers. `isFirst` and `isChanged` say whether to remember this instead. */
export async function checkMemory(memory, { checkpoint, quorum }, reader, policyText) {
  const title = "It adds to what this browser saw";
  if (!memory) return check("warn", title, "This browser keeps nothing, so there is nothing to compare with.");
  return attempt(title, async () => {
    const seen = memory.load();
    const relation = compare(seen, checkpoint);
    if (relation === "first") return check("info", title, "This browser sees this log for the first time: come back.");
    await requireSameKey(seen, policyText);
    const number = relation === "larger" ? await extend(reader, seen) : 0;
    if (seen.policy !== policyText) return changed(title, seen, policyText);
    if (seen.fresh !== null && quorum?.fresh !== undefined && quorum.fresh < seen.fresh) {
      return check("warn", title, "The tree is right, but the witnesses' word is older than what was seen before.");
    }
    const text = relation === "same" ? "It is the tree that was seen before." : (
      `From ${seen.size} to ${checkpoint.size} entries: the ${counted(number, "hash", "hashes")} of the consistency proof ` +
      "lead to both roots."
    );
    return check("pass", title, text);
  });
}

async function extend(reader, seen) {
  try {
    return await reader.verifyExtends(seen.size, seen.root);
  } catch (error) {
    if (!(error instanceof Fork)) throw error; // a wrong tile shows nothing of the log's past
    throw new Alarm("The log does not continue", `Its tree does not begin with the ${seen.size} entries that this browser saw before.`);
  }
}

async function requireSameKey(seen, policyText) {
  const keyOf = async (text) => {
    const { logs } = text === "" ? { logs: [] } : await decodePolicy(fromText(text));
    return logs.find((key) => key.name === seen.origin)?.text;
  };
  if ((await keyOf(seen.policy)) !== (await keyOf(policyText))) {
    throw new Alarm("The log has another key", "The key that the log names is not the one that this browser saw before.");
  }
}

async function changed(title, seen, policyText) {
  const [before, now] = await Promise.all([seen.policy, policyText].map((text) => sha256(fromText(text))));
  const short = (digest) => toHex(digest).slice(0, 16);
  return {
    ...check("warn", title, `The tree is right, but the log now names other witnesses (SHA-256 ${short(before)}… before, ${short(now)}… now). Compare them before you accept them.`),
    isChanged: true,
  };
}

async function attempt(title, action) {
  try {
    return await action();
  } catch (error) {
    if (error instanceof Alarm) return check("fail", title, error.message, error);
    if (error instanceof Refusal || error instanceof Missing) return check("fail", title, error.message);
    throw error;
  }
}

/** Say what all checks together mean: good, warn or bad. */
export function verdictOf(checks) {
  if (checks.some((each) => each.status === "fail")) return "bad";
  return checks.some((each) => each.status === "warn") ? "warn" : "good";
}
