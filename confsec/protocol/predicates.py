"""Our predicate types, by their URIs (docs/spec/statements.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from confsec.errors import UnsupportedError
from confsec.protocol.predicate import Predicate
from confsec.protocol.predicates_artifacts import (
    MODEL_SIGNING_TYPE,
    ArtifactDigest,
    ImageManifest,
    ModelDigests,
    Release,
)
from confsec.protocol.predicates_service import (
    DirectoryStatement,
    FleetStatement,
    IssuerKeys,
    KeyConfigurations,
    Revocation,
    RevokedItem,
    RevokedKind,
)
from confsec.protocol.statement import Statement

__all__ = [
    "MODEL_SIGNING_TYPE",
    "PREDICATES",
    "ArtifactDigest",
    "DirectoryStatement",
    "FleetStatement",
    "ImageManifest",
    "IssuerKeys",
    "KeyConfigurations",
    "ModelDigests",
    "Predicate",
    "Release",
    "Revocation",
    "RevokedItem",
    "RevokedKind",
    "read_predicate",
]

PREDICATES: Final[Mapping[str, type[Predicate]]] = {
    predicate.TYPE: predicate
    for predicate in (
        DirectoryStatement,
        FleetStatement,
        KeyConfigurations,
        IssuerKeys,
        ImageManifest,
        ModelDigests,
        Release,
        Revocation,
    )
}
"""All of them."""


def read_predicate(statement: Statement) -> Predicate:
    """Read the predicate of a statement, and check that it is about the statement's subjects.

    Raises `DecodeError`, and `UnsupportedError` for a type that is not ours.
    """
    if statement.predicate_type not in PREDICATES:
        raise UnsupportedError("a statement is of a type that we do not know", want="a predicate type of confsec")
    predicate = PREDICATES[statement.predicate_type].from_json(dict(statement.predicate))
    predicate.check_subjects(statement.subjects)
    return predicate
