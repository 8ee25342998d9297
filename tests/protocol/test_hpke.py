from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, DecryptionError, LocalProtocolError, UnsupportedError
from confsec.protocol.aead import Aead
from confsec.protocol.hpke import HpkeSuite, Psk, ReceiverContext, SenderContext, setup_receiver, setup_sender
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import (
    DHKEM_P256,
    DHKEM_X448,
    DHKEM_X25519,
    KEMS,
    ML_KEM_768,
    MLKEM768_P256,
    MLKEM768_X25519,
    DhKem,
    Kem,
)

SUITE = HpkeSuite(DHKEM_X25519, Kdf.HKDF_SHA256, Aead.AES_128_GCM)
KEY, SENDER = DHKEM_X25519.derive_key_pair(bytes(32)), DHKEM_X25519.derive_key_pair(bytes(range(32)))
PSK = Psk(psk_id=b"name", psk=bytes(range(32)))
MODES = ["base", "psk", "auth", "auth_psk"]


def pair(suite: HpkeSuite = SUITE, mode: str = "base", info: bytes = b"info") -> tuple[SenderContext, ReceiverContext]:
    """Return both ends of a fresh encapsulation."""
    key = suite.kem.generate(os.urandom)
    psk = PSK if "psk" in mode else None
    sender_key = suite.kem.generate(os.urandom) if "auth" in mode else None
    assert isinstance(suite.kem, DhKem) or sender_key is None
    sender = setup_sender(suite, key.public_key, info, randbytes=os.urandom, psk=psk, sender_key=sender_key)  # type: ignore[arg-type]
    sender_public_key = sender_key.public_key if sender_key else None
    receiver = setup_receiver(suite, key, sender.enc, info, psk=psk, sender_public_key=sender_public_key)
    return sender, receiver


@pytest.mark.parametrize("kdf", Kdf)
@pytest.mark.parametrize("aead", Aead)
@pytest.mark.parametrize("kem", KEMS, ids=lambda kem: kem.name)
def test_every_suite_seals_opens_and_exports(kem: Kem, kdf: Kdf, aead: Aead) -> None:
    sender, receiver = pair(HpkeSuite(kem, kdf, aead))
    if aead is not Aead.EXPORT_ONLY:
        for text in (b"", b"first", b"second"):
            assert receiver.open(text, sender.seal(text, text)) == text
    assert sender.export(b"context", 77) == receiver.export(b"context", 77)
    assert sender.export(b"context", 77) != sender.export(b"other", 77)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kdf", [Kdf.HKDF_SHA512, Kdf.SHAKE256])
@pytest.mark.parametrize("kem", [DHKEM_P256, DHKEM_X448], ids=lambda kem: kem.name)
def test_every_mode_joins_both_ends(kem: Kem, kdf: Kdf, mode: str) -> None:
    sender, receiver = pair(HpkeSuite(kem, kdf, Aead.CHACHA20_POLY1305), mode)
    assert receiver.open(b"aad", sender.seal(b"aad", b"text")) == b"text"
    assert sender.export(b"", 32) == receiver.export(b"", 32)


# What the receiver believes, and what is different about it. The sender uses mode auth_psk with the values above.
BELIEFS: dict[str, dict[str, Any]] = {
    "right": {},
    "other info": {"info": b"other"},
    "other psk": {"psk": Psk(psk_id=b"name", psk=bytes(32))},
    "other psk_id": {"psk": Psk(psk_id=b"other", psk=PSK.psk)},
    "no psk": {"psk": None},
    "other sender": {"sender_public_key": KEY.public_key},
    "no sender": {"sender_public_key": None},
    "other key": {"decapsulator": SENDER},
    "other enc": {"enc": DHKEM_X25519.generate(os.urandom).public_key},
    "other kdf": {"suite": HpkeSuite(DHKEM_X25519, Kdf.HKDF_SHA512, Aead.AES_128_GCM)},
    "one-stage kdf": {"suite": HpkeSuite(DHKEM_X25519, Kdf.SHAKE128, Aead.AES_128_GCM)},
    "other aead": {"suite": HpkeSuite(DHKEM_X25519, Kdf.HKDF_SHA256, Aead.AES_256_GCM)},
}


@pytest.mark.parametrize("belief", BELIEFS)
def test_both_ends_need_the_same_of_everything(belief: str) -> None:
    sender = setup_sender(SUITE, KEY.public_key, b"info", randbytes=os.urandom, psk=PSK, sender_key=SENDER)
    believed = {
        "suite": SUITE,
        "decapsulator": KEY,
        "enc": sender.enc,
        "info": b"info",
        "psk": PSK,
        "sender_public_key": SENDER.public_key,
        **BELIEFS[belief],
    }
    receiver = setup_receiver(**believed)
    sealed = sender.seal(b"aad", b"text")
    if belief == "right":
        assert receiver.open(b"aad", sealed) == b"text"
        return
    assert receiver.export(b"", 32) != sender.export(b"", 32)
    with pytest.raises(DecryptionError, match=r"^the message does not open$"):
        receiver.open(b"aad", sealed)


@pytest.mark.parametrize("kdf", [Kdf.HKDF_SHA256, Kdf.SHAKE256])
def test_modes_never_meet(kdf: Kdf) -> None:
    suite = HpkeSuite(DHKEM_X25519, kdf, Aead.AES_128_GCM)
    exported = set()
    for psk in (None, PSK):
        for mode in (0, 1, 2, 3):
            exported.add(suite.schedule.derive(mode, bytes(32), b"info", psk))
    assert len(exported) == 8


def test_changed_messages_and_aad_do_not_open() -> None:
    for spoil in (lambda aad, ct: (b"other", ct), lambda aad, ct: (aad, ct[:-1]), lambda aad, ct: (aad, ct + b"\x00")):
        sender, receiver = pair()
        with pytest.raises(DecryptionError):
            receiver.open(*spoil(b"aad", sender.seal(b"aad", b"text")))


def test_contexts_share_their_counter_with_the_sequence() -> None:
    sender, receiver = pair()
    messages = [sender.seal(b"", b"0"), sender.sequence.seal(b"", b"1"), sender.seal(b"", b"2")]
    assert [receiver.sequence.open(b"", message) for message in messages] == [b"0", b"1", b"2"]
    assert sender.sequence.sequence == 3


# --- Keys of the wrong kind -----------------------------------------------------------------------------------------


def test_decapsulator_of_another_kem_is_refused() -> None:
    enc = bytes(65)
    with pytest.raises(LocalProtocolError, match="got 0x0010, want DHKEM"):
        setup_receiver(SUITE, DHKEM_P256.generate(os.urandom), enc, b"")


@pytest.mark.parametrize("kem", KEMS, ids=lambda kem: kem.name)
def test_encapsulation_of_another_size_is_refused(kem: Kem) -> None:
    suite = HpkeSuite(kem, Kdf.HKDF_SHA256, Aead.AES_128_GCM)
    key = kem.generate(os.urandom)
    sender = setup_sender(suite, key.public_key, b"", randbytes=os.urandom)
    for enc in (b"", sender.enc[:-1], sender.enc + b"\x00"):
        with pytest.raises(DecryptionError, match="another size"):
            setup_receiver(suite, key, enc, b"")


@pytest.mark.parametrize("kem", [ML_KEM_768, MLKEM768_P256, MLKEM768_X25519], ids=lambda kem: kem.name)
def test_only_dh_kems_authenticate(kem: Kem) -> None:
    suite = HpkeSuite(kem, Kdf.HKDF_SHA256, Aead.AES_128_GCM)
    key = kem.generate(os.urandom)
    with pytest.raises(UnsupportedError, match="no authenticated modes"):
        setup_sender(suite, key.public_key, b"", randbytes=os.urandom, sender_key=SENDER)
    enc = setup_sender(suite, key.public_key, b"", randbytes=os.urandom).enc
    with pytest.raises(UnsupportedError, match="no authenticated modes"):
        setup_receiver(suite, key, enc, b"", sender_public_key=SENDER.public_key)


def test_bad_sender_key_is_refused() -> None:
    sender = setup_sender(SUITE, KEY.public_key, b"", randbytes=os.urandom, sender_key=SENDER)
    for bad in (b"", bytes(31), bytes(32)):
        with pytest.raises(DecodeError):
            setup_receiver(SUITE, KEY, sender.enc, b"", sender_public_key=bad)


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(max_size=64))
def test_any_bytes_open_or_raise_an_error_of_ours(enc: bytes, aad: bytes, ciphertext: bytes) -> None:
    for candidate in (enc, enc.ljust(32, b"\x07")[:32]):
        with pytest.raises(ConfsecError):
            setup_receiver(SUITE, KEY, candidate, b"").open(aad, ciphertext)


# --- PSK ------------------------------------------------------------------------------------------------------------


def test_psk_needs_a_name() -> None:
    with pytest.raises(LocalProtocolError, match="needs a psk_id"):
        Psk(psk_id=b"", psk=bytes(32))


@pytest.mark.parametrize("size", [0, 1, 31])
def test_short_psk_is_refused(size: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"too short: got {size} bytes"):
        Psk(psk_id=b"name", psk=bytes(size))


def test_repr_of_a_psk_shows_its_name_only() -> None:
    assert repr(Psk(psk_id=b"name", psk=b"secret" * 6)) == "Psk(psk_id=b'name')"


# --- Limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kdf", Kdf)
def test_exports_end_where_the_kdf_does(kdf: Kdf) -> None:
    sender, receiver = pair(HpkeSuite(DHKEM_X25519, kdf, Aead.EXPORT_ONLY))
    longest = 65535 if kdf in {Kdf.SHAKE128, Kdf.SHAKE256} else 255 * kdf.hash_size
    assert len(sender.export(b"", longest)) == longest
    assert sender.export(b"", longest) == receiver.export(b"", longest)
    assert sender.export(b"", 0) == b""
    for size in (-1, longest + 1, 1 << 20):
        with pytest.raises(LocalProtocolError, match="cannot derive that much"):
            sender.export(b"", size)


def test_export_only_context_neither_seals_nor_opens() -> None:
    sender, receiver = pair(HpkeSuite(DHKEM_X25519, Kdf.HKDF_SHA256, Aead.EXPORT_ONLY))
    for step in (lambda: sender.seal(b"", b""), lambda: receiver.open(b"", bytes(16)), lambda: sender.sequence):
        with pytest.raises(LocalProtocolError, match="neither seals nor opens"):
            step()


def test_one_stage_inputs_are_limited_by_their_length_prefix() -> None:
    suite = HpkeSuite(DHKEM_X25519, Kdf.SHAKE128, Aead.AES_128_GCM)
    pair(suite, info=bytes(65535))
    with pytest.raises(LocalProtocolError, match="too long"):
        pair(suite, info=bytes(65536))


# --- Contexts are used up, not copied -------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_contexts_cannot_be_copied_or_pickled(duplicate: Callable[[object], object]) -> None:
    for context in pair():
        with pytest.raises(LocalProtocolError, match="Context cannot be copied"):
            duplicate(context)


def test_suites_are_values() -> None:
    assert HpkeSuite(DHKEM_X25519, Kdf.HKDF_SHA256, Aead.AES_128_GCM) == SUITE
    assert HpkeSuite(DHKEM_X25519, Kdf.HKDF_SHA256, Aead.AES_256_GCM) != SUITE
    assert repr(SUITE).startswith("HpkeSuite(kem=<DHKEM(X25519, HKDF-SHA256) 0x0020>, kdf=")
    assert "schedule" not in repr(SUITE)
