"""All of RATS's wrapper for conceptual messages, as others write it: RFC 9999 (draft-ietf-rats-msg-wrap).

A wrapper is a record (type and value), a CBOR tag that stands for a type, or a collection of wrappers under labels. It
is written in CBOR or in JSON, may be signed (COSE_Sign1, JWS) and may sit in a certificate. What a node of ours emits
is the deterministic subset in `cmw.py`. A wrapper by itself protects nothing: who reads one trusts no word of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from enum import IntFlag
from typing import Any, Final, TypeAlias, assert_never, final

from attrs import field, frozen
from cryptography.hazmat import asn1

from confsec.errors import DecodeError, LimitError, LocalProtocolError, VerificationError
from confsec.protocol import cbor_general, json_general
from confsec.protocol.cbor_general import CborItem, CborKey, Tag, as_array
from confsec.protocol.cose import HEADER_ALGORITHM, HEADER_CONTENT_TYPE, CoseSign1, sign1, verify_sign1
from confsec.protocol.jose import Jws, verify_jws
from confsec.protocol.json_general import JsonItem
from confsec.protocol.signatures import PublicKey, SigningKey
from confsec.protocol.wire import decode_base64url, encode_base64url

__all__ = [
    "CMW_CBOR_CONTENT_FORMAT",
    "CMW_CBOR_TYPE",
    "CMW_EXTENSION_OID",
    "CMW_JSON_TYPE",
    "MAX_CMW",
    "MAX_CMW_DEPTH",
    "MAX_CMW_LABELS",
    "Cmw",
    "CollectionCmw",
    "ConceptualMessage",
    "RecordCmw",
    "TagCmw",
    "cmw_from_cbor",
    "cmw_from_json",
    "cmw_to_cbor",
    "cmw_to_json",
    "content_format_of_tag",
    "decode_cmw",
    "decode_cmw_cbor",
    "decode_cmw_extension",
    "decode_cmw_json",
    "decode_signed_cmw",
    "encode_cmw_cbor",
    "encode_cmw_extension",
    "encode_cmw_json",
    "sign_cmw",
    "tag_of_content_format",
    "verify_signed_cmw",
    "verify_signed_cmw_json",
]

CMW_CBOR_TYPE: Final = "application/cmw+cbor"
"""The media type of a wrapper in CBOR."""

CMW_JSON_TYPE: Final = "application/cmw+json"
"""The media type of a wrapper in JSON."""

CMW_CBOR_CONTENT_FORMAT: Final = 273
"""The CoAP Content-Format of `application/cmw+cbor` in IANA's registry."""

CMW_EXTENSION_OID: Final = "1.3.6.1.5.5.7.1.35"
"""id-pe-cmw: the extension of certificates, revocation lists and requests (section 4.4)."""

MAX_CMW: Final = 1 << 20
"""A wrapper has at most 1 MiB."""

MAX_CMW_DEPTH: Final = 8
"""Collections in collections beyond this are refused (section 3.3 lets implementations limit it)."""

MAX_CMW_LABELS: Final = 256
"""A collection has at most so many entries."""

_RECORD: Final = "RFC 9999, section 3.1"
_TAG: Final = "RFC 9999, section 3.2"
_COLLECTION: Final = "RFC 9999, section 3.3"
_TYPE_LABEL: Final = "__cmwc_t"
_MAX_TYPE: Final = 1024
_FIRST_TAG: Final = 1668546817
_LAST_TAG: Final = 1668612095
_LAST_CONTENT_FORMAT: Final = 0xFFFF

# Content-Type of RFC 9193, section 2, with names of RFC 6838, section 4.2.
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_TOKEN: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_QUOTED: Final = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_CONTENT_TYPE: Final = re.compile(rf"{_NAME}/{_NAME}(?: *; *{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))*")
# A URI in its absolute form (RFC 3986, section 4.3: no fragment), or an absolute OID.
_COLLECTION_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!$%&-;=?-Z_a-z~\[\]]+|[0-2](?:\.(?:0|[1-9][0-9]*))+")


class ConceptualMessage(IntFlag):
    """Which conceptual messages are in a record: the indicator `ind` (section 3.1.1)."""

    REFERENCE_VALUES = 1
    ENDORSEMENTS = 2
    EVIDENCE = 4
    ATTESTATION_RESULTS = 8
    APPRAISAL_POLICY = 16


@final
@frozen
class RecordCmw:
    """One message: what it is, its bytes, and perhaps which conceptual messages are in it."""

    type: str | int
    """A Content-Type, or a CoAP Content-Format number, which only CBOR can say."""

    value: bytes = field(repr=False)
    """The message itself."""

    indicator: ConceptualMessage | None = None
    """None where the type says enough."""

    def __attrs_post_init__(self) -> None:
        if isinstance(self.type, str):
            if len(self.type) > _MAX_TYPE or not _CONTENT_TYPE.fullmatch(self.type):
                raise DecodeError("the type of a CMW record is no Content-Type", section=_RECORD)
        elif isinstance(self.type, bool) or not 0 <= self.type <= _LAST_CONTENT_FORMAT:
            raise DecodeError("the type of a CMW record is no Content-Format", got=self.type, section=_RECORD)
        if self.indicator is not None and not 0 < self.indicator <= _ALL_MESSAGES:
            raise DecodeError("the indicator of a CMW record is none", got=int(self.indicator), want="1 to 31")


_ALL_MESSAGES: Final = sum(ConceptualMessage)


@final
@frozen
class TagCmw:
    """One message whose type is told by a CBOR tag. JSON cannot say it."""

    content_format: int
    """The CoAP Content-Format number that the tag was derived from: 0 to 65024."""

    value: bytes = field(repr=False)
    """The message itself."""

    def __attrs_post_init__(self) -> None:
        tag_of_content_format(self.content_format)

    @property
    def tag(self) -> int:
        """The number of the CBOR tag."""
        return tag_of_content_format(self.content_format)


@final
@frozen
class CollectionCmw:
    """Wrappers under labels, which are unique here. Their order means nothing."""

    items: Mapping[int | str, Cmw]
    """By label. JSON has text labels only."""

    type: str | None = None
    """A URI or an OID that says what the labels mean, if anything does."""

    def __attrs_post_init__(self) -> None:
        if not 0 < len(self.items) <= MAX_CMW_LABELS:
            raise LimitError("a CMW collection has too many entries, or none", got=len(self.items), section=_COLLECTION)
        if self.type is not None and (len(self.type) > _MAX_TYPE or not _COLLECTION_TYPE.fullmatch(self.type)):
            raise DecodeError("the type of a CMW collection is neither URI nor OID", section=_COLLECTION)
        if _TYPE_LABEL in self.items or "" in self.items:
            raise DecodeError("a CMW collection has a label that may not be used", section=_COLLECTION)


Cmw: TypeAlias = RecordCmw | TagCmw | CollectionCmw
"""A wrapper."""


def tag_of_content_format(number: int) -> int:
    """Return the CBOR tag of a Content-Format number: TN() of RFC 9277, appendix B. Raises `LocalProtocolError`."""
    tag = _FIRST_TAG + number // 255 * 256 + number % 255
    if not _FIRST_TAG <= tag <= _LAST_TAG:
        raise LocalProtocolError("no tag stands for this Content-Format", got=number, section="RFC 9277, appendix B")
    return tag


def content_format_of_tag(tag: int) -> int:
    """Return the Content-Format number that a CBOR tag stands for. Raises `DecodeError` if it stands for none."""
    high, low = divmod(tag - _FIRST_TAG, 256)
    # No byte of such a tag is zero, so that it can be found in a file: every 256th number is left out.
    if not _FIRST_TAG <= tag <= _LAST_TAG or low == 255:
        raise DecodeError("a tag does not stand for a Content-Format", got=tag, section=_TAG)
    return high * 255 + low


# --- Reading ----------------------------------------------------------------------------------------------------------


def decode_cmw(data: bytes, *, limit: int = MAX_CMW) -> Cmw:
    """Read a wrapper of either form, by its first byte (section 3.4). Raises `DecodeError`."""
    return decode_cmw_json(data, limit=limit) if data[:1] in {b"[", b"{"} else decode_cmw_cbor(data, limit=limit)


def decode_cmw_cbor(data: bytes, *, limit: int = MAX_CMW) -> Cmw:
    """Read a wrapper in CBOR. Raises `DecodeError`; `LimitError` beyond the limits of this module."""
    return cmw_from_cbor(cbor_general.decode(data, what="a CMW", limit=limit))


def decode_cmw_json(data: bytes, *, limit: int = MAX_CMW) -> Cmw:
    """Read a wrapper in JSON. Raises `DecodeError`; `LimitError` beyond the limits of this module."""
    return cmw_from_json(json_general.decode(data, what="a CMW", limit=limit))


def cmw_from_cbor(item: CborItem) -> Cmw:
    """Read a wrapper that is part of something else in CBOR, as a claim. Raises `DecodeError`."""
    return _from_cbor(item, 1)


def cmw_from_json(item: JsonItem) -> Cmw:
    """Read a wrapper that is part of something else in JSON. Raises `DecodeError`."""
    return _from_json(item, 1)


def _from_cbor(item: CborItem, depth: int) -> Cmw:
    match item:
        case Tag(number, bytes(value)):
            return TagCmw(content_format_of_tag(number), value)
        case list():
            return _record(as_array(item, what="a CMW record", sizes=range(2, 4)))
        case dict():
            return _collection(item, depth, _from_cbor)
        case _:
            raise DecodeError("a CMW is neither record, tag nor collection", section="RFC 9999, section 3")


def _record(parts: list[CborItem]) -> RecordCmw:
    kind, value = parts[:2]
    if isinstance(kind, bool) or not isinstance(kind, int | str):
        raise DecodeError("the type of a CMW record is neither text nor number", section=_RECORD)
    if not isinstance(value, bytes):
        raise DecodeError("the value of a CMW record is no byte string", section=_RECORD)
    return RecordCmw(kind, value, _indicator(parts[2]) if len(parts) > 2 else None)


def _indicator(item: CborItem | JsonItem) -> ConceptualMessage:
    if isinstance(item, bool) or not isinstance(item, int) or not 0 < item <= _ALL_MESSAGES:
        raise DecodeError("the indicator of a CMW record is none", want=f"1 to {_ALL_MESSAGES}", section=_RECORD)
    return ConceptualMessage(item)


def _collection(pairs: Mapping[Any, Any], depth: int, read: Callable[[Any, int], Cmw]) -> CollectionCmw:
    if depth > MAX_CMW_DEPTH:
        raise LimitError("CMW collections are nested too deeply", want=f"at most {MAX_CMW_DEPTH}", section=_COLLECTION)
    if len(pairs) > MAX_CMW_LABELS + 1:
        raise LimitError("a CMW collection has too many entries", got=len(pairs), section=_COLLECTION)
    if any(isinstance(label, bytes) for label in pairs) or not isinstance(pairs.get(_TYPE_LABEL, ""), str):
        raise DecodeError("a CMW collection has a label or a type of a wrong kind", section=_COLLECTION)
    items = {label: read(item, depth + 1) for label, item in pairs.items() if label != _TYPE_LABEL}
    return CollectionCmw(items, pairs.get(_TYPE_LABEL))


def _from_json(item: JsonItem, depth: int) -> Cmw:
    match item:
        case [str(kind), str(value)]:
            return RecordCmw(kind, _json_value(value))
        case [str(kind), str(value), indicator]:
            return RecordCmw(kind, _json_value(value), _indicator(indicator))
        case dict():
            return _collection(item, depth, _from_json)
        case _:
            raise DecodeError("a CMW in JSON is neither record nor collection", section="RFC 9999, section 3")


def _json_value(text: str) -> bytes:
    if not text:
        raise DecodeError("the value of a CMW record in JSON is empty", section=_RECORD)
    return decode_base64url(text)


# --- Writing ----------------------------------------------------------------------------------------------------------


def encode_cmw_cbor(cmw: Cmw) -> bytes:
    """Write a wrapper in CBOR, deterministically."""
    return cbor_general.encode(cmw_to_cbor(cmw))


def encode_cmw_json(cmw: Cmw) -> bytes:
    """Write a wrapper in JSON. Raises `LocalProtocolError` for what JSON cannot say: tags, numbers, empty values."""
    return json_general.encode(cmw_to_json(cmw))


def cmw_to_cbor(cmw: Cmw) -> CborItem:
    """Return a wrapper as a part of something else in CBOR."""
    match cmw:
        case RecordCmw(kind, value, indicator):
            return [kind, value, *([] if indicator is None else [int(indicator)])]
        case TagCmw():
            return Tag(cmw.tag, cmw.value)
        case CollectionCmw(items, kind):
            pairs: dict[CborKey, CborItem] = {} if kind is None else {_TYPE_LABEL: kind}
            pairs.update({label: cmw_to_cbor(item) for label, item in items.items()})
            return pairs
        case _:
            assert_never(cmw)


def cmw_to_json(cmw: Cmw) -> JsonItem:
    """Return a wrapper as a part of something else in JSON. Raises `LocalProtocolError`, as `encode_cmw_json` does."""
    match cmw:
        case RecordCmw(str(kind), value, indicator) if value:
            return [kind, encode_base64url(value), *([] if indicator is None else [int(indicator)])]
        case CollectionCmw(items, kind) if all(isinstance(label, str) for label in items):
            members: dict[str, JsonItem] = {} if kind is None else {_TYPE_LABEL: kind}
            members.update({str(label): cmw_to_json(item) for label, item in items.items()})
            return members
        case _:
            raise LocalProtocolError("a CMW that cannot be written in JSON", section="RFC 9999, section 3")


# --- Signed -----------------------------------------------------------------------------------------------------------


def decode_signed_cmw(data: bytes) -> CoseSign1:
    """Read a signed wrapper in CBOR and look at its headers (section 4.1); the signature is not verified.

    Raises `DecodeError` if the protected headers do not name algorithm and content type.
    """
    message = CoseSign1.decode(data, limit=MAX_CMW)
    if not isinstance(message.headers.get(HEADER_ALGORITHM), int):
        raise DecodeError("a signed CMW does not say its algorithm", section="RFC 9999, section 4.1")
    if message.headers.get(HEADER_CONTENT_TYPE) not in {CMW_CBOR_TYPE, CMW_CBOR_CONTENT_FORMAT}:
        raise DecodeError("a signed CMW is of another type", want=CMW_CBOR_TYPE, section="RFC 9999, section 4.1")
    if message.payload is None:
        raise DecodeError("a signed CMW has no payload", section="RFC 9999, section 4.1")
    return message


def verify_signed_cmw(data: bytes, key: PublicKey, *, algorithms: Collection[str] | None = None) -> Cmw:
    """Check a signed wrapper in CBOR with a key that the caller trusts, and return what is wrapped.

    Raises `DecodeError` and `VerificationError`.
    """
    message = decode_signed_cmw(data)
    payload = verify_sign1(message, key) if algorithms is None else verify_sign1(message, key, algorithms=algorithms)
    return decode_cmw_cbor(payload)


def sign_cmw(cmw: Cmw, key: SigningKey, *, algorithm: str) -> bytes:
    """Sign a wrapper and write both in CBOR."""
    headers: dict[CborKey, CborItem] = {HEADER_CONTENT_TYPE: CMW_CBOR_TYPE}
    return sign1(encode_cmw_cbor(cmw), key, algorithm=algorithm, protected=headers).encode()


def verify_signed_cmw_json(data: bytes, key: PublicKey, *, algorithms: Collection[str] | None = None) -> Cmw:
    """Check a signed wrapper in JSON, flattened or compact, and return what is wrapped (section 4.2).

    Raises `DecodeError` and `VerificationError`.
    """
    jws = Jws.decode_flattened(data) if data[:1] == b"{" else Jws.decode(data.decode("ascii", "replace"))
    verified = verify_jws(jws, key) if algorithms is None else verify_jws(jws, key, algorithms=algorithms)
    if verified.header.get("cty") != CMW_JSON_TYPE:
        raise VerificationError("a signed CMW is of another type", want=CMW_JSON_TYPE, section="RFC 9999, section 4.2")
    return decode_cmw_json(verified.payload)


# --- In certificates --------------------------------------------------------------------------------------------------


def decode_cmw_extension(value: bytes) -> Cmw:
    """Read the value of the extension `CMW_EXTENSION_OID`: a UTF8String or an OCTET STRING (section 4.4).

    Raises `DecodeError`. The certificate around it is not looked at here.
    """
    try:
        content: str | bytes = asn1.decode_der(str, value) if value[:1] == b"\x0c" else asn1.decode_der(bytes, value)
    except ValueError as exc:
        raise DecodeError(
            "a CMW extension is neither UTF8String nor OCTET STRING", section="RFC 9999, section 4.4"
        ) from exc
    return decode_cmw_json(content.encode()) if isinstance(content, str) else decode_cmw_cbor(content)


def encode_cmw_extension(cmw: Cmw) -> bytes:
    """Return the value of the extension for a wrapper, in CBOR."""
    return asn1.encode_der(encode_cmw_cbor(cmw))
