"""The manifest of a node: what it loaded, so that a policy can name it (docs/roles.md, Manifest).

It says which program runs and which engine, by digests, and with the settings that change what a client can rely on. It
says nothing about places or secrets: two nodes that loaded the same have the same manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio.to_thread

from confsec.errors import ConfigError
from confsec.protocol import cbor
from confsec.protocol.manifest import Manifest

if TYPE_CHECKING:
    from confsec.roles.node import NodeConfig

__all__ = ["DescribeEngine", "describe_file", "describe_place", "node_manifest"]

DescribeEngine = Callable[[], Awaitable[Mapping[str, cbor.CborValue]]]
"""Says which engine a node asks: its kind, the SHA-256 of what it loaded, and its arguments. Called once."""

_VERSION: Final = 1
_PACKAGE: Final = "confsec-protocol"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


async def node_manifest(config: NodeConfig, describe_engine: DescribeEngine) -> Manifest:
    """Return the manifest of a node with this configuration. Raises `ConfigError` for a model that cannot be read."""
    return Manifest(
        {
            "version": _VERSION,
            "program": {"name": "confsec node", "version": version(_PACKAGE)},
            "engine": dict(await describe_engine()),
            "limits": {"epoch": config.epoch, "max_body": config.max_body, "replay_limit": config.replay_limit},
        }
    )


async def describe_file(path: Path) -> bytes:
    """Return the SHA-256 of a file, computed in a thread: models have gigabytes. Raises `ConfigError`."""
    return await anyio.to_thread.run_sync(_file_digest, path)


def describe_place(url: str) -> str:
    """Say how far an engine at this address is: behind a `socket`, on this `machine`, or across the `network`.

    Where it is exactly is nobody's business; that a prompt leaves the machine in the clear is.
    """
    if url.startswith("unix:"):
        return "socket"
    return "machine" if urlsplit(url).hostname in _LOOPBACK else "network"


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as exc:
        raise ConfigError(f"the model {path} cannot be read", got=exc.strerror) from exc
