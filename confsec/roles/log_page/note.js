// Signed notes, their keys, and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

import { Refusal, fromBase64, fromNumber, fromText, join, same, sha256, toHex, toNumber, toText } from "./bytes.js";
import { HASH_SIZE, emptyRoot } from "./merkle.js";

export const MAX_NOTE = 262_144;

const MAX_SIGNATURES = 64;
const MAX_CHECKPOINT_TEXT = 4096;
const MAX_SIZE = (1n << 63n) - 1n;
const MAX_TIME = 253_402_300_799n; // the last second of the year 9999
const CONTROL = /[\x00-\x09\x0b-\x1f]/;
const NAME = /^[^\s+\x00-\x20\x7f\x85]+$/;
const NUMBER = /^(?:0|[1-9][0-9]{0,18})$/;

/** The types of keys, by the byte that stands for them (C2SP signed-note, Signature types). */
export const TYPES = {
  1: { name: "Ed25519", size: 32 },
  2: { name: "ECDSA" },
  4: { name: "Ed25519 cosignature", size: 32, cosigns: true },
  5: { name: "RFC 6962 tree head" },
  6: { name: "ML-DSA-44 cosignature", size: 1312, cosigns: true },
};

/** Return a name that a key may have. Throws `Refusal`. */
function keyName(name) {
  if (!NAME.test(name) || fromText(name).length > 255) throw new Refusal("A key has no name, or one with spaces.");
  return name;
}

// --- Notes -----------------------------------------------------------------------------------------------------------

/** Read a note: its text, and its signatures, none of which is verified. Throws `Refusal`. */
export function decodeNote(bytes) {
  if (bytes.length > MAX_NOTE) throw new Refusal("The note is too long.");
  const whole = toText(bytes);
  const at = whole.lastIndexOf("\n\n");
  if (at < 0 || !whole.endsWith("\n") || CONTROL.test(whole)) throw new Refusal("This is no signed note.");
  const lines = whole.slice(at + 2).split("\n").slice(0, -1);
  if (lines.length > MAX_SIGNATURES) throw new Refusal("The note has too many signatures.");
  return { text: whole.slice(0, at + 1), signatures: lines.map(decodeSignature) };
}

function decodeSignature(line) {
  const [, name, encoded] = /^— ([^ ]*) (.*)$/u.exec(line) ?? [];
  if (encoded === undefined) throw new Refusal("A signature line has another form.");
  const data = fromBase64(encoded);
  if (data.length <= 4) throw new Refusal("A signature line has no signature.");
  return { name: keyName(name), id: toHex(data.subarray(0, 4)), signature: data.subarray(4) };
}

/** Read the text of a checkpoint. Throws `Refusal` (C2SP tlog-checkpoint, Note text). */
export async function decodeCheckpoint(text) {
  const lines = text.split("\n");
  if (fromText(text).length > MAX_CHECKPOINT_TEXT || lines.pop() !== "" || lines.length < 3 || lines.includes("")) {
    throw new Refusal("This is no checkpoint.");
  }
  const [origin, number, encoded, ...extensions] = lines;
  if (!NUMBER.test(number) || BigInt(number) > MAX_SIZE) throw new Refusal("The size of the tree is no number.");
  const root = fromBase64(encoded);
  const size = BigInt(number);
  if (root.length !== HASH_SIZE) throw new Refusal("The root is no hash.");
  if (size === 0n && !same(root, await emptyRoot())) throw new Refusal("An empty tree has another root.");
  return { origin, size, root, extensions };
}

// --- Keys ------------------------------------------------------------------------------------------------------------

/** Read a key from `name+id+key` (C2SP signed-note, Verifier keys). Throws `Refusal`. */
export async function decodeKey(text) {
  const [, name, id, encoded] = /^([^+]*)\+([^+]*)\+(.*)$/u.exec(text) ?? [];
  if (encoded === undefined) throw new Refusal("A key is not of the form name+id+key.");
  const data = fromBase64(encoded);
  const key = { name: keyName(name), type: data[0], bytes: data.subarray(1), text };
  requireType(key);
  key.id = await keyId(key);
  if (key.id !== id) throw new Refusal("The ID of a key does not belong to it.");
  return key;
}

function requireType(key) {
  const type = Object.hasOwn(TYPES, key.type) ? TYPES[key.type] : undefined;
  if (!type) throw new Refusal("A key is of a type that this page does not know.");
  if (type.size && key.bytes.length !== type.size) throw new Refusal(`A key is no ${type.name} key.`);
}

/** Return the four bytes that with the name say which key it is. They prove nothing. */
export async function keyId({ name, type, bytes }) {
  if (type === 2) return toHex((await sha256(bytes)).subarray(0, 4));
  const material = type === 5 ? await sha256(bytes) : bytes;
  return toHex((await sha256(join(fromText(`${name}\n`), Uint8Array.of(type), material))).subarray(0, 4));
}

// --- Signatures ------------------------------------------------------------------------------------------------------

/**
 * Check a signature: `good`, `wrong`, or `unchecked` where this browser cannot. A cosignature has a time, in seconds,
 * which counts only where it is good.
 */
export async function checkSignature(key, text, signature) {
  const type = TYPES[key.type];
  if (!type.cosigns) return { status: await verify(key, fromText(text), signature) };
  const time = toNumber(signature.subarray(0, 8));
  if (signature.length <= 8 || time > MAX_TIME) return { status: "wrong" };
  const message = key.type === 6 ? await cosignedTree(key, text, time) : `cosignature/v1\ntime ${time}\n${text}`;
  const bytes = typeof message === "string" ? fromText(message) : message;
  return { status: await verify(key, bytes, signature.subarray(8)), time: Number(time) };
}

/** Return what an ML-DSA-44 cosigner signs of a checkpoint (C2SP tlog-cosignature, Format). */
async function cosignedTree(key, text, time) {
  const { origin, size, root } = await decodeCheckpoint(text);
  const [name, log] = [fromText(key.name), fromText(origin)];
  if (log.length > 255) throw new Refusal("The origin is too long for an ML-DSA-44 cosignature.");
  return join(
    fromText("subtree/v1\n\0"), Uint8Array.of(name.length), name, fromNumber(time),
    Uint8Array.of(log.length), log, fromNumber(0n), fromNumber(size), root,
  );
}

async function verify(key, message, signature) {
  const algorithm = { 1: "Ed25519", 4: "Ed25519", 6: "ML-DSA-44" }[key.type];
  if (!algorithm) return "unchecked";
  const form = algorithm === "Ed25519" ? "raw" : "raw-public";
  let imported;
  try {
    imported = await crypto.subtle.importKey(form, key.bytes, { name: algorithm }, false, ["verify"]);
  } catch (error) {
    // A browser that does not know the algorithm says so in one of two ways; any other answer is about the key.
    return ["NotSupportedError", "TypeError"].includes(error.name) ? "unchecked" : "wrong";
  }
  return (await crypto.subtle.verify({ name: algorithm }, imported, signature, message)) ? "good" : "wrong";
}
