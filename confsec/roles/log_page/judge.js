// Judges a checkpoint: who signed it, and whether a quorum of witnesses stands by it.
//
// A signature that this browser cannot check counts for nothing, and the judgement says what it would have changed.

import { checkSignature, decodeCheckpoint, decodeNote } from "./note.js";
import { quorumTime } from "./policy.js";

/** Seconds by which a witness's clock may be ahead of this one. */
const CLOCK_DIFFERENCE = 120;

/**
 * Return what a note is worth under a policy at `now`, in seconds. `log` is the key of the log, and what became of its
 * signature; `witnesses` are those of the policy, and what became of theirs; `strangers` is how many others signed.
 * Throws `Refusal` for what is no checkpoint.
 */
export async function judgeCheckpoint(bytes, policy, now) {
  const note = decodeNote(bytes);
  const checkpoint = await decodeCheckpoint(note.text);
  const key = policy?.logs.find((each) => each.name === checkpoint.origin);
  const log = key && { key, ...(await statusOf(key, note)) };
  const witnesses = [];
  for (const { name, key: own } of policy?.witnesses ?? []) {
    const found = await statusOf(own, note);
    if (found.status === "good" && found.time > now + CLOCK_DIFFERENCE) found.status = "future";
    witnesses.push({ name, key: own, ...found });
  }
  const known = [key, ...witnesses.map((each) => each.key)].filter(Boolean);
  const strangers = note.signatures.filter((each) => !known.some((own) => isOf(own, each))).length;
  return { checkpoint, note, log, witnesses, strangers, quorum: policy && judgeQuorum(policy, witnesses) };
}

/** Check every signature that says it is of this key: one that is wrong spoils the note. The first one counts. */
async function statusOf(key, note) {
  const found = [];
  for (const each of note.signatures.filter((one) => isOf(key, one))) {
    found.push(await checkSignature(key, note.text, each.signature));
  }
  return found.find((each) => each.status === "wrong") ?? found[0] ?? { status: "absent" };
}

function isOf(key, signature) {
  return key.name === signature.name && key.id === signature.id;
}

/** Say whether the quorum is there: `met`, `missing`, `undecided` where the unchecked ones decide, or `nobody`. */
function judgeQuorum(policy, witnesses) {
  const timesOf = (...statuses) =>
    new Map(witnesses.filter((each) => statuses.includes(each.status)).map((each) => [each.name, each.time]));
  const good = timesOf("good");
  const fresh = quorumTime(policy, good, { newest: true });
  const state = () => {
    if (policy.quorum === "") return "nobody";
    if (fresh !== undefined) return "met";
    return quorumTime(policy, timesOf("good", "unchecked")) === undefined ? "missing" : "undecided";
  };
  return { state: state(), known: quorumTime(policy, good), fresh, good: good.size };
}
