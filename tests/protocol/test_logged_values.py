"""Reference values out of a log, and how a policy takes them."""

from __future__ import annotations

from hashlib import sha256

import pytest
from attrs import evolve

from confsec.errors import (
    ConfigError,
    ConfsecError,
    DecodeError,
    LimitError,
    TransparencyError,
    UncosignedError,
    VerificationError,
)
from confsec.protocol import cbor
from confsec.protocol.appraisal import AttestationResult, appraise_evidence
from confsec.protocol.binding import Mode
from confsec.protocol.checks import Status
from confsec.protocol.cmw import CmwRecord, Endorsements
from confsec.protocol.log_root import LogRoot
from confsec.protocol.logged_values import STATEMENTS, LoggedStatement, LoggedValues, read_logged, statements_record
from confsec.protocol.manifest import Freshness, Manifest
from confsec.protocol.platforms import PLATFORMS
from confsec.protocol.policy import UNSAFE_ANY, Policy, PolicyReader, join_values
from confsec.protocol.predicate import Predicate
from confsec.protocol.predicates import ArtifactDigest, ImageManifest, ModelDigests
from confsec.protocol.statement import Subject
from confsec.protocol.tlog_proof import TlogProof
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import UNSAFE_SIMULATED_SNP
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY
from confsec.tee.simulated.tpm import UNSAFE_SIMULATED_TPM
from confsec.tee.tdx.policy import RegisterRule
from confsec.tee.tdx.verifier import TdxVerifier
from confsec.tee.tpm.verifier import TpmVerifier
from tests.protocol.fleets import EPOCH
from tests.protocol.log_world import AT, DAY, World, directory
from tests.protocol.test_platforms import evidence_for, policy_for
from tests.protocol.token_keys import ED25519, OTHER

IMAGE = ImageManifest(
    issued=AT,
    name="node",
    version="7",
    measurements={"manifest": {"llama": b"m" * 32}, "sev-snp": {"measurements": b"s" * 48}, "tpm": {"pcr4": b"4" * 32}},
    command_line="console=ttyS0 ro",
    verity_roots=(),
    firmware=(),
)
MODEL = ModelDigests(issued=AT, valid_until=AT + DAY, files=(ArtifactDigest("model.gguf", b"d" * 32),))


def logged(world: World, *predicates: Predicate, key: object = ED25519) -> Endorsements:
    """Log what is said, and return the endorsements that show it."""
    envelopes = [
        each.to_statement(Subject("artifact", each.subject_digest() or sha256(b"image").digest()))
        .to_envelope()
        .sign(key)  # type: ignore[arg-type]
        .encode()
        for each in predicates
    ]
    for envelope in envelopes:
        world.artifacts.append(envelope, AT)
    note, size = world.artifacts.note(AT), world.artifacts.size
    statements = [
        LoggedStatement(envelope, TlogProof.decode(world.artifacts.proof(index, note, size)))
        for index, envelope in enumerate(envelopes)
    ]
    return Endorsements.of({STATEMENTS: statements_record(statements)})


def appraised(
    policy: Policy, endorsements: Endorsements | None = None, root: LogRoot | None = None
) -> AttestationResult:
    platform = next(each for each in PLATFORMS if each.name == "sev-snp")
    return appraise_evidence(
        evidence_for(platform),
        endorsements or Endorsements.of({}),
        expected=Freshness(Mode.EPOCH, EPOCH.nonce),
        policy=policy,
        at=AT,
        root=root,
    )


def test_logged_statements_give_values_by_the_names_of_a_policys_lists() -> None:
    world = World()
    values = read_logged(logged(world, IMAGE, MODEL), world.root, at=AT)
    assert values.of("manifests") == (b"m" * 32,)
    assert values.of("sev-snp.measurements") == (b"s" * 48,)
    assert values.of("tpm.kernel_command_lines") == (b"console=ttyS0 ro",)
    assert values.expires == MODEL.valid_until
    assert values.names == ("node 7",)
    with pytest.raises(TransparencyError, match="says what this list holds"):
        values.of("tdx.mr_td")


def test_two_images_give_the_values_of_both() -> None:
    world = World()
    other = evolve(IMAGE, version="8", measurements={"sev-snp": {"measurements": b"r" * 48}})
    values = read_logged(logged(world, IMAGE, other), world.root, at=AT)
    assert values.of("sev-snp.measurements") == (b"r" * 48, b"s" * 48)


def test_a_model_is_good_if_a_logged_statement_has_its_file() -> None:
    values = LoggedValues({}, frozenset({b"d" * 32}), None, ())
    values.check_model(Manifest({"engine": {"model": b"d" * 32}}))
    others: list[dict[str, cbor.CborValue]] = [{"engine": {"model": b"e" * 32}}, {"engine": {}}, {"engine": "x"}, {}]
    for members in others:
        with pytest.raises(TransparencyError, match="in no logged statement"):
            values.check_model(Manifest(members))


def test_statements_that_are_not_there_give_nothing() -> None:
    world = World()
    wrong = Endorsements.of({STATEMENTS: CmwRecord("text/plain", b"")})
    for endorsements in (Endorsements.of({}), wrong):
        with pytest.raises(TransparencyError, match="shows no logged statements"):
            read_logged(endorsements, world.root, at=AT)
    for root in (None, evolve(world.root, artifacts="")):
        with pytest.raises(TransparencyError, match="no root names one"):
            read_logged(logged(world, IMAGE), root, at=AT)


def test_a_statement_that_is_in_no_log_gives_nothing() -> None:
    world, other = World(), World()
    logged(world, MODEL)
    logged(other, IMAGE)
    theirs = TlogProof.decode(world.artifacts.proof(0, world.artifacts.note(AT), 1))
    swapped = statements_record([LoggedStatement(other.artifacts.entries[0], theirs)])
    with pytest.raises(TransparencyError):
        read_logged(Endorsements.of({STATEMENTS: swapped}), world.root, at=AT)


def test_a_statement_without_a_quorum_gives_nothing() -> None:
    world = World(threshold=3)
    world.artifacts.witnesses = world.artifacts.witnesses[:2]  # type: ignore[misc]
    with pytest.raises(UncosignedError):
        read_logged(logged(world, IMAGE), world.root, at=AT)


def test_a_statement_of_a_stranger_or_out_of_its_time_gives_nothing() -> None:
    world = World()
    with pytest.raises(VerificationError):
        read_logged(logged(world, IMAGE, key=OTHER), world.root, at=AT)
    world = World()
    with pytest.raises(TransparencyError, match="ended"):
        read_logged(logged(world, MODEL), world.root, at=AT + DAY)


def test_a_statement_about_something_else_gives_nothing() -> None:
    world = World()
    world.add_directory(directory(), AT)
    envelope = world.directories.entries[0]
    world.artifacts.append(envelope, AT)
    proof = TlogProof.decode(world.artifacts.proof(0, world.artifacts.note(AT), 1))
    endorsements = Endorsements.of({STATEMENTS: statements_record([LoggedStatement(envelope, proof)])})
    with pytest.raises(TransparencyError, match="neither an image nor a model"):
        read_logged(endorsements, world.root, at=AT)


@pytest.mark.parametrize("value", [{}, [[b""]], [[b"", 1]], [1], [[b"", b"x"]], [[b"", b""]] * 17])
def test_statements_of_another_form_are_refused(value: cbor.CborValue) -> None:
    world = World()
    record = evolve(statements_record([]), value=cbor.encode(value))
    with pytest.raises((DecodeError, LimitError)):
        read_logged(Endorsements.of({STATEMENTS: record}), world.root, at=AT)


# --- Policies ---------------------------------------------------------------------------------------------------------


def logging_policy(*names: str) -> Policy:
    platform = next(each for each in PLATFORMS if each.name == "sev-snp")
    return evolve(policy_for(platform), manifests=(), verifiers=(SnpVerifier(UNSAFE_SIMULATED_SNP),), logged=names)


def test_a_policy_takes_what_it_names_and_nothing_else() -> None:
    world = World()
    policy = logging_policy("manifests", "sev-snp.measurements")
    values = read_logged(logged(world, IMAGE), world.root, at=AT)
    resolved = policy.with_values(values.of)
    assert resolved.logged == ()
    assert resolved.manifests == (b"m" * 32,)
    (verifier,) = resolved.verifiers
    assert isinstance(verifier, SnpVerifier)
    assert b"s" * 48 in verifier.policy.measurements  # type: ignore[operator]
    assert policy.manifests == ()


@pytest.mark.parametrize("name", ["manifest", "sev-snp.vmpl", "tdx.mr_td", "sev-snp"])
def test_a_policy_names_no_list_that_there_is_not(name: str) -> None:
    with pytest.raises(ConfigError, match="list that there is not"):
        logging_policy(name)


def test_a_policy_lists_its_names_in_order() -> None:
    with pytest.raises(ConfigError, match="logged sorted"):
        logging_policy("sev-snp.measurements", "manifests")


def test_without_statements_a_check_refuses() -> None:
    world = World()
    found = {check.id: check for check in appraised(logging_policy("manifests"), root=world.root).checks}
    assert found["log.statements"].status is Status.FAIL
    assert found["policy.manifest"].status is Status.FAIL


def test_the_check_says_what_the_statements_are_about() -> None:
    world = World()
    result = appraised(logging_policy("manifests"), logged(world, IMAGE), world.root)
    found = {check.id: check for check in result.checks}
    assert (found["log.statements"].status, found["log.statements"].got) == (Status.PASS, "node 7")
    result = appraised(logging_policy("models"), logged(world, IMAGE), world.root)
    assert {check.id: check.status for check in result.checks}["log.statements"] is Status.FAIL


def test_what_was_any_value_is_what_is_logged() -> None:
    assert join_values(UNSAFE_ANY, {b"b", b"a"}) == (b"a", b"b")
    assert join_values((b"c",), {b"a"}) == (b"a", b"c")


def test_each_tee_takes_values_of_its_size_only() -> None:
    snp, tdx, tpm = (
        SnpVerifier(UNSAFE_SIMULATED_SNP),
        TdxVerifier(SIMULATED_TDX_POLICY),
        TpmVerifier(UNSAFE_SIMULATED_TPM),
    )
    for verifier, name in ((snp, "measurements"), (tdx, "mr_td"), (tdx, "rtmr1"), (tpm, "pcr4")):
        assert name in verifier.lists
        with pytest.raises(ConfigError):
            verifier.with_values({name: (b"short",)})


def test_a_register_of_tdx_takes_values_beside_values_and_not_beside_events() -> None:
    values, any_, events = (
        TdxVerifier(evolve(SIMULATED_TDX_POLICY, rtmr1=rule))
        for rule in (RegisterRule(values=(b"v" * 48,)), UNSAFE_ANY, RegisterRule(allowed=(b"e" * 48,)))
    )
    added = {"rtmr1": (b"w" * 48,)}
    assert values.with_values(added).policy.rtmr1 == RegisterRule(values=(b"v" * 48, b"w" * 48))
    assert any_.with_values(added).policy.rtmr1 == RegisterRule(values=(b"w" * 48,))
    with pytest.raises(ConfigError, match="judged by its events"):
        events.with_values(added)
    assert b"w" * 48 in TdxVerifier(SIMULATED_TDX_POLICY).with_values({"mr_td": (b"w" * 48,)}).policy.mr_td  # type: ignore[operator]


def test_a_tpm_takes_registers_and_command_lines() -> None:
    verifier = TpmVerifier(UNSAFE_SIMULATED_TPM)
    size = UNSAFE_SIMULATED_TPM.bank.digest_size
    pcr = UNSAFE_SIMULATED_TPM.pcr_selection[0]
    found = verifier.with_values({f"pcr{pcr}": (b"p" * size,), "kernel_command_lines": (b"ro",)}).policy
    assert b"p" * size in found.pcr_values[pcr]
    assert "ro" in found.kernel_command_lines  # type: ignore[operator]


def test_a_policy_with_logged_lists_is_read_as_it_was_written() -> None:
    reader = PolicyReader(verifiers={})
    text = (
        'name = "ours"\nminimum_nodes = 1\nmaximum_age = 600\nplatforms = []\naccepted_assumptions = []\n'
        'manifests = []\nunsafe_waived = []\nlogged = ["models", "manifests"]\n'
    )
    policy = reader.from_toml(text)
    assert policy.logged == ("manifests", "models")
    assert reader.from_item(policy.to_item()) == policy
    with pytest.raises(ConfsecError):
        reader.from_toml(text.replace('"models"', '"others"'))


def test_a_policy_without_logged_lists_has_the_digest_that_it_had() -> None:
    assert "logged" not in policy_for(PLATFORMS[0]).to_members()
