"""Vectors of SCITT: receipts in lists, and the kinds cose-receipt, signed-statement and transparent-statement.

Receipts of CCF's tree are read by nobody here, and DIDs of issuers are not resolved: keys are the caller's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_der_x509_certificate

from confsec.conformance.cases import (
    Case,
    CaseSkippedError,
    MismatchError,
    Schema,
    check_refused,
    check_same,
    has_members,
    list_cases,
    or_refused,
    unhex,
)
from confsec.conformance.kinds import FileCase, Kind
from confsec.errors import UnsupportedError
from confsec.protocol.cose import HEADER_CRITICAL, CoseSign1, verify_sign1
from confsec.protocol.known_issuer import HEADER_CWT_CLAIMS, KnownIssuer
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.receipt import RFC9162_SHA256, Receipt, verify_inclusion_receipt
from confsec.protocol.signatures import PublicKey
from confsec.protocol.transparent_statement import SignedStatement

__all__ = [
    "KINDS",
    "SCHEMAS",
    "check_inclusion_receipt",
    "check_receipt",
    "check_signed_statement",
    "check_transparent_statement",
]

_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_TREES: Final = {"RFC9162_SHA256": RFC9162_SHA256}
_DIAG_NUMBERS: Final = re.compile(r"/ size / (\d+), / leaf / (\d+)")
_DIAG_HASH: Final = re.compile(r"h'([0-9a-f]{8})\.\.\.([0-9a-f]{8})'")
_DIAG_ISSUER: Final = re.compile(r'/ iss / 1: "([^"]*)"')


def check_inclusion_receipt(case: Case) -> None:
    """Check a receipt of an entry under the key of its log, whatever it calls itself."""
    encoded, entry = unhex(case, "receipt"), unhex(case, "entry")
    key = _public_key(load_der_public_key(unhex(case, "log_key")))
    receipt = Receipt.decode(encoded)
    shown = verify_inclusion_receipt(receipt, leaf_hash(entry), KnownIssuer(receipt.claims.issuer, key), at=_AT)
    check_same("what comes back", receipt.encode(), encoded)
    check_same("root", shown.root, unhex(case, "root"))
    check_same("size", shown.size, case["tree_size"])
    check_same("index", shown.index, case["leaf_index"])


def check_receipt(case: FileCase) -> None:
    """Check what a receipt says, whose key was not published, and that it shows nothing under another one."""
    receipt = Receipt.decode(case.read("receipt"))
    check_same("vds", RFC9162_SHA256, _TREES.get(case.params["vds"]))
    check_same("what comes back", receipt.encode(), case.read("receipt"))
    (proof,) = receipt.inclusion
    said = case.read("diag").decode()
    for size, index in _DIAG_NUMBERS.findall(said):
        check_same("size and index", (proof.size, proof.index), (int(size), int(index)))
    shown = [(each.hex()[:8], each.hex()[-8:]) for each in proof.path]
    check_same("path", shown, _DIAG_HASH.findall(said.partition("/ inclusion path /")[2])[: len(shown)])
    check_same("issuer", [receipt.claims.issuer], _DIAG_ISSUER.findall(said))
    other = KnownIssuer(receipt.claims.issuer, ec.derive_private_key(7, ec.SECP256R1()).public_key())
    check_refused(lambda: verify_inclusion_receipt(receipt, leaf_hash(b""), other, at=_AT))


def check_signed_statement(case: FileCase) -> None:
    """Check that a statement is read, and its signature where it brings a certificate. Who issued that, nobody asks."""
    _read_statement(case)


def check_transparent_statement(case: FileCase) -> None:
    """Check a statement as above, and that its receipts are read."""
    statement = _read_statement(case)
    if not statement.receipts:
        raise MismatchError("a transparent statement has no receipt")
    for encoded in statement.receipts:
        try:
            Receipt.decode(encoded)
        except UnsupportedError as exc:
            raise CaseSkippedError("its receipt is of CCF's tree: we read those of RFC 9162") from exc


def _read_statement(case: FileCase) -> SignedStatement:
    statement = SignedStatement.decode(case.read("statement"))
    check_same("what comes back", SignedStatement.decode(statement.encode()), statement)
    if not statement.message.payload:
        raise MismatchError("the statement says nothing")
    if HEADER_CWT_CLAIMS in statement.message.headers and statement.claims.issuer is None:
        raise MismatchError("the claims name no issuer")
    if statement.message.x5chain:
        _check_signature(statement.message)
    return statement


def _check_signature(message: CoseSign1) -> None:
    """Check a signature by the certificate that came with it, or that what nobody here understands is refused."""
    key = _public_key(load_der_x509_certificate(message.x5chain[0]).public_key())
    verify = partial(verify_sign1, message, key, understood={HEADER_CWT_CLAIMS})
    if HEADER_CRITICAL in message.headers:  # evidence of a TEE that the issuer runs in
        check_refused(verify)
    else:
        verify()


def _public_key(key: object) -> PublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise MismatchError("the case has a key of a kind that we do not verify with")
    return key


SCHEMAS: Final = (
    Schema(
        name="cose-receipt",
        recognises=has_members("receipt log_key entry"),
        check=or_refused(check_inclusion_receipt),
        list_cases=list_cases,
    ),
    Schema(
        name="did-x509",
        protocol="scitt",
        recognises=lambda _: False,
        check=None,
        missing="DIDs of issuers are not resolved: whoever verifies a statement gives the keys",
        list_cases=list_cases,
    ),
)
"""Receipts of inclusion, and the resolution of DIDs, which we do not do."""

KINDS: Final = (
    Kind(name="cose-receipt", check=check_receipt),
    Kind(name="signed-statement", check=check_signed_statement),
    Kind(name="transparent-statement", check=check_transparent_statement),
)
"""Receipts and statements as files."""
