"""Vectors of RATS's wrapper: schema cmw-records and the kinds cmw-record, cmw-collection and cmw-x509.

What is good is decoded, compared with what is stated, and comes back when it is encoded again. Keys
of signed wrappers were not published: their structure is read, and the signature has to be refused under a key that
is not theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509 import ObjectIdentifier, UnrecognizedExtension, load_der_x509_certificate

from confsec.conformance.cases import (
    Case,
    MismatchError,
    NamedCase,
    Schema,
    check_same,
    or_refused,
    unhex,
)
from confsec.conformance.edn import named_edn_cbor
from confsec.conformance.kinds import FileCase, Kind
from confsec.protocol.cmw_messages import (
    CMW_EXTENSION_OID,
    Cmw,
    CollectionCmw,
    RecordCmw,
    TagCmw,
    decode_cmw_cbor,
    decode_cmw_extension,
    decode_cmw_json,
    decode_signed_cmw,
    encode_cmw_cbor,
    encode_cmw_extension,
    encode_cmw_json,
    verify_signed_cmw,
)

__all__ = ["KINDS", "SCHEMAS", "check_cmw_cbor", "check_cmw_file", "check_cmw_record", "check_cmw_x509"]

_LISTS: Final = ("json", "cbor", "signed")
_NOT_THEIR_KEY: Final = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()


def check_cmw_record(case: Case) -> None:
    """Check one wrapper of a list: in JSON text, in CBOR, or signed."""
    if "signed_cmw" in case:
        _check_signed(case)
        return
    cmw = _check_json(str(case["json"]).encode()) if "json" in case else check_cmw_cbor(unhex(case, "cbor"))
    if isinstance(cmw, CollectionCmw):
        raise MismatchError("a collection, where a record is wanted")
    if "type" in case:
        check_same("type", cmw.type if isinstance(cmw, RecordCmw) else None, case["type"])
    if "tag" in case:
        check_same("tag", cmw.tag if isinstance(cmw, TagCmw) else None, case["tag"])
    if "value" in case:
        check_same("value", cmw.value, unhex(case, "value"))


def check_cmw_cbor(data: bytes) -> Cmw:
    """Check that a wrapper in CBOR comes back from our encoding, which is as long, and return it.

    Ours is deterministic: a collection of somebody else may have its labels in another order.
    """
    cmw = decode_cmw_cbor(data)
    ours = encode_cmw_cbor(cmw)
    check_same("what comes back", decode_cmw_cbor(ours), cmw)
    check_same("length of the encoding", len(ours), len(data))
    if not isinstance(cmw, CollectionCmw):
        check_same("encoding", ours, data)
    return cmw


def check_cmw_file(case: FileCase) -> None:
    """Check a wrapper in a file of its own."""
    cmw = check_cmw_cbor(case.read("cbor")) if "cbor" in case.files else _check_json(_json_of(case))
    if isinstance(cmw, CollectionCmw) != (case.kind == "cmw-collection"):
        raise MismatchError(f"a {type(cmw).__name__}, where a {case.kind} is stated")


def check_cmw_x509(case: FileCase) -> None:
    """Check the extension of a certificate. Nobody published who issued it."""
    certificate = load_der_x509_certificate(case.read("cert"))
    extension = certificate.extensions.get_extension_for_oid(ObjectIdentifier(CMW_EXTENSION_OID)).value
    if not isinstance(extension, UnrecognizedExtension):
        raise MismatchError("the certificate has no such extension")
    check_same("extension", encode_cmw_extension(decode_cmw_extension(extension.value)), extension.value)


def _json_of(case: FileCase) -> bytes:
    return case.read("json" if "json" in case.files else "record")


def _check_json(text: bytes) -> Cmw:
    """Check that a wrapper in JSON comes back from our JSON and from our CBOR."""
    cmw = decode_cmw_json(text)
    check_same("what JSON says", decode_cmw_json(encode_cmw_json(cmw)), cmw)
    check_same("what CBOR says", decode_cmw_cbor(encode_cmw_cbor(cmw)), cmw)
    return cmw


def _check_signed(case: Case) -> None:
    data = unhex(case, "signed_cmw")
    if "signature verification" not in str(case.get("peer_error", "")):
        decode_signed_cmw(data)
        return
    message = decode_signed_cmw(data)
    if message.payload is not None:
        decode_cmw_cbor(message.payload)
    verify_signed_cmw(data, _NOT_THEIR_KEY)


def _list_all(document: object) -> Iterator[NamedCase]:
    if isinstance(document, Mapping):
        for name in _LISTS:
            cases = document.get(name)
            for number, case in enumerate(cases if isinstance(cases, list) else ()):
                yield f"{name} {number}", case


def _has_lists(document: object) -> bool:
    members: Mapping[str, Any] = document if isinstance(document, Mapping) else {}
    signed = members.get("signed")
    return isinstance(signed, list) and any(isinstance(case, Mapping) and "signed_cmw" in case for case in signed)


SCHEMAS: Final = (
    Schema(name="cmw-records", recognises=_has_lists, check=or_refused(check_cmw_record), list_cases=_list_all),
    named_edn_cbor("cmw", lambda case: check_cmw_cbor(unhex(case, "cbor"))),
)
"""Three lists in one file, and the examples of the draft."""

KINDS: Final = (
    Kind(name="cmw-record", check=check_cmw_file),
    Kind(name="cmw-collection", check=check_cmw_file),
    Kind(name="cmw-x509", check=check_cmw_x509),
)
"""Wrappers in files."""
