"""What `confsec statement verify` asks of a statement, and what it says was checked and what was not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from attrs import evolve, frozen

from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.cli.statement_inputs import hash_file, hash_folder
from confsec.errors import ConfigError, TransparencyError
from confsec.protocol.predicates import KeyConfigurations, ModelDigests
from confsec.protocol.statement_policy import StatementPolicy, VerifiedStatement
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_logged
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["Logged", "Question", "Verdict", "verify_statement"]


@frozen
class Logged:
    """What shows that a log has the statement."""

    proof: bytes
    """A tlog-proof."""

    witnesses: WitnessPolicy
    origin: str

    memory: Path | None
    """The file that remembers what this log proved before."""


@frozen(kw_only=True)
class Question:
    """What is asked about a statement."""

    envelope: bytes
    predicate_type: str
    policy: StatementPolicy
    at: datetime
    logged: Logged | None
    files: Sequence[Path]


@frozen
class Verdict:
    """A statement that was verified, and by what. There is none for a statement that was refused."""

    verified: VerifiedStatement
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]


async def verify_statement(question: Question) -> Verdict:
    """Verify a statement. Raises `VerificationError` for one that is refused, `DecodeError` and `ConfigError`."""
    logged = question.logged
    if logged is None or logged.memory is None:
        return _verify(question, None)
    memory = SqliteTrustedLogs(logged.memory)
    await memory.open()
    try:
        revoked = await memory.revoked(logged.origin)
        policy = evolve(question.policy, revoked=question.policy.revoked | revoked)
        verdict = _verify(evolve(question, policy=policy), logged.memory)
        await memory.admit(verdict.verified, origin=logged.origin)
    finally:
        await memory.aclose()
    return verdict


def _verify(question: Question, memory: Path | None) -> Verdict:
    verified = question.policy.verify(question.envelope, predicate_type=question.predicate_type, at=question.at)
    checked = [
        *_said(verified, question.policy, question.at),
        *([_logged(question.envelope, question.logged)] if question.logged else []),
        *([_newest(memory)] if memory else []),
        *(_matched(verified, path) for path in question.files),
    ]
    return Verdict(verified, tuple(checked), tuple(_left(verified, question, memory)))


def _said(verified: VerifiedStatement, policy: StatementPolicy, at: datetime) -> list[str]:
    rule, predicate = policy.rules[verified.statement.predicate_type], verified.predicate
    who = ", ".join(signer.name for signer in verified.signers)
    until = (
        "until it is replaced or revoked" if predicate.valid_until is None else f"until {_utc(predicate.valid_until)}"
    )
    age = "" if rule.max_age is None else f"; the policy takes it {rule.max_age} after it was issued at most"
    about = "of anything" if rule.subject_names is None else f"of {_names(verified)}"
    return [
        f"signed by {who}; the policy wants {rule.threshold} of {len(rule.signers)}, and lets them say it {about}",
        f"issued {_utc(predicate.issued)}, and holds {until}{age}; looked at {_utc(at)}",
        f"neither it, its subjects nor its signers are among {len(policy.revoked)} revoked digests that are known here",
    ]


def _logged(envelope: bytes, logged: Logged) -> str:
    proof = TlogProof.decode(logged.proof)
    cosigned = verify_logged(envelope, proof, logged.witnesses, origin=logged.origin)
    return (
        f"entry {proof.index} of {logged.origin}, in its tree of {cosigned.checkpoint.size}; cosigned by "
        f"{', '.join(cosigned.cosigners)}; a quorum of witnesses knew that tree by {_utc(cosigned.known_since)}"
    )


def _newest(memory: Path) -> str:
    return f"not older than any that {memory} remembers; it is remembered now"


def _matched(verified: VerifiedStatement, path: Path) -> str:
    """Say which subject a file is, or that a folder is the model. Raises `TransparencyError` if it is not."""
    if path.is_dir():
        return _matched_model(verified, path)
    digest = hash_file(path)
    for subject in verified.statement.subjects:
        if subject.digest == digest:
            return f"{path} is its subject {subject.name}"
    raise TransparencyError("the statement is not about this file", got=str(path), want=_names(verified))


def _matched_model(verified: VerifiedStatement, folder: Path) -> str:
    model = verified.predicate
    if not isinstance(model, ModelDigests):
        raise ConfigError(f"{folder} is a folder, and the statement is not about a model")
    if hash_folder(folder, model.ignored) != model.files:
        raise TransparencyError("the folder has other files than the model", got=str(folder), want=_names(verified))
    ignored = f", and what is in {', '.join(model.ignored)} counts for nothing" if model.ignored else ""
    return f"{folder} has the {len(model.files)} files of {_names(verified)}{ignored}"


def _left(verified: VerifiedStatement, question: Question, memory: Path | None) -> list[str]:
    left = ["whether what it says is true: its signers say so"]
    if question.logged is None:
        left.append("whether a log has it: it may have been made for you alone (--proof)")
    if not memory:
        left.append("revocations that the policy file does not list (--memory)")
        if verified.newest_only:
            left.append("whether a newer one took its place, though only the newest counts (--memory)")
    if question.logged is not None:
        left.append("whether the log goes on from what was seen of it before, and what came after (confsec log check)")
    if isinstance(verified.predicate, KeyConfigurations) and question.at < verified.predicate.valid_from:
        left.append(f"whether its keys are used too early: they begin {_utc(verified.predicate.valid_from)}")
    if not question.files:
        left.append("whether what you have is what it is about: compare the digests (--file)")
    return left


def _names(verified: VerifiedStatement) -> str:
    names = verified.names
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _utc(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
