"""A witness: it cosigns that a log only grew, and remembers what it cosigned (C2SP tlog-witness).

Whom it follows stands in a file in the form of C2SP tlog-policy, of which the lines `log` count. Its keys are in a file
of their own, a line each in the form of a signed note's private key; all of them cosign.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

import anyio
import anyio.to_thread
from attrs import frozen

from confsec.backends.api import Clock
from confsec.backends.key_files import read_private_file
from confsec.backends.system import now
from confsec.backends.witness_store import SqliteWitnessStore
from confsec.errors import ConfigError, ConflictError, ConfsecError
from confsec.protocol.note_keys import NoteKey, Signer
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.protocol.witnessing import MAX_ADD_CHECKPOINT, SIZE_TYPE, AddCheckpoint, Cosigner
from confsec.roles.asgi import Exchange, Role
from confsec.roles.config import RoleConfig, setting

__all__ = ["Witness", "WitnessConfig"]

_TEXT = (("content-type", "text/plain; charset=utf-8"),)


@frozen(kw_only=True)
class WitnessConfig(RoleConfig):
    """The settings of a witness."""

    keys: str = setting(help="A file of mode 0600 with the keys that cosign, as `confsec witness key` makes it.")
    logs: str = setting(help="A file with the logs that are followed, as C2SP tlog-policy has them.")
    store: str = setting(help="A SQLite file with what was cosigned. Never give a witness an empty one again.")
    max_body: int = setting(MAX_ADD_CHECKPOINT, help="The largest request body in bytes; larger ones get 413.")


class Witness(Role):
    """Cosigns checkpoints of the logs that it follows."""

    name: ClassVar[str] = "witness"

    def __init__(self, config: WitnessConfig, *, clock: Clock = now) -> None:
        """Make a witness. Its files are read when it starts."""
        self._config = config
        self._now = clock
        self._store = SqliteWitnessStore(Path(config.store))
        self._cosigner: Cosigner
        super().__init__(config, {("POST", "/add-checkpoint"): self._add_checkpoint})

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        self._cosigner = Cosigner(await _read_keys(self._config.keys), await _read_logs(self._config.logs))
        await self._store.open()
        try:
            yield
        finally:
            await self._store.aclose()

    async def _add_checkpoint(self, exchange: Exchange) -> None:
        request = AddCheckpoint.decode(await exchange.read())
        origin = self._cosigner.origin_of(request)
        try:
            cosigned = await self._store.cosign(origin, partial(self._cosigner.decide, request, at=self._now()))
        except ConflictError as exc:
            await exchange.answer(409, (("content-type", SIZE_TYPE),), b"%d\n" % exc.size)
            return
        await exchange.answer(200, _TEXT, cosigned.answer)


async def _read_keys(path: str) -> list[Signer]:
    data = await anyio.to_thread.run_sync(read_private_file, Path(path))
    lines = data.decode("utf-8", "replace").split()
    try:
        signers = [Signer.decode(line) for line in lines]
    except ConfsecError as exc:
        raise ConfigError(f"a key in {path} cannot be read: {exc}") from exc
    if not signers or not all(signer.key.cosigns for signer in signers):
        raise ConfigError(f"{path} has no keys, or one of another type", want="keys of cosigners (types 4 and 6)")
    return signers


async def _read_logs(path: str) -> dict[str, list[NoteKey]]:
    try:
        data = await anyio.Path(path).read_bytes()
    except OSError as exc:
        raise ConfigError(f"the file of logs {path} cannot be read: {exc.strerror}") from exc
    logs = WitnessPolicy.decode(data).logs
    if not logs:
        raise ConfigError(f"{path} names no log", want="lines of the form: log name+id+key")
    return {log.key.name: [log.key] for log in logs}
