"""Text of somebody else, made harmless for terminals and pages."""

from __future__ import annotations

import json
import re
from typing import Final

__all__ = ["json_text", "printable"]

_UNPRINTABLE: Final = re.compile(
    # Control characters steer a terminal; the others turn what stands beside them around, or hide.
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
_HIDDEN_IN_JSON: Final = re.compile(_UNPRINTABLE.pattern.replace("\x00-\x1f", "", 1))


def printable(text: str) -> str:
    r"""Write out characters that would steer a terminal or hide in a page, as `\x1b` or `\u202e`."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def json_text(value: object) -> str:
    """Write JSON that people can read too. What would steer a terminal is escaped: outside of strings it cannot be."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return _HIDDEN_IN_JSON.sub(lambda match: json.dumps(match[0])[1:-1], text)
