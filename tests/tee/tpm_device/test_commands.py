"""The commands of the hot path against tpm2-tss, and answers that a broken TPM could give."""

from __future__ import annotations

import importlib
import io
from typing import Any

import pytest
from hypothesis import given, strategies as st

from confsec.errors import BackendError, DecodeError
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.tpm import commands
from confsec.tee.tpm.structures import PcrSelection, encode_selections
from tests.support import needs_packages

POINT = b"\x04" + bytes(range(64))
SELECTIONS = encode_selections((PcrSelection.of(HashAlgorithm.SHA256, (0, 7, 12)),))


def zgen_body(x: bytes, y: bytes, more: bytes = b"") -> bytes:
    point = len(x).to_bytes(2, "big") + x + len(y).to_bytes(2, "big") + y
    parameters = len(point).to_bytes(2, "big") + point + more
    return len(parameters).to_bytes(4, "big") + parameters + b"\x00\x00\x01\x00\x00"


@pytest.fixture(scope="module")
def tss() -> Any:
    needs_packages("tpm2_pytss")
    return importlib.import_module("tpm2_pytss")


def test_tpm2_tss_reads_what_we_write(tss: Any) -> None:
    parser = importlib.import_module("tpm2_pytss.command_parser")
    for command, code, handles in (
        (commands.policy_pcr(0x03000000, SELECTIONS), tss.TPM2_CC.PolicyPCR, [0x03000000]),
        (commands.ecdh_zgen(0x80000001, 0x03000000, POINT), tss.TPM2_CC.ECDH_ZGen, [0x80000001]),
        (commands.get_handles(0x80000000), tss.TPM2_CC.GetCapability, []),
    ):
        read = parser.read_command(io.BytesIO(command))
        assert read.command_code == code
        assert [int(each) for each in read.handles] == handles
    read = parser.read_command(io.BytesIO(commands.ecdh_zgen(0x80000001, 0x03000000, POINT)))
    [session] = read.sessions
    assert int(session.handle) == 0x03000000
    assert session.attributes == tss.TPMA_SESSION.CONTINUESESSION
    assert bytes(session.nonce) == bytes(session.authorization) == b""
    point = read.parameters[0].point
    assert bytes(point.x) + bytes(point.y) == POINT[1:]


@pytest.mark.parametrize("point", [b"", POINT[:-1], POINT + b"\x00", b"\x02" + POINT[1:], b"\x06" + POINT[1:]])
def test_what_is_no_uncompressed_point_never_reaches_the_tpm(point: bytes) -> None:
    with pytest.raises(DecodeError, match="uncompressed point"):
        commands.ecdh_zgen(1, 2, point)


@pytest.mark.parametrize("size", range(33))
def test_short_coordinate_is_padded_on_the_left(size: int) -> None:
    assert commands.read_ecdh_zgen(zgen_body(b"\x01" * size, b"\x02" * 32)) == bytes(32 - size) + b"\x01" * size


@pytest.mark.parametrize(
    "body",
    [
        b"",
        zgen_body(bytes(33), bytes(32)),
        zgen_body(bytes(32), bytes(33)),
        zgen_body(bytes(32), bytes(32), b"\x00"),
        zgen_body(bytes(32), bytes(32))[:-10],
    ],
)
def test_answer_that_is_no_point_is_refused(body: bytes) -> None:
    with pytest.raises(BackendError, match="cannot be read"):
        commands.read_ecdh_zgen(body)


def test_answer_says_how_long_it_is() -> None:
    assert commands.read_response(b"\x80\x01\x00\x00\x00\x0b\x00\x00\x01\x01x") == (0x101, b"x")
    for answer in (b"", bytes(9), b"\x80\x01\x00\x00\x00\x0b\x00\x00\x00\x00", b"\x80\x01\x00\x00\x00\x0a" + bytes(5)):
        with pytest.raises(BackendError, match="cannot be read"):
            commands.read_response(answer)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (0x1E7, commands.RC_ECC_POINT),
        (0x99D, commands.RC_POLICY_FAIL),
        (0x128, commands.RC_PCR_CHANGED),
        (0x922, 0x922),
    ],
)
def test_response_code_is_known_whatever_it_is_about(code: int, error: int) -> None:
    assert commands.response_code(code) == error


@given(st.binary(max_size=120))
def test_any_answer_gives_a_value_or_an_error_of_ours(data: bytes) -> None:
    for read in (commands.read_response, commands.read_ecdh_zgen, commands.read_handles):
        try:
            read(data)
        except BackendError:
            continue
