"""A kind of TEE made for tests of what people see: many checks, a graph, and knobs to make some of them fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from confsec.protocol import cbor
from confsec.protocol.appraisal import appraise_node, node_key_id
from confsec.protocol.binding import Mode
from confsec.protocol.checks import CheckDefinition, Finding, at_least, failed, informs, passed, run_checks
from confsec.protocol.cmw import KEY_CONFIG_LABEL, CmwRecord, Endorsements, Evidence
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import MEDIA_TYPE_OHTTP_KEYS, encode_key_configs
from confsec.protocol.manifest import Freshness, Manifest
from confsec.protocol.node_keys import node_key_config
from confsec.protocol.platforms import BINDING, FRESHNESS, MANIFEST, MEDIA_TYPES, OPERATING_SYSTEM, SEV_SNP
from confsec.protocol.policy import Policy, PolicyReader
from confsec.protocol.proof import make_proof
from confsec.protocol.rats import VENDOR, TeeFindings, VerificationRequest, Vouch
from confsec.testing import seeded_randbytes
from tests.protocol.fleets import EPOCH, X_WING

ROWS: Final = 40
"""How many checks the verifier makes beside the three that have knobs."""

ANCHOR: Final = bytes(31) + b"\x0a"

POLICY_FILE: Final = """
name = "ours"
minimum_nodes = 1
maximum_age = 3600
platforms = ["sev-snp"]
accepted_assumptions = ["amd"]
manifests = "UNSAFE_ANY"
unsafe_waived = ["freshness.epoch", "log.directory", "log.fleet", "log.root", "token.spend"]

[sev-snp]
level = 7
trust_anchors = ["000000000000000000000000000000000000000000000000000000000000000a"]
unsafe_debug = false
"""


@frozen
class _Subject:
    item: dict[str, cbor.CborValue]
    verifier: FakeVerifier
    at: datetime

    def uint(self, name: str) -> int:
        return cbor.as_uint(self.item[name], what=name)


def _signature(subject: _Subject) -> Finding:
    good = subject.item["signed"] is True
    return passed("the report is signed by the chip") if good else failed("the signature of the report is wrong")


def _level(subject: _Subject) -> Finding:
    return at_least("the firmware", subject.uint("level"), subject.verifier.level)


def _debug(subject: _Subject) -> Finding:
    if subject.item["debug"] is not True:
        return passed("debugging is off", want="no", got="no")
    if subject.verifier.unsafe_debug:
        return informs("debugging is on, and the policy takes it: unsafe_debug", got="yes")
    return failed("debugging is on: the host can read all memory", want="no", got="yes")


def _ends(subject: _Subject) -> Finding:
    late = subject.at > EPOCH.began + timedelta(days=30)
    return failed("the certificate is over") if late else passed("the certificate is valid")


def _row(index: int) -> CheckDefinition[_Subject]:
    good = passed(f"field {index} of the report is as it has to be", want=index, got=index)
    return CheckDefinition(f"sev-snp.field-{index:02}", f"AMD 56860, table {index}", lambda _subject: good)


CHECKS: Final = (
    CheckDefinition("sev-snp.signature", "AMD 56860, section 7.3", _signature, essential=True),
    CheckDefinition("sev-snp.validity", "RFC 5280, section 4.1.2.5", _ends),
    CheckDefinition("sev-snp.tcb-floor", "AMD 56860, table 3", _level),
    CheckDefinition("sev-snp.debug", "AMD 56860, table 9", _debug),
    *map(_row, range(ROWS)),
)


@frozen
class FakeVerifier:
    """Looks at one item, which says what is wrong with itself."""

    level: int = 7
    unsafe_debug: bool = False
    accepts_simulated: bool = False
    name: str = "sev-snp"

    @property
    def lists(self) -> frozenset[str]:
        return frozenset()

    def with_values(self, values: Mapping[str, tuple[bytes, ...]]) -> FakeVerifier:
        return self

    def to_item(self) -> dict[str, cbor.CborValue]:
        return {"level": self.level, "trust_anchors": [ANCHOR], "unsafe_debug": self.unsafe_debug}

    def verify(self, request: VerificationRequest) -> TeeFindings:
        value = cbor.decode(request.evidence.items[SEV_SNP].value, what="the report", limit=4096)
        assert isinstance(value, dict)
        checks = run_checks(CHECKS, _Subject(value, self, request.at))
        signed = value["signed"] is True
        return TeeFindings(
            name=self.name,
            checks=checks,
            claims=self._claims(value) if signed else {},
            vouches=_vouches(value) if signed else (),
            simulated=value["simulated"] is True,
            expires=EPOCH.began + timedelta(days=30),
        )

    def _claims(self, value: dict[str, cbor.CborValue]) -> dict[str, cbor.CborValue]:
        missing = self.level - cbor.as_uint(value["level"], what="level")
        behind: dict[str, cbor.CborValue] = {"FAKE-SB-1": {"snp": missing}} if missing > 0 else {}
        return {"product": "Milan", "firmware": "1.55.31", "tcb": {"snp": value["level"]}, "tcb_behind": behind}


def _vouches(value: dict[str, cbor.CborValue]) -> tuple[Vouch, ...]:
    edges = (
        Vouch(VENDOR, SEV_SNP, "AMD's chain signs the report"),
        Vouch(SEV_SNP, BINDING, "REPORT_DATA is the binding"),
        Vouch(SEV_SNP, OPERATING_SYSTEM, "MEASUREMENT is among those that the policy names"),
    )
    return tuple(edge for edge in edges if edge.of != value["unbound"])


def read_fake(table: cbor.CborValue) -> FakeVerifier:
    members = cbor.as_map(table, what="the table [sev-snp]", keys=("level", "trust_anchors", "unsafe_debug"))
    return FakeVerifier(cbor.as_uint(members["level"], what="level"), members["unsafe_debug"] is True)


READER: Final = PolicyReader({"sev-snp": read_fake})
POLICY: Final = READER.from_toml(POLICY_FILE)


def demo_policy() -> Policy:
    """Return a constant that accepts simulated evidence, as `UNSAFE_DEMO_POLICY` does."""
    return Policy(
        name="UNSAFE_DEMO_POLICY",
        minimum_nodes=1,
        maximum_age=POLICY.maximum_age,
        platforms=POLICY.platforms,
        accepted_assumptions=POLICY.accepted_assumptions,
        manifests=POLICY.manifests,
        unsafe_waived=POLICY.unsafe_waived,
        verifiers=(FakeVerifier(accepts_simulated=True),),
        constant=True,
    )


def make_evidence(seed: str, **knobs: cbor.CborValue) -> Evidence:
    """Make evidence of a node of its own. The knobs are members of its report."""
    report: dict[str, cbor.CborValue] = {
        "debug": False, "level": 7, "signed": True, "simulated": False, "unbound": "", **knobs,
    }  # fmt: skip
    key_config = node_key_config(kem_from_id(X_WING).generate(seeded_randbytes(seed)))
    items = {
        KEY_CONFIG_LABEL: (MEDIA_TYPE_OHTTP_KEYS, encode_key_configs([key_config])),
        MANIFEST: (MEDIA_TYPES[MANIFEST], Manifest({"engine": "test"}).encode()),
        FRESHNESS: (MEDIA_TYPES[FRESHNESS], Freshness(Mode.EPOCH, EPOCH.nonce).encode()),
        SEV_SNP: (MEDIA_TYPES[SEV_SNP], cbor.encode(report)),
    }
    return Evidence.of({label: CmwRecord(*item) for label, item in items.items()})


def make_file(evidence: Sequence[Evidence], policy: Policy = POLICY) -> bytes:
    """Make the Proof of a request to all these nodes, as a file."""
    nodes = sorted((_fleet_node(item), item) for item in evidence)
    record = FleetRecord(EPOCH.beacon, tuple(node for node, _ in nodes))
    beside = Endorsements.of({}).encoded
    trusted = [appraise_node(node, item.encoded, beside, policy=policy, epoch=EPOCH) for node, item in nodes]
    return make_proof(policy, record.encode(), record, trusted).encode()


def _fleet_node(evidence: Evidence) -> FleetNode:

    return FleetNode(node_key_id(evidence), evidence.digest, 0)
