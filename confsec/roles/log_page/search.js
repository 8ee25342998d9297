// Searches the entries, from the newest back, by reading all of them: the server does not learn what for.

import { Missing, Refusal } from "./bytes.js";
import { decodeEntry, searchText } from "./statements.js";
import { WIDTH } from "./tiles.js";

/** A search ends after so many hits. */
export const MAX_HITS = 200;

/**
 * Walk all bundles. Give for each how many entries are `done`, the `hits` in it, and `refused` where it could not be
 * verified: then nothing in it was searched.
 */
export async function* search(reader, query, signal) {
  const wanted = query.toLowerCase();
  const width = BigInt(WIDTH);
  let found = 0;
  for (let bundle = (reader.size - 1n) / width; bundle >= 0n && reader.size > 0n && found < MAX_HITS; bundle -= 1n) {
    const first = bundle * width;
    const step = { done: reader.size - first, hits: [], refused: null };
    try {
      step.hits = hitsIn(await reader.entries(bundle), first, wanted).slice(0, MAX_HITS - found);
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof Missing)) throw error;
      step.refused = { first, last: first + width < reader.size ? first + width - 1n : reader.size - 1n, error };
    }
    if (signal.aborted) return;
    found += step.hits.length;
    yield step;
  }
}

function hitsIn(entries, first, wanted) {
  return entries
    .map((bytes, at) => ({ index: first + BigInt(at), entry: decodeEntry(bytes) }))
    .filter(({ entry }) => searchText(entry).includes(wanted))
    .reverse();
}
