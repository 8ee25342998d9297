"""A transparency log: it appends, has its trees cosigned, and serves them as static files (C2SP tlog-tiles).

Anybody may read. Who may append is said by the statement policy: an entry is a statement in a DSSE envelope that its
signers signed. An answer about an entry is an index once the log can no longer lose it, or with `?wait=cosigned` a
proof, once a quorum of witnesses has seen it.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl

import anyio
import anyio.to_thread
from attrs import frozen

from confsec.backends.api import Clock, Headers, Transport, header
from confsec.backends.http import HttpLimits, HttpTransport
from confsec.backends.log_beacon import BeaconKeeper
from confsec.backends.log_files import POLICY_PATH, file_headers
from confsec.backends.log_objects import storage_at
from confsec.backends.log_publisher import LogPublisher
from confsec.backends.log_storage import LogStorage
from confsec.backends.log_writer import LogWriter
from confsec.backends.system import now
from confsec.backends.trusted_root import open_trusted_root
from confsec.errors import BackendError, BusyError, ConfigError, DecodeError
from confsec.protocol import statement_rules
from confsec.protocol.log_admission import LogAdmission
from confsec.protocol.log_root import LogRoot
from confsec.protocol.note_keys import Signer
from confsec.protocol.state_admission import StateAdmission
from confsec.protocol.statement_policy import StatementPolicy
from confsec.protocol.tile_paths import MAX_ENTRY_SIZE
from confsec.protocol.tree_reader import BEACON_PATH, CHECKPOINT_PATH
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.roles.asgi import Exchange, Handler, NotFoundError, Role, in_background
from confsec.roles.config import RoleConfig, at_least, setting
from confsec.roles.log_epochs import read_root
from confsec.roles.log_page import CONTENT_POLICY, page_file
from confsec.roles.log_settings import decode_text, read_file, read_keys, require_one_kind

__all__ = ["Log", "LogConfig"]

_ADMITTED_AT_ONCE: Final = 2
"""Threads that verify signatures: they do not hold up readers, and strangers do not take all there are."""

_TEXT: Final = "text/plain; charset=utf-8"

_NOSNIFF: Final = ("x-content-type-options", "nosniff")
_PAGE: Final[Headers] = (("content-security-policy", CONTENT_POLICY), ("referrer-policy", "no-referrer"), _NOSNIFF)
_BUNDLES: Final = "tile/entries/"
_GZIP: Final = re.compile(r"gzip(;q=(1(\.0*)?|0\.[0-9]*[1-9][0-9]*))?")


@frozen(kw_only=True)
class LogConfig(RoleConfig):
    """The settings of a log."""

    key: str = setting(help="A file of mode 0600 with the log's key, as `confsec log key` makes it.")
    policy: str = setting(help="A file in the form of C2SP tlog-policy: this log, its witnesses with URLs, the quorum.")
    storage: str = setting(
        help="Where the log is kept: a folder, or a URL such as s3://bucket/prefix. Any web server can serve it too."
    )
    index: str = setting(help="A SQLite file that says where entries stand; it is made anew when it is lost.")
    statements: str = setting("", help="A TOML file that says whose statements the log takes: docs/statements.md.")
    root: str = setting(
        "", help="The root file of the service whose state this log is: refuse what its clients would refuse."
    )
    trusted_root: str = setting(
        "", help="A file with the trusted root of Sigstore, where `statements` names identities."
    )
    unsafe_any_entry: bool = setting(
        False, help="Take entries of any kind from anybody who can reach the log, without a statement policy."
    )
    keep_proofs: bool = setting(
        False, help="Keep a proof of each entry under the first checkpoint with it: for logs of a service's state."
    )
    recosign_seconds: float = setting(
        60.0, help="Seconds after which an unchanged tree is cosigned again.", check=at_least(0.01)
    )
    epoch_seconds: int = setting(
        0, help="Seconds that an epoch lasts, for the log of a service's fleets: its checkpoints name them. 0: none."
    )
    cosign_interval: float = setting(
        0.0, help="Seconds between two trees that witnesses are asked to cosign, at least.", check=at_least(0)
    )
    witness_timeout: float = setting(10.0, help="Seconds that witnesses have to answer.", check=at_least(0.01))
    max_body: int = setting(MAX_ENTRY_SIZE, help="The largest request body in bytes; larger ones get 413.")


class Log(Role):
    """Appends statements, and shows them to everyone."""

    name: ClassVar[str] = "log"

    def __init__(
        self,
        config: LogConfig,
        *,
        statements: StatementPolicy | None = None,
        root: LogRoot | None = None,
        storage: LogStorage | None = None,
        transport: Transport | None = None,
        clock: Clock = now,
    ) -> None:
        """Make a log. Its files are read when it starts.

        What it is given stands in the place of what the configuration names: the policy `statements`, the `root` of the
        service whose state this log is, where its files are kept, and how it reaches its witnesses.
        """
        self._config = config
        self._statements = statements
        self._root = root
        self._admission: LogAdmission | None = None
        self._admitting: anyio.CapacityLimiter
        self._waiting = 0
        self._storage = storage
        self._transport = transport
        self._now = clock
        self._files: LogStorage
        self._writer: LogWriter
        self._publisher: LogPublisher
        super().__init__(
            config,
            {
                ("POST", "/append"): self._append,
                ("GET", "/status"): self._get_status,
                **{("GET", f"/{path}"): self._get_file for path in (CHECKPOINT_PATH, BEACON_PATH, POLICY_PATH)},
                ("GET", "/proof/*"): self._get_file,
                ("GET", "/"): self._get_page,
                ("GET", "/page/*"): self._get_page,
            },
        )

    @property
    def writer(self) -> LogWriter:
        """What appends, while the role runs."""
        return self._writer

    @property
    def publisher(self) -> LogPublisher:
        """What has trees cosigned and publishes them, while the role runs."""
        return self._publisher

    @property
    def status(self) -> dict[str, Any]:
        """How far the log is: what is appended, what is cosigned, and how each witness answered last."""
        size, cosigned = self._writer.tree.size, self._publisher.cosigned
        seen = cosigned.tree.size if cosigned else 0
        return {
            "origin": self._writer.origin,
            "size": size,
            "cosigned_size": seen,
            "cosigned_at": cosigned.checkpoint.fresh_since.isoformat() if cosigned else None,
            "not_cosigned": {"first": seen, "last": size - 1} if seen < size else None,
            "error": self._publisher.error,
            "witnesses": [
                {
                    "name": each.witness.name,
                    "size": each.size,
                    "cosigned_at": each.cosigned_at.isoformat() if each.cosigned_at else None,
                    "error": each.error,
                }
                for each in self._publisher.clients
            ],
        }

    async def check(self) -> None:
        """Raise `BackendError` while nothing is cosigned, or its cosignatures are older than twice their time.

        And for good once so many witnesses know another tree that there is no quorum.
        """
        if self._publisher.refused is not None:
            raise self._publisher.refused
        cosigned = self._publisher.cosigned
        allowed = 2 * self._config.recosign_seconds + self._config.witness_timeout
        if cosigned is None or (self._now() - cosigned.checkpoint.fresh_since).total_seconds() > allowed:
            raise BackendError("no quorum cosigned the log for too long", want=f"within {allowed:g} s")

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        config = self._config
        self._admitting = anyio.CapacityLimiter(_ADMITTED_AT_ONCE)
        root = self._root or (await anyio.to_thread.run_sync(read_root, config.root) if config.root else None)
        self._admission = await self._read_statements(root)
        keys = await read_keys(config.key)
        state = None if root is None else _state_admission(root, keys)
        policy = WitnessPolicy.decode(await read_file(config.policy, "the witness policy"))
        self._files = self._storage or storage_at(config.storage)
        self._writer = LogWriter(
            self._files,
            keys,
            Path(config.index),
            identify=self._admission and self._admission.identify,
            rules=self._admission.rules if self._admission else b"",
            state=state,
            clock=self._now,
        )
        transport = self._transport or HttpTransport(HttpLimits(read_timeout=config.witness_timeout))
        self._publisher = LogPublisher(
            self._writer,
            policy,
            transport,
            recosign_seconds=config.recosign_seconds,
            timeout=config.witness_timeout,
            interval=config.cosign_interval,
            keep_proofs=config.keep_proofs or root is not None,
            clock=self._now,
        )
        try:
            await self._writer.open()
            await self._publisher.open()
            seconds = self._epoch_seconds(root if state is not None and state.is_fleet else None)
            async with in_background(self._publisher.run, *self._keepers(policy, seconds)):
                yield
        finally:
            await self._writer.aclose()
            if self._transport is None:
                await transport.aclose()

    def _epoch_seconds(self, root: LogRoot | None) -> int:
        """Return how long an epoch lasts: as long as the root says, if this is its log of fleets; 0 for none."""
        seconds = self._config.epoch_seconds
        want = seconds if root is None else int(root.fleet.epoch.total_seconds())
        if seconds not in (0, want):
            raise ConfigError("epoch_seconds is not what the root says", got=seconds, want=want)
        return want

    def _keepers(self, policy: WitnessPolicy, seconds: int) -> Iterator[Callable[[], Coroutine[None, None, None]]]:
        """Yield what begins epochs, if this is the log of a service's fleets."""
        if seconds:
            epoch = timedelta(seconds=seconds)
            yield BeaconKeeper(
                self._publisher, self._files, policy, origin=self._writer.origin, epoch=epoch, clock=self._now
            ).run

    async def _read_statements(self, root: LogRoot | None) -> LogAdmission | None:
        config, statements = self._config, self._statements
        if statements is None and config.statements:
            data = await read_file(config.statements, "the statement policy")
            trusted = Path(config.trusted_root) if config.trusted_root else None
            bundles = await anyio.to_thread.run_sync(open_trusted_root, trusted)
            statements = statement_rules.from_toml(decode_text(data, config.statements), bundles=bundles)
        if statements is None and root is not None:
            statements = root.statements
        if (statements is None) is not config.unsafe_any_entry:
            raise ConfigError(
                "a log has a statement policy, or says that it takes any entry, and not both",
                hint="Give it --statements or --root, or else --unsafe-any-entry",
            )
        if statements is not None and root is None:  # a root says itself what each of its logs takes
            require_one_kind(statements, keep_proofs=config.keep_proofs, epoch_seconds=config.epoch_seconds)
        return None if statements is None else LogAdmission(statements)

    def _route(self, exchange: Exchange) -> Handler:
        if exchange.method == "GET" and exchange.path.startswith("/tile/"):  # paths of many parts
            return self._get_file
        return super()._route(exchange)

    async def _append(self, exchange: Exchange) -> None:
        query = dict(parse_qsl(exchange.query, keep_blank_values=True))
        if query not in ({}, {"wait": "cosigned"}):
            raise DecodeError("the query of an append is not known", want="nothing, or wait=cosigned")
        entry = await exchange.read()
        if self._admission is not None:
            verify = partial(self._admission.verify, entry, at=self._now())
            await anyio.to_thread.run_sync(verify, limiter=self._admitting)
        index = await self._writer.append(entry)
        body = b"%d\n" % index
        if query:
            body = await self._prove(index)
        await exchange.answer(200, (("content-type", _TEXT), ("cache-control", "no-store")), body)

    async def _prove(self, index: int) -> bytes:
        """Wait for a quorum. Half of the exchanges may do that: the others are for readers."""
        if self._waiting >= max(self._config.max_concurrent // 2, 1):
            raise BusyError("too many wait for witnesses", hint="The entry is in the log: ask for its proof later")
        self._waiting += 1
        try:
            await self._publisher.wait_cosigned(index)
        finally:
            self._waiting -= 1
        return await self._publisher.prove(index)

    async def _get_status(self, exchange: Exchange) -> None:
        fields: Headers = (("content-type", "application/json"), ("cache-control", "no-store"))
        await exchange.answer(200, fields, json.dumps(self.status).encode())

    async def _get_page(self, exchange: Exchange) -> None:
        name = exchange.path.removeprefix("/").removeprefix("page/") or "index.html"
        found = await anyio.to_thread.run_sync(page_file, name)
        if found is None:
            raise NotFoundError
        kind, data = found
        await exchange.answer(200, (("content-type", kind), ("cache-control", "no-cache"), *_PAGE), data)

    async def _get_file(self, exchange: Exchange) -> None:
        path = exchange.path[1:]
        fields = file_headers(path)
        file = None if fields is None else await anyio.to_thread.run_sync(self._files.get, path)
        if fields is None or file is None:
            raise NotFoundError
        fields = (*fields, _NOSNIFF)
        data = file.data
        if path.startswith(_BUNDLES):
            # "Entry bundles SHOULD be compressed at the HTTP layer" (C2SP tlog-tiles, Log entries).
            fields = (*fields, ("vary", "accept-encoding"))
            if _takes_gzip(exchange.headers):
                data = await anyio.to_thread.run_sync(_compress, data)
                fields = (*fields, ("content-encoding", "gzip"))
        await exchange.answer(200, fields, data)


def _takes_gzip(headers: Headers) -> bool:
    """Say whether a client asks for gzip, and not with the weight 0 (RFC 9110, section 12.5.3)."""
    accepted = (header(headers, "accept-encoding") or "").lower().replace(" ", "").split(",")
    return any(map(_GZIP.fullmatch, accepted))


def _compress(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=6, mtime=0)


def _state_admission(root: LogRoot, keys: list[Signer]) -> StateAdmission:
    origin = keys[0].key.name if keys else ""
    admission = StateAdmission(root, origin=origin)
    if root.witnesses.find_log(origin).key not in {each.key for each in keys}:
        raise ConfigError("the root has another key for this log", got=origin)
    return admission
