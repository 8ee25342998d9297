"""Write the vectors of docs/spec/sealed-request.md, section 11.

Run it from the root: `python -m tests.vectors.make_sealed_vectors`. Keys, secrets and nonces come from a seeded stream,
so they stay the same; ML-KEM's encapsulation takes its randomness inside the library, so what is sealed does not.
HPKE is confsec's. Headers, keys and chunks are made here, step by step, so that any of them can be made wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from confsec.protocol.bhttp import Request, Response
from confsec.protocol.hpke import SenderContext, setup_sender
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import MLKEM768_P256, MLKEM768_X25519, HybridKem, HybridPrivateKey
from confsec.protocol.node_keys import node_hpke_suite, node_id, node_key_config
from confsec.protocol.wire import encode_varint

HERE: Final = Path(__file__).parent
VALID: Final = HERE / "sealed"
INVALID: Final = HERE / "sealed_invalid"

SIZE: Final = 256
EXPAND: Final = Kdf.HKDF_SHA256.expand
EXTRACT: Final = Kdf.HKDF_SHA256.extract

REQUEST: Final = Request(
    "POST",
    "https",
    "engine.confsec.invalid",
    "/v1/chat/completions",
    (("content-type", "application/json"),),
    b'{"model":"tiny","messages":[{"role":"user","content":"What does a sealed envelope know of its letter?"}]}',
).encode()
RESPONSE: Final = Response(
    200,
    (("content-type", "application/json"),),
    b'{"choices":[{"message":{"role":"assistant","content":"Its weight."}}]}',
).encode()
OTHER_REQUEST: Final = REQUEST.replace(b"letter", b"sender")


def seeded(label: str, size: int) -> bytes:
    """Return bytes that are always the same for a label."""
    return hashlib.shake_256(b"confsec sealed vectors v1\x00" + label.encode()).digest(size)


@frozen
class Node:
    """A node with one key."""

    kem: HybridKem
    seed: bytes
    key: HybridPrivateKey

    @property
    def node_id(self) -> bytes:
        return node_id(node_key_config(self.key))

    def to_json(self) -> dict[str, str]:
        """Return what section 11 lists under `nodes`."""
        seed = hashlib.shake_256(self.seed).digest(64 + 32)
        return {
            "kem_id": f"0x{self.kem.kem_id:04x}",
            "private_key": self.seed.hex(),
            "ml_kem_seed": seed[:64].hex(),
            # P-256 takes the first 32 bytes that are a scalar: these are, or decapsulation would fail in the tests.
            "group_private_key": seed[64:].hex(),
            "key_config": node_key_config(self.key).encode().hex(),
            "node_id": self.node_id.hex(),
        }


def make_node(label: str, kem: HybridKem = MLKEM768_X25519) -> Node:
    seed = seeded(f"node {label}", 32)
    return Node(kem, seed, kem.from_private_bytes(seed))


@frozen
class Entry:
    """One recipient of a header, and the context in which its secret is wrapped."""

    node_id: bytes
    info: bytes
    context: SenderContext = field(repr=False)
    wrapped_secret: bytes
    enc: bytes

    def encode(self) -> bytes:
        return self.node_id + len(self.enc).to_bytes(2, "big") + self.enc + self.wrapped_secret


def wrap(node: Node, request_secret: bytes, info_id: bytes | None = None) -> Entry:
    info = b"confsec sealed request v1\x00" + (info_id or node.node_id)
    public_key = node_key_config(node.key).public_key
    context = setup_sender(node_hpke_suite(node.kem.kem_id), public_key, info, randbytes=lambda size: seeded("x", size))
    return Entry(node.node_id, info, context, context.seal(b"", request_secret), context.enc)


def header_of(entries: Sequence[Entry], *, version: int = 1) -> bytes:
    return bytes((version, len(entries))) + b"".join(entry.encode() for entry in entries)


@frozen
class Keys:
    """A key and a base nonce, and how chunks are sealed with them."""

    key: bytes
    base_nonce: bytes

    def seal(self, number: int, plaintext: bytes, aad: bytes) -> bytes:
        nonce = (int.from_bytes(self.base_nonce, "big") ^ number).to_bytes(12, "big")
        return AESGCM(self.key).encrypt(nonce, plaintext, aad)

    def frames(self, plaintexts: Sequence[bytes], *, final_aad: bytes = b"final") -> list[bytes]:
        """Return the chunks, the last of them final."""
        *front, last = plaintexts
        sealed = [self.seal(number, plaintext, b"") for number, plaintext in enumerate(front)]
        return [encode_varint(len(each)) + each for each in sealed] + [b"\x00" + self.seal(len(front), last, final_aad)]


def request_keys(request_secret: bytes, header: bytes) -> Keys:
    keys = EXPAND(request_secret, b"confsec request chunks v1\x00" + hashlib.sha256(header).digest(), 44)
    return Keys(keys[:32], keys[32:])


def pad(content: bytes, size: int = SIZE) -> bytes:
    return (content + b"\x01").ljust(size, b"\x00")


def split(content: bytes, size: int = SIZE, fillers: int = 0) -> list[bytes]:
    """Return chunk plaintexts with this content, and all filler after it."""
    room = size - 1
    parts = [content[start : start + room] for start in range(0, len(content), room)]
    return [pad(part, size) for part in parts + [b""] * fillers]


def content_of(plaintexts: Iterable[bytes]) -> bytes:
    return b"".join(plaintext.rstrip(b"\x00")[:-1] for plaintext in plaintexts)


@frozen
class Sealed:
    """A sealed request with all that it was made from."""

    nodes: tuple[Node, ...]
    entries: tuple[Entry, ...]
    secret: bytes
    plaintexts: tuple[bytes, ...]

    @property
    def header(self) -> bytes:
        return header_of(self.entries)

    @property
    def keys(self) -> Keys:
        return request_keys(self.secret, self.header)

    @property
    def frames(self) -> list[bytes]:
        return self.keys.frames(self.plaintexts)

    @property
    def whole(self) -> bytes:
        return self.header + b"".join(self.frames)

    @property
    def request_hash(self) -> bytes:
        return hashlib.sha256(self.whole).digest()

    def with_frames(self, frames: Iterable[bytes]) -> bytes:
        return self.header + b"".join(frames)

    def to_json(self) -> dict[str, object]:
        by_id = {node.node_id: node for node in self.nodes}
        return {
            "sealed_request": self.whole.hex(),
            "header_size": len(self.header),
            "header_digest": hashlib.sha256(self.header).hexdigest(),
            "recipients": [
                {
                    "node_id": entry.node_id.hex(),
                    "enc": entry.enc.hex(),
                    "wrapped_secret": entry.wrapped_secret.hex(),
                    "info": entry.info.hex(),
                    "shared_secret": by_id[entry.node_id].key.decapsulate(entry.enc).hex(),
                }
                for entry in self.entries
            ],
            "request_secret": self.secret.hex(),
            "key": self.keys.key.hex(),
            "base_nonce": self.keys.base_nonce.hex(),
            "plaintexts": [plaintext.hex() for plaintext in self.plaintexts],
            "content": content_of(self.plaintexts).hex(),
            "request_hash": self.request_hash.hex(),
        }


def seal(nodes: Sequence[Node], plaintexts: Sequence[bytes], label: str = "request") -> Sealed:
    secret = seeded(f"secret {label}", 32)
    ordered = tuple(sorted(nodes, key=lambda node: node.node_id))
    return Sealed(ordered, tuple(wrap(node, secret) for node in ordered), secret, tuple(plaintexts))


@frozen
class Answer:
    """A sealed response with all that it was made from."""

    entry: Entry
    request_hash: bytes
    nonce: bytes
    plaintexts: tuple[bytes, ...]

    @property
    def exporter_context(self) -> bytes:
        return b"confsec sealed response v1\x00" + self.request_hash

    @property
    def secret(self) -> bytes:
        return self.entry.context.export(self.exporter_context, 32)

    @property
    def prk(self) -> bytes:
        return EXTRACT(self.entry.enc + self.nonce, self.secret)

    @property
    def keys(self) -> Keys:
        return Keys(EXPAND(self.prk, b"key", 32), EXPAND(self.prk, b"nonce", 12))

    @property
    def frames(self) -> list[bytes]:
        return self.keys.frames(self.plaintexts)

    @property
    def prefix(self) -> bytes:
        return self.entry.node_id + self.nonce

    @property
    def whole(self) -> bytes:
        return self.prefix + b"".join(self.frames)

    def with_frames(self, frames: Iterable[bytes]) -> bytes:
        return self.prefix + b"".join(frames)

    def to_json(self) -> dict[str, object]:
        return {
            "node_id": self.entry.node_id.hex(),
            "exporter_context": self.exporter_context.hex(),
            "response_secret": self.secret.hex(),
            "response_nonce": self.nonce.hex(),
            "prk": self.prk.hex(),
            "key": self.keys.key.hex(),
            "base_nonce": self.keys.base_nonce.hex(),
            "plaintexts": [plaintext.hex() for plaintext in self.plaintexts],
            "content": content_of(self.plaintexts).hex(),
            "sealed_response": self.whole.hex(),
        }


def answer(entry: Entry, request_hash: bytes, plaintexts: Sequence[bytes]) -> Answer:
    return Answer(entry, request_hash, seeded("response nonce " + entry.node_id.hex(), 32), tuple(plaintexts))


def write(path: Path, value: dict[str, object]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"spec": "docs/spec/sealed-request.md"} | value, indent=1, ensure_ascii=False) + "\n")


# --- What opens -------------------------------------------------------------------------------------------------------


def write_valid(name: str, about: str, sealed: Sealed, replies: Sequence[bytes]) -> None:
    answers = [answer(entry, sealed.request_hash, replies) for entry in sealed.entries]
    write(
        VALID / f"{name}.json",
        {
            "about": about,
            "nodes": [node.to_json() for node in sealed.nodes],
            "request": sealed.to_json(),
            "responses": [each.to_json() for each in answers],
        },
    )


def make_valid() -> None:
    one, tpm = make_node("one"), make_node("tpm", MLKEM768_P256)
    filler = pad(b"")
    write_valid(
        "one_recipient",
        "One recipient with MLKEM768-X25519; one chunk each way.",
        seal([one], [pad(REQUEST, 1024)]),
        [pad(RESPONSE)],
    )
    write_valid(
        "one_recipient_tpm",
        "One recipient with MLKEM768-P256; one chunk each way.",
        seal([tpm], [pad(REQUEST, 1024)]),
        [pad(RESPONSE)],
    )
    write_valid(
        "three_recipients",
        "Three recipients with both KEMs; several chunks each way, and filler in the middle and at the end.",
        seal([one, tpm, make_node("two")], [pad(REQUEST[:90]), filler, pad(REQUEST[90:]), filler]),
        [pad(RESPONSE[:9]), filler, pad(RESPONSE[9:30]), filler, filler, pad(RESPONSE[30:]), filler],
    )
    write_valid(
        "sixteen_recipients",
        "As many recipients as there can be.",
        seal([one, tpm, *(make_node(f"other {number}") for number in range(14))], split(REQUEST)),
        [pad(RESPONSE)],
    )
    full = split(bytes(range(255)) * 3)
    write_valid("full_chunks", "Chunks with no room for a zero after the 0x01.", seal([one], full), full[:2])
    write_valid(
        "content_that_looks_like_padding",
        "Content that ends in zeros and in 0x01, also where a chunk ends.",
        seal([one], split(b"\x01\x00" * 200 + b"\x01")),
        [pad(b"\x00"), pad(b"\x01"), pad(b"\x01\x00")],
    )
    write_valid("no_content", "Chunks that are all filler, both ways.", seal([one], [filler, filler]), [filler])


# --- What is refused --------------------------------------------------------------------------------------------------


def refuse_request(
    name: str,
    why: str,
    refused: tuple[str, str],
    sealed_request: bytes,
    *,
    nodes: Sequence[Node],
    accepted: Sequence[bytes] = (),
    max_body: int | None = None,
) -> None:
    value: dict[str, object] = {"why": why, "refused": {"step": refused[0], "code": refused[1]}}
    if max_body is not None:
        value["max_body"] = max_body
    value["nodes"] = [node.to_json() for node in nodes]
    if accepted:
        value["accepted"] = [each.hex() for each in accepted]
    write(INVALID / f"{name}.json", value | {"sealed_request": sealed_request.hex()})


def refuse_response(name: str, why: str, code: str, sealed: Sealed, sealed_response: bytes) -> None:
    recipients = [
        {
            "node_id": entry.node_id.hex(),
            "enc": entry.enc.hex(),
            "response_secret": answer(entry, sealed.request_hash, ()).secret.hex(),
        }
        for entry in sealed.entries
    ]
    write(
        INVALID / f"{name}.json",
        {
            "why": why,
            "refused": {"step": "response", "code": code},
            "request_hash": sealed.request_hash.hex(),
            "recipients": recipients,
            "sealed_response": sealed_response.hex(),
        },
    )


def make_invalid_headers() -> None:
    node, other = sorted([make_node("one"), make_node("two")], key=lambda each: each.node_id)
    sealed = seal([node, other], split(REQUEST))
    first, second = sealed.entries
    header, body = ("header", "decode"), b"".join(sealed.frames)

    def refuse(name: str, why: str, refused: tuple[str, str], head: bytes, chunks: bytes = body) -> None:
        refuse_request(name, why, refused, head + chunks, nodes=[node])

    refuse("wrong_version", "Version 2.", ("header", "unsupported"), header_of([first], version=2))
    refuse("no_recipient", "Recipient Count is 0.", header, header_of([]))
    crowd = [evolve(first, node_id=seeded("a", 31) + bytes((number,)), enc=first.enc) for number in range(17)]
    refuse("seventeen_recipients", "Recipient Count is 17, and there are 17.", ("header", "limit"), header_of(crowd))
    refuse("duplicate_node_id", "The same recipient twice.", header, header_of([first, first]))
    refuse(
        "duplicate_node_id_wrapped_twice",
        "The same node id twice, each with an encapsulation of its own.",
        header,
        header_of([first, wrap(node, sealed.secret)]),
    )
    refuse("unsorted_node_ids", "Node ids descend.", header, header_of([second, first]))
    short = evolve(first, enc=first.enc[:-1])
    refuse("enc_length_of_no_kem", "Enc Length is 1119, which is no KEM's.", header, header_of([short]))
    refuse("enc_length_zero", "Enc Length is 0.", header, header_of([evolve(first, enc=b"")]))
    long = evolve(first, enc=first.enc + bytes(33))
    refuse(
        "enc_length_of_another_kem", "Enc Length is 1153, and the node has MLKEM768-X25519.", header, header_of([long])
    )
    refuse(
        "header_truncated", "The bytes end within the last recipient.", ("header", "truncated"), sealed.header[:-1], b""
    )
    refuse("header_only_version", "The bytes end after the version.", ("header", "truncated"), b"\x01", b"")
    refuse("empty_request", "There are no bytes.", ("header", "truncated"), b"", b"")


def make_invalid_keys() -> None:
    one, two = make_node("one"), make_node("two")
    sealed = seal([one], split(REQUEST))
    [entry] = sealed.entries
    refuse_request(
        "foreign_recipient",
        "Sealed to another node, or to an epoch whose key is erased.",
        ("header", "unknown_key"),
        seal([two], split(REQUEST)).whole,
        nodes=[one],
    )
    refuse_request(
        "two_keys_of_one_node",
        "Two recipients are live keys of one node, which could be made to run the request twice.",
        ("header", "remote_protocol"),
        seal([one, two], split(REQUEST)).whole,
        nodes=[one, two],
    )
    refuse_request(
        "replayed_enc",
        "The same bytes a second time.",
        ("header", "replay"),
        sealed.whole,
        nodes=[one],
        accepted=[sealed.whole],
    )
    other_secret = seeded("another secret", 32)
    replayed = Sealed(
        (one,), (evolve(entry, wrapped_secret=entry.wrapped_secret),), sealed.secret, tuple(split(OTHER_REQUEST))
    )
    refuse_request(
        "replayed_enc_with_another_question",
        "An enc that was here before, with other chunks under the same header.",
        ("header", "replay"),
        replayed.whole,
        nodes=[one],
        accepted=[sealed.whole],
    )
    key = ("key", "decryption")

    def refuse(name: str, why: str, changed: Entry, secret: bytes = sealed.secret) -> None:
        whole = Sealed((one,), (changed,), secret, sealed.plaintexts).whole
        refuse_request(name, why, key, whole, nodes=[one])

    refuse(
        "wrapped_secret_altered",
        "One bit of the wrapped secret.",
        evolve(entry, wrapped_secret=flip(entry.wrapped_secret)),
    )
    refuse("enc_altered_ml_kem", "One bit of ML-KEM's half of enc.", evolve(entry, enc=flip(entry.enc)))
    refuse("enc_altered_x25519", "One bit of X25519's half of enc.", evolve(entry, enc=flip(entry.enc, 1088)))
    refuse(
        "wrapped_for_another_node_id",
        "The info of the wrap holds another node id, as if a recipient were renamed.",
        wrap(one, sealed.secret, info_id=two.node_id),
    )
    refuse(
        "wrapped_by_another_context",
        "A wrapped secret beside the enc of another wrap.",
        evolve(entry, enc=wrap(one, other_secret).enc),
    )
    tpm = make_node("tpm", MLKEM768_P256)
    sealed_tpm = seal([tpm], split(REQUEST))
    [entry_tpm] = sealed_tpm.entries
    off_curve = evolve(entry_tpm, enc=entry_tpm.enc[:1088] + b"\x04" + bytes(63) + b"\x01")
    refuse_request(
        "enc_not_on_p256",
        "P-256's half of enc is no point of the curve.",
        key,
        Sealed((tpm,), (off_curve,), sealed_tpm.secret, sealed_tpm.plaintexts).whole,
        nodes=[tpm],
    )


def flip(data: bytes, position: int = 0) -> bytes:
    return data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :]


def make_invalid_request_chunks() -> None:
    one, two = sorted([make_node("one"), make_node("two")], key=lambda each: each.node_id)
    sealed = seal([one, two], [pad(REQUEST[:100]), pad(REQUEST[100:]), pad(b"")])
    frames, keys = sealed.frames, sealed.keys

    def refuse(name: str, why: str, code: str, whole: bytes, **more: int) -> None:
        refuse_request(name, why, ("chunks", code), whole, nodes=[one], max_body=more.get("max_body"))

    altered = header_of([sealed.entries[0], evolve(sealed.entries[1], enc=flip(sealed.entries[1].enc))])
    refuse(
        "header_altered",
        "One bit of another recipient's enc: the request keys depend on every byte of the header.",
        "decryption",
        altered + b"".join(frames),
    )
    fewer = header_of(sealed.entries[:1])
    refuse(
        "recipient_removed", "Another recipient was taken out of the header.", "decryption", fewer + b"".join(frames)
    )
    make_broken_frames(
        "request", frames, keys, sealed.plaintexts, lambda n, w, c, f: refuse(n, w, c, sealed.with_frames(f))
    )
    foreign = seal([one, two], sealed.plaintexts, "another request").frames
    refuse(
        "request_chunk_of_another_request",
        "A chunk of another request to the same nodes, at its own place.",
        "decryption",
        sealed.with_frames([foreign[0], *frames[1:]]),
    )
    refuse(
        "request_larger_than_the_limit",
        "One chunk more than the node's limit of 512 bytes of chunk plaintext, and that one is filler.",
        "limit",
        sealed.whole,
        max_body=512,
    )


def make_invalid_response_chunks() -> None:
    one, two = sorted([make_node("one"), make_node("two")], key=lambda each: each.node_id)
    sealed = seal([one, two], split(REQUEST))
    first, second = sealed.entries
    good = answer(first, sealed.request_hash, [pad(RESPONSE[:50]), pad(b""), pad(RESPONSE[50:])])

    def refuse(name: str, why: str, code: str, whole: bytes) -> None:
        refuse_response(name, why, code, sealed, whole)

    make_broken_frames(
        "response", good.frames, good.keys, good.plaintexts, lambda n, w, c, f: refuse(n, w, c, good.with_frames(f))
    )
    substituted = Sealed(sealed.nodes, sealed.entries, sealed.secret, tuple(split(OTHER_REQUEST)))
    refuse(
        "response_to_other_bytes",
        "The right node answers another question under the same header.",
        "decryption",
        answer(first, substituted.request_hash, good.plaintexts).whole,
    )
    forged = answer(second, sealed.request_hash, good.plaintexts)
    refuse(
        "response_of_a_co_recipient_in_anothers_name",
        "A co-recipient answers with its own keys under the node id of another.",
        "decryption",
        first.node_id + forged.whole[32:],
    )
    stranger = seal([make_node("stranger")], sealed.plaintexts)
    refuse(
        "response_of_no_recipient",
        "A node answers to which the request was not sealed.",
        "decode",
        answer(stranger.entries[0], sealed.request_hash, good.plaintexts).whole,
    )
    refuse("response_nonce_altered", "One bit of the response nonce.", "decryption", flip(good.whole, 32))
    refuse("response_node_id_altered", "One bit of the node id.", "decode", flip(good.whole))
    refuse("response_prefix_truncated", "The bytes end within the response nonce.", "truncated", good.whole[:63])
    refuse("response_without_chunks", "The bytes end after the response nonce.", "truncated", good.whole[:64])
    refuse("response_empty", "There are no bytes.", "truncated", b"")


Refuse = Callable[[str, str, str, list[bytes]], None]


def make_broken_frames(of: str, frames: list[bytes], keys: Keys, plaintexts: Sequence[bytes], refuse: Refuse) -> None:
    """Break chunks in each way. There are three, the last of them final."""
    one, two, last = frames
    first, second, final = plaintexts

    def case(name: str, why: str, code: str, broken: list[bytes]) -> None:
        refuse(f"{of}_{name}", why, code, broken)

    def sealed_as(why_name: str, why: str, code: str, changed: Sequence[bytes]) -> None:
        case(why_name, why, code, keys.frames(changed))

    case("chunk_altered", "One bit of a chunk.", "decryption", [flip(one, 2), two, last])
    case("chunk_dropped", "A chunk is missing.", "decryption", [one, last])
    case("chunk_repeated", "A chunk comes twice.", "decryption", [one, one, two, last])
    case("chunks_reordered", "Two chunks changed places.", "decryption", [two, one, last])
    case("final_chunk_missing", "The bytes end after a chunk that is not final.", "truncated", [one, two])
    case("final_chunk_truncated", "The last byte is missing.", "decryption", [one, two, last[:-1]])
    case("final_chunk_shorter_than_a_tag", "The bytes end within the tag.", "truncated", [one, two, last[:16]])
    case("chunk_truncated", "The bytes end within a chunk.", "truncated", [one, two[:-1]])
    case("length_truncated", "The bytes end within a length.", "truncated", [one, two[:1]])
    case("data_after_the_end", "A byte follows the final chunk.", "decryption", [one, two, last, b"\x00"])
    case("chunk_after_the_end", "A chunk follows the final chunk.", "decryption", [one, last, two])
    case(
        "chunk_made_final",
        "A chunk that is not final is framed as the final one.",
        "decryption",
        [one, b"\x00" + two[2:]],
    )
    final_framed = encode_varint(len(last) - 1) + last[1:]
    case("final_chunk_made_non_final", "The final chunk is framed as another.", "decryption", [one, two, final_framed])
    without_aad = keys.frames(plaintexts, final_aad=b"")
    case(
        "final_chunk_without_its_aad",
        "The final chunk is sealed with empty associated data.",
        "decryption",
        without_aad,
    )
    long_varint = (0x80000000 | len(one) - 2).to_bytes(4, "big")
    case("varint_not_minimal", "A length in four bytes that fits in two.", "decode", [long_varint + one[2:], two, last])
    case(
        "final_varint_not_minimal",
        "The zero of the final chunk in two bytes.",
        "decode",
        [one, two, b"\x40\x00" + last[1:]],
    )
    empty = keys.seal(0, b"", b"")
    case("empty_chunk", "A chunk of a tag and nothing else.", "decryption", [bytes((len(empty),)) + empty, two, last])
    tiny = [b"\x0f" + one[2:17], two, last]
    case("chunk_shorter_than_a_tag", "A length of 15 bytes.", "decryption", tiny)
    too_long = encode_varint(65536 + 16 + 1)
    case("chunk_too_long", "A length of 65553 bytes.", "limit", [one, too_long, two[2:]])
    no_mark = bytes(SIZE)
    sealed_as("padding_without_its_01", "A chunk plaintext that is all zeros.", "decode", [first, no_mark, final])
    sealed_as("final_padding_without_its_01", "The final one is all zeros.", "decode", [first, second, no_mark])
    sealed_as("padding_marked_02", "Padding begins with 0x02.", "decode", [first, b"\x02".ljust(SIZE, b"\x00"), final])
    sealed_as("chunk_without_padding", "Content up to the last byte.", "decode", [first, b"\x7f" * SIZE, final])
    sealed_as("chunks_of_different_length", "The second is longer.", "decode", [first, second + b"\x00", final])
    sealed_as(
        "final_chunk_of_another_length", "The final chunk is shorter.", "decode", [pad(b"", 300), pad(b"", 300), final]
    )
    short = [pad(b"a", 255), pad(b"b", 255), pad(b"c", 255)]
    sealed_as("chunks_too_short", "Chunk plaintexts of 255 bytes.", "decode", short)


def make_substitution() -> None:
    """Show a whole attack of a co-recipient: what the node does, and why it gains nothing."""
    one, two = sorted([make_node("one"), make_node("two")], key=lambda each: each.node_id)
    sealed = seal([one, two], split(REQUEST))
    substituted = Sealed(sealed.nodes, sealed.entries, sealed.secret, tuple(split(OTHER_REQUEST)))
    refuse_request(
        "chunks_substituted_by_a_co_recipient",
        "A co-recipient, who knows the request secret, puts another question under the same header. The node answers "
        "it, to keys that the client does not have (response_to_substituted_chunks); the client's own question is then "
        "a replay.",
        ("header", "replay"),
        sealed.whole,
        nodes=[one],
        accepted=[substituted.whole],
    )
    response = answer(sealed.entries[0], substituted.request_hash, [pad(RESPONSE)])
    refuse_response(
        "response_to_substituted_chunks",
        "The answer to the question that a co-recipient put in place of the client's.",
        "decryption",
        sealed,
        response.whole,
    )
    truncated = evolve(sealed, plaintexts=(pad(REQUEST[:60]),))
    refuse_response(
        "response_to_a_question_cut_short",
        "The answer to the front of the question, which a co-recipient ended early.",
        "decryption",
        sealed,
        answer(sealed.entries[0], truncated.request_hash, [pad(RESPONSE)]).whole,
    )


def main() -> None:
    for folder in (VALID, INVALID):
        for old in folder.glob("*.json"):
            old.unlink()
    make_valid()
    make_invalid_headers()
    make_invalid_keys()
    make_invalid_request_chunks()
    make_invalid_response_chunks()
    make_substitution()


if __name__ == "__main__":
    main()
