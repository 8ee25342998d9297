"""Logs that give receipts, and statements that are in them, for the tests of both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from confsec.protocol.cbor_general import CborItem, CborKey
from confsec.protocol.cose import CoseSign1, sign1
from confsec.protocol.known_issuer import HEADER_CWT_CLAIMS, KnownIssuer
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.receipt import (
    HEADER_RECEIPTS,
    HEADER_VDP,
    HEADER_VDS,
    PROOF_CONSISTENCY,
    PROOF_INCLUSION,
    RFC9162_SHA256,
    ConsistencyProof,
    InclusionProof,
)
from confsec.protocol.signatures import SigningKey
from confsec.protocol.transparent_statement import SignedStatement
from tests.protocol.test_merkle import growth, path, root_of

__all__ = [
    "AT",
    "ISSUER",
    "ISSUER_KEY",
    "LOG",
    "LOG_KEY",
    "OTHER_KEY",
    "log",
    "make_receipt",
    "make_statement",
    "transparent",
]

AT: Final = datetime(2026, 11, 28, tzinfo=UTC)
LOG_KEY: Final = ec.derive_private_key(11, ec.SECP256R1())
ISSUER_KEY: Final = ed25519.Ed25519PrivateKey.from_private_bytes(b"i" * 32)
OTHER_KEY: Final = ec.derive_private_key(13, ec.SECP256R1())
LOG: Final = KnownIssuer("https://log.example", LOG_KEY.public_key())
ISSUER: Final = KnownIssuer("https://issuer.example", ISSUER_KEY.public_key())


def log(name: str | None, key: SigningKey = LOG_KEY) -> KnownIssuer:
    """Return a log of another name."""
    return KnownIssuer(name, key.public_key())


def make_receipt(
    leaves: list[bytes],
    *,
    included: tuple[int, ...] = (),
    grown_from: tuple[int, ...] = (),
    key: SigningKey = LOG_KEY,
    algorithm: str = "ES256",
    claims: Mapping[CborKey, CborItem] | None = None,
    protected: Mapping[CborKey, CborItem] | None = None,
    proofs: Mapping[CborKey, CborItem] | None = None,
    detached: bool = True,
) -> bytes:
    """Return a receipt of the tree with these leaf hashes: of entries that it has, and of sizes that it grew from."""
    size = len(leaves)
    headers: dict[CborKey, CborItem] = {HEADER_VDS: RFC9162_SHA256}
    headers[HEADER_CWT_CLAIMS] = {1: LOG.issuer} if claims is None else dict(claims)
    listed: dict[CborKey, CborItem] = {}
    if included:
        listed[PROOF_INCLUSION] = [InclusionProof(size, at, tuple(path(at, leaves))).encode() for at in included]
    if grown_from:
        ways = [ConsistencyProof(old, size, tuple(growth(old, leaves))) for old in grown_from]
        listed[PROOF_CONSISTENCY] = [each.encode() for each in ways]
    return sign1(
        root_of(leaves), key, algorithm=algorithm, protected=headers | dict(protected or {}),
        unprotected={HEADER_VDP: dict(listed if proofs is None else proofs)}, detached=detached,
    ).encode()  # fmt: skip


def make_statement(
    payload: bytes = b"it is good",
    *,
    claims: Mapping[CborKey, CborItem] | None = None,
    protected: Mapping[CborKey, CborItem] | None = None,
    detached: bool = False,
) -> CoseSign1:
    """Return a signed statement without receipts."""
    named: dict[CborKey, CborItem] = {1: ISSUER.issuer, 2: "artifact"} if claims is None else dict(claims)
    headers: dict[CborKey, CborItem] = {3: "text/plain", HEADER_CWT_CLAIMS: named, **(protected or {})}
    return sign1(payload, ISSUER_KEY, algorithm="EdDSA", protected=headers, detached=detached)


def transparent(message: CoseSign1, *receipts: CborItem) -> SignedStatement:
    """Return a statement with its receipts, as it is read."""
    with_receipts = CoseSign1(
        protected=message.protected,
        unprotected={HEADER_RECEIPTS: list(receipts)},
        payload=message.payload,
        signature=message.signature,
    )
    return SignedStatement.decode(with_receipts.encode())


def receipt_for(message: CoseSign1, *, before: int = 2, **more: object) -> bytes:
    """Return a receipt of a log that has the statement behind some others."""
    leaves = [leaf_hash(b"%d" % number) for number in range(before)] + [leaf_hash(message.encode())]
    return make_receipt(leaves, included=(before,), **more)  # type: ignore[arg-type] # the same keywords
