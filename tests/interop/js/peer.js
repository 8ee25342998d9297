// A peer for confsec's interop tests and benchmarks, made from the npm package bhttp-js.
//
// It reads one command as JSON from each line of stdin and answers with one line of JSON on stdout. The README beside
// this folder lists the commands.

import { createInterface } from "node:readline";
import { BHttpDecoder, BHttpEncoder } from "bhttp-js";

const decoder = new BHttpDecoder();
const encoder = new BHttpEncoder();

// The package turns messages into the Request and Response of the Fetch API, which have no trailers and no
// informational responses.
async function toJson(message) {
  const fields = {
    headers: [...message.headers],
    content: Buffer.from(await message.arrayBuffer()).toString("hex"),
    trailers: [],
  };
  if (message instanceof Response) return { status: message.status, ...fields };
  const url = new URL(message.url);
  return {
    method: message.method,
    scheme: url.protocol.slice(0, -1),
    authority: url.host,
    path: url.pathname + url.search,
    ...fields,
  };
}

function fromJson(message) {
  const body = message.content ? Buffer.from(message.content, "hex") : undefined;
  const headers = message.headers;
  if (message.status !== undefined) return new Response(body, { status: message.status, headers });
  const url = `${message.scheme}://${message.authority}${message.path}`;
  return new Request(url, { method: message.method, headers, body });
}

const ops = {
  async bhttp_decode({ message, kind }) {
    const bytes = new Uint8Array(Buffer.from(message, "hex"));
    const decoded = kind === "request" ? decoder.decodeRequest(bytes) : decoder.decodeResponse(bytes);
    return { message: await toJson(decoded) };
  },

  async bhttp_encode({ message, indeterminate }) {
    if (indeterminate) throw new Error("this peer does not encode messages of indeterminate length");
    if (message.trailers.length) throw new Error("this peer does not encode trailers");
    const source = fromJson(message);
    const encoded = await (source instanceof Request ? encoder.encodeRequest(source) : encoder.encodeResponse(source));
    return { message: Buffer.from(encoded).toString("hex") };
  },

  async bench({ what, size, iterations }) {
    if (what !== "bhttp") throw new Error(`this peer has no benchmark ${what}`);
    const body = new Uint8Array(size).fill(0x61);
    const headers = { "content-type": "application/json", accept: "text/event-stream" };
    const begin = process.hrtime.bigint();
    for (let i = 0; i < iterations; i++) {
      const request = new Request("https://example.com/v1/chat/completions", { method: "POST", headers, body });
      const decoded = decoder.decodeRequest(await encoder.encodeRequest(request));
      if ((await decoded.arrayBuffer()).byteLength !== size) throw new Error("the content came back changed");
    }
    return { seconds: Number(process.hrtime.bigint() - begin) / 1e9 };
  },
};

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
