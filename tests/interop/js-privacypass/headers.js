// Challenges, and the header fields of the PrivateToken scheme (RFC 9577).

import { AuthorizationHeader, Extensions, Token, TokenChallenge, WWWAuthenticateHeader } from "@cloudflare/privacypass-ts";

import { fromHex, toHex } from "./bytes.js";
import { entry } from "./tokens.js";

export const headers = {
  async challenge_encode({ token_type, issuer_name, redemption_context, origins }) {
    const originInfo = origins.length ? origins : undefined;
    const challenge = new TokenChallenge(token_type, issuer_name, fromHex(redemption_context), originInfo);
    return { challenge: toHex(challenge.serialize()) };
  },

  async challenge_decode({ challenge }) {
    const decoded = TokenChallenge.deserialize(fromHex(challenge));
    return {
      token_type: decoded.tokenType,
      issuer_name: decoded.issuerName,
      redemption_context: toHex(decoded.redemptionContext),
      origins: decoded.originInfo ?? [],
    };
  },

  async www_authenticate_encode({ challenge, token_key, max_age, quoted }) {
    const decoded = TokenChallenge.deserialize(fromHex(challenge));
    return { field: new WWWAuthenticateHeader(decoded, fromHex(token_key), max_age).toString(quoted) };
  },

  async www_authenticate_decode({ field }) {
    const challenges = WWWAuthenticateHeader.parse(field).map(({ challenge, tokenKey, maxAge }) => ({
      challenge: toHex(challenge.serialize()),
      token_key: toHex(tokenKey),
      max_age: maxAge ?? null,
    }));
    return { challenges };
  },

  async authorization_encode({ token_type, token, extensions, quoted }) {
    const decoded = Token.deserialize(entry(token_type), fromHex(token));
    const list = extensions === undefined ? undefined : Extensions.deserialize(fromHex(extensions));
    return { field: new AuthorizationHeader(decoded, list).toString(quoted) };
  },

  async authorization_decode({ token_type, field }) {
    const credentials = AuthorizationHeader.parse(entry(token_type), field).map(({ token, extensions }) => ({
      token: toHex(token.serialize()),
      extensions: extensions ? toHex(extensions.serialize()) : null,
    }));
    return { credentials };
  },
};
