"""The vectors of docs/spec/sealed-request.md, section 11, with confsec's machines."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from confsec.errors import ConfsecError
from confsec.protocol.machine import RandBytes
from confsec.protocol.sealed import (
    SealedContentReceived,
    SealedEvent,
    SealedKeyReserved,
    SealedNode,
    SealedRequestOpened,
    SealedResponseFinished,
    SealedResponseStarted,
    node_id,
    node_key_config,
    read_header,
)
from confsec.protocol.sealed_keys import response_exporter_context, wrap_info
from confsec.protocol.sealed_padding import unpad
from confsec.protocol.sealed_response import ResponseSecret, SealedResponseOpener
from tests.protocol.sealed_cases import INVALID, VALID, load, new_node, node_key, open_request, unhex, vector_node_keys

DEFECTS = {path.stem: load(path) for path in INVALID}
EACH_VALID = pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)


def content_of(events: list[SealedEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, SealedContentReceived))


def fixed(value: bytes) -> RandBytes:
    return lambda size: value[:size]


@EACH_VALID
def test_header_is_that_of_the_vector(path: Path) -> None:
    request = load(path)["request"]
    header = read_header(unhex(request["sealed_request"]))
    assert len(header.encode()) == request["header_size"]
    assert header.digest.hex() == request["header_digest"]
    assert [each.node_id.hex() for each in header.recipients] == [each["node_id"] for each in request["recipients"]]
    assert [each.enc.hex() for each in header.recipients] == [each["enc"] for each in request["recipients"]]


@EACH_VALID
def test_node_keys_are_those_of_the_vector(path: Path) -> None:
    for node in load(path)["nodes"]:
        key_config = node_key_config(node_key(node["private_key"], int(node["kem_id"], 16)))
        assert key_config.encode().hex() == node["key_config"]
        assert node_id(key_config).hex() == node["node_id"]


@EACH_VALID
def test_each_node_of_the_vector_opens_the_request(path: Path) -> None:
    vector = load(path)
    for node in vector["nodes"]:
        machine = new_node(vector_node_keys([node]))
        events = open_request(machine, unhex(vector["request"]["sealed_request"]))
        assert events == [
            SealedKeyReserved(unhex(node["node_id"])),
            SealedRequestOpened(unhex(vector["request"]["content"])),
        ]


@EACH_VALID
def test_each_step_of_the_key_schedule_is_that_of_the_vector(path: Path) -> None:
    vector = load(path)
    request = vector["request"]
    for node, recipient in zip(vector["nodes"], request["recipients"], strict=True):
        key = node_key(node["private_key"], int(node["kem_id"], 16))
        assert key.decapsulate(unhex(recipient["enc"])).hex() == recipient["shared_secret"]
        assert wrap_info(unhex(node["node_id"])).hex() == recipient["info"]
    assert hashlib.sha256(unhex(request["sealed_request"])).hexdigest() == request["request_hash"]
    for response in vector["responses"]:
        exporter_context = response_exporter_context(unhex(request["request_hash"]))
        assert exporter_context.hex() == response["exporter_context"]
    assert b"".join(unpad(unhex(plaintext)) for plaintext in request["plaintexts"]).hex() == request["content"]


@EACH_VALID
def test_client_opens_each_response_of_the_vector(path: Path) -> None:
    vector = load(path)
    encs = {each["node_id"]: unhex(each["enc"]) for each in vector["request"]["recipients"]}
    secrets = {
        unhex(each["node_id"]): ResponseSecret(encs[each["node_id"]], unhex(each["response_secret"]))
        for each in vector["responses"]
    }
    for response in vector["responses"]:
        opener = SealedResponseOpener(secrets)
        events = opener.receive_data(unhex(response["sealed_response"])) + opener.receive_eof()
        assert events[0] == SealedResponseStarted(unhex(response["node_id"]))
        assert events[-1] == SealedResponseFinished()
        assert content_of(events) == unhex(response["content"])


@EACH_VALID
def test_node_seals_the_response_of_the_vector(path: Path) -> None:
    vector = load(path)
    for node, response in zip(vector["nodes"], vector["responses"], strict=True):
        plaintexts = [unhex(plaintext) for plaintext in response["plaintexts"]]
        response_nonce = unhex(response["response_nonce"])
        machine = SealedNode(vector_node_keys([node]), randbytes=fixed(response_nonce), chunk_size=len(plaintexts[0]))
        open_request(machine, unhex(vector["request"]["sealed_request"]))
        *front, last = [unpad(plaintext) for plaintext in plaintexts]
        sent = machine.begin()
        for content in front:
            sent += machine.send(content) if content else machine.send_filler()
        assert (sent + machine.send_eof(last)).hex() == response["sealed_response"]


def refuse_request(vector: dict[str, Any], cut: int | None) -> tuple[str, str]:
    """Feed what is to be refused, and return where and how it was."""
    keys = vector_node_keys(vector["nodes"])
    for accepted in vector.get("accepted", ()):
        open_request(new_node(keys), unhex(accepted))
    options = {"max_body": vector["max_body"]} if "max_body" in vector else {}
    node = new_node(keys, **options)
    sealed_request = unhex(vector["sealed_request"])
    size = cut or len(sealed_request) or 1
    step = "header"
    try:
        for start in range(0, len(sealed_request), size):
            if node.receive_data(sealed_request[start : start + size]):
                step = "key"
                node.open_key()
                step = "chunks"
        node.receive_eof()
    except ConfsecError as error:
        return step, error.code
    return "accepted", ""


def refuse_response(vector: dict[str, Any], cut: int | None) -> tuple[str, str]:
    secrets = {
        unhex(each["node_id"]): ResponseSecret(unhex(each["enc"]), unhex(each["response_secret"]))
        for each in vector["recipients"]
    }
    opener = SealedResponseOpener(secrets)
    sealed_response = unhex(vector["sealed_response"])
    size = cut or len(sealed_response) or 1
    try:
        for start in range(0, len(sealed_response), size):
            opener.receive_data(sealed_response[start : start + size])
        opener.receive_eof()
    except ConfsecError as error:
        return "response", error.code
    return "accepted", ""


@pytest.mark.parametrize("cut", [None, 1, 100])
@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_is_refused_where_and_how_the_vector_says(name: str, cut: int | None) -> None:
    vector = DEFECTS[name]
    refuse = refuse_response if vector["refused"]["step"] == "response" else refuse_request
    assert refuse(vector, cut) == (vector["refused"]["step"], vector["refused"]["code"])
