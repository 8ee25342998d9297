"""Vectors of the sealed request (docs/spec/sealed-request.md, section 11): messages that open, and one defect each.

A file is one case. ML-KEM cannot be replayed, so a request is opened and never made; responses are made and opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from confsec.conformance.algorithms import replay
from confsec.conformance.cases import (
    Case,
    MismatchError,
    NamedCase,
    Schema,
    check_same,
    check_stated,
    unhex,
)
from confsec.errors import ConfsecError
from confsec.protocol.aead import Aead, AeadSequence
from confsec.protocol.chunks import ChunkSealer
from confsec.protocol.hpke import setup_receiver
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import HybridKem, KemPrivateKey, kem_from_id
from confsec.protocol.node_keys import NodeKeys, node_hpke_suite, node_id, node_key_config
from confsec.protocol.sealed import (
    DEFAULT_MAX_BODY,
    SealedKeyReserved,
    SealedNode,
    SealedNodeEvent,
    SealedRequestOpened,
    read_header,
)
from confsec.protocol.sealed_keys import (
    RESPONSE_NONCE_SIZE,
    RESPONSE_SECRET_SIZE,
    derive_request_sequence,
    response_exporter_context,
    wrap_info,
)
from confsec.protocol.sealed_padding import unpad
from confsec.protocol.sealed_response import (
    ResponseSecret,
    SealedContentReceived,
    SealedResponseFinished,
    SealedResponseOpener,
    SealedResponseStarted,
)

__all__ = ["SCHEMAS", "check_sealed_defect", "check_sealed_exchange"]

_NOW: Final = datetime(2024, 1, 1, tzinfo=UTC)
_EPOCH: Final = timedelta(minutes=10)
_AEAD: Final = Aead.AES_256_GCM
_KDF: Final = Kdf.HKDF_SHA256


def check_sealed_exchange(case: Case) -> None:
    """Check that each node opens the request, and that its response is made and opened byte by byte."""
    request = case["request"]
    header = read_header(unhex(request, "sealed_request"))
    check_same("number of recipients", len(header.recipients), len(request["recipients"]))
    check_same("number of nodes", len(case["nodes"]), len(header.recipients))
    check_same("number of responses", len(case["responses"]), len(header.recipients))
    check_same("header_size", len(header.encode()), request["header_size"])
    check_stated(request, header_digest=header.digest)
    check_stated(request, request_hash=hashlib.sha256(unhex(request, "sealed_request")).digest())
    check_same("content", b"".join(unpad(each) for each in _plaintexts(request)), unhex(request, "content"))
    _check_request_chunks(request, header.encode())
    parts = zip(case["nodes"], header.recipients, request["recipients"], case["responses"], strict=True)
    for node, taken, recipient, response in parts:
        check_stated(recipient, node_id=taken.node_id, enc=taken.enc, wrapped_secret=taken.wrapped_secret)
        check_stated(response, node_id=taken.node_id)
        _check_node(node, request, recipient, response)
        _check_response(node, request, recipient, response)


def check_sealed_defect(case: Case) -> None:
    """Check that a request or a response is refused at the stated step, with the stated code."""
    refused = case["refused"]
    step, code = _refuse_response(case) if refused["step"] == "response" else _refuse_request(case)
    if not code:
        raise MismatchError("accepted, and has to be refused")
    check_same("the step and the code of the refusal", (step, code), (refused["step"], refused["code"]))


def _check_request_chunks(request: Case, header: bytes) -> None:
    """Make the request's chunks again, from the request secret and from the stated keys."""
    secret, key, base_nonce = (unhex(request, name) for name in ("request_secret", "key", "base_nonce"))
    for sequence in (derive_request_sequence(secret, header), AeadSequence(_AEAD, key, base_nonce)):
        check_stated(request, sealed_request=header + _seal(sequence, _plaintexts(request)))


def _check_node(node: Case, request: Case, recipient: Case, response: Case) -> None:
    """Check one node's key, and each secret on the way to the response secret."""
    kem, private_key = _node_key(node)
    key_config = node_key_config(private_key)
    check_stated(recipient, node_id=node_id(key_config), info=wrap_info(node_id(key_config)))
    enc = unhex(recipient, "enc")
    check_stated(recipient, shared_secret=private_key.decapsulate(enc))
    context = setup_receiver(node_hpke_suite(kem.kem_id), private_key, enc, wrap_info(node_id(key_config)))
    check_stated(request, request_secret=context.open(b"", unhex(recipient, "wrapped_secret")))
    exporter_context = response_exporter_context(unhex(request, "request_hash"))
    check_stated(response, exporter_context=exporter_context)
    check_stated(response, response_secret=context.export(exporter_context, RESPONSE_SECRET_SIZE))


def _check_response(node: Case, request: Case, recipient: Case, response: Case) -> None:
    """Let the node open the request and make its response again; let the client open that."""
    plaintexts, nonce = _plaintexts(response), unhex(response, "response_nonce")
    check_same("size of response_nonce", len(nonce), RESPONSE_NONCE_SIZE)
    machine = SealedNode(_live([node]), randbytes=replay(nonce), chunk_size=len(plaintexts[0]))
    events = _open(machine, unhex(request, "sealed_request"))
    want = [SealedKeyReserved(unhex(node, "node_id")), SealedRequestOpened(unhex(request, "content"))]
    check_same("what the node opens", events, want)
    *front, last = [unpad(plaintext) for plaintext in plaintexts]
    sent = machine.begin() + b"".join(machine.send(data) if data else machine.send_filler() for data in front)
    check_stated(response, sealed_response=sent + machine.send_eof(last), content=b"".join((*front, last)))
    prk = _KDF.extract(unhex(recipient, "enc") + nonce, unhex(response, "response_secret"))
    key, base_nonce = _KDF.expand(prk, b"key", _AEAD.key_size), _KDF.expand(prk, b"nonce", _AEAD.nonce_size)
    check_stated(response, prk=prk, key=key, base_nonce=base_nonce)
    secret = ResponseSecret(unhex(recipient, "enc"), unhex(response, "response_secret"))
    opener = SealedResponseOpener({unhex(response, "node_id"): secret})
    opened = opener.receive_data(unhex(response, "sealed_response")) + opener.receive_eof()
    check_same("the first event", opened[0], SealedResponseStarted(unhex(response, "node_id")))
    check_same("the last event", opened[-1], SealedResponseFinished())
    content = b"".join(event.data for event in opened if isinstance(event, SealedContentReceived))
    check_same("content of the response", content, unhex(response, "content"))


def _refuse_request(case: Case) -> tuple[str, str]:
    """Feed what is to be refused. Returns where and how it was; an empty code if it was not."""
    keys = _live(case["nodes"])
    for number in range(len(case.get("accepted", ()))):
        _open(SealedNode(keys, randbytes=_no_randomness), bytes.fromhex(case["accepted"][number]))
    node = SealedNode(keys, randbytes=_no_randomness, max_body=case.get("max_body", DEFAULT_MAX_BODY))
    sealed_request, step = unhex(case, "sealed_request"), "header"
    try:
        if node.receive_data(sealed_request):
            step = "key"
            node.open_key()
            step = "chunks"
        node.receive_eof()
    except ConfsecError as exc:
        return step, exc.code
    return "", ""


def _refuse_response(case: Case) -> tuple[str, str]:
    secrets = {
        unhex(each, "node_id"): ResponseSecret(unhex(each, "enc"), unhex(each, "response_secret"))
        for each in case["recipients"]
    }
    opener, sealed_response = SealedResponseOpener(secrets), unhex(case, "sealed_response")
    try:
        opener.receive_data(sealed_response)
        opener.receive_eof()
    except ConfsecError as exc:
        return "response", exc.code
    return "", ""


def _open(node: SealedNode, sealed_request: bytes) -> list[SealedNodeEvent]:
    events = node.receive_data(sealed_request)
    node.open_key()
    return [*events, *node.receive_eof()]


def _node_key(node: Case) -> tuple[HybridKem, KemPrivateKey]:
    """Load a node's private key, and check what is stated with it."""
    kem = kem_from_id(int(node["kem_id"], 16))
    if not isinstance(kem, HybridKem):
        raise MismatchError(f"nodes have no keys of {kem.name}")
    private_key = kem.from_private_bytes(unhex(node, "private_key"))
    pq, group = kem.expand_seed(private_key.private_bytes())
    check_stated(node, ml_kem_seed=pq.private_bytes(), group_private_key=group.private_bytes())
    key_config = node_key_config(private_key)
    check_stated(node, key_config=key_config.encode(), node_id=node_id(key_config))
    return kem, private_key


def _live(nodes: Sequence[Case]) -> NodeKeys:
    """Load the keys of a vector as live keys of one node."""
    keys = NodeKeys()
    for number, node in enumerate(nodes):
        keys.rotate(_node_key(node)[1], _NOW + number * _EPOCH)
    return keys


def _plaintexts(message: Case) -> list[bytes]:
    return [bytes.fromhex(plaintext) for plaintext in message["plaintexts"]]


def _seal(sequence: AeadSequence, plaintexts: Sequence[bytes]) -> bytes:
    *front, last = plaintexts
    sealer = ChunkSealer(sequence)
    return b"".join(sealer.seal(plaintext) for plaintext in front) + sealer.seal_final(last)


def _no_randomness(size: int) -> bytes:
    raise MismatchError(f"{size} random bytes are drawn for a request")


def _whole_file(document: object) -> Iterator[NamedCase]:
    yield "the file", document


def _is_exchange(document: object) -> bool:
    return isinstance(document, Mapping) and _has(document.get("request"), "sealed_request") and "responses" in document


def _is_defect(document: object) -> bool:
    return _has(document, "refused") and (_has(document, "sealed_request") or _has(document, "sealed_response"))


def _has(value: object, member: str) -> bool:
    return isinstance(value, Mapping) and member in value


_schema = partial(Schema, list_cases=_whole_file)

SCHEMAS: Final = (
    _schema(name="sealed-exchange", recognises=_is_exchange, check=check_sealed_exchange),
    _schema(name="sealed-defect", recognises=_is_defect, check=check_sealed_defect),
)
"""Messages that open, and one defect in a file."""
