// Searches the entries, from the newest back, by reading all of them: the server does not learn what for.

import { Missing, Refusal } from "./bytes.js";
import { decodeEntry, searchText } from "./statements.js";
import { WIDTH } from "./tiles.js";

/** A search ends after so many hits. */
export const MAX_HITS = 200;

/** A search ends after so many bundles that cannot be verified: a log could claim to have more than anybody reads. */
export const MAX_REFUSED = 20;

/**
 * Walk all bundles. Give for each how many entries are `done`, the `hits` in it, and `refused` where it could not be
 * verified: then nothing in it was searched.
 */
export async function* search(reader, query, signal) {
  const wanted = query.toLowerCase();
  const width = BigInt(WIDTH);
  let [found, refused] = [0, 0];
  for (let end = reader.size; end > 0n && found < MAX_HITS && refused < MAX_REFUSED; ) {
    const bundle = (end - 1n) / width;
    const first = bundle * width;
    const step = { done: reader.size - first, hits: [], refused: null };
    try {
      step.hits = hitsIn(await reader.entries(bundle), first, wanted).slice(0, MAX_HITS - found);
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof Missing)) throw error;
      step.refused = { first, last: end - 1n, error };
      refused += 1;
    }
    if (signal.aborted) return;
    found += step.hits.length;
    yield step;
    end = first;
  }
}

function hitsIn(entries, first, wanted) {
  return entries
    .map((bytes, at) => ({ index: first + BigInt(at), entry: decodeEntry(bytes) }))
    .filter(({ entry }) => searchText(entry).includes(wanted))
    .reverse();
}
