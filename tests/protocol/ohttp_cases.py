"""Run published Oblivious HTTP vectors, and make the gateways and clients that the tests of Oblivious HTTP share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from confsec.errors import ConfsecError
from confsec.protocol.aead import AeadSequence, aead_from_id
from confsec.protocol.chunked_ohttp import (
    ChunkedOhttpClient,
    ChunkedOhttpEvent,
    ChunkedOhttpGateway,
    ChunkReceived,
    RequestFinished,
    ResponseFinished,
)
from confsec.protocol.chunks import ChunkSplitter, encode_chunk
from confsec.protocol.gateway_keys import GatewayKey, GatewayKeyring
from confsec.protocol.hpke import setup_receiver
from confsec.protocol.kem import DHKEM_X25519, Decapsulator, kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite, decode_key_configs
from confsec.protocol.machine import RandBytes
from confsec.protocol.ohttp import OhttpClient, OhttpGateway, RequestReceived, ResponseReceived
from confsec.testing import EPOCH, seeded_randbytes

Case = dict[str, Any]

DAY: Final = timedelta(days=1)
SUITES: Final = (SymmetricSuite(1, 1), SymmetricSuite(1, 2), SymmetricSuite(1, 3))


def make_key(
    key_id: int = 7, kem_id: int = 0x0020, *, start: datetime = EPOCH, suites: tuple[SymmetricSuite, ...] = SUITES
) -> GatewayKey:
    """Make a gateway key that is published for a day and accepted for two."""
    private_key = kem_from_id(kem_id).derive_key_pair(bytes([key_id]) * 128)
    return key_around(private_key, KeyConfig(key_id, kem_id, private_key.public_key, suites), start=start)


def key_around(decapsulator: Decapsulator, config: KeyConfig, *, start: datetime = EPOCH) -> GatewayKey:
    """Give a private key the usual times."""
    return GatewayKey(
        config=config,
        decapsulator=decapsulator,
        published_from=start,
        published_until=start + DAY,
        accepted_until=start + 2 * DAY,
    )


def content(events: list[ChunkedOhttpEvent]) -> bytes:
    """Return the content of all chunks."""
    return b"".join(event.data for event in events if isinstance(event, ChunkReceived))


def check_exchange(case: Case) -> None:
    """Check a one-shot exchange at both ends, and the keys on the way."""
    keyring = keyring_of(case)
    client = OhttpClient(config_of(case), suite=suite_of(case), randbytes=fixed(case["skE"]))
    enc_request = client.encapsulate(unhex(case, "request"))
    assert enc_request == unhex(case, "encapsulatedRequest")
    gateway = OhttpGateway(keyring, randbytes=fixed(case["responseNonce"]), now=EPOCH)
    assert [*gateway.receive_data(enc_request), *gateway.receive_eof()] == [RequestReceived(unhex(case, "request"))]
    enc_response = gateway.encapsulate_response(unhex(case, "response"))
    assert enc_response == unhex(case, "encapsulatedResponse")
    assert [*client.receive_data(enc_response), *client.receive_eof()] == [ResponseReceived(unhex(case, "response"))]
    check_response_keys(case, b"message/bhttp response")


def check_chunked_exchange(case: Case) -> None:
    """Check a chunked exchange at both ends, chunk by chunk, and the keys on the way."""
    client = ChunkedOhttpClient(config_of(case), suite=suite_of(case), randbytes=fixed(case["skE"]))
    nonce = case["responseParts"]["responseNonce"]
    gateway = ChunkedOhttpGateway(keyring_of(case), randbytes=fixed(nonce), now=EPOCH)
    enc_request = client.begin() + b"".join(send_chunks(client, case["requestParts"]["chunks"]))
    assert enc_request == unhex(case, "encapsulatedRequest")
    events = [*gateway.receive_data(enc_request), *gateway.receive_eof()]
    assert (content(events), events[-1]) == (unhex(case, "request"), RequestFinished())
    enc_response = gateway.begin() + b"".join(send_chunks(gateway, case["responseParts"]["chunks"]))
    assert enc_response == unhex(case, "encapsulatedResponse")
    events = [*client.receive_data(enc_response), *client.receive_eof()]
    assert (content(events), events[-1]) == (unhex(case, "response"), ResponseFinished())
    check_response_keys(case, b"message/bhttp chunked response")


def send_chunks(machine: ChunkedOhttpClient | ChunkedOhttpGateway, chunks: list[Case]) -> list[bytes]:
    """Send the stated chunks and compare each with its stated bytes."""
    sent = []
    for chunk in chunks:
        plaintext = unhex(chunk, "plaintext")
        sent.append(machine.send_eof(plaintext) if chunk["final"] else machine.send(plaintext))
        assert sent[-1] == unhex(chunk, "wire")
    return sent


def check_response_keys(case: Case, label: bytes) -> None:
    """Check what the response is encrypted with, step by step."""
    private_key = kem_from_id(case["kemId"]).from_private_bytes(unhex(case, "skR"))
    suite = suite_of(case).with_kem(case["kemId"])
    context = setup_receiver(suite, private_key, unhex(case, "pkE"), unhex(case, "info"))
    assert context.export(label, max(suite.aead.key_size, 12)) == unhex(case, "exportedSecret")
    prk = suite.kdf.extract(unhex(case, "salt"), unhex(case, "exportedSecret"))
    assert prk == unhex(case, "prk")
    assert suite.kdf.expand(prk, b"key", suite.aead.key_size) == unhex(case, "aeadKey")
    assert suite.kdf.expand(prk, b"nonce", 12) == unhex(case, "aeadNonce")


def check_key_config(case: Case) -> None:
    """Check a key configuration, or a list of them. What only a peer's policy refuses, we may take."""
    data = unhex(case, "input")
    if case["expect"] == "reject" and "peer policy" not in case.get("note", ""):
        with pytest.raises(ConfsecError):
            KeyConfig.decode(data)
    elif case.get("media") == "application/ohttp-keys":
        assert [config.key_id for config in decode_key_configs(data)] == case["keyIds"]
    else:
        config = KeyConfig.decode(data)
        assert config.encode() == data
        if "reserialize" in case:
            assert config.encode() == unhex(case, "reserialize")
            assert (config.key_id, config.kem_id) == (case["keyId"], case["kemId"])
            assert [[suite.kdf_id, suite.aead_id] for suite in config.suites] == case["algorithms"]


def check_chunk_framing(case: Case) -> None:
    """Check how ciphertexts stand in a stream, or which nonce they have."""
    if "nonce" in case:
        check_nonce(case)
    elif "expect" in case:
        assert split(unhex(case, "wire")) == ([], None)
    elif "chunks" in case:
        chunks = [(bytes.fromhex(data), final) for data, final in case["chunks"]]
        assert unhex(case, "wire") == b"".join(encode_chunk(data, final=final) for data, final in chunks)
        assert split(unhex(case, "wire")) == ([data for data, _ in chunks[:-1]], chunks[-1][0])
    else:
        payload = (
            bytes.fromhex(case["payload_repeat"][0]) * case["payload_repeat"][1]
            if "payload_repeat" in case
            else unhex(case, "payload")
        )
        wire = encode_chunk(payload, final=case["final"])
        assert wire.startswith(unhex(case, "wire" if "wire" in case else "wire_prefix"))
        assert split(wire) == (([], payload) if case["final"] else ([payload], None))


def split(wire: bytes) -> tuple[list[bytes], bytes | None]:
    """Return the ciphertexts in `wire`, and the final one if it is there."""
    splitter = ChunkSplitter(max_size=1 << 24)
    ciphertexts = [bytes(ciphertext) for ciphertext in splitter.receive_data(wire)]
    try:
        return ciphertexts, bytes(splitter.receive_eof())
    except ConfsecError:
        return ciphertexts, None


def check_nonce(case: Case) -> None:
    """Check the nonce of one chunk, by what it opens."""
    aead, key = aead_from_id(1), bytes(16)
    sequence = AeadSequence(aead, key, unhex(case, "baseNonce"))
    for _ in range(case["counter"]):
        sequence.seal(b"", b"")
    assert sequence.seal(b"", b"chunk") == AeadSequence(aead, key, unhex(case, "nonce")).seal(b"", b"chunk")


CHECKS: Final[dict[str, Callable[[Case], None]]] = {
    "ohttp-exchange": check_exchange,
    "ohttp-chunked-exchange": check_chunked_exchange,
    "ohttp-key-config": check_key_config,
    "ohttp-chunk-framing": check_chunk_framing,
}
"""What to run for each schema of `SCHEMAS.md` in the shared vectors."""


def keyring_of(case: Case) -> GatewayKeyring:
    return GatewayKeyring([key_around(DHKEM_X25519.from_private_bytes(unhex(case, "skR")), config_of(case))])


def config_of(case: Case) -> KeyConfig:
    config = KeyConfig.decode(unhex(case, "keyConfig"))
    assert (config.key_id, config.kem_id) == (case["keyId"], case["kemId"])
    return config


def suite_of(case: Case) -> SymmetricSuite:
    return SymmetricSuite(case["kdfId"], case["aeadId"])


def fixed(data: str) -> RandBytes:
    """Return a source of the one random value that the vector states."""

    def randbytes(size: int) -> bytes:
        assert size == len(data) // 2
        return bytes.fromhex(data)

    return randbytes


def unhex(case: Case, name: str) -> bytes:
    return bytes.fromhex(case[name])


RANDBYTES: Final = seeded_randbytes("oblivious")
