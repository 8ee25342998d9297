"""Real PostgreSQL and Redis servers for tests: on Unix sockets of their own, killed and started again at will."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 60.0


class ServerMissingError(Exception):
    """A server that is not installed."""


class Server:
    """A server process over a folder that stays when it is killed."""

    def __init__(
        self, url: str, command: list[str], folder: Path, *, user: str | None, is_up: Callable[[], bool]
    ) -> None:
        self.url = url
        self._command = command
        self._folder = folder
        self._user = user
        self._is_up = is_up

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self._command} did not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the server and all its processes at once, as a crash does."""
        processes = self._processes()
        self._signal(signal.SIGKILL, processes)
        self._process.wait()
        deadline = time.monotonic() + START_SECONDS
        while any(_lives(process) for process in processes) and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self) -> None:
        """Hold the server: it keeps its connections and does not answer."""
        self._signal(signal.SIGSTOP, self._processes())

    def go_on(self) -> None:
        """Let a held server answer again."""
        self._signal(signal.SIGCONT, self._processes())

    def _processes(self) -> list[int]:
        """Return the server's process and its children: PostgreSQL has one for each connection."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [self._process.pid, *map(int, children.split())]

    def _signal(self, number: signal.Signals, processes: list[int]) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, number)


@contextmanager
def running_postgres(**settings: str) -> Generator[Server]:
    """Run PostgreSQL. It refuses to run as root, so root starts it as the user `postgres`, whom its package makes."""
    programs = _postgres_programs()
    folder = _folder("postgres")
    user = "postgres" if os.getuid() == 0 else None
    try:
        if user is not None:
            shutil.chown(folder, user, user)
        _run(
            [str(programs / "initdb"), "-D", f"{folder}/data", "-U", "confsec", "-A", "trust", "-E", "UTF8"],
            folder,
            user,
        )
        options = {"listen_addresses": "", "unix_socket_directories": str(folder), **settings}
        command = [str(programs / "postgres"), "-D", f"{folder}/data"]
        command += [f"--{name}={value}" for name, value in options.items()]
        ready = [str(programs / "pg_isready"), "-q", "-h", str(folder)]
        server = Server(
            f"postgresql://confsec@/postgres?host={folder}",
            command,
            folder,
            user=user,
            is_up=lambda: subprocess.run(ready, check=False).returncode == 0,
        )
        yield from _running(server)
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_redis(**settings: str) -> Generator[Server]:
    """Run Redis, or Valkey, with the settings that tokens need unless others are given."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    cli = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if program is None or cli is None:
        raise ServerMissingError("redis-server is not installed")
    folder = _folder("redis")
    socket = folder / "redis.sock"
    options = {"port": "0", "unixsocket": str(socket), "save": "", "appendonly": "yes", "appendfsync": "always"}
    options |= {name.replace("_", "-"): value for name, value in settings.items()}
    command = [str(program)]
    for name, value in options.items():
        command += [f"--{name}", *(value.split() or [""])]
    ping = [str(cli), "-s", str(socket), "ping"]
    server = Server(
        f"redis+unix://{socket}",
        command,
        folder,
        user=None,
        is_up=lambda: subprocess.run(ping, check=False, capture_output=True).stdout == b"PONG\n",
    )
    try:
        yield from _running(server)
    finally:
        shutil.rmtree(folder)


def _running(server: Server) -> Generator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _folder(name: str) -> Path:
    """Make a folder with a short path, for the sake of sockets, that another user may enter."""
    folder = Path(tempfile.mkdtemp(prefix=f"confsec-{name}-"))
    folder.chmod(0o755)
    return folder


def _postgres_programs() -> Path:
    """Return where PostgreSQL's programs are: Debian keeps them off the path, by version."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if (initdb := shutil.which("initdb")) is not None:
        found.append(Path(initdb).parent)
    if not found:
        raise ServerMissingError("postgresql is not installed")
    return found[0]


def _run(command: list[str], folder: Path, user: str | None) -> None:
    finished = subprocess.run(
        command,
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def _lives(process: int) -> bool:
    """Say whether a process still runs: one that is dead may wait to be collected."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
