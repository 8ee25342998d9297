"""Sealed requests, both ends: one body that any of 1, 3 or 16 nodes can open, and the answer of one of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.measure import Plan, measure, timed
from benchmarks.peers import Peers
from benchmarks.primitives import raw_kem, response_hmacs, run_hmacs, schedule_hmacs
from benchmarks.report import Report, Row, cost
from confsec.backends.system import randbytes
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import kem_from_id
from confsec.protocol.sealed import NodeKeys, SealedClient, SealedContentReceived, SealedNode, SealedRequestOpened
from confsec.protocol.sealed_keys import response_exporter_context, wrap_info
from confsec.testing import EPOCH

__all__ = ["exchange", "raw_exchange", "run"]

CONTENT: Final = 1000
"""Bytes of the request, which goes out in a bucket of 4 KiB, and of the answer, which fits into one chunk."""

RECIPIENTS: Final = (1, 3, 16)
KEMS: Final = {0x647A: "MLKEM768-X25519", 0x0050: "MLKEM768-P256"}

_RAW: Final = "raw primitives"
_NODE_ID: Final = 32
_HASH: Final = 32
_KEY: Final = bytes(32)
_NONCE: Final = bytes(12)
_REQUEST_LABEL_SIZE: Final = len(b"confsec request chunks v1\x00")
_BUCKET: Final = 4096
_CHUNK: Final = 1024
_RECIPIENT_FIELDS: Final = _NODE_ID + 2 + 32 + 16


def run(plan: Plan, peers: Peers) -> Report:
    """Compare a sealed exchange with its KEM, HMAC, SHA-256 and AEAD calls."""
    rows: list[Row] = []
    for kem_id, kem_name in KEMS.items():
        for count in RECIPIENTS:
            works = {"ours": timed(exchange(kem_id, count)), _RAW: timed(raw_exchange(kem_id, count))}
            what = f"{kem_name}, {count} recipient{'s' if count > 1 else ''}"
            rows.append(cost(what, measure(works, plan), _RAW))
    return Report(name="sealed", title="a request of 1,000 bytes and its answer, both ends", rows=tuple(rows))


def exchange(kem_id: int, count: int) -> Callable[[], None]:
    """Return a sealed request of ours, and its answer by the first of `count` nodes."""
    nodes = [NodeKeys() for _ in range(count)]
    configs = [keys.rotate(kem_from_id(kem_id).generate(randbytes), EPOCH).key_config for keys in nodes]
    content = b"a" * CONTENT

    def work() -> None:
        client = SealedClient(configs, randbytes=randbytes)
        node = SealedNode(nodes[0], randbytes=randbytes)
        node.receive_data(client.seal(content))
        node.open_key()
        [opened] = node.receive_eof()
        assert isinstance(opened, SealedRequestOpened)
        client.receive_data(node.begin() + node.send_eof(opened.content))
        answer = [event for event in client.receive_eof() if isinstance(event, SealedContentReceived)]
        assert answer[0].data == content

    return work


def raw_exchange(kem_id: int, count: int) -> Callable[[], None]:
    """Return the primitives of the same."""
    kem = raw_kem(kem_id)
    enc_size = kem_from_id(kem_id).enc_size
    schedule = schedule_hmacs(len(wrap_info(bytes(_NODE_ID))), len(response_exporter_context(bytes(_HASH))))
    response = response_hmacs(enc_size + 32, 32)
    header = bytes(2 + count * (_RECIPIENT_FIELDS + enc_size))
    secret, body, answer = bytes(32), b"a" * _BUCKET, b"a" * _CHUNK
    request = header + bytes(_BUCKET + 17)
    key_config = bytes(kem_from_id(kem_id).public_key_size + 11)

    def wrap() -> bytes:
        hashlib.sha256(key_config).digest()
        run_hmacs(schedule)
        return AESGCM(_KEY).encrypt(_NONCE, secret, b"")

    def seal() -> tuple[bytes, bytes, bytes]:
        os.urandom(32)
        encs = [kem.encapsulate() for _ in range(count)]
        wrapped = [wrap() for _ in range(count)]
        _request_keys(header)
        hashlib.sha256(request).digest()
        return encs[0], wrapped[0], AESGCM(_KEY).encrypt(_NONCE, body, b"final")

    def work() -> None:
        enc, wrapped, sealed = seal()
        hashlib.sha256(enc).digest()
        kem.decapsulate(enc)
        run_hmacs(schedule)
        AESGCM(_KEY).decrypt(_NONCE, wrapped, b"")
        _request_keys(header)
        hashlib.sha256(request).digest()
        AESGCM(_KEY).decrypt(_NONCE, sealed, b"final")
        os.urandom(32)
        run_hmacs(response)
        run_hmacs(response)
        AESGCM(_KEY).decrypt(_NONCE, AESGCM(_KEY).encrypt(_NONCE, answer, b"final"), b"final")

    return work


def _request_keys(header: bytes) -> None:
    digest = hashlib.sha256(header).digest()
    Kdf.HKDF_SHA256.expand(digest, bytes(_REQUEST_LABEL_SIZE + _HASH), 32 + 12)
