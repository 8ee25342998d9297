"""What others accept in notes, checkpoints, proofs and policies, and we do not, or the other way round.

Each of these is a line in the README. A test here fails when a peer changes.
"""

from __future__ import annotations

from base64 import b64encode

import pytest

from confsec.errors import ConfigError, ConfsecError, LimitError, TransparencyError, VerificationError
from confsec.protocol.merkle import EMPTY_ROOT, verify_consistency
from confsec.protocol.note import NoteSignature, SignedNote
from confsec.protocol.note_keys import Signer
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_checkpoint
from confsec.protocol.witness_policy import WitnessPolicy
from tests.interop.build import GO_LOGS
from tests.interop.conftest import StartPeer
from tests.interop.log_peers import LogPeer
from tests.interop.ours_logs import (
    KEYS,
    LOG,
    ORIGIN,
    POLICY,
    WITNESSES,
    checkpoint,
    cosigned,
    entries,
    root_of,
    tile_tree,
    tiles_of,
)
from tests.interop.peers import PeerError

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

SIZE = 300
TREE = tile_tree(SIZE, root_of(entries(SIZE)), tiles_of(entries(SIZE)))
CHECKPOINT = checkpoint(SIZE)
ROOT = b64encode(CHECKPOINT.root).decode()
LOG_LINE, ONE, TWO = f"log {KEYS[0]}\n", f"witness a {KEYS[1]} https://a/\n", f"witness b {KEYS[2]} https://b/\n"
PROOF = TlogProof(270, TREE.inclusion_proof(270), cosigned(CHECKPOINT)).encode()
HEAD = PROOF.partition(b"\n\n")[0]


@pytest.fixture
def peer(start_peer: StartPeer) -> LogPeer:
    return LogPeer(start_peer(GO_LOGS))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{ORIGIN}\n0300\n{ROOT}\n", id="a size with a zero before it"),
        pytest.param(f"{ORIGIN}\n{1 << 63}\n{ROOT}\n", id="a size over 63 bits"),
        pytest.param(f"{ORIGIN}\n300\nAAAA\n", id="a root of three bytes"),
        pytest.param(f"{ORIGIN}\n300\n{ROOT[:-2]}{chr(ord(ROOT[-2]) + 1)}=\n", id="Base64 that is not canonical"),
        pytest.param(f"{ORIGIN}\n0\n{ROOT}\n", id="another root of nothing"),
        pytest.param(f"{ORIGIN}\n300\n{ROOT}\n\n", id="an empty extension"),
        pytest.param(f"{ORIGIN}\n300\n{ROOT}\n{'x' * 4096}\n", id="a text over our limit"),
    ],
)
def test_formats_takes_checkpoints_that_we_refuse(peer: LogPeer, text: str) -> None:
    note = SignedNote(text).sign(LOG).encode()
    peer.checkpoint_verify(note, ORIGIN, KEYS[:1])
    with pytest.raises(ConfsecError) as refused:
        verify_checkpoint(note, POLICY, origin=ORIGIN)
    assert not isinstance(refused.value, TransparencyError)  # it is no checkpoint, whoever signed it


def test_x_mod_does_not_look_at_a_second_signature_of_a_key(peer: LogPeer) -> None:
    note = SignedNote("a\n").sign(LOG)
    both = SignedNote("a\n", (*note.signatures, NoteSignature(ORIGIN, LOG.key.key_id, bytes(64))))
    assert peer.note_verify(both.encode(), KEYS[:1]) == ("a\n", [ORIGIN])
    with pytest.raises(VerificationError, match="is wrong"):
        both.verify([LOG.key])


def test_x_mod_takes_more_signatures_than_we_do(peer: LogPeer) -> None:
    note = SignedNote("a\n").sign(LOG)
    others = (NoteSignature(f"n{number}", b"1234", bytes(64)) for number in range(99))
    whole = SignedNote("a\n", (*note.signatures, *others)).encode()
    peer.note_verify(whole, KEYS[:1])
    with pytest.raises(LimitError, match="too many signatures"):
        SignedNote.decode(whole)


def test_x_mod_takes_longer_names_than_we_do(peer: LogPeer) -> None:
    signing, verifier = peer.key_new("x" * 256)
    peer.note_verify(peer.note_sign("a\n", [signing]), [verifier])
    with pytest.raises(ConfsecError, match="1 to 255 bytes"):
        Signer.decode(signing)


@pytest.mark.parametrize(
    "proof",
    [
        pytest.param(HEAD + b"\n", id="no checkpoint"),
        pytest.param(HEAD + b"\n\n", id="an empty checkpoint"),
        pytest.param(PROOF.replace(b"index", b"extra \nindex", 1), id="empty extra data"),
        pytest.param(PROOF.replace(b"index 270", b"index 0270"), id="an index with a zero before it"),
        pytest.param(PROOF.replace(b"\n", b"\r\n"), id="lines of Windows"),
        pytest.param(
            PROOF.replace(b"index 270\n", b"index 270\n" + (b64encode(bytes(32)) + b"\n") * 64), id="73 hashes"
        ),
    ],
)
def test_formats_takes_proofs_that_we_refuse(peer: LogPeer, proof: bytes) -> None:
    assert proof != PROOF
    peer.log_proof_decode(proof)
    with pytest.raises(ConfsecError):
        TlogProof.decode(proof)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(f"{LOG_LINE}{ONE}group g 0 a\nquorum g\n", id="a quorum of nobody"),
        pytest.param(f"{LOG_LINE}{ONE}{ONE.replace(' a ', ' b ')}group g 2 a b\nquorum g\n", id="a key twice"),
        pytest.param(f"{LOG_LINE}{ONE}group g 2 a a\nquorum g\n", id="a member twice"),
        pytest.param(
            f"{LOG_LINE}{ONE}group g 1 a\ngroup h 1 a\ngroup i 2 g h\nquorum i\n", id="a witness in two groups"
        ),
        pytest.param(f"{LOG_LINE}{ONE}{TWO}quorum a\nquorum b\n", id="two quorums"),
        pytest.param(f"{LOG_LINE}quorum a\n{ONE}", id="a quorum that is defined later"),
        pytest.param(f"log x\n{ONE}quorum a\n", id="a log that has no key"),
        pytest.param(f"{LOG_LINE}{ONE}quorum a # so\n", id="a comment after a line"),
        pytest.param(f"{LOG_LINE}group g all\nquorum g\n", id="a group without members"),
    ],
)
def test_formats_takes_policies_that_we_refuse(peer: LogPeer, policy: str) -> None:
    peer.policy_satisfied(policy.encode(), cosigned(CHECKPOINT))
    with pytest.raises(ConfigError):
        WitnessPolicy.decode(policy.encode())


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(f"{LOG_LINE}witness a {KEYS[1]}\nquorum a\n", id="a witness without a URL"),
        pytest.param(f"{LOG_LINE}{ONE.replace(' a ', ' log ')}quorum log\n", id="a witness with the name of a keyword"),
    ],
)
def test_formats_refuses_policies_that_we_take(peer: LogPeer, policy: str) -> None:
    note = cosigned(CHECKPOINT, by=WITNESSES[:1])
    verify_checkpoint(note, WitnessPolicy.decode(policy.encode()), origin=ORIGIN)
    with pytest.raises(PeerError, match="invalid witness"):
        peer.policy_satisfied(policy.encode(), note)


def test_merkle_takes_any_root_for_a_tree_without_entries(peer: LogPeer) -> None:
    root = root_of(entries(9))
    peer.consistency_verify("merkle", 0, 9, (), bytes(32), root)
    with pytest.raises(TransparencyError, match="another root"):
        verify_consistency(0, 9, (), bytes(32), root)


def test_x_mod_has_no_proofs_from_a_tree_without_entries(peer: LogPeer) -> None:
    root = root_of(entries(9))
    verify_consistency(0, 9, (), EMPTY_ROOT, root)
    with pytest.raises(PeerError, match="invalid inputs"):
        peer.consistency_verify("tlog", 0, 9, (), EMPTY_ROOT, root)
