"""`confsec policy try`: what another policy would say of evidence that was seen, and which checks differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from attrs import frozen

from confsec.cli.output import console, find_policy, print_json, read_bytes, read_policy, read_root
from confsec.cli.printable import printable
from confsec.cli.proof_view import number, shortened
from confsec.errors import AppraisalError, ConfigError, ConfsecError, DecodeError
from confsec.protocol.appraisal import appraise_evidence
from confsec.protocol.binding import Mode
from confsec.protocol.checks import Check, Status
from confsec.protocol.cmw import Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.log_root import LogRoot
from confsec.protocol.manifest import Freshness
from confsec.protocol.policy import Policy
from confsec.protocol.proof import Proof, replay_proof
from confsec.protocol.service_state import read_epoch

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["Comparison", "try_command"]

_PROOF: Final = ".cbor"
_EVIDENCE: Final = ".evidence"
_ENDORSEMENTS: Final = ".endorsements"
_BEACON: Final = ".beacon"
_SHORT: Final = 8
_SHOWN: Final = 48
"""So many characters of a value are shown: beginning and end of a measurement. JSON has all."""

_STYLES: Final = {Status.PASS: "green", Status.FAIL: "bold red", Status.SKIP: "yellow", Status.INFO: "cyan"}
_ABSENT: Final = "–"


@frozen
class Comparison:
    """One thing that two policies judge: the evidence of a node, or what a Proof says of its fleet."""

    file: str
    """Where it is from."""

    node: str
    """The Node ID in hex; empty for the checks of the fleet."""

    before: tuple[Check, ...]
    """What comes of it under the policy until now."""

    after: tuple[Check, ...]
    """What comes of it under the new one."""

    accepted_before: bool
    """Whether the policy until now accepts it."""

    accepted_after: bool
    """Whether the new one does."""

    @property
    def is_lost(self) -> bool:
        """Whether it was trusted, and becomes refused."""
        return self.accepted_before and not self.accepted_after

    def changes(self, *, every: bool = False) -> tuple[tuple[Check | None, Check | None], ...]:
        """Return the checks that come out otherwise, before and after; with `every` also those that only say more."""
        before = {check.id: check for check in self.before}
        after = {check.id: check for check in self.after}
        pairs = [(before.get(name), after.get(name)) for name in dict.fromkeys((*before, *after))]
        return tuple((old, new) for old, new in pairs if _differs(old, new, every=every))

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "file": self.file,
            "node": self.node,
            "before": _verdict(accepted=self.accepted_before),
            "after": _verdict(accepted=self.accepted_after),
            "changes": [
                {"before": old.to_json() if old else None, "after": new.to_json() if new else None}
                for old, new in self.changes(every=True)
            ],
        }


def _differs(old: Check | None, new: Check | None, *, every: bool) -> bool:
    if old is None or new is None:
        return True
    return old != new if every else old.status is not new.status


def _verdict(*, accepted: bool) -> str:
    return "trusted" if accepted else "refused"


@click.command(name="try")
@click.argument("new", type=click.Path(path_type=Path), metavar="NEW.toml")
@click.option("--against", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A folder of evidence.")
@click.option(
    "--current", metavar="FILE|NAME", help="The policy until now, if it is not the one that each Proof names."
)
@click.option(
    "--root",
    "root_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The root file of the service that saved evidence is from, if its epochs are those of a log.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, with every check that says something else."
)
@click.option("--all", "every", is_flag=True, help="Show checks with the same outcome too, if they say something else.")
def try_command(
    new: Path, against: Path, current: str | None, root_file: Path | None, *, as_json: bool, every: bool
) -> int:
    """Show what would change with the policy NEW.toml, and why.

    DIR holds Proofs (NAME.cbor), or evidence as `confsec policy fetch` writes it (NAME.evidence, NAME.endorsements and
    NAME.beacon). All of it is appraised twice, each at its own time: under the policy until now, and under the new one.

    \b
    confsec policy try new.toml --against evidence/
    confsec policy try new.toml --against evidence/ --current old.toml
    confsec policy try new.toml --against evidence/ --current old.toml --root service.toml

    Exit status: 0 nothing that was trusted becomes refused, 1 something does, 2 wrong input.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    policy = read_policy(new)
    root = read_root(root_file) if root_file else None
    found = list(_compare_folder(against, _Trial(find_policy(current) if current else None, policy, root)))
    if not found:
        raise ConfigError(f"there is no evidence in {against}", want=f"NAME{_PROOF}, or NAME{_EVIDENCE} and its files")
    lost = [each for each in found if each.is_lost]
    if as_json:
        print_json({"ok": not lost, "policy": policy.name, "evidence": [each.to_json() for each in found]})
    else:
        _print(found, policy, every=every)
    return 1 if lost else 0


# --- Appraising twice -------------------------------------------------------------------------------------------------


@frozen
class _Trial:
    """What evidence is appraised under."""

    current: Policy | None
    """The policy until now; None for the one that each Proof names."""

    new: Policy
    root: LogRoot | None
    """What beacons of a log are read under."""


def _compare_folder(folder: Path, trial: _Trial) -> Iterator[Comparison]:
    """Yield everything in a folder. Raises `ConfigError` for what cannot be read."""
    try:
        files = sorted(each for each in folder.iterdir() if each.is_file())
    except OSError as exc:
        raise ConfigError(f"the folder {folder} cannot be read: {exc.strerror}") from exc
    readers = {_PROOF: _compare_proof, _EVIDENCE: _compare_evidence}
    for file in files:
        if file.suffix in readers:
            try:
                yield from list(readers[file.suffix](file, trial))
            except ConfigError:
                raise
            except ConfsecError as exc:
                raise ConfigError(f"{file} cannot be appraised: {exc}") from exc


def _compare_proof(file: Path, trial: _Trial) -> Iterator[Comparison]:
    """Yield the fleet of a Proof, then each candidate."""
    from confsec.tee.registry import POLICIES

    data = read_bytes(file, "the Proof")
    old, proof = replay_proof(data, POLICIES, policy=trial.current), replay_proof(data, POLICIES, policy=trial.new)
    policies = (old.contents.policy, trial.new)
    yield _comparison(file.name, "", (old.checks, proof.checks), policies)
    yield from _compare_nodes(file.name, old, proof, policies)


def _compare_nodes(file: str, old: Proof, new: Proof, policies: tuple[Policy, Policy]) -> Iterator[Comparison]:
    for before, after in zip(old.nodes, new.nodes, strict=True):
        yield _comparison(file, before.node_id.hex(), (before.checks, after.checks), policies)


def _compare_evidence(file: Path, trial: _Trial) -> Iterator[Comparison]:
    """Yield one node whose evidence was saved beside its endorsements and its epoch."""
    current, new = trial.current, trial.new
    if current is None:
        raise ConfigError(f"{file} does not say under which policy it was trusted", hint="Say it: --current OLD.toml")
    evidence = Evidence.decode(read_bytes(file, "the evidence"))
    beside = Endorsements.decode(read_bytes(file.with_suffix(_ENDORSEMENTS), "the endorsements"))
    epoch = _read_epoch(file.with_suffix(_BEACON), trial.root)
    expected = Freshness(Mode.EPOCH, epoch.nonce)
    old, appraised = (
        appraise_evidence(evidence, beside, expected=expected, policy=policy, at=epoch.began, root=trial.root)
        for policy in (current, new)
    )
    yield _comparison(file.name, old.node_id.hex(), (old.checks, appraised.checks), (current, new))


def _read_epoch(file: Path, root: LogRoot | None) -> Epoch:
    """Read a beacon: of the operator's clock, or of a log, which takes the root of its service."""
    beacon = read_bytes(file, "the beacon")
    try:
        return Epoch.from_beacon(beacon)
    except DecodeError as exc:
        if root is None:
            raise ConfigError(
                f"the beacon {file} is of no clock", hint="Is it a log's? Say under which --root"
            ) from exc
    return read_epoch(beacon, root)


def _comparison(
    file: str, node: str, checks: tuple[tuple[Check, ...], tuple[Check, ...]], policies: tuple[Policy, Policy]
) -> Comparison:
    before, after = (_accepts(policy, each) for policy, each in zip(policies, checks, strict=True))
    return Comparison(file, node, *checks, before, after)


def _accepts(policy: Policy, checks: Sequence[Check]) -> bool:
    try:
        policy.require(checks)
    except AppraisalError:
        return False
    return True


# --- For people -------------------------------------------------------------------------------------------------------


def _print(found: Sequence[Comparison], policy: Policy, *, every: bool) -> None:
    from rich.text import Text

    out = console()
    for each in found:
        changes = each.changes(every=every)
        out.print(_heading(each, has_changes=bool(changes)))
        if changes:
            out.print(_table(each, changes))
    lost = sum(each.is_lost for each in found)
    won = sum(each.accepted_after and not each.accepted_before for each in found)
    verdict = (
        (f"{lost} would be refused", "bold red") if lost else ("nothing that was trusted is refused", "bold green")
    )
    count = f"{number(len(found), 'appraisal')} under {printable(policy.name)}: "
    out.print(Text.assemble(count, verdict, f", {won} would be trusted that was not." if won else "."))


def _heading(each: Comparison, *, has_changes: bool) -> Text:
    from rich.text import Text

    what = printable(each.file) + (f"  node {each.node[: 2 * _SHORT]}…" if each.node else "  the fleet")
    before, after = _verdict(accepted=each.accepted_before), _verdict(accepted=each.accepted_after)
    style = "bold red" if each.is_lost else "bold green" if each.accepted_after else "yellow"
    told = after if before == after else f"{before} → {after}"
    return Text.assemble((what, "bold"), "  ", (told, style), "" if has_changes else "  the same checks pass and fail")


def _table(each: Comparison, changes: Iterable[tuple[Check | None, Check | None]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("node", "check", "before", "after"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"node", "before", "after"})
    table.add_column("want and got", overflow="fold", ratio=1)
    node = f"{each.node[:_SHORT]}…" if each.node else _ABSENT
    for old, new in changes:
        said = new or old
        name = Text(printable(said.id) if said else "")
        table.add_row(node, name, _status(old), _status(new), _compared(said))
    return table


def _status(check: Check | None) -> Text:
    from rich.text import Text

    return Text(check.status.value, style=_STYLES[check.status]) if check else Text(_ABSENT)


def _compared(check: Check | None) -> Text:
    """Return what was wanted and found, or the reason where nothing was compared."""
    from rich.text import Text

    if check is None:
        return Text("")
    values = [(name, value) for name, value in (("want", check.want), ("got", check.got)) if value]
    lines = [f"{name:4} {shortened(printable(value), _SHOWN)}" for name, value in values]
    return Text("\n".join(lines) or printable(check.why))
