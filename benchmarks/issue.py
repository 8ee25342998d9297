"""Issuing tokens: a whole issuer, asked over HTTP, against its signer alone.

The issuer is a process of its own over a SQLite file; every request is charged durably before it is signed. The signer
signs as many messages with the same key in this process, on all processors, and does nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final, final

import anyio
from anyio.from_thread import start_blocking_portal

from benchmarks.measure import Plan, Timings, measure, ratio_of, spread_of
from benchmarks.peers import Peers
from benchmarks.report import Report, Row
from confsec.backends.api import HttpRequest
from confsec.backends.http import HttpTransport
from confsec.backends.software_signer import SoftwareSigner
from confsec.backends.system import randbytes
from confsec.cli.issuer_keys import PASSPHRASE_VARIABLE
from confsec.protocol.privacy_pass import PendingToken
from confsec.protocol.token_batch import MEDIA_TYPE_BATCH_REQUEST, BatchTokenRequest
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_keys import BLIND_RSA, TokenKey
from confsec.roles.issuer import TOKEN_REQUEST_PATH
from confsec.roles.issuer_key_folder import read_key_folder

__all__ = ["run"]

CASES: Final = ((1, 1), (1, 64), (16, 1), (128, 1), (128, 8))
"""How many tokens in a batch, and how many batches at once."""

_SIGNER: Final = "the signer alone"
_CHALLENGE: Final = TokenChallenge(BLIND_RSA, "issuer.example", origin_info="router.example")
_NO_LIMIT: Final = 2**50


def run(plan: Plan, peers: Peers) -> Report:
    """Ask an issuer for batches of several sizes, one and many at once."""
    rows: list[Row] = []
    with _running_issuer() as (issuer, signer), start_blocking_portal() as portal:
        try:
            for batch, at_once in CASES:
                body = issuer.request_of(batch)
                messages = [request.blinded_msg for request in BatchTokenRequest.decode(body).token_requests] * at_once
                contenders = {
                    "ours": partial(portal.call, issuer.ask, body, at_once),
                    _SIGNER: partial(portal.call, _sign, signer, messages),
                }
                rows += _rows(batch, at_once, measure(contenders, plan))
        finally:
            portal.call(issuer.aclose)
    return Report(name="issue", title="a whole issuer over HTTP, each request charged durably", rows=tuple(rows))


def _rows(batch: int, at_once: int, timings: Timings) -> list[Row]:
    tokens = batch * at_once
    what = f"{at_once} × {batch} token{'s' * (batch > 1)}"
    ratio = ratio_of(timings[_SIGNER], timings["ours"])
    rate = Row(
        what=what,
        ours=tokens / spread_of(timings["ours"]).median,
        unit="/s",
        against=_SIGNER,
        theirs=tokens / spread_of(timings[_SIGNER]).median,
        result=ratio.median,
        low=ratio.low,
        high=ratio.high,
    )
    latency = Row(what=f"{what}: until the answer", ours=spread_of(timings["ours"]).median, unit="s")
    return [rate, latency]


@final
class _Issuer:
    """An issuer that runs, and an account with it."""

    def __init__(self, url: str, api_key: str, token_key: TokenKey) -> None:
        self._url = url + TOKEN_REQUEST_PATH
        self._api_key = api_key
        self._token_key = token_key
        self._transport = HttpTransport()

    def request_of(self, batch: int) -> bytes:
        """Return a request for so many tokens."""
        pending = [PendingToken.draw(_CHALLENGE, self._token_key, randbytes=randbytes) for _ in range(batch)]
        return BatchTokenRequest(tuple(one.request() for one in pending)).encode()

    async def ask(self, body: bytes, at_once: int, iterations: int) -> float:
        """Send the request so often, each time under a new id, and return the seconds that it took."""
        begin = perf_counter()
        for _ in range(iterations):
            async with anyio.create_task_group() as tasks:
                for _ in range(at_once):
                    tasks.start_soon(self._ask, body)
        return perf_counter() - begin

    async def _ask(self, body: bytes) -> None:
        headers = (
            ("authorization", f"Bearer {self._api_key}"),
            ("confsec-request-id", randbytes(16).hex()),
            ("content-type", MEDIA_TYPE_BATCH_REQUEST),
        )
        request = HttpRequest(method="POST", url=self._url, headers=headers, content=body)
        async with self._transport.stream(request) as response:
            async for _ in response.content:
                pass
            assert response.status == 200

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


async def _sign(signer: SoftwareSigner, messages: Sequence[bytes], iterations: int) -> float:
    begin = perf_counter()
    for _ in range(iterations):
        await signer.blind_sign_many(messages)
    return perf_counter() - begin


@contextmanager
def _running_issuer() -> Generator[tuple[_Issuer, SoftwareSigner]]:
    """Make a key and an account, start an issuer, and open the key here as well."""
    with TemporaryDirectory() as folder:
        passphrase = randbytes(16).hex()
        environment = {**os.environ, PASSPHRASE_VARIABLE: passphrase}
        store, keys = f"{folder}/issuer.db", f"{folder}/keys"
        _confsec(["keys", "new", "--folder", keys], environment)
        account = _confsec(["account", "add", "--store", store, "--quota", str(_NO_LIMIT), "--json"], environment)
        options = ["--store", store, "--keys", keys, "--rate", f"{_NO_LIMIT}.0", "--burst", str(_NO_LIMIT)]
        process = subprocess.Popen(_command(["serve", *options]), env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            [(_, file)] = read_key_folder(Path(keys))
            key = file.open(passphrase.encode)
            yield _Issuer(url, json.loads(account)["api_key"], file.epoch.key), SoftwareSigner(key)
        finally:
            process.terminate()
            process.communicate()


def _confsec(arguments: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(_command(arguments), env=environment, check=True, capture_output=True, text=True).stdout


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "confsec", "issuer", *arguments]
