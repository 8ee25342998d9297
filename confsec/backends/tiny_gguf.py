"""A tiny language model in a GGUF file: what the demo and the tests ask when nobody names a real model.

It is a Llama of two layers with random weights. It knows nothing, but a real engine loads and runs it as it would any
other model, within a tenth of a second. The file is made from a seed, byte by byte the same each time, with `struct`
alone, so that nobody has to trust a binary. The format is GGUF, version 3 (ggml-org/ggml, docs/gguf.md).

Only whole words and two punctuation marks can be generated: hidden dimension 0 is the same for every token, no layer
writes to it, and the output matrix turns it into a strongly negative logit for everything else. So the answer is
readable UTF-8 however the sampler is set, and it ends where the request's token limit ends it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from hashlib import shake_256
from pathlib import Path

from attrs import frozen

__all__ = ["CONTEXT_LENGTH", "MODEL_NAME", "tiny_gguf", "write_tiny_gguf"]

MODEL_NAME = "confsec-tiny"
"""The name that the model bears in its file and in answers."""

CONTEXT_LENGTH = 4096
"""Tokens of prompt and answer together. Each character of a prompt is a token."""

_SEED = b"confsec tiny model v1"
_DIM, _HEADS, _LAYERS, _FEED_FORWARD = 64, 4, 2, 128
_WORDS = 240

# The value types of GGUF metadata, and the tensor types of ggml, that we use.
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_F32, _F16 = 0, 1
_ALIGNMENT = 32

# The token types of a SentencePiece vocabulary.
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6

_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@frozen
class _Token:
    """One entry of the vocabulary."""

    text: str
    kind: int
    score: float
    bias: float
    """What dimension 0 adds to the logit: 0 for words, less for punctuation, far below for all that is never said."""


_NEVER = -1000.0
_RARELY = -2.0


@frozen
class _Tensor:
    """A matrix (F16) or a vector (F32) in ggml's order: the first dimension varies fastest."""

    name: str
    shape: tuple[int, ...]
    kind: int
    data: bytes


def tiny_gguf() -> bytes:
    """Return the file: the same bytes on every machine, in about a tenth of a second."""
    tokens = list(_vocabulary())
    tensors = list(_tensors(tokens))
    metadata = list(_metadata(tokens))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(metadata)
    offset = 0
    for tensor in tensors:
        head += _tensor_info(tensor, offset)
        offset += len(_aligned(tensor.data))
    return _aligned(head) + b"".join(_aligned(tensor.data) for tensor in tensors)


def write_tiny_gguf(path: Path) -> None:
    """Write the file to `path`, readable by its owner only. Blocking; raises `OSError`, also if the file exists."""
    with path.open("xb") as file:
        path.chmod(0o600)
        file.write(tiny_gguf())


def _stream(label: str, count: int) -> Iterator[float]:
    """Yield `count` numbers of [-1, 1), the same for the same label: SHAKE256 of seed and label, 16 bits each."""
    octets = shake_256(_SEED + b"\x00" + label.encode()).digest(2 * count)
    return (number / 32768 for number in struct.unpack(f"<{count}h", octets))


def _vocabulary() -> Iterator[_Token]:
    yield _Token("<unk>", _UNKNOWN, 0.0, _NEVER)
    yield _Token("<s>", _CONTROL, 0.0, _NEVER)
    yield _Token("</s>", _CONTROL, 0.0, _NEVER)
    yield from (_Token(f"<0x{octet:02X}>", _BYTE, 0.0, _NEVER) for octet in range(256))
    # U+2581 stands for a space in SentencePiece.
    yield from (_Token("\u2581" + word, _NORMAL, -1.0, 0.0) for word in _words())
    for character in ("\u2581", *map(chr, range(0x21, 0x7F))):
        yield _Token(character, _NORMAL, -2.0, _RARELY if character in ",." else _NEVER)


def _words() -> list[str]:
    """Return made-up words of two or three syllables, each once."""
    numbers = _stream("words", 8 * _WORDS)
    words: dict[str, None] = {}
    while len(words) < _WORDS:
        syllables = 2 if next(numbers) < 0.3 else 3
        words["".join(_pick("bdfklmnprstvz", numbers) + _pick("aeiou", numbers) for _ in range(syllables))] = None
    return list(words)


def _pick(letters: str, numbers: Iterator[float]) -> str:
    return letters[int((next(numbers) + 1) / 2 * len(letters))]


def _tensors(tokens: list[_Token]) -> Iterator[_Tensor]:
    # Dimension 0 is 1 for every token; `_matrix` keeps it out of what the layers add.
    embedding = _rows("token_embd", len(tokens), _DIM, scale=1.0)
    yield _half("token_embd.weight", [[1.0, *row[1:]] for row in embedding])
    for layer in range(_LAYERS):
        yield from _layer(f"blk.{layer}.")
    yield _ones("output_norm.weight")
    output = _rows("output", len(tokens), _DIM, scale=0.6)
    yield _half("output.weight", [[token.bias, *row[1:]] for token, row in zip(tokens, output, strict=True)])


def _layer(prefix: str) -> Iterator[_Tensor]:
    yield _ones(prefix + "attn_norm.weight")
    for name in ("attn_q", "attn_k", "attn_v"):
        yield _half(f"{prefix}{name}.weight", _rows(prefix + name, _DIM, _DIM, scale=0.3))
    yield _half(
        prefix + "attn_output.weight", _without_dimension_0(_rows(prefix + "attn_output", _DIM, _DIM, scale=0.3))
    )
    yield _ones(prefix + "ffn_norm.weight")
    for name in ("ffn_gate", "ffn_up"):
        yield _half(f"{prefix}{name}.weight", _rows(prefix + name, _FEED_FORWARD, _DIM, scale=0.3))
    down = _rows(prefix + "ffn_down", _DIM, _FEED_FORWARD, scale=0.3)
    yield _half(prefix + "ffn_down.weight", _without_dimension_0(down))


def _rows(label: str, count: int, size: int, *, scale: float) -> list[list[float]]:
    numbers = _stream(label, count * size)
    return [[scale * next(numbers) for _ in range(size)] for _ in range(count)]


def _without_dimension_0(rows: list[list[float]]) -> list[list[float]]:
    """Let the first output be zero, so that the layer leaves hidden dimension 0 as it is."""
    return [[0.0] * len(rows[0]), *rows[1:]]


def _half(name: str, rows: list[list[float]]) -> _Tensor:
    numbers = [number for row in rows for number in row]
    return _Tensor(name, (len(rows[0]), len(rows)), _F16, struct.pack(f"<{len(numbers)}e", *numbers))


def _ones(name: str) -> _Tensor:
    return _Tensor(name, (_DIM,), _F32, struct.pack(f"<{_DIM}f", *[1.0] * _DIM))


def _tensor_info(tensor: _Tensor, offset: int) -> bytes:
    shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return _string(tensor.name) + shape + struct.pack("<IQ", tensor.kind, offset)


def _aligned(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)


def _string(text: str) -> bytes:
    octets = text.encode()
    return struct.pack("<Q", len(octets)) + octets


def _metadata(tokens: list[_Token]) -> Iterator[bytes]:
    yield _entry("general.architecture", _STRING, _string("llama"))
    yield _entry("general.name", _STRING, _string(MODEL_NAME))
    yield from _numbers(
        {
            "general.file_type": 1,  # mostly F16
            "llama.context_length": CONTEXT_LENGTH,
            "llama.embedding_length": _DIM,
            "llama.block_count": _LAYERS,
            "llama.feed_forward_length": _FEED_FORWARD,
            "llama.attention.head_count": _HEADS,
            "llama.attention.head_count_kv": _HEADS,
            "llama.rope.dimension_count": _DIM // _HEADS,
            "llama.vocab_size": len(tokens),
            "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
        }
    )
    yield _entry("llama.attention.layer_norm_rms_epsilon", _FLOAT32, struct.pack("<f", 1e-5))
    yield _entry("tokenizer.ggml.model", _STRING, _string("llama"))
    yield _array("tokenizer.ggml.tokens", _STRING, (_string(token.text) for token in tokens))
    yield _array("tokenizer.ggml.scores", _FLOAT32, (struct.pack("<f", token.score) for token in tokens))
    yield _array("tokenizer.ggml.token_type", _INT32, (struct.pack("<i", token.kind) for token in tokens))
    yield _entry("tokenizer.ggml.add_bos_token", _BOOL, b"\x01")
    yield _entry("tokenizer.ggml.add_space_prefix", _BOOL, b"\x00")
    yield _entry("tokenizer.chat_template", _STRING, _string(_CHAT_TEMPLATE))


def _numbers(entries: dict[str, int]) -> Iterator[bytes]:
    return (_entry(key, _UINT32, struct.pack("<I", number)) for key, number in entries.items())


def _entry(key: str, kind: int, value: bytes) -> bytes:
    return _string(key) + struct.pack("<I", kind) + value


def _array(key: str, kind: int, items: Iterable[bytes]) -> bytes:
    encoded = list(items)
    return _entry(key, _ARRAY, struct.pack("<IQ", kind, len(encoded)) + b"".join(encoded))
