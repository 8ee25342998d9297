from __future__ import annotations

from pathlib import Path

import pytest

from confsec.errors import UnsupportedError
from confsec.protocol.kem import HybridKem
from tests.protocol.hpke_cases import Case, case_id, cases_of, check_hpke_case, replay, suite_of, unhex
from tests.support import OWN_VECTORS, load_vectors

RFC_CASES = cases_of(load_vectors(OWN_VECTORS / "hpke_rfc9180.json"))
DRAFT_CASES = cases_of(load_vectors(OWN_VECTORS / "hpke_pq_draft.json"))

# ML-KEM-512 and TurboSHAKE128 are in the draft and not in confsec: nobody needs them here.
UNSUPPORTED = ("kem0040", "kdf0012")


@pytest.mark.parametrize("case", RFC_CASES + DRAFT_CASES, ids=case_id)
def test_vectors_of_the_standards(case: Case) -> None:
    check_hpke_case(case)


def test_all_shared_rfc9180_vectors(shared_vectors: Path) -> None:
    cases = cases_of(load_vectors(shared_vectors / "hpke" / "rfc9180.json"))
    assert len(cases) == 96
    for case in cases:
        check_hpke_case(case)


def test_all_shared_draft_vectors(shared_vectors: Path) -> None:
    cases = cases_of(load_vectors(shared_vectors / "hpke" / "hpke-pq-draft.json"))
    supported = [case for case in cases if not any(word in case_id(case) for word in UNSUPPORTED)]
    assert len(supported) == len(cases) - 2
    for case in supported:
        check_hpke_case(case)


def test_shared_vectors_with_other_algorithms_are_refused(shared_vectors: Path) -> None:
    cases = cases_of(load_vectors(shared_vectors / "hpke" / "hpke-pq-draft.json"))
    for case in cases:
        if any(word in case_id(case) for word in UNSUPPORTED):
            with pytest.raises(UnsupportedError):
                suite_of(case)


@pytest.mark.parametrize("case", DRAFT_CASES, ids=case_id)
def test_randbytes_steers_the_traditional_half_of_a_hybrid_and_not_the_other(case: Case) -> None:
    kem = suite_of(case).kem
    assert isinstance(kem, HybridKem)
    # The draft's randomness is 32 bytes for ML-KEM, then a seed for the group.
    _, enc = kem.encapsulate(unhex(case, "pkRm"), replay(unhex(case, "ikmE")[32:]))
    assert enc[kem.pq.enc_size :] == unhex(case, "enc")[kem.pq.enc_size :]
    assert enc[: kem.pq.enc_size] != unhex(case, "enc")[: kem.pq.enc_size]
