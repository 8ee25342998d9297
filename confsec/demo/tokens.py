"""The demo's issuer: its keys, one account, and a token of an epoch that is over, for an attack."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import anyio.to_thread
from attrs import field, frozen

from confsec.backends import system
from confsec.backends.issuer_stores import open_issuer_store
from confsec.backends.key_files import TokenKeyFile
from confsec.backends.key_generation import generate_key
from confsec.backends.software_signer import SoftwareSigner
from confsec.protocol.privacy_pass import PendingToken
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_keys import BLIND_RSA, TokenKeyEpoch
from confsec.protocol.token_messages import Token, TokenResponse
from confsec.roles.issuer_accounts import new_account
from confsec.roles.issuer_key_folder import write_token_key

__all__ = ["ISSUER_AUTHORITY", "PASSPHRASE_VARIABLE", "DemoIssuer", "make_issuer"]

ISSUER_AUTHORITY: Final = "issuer.confsec.invalid"
"""What requests to the issuer call it: a name that nobody resolves."""

PASSPHRASE_VARIABLE: Final = "CONFSEC_ISSUER_PASSPHRASE"
"""The environment variable by which the issuer's process gets the passphrase of its keys."""

_EPOCH: Final = timedelta(days=1)
_QUOTA: Final = 1000


@frozen
class DemoIssuer:
    """What the demo knows of its issuer."""

    store: Path
    """The issuer's books."""

    keys: Path
    """The folder with its keys."""

    passphrase: str = field(repr=False)
    """What the keys are encrypted with: for this run alone."""

    account: str = field(repr=False)
    """The API key of the one account."""

    challenge: TokenChallenge
    """What the router asks for."""

    epochs: tuple[TokenKeyEpoch, ...]
    """The keys: of an epoch that is over, and of the current one."""

    old_token: Token = field(repr=False)
    """A token of the epoch that is over, well signed."""


async def make_issuer(folder: Path, *, router_authority: str) -> DemoIssuer:
    """Make an issuer's keys and an account in `folder`."""
    store, keys, now = folder / "issuer.db", folder / "issuer-keys", system.now().replace(microsecond=0)
    account, key = new_account(quota=_QUOTA, label="demo", now=now, randbytes=system.randbytes)
    books = open_issuer_store(str(store))
    await books.add_account(account)
    await books.aclose()
    passphrase = system.randbytes(16).hex()
    old = await _make_key(keys, passphrase, now - 2 * _EPOCH, now - _EPOCH)
    current = await _make_key(keys, passphrase, now - timedelta(hours=1), now + _EPOCH)
    challenge = TokenChallenge(BLIND_RSA, ISSUER_AUTHORITY, origin_info=router_authority)
    return DemoIssuer(
        store=store,
        keys=keys,
        passphrase=passphrase,
        account=key.encode(),
        challenge=challenge,
        epochs=(old.epoch, current.epoch),
        old_token=await _sign(old, passphrase, challenge),
    )


async def _make_key(folder: Path, passphrase: str, begin: datetime, end: datetime) -> TokenKeyFile:
    def make() -> TokenKeyFile:
        return write_token_key(folder, generate_key, passphrase.encode, not_before=begin, not_after=end)[1]

    return await anyio.to_thread.run_sync(make)


async def _sign(file: TokenKeyFile, passphrase: str, challenge: TokenChallenge) -> Token:
    """Make a token as it would have been made in the key's epoch."""
    signer = SoftwareSigner(file.open(passphrase.encode))
    pending = PendingToken.draw(challenge, file.epoch.key, randbytes=system.randbytes)
    blind_sig = await signer.blind_sign(pending.blinded_msg)
    await signer.aclose()
    return pending.finalize(file.epoch.key, TokenResponse(blind_sig))
