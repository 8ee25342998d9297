"""AI inference that is provably private.

Nobody but the attested program that answers a prompt can read it, link it to a person or keep it. The names that users
need are here; each is imported when it is first used, so that `import confsec` costs next to nothing and needs neither
an HTTP library nor a server nor an engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from confsec.errors import (
    AppraisalError,
    BackendError,
    BusyError,
    ConfigError,
    ConfsecError,
    ConnectError,
    DateError,
    DeadlineError,
    DecodeError,
    DecryptionError,
    DisconnectedError,
    EngineError,
    EvidenceError,
    LimitError,
    LocalProtocolError,
    MissingExtraError,
    NotAllowedError,
    PeerError,
    PolicyError,
    ProofError,
    RemoteProtocolError,
    ReplayError,
    StateChangedError,
    TokenError,
    TransparencyError,
    TransportError,
    TruncatedError,
    UnknownKeyError,
    UnsupportedError,
    VerificationError,
)

if TYPE_CHECKING:
    from confsec.client import Client
    from confsec.protocol.directory import ServiceDirectory
    from confsec.protocol.policy import UNSAFE_UNATTESTED
    from confsec.protocol.proof import Proof
    from confsec.sync_client import SyncClient
    from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY

__all__ = [
    "UNSAFE_DEMO_POLICY",
    "UNSAFE_UNATTESTED",
    "AppraisalError",
    "BackendError",
    "BusyError",
    "Client",
    "ConfigError",
    "ConfsecError",
    "ConnectError",
    "DateError",
    "DeadlineError",
    "DecodeError",
    "DecryptionError",
    "DisconnectedError",
    "EngineError",
    "EvidenceError",
    "LimitError",
    "LocalProtocolError",
    "MissingExtraError",
    "NotAllowedError",
    "PeerError",
    "PolicyError",
    "Proof",
    "ProofError",
    "RemoteProtocolError",
    "ReplayError",
    "ServiceDirectory",
    "StateChangedError",
    "SyncClient",
    "TokenError",
    "TransparencyError",
    "TransportError",
    "TruncatedError",
    "UnknownKeyError",
    "UnsupportedError",
    "VerificationError",
]

_IMPORTED_WHEN_USED: Final = {
    "Client": "confsec.client",
    "Proof": "confsec.protocol.proof",
    "ServiceDirectory": "confsec.protocol.directory",
    "SyncClient": "confsec.sync_client",
    "UNSAFE_DEMO_POLICY": "confsec.tee.demo_policy",
    "UNSAFE_UNATTESTED": "confsec.protocol.policy",
}


if not TYPE_CHECKING:  # a checker that saw this would take any misspelt name for a public one

    def __getattr__(name: str) -> object:
        """Import the module of a public name when somebody asks for the name (PEP 562)."""
        if name not in _IMPORTED_WHEN_USED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_IMPORTED_WHEN_USED[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
