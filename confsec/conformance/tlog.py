"""Vectors of C2SP's logs: notes, checkpoints, proofs and witness policies in lists, and the kind checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from confsec.conformance.cases import Case, CaseSkippedError, NamedCase, Schema, check_same, or_refused
from confsec.conformance.kinds import FileCase, Kind
from confsec.errors import ConfigError, TransparencyError
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.merkle import HASH_SIZE
from confsec.protocol.note import NoteSignature, SignedNote
from confsec.protocol.note_keys import KeyType, NoteKey, Signer
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_checkpoint
from confsec.protocol.wire import decode_base64, encode_base64
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = [
    "KINDS",
    "SCHEMAS",
    "check_checkpoint",
    "check_checkpoint_body",
    "check_note",
    "check_note_example",
    "check_tlog_policy",
    "check_tlog_proof",
]

_LOG: Final = Signer("log", KeyType.ED25519, bytes(32))
_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_INNERMOST: Final = re.compile(r"([0-9]) of \[([^\[\]]*)\]")


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


def check_tlog_proof(case: Case) -> None:
    """Check the form of a proof: what stands where its checkpoint belongs is no checkpoint."""
    proof = TlogProof.decode(case["encoded"].encode())
    check_same("what comes back", proof.encode().decode(), case["encoded"])
    check_same("index", proof.index, case["index"])
    check_same("hashes", [encode_base64(each) for each in proof.hashes], case["hashes"])
    check_same("checkpoint", proof.checkpoint.decode(), case["checkpoint"])
    check_same("extra", encode_base64(proof.extra), case.get("extra", ""))


def check_tlog_policy(case: Case) -> None:
    """Check the form of a policy, or what it says of some cosigners."""
    if "policy" in case:
        _check_policy_form(case)
        return
    names = {f"Wit{number}": f"w{number}" for number in range(1, 4)}
    policy = WitnessPolicy.decode(_policy_of(case["policy_expr"], case["witnesses"]).encode())
    checkpoint = Checkpoint("log", 1, bytes(HASH_SIZE))
    note = SignedNote(checkpoint.encode()).sign(_LOG)
    for name in case["cosigned_by"]:
        seed = decode_base64(case["witnesses"][name][1].split("+", 4)[4])[1:]
        note = note.sign(Signer(name, KeyType.ED25519_COSIGNATURE, seed), at=_AT)
    try:
        cosigned = verify_checkpoint(note.encode(), policy, origin="log")
    except (TransparencyError, ConfigError):
        satisfied = False
    else:
        satisfied = True
        check_same("who cosigned", list(cosigned.cosigners), [names[name] for name in case["cosigned_by"]])
    if not policy.quorum:
        raise CaseSkippedError("it asks no witness, and we take no such checkpoint")
    check_same("whether the quorum is there", satisfied, case["satisfied"])


def _check_policy_form(case: Case) -> None:
    text = case["policy"]
    if case["valid"] and "    #comment" in text:
        raise CaseSkippedError("it has comments after other things, which the standard does not allow")
    keys = [line.split()[2] for line in text.splitlines() if line.strip().startswith("witness")]
    if case["valid"] and len(set(keys)) < len(keys):
        raise CaseSkippedError("two of its witnesses have one key, which the standard forbids")
    policy = WitnessPolicy.decode(text.encode())
    check_same("what comes back", WitnessPolicy.decode(policy.encode()), policy)
    (group,) = policy.groups
    check_same("threshold", group.threshold, case["threshold"])


def _policy_of(expression: str, witnesses: Mapping[str, list[str]]) -> str:
    """Write an expression such as `2 of [w1, 1 of [w2, w3]]` as a policy."""
    lines = [f"log {_LOG.key.encode()}"]
    lines += [f"witness w{name[-1]} {vkey}" for name, (vkey, _) in witnesses.items()]
    if expression.startswith("0 of"):
        return "\n".join([*lines, "quorum none", ""])
    while found := _INNERMOST.search(expression):
        name = f"g{len(lines)}"
        lines.append(f"group {name} {found[1]} {found[2].replace(',', ' ')}")
        expression = expression.replace(found[0], name)
    return "\n".join([*lines, f"quorum {expression}", ""])


def check_checkpoint(case: FileCase) -> None:
    """Check a signed checkpoint under the key of its log."""
    note = SignedNote.decode(case.read("checkpoint"))
    note.verify([_log_key(case)])
    checkpoint = Checkpoint.decode(note.text)
    check_same("size", checkpoint.size, case.params["tree_size"])
    check_same("what comes back", note.encode(), case.read("checkpoint"))


def _log_key(case: FileCase) -> NoteKey:
    if "vkey" in case.params:
        return NoteKey.decode(case.params["vkey"])
    return NoteKey(case.params["origin"], KeyType.RFC6962, decode_base64(case.json("log")["key"]))


def _list_policies(document: object) -> Iterator[NamedCase]:
    if isinstance(document, Mapping):
        yield from ((str(case["name"]), case) for case in document["policies"])
        for case in document["quorum"]:
            by = ", ".join(case["cosigned_by"]) or "nobody"
            yield f"{case['policy_expr']} by {by}", {**case, "witnesses": document["witnesses"], "valid": True}


def _has_policies(document: object) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get("policies"), list) and "quorum" in document


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
    Schema(
        name="tlog-proof",
        recognises=_has("index", "hashes", "encoded"),
        check=or_refused(check_tlog_proof),
        list_cases=_list,
    ),
    Schema(
        name="tlog-policy",
        recognises=_has_policies,
        check=or_refused(check_tlog_policy),
        list_cases=_list_policies,
    ),
)
"""Lists of notes, keys, checkpoints, proofs and policies."""

KINDS: Final = (Kind(name="checkpoint", check=check_checkpoint),)
"""Checkpoints of whole logs."""
