"""An issuer for wallet tests: signs in the open, and keeps in a file for whom it charged how much."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path

from confsec.errors import BusyError
from confsec.protocol.aead import Aead
from confsec.protocol.directory import IssuerEntry
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.privacy_pass import BatchTokenIssuer
from confsec.protocol.token_keys import TokenKeyring
from confsec.testing import EPOCH, seeded_randbytes
from tests.protocol.token_cases import CHALLENGE, DAY, KEYRING, RSA_2048

SUITE = SymmetricSuite(Kdf.HKDF_SHA256.kdf_id, Aead.AES_128_GCM.aead_id)


def issuer_entry(keyring: TokenKeyring = KEYRING) -> IssuerEntry:
    public_key = kem_from_id(0x0020).generate(seeded_randbytes("issuer's gateway")).public_key
    return IssuerEntry(
        relay_url="http://127.0.0.1:1/issuer",
        gateway_key_configs=(KeyConfig(1, 0x0020, public_key, (SUITE,)),),
        origin="https://issuer.example",
        token_challenge=CHALLENGE,
        token_keys=keyring.epochs[:1],
    )


class LedgerIssuer:
    """Charges once for each request id, before it signs, and writes it down."""

    def __init__(self, ledger: Path, *, now: datetime = EPOCH) -> None:
        self.ledger = ledger
        self.now = now
        self.down = False
        self.calls = 0

    @property
    def charged(self) -> int:
        """How many tokens the account has paid for."""
        return sum(count for _, count in self._read().values())

    async def __call__(self, request_id: str, request: bytes) -> bytes:
        self.calls += 1
        if self.down:
            raise BusyError("the issuer is down")
        machine = BatchTokenIssuer(KEYRING, now=self.now)
        machine.receive_data(request)
        needed = machine.receive_eof()
        entries = self._read()
        digest = hashlib.sha256(request).hexdigest()
        assert entries.setdefault(request_id, (digest, len(needed)))[0] == digest
        self.ledger.write_text(json.dumps(entries))
        return machine.respond([RSA_2048.sign(each.blinded_msg) for each in needed])

    def _read(self) -> dict[str, tuple[str, int]]:
        return json.loads(self.ledger.read_text()) if self.ledger.exists() else {}


__all__ = ["DAY", "LedgerIssuer", "issuer_entry"]
