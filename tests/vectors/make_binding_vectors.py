"""Write `binding.json`: the binding value of attestation, computed here from the text of the specification.

Nothing of confsec is imported: what the package computes is compared with what stands in docs/spec/attestation.md.
Type `python -m tests.vectors.make_binding_vectors` after a change of the specification.
"""

from __future__ import annotations

import json
from hashlib import sha256, sha512
from pathlib import Path

FILE = Path(__file__).with_name("binding.json")

_KEY_CONFIG = bytes.fromhex("00647a") + bytes(range(256)) * 4 + bytes(192) + bytes.fromhex("000400010002")
_MANIFEST = bytes.fromhex("a166656e67696e65696c6c616d612e637070")
_AK = (
    bytes.fromhex("0023000b00050072000000100018000b00030010") + b"\x00\x20" + b"\x11" * 32 + b"\x00\x20" + b"\x22" * 32
)


def _case(name: str, mode: int, source: bytes, ak: bytes | None) -> dict[str, object]:
    """Compute one case, as section 2 of docs/spec/attestation.md says."""
    nonce = sha256(b"confsec epoch v1\x00" + source).digest() if mode == 0 else sha256(source).digest()
    ak_digest = bytes(32) if ak is None else sha256(ak).digest()
    bound = (
        b"confsec binding v1\x00"
        + bytes([mode])
        + nonce
        + sha256(_KEY_CONFIG).digest()
        + ak_digest
        + sha256(_MANIFEST).digest()
    )
    return {
        "name": name,
        "binding_mode": f"{mode:02x}",
        "beacon" if mode == 0 else "challenge": source.hex(),
        "key_config": _KEY_CONFIG.hex(),
        "manifest": _MANIFEST.hex(),
        "ak": "" if ak is None else ak.hex(),
        "nonce": nonce.hex(),
        "bound": bound.hex(),
        "report_data": sha512(bound).hexdigest(),
        "qualifying_data": sha512(bound).digest()[:32].hex(),
    }


def main() -> None:
    """Write the file."""
    beacon = b"confsec unsafe local epoch\n1893456000\n"
    cases = [
        _case("an epoch, without a TPM", 0, beacon, None),
        _case("an epoch, with a TPM", 0, beacon, _AK),
        _case("a challenge of 8 bytes", 1, bytes(range(8)), None),
        _case("a challenge of 64 bytes, with a TPM", 1, bytes(range(64)), _AK),
    ]
    document = {"source": "docs/spec/attestation.md, section 2", "schema": "confsec-binding", "cases": cases}
    FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
