"""The release statement: from which commit the files of a release are built, and with what. Made, signed, believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

from confsec.errors import ConfigError, DecodeError
from confsec.protocol.dsse import DsseKey, Envelope
from confsec.protocol.predicates import ArtifactDigest, Release
from confsec.protocol.signatures import SigningKey
from confsec.protocol.statement import PAYLOAD_TYPE
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.release.build import Artifact
from confsec.release.source import SourceTree

__all__ = ["make_release", "policy_of", "sign_release", "verify_release"]


def make_release(
    source: SourceTree,
    artifacts: Sequence[Artifact],
    *,
    repository: str,
    tools: Mapping[str, str],
    issued: datetime,
) -> Release:
    """Say what was built from a commit. Raises `ConfigError` for a repository that is no https URL."""
    named = sorted(ArtifactDigest(artifact.name, artifact.digest) for artifact in artifacts)
    try:
        return Release(
            issued=issued.replace(microsecond=0),
            source=repository,
            commit=source.commit,
            artifacts=tuple(named),
            toolchain=dict(tools),
        )
    except DecodeError as exc:
        raise ConfigError(exc.what, got=ascii(repository), want="https://…") from exc


def sign_release(release: Release, key: SigningKey) -> bytes:
    """Return the envelope of a release's statement, signed."""
    statement = release.to_statement(*release.subjects())
    return Envelope(PAYLOAD_TYPE, statement.encode()).sign(key).encode()


def policy_of(keys: Sequence[DsseKey]) -> StatementPolicy:
    """Return the policy under which every one of `keys` has to sign, and nobody revokes. Raises `ConfigError`."""
    rule = StatementRule(signers=tuple(keys), threshold=len(keys), subject_names=None, max_age=None, newest_only=False)
    return StatementPolicy({Release.TYPE: rule})


def verify_release(envelope: bytes, policy: StatementPolicy, *, at: datetime) -> Release:
    """Return what a statement says, if the policy believes it. Raises what `StatementPolicy.verify` raises.

    Whether it is in a log is not asked here.
    """
    verified = policy.verify(envelope, predicate_type=Release.TYPE, at=at)
    return cast("Release", verified.predicate)  # the policy checked the type
