"""The session: whom it trusts, what it sends, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from attrs import evolve

from confsec.errors import (
    BusyError,
    ConfsecError,
    DecodeError,
    DecryptionError,
    EvidenceError,
    LimitError,
    LocalProtocolError,
    PeerError,
    PolicyError,
    RemoteProtocolError,
    TruncatedError,
    UnknownKeyError,
)
from confsec.protocol import session as session_module
from confsec.protocol.appraisal import TrustedKeyConfig
from confsec.protocol.bhttp import InformationalResponse, Request, Response
from confsec.protocol.epoch import Epoch
from confsec.protocol.machine import State, Step
from confsec.protocol.oblivious import ObliviousExchange
from confsec.protocol.ohttp import MEDIA_TYPE_CHUNKED_RESPONSE
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, Policy
from confsec.protocol.private import (
    PrivateContentReceived,
    PrivateEvent,
    PrivateExchange,
    PrivateResponseFinished,
    PrivateResponseStarted,
)
from confsec.protocol.proof import TokenUse
from confsec.protocol.session import (
    FLEET_MAX_AGE,
    AppraisalDue,
    ClientSession,
    FleetTrusted,
    PrivateProgress,
    RequestSealed,
    Send,
    SessionEvent,
)
from confsec.testing import check_all_steps, seeded_randbytes
from tests.protocol.fleets import EPOCH_START, make_fleet
from tests.protocol.service import NOW, Service

CHUNKED = MEDIA_TYPE_CHUNKED_RESPONSE
ASK = Request(
    "POST",
    "https",
    "api.example",
    "/v1/chat/completions",
    headers=(("content-type", "application/json"), ("authorization", "Bearer sk-secret"), ("user-agent", "me")),
    content=b'{"prompt": "hello"}',
)


def new_session(service: Service, *, policy: Policy = UNSAFE_UNATTESTED, candidates: int = 3) -> ClientSession:
    return ClientSession(service.directory, policy=policy, randbytes=seeded_randbytes("client"), candidates=candidates)


def deliver(
    session: ClientSession, send: Send, answer: bytes, *, status: int = 200, content_type: str = CHUNKED
) -> list[SessionEvent]:
    session.receive_head(send.exchange, status, content_type)
    events = session.receive_data(send.exchange, answer)
    return events + session.receive_eof(send.exchange, now=NOW)


def run(session: ClientSession, service: Service, events: list[SessionEvent]) -> list[SessionEvent]:
    """Answer everything that the session sends until it sends nothing more."""
    done: list[SessionEvent] = []
    waiting = list(events)
    while waiting:
        event = waiting.pop(0)
        if isinstance(event, Send):
            waiting += deliver(session, event, service.handle(event.data))
        elif isinstance(event, AppraisalDue):
            waiting += session.receive_appraisal(event.run())
        else:
            done.append(event)
    return done


def trusting(service: Service, *, candidates: int = 3) -> ClientSession:
    session = new_session(service, candidates=candidates)
    run(session, service, session.fetch_fleet(now=NOW))
    return session


def private_events(events: list[SessionEvent]) -> list[PrivateEvent]:
    return [event.event for event in events if isinstance(event, PrivateProgress)]


def test_a_prompt_goes_out_sealed_and_the_answer_comes_back() -> None:
    service = Service(make_fleet(3))
    session = trusting(service)
    events = run(session, service, session.request(ASK, now=NOW))
    started, content, finished = private_events(events)
    assert isinstance(started, PrivateResponseStarted)
    assert started.status == 200
    assert started.node_id in service.fleet.keys
    assert content == PrivateContentReceived(ASK.content[::-1])
    assert finished == PrivateResponseFinished((("x-end", "1"),))
    (sealed,) = [event for event in events if isinstance(event, RequestSealed)]
    assert started.node_id in sealed.proof.candidates


def test_the_engine_gets_what_it_needs_and_nothing_that_names_the_user() -> None:
    service = Service(make_fleet(1))
    session = trusting(service)
    run(session, service, session.request(ASK, now=NOW))
    (asked,) = service.asked
    assert asked.headers == (("content-type", "application/json"),)
    assert (asked.method, asked.path, asked.content) == (ASK.method, ASK.path, ASK.content)
    assert "example" not in asked.authority


def test_the_router_sees_neither_prompt_nor_answer() -> None:
    service = Service(make_fleet(3))
    session = trusting(service)
    run(session, service, session.request(ASK, now=NOW))
    seen = b"".join(request.encode() for request in service.requests)
    assert b"hello" not in seen
    assert b"sk-secret" not in seen


def test_a_token_goes_to_the_router_with_the_request_and_the_proof_says_so() -> None:
    service = Service(make_fleet(1))
    session = trusting(service)
    events = session.request(ASK, now=NOW, authorization="PrivateToken token=abc", token_use=TokenUse.PREFETCHED)
    (sealed,) = [event for event in events if isinstance(event, RequestSealed)]
    run(session, service, events)
    assert ("authorization", "PrivateToken token=abc") in service.requests[-1].headers
    assert sealed.proof.contents.token_use is TokenUse.PREFETCHED
    assert not any(name == "authorization" for request in service.asked for name, _ in request.headers)


def test_candidates_are_drawn_anew_for_each_request() -> None:
    service = Service(make_fleet(8))
    session = trusting(service, candidates=2)
    drawn = set()
    for _ in range(12):
        (sealed,) = [event for event in session.request(ASK, now=NOW) if isinstance(event, RequestSealed)]
        drawn.add(sealed.proof.candidates)
    assert len(drawn) > 6
    assert all(len(set(candidates)) == 2 for candidates in drawn)


@pytest.mark.parametrize("candidates", [0, 17])
def test_a_request_has_1_to_16_candidates(candidates: int) -> None:
    with pytest.raises(LocalProtocolError, match="1 to 16"):
        new_session(Service(make_fleet(1)), candidates=candidates)


def test_nothing_is_sealed_without_a_fresh_fleet() -> None:
    service = Service(make_fleet(1))
    session = new_session(service)
    assert session.needs_fleet(NOW)
    assert session.fleet_id == b""
    with pytest.raises(LocalProtocolError, match="fetch_fleet"):
        session.request(ASK, now=NOW)
    run(session, service, session.fetch_fleet(now=NOW))
    assert session.fleet_id == service.fleet.encoded
    assert not session.needs_fleet(NOW)
    for moved in (FLEET_MAX_AGE, -timedelta(seconds=1)):
        assert session.needs_fleet(NOW + moved)
        with pytest.raises(LocalProtocolError, match="fetch_fleet"):
            session.request(ASK, now=NOW + moved)


def test_production_policy_trusts_no_node_without_hardware_evidence() -> None:
    service = Service(make_fleet(2))
    session = new_session(service, policy=PRODUCTION)
    with pytest.raises(PolicyError, match="UNSAFE_UNATTESTED"):
        run(session, service, session.fetch_fleet(now=NOW))


def test_a_fleet_that_is_too_small_is_refused_before_evidence_is_fetched() -> None:
    service = Service(make_fleet(1))
    session = new_session(service, policy=PRODUCTION)
    with pytest.raises(PolicyError, match="too small"):
        run(session, service, session.fetch_fleet(now=NOW))
    assert len(service.requests) == 1


def test_a_node_whose_evidence_is_wrong_is_left_out() -> None:
    fleet = make_fleet(3)
    bad = fleet.record.nodes[1]
    service = Service(fleet)
    real_route = service.route

    def route(request: Request) -> Response:
        response = real_route(request)
        return evolve(response, content=b"forged") if bad.evidence_digest.hex() in request.path else response

    service.route = route  # type: ignore[method-assign]
    session = new_session(service)
    (trusted,) = run(session, service, session.fetch_fleet(now=NOW))
    assert isinstance(trusted, FleetTrusted)
    assert [each.node_id for each in trusted.refused] == [bad.node_id]
    assert isinstance(trusted.refused[0].error, EvidenceError)
    assert bad.node_id not in {each.node_id for each in trusted.trusted}


def test_evidence_that_the_router_does_not_have_is_a_node_left_out() -> None:
    service = Service(make_fleet(1))
    real_route = service.route

    def route(request: Request) -> Response:
        return Response(404) if request.path.startswith("/v1/evidence/") else real_route(request)

    service.route = route  # type: ignore[method-assign]
    session = new_session(service)
    with pytest.raises(PeerError, match="404"):
        run(session, service, session.fetch_fleet(now=NOW))


def test_a_node_whose_first_file_cannot_be_had_is_left_out_whatever_the_second_says() -> None:
    fleet = make_fleet(2)
    bad = fleet.record.nodes[0]
    service = Service(fleet)
    real_route = service.route

    def route(request: Request) -> Response:
        gone = request.path == f"/v1/evidence/{bad.evidence_digest.hex()}"
        return Response(404) if gone else real_route(request)

    service.route = route  # type: ignore[method-assign]
    session = new_session(service)
    (trusted,) = run(session, service, session.fetch_fleet(now=NOW))
    assert isinstance(trusted, FleetTrusted)
    assert [each.node_id for each in trusted.refused] == [bad.node_id]


def test_a_fleet_without_nodes_is_refused() -> None:
    service = Service(make_fleet(0))
    session = new_session(service)
    with pytest.raises(PolicyError, match="too small"):
        run(session, service, session.fetch_fleet(now=NOW))


def test_a_node_is_appraised_once_in_an_epoch() -> None:
    service = Service(make_fleet(3))
    session = trusting(service)
    before = len(service.requests)
    (trusted,) = run(session, service, session.fetch_fleet(now=NOW))
    assert isinstance(trusted, FleetTrusted)
    assert len(trusted.trusted) == 3
    assert len(service.requests) == before + 1  # the record, and nothing else


def test_a_node_that_is_new_in_an_epoch_is_appraised_beside_those_that_are_known() -> None:
    large = make_fleet(3)
    first = evolve(large, record=evolve(large.record, nodes=large.record.nodes[:2]))
    service = Service(first)
    session = trusting(service)
    service.fleet = large
    before = len(service.requests)
    (trusted,) = run(session, service, session.fetch_fleet(now=NOW))
    assert isinstance(trusted, FleetTrusted)
    assert {each.node_id for each in trusted.trusted} == {node.node_id for node in large.record.nodes}
    assert len(service.requests) == before + 3


@pytest.mark.parametrize("age", [timedelta(hours=1), -timedelta(minutes=3)])
def test_a_fleet_record_of_another_time_is_refused(age: timedelta) -> None:
    service = Service(make_fleet(1))
    session = new_session(service)
    (send,) = session.fetch_fleet(now=NOW)
    assert isinstance(send, Send)
    session.receive_head(send.exchange, 200, CHUNKED)
    session.receive_data(send.exchange, service.handle(send.data))
    with pytest.raises(PolicyError, match="another time"):
        session.receive_eof(send.exchange, now=NOW + age)


def test_nothing_is_sealed_to_a_key_whose_epoch_is_too_old() -> None:
    service = Service(make_fleet(1))
    session = new_session(service, policy=evolve(UNSAFE_UNATTESTED, maximum_age=timedelta(minutes=5)))
    run(session, service, session.fetch_fleet(now=NOW))
    assert not session.needs_fleet(NOW + timedelta(seconds=299))
    assert session.needs_fleet(NOW + timedelta(seconds=300))
    with pytest.raises(LocalProtocolError, match="fetch_fleet"):
        session.request(ASK, now=NOW + timedelta(seconds=300))


def test_collateral_that_goes_back_in_time_is_refused() -> None:
    service = Service(make_fleet(2))
    session = new_session(service)
    run(session, service, session.fetch_fleet(now=NOW))
    service.turn_epoch(make_fleet(2, randbytes=seeded_randbytes("next epoch")))
    dues = [each for each in reach(session, service, session.fetch_fleet(now=NOW)) if isinstance(each, AppraisalDue)]
    first, second = (due.run() for due in dues)
    assert isinstance(first.outcome, TrustedKeyConfig)
    assert isinstance(second.outcome, TrustedKeyConfig)
    first.outcome._result = evolve(first.outcome.result, collateral_numbers={"TCB info": 8})
    second.outcome._result = evolve(second.outcome.result, collateral_numbers={"TCB info": 7})
    session.receive_appraisal(first)
    (trusted,) = session.receive_appraisal(second)
    assert isinstance(trusted, FleetTrusted)
    assert [each.node_id for each in trusted.trusted] == [first.node.node_id]
    assert "back in time" in str(trusted.refused[0].error)


def reach(session: ClientSession, service: Service, events: list[SessionEvent]) -> list[SessionEvent]:
    """Answer what the session sends, and return what it asks for beside."""
    asked: list[SessionEvent] = []
    waiting = list(events)
    while waiting:
        event = waiting.pop(0)
        if isinstance(event, Send):
            waiting += deliver(session, event, service.handle(event.data))
        else:
            asked.append(event)
    return asked


def test_an_appraisal_for_a_record_that_was_dropped_changes_nothing() -> None:
    service = Service(make_fleet(1))
    session = new_session(service)
    (first,) = reach(session, service, session.fetch_fleet(now=NOW))
    assert isinstance(first, AppraisalDue)
    session.fetch_fleet(now=NOW)
    assert session.receive_appraisal(first.run()) == []
    assert session.needs_fleet(NOW)


def test_an_appraisal_in_one_epoch_does_not_count_in_another() -> None:
    fleet = make_fleet(1)
    service = Service(fleet)
    session = new_session(service)
    (first,) = reach(session, service, session.fetch_fleet(now=NOW))
    assert isinstance(first, AppraisalDue)
    # The same node, with the same evidence, is listed in the next epoch, too.
    later = Epoch.local(EPOCH_START + 60)
    service.fleet = evolve(fleet, record=evolve(fleet.record, beacon=later.beacon))
    (send,) = session.fetch_fleet(now=NOW)
    assert isinstance(send, Send)
    deliver(session, send, service.handle(send.data))
    assert session.receive_appraisal(first.run()) == []
    assert session.needs_fleet(NOW)


@pytest.mark.parametrize("gone", ["both", "evidence"])
def test_the_other_file_of_a_node_may_come_when_the_record_is_in_use(gone: str) -> None:
    fleet = make_fleet(2)
    bad = fleet.record.nodes[1].evidence_digest.hex()
    service = Service(fleet)
    real_route = service.route

    def route(request: Request) -> Response:
        missing = request.path.endswith(bad) and (gone == "both" or request.path.startswith("/v1/evidence/"))
        return Response(404) if missing else real_route(request)

    service.route = route  # type: ignore[method-assign]
    session = new_session(service)
    (record,) = session.fetch_fleet(now=NOW)
    assert isinstance(record, Send)
    good, goods, evidence, endorsements = deliver(session, record, service.handle(record.data))
    run(session, service, [good, goods])
    ((trusted,), late) = (run(session, service, [each]) for each in (evidence, endorsements))
    assert isinstance(trusted, FleetTrusted)
    assert late == []
    assert not session.needs_fleet(NOW)


def test_a_node_whose_endorsements_have_ended_is_left_out() -> None:
    service = Service(make_fleet(2))
    session = new_session(service)
    dues = [each for each in reach(session, service, session.fetch_fleet(now=NOW)) if isinstance(each, AppraisalDue)]
    first, second = (due.run() for due in dues)
    assert isinstance(second.outcome, TrustedKeyConfig)
    second.outcome._usable_until = NOW
    session.receive_appraisal(first)
    (trusted,) = session.receive_appraisal(second)
    assert isinstance(trusted, FleetTrusted)
    assert [each.node_id for each in trusted.refused] == [second.node.node_id]
    assert not session.needs_fleet(NOW)


def test_whole_shards_are_fetched_until_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_MIN_EVIDENCE", 4)
    fleet = make_fleet(12, shards=4)
    service = Service(fleet)
    session = new_session(service)
    (trusted,) = run(session, service, session.fetch_fleet(now=NOW))
    assert isinstance(trusted, FleetTrusted)
    shards = {node.node_id: node.shard for node in fleet.record.nodes}
    fetched = [shards[each.node_id] for each in trusted.trusted]
    assert len(fetched) == 6
    assert len(set(fetched)) == 2


def test_a_fetch_that_was_dropped_changes_nothing() -> None:
    service = Service(make_fleet(1))
    session = new_session(service)
    (first,) = session.fetch_fleet(now=NOW)
    assert isinstance(first, Send)
    (second,) = session.fetch_fleet(now=NOW)
    with pytest.raises(LocalProtocolError, match="no such exchange"):
        session.receive_head(first.exchange, 200, CHUNKED)
    with pytest.raises(LocalProtocolError, match="no such exchange"):
        session.receive_eof(first.exchange, now=NOW)
    run(session, service, [second])
    assert not session.needs_fleet(NOW)


def test_an_exchange_that_was_abandoned_is_over() -> None:
    service = Service(make_fleet(1))
    session = trusting(service)
    send = session.request(ASK, now=NOW)[1]
    assert isinstance(send, Send)
    session.abandon(send.exchange)
    with pytest.raises(LocalProtocolError, match="no such exchange"):
        session.receive_data(send.exchange, b"")


def test_a_file_of_the_router_that_is_too_long_is_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_FLEET_RECORD", 10)
    service = Service(make_fleet(1))
    session = new_session(service)
    with pytest.raises(LimitError, match="at most 10 bytes"):
        run(session, service, session.fetch_fleet(now=NOW))


def test_a_fleet_record_that_cannot_be_read_is_refused() -> None:
    service = Service(make_fleet(1))
    service.route = lambda request: Response(200, content=b"garbage")  # type: ignore[method-assign]
    session = new_session(service)
    with pytest.raises(DecodeError, match="fleet record"):
        run(session, service, session.fetch_fleet(now=NOW))


def answer_of(service: Service, session: ClientSession) -> tuple[Send, bytes]:
    send = session.request(ASK, now=NOW)[1]
    assert isinstance(send, Send)
    return send, service.handle(send.data)


def test_an_answer_that_is_cut_anywhere_raises() -> None:
    service = Service(make_fleet(1))
    session = trusting(service)
    send, answer = answer_of(service, session)
    for size in (0, 1, 40, len(answer) // 2, len(answer) - 1):
        fresh = trusting(service)
        send, answer = answer_of(service, fresh)
        with pytest.raises((TruncatedError, DecryptionError)):
            deliver(fresh, send, answer[:size])


def test_an_answer_to_another_request_does_not_open() -> None:
    service = Service(make_fleet(1))
    session = trusting(service)
    first, _ = answer_of(service, session)
    _, second_answer = answer_of(service, session)
    with pytest.raises(DecryptionError):
        deliver(session, first, second_answer)


def test_a_request_to_nodes_that_are_gone_says_unknown_key() -> None:
    service = Service(make_fleet(1))
    session = trusting(service)
    service.nodes.clear()
    with pytest.raises(UnknownKeyError, match="the service refused"):
        run(session, service, session.request(ASK, now=NOW))


def test_informational_responses_say_nothing() -> None:
    hint = (InformationalResponse(103, (("link", "x"),)),)
    service = Service(make_fleet(1), answer=lambda _request: Response(200, content=b"ok", informational=hint))
    real_route = service.route
    service.route = lambda request: evolve(real_route(request), informational=hint)  # type: ignore[method-assign]
    session = trusting(service)
    events = private_events(run(session, service, session.request(ASK, now=NOW)))
    assert [type(event) for event in events] == [
        PrivateResponseStarted,
        PrivateContentReceived,
        PrivateResponseFinished,
    ]


def test_an_answer_that_nobody_sealed_is_refused() -> None:
    service = Service(make_fleet(1))
    session = trusting(service)
    service.route = lambda request: Response(200, content=b"in the clear")  # type: ignore[method-assign]
    with pytest.raises(PeerError, match="the service refused"):
        run(session, service, session.request(ASK, now=NOW))


@pytest.mark.parametrize(
    ("status", "content_type", "body", "error"),
    [
        (200, "text/html", b"", RemoteProtocolError),
        (422, "application/problem+json", b'{"type":"https://iana.org/assignments/http-problem-types#ohttp-key"}',
         UnknownKeyError),
        (422, "text/plain", b'{"type":"https://iana.org/assignments/http-problem-types#ohttp-key"}', PeerError),
        (400, "application/problem+json", b"not json", PeerError),
        (400, "application/problem+json", b"[]", PeerError),
        (400, "application/problem+json", b"[" * 100_000, PeerError),
        (503, "", b"", BusyError),
        (429, "", b"", BusyError),
        (404, "", b"", PeerError),
    ],
)  # fmt: skip
def test_what_the_relay_answers_outside_the_encapsulation_is_an_error(
    status: int, content_type: str, body: bytes, error: type[ConfsecError]
) -> None:
    service = Service(make_fleet(1))
    session = trusting(service)
    send = session.request(ASK, now=NOW)[1]
    assert isinstance(send, Send)
    with pytest.raises(error):
        deliver(session, send, body, status=status, content_type=content_type)


def exchange_in(state: State) -> PrivateExchange:
    service = Service(make_fleet(1))
    exchange = PrivateExchange(service.directory, service.fleet.trusted(), randbytes=seeded_randbytes("exchange"))
    if state is State.READY:
        return exchange
    answer = service.handle(exchange.encapsulate(ASK))
    if state is State.FAILED:
        with pytest.raises(RemoteProtocolError):
            exchange.receive_head(200, "text/plain")
    if state in {State.RECEIVING, State.DONE}:
        exchange.receive_head(200, CHUNKED)
        exchange.receive_data(answer)
    if state is State.DONE:
        exchange.receive_eof()
    return exchange


def oblivious_in(state: State) -> ObliviousExchange:
    service = Service(make_fleet(1))
    config = service.directory.gateway_key_configs[0]
    exchange = ObliviousExchange(config, config.suites[0], randbytes=seeded_randbytes("exchange"))
    if state is State.READY:
        return exchange
    answer = service.handle(exchange.encapsulate(Request("GET", "https", "router.example", "/v1/fleet")))
    if state is State.FAILED:
        with pytest.raises(RemoteProtocolError):
            exchange.receive_head(200, "text/plain")
    if state in {State.RECEIVING, State.DONE}:
        exchange.receive_head(200, CHUNKED)
        exchange.receive_data(answer)
    if state is State.DONE:
        exchange.receive_eof()
    return exchange


STATES = (State.READY, State.AWAITING_RESPONSE, State.RECEIVING, State.DONE, State.FAILED)


def test_every_step_in_every_state_does_what_the_table_says() -> None:
    check_all_steps(
        {state: partial(exchange_in, state) for state in STATES},
        {
            Step.ENCAPSULATE: lambda exchange: exchange.encapsulate(ASK),
            Step.RECEIVE_HEAD: lambda exchange: exchange.receive_head(200, CHUNKED),
            Step.RECEIVE: lambda exchange: exchange.receive_data(b""),
            Step.RECEIVE_EOF: lambda exchange: exchange.receive_eof(),
        },
    )
    check_all_steps(
        {state: partial(oblivious_in, state) for state in STATES},
        {
            Step.ENCAPSULATE: lambda exchange: exchange.encapsulate(ASK),
            Step.RECEIVE_HEAD: lambda exchange: exchange.receive_head(200, CHUNKED),
            Step.RECEIVE: lambda exchange: exchange.receive_data(b""),
            Step.RECEIVE_EOF: lambda exchange: exchange.receive_eof(),
        },
    )


def test_however_the_answer_is_split_it_says_the_same() -> None:
    service = Service(make_fleet(1))

    def events(size: int) -> list[PrivateEvent]:
        session = trusting(service)
        send, answer = answer_of(service, session)
        session.receive_head(send.exchange, 200, CHUNKED)
        found: list[SessionEvent] = []
        for start in range(0, len(answer), size):
            found += session.receive_data(send.exchange, answer[start : start + size])
        return private_events(found + session.receive_eof(send.exchange, now=NOW))

    whole = events(1 << 20)
    for size in (1, 7, 1000):
        split = events(size)
        content = [event.data for event in split if isinstance(event, PrivateContentReceived)]
        assert b"".join(content) == ASK.content[::-1]
        assert (split[0], split[-1]) == (whole[0], whole[-1])
