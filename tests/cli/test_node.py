"""`confsec node`: which TEE it has, what it says of it, and what its manifest says of the engine."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from confsec.backends.tiny_gguf import tiny_gguf
from confsec.cli.node import NodeCommandConfig, describe_engine, make_node
from confsec.errors import ConfigError
from confsec.tee import choose
from confsec.tee.api import Probe
from confsec.tee.choose import TeeOptions
from tests.support import needs_packages

pytestmark = pytest.mark.anyio

ENGINE = "http://127.0.0.1:1/v1"
Capture = pytest.CaptureFixture[str]


async def test_node_without_a_tee_does_not_start_unless_that_is_said(capsys: Capture) -> None:
    with pytest.raises(ConfigError, match="--tee none") as raised:
        await make_node(NodeCommandConfig(engine=ENGINE, tpm_tcti="device:/nowhere/tpmrm0"))
    assert all(f"{name}: " in str(raised.value) for name in choose.FOUND_BY_AUTO)
    node = await make_node(NodeCommandConfig(engine=ENGINE, tee="none"))
    assert node._attester is None
    assert capsys.readouterr().err == ""


async def test_node_says_which_tee_it_found(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    async def here(options: TeeOptions) -> Probe:
        return Probe(tee="sev-snp", found=True, why="the kernel's provider of reports is sev_guest")

    monkeypatch.setitem(choose._KINDS, "sev-snp", choose._Kind(here, choose._KINDS["sev-snp"].make))
    node = await make_node(NodeCommandConfig(engine=ENGINE))
    assert node._attester is not None
    assert node._attester.platform == "sev-snp"
    said = capsys.readouterr().err
    assert said.startswith("confsec node: attests with sev-snp; looked for sev-snp: found, the kernel's provider")
    assert said.count("\n") == 1


async def test_engine_behind_a_url_is_described_without_the_url() -> None:
    config = NodeCommandConfig(engine="http://secret.example:8000/v1", isolation="vllm", tee="none")
    assert await describe_engine(config) == {"kind": "openai-http", "place": "network", "isolation": "vllm"}


async def test_embedded_engine_is_described_by_its_model_and_arguments(tmp_path: Path) -> None:
    needs_packages("xllamacpp")
    model = tmp_path / "model.gguf"
    model.write_bytes(b"weights")
    described = await describe_engine(NodeCommandConfig(model=str(model), parallel=2, tee="none"))
    assert described == {
        "kind": "llama.cpp",
        "model": sha256(b"weights").digest(),
        "context_tokens": 4096,
        "parallel": 2,
    }
    tiny = await describe_engine(NodeCommandConfig(tee="none"))
    assert tiny["model"] == sha256(tiny_gguf()).digest()
