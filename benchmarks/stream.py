"""A long message in chunked Oblivious HTTP, sealed by the client and opened by the gateway."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks import gateway
from benchmarks.measure import Contender, Plan, Timings, measure, timed
from benchmarks.peers import Peers
from benchmarks.report import Report, Row, at_least, share
from confsec.backends.system import randbytes
from confsec.protocol.chunked_ohttp import ChunkedOhttpClient, ChunkedOhttpGateway, ChunkReceived
from confsec.testing import EPOCH
from tests.interop.suites import X25519_AES128

__all__ = ["ours", "raw", "run"]

CHUNK_SIZES: Final = (1 << 14, 1 << 16)

PART: Final = 1 << 18
"""What the caller hands over at once: as much as a driver reads from a fast socket, and as fits into a core's cache."""

RAW: Final = "raw AES-GCM"
RAW_INTO: Final = "raw AES-GCM, one buffer"
SINGLE: Final = "ours, chunk by chunk"

RAW_GOAL: Final = at_least(0.6)
PEER_GOAL: Final = at_least(2)

_PARTS_NOTE: Final = "Handed over in parts of 256 KiB."
_SINGLE_NOTE: Final = "Handed over in parts of one chunk each, as peers do it here."
_INTO_NOTE: Final = "Into one buffer that stays in the cache, which nobody who hands the content on can do."


def run(plan: Plan, peers: Peers) -> Report:
    """Compare throughput with the bare cipher and with peers."""
    rows: list[Row] = []
    for chunk in CHUNK_SIZES:
        others = peers.contenders("stream", size=plan.stream_size, suite=X25519_AES128, chunk=chunk)
        rows += _rows(
            chunk, plan.stream_size, measure({**_contenders(chunk, plan.stream_size), **others}, plan), others
        )
    size = f"{plan.stream_size >> 20} MiB" if plan.stream_size >> 20 else f"{plan.stream_size >> 10} KiB"
    return Report(
        name="stream",
        title=f"{size} in chunks, both ends, AES-128-GCM",
        rows=tuple(rows),
        missing=peers.take_missing(),
    )


def _contenders(chunk: int, size: int) -> dict[str, Contender]:
    return {
        "ours": ours(chunk, size, part=max(PART, chunk)),
        SINGLE: ours(chunk, size, part=chunk),
        RAW: raw(chunk, size),
        RAW_INTO: raw_into(chunk, size),
    }


def _rows(chunk: int, size: int, timings: Timings, others: dict[str, Contender]) -> list[Row]:
    what = f"chunks of {chunk >> 10} KiB"
    return [
        share(what, timings, RAW, size=size, goal=RAW_GOAL, note=_PARTS_NOTE),
        share(what, timings, RAW_INTO, size=size, note=_INTO_NOTE),
        share(what, timings, RAW, size=size, ours=SINGLE, note=_SINGLE_NOTE),
        *(share(what, timings, name, size=size, goal=PEER_GOAL, note=_PARTS_NOTE) for name in others),
        *(share(what, timings, name, size=size, ours=SINGLE, note=_SINGLE_NOTE) for name in others),
    ]


def ours(chunk: int, size: int, *, part: int) -> Contender:
    """Return a message of ours. Its content is counted and dropped, as a driver hands it on."""
    keyring, key_config = gateway.make_keyring(X25519_AES128)
    data = b"a" * part

    def work() -> None:
        client = ChunkedOhttpClient(key_config, randbytes=randbytes, chunk_size=chunk)
        machine = ChunkedOhttpGateway(keyring, randbytes=randbytes, now=EPOCH)
        machine.receive_data(client.begin())
        received = 0
        for _ in range(size // part):
            for event in machine.receive_data(client.send(data)):
                assert isinstance(event, ChunkReceived)
                received += len(event.data)
        machine.receive_data(client.send_eof())
        machine.receive_eof()
        assert received == size

    return timed(work)


def raw(chunk: int, size: int) -> Contender:
    """Return the cipher alone, each chunk in memory of its own."""
    cipher, data = AESGCM(bytes(16)), b"a" * chunk

    def work() -> None:
        for number in range(size // chunk):
            nonce = number.to_bytes(12, "big")
            cipher.decrypt(nonce, cipher.encrypt(nonce, data, b""), b"")

    return timed(work)


def raw_into(chunk: int, size: int) -> Contender:
    """Return the cipher alone, all chunks in the same memory."""
    cipher, data = AESGCM(bytes(16)), b"a" * chunk
    sealed, opened = bytearray(chunk + 16), bytearray(chunk)

    def work() -> None:
        for number in range(size // chunk):
            nonce = number.to_bytes(12, "big")
            cipher.encrypt_into(nonce, data, b"", sealed)
            cipher.decrypt_into(nonce, sealed, b"", opened)

    return timed(work)
