"""`confsec node`, and which engine it asks."""

from __future__ import annotations

from pathlib import Path

import click
from attrs import frozen

from confsec.backends.api import Engine
from confsec.backends.engine_requests import CacheIsolation
from confsec.cli.role_commands import role_command
from confsec.errors import ConfigError
from confsec.roles.config import one_of, setting
from confsec.roles.node import Node, NodeConfig

__all__ = ["NodeCommandConfig", "command", "make_engine"]


@frozen(kw_only=True)
class NodeCommandConfig(NodeConfig):
    """The settings of a node and of its engine."""

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


command: click.Command = role_command(
    "node",
    NodeCommandConfig,
    lambda config: Node(config, make_engine(config)),
    help="""Run a node: it opens sealed requests, asks an engine, and seals the answer.

    \b
    For instance:  confsec node --port 8004
                   confsec node --port 8004 --model model.gguf
                   confsec node --port 8004 --engine http://127.0.0.1:8000/v1 --isolation vllm
    """,
)
