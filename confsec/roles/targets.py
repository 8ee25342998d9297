"""Which targets a gateway reaches, and what it asks of them: an allow-list, compared letter by letter.

Nothing is normalised. A path that another server might read in another way is none that we pass on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, final

from confsec.errors import ConfigError, NotAllowedError
from confsec.protocol.bhttp_decoder import RequestHead
from confsec.roles.config import url

__all__ = ["Targets", "check_allow", "check_target"]

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
_QUERY: Final = re.compile(r"[A-Za-z0-9._~=&,:%+/-]{0,1024}")
_AUTHORITY: Final = re.compile(r"[a-z0-9.\-\[\]:]{1,255}")
_ALLOW: Final = re.compile(r"[A-Z]{1,16} /[A-Za-z0-9._~/-]*\*{0,2}")
_MAX_SEGMENTS: Final = 16


def check_target(value: str) -> None:
    """Check `AUTHORITY=URL`."""
    authority, _, base = value.partition("=")
    if not _AUTHORITY.fullmatch(authority):
        raise ValueError(f"must be AUTHORITY=URL, is {value!r}")
    url(base)


def check_allow(value: str) -> None:
    """Check `METHOD /path`, `METHOD /path/*` or `METHOD /path/**`."""
    if not _ALLOW.fullmatch(value) or ("*" in value and not value.rstrip("*").endswith("/")):
        raise ValueError(f"must be METHOD /path, METHOD /path/* or METHOD /path/**, is {value!r}")


@final
class Targets:
    """The allow-list of a gateway."""

    def __init__(self, targets: Sequence[str], allow: Sequence[str]) -> None:
        """Take what `check_target` and `check_allow` let pass. Raises `ConfigError` for two targets of one name."""
        pairs = [target.partition("=")[::2] for target in targets]
        self._bases = {authority: base.rstrip("/") for authority, base in pairs}
        if not pairs or len(self._bases) != len(pairs):
            raise ConfigError("the key targets needs targets, each with an authority of its own")
        self._allow = frozenset(allow)

    def url_for(self, head: RequestHead) -> str:
        """Return the URL that `head` asks for. Raises `NotAllowedError`."""
        path, _, query = head.path.partition("?")
        base = self._bases.get(_authority(head))
        if base is None:
            raise NotAllowedError("the gateway has no such target")
        above, _, last = path.rpartition("/")
        exact = f"{head.method} {path}" in self._allow and not path.endswith("*")
        below = f"{head.method} {above}/*" in self._allow and _SEGMENT.fullmatch(last)
        if not (exact or below or self._is_far_below(head.method, path)) or not _QUERY.fullmatch(query):
            raise NotAllowedError("the gateway does not ask this of the target")
        return base + head.path

    def _is_far_below(self, method: str, path: str) -> bool:
        """Tell whether a path is below one whose folders may be asked as well, such as a log's tiles."""
        folders = path.split("/")
        if len(folders) > _MAX_SEGMENTS:
            return False
        for depth in range(1, len(folders)):
            above, below = folders[:depth], folders[depth:]
            if f"{method} {'/'.join(above)}/**" in self._allow:
                return all(_SEGMENT.fullmatch(each) for each in below)
        return False


def _authority(head: RequestHead) -> str:
    """Return the authority, from control data or else from the Host field (RFC 9292, section 3.4)."""
    return head.authority or next((value for name, value in head.headers if name == "host"), "")
