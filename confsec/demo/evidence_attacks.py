"""Attacks with evidence: an operator who shows a client something else than what runs, or what another node showed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from hashlib import sha384
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, final

import anyio
from attrs import evolve, frozen

from confsec.backends import system
from confsec.backends.api import HttpRequest
from confsec.backends.log_source import HttpLogSource, read_log
from confsec.demo.evil_operator import EvilOperator, ShownNode, forge
from confsec.demo.target import Attack, Target
from confsec.demo.tees import boot_tpm
from confsec.errors import AppraisalError, EvidenceError, PeerError
from confsec.protocol.appraisal import node_key_id
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import encode_key_configs
from confsec.protocol.log_reader import LogUpdate
from confsec.protocol.log_root import DirectoryLog, FleetLog
from confsec.protocol.manifest import Manifest
from confsec.protocol.node_keys import NodeKeys, node_id, node_key_config
from confsec.protocol.note import SignedNote
from confsec.protocol.platforms import KEY_CONFIG, MEDIA_TYPES, SEV_SNP, TPM_QUOTE
from confsec.protocol.service_state import read_epoch
from confsec.protocol.session import ENDORSEMENTS_PATH, EVIDENCE_PATH, FLEET_PATH
from confsec.protocol.transparency import TrustedLog
from confsec.roles.node_epochs import NodeEpochs, Shown
from confsec.tee.api import Attester
from confsec.tee.simulated.attester import SimulatedSnpAttester
from confsec.tee.tpm.simulated_boot import SimulatedBoot

__all__ = ["EVIDENCE_ATTACKS", "Genuine", "genuine", "read_entries"]

_X_WING: Final = 0x647A


@frozen
class Genuine:
    """What the honest router shows."""

    epoch: Epoch
    nodes: tuple[ShownNode, ...]
    before: tuple[bytes, ...]
    """The entries of the log of fleets before that of this epoch."""

    def items(self, which: int) -> dict[str, CmwRecord]:
        """Return the items of one node's evidence."""
        return dict(Evidence.decode(self.nodes[which].evidence).items)


async def genuine(target: Target) -> Genuine:
    """Fetch what the honest router shows to anybody. Raises what `Target.through` raises, and `PeerError`."""
    record = FleetRecord.decode(await _file(target, FLEET_PATH))
    nodes = [
        ShownNode(
            node_id=node.node_id,
            evidence=await _file(target, EVIDENCE_PATH + node.evidence_digest.hex()),
            endorsements=await _file(target, ENDORSEMENTS_PATH + node.evidence_digest.hex()),
        )
        for node in record.nodes
    ]
    size = Checkpoint.decode(SignedNote.decode(record.beacon).text).size
    entries = await read_entries(target, target.logs.root.fleet)
    return Genuine(read_epoch(record.beacon, target.logs.root), tuple(nodes), entries[:size])


async def read_entries(target: Target, log: DirectoryLog | FleetLog) -> tuple[bytes, ...]:
    """Read a whole log, as anybody can."""
    update = LogUpdate(
        TrustedLog(log.origin), target.logs.root.witnesses, at=system.now(), maximum_age=timedelta(days=1)
    )
    news = await read_log(update, HttpLogSource(log.url, target.transport).fetch)
    return tuple(entry.data for entry in news.entries)


async def _file(target: Target, path: str) -> bytes:
    response = await target.through("GET", path)
    if response.status != 200:
        raise PeerError("the router does not show a public file", status=response.status)
    return response.content


async def _show(target: Target, shown: Genuine, nodes: Sequence[ShownNode], *, beacon: bytes = b"") -> None:
    """Log and show these nodes, and see whether a client seals. `beacon` is another one than that of the epoch."""
    operator = EvilOperator(
        target.logs, target.directory, nodes, beacon=beacon or shown.epoch.beacon, before=shown.before
    )
    await target.ask(operator, operator.root)


def _with_items(node: ShownNode, items: dict[str, CmwRecord]) -> ShownNode:
    return evolve(node, evidence=Evidence.of(items).encoded)


async def _changed_measurement(target: Target) -> None:
    shown = await genuine(target)
    async with _another_system(target.service.tee, shown.epoch) as other:
        node = ShownNode.of(other.evidence, other.endorsements, node_key_id(other.evidence))
        await _show(target, shown, [node])


async def _relayed_evidence(target: Target) -> None:
    shown = await genuine(target)
    own = node_key_config(kem_from_id(_X_WING).generate(system.randbytes))
    items = shown.items(0) | {KEY_CONFIG: CmwRecord(MEDIA_TYPES[KEY_CONFIG], encode_key_configs([own]))}
    await _show(target, shown, [evolve(_with_items(shown.nodes[0], items), node_id=node_id(own))])


async def _evidence_of_another_node(target: Target) -> None:
    shown = await genuine(target)
    first, second = shown.nodes[:2]
    await _show(target, shown, [evolve(second, node_id=first.node_id)])


async def _swapped_evidence(target: Target) -> None:
    shown = await genuine(target)
    first, second = shown.nodes[:2]
    await _show(target, shown, [evolve(second, node_id=first.node_id, digest=first.entry.evidence_digest)])


async def _old_evidence(target: Target) -> None:
    shown = await genuine(target)
    log = forge(target.logs, target.logs.keys.fleets, shown.before)
    await _show(target, shown, shown.nodes, beacon=log.note(shown.epoch.began + timedelta(seconds=1)))


async def _challenge_evidence(target: Target) -> None:
    """Have a node answer an auditor's challenge, and show that to a client as its evidence."""
    shown = await genuine(target)
    url = target.service.processes["node-1"].url + "/v1/challenge"
    headers = (("content-type", "application/octet-stream"),)
    request = HttpRequest(method="POST", url=url, headers=headers, content=shown.epoch.nonce)
    async with target.transport.stream(request) as response:
        content = b"".join([part async for part in response.content])
        if response.status != 200:
            raise PeerError("the node does not answer a challenge", status=response.status)
    answered = node_key_id(Evidence.decode(content))
    (node,) = [each for each in shown.nodes if each.node_id == answered]
    await _show(target, shown, [evolve(node, evidence=content)])


async def _spliced_item(target: Target) -> None:
    shown = await genuine(target)
    label = TPM_QUOTE if TPM_QUOTE in shown.items(0) else SEV_SNP
    items = shown.items(0) | {label: shown.items(1)[label]}
    await _show(target, shown, [_with_items(shown.nodes[0], items)])


async def _changed_evidence(target: Target) -> None:
    shown = await genuine(target)
    label = TPM_QUOTE if TPM_QUOTE in shown.items(0) else SEV_SNP
    record = shown.items(0)[label]
    flipped = record.value[:90] + bytes([record.value[90] ^ 1]) + record.value[91:]
    items = shown.items(0) | {label: evolve(record, value=flipped)}
    await _show(target, shown, [_with_items(shown.nodes[0], items)])


async def _no_evidence(target: Target) -> None:
    shown = await genuine(target)
    items = {KEY_CONFIG: shown.items(0)[KEY_CONFIG]}
    await _show(target, shown, [_with_items(shown.nodes[0], items)])


async def _withheld_endorsements(target: Target) -> None:
    shown = await genuine(target)
    nodes = [evolve(node, endorsements=Endorsements.of({}).encoded) for node in shown.nodes]
    await _show(target, shown, nodes)


EVIDENCE_ATTACKS: Final = (
    Attack(
        "changed-measurement",
        "The operator runs a node of another system, and shows its genuine evidence.",
        (AppraisalError,),
        _changed_measurement,
    ),
    Attack(
        "relayed-evidence",
        "The operator shows the evidence of an honest node, with a key of his own.",
        (AppraisalError,),
        _relayed_evidence,
    ),
    Attack(
        "evidence-of-another-node",
        "The fleet record gives one node the evidence of another.",
        (EvidenceError,),
        _evidence_of_another_node,
    ),
    Attack(
        "swapped-evidence",
        "The router serves other evidence than the fleet record names.",
        (EvidenceError,),
        _swapped_evidence,
    ),
    Attack(
        "old-evidence",
        "The operator shows the evidence of one epoch in another.",
        (AppraisalError,),
        _old_evidence,
    ),
    Attack(
        "challenge-evidence",
        "The operator plays an auditor, with the epoch's nonce as his challenge, and shows the answer to a client.",
        (AppraisalError,),
        _challenge_evidence,
    ),
    Attack(
        "spliced-item",
        "One item of a node's evidence is put into that of another.",
        (AppraisalError,),
        _spliced_item,
    ),
    Attack("changed-evidence", "One bit of what the hardware signed is changed.", (AppraisalError,), _changed_evidence),
    Attack("no-evidence", "A node shows its key and nothing that vouches for it.", (AppraisalError,), _no_evidence),
    Attack(
        "withheld-endorsements",
        "The router keeps certificates and revocation lists back.",
        (AppraisalError,),
        _withheld_endorsements,
    ),
)
"""Attacks that a client has to refuse before it seals."""


# --- A node of another system -----------------------------------------------------------------------------------------


@final
class _OneEpoch:
    """An `EpochSource` that stands still."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch

    async def current(self) -> Epoch:
        return self._epoch

    async def wait_after(self, epoch: Epoch) -> Epoch:
        await anyio.sleep_forever()
        return epoch


@asynccontextmanager
async def _another_system(tee: str, epoch: Epoch) -> AsyncGenerator[Shown]:
    """Run a node whose system is not the one that was published, and yield what it shows of `epoch`."""
    async with AsyncExitStack() as stack:
        attester = await _another_attester(stack, tee)
        stack.push_async_callback(attester.aclose)
        epochs = NodeEpochs(
            _OneEpoch(epoch),
            attester,
            kem=kem_from_id(_X_WING),
            keys=NodeKeys(max_age=timedelta(hours=1)),
            clock=system.now,
            randbytes=system.randbytes,
            challenge_interval=1.0,
        )
        stack.push_async_callback(epochs.aclose)
        await epochs.begin(Manifest({"engine": "one that keeps what it reads"}))
        yield epochs.shown


async def _another_attester(stack: AsyncExitStack, tee: str) -> Attester:
    if tee != "tpm":
        return SimulatedSnpAttester(measurement=sha384(b"another guest").digest())
    from confsec.tee.tpm.attester import TpmAttester
    from confsec.tee.tpm.device import TpmDevice

    folder = stack.enter_context(TemporaryDirectory(prefix="confsec-evil-"))
    boot = evolve(SimulatedBoot(), command_line="console=ttyS0 init=/bin/sh")
    tpm = await boot_tpm(stack, Path(folder), boot)
    return TpmAttester(TpmDevice(tpm.tcti), logs=[tpm.log], endorsements=tpm.endorsements)
