"""What a log is told: its files, and what goes ill together."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread

from confsec.backends.key_files import read_private_file
from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.note_keys import Signer
from confsec.protocol.predicates import FleetStatement
from confsec.protocol.statement_policy import StatementPolicy

__all__ = ["decode_text", "read_file", "read_keys", "require_one_kind"]


def require_one_kind(policy: StatementPolicy, *, keep_proofs: bool, epoch_seconds: int) -> None:
    """Raise `ConfigError` if a state log would take statements of more than the kind whose newest one counts."""
    types = sorted(policy.rules)
    if epoch_seconds and types != [FleetStatement.TYPE]:
        raise _mixed("a log with epoch_seconds is that of a service's fleets", types, f"only {FleetStatement.TYPE}")
    if keep_proofs and len(types) != 1:
        raise _mixed("a log with keep_proofs is that of a service's state", types, "one rule")


async def read_keys(path: str) -> list[Signer]:
    """Read the keys of a log, one a line. Raises `ConfigError`."""
    data = await anyio.to_thread.run_sync(read_private_file, Path(path))
    try:
        return [Signer.decode(line) for line in data.decode("utf-8", "replace").split()]
    except ConfsecError as exc:
        raise ConfigError(f"a key in {path} cannot be read: {exc}") from exc


async def read_file(path: str, what: str) -> bytes:
    """Read a file that is said to be `what`. Raises `ConfigError`."""
    try:
        return await anyio.Path(path).read_bytes()
    except OSError as exc:
        raise ConfigError(f"{what} {path} cannot be read: {exc.strerror}") from exc


def decode_text(data: bytes, path: str) -> str:
    """Return what a file says. Raises `ConfigError` if it is not in UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not text in UTF-8") from exc


def _mixed(what: str, types: list[str], want: str) -> ConfigError:
    return ConfigError(
        f"{what}, and its statement policy has other rules", got=", ".join(types) or "none", want=want,
        hint="Whoever appends a statement of another kind makes it the newest entry, and every client refuses",
    )  # fmt: skip
