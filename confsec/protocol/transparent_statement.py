"""Signed statements of SCITT, and what makes them transparent: receipts of logs that have them (RFC 9943).

A statement is a COSE_Sign1 with claims about who says it (`iss`) and about what (`sub`). A log enters it with empty
unprotected headers, and its receipt is then put among these. A statement counts when its issuer signed it and each of
the logs that the caller asks for has it. Keys are the caller's: DIDs, certificates and attested issuers that a message
names are not followed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, Self, final

from attrs import evolve, field, frozen

from confsec.errors import (
    ConfigError,
    ConfsecError,
    DecodeError,
    LimitError,
    TransparencyError,
    UnsupportedError,
    VerificationError,
)
from confsec.protocol.cbor_general import CborItem, CborKey, as_array
from confsec.protocol.cose import DEFAULT_ALGORITHMS, MAX_SIGN1, CoseSign1
from confsec.protocol.known_issuer import HEADER_CWT_CLAIMS, HeaderClaims, KnownIssuer
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.receipt import HEADER_RECEIPTS, HEADER_VDS, Receipt, SignedRoot, verify_inclusion_receipt

__all__ = ["MAX_RECEIPTS", "SignedStatement", "VerifiedTransparentStatement", "verify_transparent_statement"]

MAX_RECEIPTS: Final = 16
"""A statement has at most so many receipts."""

_SIGNED: Final = "RFC 9943, Signed Statements"
_TRANSPARENT: Final = "RFC 9943, Transparent Statements"


@final
@frozen(kw_only=True)
class SignedStatement:
    """A signed statement with its receipts, as it came: nothing of it has been checked."""

    message: CoseSign1
    """The signature, the headers and the payload."""

    claims: HeaderClaims
    """Who says it, and about what."""

    receipts: tuple[bytes, ...] = field(repr=False)
    """Its receipts, each encoded: some may be of trees that we do not know. With none it is not transparent."""

    @classmethod
    def decode(cls, data: bytes, *, limit: int = MAX_SIGN1) -> Self:
        """Read a statement of at most `limit` bytes. Raises `DecodeError`."""
        message = CoseSign1.decode(data, limit=limit)
        if not message.tagged:
            raise DecodeError("a signed statement is not tagged as COSE_Sign1", section=_SIGNED)
        # A log names itself in receipts as an issuer does in statements. What it signs there is a root.
        if HEADER_VDS in message.headers:
            raise DecodeError("a receipt is no signed statement", section=_SIGNED)
        listed = as_array(message.unprotected.get(HEADER_RECEIPTS, []), what="the receipts of a statement")
        if len(listed) > MAX_RECEIPTS:
            raise LimitError("a statement has too many receipts", got=len(listed), want=f"at most {MAX_RECEIPTS}")
        receipts = tuple(each for each in listed if isinstance(each, bytes))
        if len(receipts) < len(listed):
            raise DecodeError("a receipt of a statement is no byte string", section="RFC 9942, section 4.3")
        return cls(message=message, claims=HeaderClaims.of(message.headers), receipts=receipts)

    def encode(self) -> bytes:
        """Write the statement. Its signed part keeps its bytes; the rest is written deterministically."""
        return self.message.encode()

    @property
    def entry(self) -> bytes:
        """What a log has of it: the message with empty unprotected headers, which nobody signed."""
        return evolve(self.message, unprotected={}).encode()


@final
@frozen(kw_only=True)
class VerifiedTransparentStatement:
    """A statement that its issuer signed and that logs have. Made by `verify_transparent_statement` alone."""

    payload: bytes = field(repr=False)
    """What is said."""

    subject: str
    """What it is about, by the issuer's words. The caller compares it."""

    headers: Mapping[CborKey, CborItem] = field(repr=False)
    """The protected headers: a content type, or of what the payload is a hash."""

    logged: tuple[SignedRoot, ...]
    """Where it is, one for each log that was asked for."""


def verify_transparent_statement(
    statement: SignedStatement,
    issuer: KnownIssuer,
    logs: Sequence[KnownIssuer],
    *,
    at: datetime,
    detached_payload: bytes | None = None,
    algorithms: Collection[str] = DEFAULT_ALGORITHMS,
) -> VerifiedTransparentStatement:
    """Check a statement of `issuer` that each of `logs` has. Receipts of other logs are passed over.

    `detached_payload` is the payload, where it travels beside the message. Raises `ConfigError` if no log is asked for,
    or for a payload that is there twice or not at all, `VerificationError` for a signature or a time,
    `TransparencyError` for another issuer or a log that does not have it, and `UnsupportedError` for an algorithm that
    we do not have.
    """
    if not logs:
        raise ConfigError("a transparent statement counts by its logs", hint="Say which ones you ask for")
    if (statement.message.payload is None) == (detached_payload is None):
        raise ConfigError("the payload of a statement has to be in it or beside it", section=_SIGNED)
    # 1. It says who says it, and about what.
    issuer.require_named(statement.claims)
    if statement.claims.issuer is None or statement.claims.subject is None:
        raise TransparencyError("a statement does not say who says it, and about what", section=_SIGNED)
    # 2. The issuer signed it, and it counts at this time.
    payload = issuer.verify(
        statement.message, detached_payload=detached_payload, algorithms=algorithms, understood={HEADER_CWT_CLAIMS}
    )
    statement.claims.verify_current(at)
    # 3. Each log has it.
    logged = tuple(_verify_logged(statement, log, at, algorithms) for log in logs)
    return VerifiedTransparentStatement(
        payload=payload, subject=statement.claims.subject, headers=statement.message.headers, logged=logged
    )


def _verify_logged(
    statement: SignedStatement, log: KnownIssuer, at: datetime, algorithms: Collection[str]
) -> SignedRoot:
    """Return where a log has a statement, by the first of its receipts that shows it."""
    leaf = leaf_hash(statement.entry)
    why: ConfsecError | None = None
    for encoded in statement.receipts:
        try:
            receipt = Receipt.decode(encoded)
            if receipt.claims.issuer == log.issuer:
                return verify_inclusion_receipt(receipt, leaf, log, at=at, algorithms=algorithms)
        except (DecodeError, UnsupportedError, VerificationError) as exc:
            why = exc
    raise TransparencyError(
        "no receipt shows that the log has the statement", got=why and why.what, want=log.issuer or "nobody",
        section=_TRANSPARENT, hint="Ask the log, or whoever sent the statement, for its receipt",
    ) from why  # fmt: skip
