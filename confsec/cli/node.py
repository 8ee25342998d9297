"""`confsec node`: which engine it asks, and which TEE it attests with."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import anyio.to_thread
import click
from attrs import frozen

from confsec.backends.api import Engine
from confsec.backends.engine_requests import CacheIsolation
from confsec.cli.role_commands import role_command
from confsec.errors import ConfigError
from confsec.protocol import cbor
from confsec.roles.config import one_of, setting
from confsec.roles.log_epochs import read_root
from confsec.roles.manifests import describe_file, describe_place
from confsec.roles.node import Node, NodeConfig
from confsec.tee.choose import AUTO, TEES, TPM_AKS, VTPMS, TeeOptions, choose_attester

__all__ = ["NodeCommandConfig", "command", "describe_engine", "make_engine", "make_node"]


@frozen(kw_only=True)
class NodeCommandConfig(NodeConfig):
    """The settings of a node, of its engine and of its TEE."""

    tee: str = setting(
        AUTO,
        help=f"The TEE that vouches for the node: {', '.join(TEES)}. Simulated and none are never chosen by auto.",
        check=one_of(*TEES),
    )
    tpm_tcti: str = setting(TeeOptions().tpm_tcti, help="The TPM, as tpm2-tss names it.")
    tpm_ak: str = setting(
        TeeOptions().tpm_ak,
        help=f"Where the TPM's attestation key comes from: {', '.join(TPM_AKS)}.",
        check=one_of(*TPM_AKS),
    )
    vtpm: str = setting(
        TeeOptions().vtpm,
        help=f"Where the TPM is that attests beside SEV-SNP or TDX: {', '.join(VTPMS)}.",
        check=one_of(*VTPMS),
    )
    event_logs: tuple[str, ...] = setting(
        (), help="Event logs to send with a TPM's quote; without any, the firmware's log of the first TPM."
    )
    endorsements: str = setting(
        "", help="A file (CMW collection) with what else vouches for the machine; it is read for each new evidence."
    )
    collateral_url: str = setting(
        "", help="Where Intel's collateral is fetched for quotes of TDX: Intel's service, or a cache like it."
    )
    engine: str = setting(
        "", help="The base URL of an OpenAI-compatible engine, or unix:/PATH. Without it, llama.cpp is embedded."
    )
    isolation: str = setting(
        "none",
        help="How that engine is told to keep requests apart: none, vllm, sglang or llama.cpp (see docs/engines.md).",
        check=one_of(*(each.value for each in CacheIsolation)),
    )
    model: str = setting(
        "", help="A GGUF file for the embedded llama.cpp. Without it, a tiny model that makes up words."
    )
    context_tokens: int = setting(4096, help="Tokens of prompt and answer together in the embedded llama.cpp.")
    parallel: int = setting(4, help="Requests that the embedded llama.cpp answers at once.")


def make_engine(config: NodeCommandConfig) -> Engine:
    """Return the engine that the configuration names. Raises `ConfigError` and `MissingExtraError`."""
    if config.engine and config.model:
        raise ConfigError(
            "engine and model exclude each other", hint="Name a server, or a file for the embedded engine"
        )
    if config.engine:
        from confsec.backends.openai_http import open_openai_http

        return open_openai_http(config.engine, isolation=CacheIsolation(config.isolation))
    from confsec.backends.llama_cpp import LlamaCppEngine, LlamaCppSettings

    model = Path(config.model) if config.model else None
    if model is not None and not model.is_file():
        raise ConfigError(f"the model {model} is not there", hint="Name a GGUF file")
    return LlamaCppEngine(LlamaCppSettings(model=model, context_tokens=config.context_tokens, parallel=config.parallel))


async def describe_engine(config: NodeCommandConfig) -> Mapping[str, cbor.CborValue]:
    """Say for the manifest which engine the node asks. Raises `ConfigError` for a model that cannot be read."""
    if config.engine:
        return {"kind": "openai-http", "place": describe_place(config.engine), "isolation": config.isolation}
    return {
        "kind": "llama.cpp",
        "model": await _model_digest(config),
        "context_tokens": config.context_tokens,
        "parallel": config.parallel,
    }


async def _model_digest(config: NodeCommandConfig) -> bytes:
    """Return the SHA-256 of the model."""
    if config.model:
        return await describe_file(Path(config.model))
    from confsec.backends.tiny_gguf import tiny_gguf

    return sha256(await anyio.to_thread.run_sync(tiny_gguf)).digest()


async def make_node(config: NodeCommandConfig) -> Node:
    """Return the node that the configuration asks for, and say which TEE it has. Raises `ConfigError`."""
    engine = make_engine(config)
    options = TeeOptions(
        tpm_tcti=config.tpm_tcti,
        tpm_ak=config.tpm_ak,
        vtpm=config.vtpm,
        event_logs=config.event_logs,
        endorsements=config.endorsements,
        collateral_url=config.collateral_url,
    )
    chosen = await choose_attester(config.tee, options)
    if config.tee == AUTO:
        click.echo(f"confsec node: {chosen.account}", err=True)
    root = read_root(config.root) if config.root else None
    return Node(config, engine, attester=chosen.attester, describe_engine=lambda: describe_engine(config), root=root)


command: click.Command = role_command(
    "node",
    NodeCommandConfig,
    make_node,
    help="""Run a node: it opens sealed requests, asks an engine, and seals the answer.

    It attests with the TEE that it finds. Where there is none it does not start, unless --tee says so.

    \b
    For instance:  confsec node --port 8004 --model model.gguf
                   confsec node --port 8004 --engine http://127.0.0.1:8000/v1 --isolation vllm
                   confsec node --port 8004 --tee none
    """,
)
