"""Control data of binary HTTP: method, scheme, authority and path, and the status code (RFC 9292, 3.4 and 3.5).

The rules are those of the HTTP/2 pseudo-fields with the same names (RFC 9113, section 8.3.1), except that an absent
authority is an empty one.
"""

from __future__ import annotations

import re
from typing import Final

from confsec.errors import DecodeError
from confsec.protocol.bhttp_fields import Fields

__all__ = ["check_host", "check_request_control", "check_status"]

_SECTION = "RFC 9113, section 8.3.1"

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*")
# What RFC 3986, section 3.2, allows between "//" and the next "/"; for http and https without "userinfo@".
_AUTHORITY = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:%\[\]@]*")
# Visible ASCII without a fragment. RFC 3986 allows less; servers and libraries send all of these.
_PATH = re.compile(r"[\x21\x22\x24-\x7e]*")

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def check_request_control(method: str, scheme: str, authority: str, path: str) -> None:
    """Refuse control data that HTTP/2 calls malformed. Raises `DecodeError`."""
    if not _METHOD.fullmatch(method):
        raise DecodeError("the method is not a token", got=f"{len(method)} characters", section="RFC 9110, section 9.1")
    if not _AUTHORITY.fullmatch(authority):
        raise DecodeError("the authority has forbidden characters", section=_SECTION)
    if method == "CONNECT":
        _check_connect(scheme, authority, path)
        return
    if not _SCHEME.fullmatch(scheme):
        raise DecodeError("the scheme is not one", got=f"{len(scheme)} characters", section=_SECTION)
    if not _PATH.fullmatch(path):
        raise DecodeError("the path has forbidden characters", section=_SECTION)
    if scheme in _DEFAULT_PORTS:
        _check_http_target(method, authority, path)


def _check_connect(scheme: str, authority: str, path: str) -> None:
    if scheme or path or not authority:
        raise DecodeError("CONNECT needs an authority and nothing else", section="RFC 9113, section 8.5")


def _check_http_target(method: str, authority: str, path: str) -> None:
    if "@" in authority:
        raise DecodeError("the authority has a userinfo part", section=_SECTION)
    if path[:1] != "/" and (path != "*" or method != "OPTIONS"):
        raise DecodeError("the path does not begin with a slash", section=_SECTION)


def check_host(scheme: str, authority: str, headers: Fields) -> None:
    """Refuse a second Host field, and one that names another authority than control data. Raises `DecodeError`."""
    hosts = [value for name, value in headers if name == "host"]
    if len(hosts) > 1:
        raise DecodeError("a request has one Host at most", got=len(hosts), section="RFC 9110, section 7.2")
    # "A server SHOULD treat a request as malformed if it contains a Host header field that identifies an entity that
    # differs": two readers of one message must not come to two targets.
    if hosts and authority and _normal(scheme, hosts[0]) != _normal(scheme, authority):
        raise DecodeError("Host and authority differ", section=_SECTION)


def _normal(scheme: str, authority: str) -> str:
    return authority.lower().removesuffix(_DEFAULT_PORTS.get(scheme, ""))


def check_status(status: int, *, informational: bool) -> None:
    """Refuse a status that is not in its range: 100 to 199, or 200 to 599. Raises `DecodeError`."""
    low, high = (100, 199) if informational else (200, 599)
    if not low <= status <= high:
        raise DecodeError(
            "the status code is out of range", got=status, want=f"{low} to {high}", section="RFC 9292, section 3.5"
        )
