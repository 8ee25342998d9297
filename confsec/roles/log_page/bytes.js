// Bytes: as hex, as base64, as text, and their SHA-256. Whatever has several spellings is refused.

/** What the log gave is wrong. Nothing that it was about may be believed. */
export class Refusal extends Error {}

/** What the log should have given is not there, or did not come. Nothing is known then, and nothing is believed. */
export class Missing extends Error {}

const HEX = /^(?:[0-9a-f]{2})*$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Write bytes as lower-case hex. */
export function toHex(bytes) {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** Read lower-case hex. Throws `Refusal`. */
export function fromHex(text) {
  if (!HEX.test(text)) throw new Refusal("This is not hex.");
  return Uint8Array.from({ length: text.length / 2 }, (_, at) => parseInt(text.slice(2 * at, 2 * at + 2), 16));
}

/** Write bytes as base64 (RFC 4648, section 4). */
export function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** Read base64 in its one spelling (RFC 4648, section 3.5). Throws `Refusal`. */
export function fromBase64(text) {
  if (!BASE64.test(text)) throw new Refusal("This is not base64.");
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  if (toBase64(bytes) !== text) throw new Refusal("This base64 has another spelling.");
  return bytes;
}

/** Read UTF-8. Throws `Refusal` for what is none. */
export function toText(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refusal("This is not text in UTF-8.");
  }
}

/** Write text as UTF-8. */
export function fromText(text) {
  return new TextEncoder().encode(text);
}

/** Say whether two byte strings are the same. Neither is a secret. */
export function same(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** Join byte strings. */
export function join(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Read a whole number, the largest byte first. */
export function toNumber(bytes) {
  return bytes.reduce((number, byte) => (number << 8n) | BigInt(byte), 0n);
}

/** Write a whole number in 8 bytes, the largest first. */
export function fromNumber(number) {
  return Uint8Array.from({ length: 8 }, (_, at) => Number((number >> BigInt(56 - 8 * at)) & 0xffn));
}

/** Return the SHA-256 of bytes. */
export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
