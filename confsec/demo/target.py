"""A running service as an attacker meets it: what he can reach, and what came of what he did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, final

from attrs import frozen

from confsec.backends import system
from confsec.backends.api import HttpRequest, Transport, header
from confsec.backends.http import HttpTransport
from confsec.client import Client, Service
from confsec.demo.logs import DemoLogs
from confsec.demo.service import DemoService
from confsec.errors import AppraisalError, ConfigError, ConfsecError
from confsec.issuer_client import IssuerClient
from confsec.protocol.appraisal import node_key_config as evidence_key_config
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.bhttp_decoder import BhttpEvent, ContentReceived, ResponseHead
from confsec.protocol.cmw import Evidence
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, choose_key_config
from confsec.protocol.node_keys import node_key_config
from confsec.protocol.oblivious import OUTER_HEADERS, ObliviousExchange
from confsec.protocol.private import INNER_AUTHORITY, PRIVATE_PATH
from confsec.protocol.problem import Problem
from confsec.protocol.sealed import MEDIA_TYPE_SEALED_REQUEST, MEDIA_TYPE_SEALED_RESPONSE, SealedClient
from confsec.protocol.token_http import TokenCredentials

__all__ = ["Attack", "Outcome", "Target", "run_attack"]


@frozen
class Outcome:
    """What came of an attack."""

    name: str
    refused: bool
    code: str
    """The stable code of the error that refused it, or empty."""
    why: str

    def to_json(self) -> dict[str, object]:
        """Return the outcome as JSON values."""
        return {"name": self.name, "refused": self.refused, "code": self.code, "why": self.why}


@frozen
class Attack:
    """Somebody on the path who does what he should not."""

    name: str
    who: str
    """Who attacks, and how, as a sentence."""

    refusal: tuple[type[ConfsecError], ...]
    """How it has to end."""

    run: Callable[[Target], Awaitable[None]]
    """Attack. Returning is success for the attacker."""


@final
class Target:
    """A running service, as an attacker with access to its public parts meets it."""

    def __init__(self, service: DemoService, question: bytes) -> None:
        """Attack `service`, on which `question` is a chat completion request (JSON) that works."""
        self.service = service
        self.directory: ServiceDirectory = service.directory
        self.question = question
        self.transport: Transport = HttpTransport()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.transport.aclose()

    @property
    def logs(self) -> DemoLogs:
        """The service's logs. Raises `ConfigError` for a service without."""
        if self.service.logs is None:
            raise ConfigError("this attack is on a service whose directory is in a log")
        return self.service.logs

    def client(self, transport: Transport | None = None, service: Service | None = None) -> Client:
        """Return an honest client, over a wire that somebody may control."""
        return Client(
            service or self.service.service_file,
            policy=self.service.policy,
            wallet=self.service.wallet,
            transport=transport or self.transport,
        )

    async def ask(self, transport: Transport | None = None, service: Service | None = None) -> None:
        """Ask as an honest client does, over a wire that somebody may control."""
        client = self.client(transport, service)
        request = self.inner_request()
        async with client.stream(
            HttpRequest(method="POST", url=request.path, headers=request.headers, content=request.content)
        ) as response:
            async for _ in response.content:
                pass

    def inner_request(self, question: bytes | None = None) -> Request:
        """Return what the engine is to be asked."""
        headers = (("content-type", "application/json"),)
        content = self.question if question is None else question
        return Request("POST", "https", INNER_AUTHORITY, "/v1/chat/completions", headers=headers, content=content)

    async def node_keys(self) -> list[KeyConfig]:
        """Read the keys of the fleet, as anybody can."""
        fleet = FleetRecord.decode((await self.through("GET", "/v1/fleet")).content)
        paths = [f"/v1/evidence/{node.evidence_digest.hex()}" for node in fleet.nodes]
        return [evidence_key_config(Evidence.decode((await self.through("GET", path)).content)) for path in paths]

    def seal(self) -> bytes:
        """Seal the question to nobody in particular: for what is refused before a node hears of it."""
        stranger = node_key_config(kem_from_id(0x647A).generate(system.randbytes))
        return SealedClient([stranger], randbytes=system.randbytes).seal(self.inner_request().encode())

    async def take_token(self) -> str:
        """Take a token out of the wallet, as the Authorization field that spends it; nothing where none is taken."""
        issuer, wallet = self.directory.issuer, self.service.wallet
        if issuer is None or wallet is None:
            return ""
        ask = IssuerClient(issuer, wallet.account, self.transport, randbytes=system.randbytes)
        taken = await wallet.take(issuer, ask)
        await wallet.settle(taken)
        return TokenCredentials(taken.token.token).encode()

    async def send_sealed(self, sealed_request: bytes, authorization: str | None = None) -> bytes:
        """Bring a sealed request to the router and return the sealed answer. Raises the error of a refusal.

        It is paid with a fresh token unless an Authorization field is given.
        """
        if authorization is None:
            authorization = await self.take_token()
        response = await self.through("POST", PRIVATE_PATH, sealed_request, authorization)
        if dict(response.headers).get("content-type") != MEDIA_TYPE_SEALED_RESPONSE:
            raise Problem.decode(response.content, status=response.status).to_error("the service")
        return response.content

    async def through(self, method: str, path: str, content: bytes = b"", authorization: str = "") -> Response:
        """Send a request through relay and gateway to the router."""
        key_config, suite = choose_key_config(self.directory.gateway_key_configs)
        exchange = ObliviousExchange(key_config, suite, randbytes=system.randbytes)
        headers = (("content-type", MEDIA_TYPE_SEALED_REQUEST),) if content else ()
        if authorization:
            headers = (*headers, ("authorization", authorization))
        body = exchange.encapsulate(
            Request(
                method,
                self.directory.router_scheme,
                self.directory.router_authority,
                path,
                headers=headers,
                content=content,
            )
        )
        return await self.post(body, exchange)

    async def post(self, body: bytes, exchange: ObliviousExchange) -> Response:
        """Send an encapsulated request to the relay and open the answer."""
        events: list[BhttpEvent] = []
        async with self.transport.stream(self.outer(body)) as response:
            exchange.receive_head(response.status, header(response.headers, "content-type") or "")
            async for part in response.content:
                events += exchange.receive_data(part)
            events += exchange.receive_eof()
        (head,) = [event for event in events if isinstance(event, ResponseHead)]
        content = b"".join(event.data for event in events if isinstance(event, ContentReceived))
        return Response(head.status, head.headers, content=content)

    def outer(self, body: bytes) -> HttpRequest:
        """Return the POST to the relay."""
        return HttpRequest(method="POST", url=self.directory.relay_url, headers=OUTER_HEADERS, content=body)


async def run_attack(attack: Attack, target: Target) -> Outcome:
    """Attack, and say whether the right thing stood in the way."""
    try:
        await attack.run(target)
    except attack.refusal as exc:
        return Outcome(attack.name, refused=True, code=exc.code, why=_why(exc))
    except ConfsecError as exc:
        return Outcome(attack.name, refused=False, code=exc.code, why=f"it failed for another reason: {exc}")
    return Outcome(attack.name, refused=False, code="", why="it worked")


def _why(error: ConfsecError) -> str:
    """Say what refused: of an appraisal the first check, and the names of the others."""
    if not isinstance(error, AppraisalError):
        return str(error)
    first, *others = error.decisive
    more = f"; so do {', '.join(check.id for check in others)}" if others else ""
    return f"{first.id} refuses: {first.why}{more}"
