"""Blind RSA against other implementations: each step of RSABSSA-SHA384-PSS-Deterministic, with one key for all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from time import perf_counter
from typing import Final

import anyio
from anyio.from_thread import BlockingPortal
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.measure import Contender, Plan, measure, timed
from benchmarks.peers import Peers
from benchmarks.report import Row, speed_up
from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.backends.software_signer import SoftwareSigner
from confsec.backends.system import randbytes
from confsec.protocol.blind_rsa import RSABSSA_SHA384_PSS_DETERMINISTIC, blind, finalize, verify
from confsec.protocol.rsa_keys import TOKEN_EXPONENT

__all__ = ["peer_rows"]

ROUNDS: Final = 7
"""Turns of everybody: some peers take seconds for one signature with a long key."""

MESSAGE_SIZE: Final = 98
"""Bytes of what is signed for a token (RFC 9578, section 6.3)."""

STEPS: Final = ((2048, "blind_sign"), (3072, "blind_sign"), (4096, "blind_sign"))
CLIENT_STEPS: Final = ((2048, "blind"), (2048, "finalize"), (2048, "verify"))

_VARIANT: Final = RSABSSA_SHA384_PSS_DETERMINISTIC
_NOTE: Final = "Everybody with one thread, and each signature checked with the public key before it is given out."


def peer_rows(portal: BlockingPortal, plan: Plan, peers: Peers) -> Iterator[Row]:
    """Compare with the peers that are here. Yields nothing without any."""
    short = evolve(plan, rounds=min(plan.rounds, ROUNDS))
    keys = {bits: rsa.generate_private_key(TOKEN_EXPONENT, bits) for bits in dict(STEPS)}
    for bits, step in STEPS + CLIENT_STEPS:
        others = peers.signers(step, keys[bits].private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        if others:
            timings = measure({"ours": _ours(keys[bits], portal)[step], **others}, short)
            note = _NOTE if step == "blind_sign" else ""
            yield from (speed_up(f"{step}, {bits} bits", timings, name, note=note) for name in others)


def _ours(private_key: rsa.RSAPrivateKey, portal: BlockingPortal) -> dict[str, Contender]:
    """Return our side of each step, with everything else made before."""
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    limiter = portal.call(partial(anyio.CapacityLimiter, 1))
    signer, message = SoftwareSigner(LibcryptoKey.from_pem(pem), limiter=limiter), randbytes(MESSAGE_SIZE)
    ask = partial(blind, signer.public_key, message, variant=_VARIANT, randbytes=randbytes)
    one = ask()
    blind_sig = portal.call(signer.blind_sign, one.blinded_msg)
    finish = partial(finalize, signer.public_key, message, blind_sig=blind_sig, inverse=one.inverse, variant=_VARIANT)
    sig = finish()

    def sign(iterations: int) -> float:
        begin = perf_counter()
        portal.call(signer.blind_sign_many, [one.blinded_msg] * iterations)
        return perf_counter() - begin

    return {
        "blind": timed(ask),
        "blind_sign": sign,
        "finalize": timed(finish),
        "verify": timed(lambda: verify(signer.public_key, message, sig, variant=_VARIANT)),
    }
