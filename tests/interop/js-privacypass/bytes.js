// Bytes are in hexadecimal in commands and answers.

// A copy with a buffer of its own: the packages look into `buffer` from its beginning.
export const fromHex = (text) => Uint8Array.from(Buffer.from(text, "hex"));

export const toHex = (bytes) => Buffer.from(bytes).toString("hex");

const RSA_PSS = { name: "RSA-PSS", hash: "SHA-384" };

export const importPrivateKey = (pkcs8) => crypto.subtle.importKey("pkcs8", fromHex(pkcs8), RSA_PSS, true, ["sign"]);

export const importPublicKey = (spki) => crypto.subtle.importKey("spki", spki, RSA_PSS, true, ["verify"]);

// The public half of a private key, which the Web Cryptography API does not give.
export async function publicKeyOf(privateKey) {
  const { kty, n, e } = await crypto.subtle.exportKey("jwk", privateKey);
  return crypto.subtle.importKey("jwk", { kty, n, e }, RSA_PSS, true, ["verify"]);
}

// What waits for the next command, by number.
export function waiting() {
  const items = [];
  return {
    keep: (item) => items.push(item) - 1,
    take(number) {
      if (!(number in items)) throw new Error("no such exchange");
      return items[number];
    },
  };
}
