// Merkle trees as transparency logs have them (RFC 9162, section 2.1). Sizes and indices are BigInt.
//
// A check returns what it computed, and throws `Refusal` for what does not fit.

import { Refusal, join, same, sha256 } from "./bytes.js";

export const HASH_SIZE = 32;

/** No proof has more hashes: the tree is no higher, and a subtree may bring one of its own. */
export const MAX_PROOF_HASHES = 64;

/** A tree that does not begin with a smaller one: one of the two was never part of the same log. */
export class Fork extends Refusal {}

const MAX_SIZE = (1n << 64n) - 1n;
const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

/** Return the hash of an entry (RFC 9162, section 2.1.1). */
export function leafHash(entry) {
  return sha256(join(LEAF, entry));
}

/** Return the hash of an inner node from those of its children (RFC 9162, section 2.1.1). */
export function nodeHash(left, right) {
  return sha256(join(NODE, left, right));
}

/** Return the root of a tree without entries (RFC 9162, section 2.1.1). */
export function emptyRoot() {
  return sha256(new Uint8Array());
}

/** Return the root of the tree over some leaf hashes (RFC 9162, section 2.1.1). */
export async function treeRoot(leaves) {
  if (leaves.length === 0) return emptyRoot();
  let row = leaves;
  // A row's last hash goes up alone when it has no neighbour: the same tree, built from below.
  while (row.length > 1) row = await Promise.all(pairs(row));
  return row[0];
}

function pairs(row) {
  const above = [];
  for (let at = 0; at < row.length; at += 2) {
    above.push(at + 1 < row.length ? nodeHash(row[at], row[at + 1]) : row[at]);
  }
  return above;
}

/** Say where the children of a node part: the left one has the largest power of two below the width. */
export function middle(start, end) {
  return start + (1n << (bitLength(end - start - 1n) - 1n));
}

/** Return how many bits a number has. */
export function bitLength(number) {
  return number === 0n ? 0n : BigInt(number.toString(2).length);
}

// --- Inclusion -------------------------------------------------------------------------------------------------------

/**
 * Compute the root that a proof leads to (RFC 9162, section 2.1.3.2): each step with the sibling, the side where it
 * stands, and the hash that comes out. The last one's is the root. Throws `Refusal` for a proof of another length.
 */
export async function inclusionSteps(leaf, index, size, proof) {
  requireHashes([leaf, ...proof]);
  if (index < 0n || index >= size || size > MAX_SIZE) throw new Refusal("The entry is outside the tree.");
  const steps = [];
  let [at, last, hash] = [index, size - 1n, leaf];
  for (const sibling of proof) {
    if (last === 0n) throw new Refusal("The inclusion proof is too long.");
    const left = (at & 1n) === 1n || at === last;
    hash = left ? await nodeHash(sibling, hash) : await nodeHash(hash, sibling);
    while (left && at !== 0n && (at & 1n) === 0n) [at, last] = [at >> 1n, last >> 1n];
    [at, last] = [at >> 1n, last >> 1n];
    steps.push({ sibling, side: left ? "left" : "right", hash });
  }
  if (last !== 0n) throw new Refusal("The inclusion proof is too short.");
  return steps;
}

/** Check that an entry stands at `index` in the tree of `size` entries with this root; return the steps. */
export function verifyInclusion(leaf, index, size, proof, root) {
  return verifySubtreeInclusion(leaf, index, 0n, size, proof, root);
}

/** Check that an entry stands in the subtree from `start` to `end` (draft-ietf-plants-merkle-tree-certs, 4.3). */
export async function verifySubtreeInclusion(leaf, index, start, end, proof, root) {
  requireSubtree(start, end, end);
  requireHashes([root]);
  const steps = await inclusionSteps(leaf, index - start, end - start, proof);
  const computed = steps.length ? steps[steps.length - 1].hash : leaf;
  if (!same(computed, root)) throw new Refusal("The entry is not in the log: its proof leads to another root.");
  return steps;
}

// --- Consistency -----------------------------------------------------------------------------------------------------

/** Check that the tree of `size` entries begins with that of `oldSize` (RFC 9162, section 2.1.4.2). */
export function verifyConsistency(oldSize, size, proof, oldRoot, root) {
  return verifySubtreeConsistency(0n, oldSize, size, proof, oldRoot, root);
}

/** Check that the subtree from `start` to `end` is part of a tree (draft-ietf-plants-merkle-tree-certs, 4.4). */
export async function verifySubtreeConsistency(start, end, size, proof, subtreeRoot, root) {
  requireSubtree(start, end, size);
  requireHashes([subtreeRoot, root, ...proof]);
  if (start === end) return requireEmpty(size, proof, subtreeRoot, root);
  if (start === 0n && end === size) return requireSame(proof, subtreeRoot, root);
  const [part, whole] = await climb(start, end - 1n, size - 1n, proof, subtreeRoot);
  // First the larger tree: once the hashes lead to its root, they are right, and what does not fit is the smaller one.
  if (!same(whole, root)) throw new Refusal("The proof leads to another root of the larger tree.");
  if (!same(part, subtreeRoot)) throw new Fork("The proof leads to another root of the smaller tree.");
}

/** Compute the roots of the subtree and of the whole tree at once, from where they part. */
async function climb(first, last, end, proof, subtreeRoot) {
  const up = () => ([first, last, end] = [first >> 1n, last >> 1n, end >> 1n]);
  while (first !== last && ((last & 1n) === 1n || last === end)) up();
  // Where the subtree is one full node its hash is known; else the proof begins with that of its last full node.
  const known = first === last;
  if (!known && proof.length === 0) throw new Refusal("The consistency proof is empty.");
  let part = known ? subtreeRoot : proof[0];
  let whole = part;
  for (const sibling of known ? proof : proof.slice(1)) {
    if (end === 0n) throw new Refusal("The consistency proof is too long.");
    if ((last & 1n) === 1n || last === end) {
      if (first < last) part = await nodeHash(sibling, part);
      whole = await nodeHash(sibling, whole);
      while ((last & 1n) === 0n) up();
    } else {
      whole = await nodeHash(whole, sibling);
    }
    up();
  }
  if (end !== 0n) throw new Refusal("The consistency proof is too short.");
  return [part, whole];
}

/** Every tree begins with no entries: nothing is proved, and nothing is needed. */
async function requireEmpty(size, proof, subtreeRoot, root) {
  if (proof.length) throw new Refusal("The proof for a tree without entries is not empty.");
  const empty = await emptyRoot();
  if (!same(subtreeRoot, empty) || (size === 0n && !same(root, empty))) {
    throw new Refusal("A tree without entries has another root.");
  }
}

function requireSame(proof, subtreeRoot, root) {
  if (proof.length) throw new Refusal("The proof for trees of one size is not empty.");
  if (!same(subtreeRoot, root)) throw new Fork("The log has two trees of one size.");
}

function requireSubtree(start, end, size) {
  if (!(0n <= start && start <= end && end <= size && size <= MAX_SIZE)) {
    throw new Refusal("The sizes of the trees are out of order.");
  }
  if (start % (end > start ? 1n << bitLength(end - start - 1n) : 1n) !== 0n) {
    throw new Refusal("These entries are no subtree.");
  }
}

function requireHashes(hashes) {
  if (hashes.length > MAX_PROOF_HASHES + 2) throw new Refusal("The proof is longer than any tree is high.");
  if (hashes.some((hash) => hash.length !== HASH_SIZE)) throw new Refusal("A hash has another size.");
}
