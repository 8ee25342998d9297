"""The inputs of a megabyte that cost a decoder most, as far as we know: many small parts, deep parts, long parts.

Each is well-formed up to where its limit refuses it, or altogether. Most are what an attacker who knows the code would
send; they are unsigned, since nothing is signed by a stranger.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import cbor2

from confsec.protocol import cbor, cbor_general
from confsec.protocol.dsse import MAX_SIGNATURES
from confsec.protocol.merkle import MAX_PROOF_HASHES, MAX_TREE_SIZE
from confsec.protocol.receipt import MAX_PROOFS
from confsec.protocol.transparent_statement import MAX_RECEIPTS
from confsec.tee.der import encode_tlv
from confsec.tee.simulated.issue import encode_oid
from confsec.tee.x509 import MAX_CERTIFICATE
from tests.fuzz import log_seeds, seeds
from tests.protocol.receipt_cases import make_statement, transparent

__all__ = ["MEGABYTE", "worst_inputs"]

MEGABYTE: Final = 1 << 20


def _sequence(*parts: bytes) -> bytes:
    return encode_tlv(0x30, b"".join(parts))


def _filled(part: bytes, size: int) -> bytes:
    """Return as many copies of a part as fit."""
    return part * (size // len(part))


# --- CBOR, by what it is full of --------------------------------------------------------------------------------------


def _cbor_array(part: bytes, size: int = MEGABYTE - 64) -> bytes:
    count = size // len(part)
    return b"\x9a" + count.to_bytes(4, "big") + part * count


def _cbor_map(size: int = MEGABYTE - 64) -> bytes:
    count = size // 6
    return b"\xba" + count.to_bytes(4, "big") + b"".join(b"\x64%04x\x00" % (index & 0xFFFF) for index in range(count))


def _cbor_padded(part: bytes, count: int) -> bytes:
    """Return an array of so many items, beside a string that makes it a megabyte."""
    array = cbor2.dumps([0] * count)[:-count] + part * count
    return b"\x82" + array + cbor2.dumps(bytes(MEGABYTE - 100 - len(array)))


def _cbor_padded_map(count: int) -> bytes:
    members = cbor2.dumps({f"{index:08x}": 0 for index in range(count)}, canonical=True)
    return b"\x82" + members + cbor2.dumps(bytes(MEGABYTE - 100 - len(members)))


def _cbor_bodies() -> Iterator[tuple[str, bytes]]:
    yield "numbers", _cbor_array(b"\x01")
    yield "empty arrays", _cbor_array(b"\x80")
    yield "empty maps", _cbor_array(b"\xa0")
    yield "empty strings", _cbor_array(b"\x40")
    yield "big numbers", _cbor_array(b"\xc2\x42\x01\x00")
    yield "pairs", _cbor_array(b"\x82\x00\x00")
    yield "members", _cbor_map()
    yield "depth", b"\x81" * (MEGABYTE - 64) + b"\x00"
    yield "tags", b"\xc1" * (MEGABYTE - 64) + b"\x00"
    yield "one string", b"\x5a" + (MEGABYTE - 64).to_bytes(4, "big") + bytes(MEGABYTE - 64)
    yield "one text", b"\x7a" + (MEGABYTE - 64).to_bytes(4, "big") + b"a" * (MEGABYTE - 64)
    for name, part in (("numbers", b"\x01"), ("empty maps", b"\xa0"), ("empty arrays", b"\x80"), ("texts", b"\x61a")):
        yield f"as many {name} as are read", _cbor_padded(part, cbor.MAX_ITEMS - 4)
    for name, part in (("empty maps", b"\xa0"), ("empty arrays", b"\x80")):
        yield f"as many {name} as are written again", _cbor_padded(part, cbor.MAX_CONTAINERS - 4)
    yield "as many members as are read", _cbor_padded_map((cbor.MAX_ITEMS - 4) // 2)
    yield "chunks", b"\x5f" + b"\x41a" * ((MEGABYTE - 64) // 2) + b"\xff"


def _cbor_inputs(wrap: Callable[[bytes], bytes] = bytes) -> Iterator[tuple[str, bytes]]:
    for name, body in _cbor_bodies():
        yield name, wrap(body)


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json_inputs(size: int = MEGABYTE, wrap: str = "%s") -> Iterator[tuple[str, bytes]]:
    room = size - 64
    bodies = {
        "numbers": "[" + "1," * (room // 2) + "1]",
        "fewer numbers": "[" + "1," * 16_000 + "1]",
        "objects": "[" + "{}," * 16_000 + "{}]",
        "members": "{" + ",".join(f'"{index:x}":1' for index in range(16_000)) + "}",
        "depth": "[" * (room // 2) + "]" * (room // 2),
        "nested": "[" * 31 + "]" * 31,
        "one string": '"' + "a" * room + '"',
        "escapes": '"' + "\\u00e9" * (room // 6) + '"',
        "one number": "1" * room,
        "one float": "1." + "1" * room,
        "space": " " * room + "1",
    }
    for name, body in bodies.items():
        yield name, (wrap % body).encode() if wrap != "%s" else body.encode()


# --- DER --------------------------------------------------------------------------------------------------------------


def _name(size: int) -> bytes:
    attribute = encode_tlv(0x31, _sequence(encode_oid("2.5.4.3"), encode_tlv(0x0C, b"")))
    return _sequence(_filled(attribute, size))


def _certificate(**parts: bytes) -> bytes:
    """Return a certificate with these parts in place of the simulated chip's."""
    algorithm = bytes.fromhex("300a06082a8648ce3d040303")
    given = {
        "issuer": _name(16),
        "subject": _name(16),
        "extensions": b"",
        **parts,
    }
    key = _sequence(bytes.fromhex("301006072a8648ce3d020106052b81040022"), encode_tlv(0x03, b"\x00\x04" + bytes(96)))
    validity = _sequence(encode_tlv(0x17, b"250101000000Z"), encode_tlv(0x17, b"490101000000Z"))
    extensions = encode_tlv(0xA3, _sequence(given["extensions"])) if given["extensions"] else b""
    head = (bytes.fromhex("a003020102"), b"\x02\x01\x01", algorithm, given["issuer"], validity, given["subject"])
    tbs = _sequence(*head, key, extensions)
    return _sequence(tbs, algorithm, encode_tlv(0x03, b"\x00" + bytes(8)))


def _certificates() -> Iterator[tuple[str, bytes]]:
    room = MAX_CERTIFICATE - 300
    yield "a long name", _certificate(subject=_name(room))
    extensions = b"".join(_sequence(encode_oid(f"1.3.{128 + index}"), encode_tlv(0x04, b"")) for index in range(2_000))
    yield "many extensions", _certificate(extensions=_whole(extensions, room))
    names = encode_tlv(0x30, _filled(b"\x82\x00", room - 40))
    yield "many names", _certificate(extensions=_sequence(encode_oid("2.5.29.17"), encode_tlv(0x04, names)))
    purposes = encode_tlv(0x30, _filled(b"\x06\x01\x29", room - 40))
    yield "many purposes", _certificate(extensions=_sequence(encode_oid("2.5.29.37"), encode_tlv(0x04, purposes)))
    points = _sequence(_filled(_sequence(b"\xa0\x00"), room - 40))
    yield "many points", _certificate(extensions=_sequence(encode_oid("2.5.29.31"), encode_tlv(0x04, points)))
    yield "a megabyte", encode_tlv(0x30, bytes(MEGABYTE))


def _whole(parts: bytes, size: int) -> bytes:
    """Return as many whole elements from the start as fit."""
    end = 0
    while end < len(parts) and end + parts[end + 1] + 2 <= size:
        end += parts[end + 1] + 2
    return parts[:end]


def _chains() -> Iterator[tuple[str, bytes]]:
    for name, each in _certificates():
        if len(each) <= MAX_CERTIFICATE:
            yield f"ten with {name}", b"".join(_certificate_number(each, number) for number in range(10))
    yield "empty elements", b"\x30\x00" * (MEGABYTE // 2)
    pem = base64.b64encode(_certificate())
    block = b"-----BEGIN CERTIFICATE-----\n" + pem + b"\n-----END CERTIFICATE-----\n"
    yield "PEM", _filled(block, 320_000)
    yield "PEM with space", b"-----BEGIN CERTIFICATE-----" + b"\n" * 320_000


def _certificate_number(certificate: bytes, number: int) -> bytes:
    """Return the certificate with another signature, so that nothing remembers it."""
    return certificate[:-1] + bytes((number,))


def _crl(entries: bytes = b"", extensions: bytes = b"", issuer: bytes = b"") -> bytes:
    algorithm = bytes.fromhex("300a06082a8648ce3d040303")
    times = encode_tlv(0x17, b"250101000000Z") + encode_tlv(0x17, b"490101000000Z")
    revoked = _sequence(entries) if entries else b""
    tail = encode_tlv(0xA0, _sequence(extensions)) if extensions else b""
    tbs = _sequence(b"\x02\x01\x01", algorithm, issuer or _name(16), times, revoked, tail)
    return _sequence(tbs, algorithm, encode_tlv(0x03, b"\x00" + bytes(8)))


def _lists() -> Iterator[tuple[str, bytes]]:
    room, time = MEGABYTE - 300, encode_tlv(0x17, b"250101000000Z")
    yield "many entries", _crl(_filled(_sequence(b"\x02\x01\x05", time), room))
    yield "empty entries", _crl(_filled(b"\x30\x00", room))
    critical = _sequence(_sequence(encode_oid("2.5.29.21"), b"\x01\x01\xff", encode_tlv(0x04, b"\x0a\x01\x01")))
    yield "critical entries", _crl(_filled(_sequence(b"\x02\x01\x05", time, critical), room))
    yield "a long name", _crl(issuer=_name(room))
    extension = _sequence(encode_oid("2.5.29.20"), encode_tlv(0x04, b""))
    yield "the same extension", _crl(extensions=_filled(extension, room))
    different = b"".join(
        _sequence(encode_oid(f"1.3.{128 + index // 16384}.{index % 16384}"), encode_tlv(0x04, b""))
        for index in range(60_000)
    )
    yield "many extensions", _crl(extensions=_whole(different, room))


# --- Event logs -------------------------------------------------------------------------------------------------------


def _crypto_agile(algorithms: tuple[tuple[int, int], ...]) -> bytes:
    spec = b"Spec ID Event03\x00" + struct.pack("<IBBBB", 0, 0, 2, 0, 2) + struct.pack("<I", len(algorithms))
    spec += b"".join(struct.pack("<HH", *each) for each in algorithms) + b"\x00"
    return struct.pack("<II20sI", 0, 3, bytes(20), len(spec)) + spec


def _logs() -> Iterator[tuple[str, bytes]]:
    banks = ((0x0B, 32), (0x0C, 48), (0x04, 20), (0x0D, 64))
    for count in (1, len(banks)):
        digests = b"".join(struct.pack("<H", number) + bytes(size) for number, size in banks[:count])
        event = struct.pack("<III", 4, 0x0D, count) + digests + struct.pack("<I", 0)
        for events in (4095, MEGABYTE // len(event) - 2):
            yield f"{events} events of {count} banks", _crypto_agile(banks[:count]) + event * events
    data = bytes((MEGABYTE - 600_000) // 4095)
    digests = struct.pack("<H", 0x0B) + bytes(32)
    variable = struct.pack("<III", 7, 0x80000001, 1) + digests + struct.pack("<I", len(data)) + data
    yield "variables", _crypto_agile(banks[:1]) + variable * 4095
    long = struct.pack("<III", 4, 0x0D, 1) + digests + struct.pack("<I", MEGABYTE - 300) + bytes(MEGABYTE - 300)
    yield "one event", _crypto_agile(banks[:1]) + long
    yield "events of TPM 1.2", struct.pack("<II20sI", 4, 0x0D, bytes(20), 0) * (MEGABYTE // 32)
    yield "fewer events of TPM 1.2", struct.pack("<II20sI", 4, 0x0D, bytes(20), 0) * 4096


# --- TDX --------------------------------------------------------------------------------------------------------------


def _tcb_info(levels: int, modules: int, advisories: int, padding: int) -> bytes:
    value: dict[str, Any] = json.loads(seeds.collateral()["tcb-info"])
    level = value["tcbLevels"][0]
    level["advisoryIDs"] = [str(index) for index in range(advisories)]
    value["tcbLevels"] = [level] * levels
    value["tdxModuleIdentities"] = value["tdxModuleIdentities"] * modules
    value["x"] = "a" * padding
    return json.dumps(value, separators=(",", ":")).encode()


def _tcb_infos() -> Iterator[tuple[str, bytes]]:
    yield "all levels", _tcb_info(128, 64, 0, 0)
    yield "advisories", _tcb_info(100, 1, 120, 0)
    yield "padding", _tcb_info(10, 10, 10, 200_000)
    yield "a megabyte", _tcb_info(10, 10, 10, 1_000_000)
    yield from _json_inputs(256 << 10)


def _quotes() -> Iterator[tuple[str, bytes]]:
    good = seeds.quotes()[0]
    yield "zeros behind", good.ljust(MEGABYTE, b"\0")
    yield "zeros behind, fewer", good + bytes(60_000)


def _collaterals() -> Iterator[tuple[str, bytes]]:
    members = cbor2.loads(seeds.item("tdx-collateral", "tdx"))
    yield "a long text", cbor.encode({**members, "tcb-info": bytes(700_000)})
    yield from _cbor_inputs()


# --- Policies ---------------------------------------------------------------------------------------------------------


def _tomls() -> Iterator[tuple[str, bytes]]:
    whole, room = MEGABYTE // 4, 6_000
    bodies = {
        "tables": b"".join(b"[a%x]\n" % index for index in range(room // 2)),
        "keys": b"".join(b"a%x=1\n" % index for index in range(room)),
        "dotted keys": b"a." * (whole // 2 - 8) + b"b=1\n",
        "many dotted keys": b"".join(b"a" + b".b" * 60 + b".c%x=1\n" % index for index in range(96)),
        "dotted tables": b"".join(b"[a" + b".b" * 60 + b".c%x]\n" % index for index in range(96)),
        "arrays": b"a=" + b"[" * 400 + b"]" * 400,
        "depth": b"a=" + b"[" * room,
        "numbers": b"a=[" + b"1," * room + b"]",
        "inline tables": b"a=[" + b"{}," * (room // 2) + b"]",
        "one number": b"a=" + b"1" * (whole - 8),
        "one text": b'a="' + b"a" * (whole - 8) + b'"',
        "escapes": b'a="' + b"\\n" * room + b'"',
        "space": b" " * whole,
        "spaces in a key": b"a" + b" " * (whole - 8) + b"=1",
        "comments": b"#\n" * room,
        "table of tables": b"[[a]]\n" * (room // 3),
        "dates": b"a=[" + b"2026-01-01," * room + b"]",
        "a megabyte": b"#" * MEGABYTE,
    }
    yield from bodies.items()


def _policy_items() -> Iterator[tuple[str, bytes]]:
    yield from _cbor_inputs()
    item = seeds.policy().to_item()
    yield "an unknown table", cbor.encode({**item, "x": ["a" * 8] * 60_000})


def _fleet_records() -> Iterator[tuple[str, bytes]]:
    record = {"version": 1, "beacon": b"x", "nodes": []}
    nodes = [[index.to_bytes(32, "big"), bytes(32), 0] for index in range(14_000)]
    yield "ten thousand nodes", cbor2.dumps({**record, "nodes": nodes[:10_000]}, canonical=True)
    yield "more nodes", cbor2.dumps({**record, "nodes": nodes}, canonical=True)
    yield from _cbor_inputs()


def _jws() -> Iterator[tuple[str, bytes]]:
    yield "a long payload", b"e30." + b"A" * 250_000 + b".AA"
    header = base64.urlsafe_b64encode(b'{"a":[' + b"1," * 5_000 + b"1]}").rstrip(b"=")
    yield "a long header", header + b".e30.AA"
    yield "dots", b"." * MEGABYTE
    yield "a megabyte", b"e30." + b"A" * MEGABYTE + b".AA"


def _ears() -> Iterator[tuple[str, bytes]]:
    value: dict[str, Any] = json.loads(seeds.EAR.to_json())
    (appraisal,) = value["submods"].values()
    yield "appraisals", json.dumps({**value, "submods": {f"n{index}": appraisal for index in range(1_000)}}).encode()
    yield "extensions", json.dumps({**value, **{f"x{index}": index for index in range(8_000)}}).encode()
    yield from _json_inputs(256 << 10, json.dumps(value)[:-1].replace("%", "%%") + ',"x":%s}')


def _corims() -> Iterator[tuple[str, bytes]]:
    yield from _cbor_inputs(lambda body: b"\xd9\x01\xf5\xa2\x00\x61b\x01" + body)
    yield from _cbor_inputs()
    inner = cbor2.loads(seeds.corim()).value
    tag = inner[1][0]
    for count in (100, 3_000):
        yield f"{count} CoMIDs", cbor2.dumps(cbor2.CBORTag(501, {0: "b", 1: [tag] * count}))
    comid = cbor2.loads(tag.value)
    triple = comid[4][0][0]
    for count in (900, 20_000):
        many = {**comid, 4: {0: [triple] * count}}
        yield f"{count} triples", cbor2.dumps(cbor2.CBORTag(501, {0: "b", 1: [cbor2.CBORTag(506, cbor2.dumps(many))]}))


def _envelopes() -> Iterator[tuple[str, bytes]]:
    yield from _json_inputs(wrap='{"payload":"","payloadType":"x","signatures":%s}')
    signature = '{"keyid":"' + "a" * 64 + '","sig":"' + "A" * 86 + '=="}'
    many = ",".join([signature] * MAX_SIGNATURES)
    payload = "A" * (MEGABYTE - len(many) - 64)
    yield "signatures", f'{{"payload":"{payload}","payloadType":"x","signatures":[{many}]}}'.encode()


def _statements() -> Iterator[tuple[str, bytes]]:
    yield from _json_inputs(768 << 10)
    for name, statement in zip(("directory", "fleet", "configs", "keys"), log_seeds.statements(), strict=False):
        head, predicate, rest = statement.partition(b'"predicate":{')
        yield f"many members of {name}", head + predicate + _filled(b'"a":0,', (768 << 10) - len(statement)) + rest


def _receipt(proofs: int) -> bytes:
    """Return a receipt of so many proofs, each as long as they come, of which none is right."""
    proof = cbor2.dumps([MAX_TREE_SIZE, 0, [bytes(32)] * MAX_PROOF_HASHES])
    headers = cbor2.dumps({1: -7, 395: 1, 15: {1: "https://log.example"}})
    unprotected = {396: {-1: [proof] * proofs}}
    return cbor2.dumps(cbor2.CBORTag(18, [headers, unprotected, None, bytes(64)]))


def _receipts() -> Iterator[tuple[str, bytes]]:
    yield from _cbor_inputs(lambda body: b"\xd2\x84\x40\xa1\x18\x63" + body[:60_000] + b"\x40\x40")
    yield "proofs", _receipt(MAX_PROOFS)


def _signed_statements() -> Iterator[tuple[str, bytes]]:
    yield from _cbor_inputs(lambda body: b"\xd2\x84\x40\xa1\x19\x01\x8a" + body + b"\x40\x40")
    message = make_statement()
    receipts: list[cbor_general.CborItem] = [_receipt(MAX_PROOFS)] * MAX_RECEIPTS
    yield "receipts", transparent(message, *receipts).encode()


def _anything() -> Iterator[tuple[str, bytes]]:
    yield "zeros", bytes(MEGABYTE)
    yield "ones", b"\xff" * MEGABYTE


def worst_inputs(target: str) -> Iterator[tuple[str, bytes]]:
    """Yield the inputs for a target of `tests/fuzz`, each with a name."""
    yield from _INPUTS.get(target, _anything)()
    yield from _anything()


_INPUTS: Final[Mapping[str, Callable[[], Iterator[tuple[str, bytes]]]]] = {
    "certificate": _certificates,
    "certificate-chain": _chains,
    "revocation-list": _lists,
    "event-log": _logs,
    "ccel": _logs,
    "tdx-quote": _quotes,
    "tdx-collateral": _collaterals,
    "tdx-tcb-info": _tcb_infos,
    "tdx-qe-identity": lambda: _json_inputs(256 << 10),
    "azure-runtime-data": lambda: _json_inputs(16 << 10),
    "cbor": _cbor_inputs,
    "cbor-general": _cbor_inputs,
    "json-general": _json_inputs,
    "evidence": lambda: _cbor_inputs(lambda body: b"\xa1\x61a\x82\x61b" + body),
    "endorsements": lambda: _cbor_inputs(lambda body: b"\xa1\x61a" + body),
    "cmw": lambda: _cbor_inputs(lambda body: b"\xa1\x61a" + body),
    "cose-sign1": lambda: _cbor_inputs(lambda body: b"\xd2\x84\x40\xa1\x18\x63" + body + b"\x40\x40"),
    "cwt": lambda: _cbor_inputs(lambda body: b"\xd2\x84\x40\xa0" + body + b"\x40"),
    "eat-cbor": lambda: _cbor_inputs(lambda body: b"\xa1\x18\x63" + body[:200_000]),
    "eat-json": lambda: _json_inputs(256 << 10, '{"x":%s}'),
    "eat-bundle": lambda: _cbor_inputs(lambda body: b"\xd9\x02\x5a\x82\x40" + body),
    "jws": _jws,
    "ear-cbor": lambda: _cbor_inputs(lambda body: b"\xa1\x18\x63" + body),
    "ear-json": _ears,
    "corim": _corims,
    "corim-signed": lambda: _cbor_inputs(lambda body: b"\xd2\x84\x40\xa0" + body + b"\x40"),
    "manifest": _cbor_inputs,
    "freshness": _cbor_inputs,
    "fleet-record": _fleet_records,
    "policy-toml": _tomls,
    "policy-item": _policy_items,
    "proof": lambda: _cbor_inputs(lambda body: b"\x87\x6dconfsec proof\x02" + body),
    "proof-contents": _cbor_inputs,
    "dsse-envelope": _envelopes,
    "statement": _statements,
    "statement-foreign": _statements,
    "statement-rules": _tomls,
    "cose-receipt": _receipts,
    "signed-statement": _signed_statements,
}
"""The inputs for each target of `tests/fuzz` that reads more than a few kilobytes."""
