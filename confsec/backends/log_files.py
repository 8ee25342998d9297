"""The files of a log that readers ask for: where they are, and what a server says of each (C2SP tlog-tiles)."""

from __future__ import annotations

import re
from typing import Final

from confsec.backends.api import Headers
from confsec.protocol.tree_reader import BEACON_PATH, CHECKPOINT_PATH

__all__ = ["POLICY_PATH", "file_headers", "proof_path"]

POLICY_PATH: Final = "witnesses"
"""Where the log says who cosigns it (C2SP tlog-policy)."""

_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_FOREVER: Final = "public, max-age=31536000, immutable"
_SECONDS: Final = "public, max-age=2"
"""A checkpoint's "headers SHOULD prevent caching beyond a few seconds" (C2SP tlog-tiles, Checkpoints)."""

_TILE: Final = re.compile(r"tile/(entries|[0-9])/(x[0-9]{3}/){0,6}[0-9]{3}(\.p/[1-9][0-9]{0,2})?", re.ASCII)
_PROOF: Final = re.compile(r"proof/(0|[1-9][0-9]{0,18})", re.ASCII)


def proof_path(index: int) -> str:
    """Return where the proof of an entry is kept."""
    return f"proof/{index}"


def file_headers(path: str) -> Headers | None:
    """Return the fields `content-type` and `cache-control` of a file, or None for a path that no reader asks for."""
    if path in {CHECKPOINT_PATH, POLICY_PATH, BEACON_PATH}:
        return ("content-type", _TEXT), ("cache-control", _SECONDS)
    if _TILE.fullmatch(path):
        return ("content-type", _BYTES), ("cache-control", _FOREVER)
    if _PROOF.fullmatch(path):
        return ("content-type", _TEXT), ("cache-control", _FOREVER)
    return None
