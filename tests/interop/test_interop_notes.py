"""Notes, checkpoints, cosignatures, policies and proofs of logs: each side reads, or refuses, what the other wrote."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from confsec.errors import ConfsecError, DecodeError, TransparencyError, VerificationError
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import KeyType, NoteKey, Signer
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_checkpoint, verify_logged
from tests.interop.build import GO_LOGS
from tests.interop.conftest import FillCell, StartPeer
from tests.interop.log_peers import FORMATS, X_MOD, LogPeer
from tests.interop.ours_logs import (
    AT,
    KEYS,
    LOG,
    ORIGIN,
    POLICY,
    WITNESSES,
    changed,
    checkpoint,
    cosigned,
    entries,
    root_of,
    tile_tree,
    tiles_of,
)
from tests.interop.peers import PeerError

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

OURS_TO_THEM = "they read ours"
THEIRS_TO_US = "we read theirs"
NOTE, COSIGNATURE, CHECKPOINT, POLICIES, PROOF = "note", "cosignature", "checkpoint", "witness policy", "tlog-proof"
TEXT = "Somebody says so.\n\nAnd more: ☃\n"
SIZE, INDEX = 300, 270
TREE = tile_tree(SIZE, root_of(entries(SIZE)), tiles_of(entries(SIZE)))
CHECKPOINT_OF_TREE = checkpoint(SIZE)

every_cosigner = pytest.mark.parametrize("witness", WITNESSES[:2], ids=lambda signer: signer.key.type.name)
every_kind = pytest.mark.parametrize("kind", ["", "ml-dsa-44"], ids=["Ed25519", "ML-DSA-44"])


@pytest.fixture
def peer(start_peer: StartPeer) -> LogPeer:
    return LogPeer(start_peer(GO_LOGS))


def signing_keys(*signers: Signer) -> list[str]:
    return [each.encode() for each in signers]


# --- Notes ------------------------------------------------------------------------------------------------------------


def test_they_verify_our_note(peer: LogPeer, fill_cell: FillCell) -> None:
    fill_cell(X_MOD, NOTE, "Ed25519", OURS_TO_THEM)
    assert peer.note_verify(SignedNote(TEXT).sign(LOG).encode(), KEYS[:1]) == (TEXT, [ORIGIN])


def test_we_verify_their_note(peer: LogPeer, fill_cell: FillCell) -> None:
    fill_cell(X_MOD, NOTE, "Ed25519", THEIRS_TO_US)
    signed = peer.note_sign(TEXT, signing_keys(LOG))
    assert signed == SignedNote(TEXT).sign(LOG).encode()  # Ed25519 has one signature for one message
    (found,) = SignedNote.decode(signed).verify([LOG.key])
    assert (found.key, found.time) == (LOG.key, None)


@pytest.mark.parametrize("at", [0, 9, len(TEXT.encode()) - 2])
def test_both_refuse_a_note_with_one_bit_changed(peer: LogPeer, at: int) -> None:
    note = changed(SignedNote(TEXT).sign(LOG).encode(), at)
    with pytest.raises(PeerError, match="invalid signature"):
        peer.note_verify(note, KEYS[:1])
    with pytest.raises(VerificationError, match="is wrong"):
        SignedNote.decode(note).verify([LOG.key])


def test_both_refuse_a_note_with_another_signature(peer: LogPeer) -> None:
    other = Signer("log.example/interop", KeyType.ED25519, b"x" * 32)
    note = SignedNote(TEXT).sign(other).encode()
    with pytest.raises(PeerError, match="no verifiable signatures"):
        peer.note_verify(note, KEYS[:1])
    with pytest.raises(VerificationError, match="no key that we know"):
        SignedNote.decode(note).verify([LOG.key])


@pytest.mark.parametrize(
    "note",
    [
        pytest.param(TEXT.encode() + b"\n", id="no signature"),
        pytest.param(TEXT.replace("\n\n", "\n").encode(), id="no blank line"),
        pytest.param(SignedNote(TEXT).sign(LOG).encode()[:-1], id="a signature without its newline"),
        pytest.param(b"a\tb\n\n\xe2\x80\x94 a AAAAAAA=\n", id="a control character"),
        pytest.param(b"\xff\n\n\xe2\x80\x94 a AAAAAAAA\n", id="no UTF-8"),
        pytest.param(b"a\n\n\xe2\x80\x94 a AAAAAA==\n", id="a signature of four bytes"),
        pytest.param(SignedNote(TEXT).sign(LOG).encode().replace("—".encode(), b"-"), id="a hyphen for a dash"),
    ],
)
def test_both_refuse_what_is_no_note(peer: LogPeer, note: bytes) -> None:
    with pytest.raises(PeerError, match="malformed note"):
        peer.note_verify(note, KEYS[:1])
    with pytest.raises(DecodeError):
        SignedNote.decode(note)


@every_kind
def test_we_read_their_keys_and_write_them_the_same(peer: LogPeer, fill_cell: FillCell, kind: str) -> None:
    fill_cell(FORMATS if kind else X_MOD, "key", kind or "ed25519", THEIRS_TO_US)
    signing, verifier = peer.key_new("somebody.example", kind)
    signer = Signer.decode(signing)
    assert (signer.encode(), signer.key.encode()) == (signing, verifier)
    assert NoteKey.decode(verifier) == signer.key


# --- Checkpoints and cosignatures -------------------------------------------------------------------------------------


@every_cosigner
def test_they_verify_our_cosignature_and_read_its_time(peer: LogPeer, fill_cell: FillCell, witness: Signer) -> None:
    fill_cell(FORMATS, COSIGNATURE, witness.key.type.name, OURS_TO_THEM)
    note = cosigned(CHECKPOINT_OF_TREE, by=[witness])
    found = peer.checkpoint_verify(note, ORIGIN, [KEYS[0], witness.key.encode()])
    assert (found.size, found.root) == (SIZE, CHECKPOINT_OF_TREE.root)
    assert found.times == {witness.key.name: AT}


@every_cosigner
def test_we_verify_their_cosignature_and_read_its_time(peer: LogPeer, fill_cell: FillCell, witness: Signer) -> None:
    fill_cell(FORMATS, COSIGNATURE, witness.key.type.name, THEIRS_TO_US)
    note = peer.checkpoint_sign(ORIGIN, SIZE, CHECKPOINT_OF_TREE.root, signing_keys(LOG, witness))
    of_log, of_witness = SignedNote.decode(note).verify([LOG.key, witness.key])
    assert of_log.time is None
    seen = peer.checkpoint_verify(note, ORIGIN, [KEYS[0], witness.key.encode()])
    assert seen.times == {witness.key.name: of_witness.time}


@every_cosigner
def test_both_refuse_a_cosignature_of_another_time(peer: LogPeer, witness: Signer) -> None:
    note = SignedNote.decode(cosigned(CHECKPOINT_OF_TREE, by=[witness]))
    signature = note.signatures[1]
    later = type(signature)(signature.name, signature.key_id, changed(signature.signature, 7))
    spoilt = SignedNote(note.text, (note.signatures[0], later)).encode()
    with pytest.raises(PeerError, match="invalid signature"):
        peer.checkpoint_verify(spoilt, ORIGIN, [KEYS[0], witness.key.encode()])
    with pytest.raises(VerificationError, match="is wrong"):
        SignedNote.decode(spoilt).verify([witness.key])


def test_we_count_their_cosignatures_for_a_quorum(peer: LogPeer, fill_cell: FillCell) -> None:
    fill_cell(FORMATS, CHECKPOINT, "with a quorum", THEIRS_TO_US)
    note = peer.checkpoint_sign(ORIGIN, SIZE, CHECKPOINT_OF_TREE.root, signing_keys(LOG, *WITNESSES[:2]))
    found = verify_checkpoint(note, POLICY, origin=ORIGIN)
    assert (found.checkpoint, found.cosigners) == (CHECKPOINT_OF_TREE, ("w1", "w2"))


def test_they_read_our_checkpoint_with_its_extension(peer: LogPeer, fill_cell: FillCell) -> None:
    fill_cell(FORMATS, CHECKPOINT, "with an extension", OURS_TO_THEM)
    extended = Checkpoint(ORIGIN, SIZE, CHECKPOINT_OF_TREE.root, ("an extension",))
    found = peer.checkpoint_verify(cosigned(extended), ORIGIN, KEYS)
    assert found.extensions == "an extension\n"
    assert found.times.keys() == {each.key.name for each in WITNESSES}


def test_we_read_their_checkpoint_and_write_it_the_same(peer: LogPeer, fill_cell: FillCell) -> None:
    fill_cell(FORMATS, CHECKPOINT, "alone", THEIRS_TO_US)
    note = SignedNote.decode(peer.checkpoint_sign(ORIGIN, SIZE, CHECKPOINT_OF_TREE.root, signing_keys(LOG)))
    assert Checkpoint.decode(note.text) == CHECKPOINT_OF_TREE
    assert CHECKPOINT_OF_TREE.encode() == note.text


def test_both_refuse_a_checkpoint_of_another_log(peer: LogPeer) -> None:
    other = Checkpoint("log.example/other", SIZE, CHECKPOINT_OF_TREE.root)
    note = cosigned(other)
    with pytest.raises(PeerError, match="Origin"):
        peer.checkpoint_verify(note, ORIGIN, KEYS)
    with pytest.raises(TransparencyError, match="did not sign"):
        verify_checkpoint(note, POLICY, origin=ORIGIN)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CHECKPOINT_OF_TREE.encode().replace(ORIGIN, ""), id="no origin"),
        pytest.param(f"{ORIGIN}\n300\n", id="no root"),
        pytest.param(CHECKPOINT_OF_TREE.encode().replace("300", "3OO"), id="a size that is no number"),
        pytest.param(CHECKPOINT_OF_TREE.encode().replace("300", "+300"), id="a size with a sign"),
        pytest.param(f"{ORIGIN}\n300\nAAA!\n", id="a root that is no Base64"),
    ],
)
def test_both_refuse_what_is_no_checkpoint(peer: LogPeer, text: str) -> None:
    note = SignedNote(text).sign(LOG).encode()
    with pytest.raises(PeerError):
        peer.checkpoint_verify(note, ORIGIN, KEYS[:1])
    with pytest.raises(DecodeError):
        verify_checkpoint(note, POLICY, origin=ORIGIN)


# --- Policies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_both_find_the_same_quorum(peer: LogPeer, fill_cell: FillCell, count: int) -> None:
    fill_cell(FORMATS, POLICIES, "two of three", OURS_TO_THEM)
    note = cosigned(CHECKPOINT_OF_TREE, by=WITNESSES[:count])
    assert refuses(lambda: peer.policy_satisfied(POLICY.encode(), note), PeerError) is (count < 2)
    assert refuses(lambda: verify_checkpoint(note, POLICY, origin=ORIGIN), TransparencyError) is (count < 2)


def refuses(step: Callable[[], object], error: type[Exception]) -> bool:
    try:
        step()
    except error:
        return True
    return False


# --- Proofs in one piece ----------------------------------------------------------------------------------------------


def our_proof(*, extra: bytes = b"") -> TlogProof:
    return TlogProof(INDEX, TREE.inclusion_proof(INDEX), cosigned(CHECKPOINT_OF_TREE), extra)


@pytest.mark.parametrize("extra", [b"", b"beside"], ids=["plain", "with extra data"])
def test_they_read_our_proof_of_a_log(peer: LogPeer, fill_cell: FillCell, extra: bytes) -> None:
    fill_cell(FORMATS, PROOF, "with extra data" if extra else "plain", OURS_TO_THEM)
    ours = our_proof(extra=extra)
    found = peer.log_proof_decode(ours.encode())
    assert (found.index, found.hashes, found.note, found.extra) == (INDEX, ours.hashes, ours.checkpoint, extra)
    peer.inclusion_verify("merkle", leaf_hash(entries(SIZE)[INDEX]), INDEX, SIZE, found.hashes, CHECKPOINT_OF_TREE.root)


@pytest.mark.parametrize("extra", [b"", b"beside"], ids=["plain", "with extra data"])
def test_we_verify_their_proof_of_a_log(peer: LogPeer, fill_cell: FillCell, extra: bytes) -> None:
    fill_cell(FORMATS, PROOF, "with extra data" if extra else "plain", THEIRS_TO_US)
    note = peer.checkpoint_sign(ORIGIN, SIZE, CHECKPOINT_OF_TREE.root, signing_keys(LOG, *WITNESSES))
    hashes = peer.inclusion_prove("merkle", entries(SIZE), INDEX, SIZE)
    encoded = peer.log_proof_encode(INDEX, hashes, note, extra=extra)
    proof = TlogProof.decode(encoded)
    assert (proof.extra, proof.encode()) == (extra, encoded)
    assert verify_logged(entries(SIZE)[INDEX], proof, POLICY, origin=ORIGIN).checkpoint == CHECKPOINT_OF_TREE
    with pytest.raises(TransparencyError):
        verify_logged(b"another entry", proof, POLICY, origin=ORIGIN)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda proof: proof.replace(b"@v1", b"@v2"), id="another header"),
        pytest.param(lambda proof: proof.replace(b"index 270\n", b""), id="no index"),
        pytest.param(lambda proof: proof.replace(b"index 270", b"index 27O"), id="an index that is no number"),
        pytest.param(lambda proof: proof.replace(b"index 270\n", b"index 270\nAAAA\n"), id="a short hash"),
        pytest.param(
            lambda proof: proof.replace(b"index 270", b"extra !\nindex 270"), id="extra data that are no Base64"
        ),
    ],
)
def test_both_refuse_what_is_no_proof(peer: LogPeer, change: Callable[[bytes], bytes]) -> None:
    proof = change(our_proof().encode())
    assert proof != our_proof().encode()
    with pytest.raises(PeerError):
        peer.log_proof_decode(proof)
    with pytest.raises(ConfsecError):
        TlogProof.decode(proof)
