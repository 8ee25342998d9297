"""Vectors of Oblivious HTTP: schemas ohttp-exchange, ohttp-chunked-exchange, ohttp-key-config, ohttp-chunk-framing.

Our gateway runs in every exchange. Our client runs where its ephemeral key can be replayed, which is with the DHKEMs;
with the others the response is opened with the stated keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from attrs import frozen

from confsec.conformance.algorithms import find_suite, move_to, replay
from confsec.conformance.cases import (
    Case,
    CaseSkippedError,
    MismatchError,
    Schema,
    check_refused,
    check_same,
    check_stated,
    has_members,
    list_cases,
    or_refused,
    unhex,
)
from confsec.errors import ConfsecError, TruncatedError, UnsupportedError
from confsec.protocol.aead import Aead, AeadSequence
from confsec.protocol.chunked_ohttp import (
    ChunkedOhttpClient,
    ChunkedOhttpEvent,
    ChunkedOhttpGateway,
    ChunkReceived,
    RequestFinished,
    ResponseFinished,
)
from confsec.protocol.chunks import MAX_CHUNK_SIZE, ChunkSplitter, encode_chunk
from confsec.protocol.encapsulation import CHUNKED, ONE_SHOT, Labels, RequestHeader
from confsec.protocol.gateway_keys import GatewayKey, GatewayKeyring
from confsec.protocol.hpke import HpkeSuite, setup_receiver
from confsec.protocol.kem import DhKem, KemPrivateKey
from confsec.protocol.key_config import (
    MEDIA_TYPE_OHTTP_KEYS,
    KeyConfig,
    SymmetricSuite,
    decode_key_configs,
    encode_key_configs,
)
from confsec.protocol.ohttp import OhttpClient, OhttpGateway, RequestReceived, ResponseReceived

__all__ = ["SCHEMAS", "check_chunk_framing", "check_chunked_exchange", "check_exchange", "check_key_config"]

_NOW: Final = datetime(2024, 1, 1, tzinfo=UTC)  # vectors have no date: any will do
_DAY: Final = timedelta(days=1)
_MAX_CIPHERTEXT: Final = 1 << 24


@frozen
class _Setup:
    """What a case says of the exchange as a whole."""

    config: KeyConfig
    private_key: KemPrivateKey
    symmetric: SymmetricSuite
    suite: HpkeSuite

    @classmethod
    def of(cls, case: Case) -> _Setup:
        suite = find_suite(case, kem="kemId", kdf="kdfId", aead="aeadId")
        symmetric = SymmetricSuite(case["kdfId"], case["aeadId"])
        private_key = suite.kem.from_private_bytes(unhex(case, "skR"))
        config = KeyConfig(case["keyId"], case["kemId"], private_key.public_key, (symmetric,))
        if "keyConfig" in case:
            config = KeyConfig.decode(unhex(case, "keyConfig"))
            check_same("keyConfig, encoded again", config.encode(), unhex(case, "keyConfig"))
            check_same("keyId and kemId", (config.key_id, config.kem_id), (case["keyId"], case["kemId"]))
            check_same("the public key of skR", private_key.public_key, config.public_key)
        return cls(config, private_key, symmetric, symmetric.with_kem(case["kemId"]))

    @property
    def keyring(self) -> GatewayKeyring:
        key = GatewayKey(
            config=self.config,
            decapsulator=self.private_key,
            published_from=_NOW - _DAY,
            published_until=_NOW + _DAY,
            accepted_until=_NOW + _DAY,
        )
        return GatewayKeyring([key])

    @property
    def client_can_be_replayed(self) -> bool:
        return isinstance(self.suite.kem, DhKem)


def check_exchange(case: Case) -> None:
    """Check a one-shot exchange at both ends, and what is derived on the way (RFC 9458, sections 4.3 and 4.4)."""
    setup = _Setup.of(case)
    key, base_nonce = _check_derived(case, setup, ONE_SHOT)
    enc_request, enc_response = unhex(case, "encapsulatedRequest"), unhex(case, "encapsulatedResponse")
    request, response, response_nonce = (unhex(case, name) for name in ("request", "response", "responseNonce"))
    gateway = OhttpGateway(setup.keyring, randbytes=replay(response_nonce), now=_NOW)
    events = [*gateway.receive_data(enc_request), *gateway.receive_eof()]
    check_same("request, opened", events, [RequestReceived(request)])
    check_same("encapsulatedResponse", gateway.encapsulate_response(response), enc_response)
    if setup.client_can_be_replayed:
        client = OhttpClient(setup.config, suite=setup.symmetric, randbytes=replay(unhex(case, "skE")))
        check_same("encapsulatedRequest", client.encapsulate(request), enc_request)
        opened = [*client.receive_data(enc_response), *client.receive_eof()]
        check_same("response, opened", opened, [ResponseReceived(response)])
    sequence = AeadSequence(setup.suite.aead, key, base_nonce)
    check_same("response under its keys", sequence.open(b"", enc_response[len(response_nonce) :]), response)


def check_chunked_exchange(case: Case) -> None:
    """Check a chunked exchange at both ends, chunk by chunk, and what is derived on the way."""
    setup = _Setup.of(case)
    key, base_nonce = _check_derived(case, setup, CHUNKED)
    enc_request, enc_response = unhex(case, "encapsulatedRequest"), unhex(case, "encapsulatedResponse")
    nonce = unhex(case, "responseNonce" if "responseNonce" in case else "salt")[-_nonce_size(setup) :]
    check_stated(case.get("responseParts", {}), responseNonce=nonce)
    gateway = ChunkedOhttpGateway(setup.keyring, randbytes=replay(nonce), now=_NOW, chunk_size=MAX_CHUNK_SIZE)
    received = [*gateway.receive_data(enc_request), *gateway.receive_eof()]
    check_same("request, opened", _content(received, RequestFinished()), unhex(case, "request"))
    sent = gateway.begin() + _send(gateway, case, "response")
    check_same("encapsulatedResponse", sent, enc_response)
    _check_response_chunks(case, setup.suite.aead, key, base_nonce)
    if setup.client_can_be_replayed:
        skE = replay(unhex(case, "skE"))  # noqa: N806 - the name in the vector
        client = ChunkedOhttpClient(setup.config, suite=setup.symmetric, randbytes=skE, chunk_size=MAX_CHUNK_SIZE)
        check_same("encapsulatedRequest", client.begin() + _send(client, case, "request"), enc_request)
        opened = [*client.receive_data(enc_response), *client.receive_eof()]
        check_same("response, opened", _content(opened, ResponseFinished()), unhex(case, "response"))


def check_key_config(case: Case) -> None:
    """Check a key configuration, or a list of them (RFC 9458, section 3)."""
    data, expect = unhex(case, "input"), case["expect"]
    is_list = case.get("media") == MEDIA_TYPE_OHTTP_KEYS
    decode = _decode_list if is_list else _decode_single
    if expect == "accept":
        configs = _decode_accepted(case, decode, data)
    elif expect == "reject" and "peer policy" not in case.get("note", ""):
        check_refused(lambda: decode(data))
        return
    else:
        # The peer refuses, or does something of its own, and RFC 9458 asks for neither. What we take, we have to keep.
        try:
            configs = decode(data)
        except ConfsecError:
            configs = ()
        if expect != "reject":
            raise CaseSkippedError(f"a statement about the peer: {str(expect)[:80]}")
    _check_configs(case, configs)


def check_chunk_framing(case: Case) -> None:
    """Check how ciphertexts stand in a stream, or which nonce a chunk has (chunked OHTTP, sections 4 and 6)."""
    if "nonce" in case:
        _check_nonce(case)
    elif "chunks" in case:
        chunks = [(bytes.fromhex(data), final) for data, final in case["chunks"]]
        wire = b"".join(encode_chunk(data, final=final) for data, final in chunks)
        check_same("wire", wire, unhex(case, "wire"))
        check_same("chunks", _split(wire), chunks)
    elif "expect" in case:
        _check_incomplete(case)
    else:
        payload = _payload(case)
        wire = encode_chunk(payload, final=case["final"])
        check_stated(case, wire=wire)
        if "wire_prefix" in case:
            check_same("wire_prefix", wire[: len(case["wire_prefix"]) // 2], unhex(case, "wire_prefix"))
        elif "wire" not in case:
            raise MismatchError("the case states no wire")
        check_same("payload, split", _split(wire), [(payload, case["final"])])


def _check_derived(case: Case, setup: _Setup, labels: Labels) -> tuple[bytes, bytes]:
    """Check header, info and the response's keys, step by step; return key and nonce of the response."""
    header = RequestHeader(setup.config.key_id, setup.config.kem_id, setup.symmetric).encode()
    enc_request = unhex(case, "encapsulatedRequest")
    enc = enc_request[len(header) : len(header) + setup.suite.kem.enc_size]
    parts = case.get("requestParts", {})
    check_same("header of encapsulatedRequest", enc_request[: len(header)], header)
    check_stated(parts, header=header, enc=enc)
    info = labels.request + b"\x00" + header
    check_stated(case, info=info, pkE=enc)
    kdf, aead = setup.suite.kdf, setup.suite.aead
    secret = setup_receiver(setup.suite, setup.private_key, enc, info).export(labels.response, _nonce_size(setup))
    response_nonce = unhex(case, "encapsulatedResponse")[: _nonce_size(setup)]
    prk = kdf.extract(enc + response_nonce, secret)
    key, nonce = kdf.expand(prk, b"key", aead.key_size), kdf.expand(prk, b"nonce", aead.nonce_size)
    check_stated(case, exportedSecret=secret, salt=enc + response_nonce, prk=prk, responseNonce=response_nonce)
    check_stated(case, aeadKey=key, aeadNonce=nonce)
    return key, nonce


def _nonce_size(setup: _Setup) -> int:
    return max(setup.suite.aead.key_size, setup.suite.aead.nonce_size)


def _send(machine: ChunkedOhttpClient | ChunkedOhttpGateway, case: Case, name: str) -> bytes:
    """Send the stated chunks and compare each with its stated bytes; without chunks, send all in one."""
    chunks = case.get(f"{name}Parts", {}).get("chunks")
    if not chunks:
        return machine.send_eof(unhex(case, name))
    sent = []
    for number, chunk in enumerate(chunks):
        plaintext, final = unhex(chunk, "plaintext"), chunk["final"]
        check_stated(chunk, aad=b"final" if final else b"")
        sent.append(machine.send_eof(plaintext) if final else machine.send(plaintext))
        check_same(f"chunk {number} of the {name}", sent[-1], unhex(chunk, "wire"))
    return b"".join(sent)


def _check_response_chunks(case: Case, aead: Aead, key: bytes, base_nonce: bytes) -> None:
    """Check the nonce of each chunk by what it seals."""
    chunks = case.get("responseParts", {}).get("chunks", ())
    nonces = case.get("chunkNonces", ())
    if nonces:
        check_same("number of chunkNonces", len(nonces), len(chunks))
    for number, (nonce, chunk) in enumerate(zip(nonces, chunks, strict=False)):
        aad, plaintext = b"final" if chunk["final"] else b"", unhex(chunk, "plaintext")
        counted = AeadSequence(aead, key, base_nonce)
        move_to(counted, number)
        stated = AeadSequence(aead, key, bytes.fromhex(nonce))
        check_same(f"chunkNonces, {number}", stated.seal(aad, plaintext), counted.seal(aad, plaintext))


def _content(events: Sequence[ChunkedOhttpEvent], finished: ChunkedOhttpEvent) -> bytes:
    check_same("the last event", events[-1], finished)
    return b"".join(event.data for event in events if isinstance(event, ChunkReceived))


def _decode_accepted(
    case: Case, decode: Callable[[bytes], tuple[KeyConfig, ...]], data: bytes
) -> tuple[KeyConfig, ...]:
    try:
        return decode(data)
    except UnsupportedError as exc:
        if "kemId" in case:
            check_same("kemId", int.from_bytes(data[1:3], "big"), case["kemId"])
        raise CaseSkippedError(str(exc)) from exc


def _decode_single(data: bytes) -> tuple[KeyConfig, ...]:
    return (KeyConfig.decode(data),)


def _decode_list(data: bytes) -> tuple[KeyConfig, ...]:
    return decode_key_configs(data)


def _check_configs(case: Case, configs: tuple[KeyConfig, ...]) -> None:
    if "keyIds" in case:
        check_same("keyIds", [config.key_id for config in configs], case["keyIds"])
    if case.get("media") == MEDIA_TYPE_OHTTP_KEYS:
        check_stated(case, reserialize=encode_key_configs(configs))
    for config in configs if case.get("media") != MEDIA_TYPE_OHTTP_KEYS else ():
        check_same("input, encoded again", config.encode(), unhex(case, "input"))
        check_stated(case, reserialize=config.encode(), publicKey=config.public_key)
        stated: dict[str, Any] = {
            "keyId": config.key_id,
            "kemId": config.kem_id,
            "algorithms": [[suite.kdf_id, suite.aead_id] for suite in config.suites],
        }
        for name in stated.keys() & case.keys():
            check_same(name, stated[name], case[name])


def _check_incomplete(case: Case) -> None:
    """Check that what is there raises nothing, and that the end of input then does."""
    if not str(case["expect"]).startswith("need more"):
        raise CaseSkippedError(f"a statement that we do not know: {str(case['expect'])[:80]}")
    splitter = ChunkSplitter(max_size=_MAX_CIPHERTEXT)
    for _ in splitter.receive_data(unhex(case, "wire")):
        pass
    try:
        splitter.receive_eof()
    except TruncatedError:
        return
    raise MismatchError("taken as whole, and more data is needed")


def _payload(case: Case) -> bytes:
    if "payload_repeat" not in case:
        return unhex(case, "payload")
    byte, count = case["payload_repeat"]
    if not 0 <= count <= _MAX_CIPHERTEXT:
        raise CaseSkippedError(f"a payload of {count} bytes is longer than we try")
    return bytes(bytes.fromhex(byte) * count)


def _split(wire: bytes) -> list[tuple[bytes, bool]]:
    splitter = ChunkSplitter(max_size=_MAX_CIPHERTEXT)
    chunks = [(bytes(ciphertext), False) for ciphertext in splitter.receive_data(wire)]
    try:
        return [*chunks, (bytes(splitter.receive_eof()), True)]
    except TruncatedError:
        return chunks


def _check_nonce(case: Case) -> None:
    """Check the nonce of one chunk, by what it seals under any key."""
    key = bytes(Aead.AES_128_GCM.key_size)
    counted = AeadSequence(Aead.AES_128_GCM, key, unhex(case, "baseNonce"))
    move_to(counted, case["counter"])
    stated = AeadSequence(Aead.AES_128_GCM, key, unhex(case, "nonce"))
    check_same("what is sealed under the nonce", counted.seal(b"", b"chunk"), stated.seal(b"", b"chunk"))


_schema = partial(Schema, list_cases=list_cases)

SCHEMAS: Final = (
    _schema(
        name="ohttp-chunked-exchange",
        recognises=has_members(
            "encapsulatedRequest encapsulatedResponse requestParts", "encapsulatedRequest chunkNonces"
        ),
        check=or_refused(check_chunked_exchange),
    ),
    _schema(
        name="ohttp-exchange",
        recognises=has_members("encapsulatedRequest encapsulatedResponse skR"),
        check=or_refused(check_exchange),
    ),
    _schema(name="ohttp-key-config", recognises=has_members("input expect"), check=check_key_config),
    _schema(
        name="ohttp-chunk-framing",
        recognises=has_members(
            "wire final", "wire_prefix final", "wire chunks", "wire expect", "baseNonce counter nonce"
        ),
        check=check_chunk_framing,
    ),
)
"""Whole exchanges, the chunked form first, and parts of them."""
