// Fetches files of the log, which stand beside this page. What comes has a limit, and a time in which it has to come.

import { Missing, Refusal, join } from "./bytes.js";

const PATIENCE = 30_000;

/** Return a function that fetches a path below `base`: bytes, or null for what is not there. */
export function makeFetcher(base) {
  return async (path, limit) => {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), PATIENCE);
    try {
      return await fetchFile(new URL(path, base), path, limit, stop.signal);
    } catch (error) {
      if (error instanceof Refusal || error instanceof Missing) throw error;
      throw new Missing(`${path} did not come: the server cannot be reached, or takes too long.`);
    } finally {
      stop.abort();
      clearTimeout(timer);
    }
  };
}

async function fetchFile(url, path, limit, signal) {
  const cache = path.startsWith("tile/") ? "default" : "no-cache";
  const response = await fetch(url, { signal, cache, credentials: "omit", referrerPolicy: "no-referrer" });
  if ([403, 404, 410].includes(response.status)) return null; // object stores that list nothing say 403
  if (!response.ok) throw new Missing(`${path} did not come: the server answered ${response.status}.`);
  const parts = [];
  let size = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    size += part.value.length;
    if (size > limit) throw new Refusal(`${path} is longer than ${limit} bytes.`);
    parts.push(part.value);
  }
  return join(...parts);
}
