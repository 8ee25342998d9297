"""Reference values out of a log: what images measure to and what models consist of, as everybody can see.

A policy names the lists that it takes from statements (`logged`). The statements travel with a node's endorsements,
each with a proof that it is in the log of artifacts of the root; what they say is what the appraisal compares with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, final

from attrs import field, frozen

from confsec.errors import DecodeError, TransparencyError
from confsec.protocol import cbor
from confsec.protocol.cmw import CmwRecord, Endorsements
from confsec.protocol.log_root import LogRoot
from confsec.protocol.manifest import Manifest
from confsec.protocol.policy import MANIFESTS
from confsec.protocol.predicate import Predicate
from confsec.protocol.predicates import ImageManifest, ModelDigests
from confsec.protocol.statement_policy import claimed_type
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_logged

__all__ = ["STATEMENTS", "LoggedStatement", "LoggedValues", "read_logged", "statements_record"]

STATEMENTS: Final = "statements"
"""The endorsement that holds logged statements."""

_MEDIA_TYPE: Final = "application/vnd.confsec.statements+cbor"
_MAX_STATEMENTS: Final = 16
_SECTION: Final = "docs/spec/attestation.md, Logged values"
_MANIFEST: Final = "manifest"
_TYPES: Final = (ImageManifest, ModelDigests)


@final
@frozen
class LoggedStatement:
    """A statement in its envelope, and where it is in the log."""

    envelope: bytes = field(repr=False)
    proof: TlogProof


@final
@frozen
class LoggedValues:
    """What logged statements say. Made by `read_logged` alone."""

    lists: Mapping[str, frozenset[bytes]]
    """Values by the names of a policy's lists, such as `sev-snp.measurements`."""

    models: frozenset[bytes]
    """SHA-256 of the files of all models."""

    expires: datetime | None
    """When the first of the statements ends, if one does."""

    names: tuple[str, ...]
    """What the statements are about, for people."""

    def check_model(self, manifest: Manifest) -> None:
        """Raise `TransparencyError` unless the model that a manifest names is a logged one."""
        engine = manifest.members.get("engine")
        model = engine.get("model") if isinstance(engine, dict) else None
        if not isinstance(model, bytes) or model not in self.models:
            raise TransparencyError(
                "the model of the node is in no logged statement", section=_SECTION,
                got=model.hex() if isinstance(model, bytes) else "no digest of a model",
            )  # fmt: skip

    def of(self, name: str) -> tuple[bytes, ...]:
        """Return the values of one list, sorted. Raises `TransparencyError` if no statement has any."""
        if not self.lists.get(name):
            raise TransparencyError("no logged statement says what this list holds", got=name, section=_SECTION)
        return tuple(sorted(self.lists[name]))


def statements_record(statements: Sequence[LoggedStatement]) -> CmwRecord:
    """Return the endorsement with these statements, at most 16."""
    items: list[cbor.CborValue] = [[each.envelope, each.proof.encode()] for each in statements]
    return CmwRecord(_MEDIA_TYPE, cbor.encode(items))


def read_logged(endorsements: Endorsements, root: LogRoot | None, *, at: datetime) -> LoggedValues:
    """Verify the statements beside evidence, and return what they say.

    Raises `TransparencyError` if there is no root or no statement, or one is in no log; `DecodeError` and `LimitError`
    for what is none; and what `StatementPolicy.verify` raises.
    """
    if root is None or not root.artifacts:
        raise TransparencyError("the policy takes values from a log, and no root names one", section=_SECTION)
    record = endorsements.items.get(STATEMENTS)
    if record is None or record.media_type != _MEDIA_TYPE:
        raise TransparencyError("the node shows no logged statements", want=STATEMENTS, section=_SECTION)
    predicates = [_verify(each, root, at) for each in _decode(record.value)]
    images = [each for each in predicates if isinstance(each, ImageManifest)]
    models = [each for each in predicates if isinstance(each, ModelDigests)]
    return LoggedValues(
        _lists(images),
        frozenset(file.digest for model in models for file in model.files),
        min((each.valid_until for each in predicates if each.valid_until), default=None),
        tuple(f"{each.name} {each.version}" for each in images),
    )


def _decode(value: bytes) -> list[LoggedStatement]:
    items = cbor.as_array(
        cbor.decode(value, what="logged statements", limit=len(value)), what="logged statements", limit=_MAX_STATEMENTS
    )
    return [_statement(item) for item in items]


def _statement(item: cbor.CborValue) -> LoggedStatement:
    parts = cbor.as_array(item, what="a logged statement", limit=2)
    if len(parts) != 2:
        raise DecodeError("a logged statement is not an envelope and a proof", section=_SECTION)
    envelope, proof = (cbor.as_bytes(part, what="a part of a logged statement") for part in parts)
    return LoggedStatement(envelope, TlogProof.decode(proof))


def _verify(statement: LoggedStatement, root: LogRoot, at: datetime) -> Predicate:
    verify_logged(statement.envelope, statement.proof, root.witnesses, origin=root.artifacts)
    type_ = claimed_type(statement.envelope)
    if type_ not in {each.TYPE for each in _TYPES}:
        raise TransparencyError("a logged statement is about neither an image nor a model", got=type_, section=_SECTION)
    return root.statements.verify(statement.envelope, predicate_type=type_, at=at).predicate


def _lists(images: Iterable[ImageManifest]) -> dict[str, frozenset[bytes]]:
    """Gather what images measure to, by the names of a policy's lists."""
    lists: dict[str, set[bytes]] = {}
    for image in images:
        for tee, registers in image.measurements.items():
            for register, value in registers.items():
                lists.setdefault(MANIFESTS if tee == _MANIFEST else f"{tee}.{register}", set()).add(value)
        lists.setdefault("tpm.kernel_command_lines", set()).add(image.command_line.encode())
    return {name: frozenset(values) for name, values in lists.items()}
