// Times one step of RSABSSA-SHA384-PSS-Deterministic, as often as it is told, with everything else made before.

import { RSABSSA } from "@cloudflare/blindrsa-ts";

import { importPrivateKey, publicKeyOf } from "./bytes.js";

// Everything but the step that is timed, by key: it takes this library seconds for long keys.
const prepared = new Map();

async function prepare(pkcs8) {
  const suite = RSABSSA.SHA384.PSS.Deterministic();
  const privateKey = await importPrivateKey(pkcs8);
  const publicKey = await publicKeyOf(privateKey);
  const msg = new Uint8Array(98); // as long as what is signed for a token
  const { blindedMsg, inv } = await suite.blind(publicKey, msg);
  const blindSig = await suite.blindSign(privateKey, blindedMsg);
  const sig = await suite.finalize(publicKey, msg, blindSig, inv);
  return {
    blind: () => suite.blind(publicKey, msg),
    blind_sign: () => suite.blindSign(privateKey, blindedMsg),
    finalize: () => suite.finalize(publicKey, msg, blindSig, inv),
    verify: () => suite.verify(publicKey, sig, msg),
  };
}

export async function bench({ what, private_key, iterations }) {
  if (!prepared.has(private_key)) prepared.set(private_key, await prepare(private_key));
  const steps = prepared.get(private_key);
  if (!Object.hasOwn(steps, what)) throw new Error(`this peer has no benchmark ${what}`);
  const begin = process.hrtime.bigint();
  for (let i = 0; i < iterations; i++) await steps[what]();
  return { seconds: Number(process.hrtime.bigint() - begin) / 1e9 };
}
