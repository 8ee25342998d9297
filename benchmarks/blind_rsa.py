"""Blind RSA: what signing costs over OpenSSL's private operation, and the client's steps over their own arithmetic."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from math import gcd
from time import perf_counter
from typing import Final

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA384

from benchmarks.blind_rsa_peers import peer_rows
from benchmarks.measure import Contender, Plan, measure, timed
from benchmarks.peers import Peers
from benchmarks.report import Report, Row, at_least, at_most, cost, speed_up
from confsec.backends.libcrypto import Libcrypto, find_libcrypto
from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.backends.software_signer import SoftwareSigner, processors
from confsec.backends.system import randbytes
from confsec.protocol.blind_rsa import RSABSSA_SHA384_PSS_DETERMINISTIC, blind, finalize, verify
from confsec.protocol.modular import invert, powmod
from confsec.protocol.rsa_keys import RsaPublicKey

__all__ = ["run"]

SIZES: Final = (2048, 3072, 4096)
"""Bits of a modulus. Tokens have the first."""

MESSAGE_SIZE: Final = 98
"""Bytes of what is signed for a token (RFC 9578, section 6.3)."""

_VARIANT: Final = RSABSSA_SHA384_PSS_DETERMINISTIC
_NO_PADDING: Final = 3

_RAW: Final = "raw private operation"
_ONE_BY_ONE: Final = "ours, one by one"
_TWO_THREADS: Final = "ours, two threads"
_RAW_TWO_THREADS: Final = "raw, two threads"
_SPEED: Final = "openssl speed"

_ARITHMETIC: Final = "own arithmetic"
_CRYPTOGRAPHY: Final = "cryptography"

_RAW_NOTE: Final = "EVP_PKEY_decrypt without padding, called by ctypes in a loop that does nothing else."
_OURS_NOTE: Final = "A batch, in a worker thread, each result checked with the public key."
_ONE_BY_ONE_NOTE: Final = "Each message takes its own way to a worker thread and back to the event loop."
_THREADS_NOTE: Final = "The same batch with two threads and with one."
_MACHINE_NOTE: Final = "What the machine's two processors give without us."
_SPEED_NOTE: Final = "The program's own measurement, a second at a time, in turns with ours."
_LIBRARY: Final = "GMP" if find_spec("gmpy2") else "Python"
_ARITHMETIC_NOTE: Final = (
    f"The powers, inverses and products of this step alone; {_LIBRARY} computes them on both sides."
)

SIGN_GOAL: Final = at_most(1.2)
THREADS_GOAL: Final = at_least(1.8)
VERIFY_GOAL: Final = at_most(1.2)
STEP_GOAL: Final = at_most(1.5)


def run(plan: Plan, peers: Peers) -> Report:
    """Compare signing with the private operation, and the client's steps with their arithmetic."""
    rows: list[Row] = []
    missing: dict[str, str] = {}
    with start_blocking_portal() as portal:
        for bits in SIZES:
            key = LibcryptoKey.generate(bits)
            rows += _signing_rows(key, portal, plan)
            if plan.install or bits == SIZES[0]:
                rows += _speed_rows(key, portal, plan, missing)
        rows += _client_rows(LibcryptoKey.generate(SIZES[0]), portal, plan)
        rows += peer_rows(portal, plan, peers)
    return Report(
        name="blind_rsa",
        title=f"blind signatures, with {find_libcrypto().version}",
        rows=tuple(rows),
        missing={**missing, **peers.take_missing()},
    )


def _signing_rows(key: LibcryptoKey, portal: BlockingPortal, plan: Plan) -> Iterator[Row]:
    bits = key.public_key.n.bit_length()
    works = {
        "ours": _batches(key, portal, threads=1),
        _ONE_BY_ONE: _one_by_one(key, portal),
        _TWO_THREADS: _batches(key, portal, threads=2),
        _RAW: _raw(key, portal, threads=1),
        _RAW_TWO_THREADS: _raw(key, portal, threads=2),
    }
    timings = measure(works, plan)
    what = f"blind_sign, {bits} bits"
    yield cost(what, timings, _RAW, goal=SIGN_GOAL, note=f"{_OURS_NOTE} {_RAW_NOTE}")
    yield cost(f"{what}, one by one", timings, _RAW, ours=_ONE_BY_ONE, note=_ONE_BY_ONE_NOTE)
    if processors() > 1:
        yield speed_up(
            f"{what}, two threads", timings, "ours", ours=_TWO_THREADS, goal=THREADS_GOAL, note=_THREADS_NOTE
        )
        yield speed_up(f"{_RAW}, {bits} bits, two threads", timings, _RAW, ours=_RAW_TWO_THREADS, note=_MACHINE_NOTE)


def _batches(key: LibcryptoKey, portal: BlockingPortal, *, threads: int) -> Contender:
    """Sign a batch of as many messages as there are iterations."""
    limiter = portal.call(partial(anyio.CapacityLimiter, threads))
    signer, message = SoftwareSigner(key, limiter=limiter), _message(key)

    def work(iterations: int) -> float:
        begin = perf_counter()
        portal.call(signer.blind_sign_many, [message] * iterations)
        return perf_counter() - begin

    return work


def _one_by_one(key: LibcryptoKey, portal: BlockingPortal) -> Contender:
    signer, message = SoftwareSigner(key), _message(key)

    async def sign(iterations: int) -> float:
        begin = perf_counter()
        for _ in range(iterations):
            await signer.blind_sign(message)
        return perf_counter() - begin

    return lambda iterations: portal.call(sign, iterations)


def _raw(key: LibcryptoKey, portal: BlockingPortal, *, threads: int) -> Contender:
    """Do the private operation, as often as there are iterations, shared out to the threads."""

    async def work(iterations: int) -> float:
        begin = perf_counter()
        async with anyio.create_task_group() as group:
            for number in range(threads):
                share = iterations // threads + (number < iterations % threads)
                group.start_soon(anyio.to_thread.run_sync, partial(_raw_loop, key, share))
        return perf_counter() - begin

    return lambda iterations: portal.call(work, iterations)


def _raw_loop(key: LibcryptoKey, iterations: int) -> None:
    """Call libcrypto, and nothing else: one context, one buffer, nothing read and nothing checked."""
    lib, size, message = find_libcrypto(), key.public_key.modulus_size, _message(key)
    ctx = _context(lib, key)
    decrypt, result, length = lib.c.EVP_PKEY_decrypt, ctypes.create_string_buffer(size), ctypes.c_size_t(size)
    reference = ctypes.byref(length)
    try:
        for _ in range(iterations):
            decrypt(ctx, result, reference, message, size)
    finally:
        lib.c.EVP_PKEY_CTX_free(ctx)


def _context(lib: Libcrypto, key: LibcryptoKey) -> int:
    ctx: int = lib.c.EVP_PKEY_CTX_new_from_pkey(None, key._pkey, None)  # noqa: SLF001  # nobody else needs it
    lib.check(lib.c.EVP_PKEY_decrypt_init(ctx), "RSA")
    lib.check(lib.c.EVP_PKEY_CTX_set_rsa_padding(ctx, _NO_PADDING), "RSA")
    return ctx


def _message(key: LibcryptoKey) -> bytes:
    return (key.public_key.n // 3).to_bytes(key.public_key.modulus_size, "big")


# --- OpenSSL's own measurement


def _speed_rows(key: LibcryptoKey, portal: BlockingPortal, plan: Plan, missing: dict[str, str]) -> Iterator[Row]:
    bits, program = key.public_key.n.bit_length(), shutil.which("openssl")
    why = _why_not(program)
    if why or program is None:
        missing[_SPEED] = why
        return
    work, timings = _batches(key, portal, threads=1), {"ours": list[float](), _SPEED: list[float]()}
    for _ in range(3 if plan.install else 1):
        signs_per_second = _openssl_speed(program, bits)
        iterations = max(1, round(signs_per_second)) if plan.install else 1
        timings[_SPEED].append(1 / signs_per_second)
        timings["ours"].append(work(iterations) / iterations)
    yield cost(f"blind_sign, {bits} bits", timings, _SPEED, note=_SPEED_NOTE)


def _why_not(program: str | None) -> str:
    """Return why the program does not measure what we call, or nothing."""
    if program is None:
        return "there is no program openssl"
    version = subprocess.run([program, "version"], check=True, capture_output=True, text=True).stdout
    ours = find_libcrypto().version
    return "" if f"Library: {ours}" in version else f"openssl uses another library than ours: {version.strip()}"


def _openssl_speed(program: str, bits: int) -> float:
    """Return the private operations per second of elapsed time."""
    command = [program, "speed", "-mr", "-elapsed", "-seconds", "1", f"rsa{bits}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    [line] = [line for line in output.splitlines() if line.startswith("+F2:")]
    return float(line.split(":")[3])


# --- the client


def _client_rows(key: LibcryptoKey, portal: BlockingPortal, plan: Plan) -> Iterator[Row]:
    public_key, message = key.public_key, randbytes(MESSAGE_SIZE)
    one = blind(public_key, message, variant=_VARIANT, randbytes=randbytes)
    blind_sig = portal.call(SoftwareSigner(key).blind_sign, one.blinded_msg)
    finish = partial(finalize, public_key, message, blind_sig=blind_sig, inverse=one.inverse, variant=_VARIANT)
    yield _verify_row(public_key, message, finish(), plan)
    n, e = public_key.n, public_key.e
    number, z = int.from_bytes(one.blinded_msg, "big"), int.from_bytes(blind_sig, "big")
    yield _step_row(
        "blind",
        lambda: blind(public_key, message, variant=_VARIANT, randbytes=randbytes),
        lambda: (gcd(number, n), invert(z, n), number * powmod(z, e, n) % n),
        plan,
    )
    yield _step_row("finalize", finish, lambda: powmod(z * one.inverse % n, e, n), plan)


def _verify_row(public_key: RsaPublicKey, message: bytes, sig: bytes, plan: Plan) -> Row:
    theirs, padding = public_key.to_cryptography(), PSS(MGF1(SHA384()), salt_length=_VARIANT.salt_size)
    works = {
        "ours": timed(lambda: verify(public_key, message, sig, variant=_VARIANT)),
        _CRYPTOGRAPHY: timed(lambda: theirs.verify(sig, message, padding, SHA384())),
    }
    return cost("verify, 2048 bits", measure(works, plan), _CRYPTOGRAPHY, goal=VERIFY_GOAL)


def _step_row(name: str, ours: Callable[[], object], arithmetic: Callable[[], object], plan: Plan) -> Row:
    timings = measure({"ours": timed(ours), _ARITHMETIC: timed(arithmetic)}, plan)
    return cost(f"{name}, 2048 bits", timings, _ARITHMETIC, goal=STEP_GOAL, note=_ARITHMETIC_NOTE)
