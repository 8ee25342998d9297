"""Our side of an exchange: gateways and clients as a peer meets them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from confsec.protocol.bhttp import Request, Response
from confsec.protocol.chunked_ohttp import ChunkedOhttpClient, ChunkedOhttpGateway, ChunkReceived
from confsec.protocol.kem import kem_from_id
from confsec.protocol.ohttp import (
    GatewayKey,
    GatewayKeyring,
    KeyConfig,
    OhttpClient,
    OhttpGateway,
    ReplayWindow,
    SymmetricSuite,
)
from confsec.testing import EPOCH, seeded_randbytes
from tests.interop.peers import PeerSuite

RANDBYTES: Final = seeded_randbytes("interop")
KEY_ID: Final = 7

PEER_CHUNK: Final = 1 << 14
"""What every receiver takes; peers take no more (chunked OHTTP, section 3)."""

REQUEST: Final = Request(
    "POST",
    "https",
    "target.example",
    "/v1/chat/completions?x=1",
    (("content-type", "application/json"),),
    b'{"a":1}',
)
RESPONSE: Final = Response(200, (("content-type", "text/plain"),), b"an answer")

PARTS: Final = (b"a", b"bc" * 50, bytes(range(256)) * 64, b"the end")
"""Parts that become chunks: of one byte, of the size that every receiver takes, and of sizes that need 1, 2 and 4 bytes
for their length."""

_ONE_DAY: Final = timedelta(days=1)


def make_keyring(suite: PeerSuite) -> GatewayKeyring:
    """Return a gateway's keys: one, of this suite."""
    decapsulator = kem_from_id(suite.kem_id).generate(RANDBYTES)
    config = KeyConfig(KEY_ID, suite.kem_id, decapsulator.public_key, (SymmetricSuite(suite.kdf_id, suite.aead_id),))
    key = GatewayKey(
        config=config,
        decapsulator=decapsulator,
        published_from=EPOCH,
        published_until=EPOCH + _ONE_DAY,
        accepted_until=EPOCH + _ONE_DAY,
    )
    return GatewayKeyring([key])


def key_config_of(keyring: GatewayKeyring) -> KeyConfig:
    """Return the one key configuration."""
    [key] = keyring.published(EPOCH)
    return key.config


def client(key_config: bytes) -> OhttpClient:
    return OhttpClient(KeyConfig.decode(key_config), randbytes=RANDBYTES)


def chunked_client(key_config: bytes) -> ChunkedOhttpClient:
    return ChunkedOhttpClient(KeyConfig.decode(key_config), randbytes=RANDBYTES, chunk_size=PEER_CHUNK)


def gateway(keyring: GatewayKeyring) -> OhttpGateway:
    return OhttpGateway(keyring, randbytes=RANDBYTES, now=EPOCH, replay=ReplayWindow())


def chunked_gateway(keyring: GatewayKeyring) -> ChunkedOhttpGateway:
    return ChunkedOhttpGateway(keyring, randbytes=RANDBYTES, now=EPOCH, replay=ReplayWindow(), chunk_size=PEER_CHUNK)


def receive_whole(machine: OhttpClient | OhttpGateway, data: bytes) -> bytes:
    """Give all of `data` to the machine and return the one message inside."""
    events = [*machine.receive_data(data), *machine.receive_eof()]
    [event] = events
    return event.content


def receive_chunks(machine: ChunkedOhttpClient | ChunkedOhttpGateway, data: bytes) -> list[bytes]:
    """Give all of `data` to the machine, in pieces that fit no chunk, and return the chunks."""
    pieces = [data[start : start + 1000] for start in range(0, len(data), 1000)]
    events = [event for piece in pieces for event in machine.receive_data(piece)]
    events += machine.receive_eof()
    return [event.data for event in events if isinstance(event, ChunkReceived)]


def send_chunks(machine: ChunkedOhttpClient | ChunkedOhttpGateway, parts: Sequence[bytes]) -> bytes:
    """Send each part at once; the last one goes into the final chunk."""
    *first, last = parts
    return machine.begin() + b"".join(machine.send(part) for part in first) + machine.send_eof(last)
