"""Vectors of C2SP's notes: the schemas signed-note, checkpoint-body, checkpoint-signatures and c2sp-note-examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from confsec.conformance.cases import Case, CaseSkippedError, NamedCase, Schema, check_same, or_refused
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.merkle import HASH_SIZE
from confsec.protocol.note import NoteSignature, SignedNote
from confsec.protocol.note_keys import KeyType, NoteKey, Signer
from confsec.protocol.wire import decode_base64, encode_base64

__all__ = ["SCHEMAS", "check_checkpoint_body", "check_note", "check_note_example"]


def check_note(case: Case) -> None:
    """Check a key, a signing key with what it signs, a signature, or a note under some keys."""
    if "signature_b64" in case:
        line = NoteSignature.decode(f"— name {case['signature_b64']}")
        check_same("time", int.from_bytes(line.signature[:8], "big"), case["timestamp"])
        return
    if "skey" in case:
        signer = Signer.decode(case["skey"])
        check_same("what comes back", signer.encode(), case["skey"])
        check_same("note", SignedNote(case["text"]).sign(signer).encode().decode(), case["note"])
        return
    keys = [NoteKey.decode(text) for text in case.get("vkeys", [case["vkey"]] if "vkey" in case else [])]
    for key in keys:
        check_same("what comes back", NoteKey.decode(key.encode()), key)
    if "note" in case:
        _check_signatures(case, keys)


def _check_signatures(case: Case, keys: list[NoteKey]) -> None:
    note = SignedNote.decode(case["note"].encode())
    check_same("what comes back", note.encode().decode(), case["note"])
    verified = [each.key.name for each in note.verify(keys)]
    if "verified" in case:
        check_same("who signed", verified, case["verified"])
        others = [each.name for each in note.signatures if each.name not in verified]
        check_same("who is unknown", others, case["unverified"])


def check_checkpoint_body(case: Case) -> None:
    """Check the text of a checkpoint. The peer reads more than the standard allows."""
    if case.get("valid"):
        root = decode_base64(case["hash_b64"])
        if len(root) != HASH_SIZE:
            raise CaseSkippedError("its root is no hash: the standard allows 32 bytes and nothing else")
        if "\n\n" in case["body"]:
            raise CaseSkippedError("its extension lines are empty, which the standard forbids")
    checkpoint = Checkpoint.decode(case["body"])
    check_same("what comes back", checkpoint.encode(), case["body"])
    check_same("origin", checkpoint.origin, case["origin"])
    check_same("size", checkpoint.size, case["size"])
    check_same("root", encode_base64(checkpoint.root), case["hash_b64"])


def check_note_example(case: Case) -> None:
    """Check that an example, whose keys were not published, comes back, and that nobody we know signed it."""
    note = SignedNote.decode(case["note"].encode())
    check_same("what comes back", note.encode().decode(), case["note"])
    own = Signer("example.com/ours", KeyType.ED25519, bytes(32))
    (signature,) = note.sign(own).verify([own.key])
    check_same("who signed", signature.key, own.key)


def _list(document: object) -> Iterator[NamedCase]:
    cases: list[Any] = document["cases"] if isinstance(document, Mapping) else []
    yield from ((str(case.get("name", number)), case) for number, case in enumerate(cases))


def _has(*members: str) -> Any:
    def recognises(document: object) -> bool:
        cases = document.get("cases") if isinstance(document, Mapping) else None
        if not isinstance(cases, list):
            return False
        return any(isinstance(case, Mapping) and set(members) <= case.keys() for case in cases)

    return recognises


SCHEMAS: Final = (
    Schema(name="signed-note", recognises=_has("skey", "note"), check=or_refused(check_note), list_cases=_list),
    Schema(
        name="checkpoint-body",
        recognises=_has("body", "hash_b64"),
        check=or_refused(check_checkpoint_body),
        list_cases=_list,
    ),
    Schema(
        name="checkpoint-signatures",
        recognises=_has("signature_b64", "timestamp"),
        check=or_refused(check_note),
        list_cases=_list,
    ),
    Schema(
        name="c2sp-note-examples", recognises=_has("note", "parse_only"), check=check_note_example, list_cases=_list
    ),
)
"""Lists of notes, keys and checkpoints."""
