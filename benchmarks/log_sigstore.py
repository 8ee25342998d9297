"""Bundles of Sigstore: sigstore-python with our strict reading before it and our policy in it, and alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final

from benchmarks.log_cases import AT
from benchmarks.measure import Plan, measure, timed
from benchmarks.peers import Peers
from benchmarks.report import Row, cost
from confsec.protocol.sigstore import SigstoreIdentity

__all__ = ["sigstore_rows"]

_ISSUER: Final = "https://token.example"
_SUBJECT: Final = "carol@example.com"
_ARTIFACT: Final = b"an artifact"
_NOTE: Final = (
    "A bundle of an instance of our own: certificate chain, signed certificate timestamp, entry of the log, signature."
)


def sigstore_rows(plan: Plan, peers: Peers) -> Iterator[Row]:
    """Compare with sigstore-python alone. Yields nothing where it is not installed."""
    if find_spec("sigstore") is None:
        peers.missing["sigstore-python"] = "the extra sigstore is not installed"
        return
    logging.getLogger("sigstore").addHandler(logging.NullHandler())
    name = f"sigstore-python {version('sigstore')}"
    for what, (ours, theirs) in _cases().items():
        timings = measure({"ours": timed(ours), name: timed(theirs)}, plan)
        yield cost(what, timings, name, note=_NOTE)


def _cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    from sigstore.hashes import Hashed
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity
    from sigstore_models.common.v1 import HashAlgorithm
    from sigstore_models.trustroot.v1 import TrustedRoot as TrustedRootMessage

    from confsec.backends.sigstore import SigstoreVerifier
    from confsec.testing_sigstore import LocalSigstore

    instance = LocalSigstore()
    digest = sha256(_ARTIFACT).digest()
    bundle = instance.sign_artifact(_ARTIFACT, issuer=_ISSUER, subject=_SUBJECT, at=AT)
    envelope = instance.sign_envelope("text/plain", b"a payload", issuer=_ISSUER, subject=_SUBJECT, at=AT)
    ours, identities = SigstoreVerifier(instance.trusted_root), [SigstoreIdentity("carol", _ISSUER, _SUBJECT)]
    theirs = Verifier(trusted_root=TrustedRoot(TrustedRootMessage.from_json(instance.trusted_root)))
    signer, hashed = (
        Identity(identity=_SUBJECT, issuer=_ISSUER),
        Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest),
    )
    return {
        "verify a bundle for a file": (
            partial(ours.verify_artifact, bundle, digest, identities),
            lambda: theirs.verify_artifact(hashed, Bundle.from_json(bundle), signer),
        ),
        "verify a bundle with an envelope": (
            partial(ours.verify_envelope, envelope, identities),
            lambda: theirs.verify_dsse(Bundle.from_json(envelope), signer),
        ),
    }
