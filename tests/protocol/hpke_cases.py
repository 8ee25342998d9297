"""Run published HPKE vectors: both ends where the sender can be replayed, the receiver alone where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confsec.protocol.aead import Aead, aead_from_id
from confsec.protocol.hpke import HpkeSuite, Psk, ReceiverContext, SenderContext, setup_receiver, setup_sender
from confsec.protocol.kdf import kdf_from_id
from confsec.protocol.kem import DhKem, kem_from_id

Case = dict[str, Any]


def cases_of(document: Any) -> list[Case]:
    """Return the cases of a vector file: a list, or an object that has one."""
    cases: list[Case] = document if isinstance(document, list) else document["cases"]
    return cases


def case_id(case: Case) -> str:
    """Name a case for pytest."""
    return f"mode{case['mode']}-kem{case['kem_id']:04x}-kdf{case['kdf_id']:04x}-aead{case['aead_id']:04x}"


def suite_of(case: Case) -> HpkeSuite:
    """Return the suite of a case. Raises `UnsupportedError` for those that we do not have."""
    return HpkeSuite(kem_from_id(case["kem_id"]), kdf_from_id(case["kdf_id"]), aead_from_id(case["aead_id"]))


def check_hpke_case(case: Case) -> None:
    """Check everything that a case states, in the schemas hpke-rfc9180 and hpke-pq-draft."""
    suite = suite_of(case)
    check_key_pairs(case, suite)
    check_key_schedule(case, suite)
    receiver = receiver_of(case, suite)
    sender = sender_of(case, suite) if isinstance(suite.kem, DhKem) else None
    for context in (receiver, sender):
        if context is not None:
            check_exports(case, context)
    if suite.aead is not Aead.EXPORT_ONLY:
        check_encryptions(case, receiver, sender)


def check_key_pairs(case: Case, suite: HpkeSuite) -> None:
    """Check that keying material and private keys give the stated public keys."""
    for role in "RES" if "skEm" in case else "R":
        if f"pk{role}m" in case:
            key = suite.kem.derive_key_pair(unhex(case, f"ikm{role}"))
            assert key.public_key == unhex(case, f"pk{role}m")
            assert key.public_key == suite.kem.from_private_bytes(unhex(case, f"sk{role}m")).public_key
            assert len(key.public_key) == suite.kem.public_key_size
    if not isinstance(suite.kem, DhKem):
        # RFC 9180 prints clamped X25519 keys; what the others print is what they derive.
        assert suite.kem.derive_key_pair(unhex(case, "ikmR")).private_bytes() == unhex(case, "skRm")


def check_key_schedule(case: Case, suite: HpkeSuite) -> None:
    """Check key, base nonce and exporter secret, from the stated shared secret."""
    secrets = suite.schedule.derive(case["mode"], unhex(case, "shared_secret"), unhex(case, "info"), psk_of(case))
    assert secrets == (unhex(case, "key"), unhex(case, "base_nonce"), unhex(case, "exporter_secret"))


def receiver_of(case: Case, suite: HpkeSuite) -> ReceiverContext:
    """Set up the receiver of a case."""
    key = suite.kem.from_private_bytes(unhex(case, "skRm"))
    sender_public_key = unhex(case, "pkSm") if case.get("pkSm") else None
    if sender_public_key is None:
        assert key.decapsulate(unhex(case, "enc")) == unhex(case, "shared_secret")
    return setup_receiver(
        suite, key, unhex(case, "enc"), unhex(case, "info"), psk=psk_of(case), sender_public_key=sender_public_key
    )


def sender_of(case: Case, suite: HpkeSuite) -> SenderContext:
    """Set up the sender of a case with the stated ephemeral key, and check `enc`."""
    assert isinstance(suite.kem, DhKem)
    kem = suite.kem
    ephemeral = unhex(case, "skEm") if "skEm" in case else kem.derive_key_pair(unhex(case, "ikmE")).private_bytes()
    sender_key = kem.from_private_bytes(unhex(case, "skSm")) if case.get("skSm") else None
    sender = setup_sender(
        suite,
        unhex(case, "pkRm"),
        unhex(case, "info"),
        randbytes=replay(ephemeral),
        psk=psk_of(case),
        sender_key=sender_key,
    )
    assert sender.enc == unhex(case, "enc")
    return sender


def check_exports(case: Case, context: ReceiverContext | SenderContext) -> None:
    for export in case["exports"]:
        assert context.export(unhex(export, "exporter_context"), export["L"]) == unhex(export, "exported_value")


def check_encryptions(case: Case, receiver: ReceiverContext, sender: SenderContext | None) -> None:
    """Seal and open what is listed. A counter cannot be set, so what is not listed is sealed and opened as well."""
    for index, encryption in enumerate(case["encryptions"]):
        while receiver.sequence.sequence < encryption.get("seq", index):
            assert sender is not None
            receiver.open(b"", sender.seal(b"", b""))
        aad, plaintext, ciphertext = (unhex(encryption, name) for name in ("aad", "pt", "ct"))
        if sender is not None:
            assert sender.seal(aad, plaintext) == ciphertext
        assert receiver.open(aad, ciphertext) == plaintext


def psk_of(case: Case) -> Psk | None:
    return Psk(psk_id=unhex(case, "psk_id"), psk=unhex(case, "psk")) if case.get("psk") else None


def unhex(case: Case, name: str) -> bytes:
    return bytes.fromhex(case[name])


def replay(stream: bytes) -> Callable[[int], bytes]:
    """Return a `randbytes` that reads from `stream`, and fails when it is used up."""
    position = 0

    def randbytes(size: int) -> bytes:
        nonlocal position
        position += size
        assert position <= len(stream)
        return stream[position - size : position]

    return randbytes
