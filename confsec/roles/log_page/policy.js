// Which witnesses a log names, and how many of them have to agree (C2SP tlog-policy).

import { Refusal, toText } from "./bytes.js";
import { TYPES, decodeKey, keyId } from "./note.js";

export const MAX_POLICY = 262_144;

const MAX_LINES = 1024;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/;
const THRESHOLD = /^[1-9][0-9]{0,3}$/;
const LOG_TYPES = [1, 2, 5, 6];

/** Read a policy. Throws `Refusal`, which names the line. */
export async function decodePolicy(bytes) {
  if (bytes.length > MAX_POLICY) throw new Refusal("The list of witnesses is too long.");
  const text = toText(bytes);
  const lines = text.split("\n");
  if (CONTROL.test(text) || lines.length > MAX_LINES) {
    throw new Refusal("The list of witnesses has control characters, or too many lines.");
  }
  const policy = { logs: [], witnesses: [], groups: [], quorum: undefined };
  for (const [at, line] of lines.entries()) {
    try {
      await readLine(policy, line.replace(/^[ \t]+|[ \t]+$/g, ""));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      throw new Refusal(`Line ${at + 1} of the list of witnesses: ${error.message}`);
    }
  }
  if (policy.quorum === undefined) throw new Refusal("The list of witnesses says of no quorum.");
  return policy;
}

async function readLine(policy, line) {
  if (line === "" || line.startsWith("#")) return;
  const [word, ...rest] = line.split(/[ \t]+/);
  if (word === "log" && rest.length >= 1 && rest.length <= 2) await addLog(policy, rest[0]);
  else if (word === "witness" && rest.length >= 2 && rest.length <= 3) await addWitness(policy, rest[0], rest[1]);
  else if (word === "group" && rest.length >= 3) addGroup(policy, rest[0], rest[1], rest.slice(2));
  else if (word === "quorum" && rest.length === 1) setQuorum(policy, rest[0]);
  else throw new Refusal("It is neither log, witness, group nor quorum.");
}

function isKnown(policy, name) {
  return [...policy.witnesses, ...policy.groups].some((each) => each.name === name);
}

function requireNew(policy, name) {
  if (name === "none" || isKnown(policy, name)) throw new Refusal("This name is taken.");
}

async function addLog(policy, text) {
  const key = await decodeKey(text);
  if (!LOG_TYPES.includes(key.type)) throw new Refusal("A log does not sign with such a key.");
  if (policy.logs.some((each) => each.name === key.name || sameKey(each, key))) {
    throw new Refusal("Two logs have one key or one name.");
  }
  policy.logs.push(key);
}

async function addWitness(policy, name, text) {
  requireNew(policy, name);
  let key = await decodeKey(text);
  // So keys of witnesses were written before they had a type of their own.
  if (key.type === 1) key = { ...key, type: 4, id: await keyId({ ...key, type: 4 }) };
  if (!TYPES[key.type].cosigns) throw new Refusal("A witness does not sign with such a key.");
  if (policy.witnesses.some((each) => sameKey(each.key, key))) {
    throw new Refusal("Two witnesses have one key: one could stand for both.");
  }
  policy.witnesses.push({ name, key });
}

function sameKey(one, other) {
  return String(one.bytes) === String(other.bytes);
}

function addGroup(policy, name, threshold, members) {
  requireNew(policy, name);
  const counted = policy.groups.flatMap((group) => group.members);
  for (const [at, member] of members.entries()) {
    if (!isKnown(policy, member)) throw new Refusal("A member of a group is defined on no line before.");
    if (counted.includes(member) || members.indexOf(member) !== at) throw new Refusal("A member counts twice.");
  }
  const number = { all: members.length, any: 1 }[threshold] ?? (THRESHOLD.test(threshold) ? Number(threshold) : 0);
  if (number < 1 || number > members.length) throw new Refusal("A group cannot want so many of its members.");
  policy.groups.push({ name, threshold: number, members });
}

function setQuorum(policy, name) {
  if (policy.quorum !== undefined) throw new Refusal("There is a second quorum.");
  if (name !== "none" && !isKnown(policy, name)) throw new Refusal("The quorum is defined on no line before.");
  policy.quorum = name === "none" ? "" : name;
}

/**
 * Return the time of the quorum from those of the witnesses, a Map from name to seconds: when it had spoken for the
 * first time, or with `newest` how fresh its word is. Undefined where there is no quorum.
 */
export function quorumTime(policy, times, { newest = false } = {}) {
  const known = new Map(times);
  for (const group of policy.groups) {
    const spoke = group.members.filter((name) => known.has(name)).map((name) => known.get(name));
    spoke.sort((one, other) => (newest ? other - one : one - other));
    if (spoke.length >= group.threshold) known.set(group.name, spoke[group.threshold - 1]);
  }
  return known.get(policy.quorum);
}

/** Say in words what a quorum is, such as `2 of w1, w2, w3`. Groups within groups stand in brackets. */
export function describeQuorum(policy, name = policy.quorum) {
  const group = policy.groups.find((each) => each.name === name);
  if (!group) return name;
  const inner = group.members.map((member) =>
    policy.groups.some((each) => each.name === member) ? `(${describeQuorum(policy, member)})` : member,
  );
  return `${group.threshold} of ${inner.join(", ")}`;
}
