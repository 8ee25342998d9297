"""The PrivateToken scheme in HTTP's header fields (RFC 9577, section 2), with extensions.

`WWW-Authenticate` carries challenges and `Authorization` one token. The grammar is that of RFC 9110, section 11: a list
of schemes, each with parameters, in which one comma separates parameters and another one schemes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Self

from attrs import field, frozen

from confsec.errors import DecodeError, LimitError, TokenMissingError
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_extensions import Extensions
from confsec.protocol.token_messages import Token, check_extensions
from confsec.protocol.wire import decode_base64url_padded, encode_base64url_padded

__all__ = [
    "MAX_AUTH_CHALLENGES",
    "MAX_AUTH_FIELD",
    "AuthChallenge",
    "TokenCredentials",
    "decode_www_authenticate",
    "encode_www_authenticate",
]

MAX_AUTH_FIELD: Final = 32_768
"""The longest field that we read, in characters."""

MAX_AUTH_CHALLENGES: Final = 64
"""How many challenges of all schemes we read in a field."""

_SCHEME: Final = "privatetoken"
_MAX_AGE: Final = re.compile(r"[0-9]{1,10}")
_SECTION: Final = "RFC 9577, section 2.1"
_GRAMMAR: Final = "RFC 9110, section 11"

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
# "A recipient MUST parse and ignore a reasonable number of empty list elements" (RFC 9110, section 5.6.1.2).
_END: Final = r"[ \t]*(?:,[ \t,]*|\Z)"
_PARAMETER_PATTERN: Final = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|({_QUOTED})){_END}")
_TOKEN68_PATTERN: Final = re.compile(rf"[0-9A-Za-z._~+/-]+=*{_END}")
_BARE_SCHEME_PATTERN: Final = re.compile(rf"({_TOKEN}){_END}")
_SCHEME_PATTERN: Final = re.compile(rf"({_TOKEN}) +")

_Parameters = dict[str, str]


@frozen
class AuthChallenge:
    """One challenge of the PrivateToken scheme. What it carries is not decoded: it may be of a type nobody knows."""

    challenge: bytes
    """The token challenge, encoded."""

    token_key: bytes | None = None
    """The issuer's public key in the form of its token type, if the origin sends it along."""

    max_age: int | None = None
    """For how many seconds the challenge may be answered, if the origin says so."""

    def token_challenge(self) -> TokenChallenge:
        """Decode the token challenge. Raises `DecodeError`."""
        return TokenChallenge.decode(self.challenge)


@frozen
class TokenCredentials:
    """What an `Authorization` field carries: a token, and the extensions it is bound to if its type has them."""

    token: Token
    """The token."""

    extensions: Extensions | None = field(default=None)
    """The public metadata."""

    def __attrs_post_init__(self) -> None:
        check_extensions(self.token.token_input.token_type, self.extensions)

    @classmethod
    def decode(cls, value: str | None) -> Self:
        """Decode an `Authorization` field, None if there is none.

        Raises `TokenMissingError` if it has no PrivateToken credentials, `DecodeError` and `TokenTypeError`.
        """
        parsed = list(_parse(value or ""))
        if not parsed or parsed[0][0] != _SCHEME:
            raise TokenMissingError("a token is needed", section="RFC 9577, section 2.2")
        # Two tokens in one field: a proxy and we might disagree on which of them counts.
        if len(parsed) != 1:
            raise DecodeError("more than one scheme of credentials", section=_GRAMMAR)
        parameters = parsed[0][1]
        if "token" not in parameters:
            raise DecodeError("credentials have no token", section="RFC 9577, section 2.2")
        token = Token.decode(decode_base64url_padded(parameters["token"]))
        extensions = parameters.get("extensions")
        return cls(token, None if extensions is None else Extensions.decode(decode_base64url_padded(extensions)))

    def encode(self) -> str:
        text = f'PrivateToken token="{encode_base64url_padded(self.token.encode())}"'
        if self.extensions is not None:
            text += f', extensions="{encode_base64url_padded(self.extensions.encode())}"'
        return text


def decode_www_authenticate(value: str) -> tuple[AuthChallenge, ...]:
    """Return the challenges of the PrivateToken scheme in a field, in order; other schemes are passed over.

    Several fields of the name are one, joined with commas. Raises `DecodeError`.
    """
    return tuple(_read_challenge(parameters) for scheme, parameters in _parse(value) if scheme == _SCHEME)


def encode_www_authenticate(challenges: Iterable[AuthChallenge]) -> str:
    """Encode challenges as one `WWW-Authenticate` field."""
    return ", ".join(_write_challenge(challenge) for challenge in challenges)


def _read_challenge(parameters: Mapping[str, str]) -> AuthChallenge:
    if "challenge" not in parameters:
        raise DecodeError("PrivateToken challenge has no challenge", section=_SECTION)
    token_key, max_age = parameters.get("token-key"), parameters.get("max-age")
    if max_age is not None and not _MAX_AGE.fullmatch(max_age):
        raise DecodeError("max-age is not a number of seconds", section=_SECTION)
    return AuthChallenge(
        decode_base64url_padded(parameters["challenge"]),
        None if token_key is None else decode_base64url_padded(token_key),
        None if max_age is None else int(max_age),
    )


def _write_challenge(challenge: AuthChallenge) -> str:
    text = f'PrivateToken challenge="{encode_base64url_padded(challenge.challenge)}"'
    if challenge.token_key is not None:
        text += f', token-key="{encode_base64url_padded(challenge.token_key)}"'
    if challenge.max_age is not None:
        text += f', max-age="{challenge.max_age}"'
    return text


def _parse(text: str) -> Iterator[tuple[str, _Parameters]]:
    """Find the schemes in a field, in lower case, each with its parameters. Raises `DecodeError`."""
    if len(text) > MAX_AUTH_FIELD:
        raise LimitError("field is too long", got=f"{len(text)} characters", want=f"at most {MAX_AUTH_FIELD}")
    position, count = len(text) - len(text.lstrip(" \t,")), 0
    while position < len(text):
        count += 1
        if count > MAX_AUTH_CHALLENGES:
            raise LimitError("field has too many challenges", want=f"at most {MAX_AUTH_CHALLENGES}")
        scheme, parameters, position = _parse_scheme(text, position)
        yield scheme, parameters


def _parse_scheme(text: str, position: int) -> tuple[str, _Parameters, int]:
    if bare := _BARE_SCHEME_PATTERN.match(text, position):
        return bare[1].lower(), {}, bare.end()
    named = _SCHEME_PATTERN.match(text, position)
    if not named:
        raise _malformed(position)
    scheme, position = named[1].lower(), named.end()
    if token68 := _TOKEN68_PATTERN.match(text, position):
        return scheme, {}, token68.end()
    parameters: _Parameters = {}
    while parameter := _PARAMETER_PATTERN.match(text, position):
        name, value = parameter[1].lower(), parameter[2] or _unquote(parameter[3])
        # RFC 9110, section 11.2: "each parameter name MUST only occur once per challenge".
        if name in parameters:
            raise DecodeError("a parameter occurs twice", section=_GRAMMAR)
        parameters[name] = value
        position = parameter.end()
    if not parameters:
        raise _malformed(position)
    return scheme, parameters, position


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _malformed(position: int) -> DecodeError:
    return DecodeError("field is malformed", got=f"something else at character {position}", section=_GRAMMAR)
