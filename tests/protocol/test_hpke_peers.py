"""The same messages through pyhpke and through the HPKE of cryptography, in both directions."""

from __future__ import annotations

import os
from typing import Any

import pytest
from cryptography.hazmat.primitives import hpke as pyca
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from hypothesis import given, strategies as st
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from pyhpke.exceptions import PyHPKEError

from confsec.errors import DecryptionError
from confsec.protocol.aead import Aead, aead_from_id
from confsec.protocol.hpke import HpkeSuite, Psk, setup_receiver, setup_sender
from confsec.protocol.kdf import Kdf, kdf_from_id
from confsec.protocol.kem import KEMS, DhKem, HybridKem, Kem, KemPrivateKey, MlKem, kem_from_id

messages = st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=200)), min_size=1, max_size=4)
psks = st.builds(Psk, psk_id=st.binary(min_size=1, max_size=20), psk=st.binary(min_size=32, max_size=80))


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[CipherSuite, HpkeSuite, dict[str, Any]]:
    kem_id, kdf_id, aead_id = draw(st.sampled_from(KEMId)), draw(st.sampled_from(KDFId)), draw(st.sampled_from(AEADId))
    theirs = CipherSuite.new(kem_id, kdf_id, aead_id)
    ours = HpkeSuite(kem_from_id(kem_id.value), kdf_from_id(kdf_id.value), aead_from_id(aead_id.value))
    return (
        theirs,
        ours,
        {"psk": draw(st.none() | psks), "authenticated": draw(st.booleans()), "info": draw(st.binary())},
    )


@given(exchanges(), messages, st.binary(max_size=40))
def test_pyhpke_opens_what_we_seal(
    exchange: tuple[CipherSuite, HpkeSuite, dict[str, Any]], texts: list[tuple[bytes, bytes]], context: bytes
) -> None:
    theirs, ours, how = exchange
    assert isinstance(ours.kem, DhKem)
    key, sender_key = ours.kem.generate(os.urandom), ours.kem.generate(os.urandom)
    sender = setup_sender(
        ours,
        key.public_key,
        how["info"],
        randbytes=os.urandom,
        psk=how["psk"],
        sender_key=sender_key if how["authenticated"] else None,
    )
    receiver = theirs.create_recipient_context(
        sender.enc,
        theirs.kem.deserialize_private_key(key.private_bytes()),
        how["info"],
        pks=theirs.kem.deserialize_public_key(sender_key.public_key) if how["authenticated"] else None,
        **psk_arguments(how["psk"]),
    )
    assert receiver.export(context, 50) == sender.export(context, 50)
    if ours.aead is not Aead.EXPORT_ONLY:
        for aad, text in texts:
            assert receiver.open(sender.seal(aad, text), aad) == text


@given(exchanges(), messages, st.binary(max_size=40))
def test_we_open_what_pyhpke_seals(
    exchange: tuple[CipherSuite, HpkeSuite, dict[str, Any]], texts: list[tuple[bytes, bytes]], context: bytes
) -> None:
    theirs, ours, how = exchange
    key, sender_key = ours.kem.generate(os.urandom), ours.kem.generate(os.urandom)
    enc, sender = theirs.create_sender_context(
        theirs.kem.deserialize_public_key(key.public_key),
        how["info"],
        sks=theirs.kem.deserialize_private_key(sender_key.private_bytes()) if how["authenticated"] else None,
        **psk_arguments(how["psk"]),
    )
    receiver = setup_receiver(
        ours,
        key,
        enc,
        how["info"],
        psk=how["psk"],
        sender_public_key=sender_key.public_key if how["authenticated"] else None,
    )
    assert receiver.export(context, 50) == sender.export(context, 50)
    if ours.aead is not Aead.EXPORT_ONLY:
        for aad, text in texts:
            assert receiver.open(aad, sender.seal(text, aad)) == text


@given(st.sampled_from(KEMId), st.binary(min_size=66, max_size=100))
def test_pyhpke_derives_the_same_keys(kem_id: KEMId, ikm: bytes) -> None:
    theirs = CipherSuite.new(kem_id, KDFId.HKDF_SHA256, AEADId.AES128_GCM).kem.derive_key_pair(ikm)
    assert kem_from_id(kem_id.value).derive_key_pair(ikm).public_key == theirs.public_key.to_public_bytes()


def test_pyhpke_does_not_open_what_we_refuse() -> None:
    kem = kem_from_id(0x0020)
    theirs = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES128_GCM)
    key = kem.generate(os.urandom)
    with pytest.raises((PyHPKEError, ValueError)):
        theirs.create_recipient_context(bytes(32), theirs.kem.deserialize_private_key(key.private_bytes()))
    with pytest.raises(DecryptionError):
        key.decapsulate(bytes(32))


def psk_arguments(psk: Psk | None) -> dict[str, Any]:
    return {"psk": psk.psk, "psk_id": psk.psk_id} if psk else {}


# --- cryptography: base mode, one message, no export ----------------------------------------------------------------

PYCA_KEMS = {
    0x0010: pyca.KEM.P256,
    0x0011: pyca.KEM.P384,
    0x0012: pyca.KEM.P521,
    0x0020: pyca.KEM.X25519,
    0x0041: pyca.KEM.MLKEM768,
    0x0042: pyca.KEM.MLKEM1024,
    0x0051: pyca.KEM.MLKEM1024_P384,
    0x647A: pyca.KEM.MLKEM768_X25519,
}
CURVES = {0x0010: ec.SECP256R1(), 0x0011: ec.SECP384R1(), 0x0012: ec.SECP521R1()}
PYCA_HYBRIDS: dict[int, Any] = {0x0051: pyca.MLKEM1024P384PrivateKey, 0x647A: pyca.MLKEM768X25519PrivateKey}

one_shots = st.tuples(
    st.sampled_from(sorted(PYCA_KEMS)), st.sampled_from(Kdf), st.sampled_from([aead for aead in Aead if aead.key_size])
)


def pyca_suite(kem_id: int, kdf: Kdf, aead: Aead) -> pyca.Suite:
    return pyca.Suite(PYCA_KEMS[kem_id], getattr(pyca.KDF, kdf.name), getattr(pyca.AEAD, aead.name))


def pyca_key(kem: Kem, key: KemPrivateKey) -> Any:
    """Load one of our keys into cryptography."""
    return pyca_private(kem, key.private_bytes())


def pyca_private(kem: Kem, private_key: bytes) -> Any:
    if isinstance(kem, HybridKem):
        pq, traditional = kem.expand_seed(private_key)
        group = next(other for other in KEMS if isinstance(other, DhKem) and other.group is kem.group)
        return PYCA_HYBRIDS[kem.kem_id](
            pyca_private(kem.pq, pq.private_bytes()), pyca_private(group, traditional.private_bytes())
        )
    if isinstance(kem, MlKem):
        native = mlkem.MLKEM768PrivateKey if kem.kem_id == 0x0041 else mlkem.MLKEM1024PrivateKey
        return native.from_seed_bytes(private_key)
    if kem.kem_id == 0x0020:
        return x25519.X25519PrivateKey.from_private_bytes(private_key)
    return ec.derive_private_key(int.from_bytes(private_key, "big"), CURVES[kem.kem_id])


@given(one_shots, st.binary(max_size=200), st.binary(max_size=40))
def test_cryptography_opens_what_we_seal(one_shot: tuple[int, Kdf, Aead], text: bytes, info: bytes) -> None:
    kem_id, kdf, aead = one_shot
    kem = kem_from_id(kem_id)
    key = kem.generate(os.urandom)
    sender = setup_sender(HpkeSuite(kem, kdf, aead), key.public_key, info, randbytes=os.urandom)
    sealed = sender.enc + sender.seal(b"", text)
    assert pyca_suite(kem_id, kdf, aead).decrypt(sealed, pyca_key(kem, key), info) == text


@given(one_shots, st.binary(max_size=200), st.binary(max_size=40))
def test_we_open_what_cryptography_seals(one_shot: tuple[int, Kdf, Aead], text: bytes, info: bytes) -> None:
    kem_id, kdf, aead = one_shot
    kem = kem_from_id(kem_id)
    key = kem.generate(os.urandom)
    sealed = pyca_suite(kem_id, kdf, aead).encrypt(text, pyca_key(kem, key).public_key(), info)
    receiver = setup_receiver(HpkeSuite(kem, kdf, aead), key, sealed[: kem.enc_size], info)
    assert receiver.open(b"", sealed[kem.enc_size :]) == text
