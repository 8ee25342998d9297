"""Keys whose scalar is in a device that does ECDH and nothing else, as a TPM does."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confsec.errors import BackendError, DecodeError, DecryptionError, LocalProtocolError
from confsec.protocol.aead import Aead
from confsec.protocol.hpke import HpkeSuite, setup_receiver, setup_sender
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import (
    DHKEM_P256,
    DHKEM_X25519,
    ML_KEM_768,
    ML_KEM_1024,
    MLKEM768_P256,
    DhDecapsulator,
    HybridDecapsulator,
)
from tests.protocol.hpke_cases import cases_of, unhex
from tests.support import OWN_VECTORS, load_vectors


class P256Device:
    """Holds a P-256 key, does ECDH, and counts how often it was asked."""

    def __init__(self, private_key: bytes) -> None:
        self._key = ec.derive_private_key(int.from_bytes(private_key, "big"), ec.SECP256R1())
        self.public_key = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.calls = 0

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        self.calls += 1
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), peer_public_key)
        return self._key.exchange(ec.ECDH(), peer)


class StrippingDevice(P256Device):
    """A TPM that strips leading zeros, at its worst."""

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        return super().diffie_hellman(peer_public_key)[1:]


class BrokenDevice(P256Device):
    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        raise BackendError("the TPM is in lockout")


class X25519Device:
    """Holds an X25519 key and does not care for small order."""

    def __init__(self, private_key: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private_key)
        self.public_key = self._key.public_key().public_bytes_raw()

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(peer_public_key))
        except ValueError:
            return bytes(32)


P256_KEY = bytes(range(1, 33))
SUITE = HpkeSuite(MLKEM768_P256, Kdf.HKDF_SHA256, Aead.AES_256_GCM)


def hybrid_of(device: P256Device) -> HybridDecapsulator:
    return HybridDecapsulator(MLKEM768_P256, pq=ML_KEM_768.generate(os.urandom), traditional=device)


def test_device_opens_what_was_sealed_to_its_dhkem_key() -> None:
    decapsulator = DhDecapsulator(DHKEM_P256, P256Device(P256_KEY))
    assert decapsulator.public_key == DHKEM_P256.from_private_bytes(P256_KEY).public_key
    secret, enc = DHKEM_P256.encapsulate(decapsulator.public_key, os.urandom)
    assert decapsulator.decapsulate(enc) == secret


def test_device_authenticates_senders_on_both_ends() -> None:
    receiver, sender = P256Device(P256_KEY), P256Device(bytes(reversed(P256_KEY)))
    suite = HpkeSuite(DHKEM_P256, Kdf.HKDF_SHA256, Aead.AES_128_GCM)
    sealing = setup_sender(suite, receiver.public_key, b"info", randbytes=os.urandom, sender_key=sender)
    opening = setup_receiver(
        suite, DhDecapsulator(DHKEM_P256, receiver), sealing.enc, b"info", sender_public_key=sender.public_key
    )
    assert opening.open(b"", sealing.seal(b"", b"text")) == b"text"


def test_device_holds_the_traditional_half_of_a_hybrid() -> None:
    device = P256Device(P256_KEY)
    decapsulator = hybrid_of(device)
    assert decapsulator.public_key[1184:] == device.public_key
    sender = setup_sender(SUITE, decapsulator.public_key, b"info", randbytes=os.urandom)
    receiver = setup_receiver(SUITE, decapsulator, sender.enc, b"info")
    assert receiver.open(b"", sender.seal(b"", b"text")) == b"text"
    assert device.calls == 1


def test_halves_that_live_apart_open_the_vector_of_the_draft() -> None:
    case = next(case for case in cases_of(load_vectors(OWN_VECTORS / "hpke_pq_draft.json")) if case["kem_id"] == 0x0050)
    pq, traditional = MLKEM768_P256.expand_seed(unhex(case, "skRm"))
    decapsulator = HybridDecapsulator(MLKEM768_P256, pq=pq, traditional=P256Device(traditional.private_bytes()))
    assert decapsulator.public_key == unhex(case, "pkRm")
    assert decapsulator.decapsulate(unhex(case, "enc")) == unhex(case, "shared_secret")


def test_device_never_sees_a_point_off_the_curve() -> None:
    device = P256Device(P256_KEY)
    for decapsulator in (DhDecapsulator(DHKEM_P256, device), hybrid_of(device)):
        _, enc = decapsulator.kem.encapsulate(decapsulator.public_key, os.urandom)
        with pytest.raises(DecryptionError):
            decapsulator.decapsulate(enc[:-1] + bytes((enc[-1] ^ 1,)))
    with pytest.raises(DecodeError, match="not on the curve"):
        DHKEM_P256.auth_encapsulate(device.public_key[:-1] + b"\x00", device, os.urandom)
    assert device.calls == 0


def test_device_that_strips_zeros_is_noticed() -> None:
    for decapsulator in (
        DhDecapsulator(DHKEM_P256, StrippingDevice(P256_KEY)),
        hybrid_of(StrippingDevice(P256_KEY)),
    ):
        _, enc = decapsulator.kem.encapsulate(decapsulator.public_key, os.urandom)
        with pytest.raises(BackendError, match="got 31 bytes, want 32 bytes, left-padded"):
            decapsulator.decapsulate(enc)


def test_sender_whose_device_strips_zeros_is_noticed() -> None:
    public_key = DHKEM_P256.generate(os.urandom).public_key
    with pytest.raises(BackendError, match="left-padded"):
        DHKEM_P256.auth_encapsulate(public_key, StrippingDevice(P256_KEY), os.urandom)


def test_device_that_gives_zero_is_noticed() -> None:
    decapsulator = DhDecapsulator(DHKEM_X25519, X25519Device(P256_KEY))
    secret, enc = DHKEM_X25519.encapsulate(decapsulator.public_key, os.urandom)
    assert decapsulator.decapsulate(enc) == secret
    with pytest.raises(DecryptionError):
        decapsulator.decapsulate(bytes(32))
    with pytest.raises(DecodeError, match="small order"):
        decapsulator.auth_decapsulate(enc, bytes(32))


def test_failure_of_a_device_reaches_the_caller() -> None:
    decapsulator = hybrid_of(BrokenDevice(P256_KEY))
    _, enc = MLKEM768_P256.encapsulate(decapsulator.public_key, os.urandom)
    with pytest.raises(BackendError, match="lockout"):
        decapsulator.decapsulate(enc)


def test_device_of_another_group_is_refused() -> None:
    device = X25519Device(P256_KEY)
    with pytest.raises(DecodeError, match="another size"):
        DhDecapsulator(DHKEM_P256, device)
    with pytest.raises(DecodeError, match="another size"):
        HybridDecapsulator(MLKEM768_P256, pq=ML_KEM_768.generate(os.urandom), traditional=device)


def test_half_of_another_kem_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="0x0042, want 0x0041"):
        HybridDecapsulator(MLKEM768_P256, pq=ML_KEM_1024.generate(os.urandom), traditional=P256Device(P256_KEY))
