"""Vectors of Sigstore: the kinds sigstore-bundle and sigstore-trusted-root.

The extra `sigstore` verifies bundles. Where it is not installed, these cases are skipped: what is missing refuses all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from confsec.conformance.cases import CaseSkippedError, MismatchError
from confsec.conformance.kinds import FileCase, Kind
from confsec.errors import MissingExtraError
from confsec.protocol.sigstore import SigstoreIdentity

if TYPE_CHECKING:
    from confsec.backends.sigstore import SigstoreVerifier

__all__ = ["KINDS", "check_bundle", "check_trusted_root"]

_LOG_KEY: Final = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="  # RFC 8410, section 10.1


def check_bundle(case: FileCase) -> None:
    """Check who signed a file, or a statement about it. The bundle itself has the time."""
    verifier = _open_verifier(case.file("trusted_root").read())
    bundle, artifact = case.read("bundle"), case.read("artifact")
    if "key" in case.files:
        raise CaseSkippedError("it is signed with a key and not by an identity: sigstore-python has no such bundles")
    digest = sha256(artifact).digest()
    verifier.verify_artifact(bundle, digest, _identities(case))


def check_trusted_root(case: FileCase) -> None:
    """Check that a trusted root can be used. One authority of a root is put into a root."""
    value = case.json("trusted_root")
    if not isinstance(value, dict):
        raise MismatchError("the trusted root is no object")
    _open_verifier(_root_around(value) if "certChain" in value else case.read("trusted_root"))


def _identities(case: FileCase) -> tuple[SigstoreIdentity, ...]:
    """Return whom the case names, if anybody: bundles without a certificate have to be refused for that."""
    issuer, identity = case.params.get("issuer"), case.params.get("identity")
    if issuer is None or identity is None:
        return ()
    return (SigstoreIdentity("the signer", str(issuer), str(identity)),)


def _open_verifier(trusted_root: bytes) -> SigstoreVerifier:
    try:
        from confsec.backends.sigstore import SigstoreVerifier
    except MissingExtraError as exc:
        raise CaseSkippedError(str(exc)) from exc
    return SigstoreVerifier(trusted_root)


def _root_around(authority: Mapping[str, Any]) -> bytes:
    """Return a trusted root with one authority and a log whose key is nobody's."""
    key = {"rawBytes": _LOG_KEY, "keyDetails": "PKIX_ED25519", "validFor": {"start": "2020-01-01T00:00:00Z"}}
    log = {"baseUrl": "https://log.example", "hashAlgorithm": "SHA2_256", "publicKey": key, "logId": {"keyId": "AA=="}}
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log],
            "ctlogs": [log],
            "certificateAuthorities": [{"uri": "https://ca.example", **authority}],
            "timestampAuthorities": [],
        }
    ).encode()


KINDS: Final = (
    Kind(name="sigstore-bundle", check=check_bundle),
    Kind(name="sigstore-trusted-root", check=check_trusted_root),
    Kind(name="sigstore-bundle-protobuf", check=None, missing="bundles are read as JSON, not in the binary form"),
    Kind(name="sigstore-cert-profile", check=None, missing="certificates of signers are read as a part of bundles"),
    Kind(name="rfc3161-timestamp", check=None, missing="signed times are read as a part of bundles"),
    Kind(name="slsa-sanitize", check=None, missing="what a peer leaves out of provenance is a rule of its own"),
)
"""Bundles and trusted roots, and what only a part of them is."""
