// Blind RSA signatures (RFC 9474), and partially blind ones where a command has `info`.

import { RSABSSA, RSAPBSSA } from "@cloudflare/blindrsa-ts";

import { fromHex, importPrivateKey, importPublicKey, toHex, waiting } from "./bytes.js";

const exchanges = waiting();

function suite(variant) {
  const match = /^(RSABSSA|RSAPBSSA)-SHA384-(PSS|PSSZERO)-(Randomized|Deterministic)$/.exec(variant);
  if (!match) throw new Error(`this peer has no variant ${variant}`);
  const [, family, salt, preparation] = match;
  const { SHA384 } = { RSABSSA, RSAPBSSA }[family];
  return SHA384[salt === "PSS" ? "PSS" : "PSSZero"][preparation]();
}

const metadata = (info) => (info === undefined ? [] : [fromHex(info)]);

export const blindRsa = {
  async brsa_blind({ variant, public_key, msg, info }) {
    const scheme = suite(variant);
    const publicKey = await importPublicKey(fromHex(public_key));
    const inputMsg = scheme.prepare(fromHex(msg));
    const { blindedMsg, inv } = await scheme.blind(publicKey, inputMsg, ...metadata(info));
    const finalize = (blindSig) => scheme.finalize(publicKey, inputMsg, ...metadata(info), blindSig, inv);
    return { exchange: exchanges.keep(finalize), input_msg: toHex(inputMsg), blinded_msg: toHex(blindedMsg) };
  },

  async brsa_sign({ variant, private_key, blinded_msg, info }) {
    const privateKey = await importPrivateKey(private_key);
    const blindSig = await suite(variant).blindSign(privateKey, fromHex(blinded_msg), ...metadata(info));
    return { blind_sig: toHex(blindSig) };
  },

  async brsa_finalize({ exchange, blind_sig }) {
    return { sig: toHex(await exchanges.take(exchange)(fromHex(blind_sig))) };
  },

  async brsa_verify({ variant, public_key, input_msg, sig, info }) {
    const publicKey = await importPublicKey(fromHex(public_key));
    const good = await suite(variant).verify(publicKey, fromHex(sig), fromHex(input_msg), ...metadata(info));
    if (!good) throw new Error("the signature does not verify");
    return {};
  },
};
