"""The process in which llama.cpp runs: `python -m confsec.backends.llama_cpp_process SETTINGS`, started by the engine.

It shares nothing with the node but a Unix socket and two pipes. It leaves no trace of a prompt: it listens on that
socket and nowhere else, keeps no prompt for the next one, writes no log once it serves, and dumps no core. It ends
when its standard input ends, so also when the node is killed.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import stat
import sys
from pathlib import Path
from typing import Any

__all__ = ["READY", "main"]

READY = b"ready\n"
"""What the process writes to its standard output when it serves."""


def main(settings: dict[str, Any]) -> None:
    """Serve until standard input ends, then remove the directory and exit. Blocking; raises what llama.cpp raises."""
    path = Path(settings["socket"])
    _leave_no_core()
    os.umask(0o177)
    server = _start(settings)
    _check_sockets(path)
    _silence()
    os.write(1, READY)
    sys.stdin.buffer.read()
    # What is under way is of no use to anyone now, so we do not wait until `server` has wound down.
    shutil.rmtree(path.parent, ignore_errors=True)
    os._exit(0 if server else 1)


def _leave_no_core() -> None:
    """Let a crash dump nothing: a core file would hold prompts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A kernel that pipes cores to a program ignores that limit; it still dumps only what this mask selects (core(5)).
    mask = Path("/proc/self/coredump_filter")
    if mask.exists():
        mask.write_text("0", encoding="ascii")


def _start(settings: dict[str, Any]) -> object:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {settings["name"]}
    params.n_parallel = settings["parallel"]
    params.n_ctx = settings["context_tokens"] * settings["parallel"]
    if settings["threads"]:
        params.cpuparams.n_threads = settings["threads"]
        params.cpuparams_batch.n_threads = settings["threads"]
    if settings["answer_tokens"]:
        params.n_predict = settings["answer_tokens"]
    if settings["embeddings"]:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # One thread serves one connection for as long as it lives, waiting ones included.
    params.n_threads_http = settings["connections"]
    params.use_jinja = True
    params.hostnames = [settings["socket"]]
    _forget(params)
    return xllamacpp.Server(params)


def _forget(params: Any) -> None:
    """Switch off what keeps or shows a prompt after its answer; most of it is on by default."""
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.n_ctx_checkpoints = 0
    params.n_cache_reuse = 0
    params.slot_prompt_similarity = 0.0
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.slot_save_path = ""
    params.path_prompts_log_dir = ""
    params.ui = False
    params.offline = True
    params.verbosity = 2  # warnings: the start may fail, and the engine shows why


def _check_sockets(path: Path) -> None:
    """Raise `RuntimeError` unless `path` is a private socket, and every socket that we have is a Unix socket."""
    mode = path.stat().st_mode
    if not stat.S_ISSOCK(mode) or stat.S_IMODE(mode) != 0o600:
        raise RuntimeError("the engine's socket is not private")
    families = {_family(int(entry.name)) for entry in Path("/dev/fd").iterdir()} - {None}
    if families != {socket.AF_UNIX}:
        raise RuntimeError("the engine has a socket of another kind than its own")


def _family(descriptor: int) -> int | None:
    """Return the address family of a socket, or None if `descriptor` is none or has been closed since."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
    except OSError:
        return None
    borrowed = socket.socket(fileno=descriptor)
    family = borrowed.family
    borrowed.detach()
    return family


def _silence() -> None:
    """Let standard error lead nowhere from now on: even a warning may quote the request that it warns of."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
