"""What every signer of blinded messages promises, as a check that implementers of `BlindSigner` can run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import anyio

from confsec.backends.api import BlindSigner
from confsec.backends.system import randbytes
from confsec.errors import DecodeError, LocalProtocolError
from confsec.protocol.blind_rsa import (
    RSABSSA_SHA384_PSS_DETERMINISTIC,
    RSABSSA_SHA384_PSSZERO_DETERMINISTIC,
    blind,
    check_blind_sig,
    finalize,
)
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.protocol.wire import encode_uint

__all__ = ["check_blind_signer"]

_AT_ONCE: Final = 16
_BATCH: Final = 24


async def check_blind_signer(make_signer: Callable[[], Awaitable[BlindSigner]], *, limit: float = 60.0) -> None:
    """Check that a signer does what `BlindSigner` promises.

    Each call of `make_signer` opens a signer with the same key; two are opened, one after the other, and closed.
    Everything together may take `limit` seconds.
    """
    with anyio.fail_after(limit):
        signer = await make_signer()
        for check in (
            _check_signatures,
            _check_same_answer,
            _check_edges,
            _check_batch,
            _check_refusals,
            _check_at_once,
            _check_cancellation,
        ):
            await check(signer)
        await _check_closed(signer)
        await _check_opened_again(make_signer, signer.public_key)


async def _check_signatures(signer: BlindSigner) -> None:
    """Sign as a client and an issuer do it together: `finalize` verifies with the public key."""
    for variant in (RSABSSA_SHA384_PSS_DETERMINISTIC, RSABSSA_SHA384_PSSZERO_DETERMINISTIC):
        message = randbytes(32)
        blinded = blind(signer.public_key, message, variant=variant, randbytes=randbytes)
        blind_sig = await signer.blind_sign(blinded.blinded_msg)
        finalize(signer.public_key, message, blind_sig=blind_sig, inverse=blinded.inverse, variant=variant)


async def _check_same_answer(signer: BlindSigner) -> None:
    blinded_msg = _draw(signer.public_key)
    answers = {await signer.blind_sign(blinded_msg) for _ in range(3)}
    assert len(answers) == 1, "a message that is signed again has another signature"


async def _check_edges(signer: BlindSigner) -> None:
    """Sign the numbers beside the ends of the range, with leading zeros in message or signature."""
    n, size = signer.public_key.n, signer.public_key.modulus_size
    short = encode_uint(2**64, size)
    for message in (encode_uint(1, size), encode_uint(2, size), short, encode_uint(n - 1, size)):
        await _check_one(signer, message)
    # The signature over short^e is short.
    image = encode_uint(pow(2**64, signer.public_key.e, n), size)
    assert await signer.blind_sign(image) == short, "a signature lost its leading zeros"


async def _check_batch(signer: BlindSigner) -> None:
    messages = [_draw(signer.public_key) for _ in range(_BATCH)]
    signed = await signer.blind_sign_many(messages)
    assert len(signed) == len(messages), "a batch came back with another length"
    for message, blind_sig in zip(messages, signed, strict=True):
        check_blind_sig(signer.public_key, message, blind_sig)
    assert await signer.blind_sign_many([]) == [], "an empty batch was not answered by an empty one"


async def _check_refusals(signer: BlindSigner) -> None:
    n, size = signer.public_key.n, signer.public_key.modulus_size
    good = _draw(signer.public_key)
    for bad, why in (
        (b"", "an empty message"),
        (good[:-1], "a message that is too short"),
        (b"\x00" + good, "a message that is too long"),
        (encode_uint(n, size), "the modulus as a message"),
        (b"\xff" * size, "a message above the modulus"),
    ):
        await _expect_decode_error(signer.blind_sign(bad), why)
        await _expect_decode_error(signer.blind_sign_many([good, bad]), f"{why}, in a batch")
    await _check_one(signer, good)


async def _check_at_once(signer: BlindSigner) -> None:
    async with anyio.create_task_group() as group:
        for number in range(_AT_ONCE):
            if number % 4:
                group.start_soon(_check_one, signer, _draw(signer.public_key))
            else:
                group.start_soon(_check_batch, signer)


async def _check_cancellation(signer: BlindSigner) -> None:
    """Leave in the middle of a batch; the next caller is served."""
    async with anyio.create_task_group() as group:
        group.start_soon(signer.blind_sign_many, [_draw(signer.public_key)] * _BATCH)
        await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    await _check_one(signer, _draw(signer.public_key))


async def _check_closed(signer: BlindSigner) -> None:
    message = _draw(signer.public_key)
    await signer.aclose()
    await signer.aclose()
    with suppress(LocalProtocolError):
        await signer.blind_sign(message)
        raise AssertionError("a closed signer signed")
    with suppress(LocalProtocolError):
        await signer.blind_sign_many([message])
        raise AssertionError("a closed signer signed a batch")


async def _check_opened_again(make_signer: Callable[[], Awaitable[BlindSigner]], public_key: RsaPublicKey) -> None:
    signer = await make_signer()
    assert signer.public_key == public_key, "opened again, the signer has another key"
    await _check_one(signer, _draw(public_key))
    await signer.aclose()


async def _check_one(signer: BlindSigner, message: bytes) -> None:
    check_blind_sig(signer.public_key, message, await signer.blind_sign(message))


async def _expect_decode_error(answer: Awaitable[object], why: str) -> None:
    try:
        await answer
    except DecodeError:
        return
    raise AssertionError(f"{why} was signed")


def _draw(public_key: RsaPublicKey) -> bytes:
    """Return a random message below the modulus."""
    number = int.from_bytes(randbytes(public_key.modulus_size), "big") % public_key.n
    return encode_uint(number, public_key.modulus_size)
