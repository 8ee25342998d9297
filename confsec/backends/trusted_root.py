"""The file with Sigstore's roots, for policies that name identities. Whoever has none needs no extra."""

from __future__ import annotations

from pathlib import Path

from confsec.protocol.sigstore import BundleVerifier

__all__ = ["open_trusted_root"]


def open_trusted_root(path: Path | None) -> BundleVerifier | None:
    """Return what verifies bundles under the trusted root in a file; None where there is no file.

    Raises `MissingExtraError` without the extra `sigstore`, and `ConfigError` for a root that cannot be used.
    """
    if path is None:
        return None
    from confsec.backends.sigstore import SigstoreVerifier

    return SigstoreVerifier.from_file(path)
