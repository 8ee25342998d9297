"""A process that uses a wallet and dies, as kill -9 has it, at the N-th point where it waits for something.

Arguments: N, the wallet's file, the issuer's ledger. It fetches a batch and spends two tokens; "sent" lines on standard
output are what somebody else has seen of it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio

from confsec.testing import FixedClock
from confsec.wallet import Wallet, WalletSettings
from tests.client.wallet_issuer import LedgerIssuer, issuer_entry


class Death:
    """Comes at the N-th call."""

    def __init__(self, at: int) -> None:
        self.left = at

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Any) -> Any:
        """Return `function` with a point of death before it and one behind it."""

        async def call(*arguments: Any, **keywords: Any) -> Any:
            self.step()
            result = await function(*arguments, **keywords)
            self.step()
            return result

        return call


async def main(at: int, path: Path, ledger: Path) -> None:
    death = Death(at)
    wallet = Wallet(path, settings=WalletSettings(batch=4), clock=FixedClock())
    store = wallet.store
    for name in ("begin", "open_issuances", "finish", "take", "settle", "counts"):
        setattr(store, name, death.around(getattr(store, name)))
    ask = death.around(LedgerIssuer(ledger))
    for _ in range(2):
        taken = await wallet.take(issuer_entry(), ask)
        sys.stdout.write(f"sent {taken.token.token.token_id().hex()}\n")
        sys.stdout.flush()
        death.step()
        await wallet.settle(taken)
    await wallet.aclose()
    sys.stdout.write("alive\n")


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
