"""`confsec root`: the root file of a service, which its clients pin: what it says, and making one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from confsec.cli.duration import DURATION
from confsec.cli.output import console, print_json, read_bytes, read_root, write_bytes
from confsec.cli.printable import printable
from confsec.errors import ConfigError
from confsec.protocol import statement_rules
from confsec.protocol.log_root import DirectoryLog, FleetLog, LogRoot
from confsec.protocol.statement_policy import StatementRule
from confsec.protocol.witness_policy import WitnessPolicy

if TYPE_CHECKING:
    from rich.tree import Tree

__all__ = ["command"]

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_COMPARE: Final = "compare this digest with others: whoever has another root speaks with another service"


@click.group(name="root")
def command() -> None:
    """Look into the root file of a service, and make one.

    The root names the logs of a service, their witnesses, and who may speak of it. Clients pin it.

    \b
    confsec root show service.toml
    """  # noqa: D301 - click keeps lines as they are after a backspace


# --- show -------------------------------------------------------------------------------------------------------------


@command.command(name="show")
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(file: Path, *, as_json: bool) -> None:
    """Show what the root in FILE says, and its digest.

    \b
    confsec root show service.toml
    """  # noqa: D301 - click keeps lines as they are after a backspace
    root = read_root(file)
    if as_json:
        print_json(_to_json(root))
    else:
        console().print(_tree(root), soft_wrap=True)


def _to_json(root: LogRoot) -> dict[str, object]:
    witnesses = root.witnesses
    return {
        "name": root.name,
        "digest": root.digest.hex(),
        "directory": _log_json(root.directory)
        | {
            "maximum_age": _seconds(root.directory.maximum_age),
            "activation_delay": _seconds(root.directory.activation_delay),
            "minimum_validity": _seconds(root.directory.minimum_validity),
        },
        "fleet": _log_json(root.fleet) | {"epoch": _seconds(root.fleet.epoch)},
        "artifacts": {"origin": root.artifacts} if root.artifacts else None,
        "witnesses": [{"name": each.name, "key": each.key.encode()} for each in witnesses.witnesses],
        "groups": [
            {"name": each.name, "threshold": each.threshold, "members": list(each.members)} for each in witnesses.groups
        ],
        "quorum": witnesses.quorum,
        "statements": {
            type_: {"signers": [signer.name for signer in rule.signers], "threshold": rule.threshold}
            for type_, rule in root.statements.rules.items()
        },
        "hasty": list(root.hasty),
    }


def _log_json(log: DirectoryLog | FleetLog) -> dict[str, object]:
    return {"origin": log.origin, "url": log.url}


def _seconds(time: timedelta) -> int:
    return int(time.total_seconds())


def _tree(root: LogRoot) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text.assemble("the root of ", (printable(root.name), "bold")))
    tree.add(Text(f"SHA-256 {root.digest.hex()}\n{_COMPARE}"))
    for heading, lines in (
        ("logs", _logs(root)),
        ("witnesses", _witnesses(root.witnesses)),
        ("who may speak", _rules(root)),
        ("time to notice", _delays(root)),
    ):
        branch = tree.add(Text(heading, "bold"))
        for line in lines:
            branch.add(Text(printable(line)))
    for each in root.hasty:
        tree.add(Text(f"HASTY: {each}. Nobody can object in time; the check log.root says so", "bold yellow"))
    return tree


def _logs(root: LogRoot) -> Iterator[str]:
    yield f"directories: {root.directory.origin} at {root.directory.url}"
    yield f"fleets: {root.fleet.origin} at {root.fleet.url}, an epoch each {root.fleet.epoch}"
    if root.artifacts:
        yield f"images and models: {root.artifacts}"


def _witnesses(policy: WitnessPolicy) -> Iterator[str]:
    yield f"a checkpoint counts if {policy.quorum} cosigned it"
    for group in policy.groups:
        yield f"{group.name}: {group.threshold} of {', '.join(group.members)}"
    for witness in policy.witnesses:
        kind = witness.key.type.name.removesuffix("_COSIGNATURE").replace("_", "-")
        yield f"{witness.name}: {witness.key.name}, {kind}"


def _rules(root: LogRoot) -> Iterator[str]:
    for type_, rule in root.statements.rules.items():
        yield f"{type_}: {_signers(rule)}" + (f", about {', '.join(_subjects(rule))}" if rule.subject_names else "")


def _signers(rule: StatementRule) -> str:
    return f"{rule.threshold} of {', '.join(signer.name for signer in rule.signers)}"


def _subjects(rule: StatementRule) -> list[str]:
    return sorted(rule.subject_names or ())


def _delays(root: LogRoot) -> Iterator[str]:
    directory = root.directory
    yield f"a directory takes effect {directory.activation_delay} after a quorum saw it"
    yield f"each directory is the newest for {directory.minimum_validity} or longer"
    yield f"the witnesses' word for the log of directories is at most {directory.maximum_age} old"


# --- make -------------------------------------------------------------------------------------------------------------


@command.command(name="make")
@click.option("--name", required=True, help="The service, as statements call it.")
@click.option(
    "--witnesses", type=_FILE, required=True, metavar="FILE", help="Logs, witnesses and quorum (C2SP tlog-policy)."
)
@click.option("--statements", type=_FILE, required=True, metavar="FILE", help="Who may say what (TOML).")
@click.option("--directory", nargs=2, required=True, metavar="ORIGIN URL", help="The log of directories.")
@click.option("--fleet", nargs=2, required=True, metavar="ORIGIN URL", help="The log of fleets.")
@click.option("--artifacts", default="", metavar="ORIGIN", help="The log of images and models, if there is one.")
@click.option("--epoch", type=DURATION, default="10m", show_default=True, help="How long an epoch lasts.")
@click.option(
    "--maximum-age",
    type=DURATION,
    default="1d",
    show_default=True,
    help="How old the witnesses' word for the log of directories may be.",
)
@click.option(
    "--activation-delay",
    type=DURATION,
    default="1h",
    show_default=True,
    help="How long after it was seen a directory takes effect.",
)
@click.option(
    "--minimum-validity",
    type=DURATION,
    default="1d",
    show_default=True,
    help="How long each directory is the newest.",
)
@click.option("--out", type=_FILE, required=True, metavar="FILE", help="Where to write the root.")
def make(  # noqa: PLR0913 - one for each option
    *,
    name: str,
    witnesses: Path,
    statements: Path,
    directory: tuple[str, str],
    fleet: tuple[str, str],
    artifacts: str,
    epoch: timedelta,
    maximum_age: timedelta,
    activation_delay: timedelta,
    minimum_validity: timedelta,
    out: Path,
) -> None:
    """Write a root file from its parts, and print its digest.

    \b
    confsec root make --name service.example --witnesses policy.txt --statements statements.toml \\
      --directory directories.example/log https://directories.example/ \\
      --fleet fleets.example/log https://fleets.example/ --out service.toml

    Publish file and digest in as many places as you can: nothing checks a root but people who compare it. Another root
    is another service, so a FILE that is there already is left alone.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    root = LogRoot(
        name=name,
        witnesses=WitnessPolicy.decode(read_bytes(witnesses, "the witness policy")),
        directory=DirectoryLog(
            origin=directory[0],
            url=directory[1],
            maximum_age=maximum_age,
            activation_delay=activation_delay,
            minimum_validity=minimum_validity,
        ),
        fleet=FleetLog(origin=fleet[0], url=fleet[1], epoch=epoch),
        artifacts=artifacts,
        statements=statement_rules.from_toml(_text(statements)),
    )
    root = LogRoot.from_toml(root.to_toml())  # what is written can be read, with its limits
    if out.exists():
        raise ConfigError(f"{out} is there already", hint="Write another file, and compare them")
    write_bytes(out, root.to_toml().encode(), "the root")
    console().print(f"{out}: the root of {root.name}, SHA-256 {root.digest.hex()}", markup=False, soft_wrap=True)
    for each in root.hasty:
        console(stderr=True).print(f"hasty: {each}", style="yellow", markup=False, soft_wrap=True)


def _text(file: Path) -> str:
    try:
        return read_bytes(file, "the statement policy").decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the statement policy {file} is not text in UTF-8") from exc
