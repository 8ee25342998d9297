"""Google's verifiers of SEV-SNP and TDX accept and refuse what ours do, on evidence of real machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from benchmarks.appraise_cases import Case, real_snp, tdx_sample
from confsec.protocol.checks import Status
from confsec.protocol.cmw import CmwRecord, Evidence
from confsec.protocol.platforms import MEDIA_TYPES, SEV_SNP
from tests.interop.build import GO_SEV_GUEST, GO_TDX_GUEST
from tests.interop.conftest import StartPeer
from tests.interop.peers import Peer, PeerError

pytestmark = pytest.mark.interop

NO_LEVEL = "no matching TCB level"
"""What the sample of go-tdx-guest is refused for, when all its signatures were checked."""


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def appraise(peer: Peer, case: Case, **parts: bytes) -> None:
    peer.call("appraise", evidence={**case.parts, **parts}, at=int(case.request.at.timestamp()))


def failed(case: Case) -> list[str]:
    return [check.id for check in case.verifier.verify(case.request).checks if check.status is Status.FAIL]


def sample(peer: Peer) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in peer.call("sample")["evidence"].items()}


@pytest.mark.vectors
def test_both_accept_a_report_of_a_milan(start_peer: StartPeer, shared_vectors: Path) -> None:
    case = real_snp(shared_vectors)
    assert case is not None
    case.verify()
    appraise(start_peer(GO_SEV_GUEST), case)


@pytest.mark.vectors
def test_both_refuse_a_report_with_one_bit_changed(start_peer: StartPeer, shared_vectors: Path) -> None:
    case = real_snp(shared_vectors)
    assert case is not None
    report = flipped(case.parts["report"], 0x90)  # in MEASUREMENT
    with pytest.raises(PeerError, match="signature"):
        appraise(start_peer(GO_SEV_GUEST), case, report=report)
    evidence = Evidence.of({SEV_SNP: CmwRecord(MEDIA_TYPES[SEV_SNP], report)})
    assert failed(evolve(case, request=evolve(case.request, evidence=evidence))) == ["sev-snp.signature"]


def test_sample_of_the_peer_is_refused_for_its_level_by_both(start_peer: StartPeer) -> None:
    peer = start_peer(GO_TDX_GUEST)
    case = tdx_sample(sample(peer))
    case.verify()
    assert "tdx.platform-level" in failed(case)
    with pytest.raises(PeerError, match=NO_LEVEL):
        appraise(peer, case)


def test_both_refuse_a_quote_with_one_bit_changed(start_peer: StartPeer) -> None:
    peer = start_peer(GO_TDX_GUEST)
    parts = sample(peer)
    case = tdx_sample({**parts, "quote": flipped(parts["quote"], 48 + 136)})  # in MRTD
    assert failed(case) == ["tdx.quote-signature"]
    with pytest.raises(PeerError, match="unable to verify"):
        appraise(peer, case)
