"""The page of a log: plain files that show visitors what is in it, and let their browsers check it.

They lie beside the log's tiles, as `index.html` and `page/…`, or the role of the log serves them. The page asks only
for what is beside it, so it works below any address.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

__all__ = ["CONTENT_POLICY", "PAGE_FILES", "page_file", "write_page"]

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}

PAGE_FILES: Final = (
    "bytes.js", "checks.js", "dom.js", "entries.js", "fetcher.js", "index.html", "judge.js", "log.js", "memory.js",
    "merkle.js", "note.js", "policy.js", "search.js", "statements.js", "style.css", "tiles.js", "view.js",
)  # fmt: skip
"""The names of the files."""

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What a browser may load for the page, and run (W3C CSP 3). The page says it too, for hosts that send no headers."""


def page_file(name: str) -> tuple[str, bytes] | None:
    """Return the media type and the bytes of one file of the page, or None for a name that is none of them."""
    if name not in PAGE_FILES:
        return None
    return _TYPES[name.rpartition(".")[2]], (files(__name__) / name).read_bytes()


def write_page(folder: Path) -> None:
    """Write the page into the folder that holds a log's tiles: `index.html`, and the rest below `page`.

    Raises `OSError` if that cannot be written.
    """
    (folder / "page").mkdir(parents=True, exist_ok=True)
    for path, data in _paths().items():
        _replace(folder / path, data)


def _paths() -> Mapping[str, bytes]:
    """Return the files by where the page looks for them. Its first file comes last: before, it would find no others."""
    names = sorted(PAGE_FILES, key="index.html".__eq__)
    return {name if name == "index.html" else f"page/{name}": (files(__name__) / name).read_bytes() for name in names}


def _replace(path: Path, data: bytes) -> None:
    """Write a file that visitors see whole, or as it was before."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(data)
    draft.replace(path)
