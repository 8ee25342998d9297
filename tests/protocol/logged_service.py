"""A whole service without a socket whose directory and fleets are in logs."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

from attrs import evolve

from confsec.protocol.bhttp import Request, Response
from confsec.protocol.directory import IssuerEntry
from confsec.protocol.policy import UNSAFE_UNATTESTED, Policy
from confsec.protocol.service_logs import LoggedDirectory
from confsec.protocol.session import AppraisalDue, ClientSession, RequestSealed, Send, SessionEvent
from confsec.protocol.state_reader import Firsts, StateUpdate
from confsec.protocol.transparency import TrustedLog
from confsec.testing import seeded_randbytes
from tests.protocol.fleets import Fleet, make_fleet
from tests.protocol.log_world import DAY, World, read
from tests.protocol.service import NOW, Service
from tests.protocol.test_session import ASK, CHUNKED


class LoggedService(Service):
    """A service whose logs clients read through the gateway. `now` is everybody's clock."""

    def __init__(
        self,
        world: World | None = None,
        *,
        nodes: int = 3,
        seed: str = "",
        issuer: IssuerEntry | None = None,
    ) -> None:
        super().__init__(make_fleet(nodes, randbytes=seeded_randbytes(f"fleet{seed}")), seed=f"service{seed}")
        self.directory = evolve(self.directory, issuer=issuer)
        self.world = world or World()
        self.now: datetime = NOW
        self.fails = False
        self.overlay: dict[str, bytes | None] = {}
        """Files of the fleet's log that are shown instead of the true ones."""
        self.world.add_directory(self.directory, NOW - 2 * DAY)
        self.log_fleet(self.fleet)

    def log_fleet(self, fleet: Fleet) -> None:
        """Begin an epoch now, with these nodes."""
        world = self.world
        world.add_fleet(self.now, *fleet.record.nodes)
        beacon = world.fleets.note(self.now, size=world.fleets.size - 1)
        self.fleet = evolve(fleet, record=evolve(fleet.record, beacon=beacon))
        self.logged_digest = sha256(self.fleet.encoded).digest()

    def route(self, request: Request) -> Response:
        path = request.path
        if path.startswith("/fleet/"):
            assert request.authority == "logs.service.example"
            files = self.world.fleets.files(self.now) | self.overlay
            if self.fails:
                return Response(503)
            body = files.get(path.removeprefix("/fleet/"))
            return Response(404) if body is None else Response(200, content=body)
        if path == f"/v1/fleet/{self.logged_digest.hex()}":
            return super().route(evolve(request, path="/v1/fleet"))
        if path.startswith("/v1/fleet"):
            return Response(404)
        return super().route(request)

    def logged_directory(self) -> LoggedDirectory:
        root = self.world.root
        update = StateUpdate(
            TrustedLog(root.directory.origin), root.witnesses, at=self.now, maximum_age=DAY, entries=16,
            firsts=Firsts.ALL,
        )  # fmt: skip
        return LoggedDirectory(root, read(update, self.world.directories.files(self.now)).state)

    def session(self, *, policy: Policy = UNSAFE_UNATTESTED) -> ClientSession:
        return ClientSession(self.logged_directory(), policy=policy, randbytes=seeded_randbytes("client"))

    def run(self, session: ClientSession, events: list[SessionEvent]) -> list[SessionEvent]:
        """Answer everything that the session sends until it sends nothing more."""
        done: list[SessionEvent] = []
        waiting = list(events)
        while waiting:
            event = waiting.pop(0)
            if isinstance(event, Send):
                session.receive_head(event.exchange, 200, CHUNKED)
                waiting += session.receive_data(event.exchange, self.handle(event.data))
                waiting += session.receive_eof(event.exchange, now=self.now)
            elif isinstance(event, AppraisalDue):
                waiting += session.receive_appraisal(event.run())
            else:
                done.append(event)
        return done

    def refresh(self, session: ClientSession, fleet_log: TrustedLog | None = None) -> list[SessionEvent]:
        return self.run(session, session.fetch_fleet(now=self.now, fleet_log=fleet_log))

    def sealed(self, session: ClientSession) -> RequestSealed:
        """Ask once, and return what was checked before."""
        events = self.run(session, session.request(ASK, now=self.now))
        (sealed,) = [event for event in events if isinstance(event, RequestSealed)]
        return sealed
