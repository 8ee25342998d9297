"""What somebody who has only a Proof can conclude from it, and what he cannot: the same words on every page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from confsec.cli.proof_view import Judgement, number, utc, warning_of
from confsec.protocol.checks import Status
from confsec.protocol.service_logs import ServiceLogs

__all__ = ["Conclusions", "conclusions"]

_NAMED: Final = 4
"""So many checks that refused are named."""

_NOT_ANSWERS: Final = (
    "That a request was sealed, what it was, or what was answered: client and node share the keys of an answer, so a "
    "client could have written any answer himself."
)


@frozen
class Conclusions:
    """What somebody who has only the file can say, and what he cannot."""

    can: tuple[str, ...]
    cannot: tuple[str, ...]


def conclusions(judgement: Judgement) -> Conclusions:
    """Return what a stranger can conclude from a Proof that replays, and what he cannot."""
    count = len(judgement.proof.candidates)
    these = f"{'this' if count == 1 else 'these'} {number(count, 'node')}"
    can = (
        "The file is whole: every check that it records was computed again from what it holds, with the same result.",
        f"Whoever made it had a fleet record that names {these}, and could have sealed a request that they can read.",
    )
    return Conclusions((*can, *_about_logs(judgement), *_about_machines(judgement)), _limits(judgement))


def _about_logs(judgement: Judgement) -> Iterator[str]:
    """Say what the witnesses of the root stand for, as far as it came out."""
    logs, statuses = judgement.proof.contents.logs, _statuses(judgement)
    if logs is None:
        return
    root = f"{logs.root.name}, whose root has the digest {logs.root.digest.hex()}"
    if statuses["log.directory"] is Status.PASS:
        known = logs.directory.in_effect.known_since
        yield (
            f"By {utc(known)} a quorum of witnesses had seen the directory of {root}: whoever reads its log under this "
            "root is shown the same one."
        )
    if statuses["log.fleet"] is Status.PASS:
        known, witnesses = logs.fleet_in_effect.checkpoint.known_since, _names(logs)
        yield (
            f"By {utc(known)} a quorum of witnesses ({witnesses}) had seen the fleet, too: whoever asked in this epoch "
            "was shown the same nodes."
        )
    if statuses["freshness.epoch"] is Status.PASS:
        began, unshown = utc(judgement.proof.contents.epoch.began), warning_of(judgement.proof, judgement.named)[0]
        what = "The fleet record is" if unshown else "Fleet record and evidence are"
        yield f"{what} of {began} or later: before, nobody knew what the epoch is named by."


def _names(logs: ServiceLogs) -> str:
    return ", ".join(logs.fleet_in_effect.checkpoint.cosigners)


def _about_machines(judgement: Judgement) -> tuple[str, ...]:
    """Return what was shown of the machines; nothing, unless real evidence was accepted."""
    if not judgement.trusted or warning_of(judgement.proof, judgement.named)[0]:
        return ()
    platforms = ", ".join(sorted({node.platform.name for node in judgement.proof.nodes if node.platform}))
    held = f"Each key was held by a machine ({platforms}) that its vendor vouches for and that had booted"
    return (
        f"{held} what the policy names.",
        f"At {utc(judgement.at)} certificates, revocation lists and firmware were as the policy asks.",
    )


def _limits(judgement: Judgement) -> tuple[str, ...]:
    return (*_refusals(judgement), *_machine_limits(judgement), *_log_limits(judgement))


def _refusals(judgement: Judgement) -> Iterator[str]:
    if (error := judgement.other_root) is not None:
        yield f"That it is about the service that you mean: {error.what}."
    if judgement.refusal is not None:
        codes = tuple(dict.fromkeys(judgement.refusal.codes))
        refused = ", ".join(codes[:_NAMED]) + (" and others" if len(codes) > _NAMED else "")
        yield f"That the nodes deserve trust under the policy {judgement.policy.name}: {refused} refused it."


def _machine_limits(judgement: Judgement) -> Iterator[str]:
    unshown = warning_of(judgement.proof, judgement.named)[0]
    if unshown:
        yield "Anything about the machines: where they are, what they run, or who holds their keys."
    yield _NOT_ANSWERS
    if not unshown and judgement.trusted:
        yield "That the measured software is good: the policy names it, and somebody else has to have read it."


def _log_limits(judgement: Judgement) -> Iterator[str]:
    """Say what no log shows here, and what has to be compared by hand."""
    statuses, named = _statuses(judgement), judgement.named_root.hex()
    if statuses["freshness.epoch"] is Status.SKIP:
        yield "How old it is: only the operator's own clock dates the epoch."
    if statuses["log.directory"] is Status.SKIP:
        yield "That others were shown the same directory: it is in no public log."
    if statuses["log.fleet"] is Status.SKIP:
        yield "That others were shown the same fleet: the record is in no public log."
    if named and not judgement.root:
        yield f"That this root is the right one: compare its digest with yours, {named} (confsec verify --root FILE)."
    if named and statuses["log.root"] is Status.SKIP:
        yield "That anybody had time to notice a directory before it took effect: the root leaves none."
    if named:
        yield "That the witnesses are honest: a quorum of them that lies together can show somebody a log of his own."


def _statuses(judgement: Judgement) -> dict[str, Status]:
    return {check.id: check.status for check in judgement.proof.checks}
