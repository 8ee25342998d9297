"""A service of real processes on loopback: an engine that streams, a node, a router, a gateway and a relay."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

from confsec.backends import system
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.key_config import decode_key_configs
from confsec.roles.keys import GatewayKeyFile
from tests.support import ROOT

START_SECONDS = 30.0
ENGINE = "tests.roles.engine"
UNSAFE = ("--unsafe-no-tokens", "--unsafe-unattested")


class RoleProcess:
    """One process, started again on the same port if need be."""

    def __init__(self, *arguments: str, port: int = 0) -> None:
        self.arguments = arguments
        self.start(port)

    def start(self, port: int) -> None:
        command = [sys.executable, "-m", *self.arguments, "--port", str(port)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.stop()
            raise AssertionError(f"{command} did not start: {self.errors}")
        self.url: str = json.loads(line)["url"]

    def restart(self) -> None:
        self.start(int(self.url.rpartition(":")[2]))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        """End the process; return its exit status. What it wrote to stderr is in `errors`."""
        if self.process.returncode is None:
            self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for a process that was told to end."""
        if self.process.returncode is not None:
            return self.process.returncode
        try:
            _, self.errors = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, self.errors = self.process.communicate()
        return self.process.wait()

    @property
    def peak(self) -> int:
        """Peak of the resident memory in bytes. Linux has it in /proc."""
        return self._status("VmHWM")

    @property
    def resident(self) -> int:
        return self._status("VmRSS")

    def reset_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _status(self, key: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(key + ":"))
        return int(line.split()[1]) * 1024


class Service:
    """The processes, and what a client has to know."""

    def __init__(self, stack: ExitStack, folder: Path, backend: str, options: dict[str, tuple[str, ...]]) -> None:
        self._stack = stack
        self._options = options
        self._backend = backend
        self.roles: dict[str, RoleProcess] = {}
        engine = self._start("engine", ENGINE)
        node = self._start("node", "confsec", "node", "--tee", "none", "--engine", engine.url)
        router = self._start("router", "confsec", "router", *UNSAFE, "--nodes", node.url)
        key = _write_key(folder / "gateway.toml")
        targets = f"router.example={router.url}"
        gateway = self._start("gateway", "confsec", "gateway", "--targets", targets, "--keys", str(key))
        relay = self._start("relay", "confsec", "relay", "--gateways", f"{gateway.url}/gateway")
        with urlopen(f"{gateway.url}/ohttp-keys") as answer:
            configs = decode_key_configs(answer.read())
        self.engine = engine
        self.directory = ServiceDirectory(
            relay_url=relay.url + "/", gateway_key_configs=configs, router_origin="https://router.example"
        )

    def open_exchanges(self) -> int:
        """Ask the engine how many requests it is answering."""
        with urlopen(f"{self.engine.url}/v1/models") as answer:
            return int(json.loads(answer.read())["open"])

    def _start(self, name: str, *arguments: str) -> RoleProcess:
        backend = ("--backend", self._backend) if name != "engine" else ()
        process = RoleProcess(*arguments, *backend, *self._options.get(name, ()))
        self._stack.callback(process.stop)
        self.roles[name] = process
        return process


def _write_key(path: Path) -> Path:
    day = timedelta(days=1)
    now = system.now() - day
    GatewayKeyFile.generate(
        "MLKEM768-X25519", 1, now=now, lifetime=3 * day, overlap=day, randbytes=system.randbytes
    ).write(path)
    return path


@contextmanager
def running_service(folder: Path, backend: str = "asyncio", **options: tuple[str, ...]) -> Generator[Service]:
    """Run a service; `options` are further options by role."""
    with ExitStack() as stack:
        yield Service(stack, folder, backend, options)
