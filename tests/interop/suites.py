"""Which algorithms each peer has, and why not the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pytest
from _pytest.mark import ParameterSet

from tests.interop.peers import GO_CHRIS_WOOD, GO_OPENPCC, RUST, PeerSuite, Program

_AES128, _AES256, _CHACHA20 = 1, 2, 3

X25519_AES128: Final = PeerSuite("X25519, SHA-256, AES-128-GCM", 0x0020, 1, _AES128)
X25519_AES256: Final = PeerSuite("X25519, SHA-256, AES-256-GCM", 0x0020, 1, _AES256)
X25519_CHACHA20: Final = PeerSuite("X25519, SHA-256, ChaCha20-Poly1305", 0x0020, 1, _CHACHA20)
P256: Final = PeerSuite("P-256, SHA-256, AES-128-GCM", 0x0010, 1, _AES128)
P384: Final = PeerSuite("P-384, SHA-384, AES-256-GCM", 0x0011, 2, _AES256)
P521: Final = PeerSuite("P-521, SHA-512, AES-256-GCM", 0x0012, 3, _AES256)
X448: Final = PeerSuite("X448, SHA-512, ChaCha20-Poly1305", 0x0021, 3, _CHACHA20)
X_WING: Final = PeerSuite("X-Wing, SHA-256, AES-256-GCM", 0x647A, 1, _AES256)

NOT_IN_RUST: Final = "this crate has no AES-256-GCM: its rust-hpke part supports AES-128-GCM and ChaCha20-Poly1305"

CHUNKED_SUITES: Final = (
    (RUST, X25519_AES128),
    (RUST, X25519_AES256),
    (RUST, X25519_CHACHA20),
    *((GO_OPENPCC, suite) for suite in (X25519_AES128, X25519_AES256, X25519_CHACHA20, P256, P384, P521, X448, X_WING)),
)


ONE_SHOT_SUITES: Final = (
    *CHUNKED_SUITES,
    *((GO_CHRIS_WOOD, suite) for suite in (X25519_AES128, X25519_CHACHA20, P256, X_WING)),
)


def peer_suites(pairs: Iterable[tuple[Program, PeerSuite]]) -> list[ParameterSet]:
    """Return the parameters `program` and `suite` of every pair."""
    return [pytest.param(program, suite, id=f"{program.folder}-{suite}") for program, suite in pairs]


def expect_support(program: Program, suite: PeerSuite) -> None:
    """Stop, and say why in the matrix, where the peer does not have the suite."""
    if (program, suite) == (RUST, X25519_AES256):
        pytest.xfail(NOT_IN_RUST)
