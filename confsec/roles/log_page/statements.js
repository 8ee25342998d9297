// Entries of a log: what there is in one, as values that can be shown. Who said it is not verified here.

import { toHex, toText } from "./bytes.js";

const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
const OWN_TYPE = /^https:\/\/confsec\.dev\/statement\/([a-z-]{1,40})\/v1$/;
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;
const MAX_DEPTH = 32;
const MAX_SUBJECTS = 4096;
const MAX_SIGNATURES = 16;
// Control characters, and those that turn what stands beside them around, or hide: as confsec/cli/printable.py has it.
const UNPRINTABLE =
  /[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ud800-\udfff]|[\u{e0000}-\u{e0fff}]/gu;

/** Write out characters that hide, or turn text around, as `\u202e`. Cut text that is longer than `limit`. */
export function printable(text, limit = Infinity) {
  const shown = text.length > limit ? `${text.slice(0, limit)}…` : text;
  return shown.replace(UNPRINTABLE, escape);
}

/** As `printable`, for text of several lines. */
export function printableLines(text) {
  return text.replace(UNPRINTABLE, (each) => (each === "\n" ? each : escape(each)));
}

function escape(character) {
  const code = character.codePointAt(0);
  return code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/**
 * Read an entry. `kind` is "statement" (in-toto in DSSE), "envelope" (DSSE around something else), "text" or "bytes".
 */
export function decodeEntry(bytes) {
  const text = textOrNull(bytes);
  const envelope = envelopeOrNull(text);
  if (envelope === null) return text === null ? { kind: "bytes", raw: hexLines(bytes) } : { kind: "text", raw: text };
  const statement = statementOrNull(envelope);
  return statement ? { kind: "statement", raw: text, ...envelope, ...statement } : { kind: "envelope", raw: text, ...envelope };
}

function textOrNull(bytes) {
  try {
    const text = toText(bytes);
    return /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

function jsonOrNull(text) {
  try {
    const value = JSON.parse(text);
    return isObject(value) && isShallow(value, MAX_DEPTH) ? value : null;
  } catch {
    return null;
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isShallow(value, depth) {
  if (typeof value !== "object" || value === null) return true;
  return depth > 0 && Object.values(value).every((each) => isShallow(each, depth - 1));
}

function envelopeOrNull(text) {
  const value = text === null ? null : jsonOrNull(text);
  if (value === null || typeof value.payloadType !== "string" || typeof value.payload !== "string") return null;
  const { signatures } = value;
  if (!Array.isArray(signatures) || signatures.length < 1 || signatures.length > MAX_SIGNATURES) return null;
  if (!BASE64.test(value.payload) || !signatures.every(isObject)) return null;
  const signers = signatures.map(({ keyid }) => (typeof keyid === "string" ? keyid : ""));
  const payload = payloadOrNull(value.payload);
  return payload && { payloadType: value.payloadType, signers, payload: textOrNull(payload) ?? hexLines(payload) };
}

function payloadOrNull(encoded) {
  try {
    return Uint8Array.from(atob(encoded.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));
  } catch {
    return null;
  }
}

function statementOrNull({ payloadType, payload }) {
  const value = payloadType === PAYLOAD_TYPE ? jsonOrNull(payload) : null;
  if (value === null || value._type !== STATEMENT_TYPE || typeof value.predicateType !== "string") return null;
  const { subject } = value;
  if (!Array.isArray(subject) || subject.length > MAX_SUBJECTS || !subject.every(isSubject)) return null;
  const predicate = isObject(value.predicate) ? value.predicate : {};
  return {
    type: value.predicateType,
    subjects: subject.map(({ name, digest }) => ({ name: String(name ?? ""), digests: Object.entries(digest) })),
    issued: timeOrNull(predicate.issued),
    validUntil: timeOrNull(predicate.validUntil),
    predicate,
    isCanonical: encodeCanonical(value) === payload,
  };
}

function isSubject(value) {
  return (
    isObject(value) && ["string", "undefined"].includes(typeof value.name) && isObject(value.digest) &&
    Object.values(value.digest).every((each) => typeof each === "string")
  );
}

/** Return milliseconds of a time in UTC with whole seconds, or null. */
function timeOrNull(value) {
  if (typeof value !== "string" || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(value)) return null;
  const time = Date.parse(value);
  return Number.isNaN(time) ? null : time;
}

/** Write JSON with members in order of their names and without spaces, as RFC 8785 has it for what we write. */
export function encodeCanonical(value) {
  if (Array.isArray(value)) return `[${value.map(encodeCanonical).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${encodeCanonical(value[name])}`);
  return `{${members.join(",")}}`;
}

/** Return what a type is called in short: the name of one of ours, or the end of another's. */
export function shortType(entry) {
  if (entry.kind !== "statement") return { envelope: "other envelope", text: "text", bytes: "bytes" }[entry.kind];
  return OWN_TYPE.exec(entry.type)?.[1].replaceAll("-", " ") ?? printable(entry.type.replace(/^https?:\/\//, ""), 60);
}

/** Return the text in which a search looks: names, digests, types, key IDs, or all of what is no statement. */
export function searchText(entry) {
  if (entry.kind !== "statement") return [shortType(entry), entry.payload ?? "", entry.raw].join("\n").toLowerCase();
  const subjects = entry.subjects.flatMap(({ name, digests }) => [name, ...digests.flat()]);
  return [shortType(entry), entry.type, ...subjects, ...entry.signers].join("\n").toLowerCase();
}

function hexLines(bytes) {
  const hex = toHex(bytes);
  return (hex.match(/.{1,64}/g) ?? []).join("\n");
}
