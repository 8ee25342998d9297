// The package's client and issuer over HTTP on loopback: RFC 9578, sections 4 and 6.

import { createServer } from "node:http";

import {
  MediaType,
  PRIVATE_TOKEN_ISSUER_DIRECTORY,
  publicVerif,
  sendTokenRequest,
  TOKEN_TYPES,
  WWWAuthenticateHeader,
} from "@cloudflare/privacypass-ts";

import { importPrivateKey, publicKeyOf } from "./bytes.js";
import { issue, issueBatch, newClient } from "./tokens.js";

const TOKEN_TYPE = TOKEN_TYPES.BLIND_RSA.value;
const REQUEST_PATH = "/token-request";

// With padding, as RFC 9578, section 4, has it; Node's own base64url goes without.
const toBase64url = (bytes) => Buffer.from(bytes).toString("base64").replaceAll("+", "-").replaceAll("/", "_");

async function directory(privateKey) {
  const tokenKey = await publicVerif.getPublicKeyBytes(await publicKeyOf(await importPrivateKey(privateKey)));
  const keys = [{ "token-type": TOKEN_TYPE, "token-key": toBase64url(tokenKey) }];
  return JSON.stringify({ "issuer-request-uri": REQUEST_PATH, "token-keys": keys });
}

async function respond(privateKey, { method, url, headers }, body) {
  if (method === "GET" && url === PRIVATE_TOKEN_ISSUER_DIRECTORY) {
    return [MediaType.PRIVATE_TOKEN_ISSUER_DIRECTORY, await directory(privateKey)];
  }
  if (method === "POST" && url === REQUEST_PATH) {
    switch (headers["content-type"]) {
      case MediaType.PRIVATE_TOKEN_REQUEST:
        return [MediaType.PRIVATE_TOKEN_RESPONSE, await issue(TOKEN_TYPE, privateKey, body)];
      case MediaType.ARBITRARY_BATCHED_TOKEN_REQUEST:
        return [MediaType.ARBITRARY_BATCHED_TOKEN_RESPONSE, await issueBatch(privateKey, body)];
    }
  }
  throw new Error("no such resource");
}

async function handle(privateKey, request, response) {
  try {
    const parts = [];
    for await (const part of request) parts.push(part);
    const [mediaType, content] = await respond(privateKey, request, Uint8Array.from(Buffer.concat(parts)));
    response.writeHead(200, { "content-type": mediaType }).end(content);
  } catch (error) {
    response.writeHead(400).end(String(error.message));
  }
}

export const http = {
  async issuer_serve({ private_key }) {
    const server = createServer((request, response) => handle(private_key, request, response));
    await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
    return { url: `http://127.0.0.1:${server.address().port}` };
  },

  // Answer the first challenge of a field with a token from the issuer at `url`. The package takes https URLs alone for
  // the directory, so that this step is ours.
  async token_fetch({ url, field, headers }) {
    const [{ challenge, tokenKey }] = WWWAuthenticateHeader.parse(field);
    const config = await (await fetch(url + PRIVATE_TOKEN_ISSUER_DIRECTORY)).json();
    const client = newClient();
    const request = await client.createTokenRequest(challenge, tokenKey);
    const target = new URL(config["issuer-request-uri"], url);
    const response = await sendTokenRequest(request.serialize(), target, new Headers(headers));
    const token = await client.finalize(client.deserializeTokenResponse(response));
    return { token: Buffer.from(token.serialize()).toString("hex") };
  },
};
