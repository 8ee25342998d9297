// A peer for confsec's interop tests and benchmarks, made from the npm packages @cloudflare/privacypass-ts and
// @cloudflare/blindrsa-ts.
//
// It reads one command as JSON from each line of stdin and answers with one line of JSON on stdout. The README beside
// this folder lists the commands.

import { createInterface } from "node:readline";

import { bench } from "./bench.js";
import { blindRsa } from "./blind_rsa.js";
import { headers } from "./headers.js";
import { http } from "./http.js";
import { tokens } from "./tokens.js";

// The packages print what goes wrong in a batch; stdout is for answers.
console.log = () => {};

const ops = { ...blindRsa, ...headers, ...http, ...tokens, bench };

async function answer(line) {
  try {
    const { op, ...fields } = JSON.parse(line);
    if (!Object.hasOwn(ops, op)) throw new Error(`this peer has no op ${op}`);
    return { ok: true, ...(await ops[op](fields)) };
  } catch (error) {
    return { ok: false, error: String(error.message) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
