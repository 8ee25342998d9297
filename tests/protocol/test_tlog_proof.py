"""Proofs in one piece: their form."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, LimitError
from confsec.protocol.tlog_proof import MAX_TLOG_PROOF, TlogProof
from confsec.protocol.wire import encode_base64

HASH = encode_base64(bytes(32))


@given(
    index=st.integers(0, 2**62),
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=64),
    checkpoint=st.binary(min_size=1, max_size=40),
    extra=st.binary(max_size=40),
)
def test_a_proof_comes_back(index: int, hashes: list[bytes], checkpoint: bytes, extra: bytes) -> None:
    proof = TlogProof(index, tuple(hashes), checkpoint, extra)
    assert TlogProof.decode(proof.encode()) == proof


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v2\nindex 0\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 0\n\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n",
        "c2sp.org/tlog-proof@v1\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 00\n\nx",
        "c2sp.org/tlog-proof@v1\nextra \nindex 0\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 0\n!\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 0\n\u00e4\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 0\nextra AAAA\n\nx",
    ],
)
def test_other_text_is_no_proof(text: str) -> None:
    with pytest.raises(DecodeError):
        TlogProof.decode(text.encode())


@pytest.mark.parametrize(
    "text", ["x" * (MAX_TLOG_PROOF + 1), "c2sp.org/tlog-proof@v1\nindex 0\n" + f"{HASH}\n" * 65 + "\nx"]
)
def test_what_is_too_long_is_not_read(text: str) -> None:
    with pytest.raises(LimitError):
        TlogProof.decode(text.encode())


@given(st.binary(max_size=100))
def test_any_bytes_after_the_header_give_a_proof_or_an_error(data: bytes) -> None:
    whole = b"c2sp.org/tlog-proof@v1\n" + data
    try:
        proof = TlogProof.decode(whole)
    except ConfsecError:
        return
    assert proof.encode() == whole
