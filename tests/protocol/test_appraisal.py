"""Only an appraisal makes a key trusted."""

from __future__ import annotations

import copy
import pickle

import pytest
from attrs import evolve

from confsec.errors import AppraisalError, EvidenceError, LocalProtocolError
from confsec.protocol.appraisal import Appraised, AttestationResult, TrustedKeyConfig
from confsec.protocol.cmw import KEY_CONFIG_LABEL, CmwRecord, Endorsements, Evidence
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import MEDIA_TYPE_OHTTP_KEYS, encode_key_configs
from confsec.protocol.node_keys import NODE_SUITE, node_key_config
from confsec.protocol.policy import PRODUCTION
from confsec.testing import seeded_randbytes
from tests.protocol.fleets import EPOCH, NO_ENDORSEMENTS, appraise, evidence_of, make_fleet


def test_unattested_evidence_is_trusted_under_the_unsafe_constant_only() -> None:
    fleet = make_fleet(1)
    (trusted,) = fleet.trusted()
    assert trusted.node_id == fleet.record.nodes[0].node_id
    assert trusted.key_config.public_key == fleet.keys[trusted.node_id].public_key
    assert trusted.evidence.encoded == fleet.evidence[trusted.node_id]
    with pytest.raises(AppraisalError, match="nothing beside the key"):
        fleet.trusted(PRODUCTION)


def test_evidence_that_the_record_does_not_name_is_refused_before_it_is_read() -> None:
    fleet = make_fleet(2)
    first, second = fleet.record.nodes
    with pytest.raises(EvidenceError, match="not what the fleet record names"):
        appraise(first, fleet.evidence[second.node_id])
    with pytest.raises(EvidenceError, match="not what the fleet record names"):
        appraise(first, b"")


def test_evidence_of_one_node_with_the_key_of_another_is_refused() -> None:
    first, second = make_fleet(2).record.nodes
    spliced = evolve(first, evidence_digest=second.evidence_digest)
    with pytest.raises(EvidenceError, match="another node"):
        appraise(spliced, make_fleet(2).evidence[second.node_id])


def test_evidence_that_cannot_be_read_is_refused() -> None:
    fleet = make_fleet(1)
    garbage = b"\xff"
    node = evolve(fleet.record.nodes[0], evidence_digest=Evidence(garbage, {}).digest)
    with pytest.raises(EvidenceError, match="cannot be read"):
        appraise(node, garbage)


@pytest.mark.parametrize("defect", ["no key", "two keys", "another KEM", "an unknown KEM", "not a key"])
def test_evidence_without_exactly_one_key_of_a_node_is_refused(defect: str) -> None:
    randbytes = seeded_randbytes(defect)
    good = node_key_config(kem_from_id(0x647A).generate(randbytes))
    x25519 = evolve(good, kem_id=0x0020, public_key=kem_from_id(0x0020).generate(randbytes).public_key)
    assert x25519.suites == (NODE_SUITE,)
    item = {
        "no key": b"",
        "two keys": encode_key_configs([good, good]),
        "another KEM": encode_key_configs([x25519]),
        "an unknown KEM": encode_key_configs([good]) + b"\x00\x08\x07\xff\xf0hello",
        "not a key": b"\x00\x01x",
    }[defect]
    evidence = Evidence.of({KEY_CONFIG_LABEL: CmwRecord(MEDIA_TYPE_OHTTP_KEYS, item)})
    node = evolve(make_fleet(1).record.nodes[0], evidence_digest=evidence.digest)
    with pytest.raises(EvidenceError, match="no key configuration of a node"):
        appraise(node, evidence.encoded)


def test_nobody_else_makes_a_trusted_key() -> None:
    key_config = node_key_config(kem_from_id(0x647A).generate(seeded_randbytes("forger")))
    result = AttestationResult(node_id=bytes(32), platform=None, checks=())
    beside = Endorsements.decode(NO_ENDORSEMENTS)
    with pytest.raises(LocalProtocolError, match="appraisal"):
        Appraised()
    for forged in (None, object.__new__(Appraised)):
        with pytest.raises(LocalProtocolError, match="appraise_node"):
            TrustedKeyConfig(
                key_config,
                evidence_of(key_config),
                beside,
                result=result,
                usable_until=EPOCH.began,
                appraised=forged,  # type: ignore[arg-type]
            )


def test_trust_cannot_be_written_down_and_read_back() -> None:
    (trusted,) = make_fleet(1).trusted()
    with pytest.raises(LocalProtocolError, match="pickled"):
        pickle.dumps(trusted)
    assert copy.copy(trusted) is trusted
    assert copy.deepcopy(trusted) is trusted
    assert trusted.node_id.hex()[:16] in repr(trusted)
