"""Who signs with Sigstore, and what a policy asks of whatever verifies Sigstore's bundles.

A bundle (sigstore/protobuf-specs, sigstore_bundle.proto) carries a signature with all that it takes to verify it
offline: a certificate that names the signer for some minutes, the entry in a log, and signed times. How that is
verified stands in `confsec.backends.sigstore`; here is who may have signed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol, final

from attrs import field, frozen

from confsec.errors import ConfigError, DecodeError, TransparencyError
from confsec.protocol import json_general
from confsec.protocol.dsse import MAX_ENVELOPE, Envelope

__all__ = [
    "MAX_BUNDLE",
    "BundleVerifier",
    "SignedArtifact",
    "SignedBundle",
    "SigstoreIdentity",
    "is_bundle",
    "read_envelope",
]

MAX_BUNDLE: Final = MAX_ENVELOPE + (1 << 18)
"""A bundle has at most 1.25 MiB: an envelope, and 256 KiB of certificates, proofs and signed times."""

_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle"
_MEMBERS: Final = frozenset({"mediaType", "verificationMaterial", "dsseEnvelope"})
_SECTION: Final = "docs/spec/statements.md, Sigstore"
_MAX_NAME: Final = 255
_MAX_SUBJECT: Final = 1024
_PATTERN_SIGNS: Final = re.compile(r"[\^$*|(){}\[\]\\\s]")
_OPEN_BEGINNING: Final = re.compile(r"\^\(*(?:\?:)?\.[*+?{]")
_STRANGERS: Final = ("nobody@stranger.invalid", "https://stranger.invalid/any/.ci/any.yml@refs/heads/main", "stranger")


@final
@frozen
class SigstoreIdentity:
    """Somebody who signs with Sigstore: an issuer, exactly, and a subject, exactly or by a pattern from `^` to `$`."""

    name: str
    """What we call them. An exact name, which nobody but us has to know."""

    issuer: str
    """The OpenID Connect issuer that knows them, an exact URL."""

    subject: str
    """The identity that it vouches for: an e-mail address, or the URI of a workflow.

    A regular expression if it begins with `^` and ends with `$`; then it has to match all of the identity.
    """

    def __attrs_post_init__(self) -> None:
        if not 0 < len(self.name) <= _MAX_NAME or not self.name.isprintable():
            raise ConfigError("an identity has no name, or one that cannot be shown", section=_SECTION)
        _require_exact(self.issuer, want="an exact URL")
        if not self.is_pattern:
            _require_exact(self.subject, want="an exact identity, or a pattern from ^ to $")
        elif _OPEN_BEGINNING.match(self.subject) or any(map(self._compile().fullmatch, _STRANGERS)):
            raise ConfigError(
                "a pattern of identities takes anybody", got=self.subject, want="how they begin", section=_SECTION
            )

    @property
    def is_pattern(self) -> bool:
        """Whether the subject is a pattern."""
        return len(self.subject) > 2 and self.subject.startswith("^") and self.subject.endswith("$")

    def check(self, issuer: str, subject: str) -> None:
        """Check who signed. Raises `TransparencyError` for anybody else."""
        # "^a|b$" matches "b" anywhere but at its end: only a match of the whole text is meant.
        same = self._compile().fullmatch(subject) if self.is_pattern else subject == self.subject
        if issuer != self.issuer or not same or len(subject) > _MAX_SUBJECT:
            raise TransparencyError("somebody else signed the bundle", want=self.subject, section=_SECTION)

    def _compile(self) -> re.Pattern[str]:
        try:
            return re.compile(self.subject if self.is_pattern else "", re.ASCII)
        except re.error as exc:
            raise ConfigError("a pattern of identities is no regular expression", got=self.subject) from exc


@final
@frozen
class SignedArtifact:
    """A file that one of the wanted identities signed. Only what verified a bundle makes it."""

    identity: SigstoreIdentity
    """Which of them."""

    subject: str
    """Who exactly, where the identity is a pattern."""

    digest: bytes
    """SHA-256 of the file, 32 bytes."""


@final
@frozen
class SignedBundle:
    """A payload that one of the wanted identities signed. Only what verified a bundle makes it."""

    identity: SigstoreIdentity
    """Which of them."""

    subject: str
    """Who exactly, where the identity is a pattern."""

    spki: bytes = field(repr=False)
    """The key in the certificate, as DER of its SubjectPublicKeyInfo: used for this bundle, and for few others."""

    payload_type: str
    """What the payload is: it is signed with it."""

    payload: bytes = field(repr=False)


class BundleVerifier(Protocol):
    """Verifies bundles under roots that its owner trusts."""

    def verify_envelope(self, bundle: bytes, identities: Sequence[SigstoreIdentity]) -> SignedBundle:
        """Return the payload of a bundle's DSSE envelope, if it was signed by one of `identities` and logged.

        It asks nobody. Raises `DecodeError` and `LimitError` for what is no bundle, `VerificationError` for one that
        does not verify, and `TransparencyError` if somebody else signed it.
        """
        ...


def is_bundle(data: bytes) -> bool:
    """Say whether bytes call themselves a bundle of Sigstore, of any version. Nothing is verified by this."""
    try:
        value = json_general.decode(data, what="a bundle", limit=MAX_BUNDLE)
    except DecodeError:
        return False
    media_type = value.get("mediaType") if isinstance(value, dict) else None
    return isinstance(media_type, str) and media_type.startswith(_MEDIA_TYPE)


def read_envelope(data: bytes) -> Envelope:
    """Read an envelope, or the one in a bundle of Sigstore, to see what it claims. Nothing is verified by this.

    There is one reading of any bytes, and this is it: what calls itself a bundle is one, has the members of a bundle
    that holds an envelope, and no others. Raises `DecodeError` and `LimitError`.
    """
    if not is_bundle(data):
        return Envelope.decode(data)
    bundle = json_general.as_object(json_general.decode(data, what="a bundle", limit=MAX_BUNDLE), what="a bundle")
    if unknown := bundle.keys() - _MEMBERS:
        raise DecodeError("a bundle holds more than an envelope", got=f"{len(unknown)} other members", section=_SECTION)
    envelope = json_general.as_object(bundle.get("dsseEnvelope"), what="the envelope of a bundle")
    return Envelope.decode(json_general.encode(envelope))


def _require_exact(text: str, *, want: str) -> None:
    """Refuse what is empty, long, or a pattern that is open at an end: it would match nobody, or strangers."""
    if not 0 < len(text) <= _MAX_SUBJECT or _PATTERN_SIGNS.search(text) or not text.isprintable():
        raise ConfigError("an identity is empty, or a pattern that is open at an end", want=want, section=_SECTION)
