"""Open the vectors with a second implementation, written after docs/spec/sealed-request.md and nothing else.

It has no part of confsec in it, and neither limits nor good errors.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.protocol.sealed_cases import VALID, load, unhex


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt, ikm, "sha256")


def expand(prk: bytes, info: bytes, size: int) -> bytes:
    one = hmac.digest(prk, info + b"\x01", "sha256")
    return (one + hmac.digest(prk, one + info + b"\x02", "sha256"))[:size]


def decapsulate(node: dict[str, str], enc: bytes) -> bytes:  # section 3.1
    pq = mlkem.MLKEM768PrivateKey.from_seed_bytes(unhex(node["ml_kem_seed"]))
    scalar, ct_t = unhex(node["group_private_key"]), enc[1088:]
    if node["kem_id"] == "0x647a":
        ss_t = x25519.X25519PrivateKey.from_private_bytes(scalar).exchange(
            x25519.X25519PublicKey.from_public_bytes(ct_t)
        )
        ek_t, label = unhex(node["key_config"])[3 + 1184 :][:32], unhex("5c2e2f2f5e5c")
    else:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), ct_t)
        ss_t = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1()).exchange(ec.ECDH(), point)
        ek_t, label = unhex(node["key_config"])[3 + 1184 :][:65], b"MLKEM768-P256"
    return hashlib.sha3_256(pq.decapsulate(enc[:1088]) + ss_t + ct_t + ek_t + label).digest()


class Hpke:  # RFC 9180, base mode, HKDF-SHA256 and AES-256-GCM
    def __init__(self, kem_id: str, shared_secret: bytes, info: bytes) -> None:
        self.suite = b"HPKE" + int(kem_id, 16).to_bytes(2, "big") + b"\x00\x01\x00\x02"
        context = b"\x00" + self.extract(b"", b"psk_id_hash", b"") + self.extract(b"", b"info_hash", info)
        secret = self.extract(shared_secret, b"secret", b"")
        self.key, self.nonce = self.expand(secret, b"key", context, 32), self.expand(secret, b"base_nonce", context, 12)
        self.exporter_secret = self.expand(secret, b"exp", context, 32)

    def extract(self, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + self.suite + label + ikm)

    def expand(self, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
        return expand(prk, size.to_bytes(2, "big") + b"HPKE-v1" + self.suite + label + info, size)

    def export(self, context: bytes) -> bytes:
        return self.expand(self.exporter_secret, b"sec", context, 32)


def open_chunks(data: bytes, key: bytes, base_nonce: bytes) -> bytes:  # sections 5.2 and 5.3
    content, number, final = b"", 0, False
    while not final:
        prefix = 1 << (data[0] >> 6)
        size = int.from_bytes(data[:prefix], "big") & ((1 << (8 * prefix - 2)) - 1)
        final = size == 0
        chunk, data = (data[1:], b"") if final else (data[prefix : prefix + size], data[prefix + size :])
        nonce = bytes(a ^ b for a, b in zip(base_nonce, number.to_bytes(12, "big"), strict=True))
        padded = AESGCM(key).decrypt(nonce, chunk, b"final" if final else b"").rstrip(b"\x00")
        assert padded[-1] == 1
        content, number = content + padded[:-1], number + 1
    return content


def open_request(node: dict[str, str], request: bytes) -> tuple[bytes, Hpke, bytes]:  # sections 2, 5.1 and 5.2
    position, found = 2, (b"", b"")
    for _ in range(request[1]):
        size = int.from_bytes(request[position + 32 : position + 34], "big")
        enc_end = position + 34 + size
        if request[position : position + 32] == unhex(node["node_id"]):
            found = (request[position + 34 : enc_end], request[enc_end : enc_end + 48])
        position = enc_end + 48
    enc, wrapped = found
    info = b"confsec sealed request v1\x00" + unhex(node["node_id"])
    hpke = Hpke(node["kem_id"], decapsulate(node, enc), info)
    request_secret = AESGCM(hpke.key).decrypt(hpke.nonce, wrapped, b"")
    keys = expand(request_secret, b"confsec request chunks v1\x00" + sha256(request[:position]), 44)
    return open_chunks(request[position:], keys[:32], keys[32:]), hpke, enc


def open_response(hpke: Hpke, enc: bytes, request: bytes, response: bytes) -> bytes:  # section 6
    secret = hpke.export(b"confsec sealed response v1\x00" + sha256(request))
    prk = extract(enc + response[32:64], secret)
    return open_chunks(response[64:], expand(prk, b"key", 32), expand(prk, b"nonce", 12))


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_every_recipient_opens_request_and_response(path: Path) -> None:
    vector: dict[str, Any] = load(path)
    request = unhex(vector["request"]["sealed_request"])
    for node, response in zip(vector["nodes"], vector["responses"], strict=True):
        content, hpke, enc = open_request(node, request)
        assert content == unhex(vector["request"]["content"])
        assert node["node_id"] == response["node_id"] == sha256(unhex(node["key_config"])).hex()
        sealed_response = unhex(response["sealed_response"])
        assert sealed_response[:32] == unhex(node["node_id"])
        assert open_response(hpke, enc, request, sealed_response) == unhex(response["content"])


def test_there_are_vectors_for_both_kems() -> None:
    assert {node["kem_id"] for path in VALID for node in load(path)["nodes"]} == {"0x0050", "0x647a"}
