// Tokens of types 0x0002 and 0xDA7A, one by one, and generic batches of the former.

import {
  Extensions,
  genericBatched,
  publicVerif,
  Token,
  TokenChallenge,
  TOKEN_TYPES,
  util,
} from "@cloudflare/privacypass-ts";

import { fromHex, importPrivateKey, importPublicKey, publicKeyOf, toHex, waiting } from "./bytes.js";

const { BLIND_RSA, PARTIALLY_BLIND_RSA } = TOKEN_TYPES;
const { Client, ClientWithMetadata, Issuer, IssuerWithMetadata, Origin, OriginWithMetadata } = publicVerif;
const MODE = publicVerif.BlindRSAMode.PSS;
const ISSUER_NAME = "issuer.example";

const exchanges = waiting();

export function entry(tokenType) {
  const found = Object.values(TOKEN_TYPES).find((type) => type.value === tokenType);
  if (!found) throw new Error(`this peer has no token type ${tokenType}`);
  return found;
}

export async function issuer(tokenType, privateKey) {
  const key = await importPrivateKey(privateKey);
  const Kind = tokenType === PARTIALLY_BLIND_RSA.value ? IssuerWithMetadata : Issuer;
  return new Kind(MODE, ISSUER_NAME, key, await publicKeyOf(key));
}

export async function issue(tokenType, privateKey, tokenRequest) {
  const request =
    tokenType === PARTIALLY_BLIND_RSA.value
      ? publicVerif.ExtendedTokenRequest.deserialize(tokenRequest)
      : publicVerif.TokenRequest.deserialize(BLIND_RSA, tokenRequest);
  return (await (await issuer(tokenType, privateKey)).issue(request)).serialize();
}

export async function issueBatch(privateKey, tokenRequest) {
  const batch = genericBatched.BatchedTokenRequest.deserialize(tokenRequest);
  return (await new genericBatched.Issuer(await issuer(BLIND_RSA.value, privateKey)).issue(batch)).serialize();
}

export const newClient = (extensions) =>
  extensions === undefined ? new Client(MODE) : new ClientWithMetadata(MODE, Extensions.deserialize(fromHex(extensions)));

const finalizeOne = async (client, response) => toHex((await client.finalize(response)).serialize());

export const tokens = {
  async token_request({ challenge, token_key, extensions }) {
    const client = newClient(extensions);
    const request = await client.createTokenRequest(TokenChallenge.deserialize(fromHex(challenge)), fromHex(token_key));
    return { exchange: exchanges.keep(client), token_request: toHex(request.serialize()) };
  },

  async token_finalize({ exchange, token_response }) {
    const client = exchanges.take(exchange);
    return { token: await finalizeOne(client, client.deserializeTokenResponse(fromHex(token_response))) };
  },

  async token_issue({ token_type, private_key, token_request }) {
    return { token_response: toHex(await issue(token_type, private_key, fromHex(token_request))) };
  },

  async token_verify({ token_type, token_key, token, extensions }) {
    const origin =
      extensions === undefined
        ? new Origin(MODE)
        : new OriginWithMetadata(MODE, Extensions.deserialize(fromHex(extensions)));
    const publicKey = await importPublicKey(util.convertRSASSAPSSToEnc(fromHex(token_key)));
    if (!(await origin.verify(Token.deserialize(entry(token_type), fromHex(token)), publicKey))) {
      throw new Error("the token does not verify");
    }
    return {};
  },

  async batch_request({ challenge, token_key, count }) {
    const decoded = TokenChallenge.deserialize(fromHex(challenge));
    const clients = Array.from({ length: count }, () => newClient());
    const requests = await Promise.all(clients.map((client) => client.createTokenRequest(decoded, fromHex(token_key))));
    const wrapped = requests.map((request) => new genericBatched.TokenRequest(request));
    const batch = new genericBatched.Client().createTokenRequest(wrapped);
    return { exchange: exchanges.keep(clients), token_request: toHex(batch.serialize()) };
  },

  async batch_issue({ private_key, token_request }) {
    return { token_response: toHex(await issueBatch(private_key, fromHex(token_request))) };
  },

  async batch_finalize({ exchange, token_response }) {
    const clients = exchanges.take(exchange);
    const { tokenResponses } = new genericBatched.Client().deserializeTokenResponse(fromHex(token_response));
    if (tokenResponses.length !== clients.length) throw new Error("the batch has another length");
    const finish = ({ tokenResponse }, number) => tokenResponse && finalizeOne(clients[number], tokenResponse);
    return { tokens: await Promise.all(tokenResponses.map(finish)) };
  },
};
