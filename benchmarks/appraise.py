"""Appraising evidence: what it costs over the signatures in it, and beside other verifiers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from types import ModuleType
from typing import Any, Final

from benchmarks.appraise_cases import Case, node_appraisal, node_case, real_snp, real_tdx, session_lookup, tdx_sample
from benchmarks.measure import Contender, Plan, Timings, measure, spread_of, timed
from benchmarks.peers import Peers
from benchmarks.report import Report, Row, at_most, cost
from tests.interop.peers import PeerError

__all__ = ["clear_caches", "run"]

_RAW: Final = "bare signatures"
_COLD: Final = "cold"
_CACHED: Final = "cached"
_NODE_COLD: Final = "node, cold"
_NODE_CACHED: Final = "node, cached"
_ORACLE: Final = "dcap-qvl"

RAW_GOAL: Final = at_most(2)
ORACLE_GOAL: Final = at_most(1.5)

_SIGNATURES: Final = {
    "sev-snp": "Three by AMD with RSA-PSS of 4096 bits (intermediate, chip, revocation list), ECDSA P-384 by the chip.",
    "tdx": "Nine of ECDSA P-256: PCK chain 2, revocation lists 2, TCB info and QE identity 3 with their signer, QE and "
    "quote 2.",
    "tpm": "ECDSA: the AK's chain 2, one of them P-384, quote 1, certified key 1.",
}
_CACHED_NOTE: Final = (
    "What vendors signed is remembered as right, and read, from another node or the epoch before; times are compared, "
    "and what the TEE itself signed is read and verified, each time."
)
_NODE_NOTE: Final = "appraise_node, from the bytes that a client fetched: simulated, with event log and binding graph."
_ORACLE_NOTE: Final = (
    "dcap_qvl.verify, in Rust: the same chains, lists, signatures and TCB levels; it demands nothing of the TD, and "
    "its collateral was parsed from JSON before."
)
_GO_NOTES: Final = {
    "sev-snp": "From the report's bytes on. Its ASK and ARK are built in; the same four signatures and the root's own.",
    "tdx": "From the quote's bytes on, collateral from memory; the same signatures. No level of the TCB info is "
    "reached, so both refuse it at the end. It refuses today's collateral before that, for its capitals in the FMSPC.",
}
_SESSION_NOTE: Final = (
    "A session appraises a node once in an epoch: this is what it does when the node is listed again."
)


def run(plan: Plan, peers: Peers) -> Report:
    """Measure every kind of evidence, from real machines where the shared vectors are."""
    rows: list[Row] = []
    for tee, case in _cases().items():
        rows += _verifier_rows(tee, case, plan, _others(tee, case, peers))
    rows += _sample_rows(plan, peers)
    for tee in ("sev-snp", "tdx", "tpm"):
        rows += _node_rows(tee, plan)
    rows.append(_session_row(plan))
    return Report(
        name="appraise",
        title="the evidence of one node, cold and with what a client remembers",
        rows=tuple(rows),
        missing=peers.take_missing(),
    )


def _cases() -> dict[str, Case]:
    return {
        "sev-snp": real_snp() or node_case("sev-snp")[1],
        "tdx": real_tdx() or node_case("tdx")[1],
        "tpm": node_case("tpm")[1],
    }


def _verifier_rows(tee: str, case: Case, plan: Plan, others: Mapping[str, Contender]) -> Iterator[Row]:
    ours = {_COLD: _cold(case.verify), _CACHED: timed(case.verify), _RAW: timed(case.verify_signatures)}
    timings = measure({**ours, **others}, plan)
    yield cost(f"{case.name}, cold", timings, _RAW, ours=_COLD, goal=RAW_GOAL, note=_SIGNATURES[tee])
    yield cost(f"{case.name}, cached", timings, _RAW, ours=_CACHED, goal=RAW_GOAL, note=_CACHED_NOTE)
    yield from _beside(tee, case, timings, others)


def _beside(tee: str, case: Case, timings: Timings, others: Mapping[str, Contender]) -> Iterator[Row]:
    for name in others:
        if name == _ORACLE:
            yield cost(f"{case.name}, cold", timings, name, ours=_COLD, goal=ORACLE_GOAL, note=_ORACLE_NOTE)
            yield cost(f"{case.name}, cached", timings, name, ours=_CACHED, goal=ORACLE_GOAL, note=_ORACLE_NOTE)
        else:
            yield cost(f"{case.name}, cold", timings, name, ours=_COLD, note=_GO_NOTES[tee])


def _others(tee: str, case: Case, peers: Peers) -> dict[str, Contender]:
    """Return who else verifies this evidence: only that of real machines, whose roots they trust."""
    if tee == "tpm":
        return {}
    if not case.parts:
        peers.missing[f"other verifiers of {tee}"] = "the shared vectors are not there, and no root of ours is theirs"
        return {}
    if tee == "tdx":
        return _oracle(case, peers)
    return _steps(tee, case, peers)


def _steps(tee: str, case: Case, peers: Peers, *, refusal: str = "") -> dict[str, Contender]:
    peer = peers.appraiser(tee)
    if peer is None:
        return {}
    try:
        return peer.contenders(case.parts, case.request.at, refusal=refusal)
    except PeerError as exc:
        peers.missing[f"{peer.name}, {case.name}"] = str(exc)
        return {}


def _sample_rows(plan: Plan, peers: Peers) -> Iterator[Row]:
    """Compare with go-tdx-guest on its own sample: it refuses collateral as Intel writes it today.

    The sample's platform reaches no TCB level. So both refuse it in the end, when they have checked all signatures.
    """
    peer = peers.appraiser("tdx")
    if peer is None:
        return
    case = tdx_sample(peer.sample())
    others = _steps("tdx", case, peers, refusal="no matching TCB level")
    timings = measure({_COLD: _cold(case.verify), **others}, plan)
    yield from _beside("tdx", case, timings, others)


def _oracle(case: Case, peers: Peers) -> dict[str, Contender]:
    try:
        dcap_qvl: ModuleType | Any = importlib.import_module("dcap_qvl")
    except ImportError as exc:
        peers.missing[_ORACLE] = str(exc)
        return {}
    collateral = dcap_qvl.QuoteCollateralV3.from_json(case.parts["collateral"].decode())
    quote, at = case.parts["quote"], int(case.request.at.timestamp())
    return {_ORACLE: timed(lambda: dcap_qvl.verify(quote, collateral, at))}


def _node_rows(tee: str, plan: Plan) -> Iterator[Row]:
    node, case = node_case(tee)
    appraise = node_appraisal(node)
    timings = measure(
        {_NODE_COLD: _cold(appraise), _NODE_CACHED: timed(appraise), _RAW: timed(case.verify_signatures)}, plan
    )
    yield cost(f"a whole node, {tee}, cold", timings, _RAW, ours=_NODE_COLD, note=_NODE_NOTE)
    yield cost(f"a whole node, {tee}, cached", timings, _RAW, ours=_NODE_CACHED, note=_NODE_NOTE)


def _session_row(plan: Plan) -> Row:
    timings: Timings = measure({"ours": timed(session_lookup())}, plan)
    return Row(
        what="a node that the session knows", ours=spread_of(timings["ours"]).median, unit="s", note=_SESSION_NOTE
    )


# --- With nothing remembered ------------------------------------------------------------------------------------------


def _cold(work: Callable[[], object]) -> Contender:
    """Make a contender that has forgotten everything before each piece of work; forgetting takes no time."""
    clear = _clearers()

    def run(iterations: int) -> float:
        seconds = 0.0
        for _ in range(iterations):
            for each in clear:
                each()
            begin = perf_counter()
            work()
            seconds += perf_counter() - begin
        return seconds

    return run


def clear_caches() -> None:
    """Forget all that any function of the library remembers."""
    for clear in _clearers():
        clear()


def _clearers() -> tuple[Callable[[], None], ...]:
    modules = [module for name, module in sys.modules.items() if name.startswith("confsec.")]
    found = {id(each): each for module in modules for each in vars(module).values() if hasattr(each, "cache_clear")}
    return tuple(each.cache_clear for each in found.values())
