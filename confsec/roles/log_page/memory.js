// What this browser remembers of the log from its last visit. A log that goes back, or sideways, is found by that.

import { Refusal, fromBase64, same, toBase64 } from "./bytes.js";
import { HASH_SIZE } from "./merkle.js";

const VERSION = 1;
const MAX_STORED = 600_000;
const SIZE = /^(?:0|[1-9][0-9]{0,18})$/;

/** Remembers one log: the one at this address. */
export class Memory {
  constructor(address, storage) {
    this.name = `confsec log ${address}`;
    this.storage = storage;
  }

  /** Return what is remembered, or null. Throws `Refusal` for what cannot be read: it is not forgotten in silence. */
  load() {
    const text = this.storage.getItem(this.name);
    if (text === null) return null;
    try {
      return decode(text);
    } catch {
      throw new Refusal("What this browser remembers of the log cannot be read.");
    }
  }

  /** Remember a checkpoint with its note, and the list of witnesses under which it was judged. */
  save({ checkpoint, note, policy, at, fresh }) {
    const { origin, size, root } = checkpoint;
    const stored = { version: VERSION, origin, size: String(size), root: toBase64(root), note, policy, at, fresh };
    const text = JSON.stringify(stored);
    if (text.length <= MAX_STORED) this.storage.setItem(this.name, text);
    return text.length <= MAX_STORED;
  }

  /** Forget the log. */
  forget() {
    this.storage.removeItem(this.name);
  }
}

function decode(text) {
  const { version, origin, size, root, note, policy, at, fresh } = JSON.parse(text);
  const texts = [origin, size, root, note, policy].every((each) => typeof each === "string");
  if (text.length > MAX_STORED || version !== VERSION || !texts || !SIZE.test(size) || !Number.isSafeInteger(at)) {
    throw new Refusal("This is of another version.");
  }
  const hash = fromBase64(root);
  if (hash.length !== HASH_SIZE) throw new Refusal("This root is no hash.");
  return { origin, size: BigInt(size), root: hash, note, policy, at, fresh: Number.isSafeInteger(fresh) ? fresh : null };
}

/**
 * Compare a checkpoint with what is remembered. Return "first", "same", or "larger", of which consistency is still to
 * be shown. Throws `Alarm` for another log, a fork, and a log that goes back.
 */
export function compare(remembered, checkpoint) {
  if (remembered === null) return "first";
  if (remembered.origin !== checkpoint.origin) {
    throw new Alarm("Another log", `This browser saw the log ${remembered.origin} here, and now it is another one.`);
  }
  if (checkpoint.size < remembered.size) {
    throw new Alarm("The log went back", `It had ${remembered.size} entries, and now shows ${checkpoint.size}.`);
  }
  if (checkpoint.size > remembered.size) return "larger";
  if (same(checkpoint.root, remembered.root)) return "same";
  throw new Alarm("The log was forked", `It has two trees of ${checkpoint.size} entries with different roots.`);
}

/** A log that does not keep what it showed. */
export class Alarm extends Refusal {
  constructor(title, message) {
    super(message);
    this.title = title;
  }
}
