"""`confsec demo`: the whole service on this machine, one question through it, and attacks on it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from attrs import frozen

from confsec.cli.output import console, print_json, proof_tree, run_async, write_bytes
from confsec.demo.tees import DEMO_TEES, choose_demo_tee
from confsec.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from confsec.client import Client
    from confsec.demo.attacks import Outcome
    from confsec.demo.run import Hop, Turn
    from confsec.demo.service import DemoService

__all__ = ["command"]

_PROMPT: Final = "What would you tell nobody?"
_SECOND_PROMPT: Final = "And after the epoch has turned?"
_EPOCH: Final = 5
"""Seconds: short, so that a run sees one turn over."""


@frozen(kw_only=True)
class _Options:
    prompt: str
    engine: str
    model: str
    proof: Path | None
    tamper: tuple[str, ...]
    tee: str
    as_json: bool


@click.command(name="demo")
@click.argument("names", nargs=-1)
@click.option("--prompt", default=_PROMPT, show_default=True, help="What to ask.")
@click.option("--engine", default="", metavar="URL", help="An OpenAI-compatible engine instead of the embedded one.")
@click.option("--model", default="", metavar="FILE", help="A GGUF file for the embedded llama.cpp.")
@click.option("--proof", type=click.Path(path_type=Path), metavar="FILE", help="Write the Proof to FILE.")
@click.option("--tamper", metavar="all|NAME…", help="Attack the running service, and show what stands in the way.")
@click.option(
    "--tee",
    type=click.Choice(DEMO_TEES),
    default="auto",
    show_default=True,
    help="What the nodes attest with: a software TPM each (swtpm), if it is here, or simulated TEEs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    names: tuple[str, ...],
    prompt: str,
    engine: str,
    model: str,
    proof: Path | None,
    tamper: str | None,
    tee: str,
    *,
    as_json: bool,
) -> int:
    """Run the whole service on this machine and send a prompt through it.

    Relay, gateway, router and three nodes run in processes of their own on loopback. Every wire between them is
    tapped, so what the table says that a role saw was read off its wire. The nodes' keys turn over in mid-run.

    \b
    confsec demo
    confsec demo --prompt "Who am I?" --proof proof.cbor
    confsec demo --tamper all
    confsec demo --tamper changed-chunk replay

    Exit status: 0 only if all went well; with --tamper, only if every attack was refused.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    chosen = _chosen_attacks(tamper, names)
    if not prompt.strip():
        raise ConfigError("the prompt is empty", hint="Say something: --prompt TEXT")
    options = _Options(prompt=prompt, engine=engine, model=model, proof=proof, tamper=chosen, tee=tee, as_json=as_json)
    return run_async(lambda: _demo(options))


def _chosen_attacks(tamper: str | None, names: tuple[str, ...]) -> tuple[str, ...]:
    from confsec.demo.attacks import ATTACKS

    known = tuple(attack.name for attack in ATTACKS)
    if tamper is None:
        if names:
            raise ConfigError(f"what is {names[0]!r}?", hint="Names of attacks follow --tamper")
        return ()
    asked = (*tamper.split(","), *names)
    if "all" in asked:
        return known
    for name in asked:
        if name not in known:
            raise ConfigError(f"there is no attack {name!r}", want=f"all, or of: {', '.join(known)}")
    return asked


def _check(options: _Options) -> None:
    """Find out before anything starts what would only come out in a process of its own, or at the end."""
    for package, extra in (("uvicorn", "server"), ("httptools", "server"), ("xllamacpp", "engine")):
        if find_spec(package) is None and not (options.engine and extra == "engine"):
            raise MissingExtraError(package, extra=extra)
    if options.model and not Path(options.model).is_file():
        raise ConfigError(f"the model {options.model} is not there", hint="Name a GGUF file")
    if options.proof and not options.proof.parent.is_dir():
        raise ConfigError(f"the Proof cannot be written: there is no folder {options.proof.parent}")


async def _demo(options: _Options) -> int:
    from confsec.demo.service import DemoSettings, start_demo

    _check(options)
    tee, told = choose_demo_tee(options.tee)
    settings = DemoSettings(
        tokens=True, engine=options.engine, model=options.model, epoch=600 if options.tamper else _EPOCH, tee=tee
    )
    out = console(stderr=options.as_json)
    if options.engine:
        await _check_engine(options.engine)
    out.print(f"{told}\n", markup=False, highlight=False)
    with tempfile.TemporaryDirectory(prefix="confsec-demo-") as folder:
        async with AsyncExitStack() as stack:
            with out.status("starting two logs, three witnesses, relay, gateway, router and three nodes…"):
                service = await stack.enter_async_context(start_demo(Path(folder), settings))
            return await (_tamper if options.tamper else _converse)(service, options, out)


async def _check_engine(url: str) -> None:
    """Raise `EngineError` at once if nobody is there: the router would only say that it found no node."""
    from confsec.backends.openai_http import open_openai_http

    engine = open_openai_http(url)
    try:
        await engine.check()
    finally:
        await engine.aclose()


# --- A conversation ---------------------------------------------------------------------------------------------------


async def _converse(service: DemoService, options: _Options, out: Console) -> int:
    from confsec.demo.run import ask, choose_model, fetch_tokens, new_client

    def show(text: str) -> None:
        if not options.as_json:
            out.print(text, end="", markup=False)

    logging.getLogger("confsec.client").setLevel(logging.ERROR)
    async with new_client(service) as client:
        issued = await fetch_tokens(service, client)
        if client.first_contact:
            show("first contact with this service: its root file alone vouches for its logs\n\n")
        model = await choose_model(client)
        show(f"you  {options.prompt}\n{model} ")
        turn = await ask(service, client, model, options.prompt, show)
        show("\n\n")
        await _ask_after_the_turn(service, client, model, out)
    if options.proof:
        write_bytes(options.proof, turn.info.proof.encode(), "the Proof")
    if options.as_json:
        print_json(_to_json(turn, issued))
    else:
        _show(turn, issued, options, out)
    return 0


async def _ask_after_the_turn(service: DemoService, client: Client, model: str, out: Console) -> None:
    """Wait until the nodes have new keys, and ask again with what the client knew before."""
    from confsec.demo.run import ask

    with out.status("waiting for the epoch to turn…"):
        await service.wait_for_next_epoch()
    await ask(service, client, model, _SECOND_PROMPT)


def _to_json(turn: Turn, issued: Sequence[Hop]) -> dict[str, object]:
    return {
        "answer": turn.answer,
        "hops": [hop.to_json() for hop in (*issued, *turn.hops)],
        "proof": {"verdict": "trusted", **turn.info.proof.to_json()},
        "timings": {
            "first_token_ms": round(turn.timings.first_token_ms, 3),
            "total_ms": round(turn.timings.total_ms, 3),
            "pieces": turn.timings.pieces,
        },
    }


def _show(turn: Turn, issued: Sequence[Hop], options: _Options, out: Console) -> None:
    out.print(_path_table((*issued, *turn.hops)))
    out.print(
        f"first text after {turn.timings.first_token_ms:.1f} ms, {turn.timings.pieces} pieces in "
        f"{turn.timings.total_ms:.1f} ms; then the epoch turned, the nodes' keys with it, and the next question "
        "was answered all the same\n"
    )
    out.print(proof_tree(turn.info.proof))
    if options.proof:
        out.print(f"\nThe Proof is in {options.proof}. Check it with: confsec verify {options.proof}", markup=False)
    else:
        out.print("\nTo keep the Proof:  confsec demo --proof proof.cbor")
    out.print("To attack all this: confsec demo --tamper all")


def _path_table(hops: Sequence[Hop]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title="who saw what, read off the wires", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    for column in ("hop", "in", "out", "after", "client", "account", "token", "prompt", "answer"):
        table.add_column(column, justify="right" if column in {"in", "out", "after"} else "left")
    for hop in hops:
        seen = [hop.saw_client, hop.saw_account, hop.saw_token, hop.saw_prompt, hop.saw_answer]
        table.add_row(
            hop.name,
            f"{hop.bytes_in:,} B",
            f"{hop.bytes_out:,} B",
            f"{hop.first_byte_ms:.1f} ms",
            *(_mark(saw, expected=expected) for saw, expected in zip(seen, _EXPECTED[hop.name], strict=True)),
        )
    table.add_row("engine", "", "", "", *["[green]no[/]"] * 3, "yes", "yes")
    return table


_EXPECTED: Final = {
    "issuer-gateway": (False, True, False, False, False),
    "issuer": (False, True, False, False, False),
    "relay": (True, False, False, False, False),
    "gateway": (False, False, True, False, False),
    "router": (False, False, True, False, False),
    "node": (False, False, False, False, False),
}
"""What each role sees by design: client, account, token, prompt, answer."""


def _mark(saw: bool, *, expected: bool) -> str:  # noqa: FBT001 - it is what is shown
    if saw:
        return "yes" if expected else "[bold red]YES[/]"
    return "[green]no[/]"


# --- Attacks ----------------------------------------------------------------------------------------------------------


async def _tamper(service: DemoService, options: _Options, out: Console) -> int:
    from confsec.demo.attacks import ATTACKS, Target, run_attack
    from confsec.demo.run import chat_request, choose_model, new_client

    # Each attack meets a client that has seen nothing yet; to say so once is enough.
    logging.getLogger("confsec.client").setLevel(logging.ERROR)
    async with new_client(service) as client:
        model = await choose_model(client)
    outcomes: list[Outcome] = []
    async with Target(service, chat_request(model, options.prompt, max_tokens=8)) as target:
        await target.ask()  # what is attacked has to work
        for attack in ATTACKS:
            if attack.name in options.tamper:
                outcomes.append(await run_attack(attack, target))
                if not options.as_json:
                    _show_outcome(outcomes[-1], attack.who, out)
    refused = all(outcome.refused for outcome in outcomes)
    if options.as_json:
        print_json({"tamper": [outcome.to_json() for outcome in outcomes]})
    else:
        count = sum(outcome.refused for outcome in outcomes)
        out.print(f"\n{count} of {len(outcomes)} attacks were refused", style="bold green" if refused else "bold red")
    return 0 if refused else 1


def _show_outcome(outcome: Outcome, who: str, out: Console) -> None:
    verdict = "[green]✔ refused[/]" if outcome.refused else "[bold red]✘ NOT REFUSED[/]"
    out.print(f"{verdict}  [bold]{outcome.name}[/]  {who}")
    out.print(f"            {outcome.code or 'no error'}: {outcome.why}", markup=False, style="dim")
