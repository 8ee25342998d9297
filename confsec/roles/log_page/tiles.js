// Tiles: the files in which a log shows its tree (C2SP tlog-tiles), and the proofs computed from them.
//
// Nothing here is believed: what is read from tiles leads to a root, and the root is compared with the checkpoint's.

import { Missing, Refusal, same } from "./bytes.js";
import {
  HASH_SIZE, bitLength, emptyRoot, inclusionSteps, leafHash, middle, nodeHash, treeRoot, verifyConsistency,
  verifyInclusion,
} from "./merkle.js";

export const WIDTH = 256;
export const MAX_ENTRY_SIZE = 0xffff;

const HEIGHT = 8n;
const KEPT_TILES = 64;
const MAX_BUNDLE = WIDTH * (MAX_ENTRY_SIZE + 2);

// --- Where ----------------------------------------------------------------------------------------------------------

/** Return where a log serves a tile; `level` is a number or "entries" (C2SP tlog-tiles, Merkle Tree). */
export function tilePath(level, index, width = WIDTH) {
  const groups = [String(index % 1000n).padStart(3, "0")];
  for (let rest = index / 1000n; rest > 0n; rest /= 1000n) groups.unshift("x" + String(rest % 1000n).padStart(3, "0"));
  return `tile/${level}/${groups.join("/")}${width < WIDTH ? `.p/${width}` : ""}`;
}

/** Return how wide a tile is in a tree of `size` entries. Throws `Refusal` if it has none there. */
export function tileWidth(level, index, size) {
  const width = (size >> (HEIGHT * BigInt(level))) - index * BigInt(WIDTH);
  if (width <= 0n) throw new Refusal("The tree has no such tile.");
  return width < WIDTH ? Number(width) : WIDTH;
}

/**
 * Return the entries under each hash of the proof that the node from `start` to `end` is in the tree, from its sibling
 * up (PATH of RFC 9162, section 2.1.3.1).
 */
export function inclusionSpans(start, end, size) {
  if (!(0n <= start && start < end && end <= size)) throw new Refusal("The entry is outside the tree.");
  const spans = [];
  let [low, high] = [0n, size];
  while (low !== start || high !== end) {
    const parting = middle(low, high);
    if (end <= parting) {
      spans.unshift([parting, high]);
      high = parting;
    } else if (start >= parting) {
      spans.unshift([low, parting]);
      low = parting;
    } else {
      throw new Refusal("These entries are no node of the tree.");
    }
  }
  return spans;
}

/** Return the entries under each hash of a consistency proof (PROOF of RFC 9162, section 2.1.4.1). */
export function consistencySpans(oldSize, size) {
  if (!(0n <= oldSize && oldSize <= size)) throw new Refusal("The tree is not larger.");
  if (oldSize === 0n) return [];
  const spans = [];
  let [low, high] = [0n, size];
  while (high !== oldSize) {
    const parting = middle(low, high);
    if (oldSize <= parting) {
      spans.unshift([parting, high]);
      high = parting;
    } else {
      spans.unshift([low, parting]);
      low = parting;
    }
  }
  if (low > 0n) spans.unshift([low, high]); // else the verifier knows this hash: it is the root of the smaller tree
  return spans;
}

/** Return the full subtrees under a node, from left to right, as height and number. */
function fullNodes(start, end) {
  const nodes = [];
  for (let at = start; at < end; ) {
    const height = bitLength(end - at) - 1n;
    nodes.push([height, at >> height]);
    at += 1n << height;
  }
  return nodes;
}

// --- Bundles --------------------------------------------------------------------------------------------------------

/** Read a bundle of exactly `width` entries (C2SP tlog-tiles, Log entries). Throws `Refusal`. */
export function decodeBundle(bytes, width) {
  const entries = [];
  let at = 0;
  for (let number = 0; number < width; number += 1) {
    const size = at + 2 <= bytes.length ? bytes[at] * 256 + bytes[at + 1] : Infinity;
    if (at + 2 + size > bytes.length) throw new Refusal("A bundle of entries is cut off.");
    entries.push(bytes.subarray(at + 2, at + 2 + size));
    at += 2 + size;
  }
  if (at !== bytes.length) throw new Refusal("A bundle of entries goes on behind its last one.");
  return entries;
}

// --- Reading --------------------------------------------------------------------------------------------------------

/** Reads one tree from its tiles. `fetchFile(path, limit)` gives bytes, or null for what is not there. */
export class TileReader {
  constructor(size, root, fetchFile) {
    this.size = size;
    this.root = root;
    this.fetchFile = fetchFile;
    this.tiles = new Map();
  }

  /** Check that the tiles at the right edge lead to the root. Throws `Refusal`. */
  async verifyRoot() {
    const computed = this.size === 0n ? await emptyRoot() : (await this.hash(0n, this.size)).hash;
    if (!same(computed, this.root)) throw new Refusal("The tiles lead to another root than the checkpoint's.");
  }

  /** Return the bundle number `index` as the log serves it: nothing says yet that it is in the tree. */
  async readEntries(index) {
    const width = tileWidth(0, index, this.size);
    const { data, full } = await this.file("entries", index, width, MAX_BUNDLE);
    return full ? decodeBundle(data, WIDTH).slice(0, width) : decodeBundle(data, width);
  }

  /** Return the bundle number `index`, after checking that its entries are in the tree. Throws `Refusal`. */
  async entries(index) {
    const entries = await this.readEntries(index);
    const start = index * BigInt(WIDTH);
    let computed = await treeRoot(await Promise.all(entries.map(leafHash)));
    for (const [from, to] of inclusionSpans(start, start + BigInt(entries.length), this.size)) {
      const sibling = (await this.hash(from, to)).hash;
      computed = from < start ? await nodeHash(sibling, computed) : await nodeHash(computed, sibling);
    }
    if (!same(computed, this.root)) {
      throw new Refusal("These entries, or the tiles beside them, lead to another root than the checkpoint's.");
    }
    return entries;
  }

  /** Return the hashes of an inclusion proof with the entries under each, and the tiles that it was computed from. */
  inclusionProof(index) {
    return Promise.all(inclusionSpans(index, index + 1n, this.size).map((span) => this.hash(...span)));
  }

  /** Compute the proof of an entry from the tiles, with each of its steps. `refusal` is null if it holds. */
  async prove(index, entry) {
    const leaf = await leafHash(entry);
    const proof = await this.inclusionProof(index);
    const hashes = proof.map((each) => each.hash);
    const trace = { leaf, proof, steps: await inclusionSteps(leaf, index, this.size, hashes), refusal: null };
    try {
      await verifyInclusion(leaf, index, this.size, hashes, this.root);
    } catch (error) {
      trace.refusal = error;
    }
    return trace;
  }

  /** Check that the tree begins with the one of `oldSize` entries and this root. Throws `Refusal`. */
  async verifyExtends(oldSize, oldRoot) {
    const proof = await Promise.all(consistencySpans(oldSize, this.size).map((span) => this.hash(...span)));
    await verifyConsistency(oldSize, this.size, proof.map((each) => each.hash), oldRoot, this.root);
    return proof.length;
  }

  /** Compute the hash of a node, which is full or at the right edge, and say which tiles it came from. */
  async hash(start, end) {
    const nodes = await Promise.all(fullNodes(start, end).map((node) => this.node(...node)));
    let computed = nodes[nodes.length - 1].hash;
    for (const left of nodes.slice(0, -1).reverse()) computed = await nodeHash(left.hash, computed);
    return { start, end, hash: computed, tiles: [...new Set(nodes.map((node) => node.tile))] };
  }

  async node(height, number) {
    const [level, row] = [height / HEIGHT, height % HEIGHT];
    const perTile = BigInt(WIDTH) >> row;
    const [index, column] = [number / perTile, Number(number % perTile)];
    const tile = await this.tile(level, index);
    const hashes = tile.hashes.slice(column << Number(row), (column + 1) << Number(row));
    return { hash: await treeRoot(hashes), tile: tile.path };
  }

  /** Return a tile, and keep a few: the same one is asked for again soon. */
  tile(level, index) {
    const path = tilePath(level, index, tileWidth(level, index, this.size));
    const kept = this.tiles.get(path) ?? this.readTile(path, level, index);
    this.tiles.delete(path);
    this.tiles.set(path, kept);
    kept.catch(() => this.tiles.delete(path));
    if (this.tiles.size > KEPT_TILES) this.tiles.delete(this.tiles.keys().next().value);
    return kept;
  }

  async readTile(path, level, index) {
    const width = tileWidth(level, index, this.size);
    const { data, full } = await this.file(level, index, width, WIDTH * HASH_SIZE);
    if (data.length !== (full ? WIDTH : width) * HASH_SIZE) throw new Refusal(`${path} has another size.`);
    const hashes = Array.from({ length: width }, (_, at) => data.subarray(at * HASH_SIZE, (at + 1) * HASH_SIZE));
    return { path, hashes };
  }

  /** Fetch a tile or bundle. A partial one may be gone once there is the full one (C2SP tlog-tiles, Partial Tiles). */
  async file(level, index, width, limit) {
    const path = tilePath(level, index, width);
    const data = await this.fetchFile(path, limit);
    if (data) return { data, full: width === WIDTH };
    const whole = width < WIDTH ? await this.fetchFile(tilePath(level, index), limit) : null;
    if (whole) return { data: whole, full: true };
    throw new Missing(`${path} is missing: the log does not serve it.`);
  }
}
