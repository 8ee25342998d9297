"""Vectors of HPKE: schemas hpke-rfc9180 and hpke-pq-draft.

Both ends run where the sender can be replayed. ML-KEM draws its randomness inside OpenSSL, so for it and for the
hybrids the receiver runs alone, and of a hybrid's encapsulation the traditional half is made again.
"""

from __future__ import annotations

from typing import Final

from confsec.conformance.algorithms import find_suite, move_to, replay
from confsec.conformance.cases import (
    Case,
    MismatchError,
    Schema,
    check_same,
    check_stated,
    has_members,
    list_cases,
    or_refused,
    unhex,
)
from confsec.protocol.aead import Aead, AeadSequence
from confsec.protocol.hpke import HpkeSuite, Psk, ReceiverContext, SenderContext, setup_receiver, setup_sender
from confsec.protocol.kdf import HPKE_VERSION
from confsec.protocol.kem import AuthDecapsulator, DhKem, DhPrivateKey, HybridKem, KemPrivateKey

__all__ = ["SCHEMAS", "check_hpke"]

_PSK_MODES: Final = (1, 3)
_AUTH_MODES: Final = (2, 3)
_ML_KEM_RANDOMNESS: Final = 32


def check_hpke(case: Case) -> None:
    """Check everything that a case states: key pairs, shared secret, key schedule, exports, messages both ways."""
    suite = find_suite(case, kem="kem_id", kdf="kdf_id", aead="aead_id")
    if case["mode"] not in {0, 1, 2, 3}:
        raise MismatchError(f"there is no mode {case['mode']!r}")
    check_same("presence of a PSK", bool(case.get("psk")), case["mode"] in _PSK_MODES)
    check_same("presence of a sender's key", bool(case.get("skSm")), case["mode"] in _AUTH_MODES)
    key = _check_key_pairs(case, suite)
    _check_key_schedule(case, suite)
    receiver = _set_up_receiver(case, suite, key)
    sender = _set_up_sender(case, suite) if isinstance(suite.kem, DhKem) else None
    if isinstance(suite.kem, HybridKem):
        _check_traditional_half(case, suite.kem)
    _check_exports(case, receiver, sender)
    if suite.aead is not Aead.EXPORT_ONLY:
        _check_encryptions(case, suite, receiver, sender)
    elif case.get("encryptions"):
        raise MismatchError("messages are listed for an export-only suite")


def _check_key_pairs(case: Case, suite: HpkeSuite) -> KemPrivateKey:
    """Check that keying material and private keys give the stated public keys, and return the receiver's."""
    for role in ("R", "S", "E"):
        if f"sk{role}m" not in case:
            continue
        private_key = suite.kem.from_private_bytes(unhex(case, f"sk{role}m"))
        check_stated(case, **{f"pk{role}m": private_key.public_key})
        if f"ikm{role}" in case:
            derived = suite.kem.derive_key_pair(unhex(case, f"ikm{role}"))
            check_stated(case, **{f"pk{role}m": derived.public_key})
            check_same(f"key pair {role} from ikm{role}", derived.public_key, private_key.public_key)
            # The standard prints X25519 and X448 keys with some bits set, which the function sets anyway.
            if not isinstance(suite.kem, DhKem):
                check_stated(case, **{f"sk{role}m": derived.private_bytes()})
    return suite.kem.from_private_bytes(unhex(case, "skRm"))


def _check_key_schedule(case: Case, suite: HpkeSuite) -> None:
    """Check what follows from the stated shared secret."""
    shared_secret, info, psk = unhex(case, "shared_secret"), unhex(case, "info"), _psk(case)
    key, base_nonce, exporter_secret = suite.schedule.derive(case["mode"], shared_secret, info, psk)
    check_stated(case, key=key, base_nonce=base_nonce, exporter_secret=exporter_secret)
    suite_id = b"HPKE" + b"".join(case[name].to_bytes(2, "big") for name in ("kem_id", "kdf_id", "aead_id"))
    check_stated(case, suite_id=suite_id)
    if not suite.kdf.one_stage:
        extract, labeled = suite.kdf.extract, HPKE_VERSION + suite_id
        psk_id, psk_key = (psk.psk_id, psk.psk) if psk else (b"", b"")
        id_hash, info_hash = (
            extract(b"", labeled + b"psk_id_hash" + psk_id),
            extract(b"", labeled + b"info_hash" + info),
        )
        check_stated(case, key_schedule_context=bytes((case["mode"],)) + id_hash + info_hash)
        check_stated(case, secret=extract(shared_secret, labeled + b"secret" + psk_key))


def _set_up_receiver(case: Case, suite: HpkeSuite, key: KemPrivateKey) -> ReceiverContext:
    enc, sender_key = unhex(case, "enc"), _sender_key(case, suite)
    if sender_key is None:
        check_same("shared_secret", key.decapsulate(enc), unhex(case, "shared_secret"))
    elif isinstance(key, AuthDecapsulator):
        shared_secret = key.auth_decapsulate(enc, sender_key.public_key)
        check_same("shared_secret", shared_secret, unhex(case, "shared_secret"))
    sender_public_key = sender_key.public_key if sender_key else None
    info = unhex(case, "info")
    return setup_receiver(suite, key, enc, info, psk=_psk(case), sender_public_key=sender_public_key)


def _set_up_sender(case: Case, suite: HpkeSuite) -> SenderContext:
    """Set up the sender with the stated ephemeral key, and check `enc`."""
    ephemeral = (
        suite.kem.from_private_bytes(unhex(case, "skEm"))
        if "skEm" in case
        else suite.kem.derive_key_pair(unhex(case, "ikmE"))
    )
    sender = setup_sender(
        suite,
        unhex(case, "pkRm"),
        unhex(case, "info"),
        randbytes=replay(ephemeral.private_bytes()),
        psk=_psk(case),
        sender_key=_sender_key(case, suite),
    )
    check_same("enc", sender.enc, unhex(case, "enc"))
    return sender


def _check_traditional_half(case: Case, kem: HybridKem) -> None:
    """Make the second half of `enc` again: the draft's randomness is that of ML-KEM, then a seed for the group."""
    _, enc = kem.encapsulate(unhex(case, "pkRm"), replay(unhex(case, "ikmE")[_ML_KEM_RANDOMNESS:]))
    check_same("the traditional half of enc", enc[kem.pq.enc_size :], unhex(case, "enc")[kem.pq.enc_size :])


def _check_exports(case: Case, *contexts: ReceiverContext | SenderContext | None) -> None:
    for number, export in enumerate(case.get("exports", ())):
        for context in contexts:
            if context is not None:
                exported = context.export(unhex(export, "exporter_context"), export["L"])
                check_same(f"export {number}", exported, unhex(export, "exported_value"))


def _check_encryptions(case: Case, suite: HpkeSuite, receiver: ReceiverContext, sender: SenderContext | None) -> None:
    for number, encryption in enumerate(case.get("encryptions", ())):
        aad, plaintext, ciphertext = (unhex(encryption, name) for name in ("aad", "pt", "ct"))
        seq = encryption.get("seq", number)
        move_to(receiver.sequence, seq)
        check_same(f"message {seq}, opened", receiver.open(aad, ciphertext), plaintext)
        if sender is not None:
            move_to(sender.sequence, seq)
            check_same(f"message {seq}, sealed", sender.seal(aad, plaintext), ciphertext)
        if "nonce" in encryption:
            under_nonce = AeadSequence(suite.aead, unhex(case, "key"), unhex(encryption, "nonce"))
            check_same(f"message {seq} under its nonce", under_nonce.seal(aad, plaintext), ciphertext)


def _psk(case: Case) -> Psk | None:
    return Psk(psk_id=unhex(case, "psk_id"), psk=unhex(case, "psk")) if case.get("psk") else None


def _sender_key(case: Case, suite: HpkeSuite) -> DhPrivateKey | None:
    if not case.get("skSm"):
        return None
    if not isinstance(suite.kem, DhKem):
        raise MismatchError(f"{suite.kem.name} has no authenticated modes")
    return suite.kem.from_private_bytes(unhex(case, "skSm"))


SCHEMAS: Final = (
    Schema(
        name="hpke-rfc9180",
        recognises=has_members("enc mode kem_id kdf_id aead_id skEm"),
        check=or_refused(check_hpke),
        list_cases=list_cases,
    ),
    Schema(
        name="hpke-pq-draft",
        recognises=has_members("enc mode kem_id kdf_id aead_id"),
        check=or_refused(check_hpke),
        list_cases=list_cases,
    ),
)
"""Both forms, the one with an ephemeral private key first."""
