"""Record a Proof whose directory and fleet are in logs, and the root file of their service.

Run it from the root: `python -m tests.recorded.make_logged_proof`. Keys, clocks and random bytes are those of the
tests, so the files stay the same. A Proof is evidence for years: later versions have to replay this one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from confsec.protocol.proof import Proof
from tests.protocol.fleets import make_fleet
from tests.protocol.log_world import DAY, EPOCH, World, directory
from tests.protocol.logged_service import LoggedService
from tests.protocol.service import NOW

__all__ = ["PROOF_FILE", "ROOT_FILE", "make_logged_proof"]

HERE: Final = Path(__file__).parent
PROOF_FILE: Final = HERE / "logged_proof.cbor"
ROOT_FILE: Final = HERE / "logged_proof_root.toml"


def make_logged_proof(world: World | None = None) -> Proof:
    """Return what a client of a service in memory checked before it sealed a request.

    The log of directories has two entries, that of fleets those of two epochs.
    """
    world = world or World()
    world.add_directory(directory(), NOW - 9 * DAY)
    service = LoggedService(world)
    service.now += EPOCH
    service.log_fleet(make_fleet(3))
    session = service.session()
    service.refresh(session)
    return service.sealed(session).proof


if __name__ == "__main__":
    proof = make_logged_proof()
    assert proof.contents.logs is not None
    PROOF_FILE.write_bytes(proof.encode())
    ROOT_FILE.write_text(proof.contents.logs.root.to_toml())
