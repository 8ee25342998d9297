"""The logged statements that a node shows beside its evidence: what its image measures to, and what its model is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.logged_values import STATEMENTS, LoggedStatement, statements_record
from confsec.protocol.sigstore import read_envelope
from confsec.protocol.tlog_proof import MAX_TLOG_PROOF, TlogProof

__all__ = ["read_statements"]

_ENVELOPE: Final = ".dsse"
_PROOF: Final = ".proof"
_MAX: Final = 16


def read_statements(folder: str) -> Mapping[str, CmwRecord]:
    """Return the endorsements with the statements of a folder; none for no folder.

    Whether they count is for clients to say. Raises `ConfigError` for what cannot be read.
    """
    if not folder:
        return {}
    names = sorted(Path(folder).glob(f"*{_ENVELOPE}"))
    if not 1 <= len(names) <= _MAX:
        raise ConfigError(f"{folder} has no statements, or too many", got=len(names), want=f"1 to {_MAX} *{_ENVELOPE}")
    return {STATEMENTS: statements_record([_read(name) for name in names])}


def _read(path: Path) -> LoggedStatement:
    proof = path.with_suffix(_PROOF)
    try:
        envelope = _bytes(path)
        read_envelope(envelope)
        return LoggedStatement(envelope, TlogProof.decode(_bytes(proof)))
    except OSError as exc:
        hint = f"Each NAME{_ENVELOPE} has its NAME{_PROOF} beside it: confsec log prove writes one"
        raise ConfigError(f"{exc.filename} cannot be read: {exc.strerror}", hint=hint) from exc
    except ConfsecError as exc:
        raise ConfigError(f"{path} or its proof is none: {exc}") from exc


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_TLOG_PROOF + 1)
