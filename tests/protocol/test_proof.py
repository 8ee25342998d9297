"""The Proof: made before sealing, replayed by anyone, refused when one byte changes."""

from __future__ import annotations

from hashlib import sha256

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, LimitError, PolicyError, ProofError, UnsupportedError
from confsec.protocol import cbor, proof
from confsec.protocol.checks import Status
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, Policy, PolicyReader
from confsec.protocol.proof import (
    CHECKS,
    Proof,
    ProofContents,
    TokenUse,
    _Record,
    make_proof,
    replay_proof,
    verify_proof,
)
from confsec.testing import seeded_randbytes
from tests.protocol.fleets import EPOCH_START, NO_ENDORSEMENTS, Fleet, make_fleet

FLEET = make_fleet(3)
READER = PolicyReader({})


def proof_of(fleet: Fleet = FLEET, policy: Policy = UNSAFE_UNATTESTED) -> Proof:
    return make_proof(policy, fleet.encoded, fleet.record, fleet.trusted())


def sealed_envelope(contents: cbor.CborValue, *, version: int = 3, checks: cbor.CborValue = None) -> bytes:
    """Write a file with a good digest around anything."""
    body = [cbor.encode(part) for part in (version, contents, checks or [], [], [])]
    before_digest = b"\x87" + cbor.encode("confsec proof") + b"".join(body) + b"\x58\x20"
    return before_digest + sha256(before_digest).digest()


def status_of(made: Proof, check_id: str) -> Status:
    (found,) = [check.status for check in made.checks if check.id == check_id]
    return found


def test_a_proof_replays_to_the_same_verdict() -> None:
    made = proof_of()
    assert verify_proof(made.encode(), READER) == made
    assert replay_proof(made.encode(), READER).encode() == made.encode()


def test_checks_that_nobody_made_are_skipped_and_not_passed() -> None:
    skipped = {check.id for check in proof_of().checks if check.status is Status.SKIP}
    assert skipped == set(UNSAFE_UNATTESTED.unsafe_waived)


def test_checks_have_ids_of_their_own() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)


def test_a_policy_that_waives_less_refuses_the_same_proof() -> None:
    data = proof_of().encode()
    with pytest.raises(PolicyError, match=r"attestation\.evidence"):
        verify_proof(data, READER, policy=PRODUCTION)
    strict = evolve(UNSAFE_UNATTESTED, minimum_nodes=5)
    with pytest.raises(PolicyError, match=r"fleet\.size"):
        verify_proof(data, READER, policy=strict)


def test_nothing_is_proved_for_a_policy_that_is_not_met() -> None:
    with pytest.raises(PolicyError):
        proof_of(policy=PRODUCTION)
    with pytest.raises(PolicyError, match=r"fleet\.size"):
        proof_of(policy=evolve(UNSAFE_UNATTESTED, minimum_nodes=4))


def test_every_changed_byte_is_refused() -> None:
    data = proof_of().encode()
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 0x01
        with pytest.raises(ConfsecError):
            verify_proof(bytes(changed), READER)


def test_every_cut_is_refused() -> None:
    data = proof_of().encode()
    for size in (*range(40), *range(40, len(data), 97)):
        with pytest.raises((DecodeError, ProofError)):
            verify_proof(data[:size], READER)
    with pytest.raises(ProofError):
        verify_proof(data + b"\x00", READER)


@pytest.mark.parametrize("data", [b"", b"not a proof", b"\x86", cbor.encode(["confsec proof"])])
def test_what_is_no_proof_at_all_is_told_apart(data: bytes) -> None:
    with pytest.raises(DecodeError, match="not a Proof"):
        verify_proof(data, READER)


def test_a_proof_of_the_first_version_is_told_apart() -> None:
    with pytest.raises(UnsupportedError, match="version 1"):
        verify_proof(b"\x86" + cbor.encode("confsec proof") + b"rest", READER)


def test_a_proof_of_the_second_version_is_told_apart() -> None:
    with pytest.raises(UnsupportedError, match="version 2"):
        verify_proof(sealed_envelope({}, version=2), READER)


def test_the_digest_is_compared_before_anything_is_read() -> None:
    data = proof_of().encode()
    changed = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(ProofError, match="digest"):
        verify_proof(changed, READER)
    with pytest.raises(ProofError, match="digest"):
        verify_proof(data[:-40] + b"\x58\x21" + data[-38:], READER)


def test_there_are_endorsements_for_each_evidence() -> None:
    item = proof_of().contents.to_item()
    with pytest.raises(ProofError, match="other than its evidence"):
        verify_proof(sealed_envelope({**item, "endorsements": [NO_ENDORSEMENTS]}), READER)


def test_a_proof_says_under_which_policy_and_about_which_record_and_keys() -> None:
    made = proof_of()
    said = {check.id: check.why for check in made.checks}
    assert said["policy.name"].startswith("UNSAFE_UNATTESTED, which waives attestation.evidence, ")
    assert sha256(FLEET.encoded).hexdigest()[:16] in said["fleet.record"]
    assert "MLKEM768-X25519" in said["sealing.kem"]


def test_a_proof_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "MAX_PROOF", 100)
    with pytest.raises(LimitError):
        verify_proof(proof_of().encode(), READER)


def test_a_later_version_is_told_apart() -> None:
    with pytest.raises(UnsupportedError, match="version"):
        verify_proof(sealed_envelope({}, version=4), READER)


@pytest.mark.parametrize("contents", [{}, [], {"policy": 1, "fleet": b"", "evidence": []}])
def test_contents_that_cannot_be_read_are_refused(contents: cbor.CborValue) -> None:
    with pytest.raises(ProofError, match="cannot be read"):
        verify_proof(sealed_envelope(contents), READER)


def test_recorded_checks_that_do_not_replay_are_refused() -> None:
    forged = [["attestation.evidence", "RFC 9334, section 3", "pass", "all is well", "", ""]]
    checks: list[cbor.CborValue] = [list(item) for item in forged]
    with pytest.raises(ProofError, match="other checks"):
        verify_proof(sealed_envelope(proof_of().contents.to_item(), checks=checks), READER)


def contents_with(*evidence: Evidence) -> ProofContents:
    beside = tuple(Endorsements.of({}) for _ in evidence)
    return ProofContents(UNSAFE_UNATTESTED, FLEET.encoded, FLEET.record, evidence, beside)


def run(contents: ProofContents, check_id: str) -> tuple[Status, str]:
    (check,) = [definition.run(_Record(contents, ())) for definition in proof.CHECKS if definition.id == check_id]
    return check.status, check.why


def test_candidates_must_be_different_nodes_in_order() -> None:
    first, second = (item.evidence for item in FLEET.trusted()[:2])
    for wrong in ((), (second, first), (first, first)):
        assert run(contents_with(*wrong), "candidates.distinct")[0] is Status.FAIL


def test_evidence_of_a_stranger_fails() -> None:
    stranger = make_fleet(1, randbytes=seeded_randbytes("stranger")).trusted()[0].evidence
    assert stranger.digest not in {node.evidence_digest for node in FLEET.record.nodes}
    for check_id in ("evidence.digest", "evidence.key"):
        assert run(contents_with(stranger), check_id)[0] is Status.FAIL


def test_evidence_without_a_key_fails_and_says_why() -> None:
    empty = Evidence.of({"other": CmwRecord("text/plain", b"")})
    status, why = run(contents_with(empty), "candidates.distinct")
    assert status is Status.FAIL
    assert "key-config" in why


@pytest.mark.parametrize("token_use", list(TokenUse))
def test_a_proof_tells_how_the_request_was_paid_and_cannot_prove_it(token_use: TokenUse) -> None:
    made = make_proof(UNSAFE_UNATTESTED, FLEET.encoded, FLEET.record, FLEET.trusted(), token_use)
    assert verify_proof(made.encode(), READER) == made
    assert (status_of(made, "token.spend") is Status.SKIP) == (token_use is TokenUse.NONE)


def test_a_token_use_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ProofError, match="token"):
        verify_proof(sealed_envelope({**proof_of().contents.to_item(), "token": "gold"}), READER)


def test_the_json_form_says_the_same() -> None:
    made = proof_of()
    value = made.to_json()
    assert value["epoch"] == EPOCH_START
    assert value["candidates"] == [node.node_id.hex() for node in FLEET.record.nodes]
    assert value["assumptions"] == list(made.assumptions)
    assert isinstance(value["checks"], list)
    assert len(value["checks"]) == len(CHECKS)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ConfsecError):
        verify_proof(data, READER)
    with pytest.raises(ConfsecError):
        verify_proof(sealed_envelope(data), READER)
