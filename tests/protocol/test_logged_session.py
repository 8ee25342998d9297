"""The session of a service whose directory and fleets are in logs, and the Proof of what it saw there."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from confsec.errors import (
    AppraisalError,
    ForkedLogError,
    LocalProtocolError,
    PeerError,
    PolicyError,
    ProofError,
    RolledBackLogError,
    StaleLogError,
    TransparencyError,
    UncosignedError,
)
from confsec.protocol.checks import Status
from confsec.protocol.policy import UNSAFE_UNATTESTED, PolicyReader
from confsec.protocol.proof import Proof, replay_proof, verify_proof
from confsec.protocol.service_logs import check_directory, check_fleet
from confsec.protocol.session import FleetTrusted
from confsec.protocol.transparency import TrustedLog
from confsec.testing import seeded_randbytes
from tests.protocol.fleets import make_fleet
from tests.protocol.log_world import DAY, EPOCH, World
from tests.protocol.logged_service import LoggedService
from tests.protocol.service import NOW
from tests.protocol.test_proof import sealed_envelope

READER = PolicyReader(verifiers={})
STRICT = evolve(UNSAFE_UNATTESTED, name="STRICT", unsafe_waived=("attestation.evidence", "token.spend"), constant=True)
MINUTE = timedelta(minutes=1)


def proof_of(service: LoggedService) -> Proof:
    session = service.session(policy=STRICT)
    service.refresh(session)
    return service.sealed(session).proof


def statuses(proof: Proof) -> dict[str, Status]:
    return {check.id: check.status for check in proof.checks}


def test_a_prompt_goes_to_a_fleet_that_everybody_is_shown() -> None:
    found = statuses(proof_of(LoggedService()))
    assert found["log.directory"] is Status.PASS
    assert found["log.fleet"] is Status.PASS
    assert found["freshness.epoch"] is Status.PASS
    assert found["log.root"] is Status.INFO


def test_the_proof_replays_its_logs_offline() -> None:
    proof = proof_of(LoggedService())
    reader = PolicyReader(verifiers={}, constants=(STRICT,))
    again = verify_proof(proof.encode(), reader)
    assert again == proof
    assert "honest" in "".join(again.assumptions)


def test_the_proof_is_the_same_for_everyone_of_an_epoch() -> None:
    """Nothing in it says when, within the epoch, its owner read the fleet's log."""
    service = LoggedService(nodes=1)
    first = proof_of(service).contents.logs
    service.now += 3 * MINUTE
    second = proof_of(service).contents.logs
    assert first is not None
    assert second is not None
    assert first.fleet == second.fleet


def test_a_hasty_root_is_not_taken_without_a_waiver() -> None:
    service = LoggedService(World(delay=timedelta(0)))
    session = service.session(policy=STRICT)
    service.refresh(session)
    with pytest.raises(AppraisalError, match=r"log\.root"):
        service.sealed(session)


def test_the_next_epoch_is_taken_from_the_log() -> None:
    service = LoggedService()
    session = service.session()
    service.refresh(session)
    assert session.epoch is not None
    assert session.fleet_log is not None
    began, size = session.epoch.began, session.fleet_log.size
    service.now += EPOCH
    service.log_fleet(make_fleet(2))
    assert session.needs_fleet(service.now)
    (trusted,) = service.refresh(session)
    assert isinstance(trusted, FleetTrusted)
    assert len(trusted.trusted) == 2
    assert (session.epoch.began, session.fleet_log.size) == (began + EPOCH, size + 1)


def test_a_fleet_log_that_stands_still_stops_the_client() -> None:
    service = LoggedService()
    session = service.session()
    service.now += 61 * MINUTE
    with pytest.raises(PolicyError, match="another time"):
        service.refresh(session)
    service.overlay = {"checkpoint": service.world.fleets.note(NOW)}
    with pytest.raises(StaleLogError):
        service.refresh(session)


def test_a_router_that_shows_another_fleet_is_refused() -> None:
    """In a hundred of a hundred runs."""
    service = LoggedService()
    own = make_fleet(3, randbytes=seeded_randbytes("own"))
    for _ in range(100):
        session = service.session()
        service.fleet = evolve(own, record=evolve(own.record, beacon=service.fleet.record.beacon))
        with pytest.raises(TransparencyError, match="not the one in the log"):
            service.refresh(session)


def test_a_client_that_saw_a_fleet_log_is_not_shown_an_older_one() -> None:
    service = LoggedService()
    session = service.session()
    old = service.world.fleets.files(service.now)
    service.now += EPOCH
    service.log_fleet(make_fleet(3))
    service.refresh(session)
    remembered = TrustedLog.decode((session.fleet_log or TrustedLog("")).encode())
    service.now += MINUTE
    service.overlay = {**old, "checkpoint": service.world.fleets.note(service.now, size=1)}
    with pytest.raises(RolledBackLogError):
        service.refresh(service.session(), remembered)


def test_a_client_is_not_shown_another_branch_of_the_fleet_log() -> None:
    service, other = LoggedService(), World()
    session = service.session()
    service.refresh(session)
    service.now += EPOCH
    other.add_fleet(NOW)
    other.add_fleet(service.now)
    service.overlay = dict(other.fleets.files(service.now))
    with pytest.raises(ForkedLogError):
        service.refresh(session)


def test_without_a_quorum_there_is_no_fleet() -> None:
    service = LoggedService()
    service.overlay = {"checkpoint": service.world.fleets.note(service.now, witnesses=1)}
    with pytest.raises(UncosignedError):
        service.refresh(service.session())


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1", "proof/0"])
def test_a_file_that_is_missing_stops_the_reading(path: str) -> None:
    service = LoggedService()
    service.overlay = {path: None}
    with pytest.raises(TransparencyError):
        service.refresh(service.session())


def test_a_server_of_the_log_that_fails_is_named() -> None:
    service = LoggedService()
    service.fails = True
    with pytest.raises(PeerError, match="503"):
        service.refresh(service.session())


def test_a_reading_that_was_dropped_changes_nothing() -> None:
    service = LoggedService()
    session = service.session()
    (first,) = session.fetch_fleet(now=service.now)
    session.fetch_fleet(now=service.now)
    with pytest.raises(LocalProtocolError):
        service.run(session, [first])


def test_a_fleet_that_could_not_be_remembered_is_forgotten() -> None:
    service = LoggedService()
    session = service.session()
    service.refresh(session)
    session.forget_fleet()
    assert session.needs_fleet(service.now)
    with pytest.raises(LocalProtocolError, match="no fleet record"):
        service.sealed(session)
    service.refresh(session)
    service.sealed(session)


def test_a_directory_whose_time_is_over_opens_no_session() -> None:
    service = LoggedService()
    service.now += 40 * DAY
    with pytest.raises(TransparencyError, match="statement has ended"):
        service.session()


# --- Replaying --------------------------------------------------------------------------------------------------------


def test_a_proof_whose_logs_were_changed_does_not_replay() -> None:
    service = LoggedService()
    proof = proof_of(service)
    reader = PolicyReader(verifiers={}, constants=(STRICT,))
    item = proof.contents.to_item()
    logs = item["logs"]
    assert isinstance(logs, dict)
    other = LoggedService(World(threshold=3))
    later = LoggedService()
    later.now += EPOCH
    later.log_fleet(make_fleet(3))
    theirs = proof_of(later).contents.to_item()["logs"]
    assert isinstance(theirs, dict)
    for changed in (
        {**logs, "root": other.world.root.to_toml()},
        {**logs, "root": "version = 1\n"},
        {**logs, "fleet": logs["directory"]},
        {**logs, "directory": logs["fleet"]},
        {**logs, "fleet": theirs["fleet"]},
        {"root": logs["root"]},
        None,
    ):
        with pytest.raises(ProofError):
            replay_proof(sealed_envelope({**item, "logs": changed}), reader)


def test_a_directory_much_older_than_the_epoch_fails() -> None:
    service = LoggedService()
    contents = proof_of(service).contents
    assert contents.logs is not None
    for age, status in ((DAY, Status.PASS), (DAY + MINUTE, Status.FAIL)):
        service.now = NOW - age
        logs = evolve(contents.logs, directory=service.logged_directory())
        assert check_directory(logs).status is status


def test_a_fleet_that_was_logged_when_its_epoch_was_over_fails() -> None:
    """Keys that leaked later could have made it."""
    service = LoggedService()
    contents = proof_of(service).contents
    assert contents.logs is not None
    age = contents.policy.maximum_age
    assert check_fleet(contents.logs, contents.fleet_record, maximum_age=age).status is Status.PASS
    assert check_fleet(contents.logs, contents.fleet_record, maximum_age=timedelta(0)).status is Status.FAIL
