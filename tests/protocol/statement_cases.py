"""What tests of statements share: one predicate of each type, the statements about them, and who signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from confsec.protocol.dsse import DsseKey
from confsec.protocol.key_config import KeyConfig, SymmetricSuite, encode_key_configs
from confsec.protocol.predicates import (
    ArtifactDigest,
    DirectoryStatement,
    FleetStatement,
    ImageManifest,
    IssuerKeys,
    KeyConfigurations,
    ModelDigests,
    Predicate,
    Release,
    Revocation,
    RevokedItem,
    RevokedKind,
)
from confsec.protocol.statement import Statement, Subject
from confsec.protocol.token_keys import TokenKeyEpoch
from tests.protocol.token_cases import TOKEN_KEY
from tests.protocol.token_keys import ED25519, P256

AT: Final = datetime(2026, 11, 28, 7, 0, 0, tzinfo=UTC)
DAY: Final = timedelta(days=1)
ALICE: Final = DsseKey.of("alice", ED25519)
BOB: Final = DsseKey.of("bob", P256)
CONFIG: Final = KeyConfig(3, 0x0020, bytes(32), (SymmetricSuite(1, 1),))


def digest(letter: str) -> bytes:
    """Return a digest that is easy to see."""
    return bytes.fromhex(letter * 64)


DIRECTORY: Final = DirectoryStatement(
    issued=AT, valid_until=AT + DAY, directory='version = 1\n\n[relay]\nurl = "https://relay.example/"\n'
)
FLEET: Final = FleetStatement(
    issued=AT, valid_until=AT + timedelta(hours=1), beacon=b"confsec unsafe local epoch\n1795849200\n", nodes=3
)
CONFIGS: Final = KeyConfigurations(
    issued=AT,
    valid_from=AT + timedelta(hours=1),
    valid_until=AT + 2 * DAY,
    key_configs=encode_key_configs([CONFIG]),
)
ISSUER_KEYS: Final = IssuerKeys(issued=AT, valid_until=AT + 7 * DAY, keys=(TokenKeyEpoch(TOKEN_KEY, AT, AT + DAY),))
IMAGE: Final = ImageManifest(
    issued=AT,
    name="confsec-node",
    version="2026.11",
    measurements={"sev-snp": {"measurements": bytes(48)}, "tdx": {"mr_td": bytes(48), "rtmr1": b"\1" * 48}},
    command_line="console=ttyS0 roothash=… ro",
    verity_roots=(digest("d"),),
    firmware=(ArtifactDigest("OVMF.fd", digest("e")),),
)
MODEL: Final = ModelDigests(
    issued=AT,
    files=(ArtifactDigest("config.json", digest("1")), ArtifactDigest("weights/model.safetensors", digest("2"))),
    ignored=(".git",),
)
RELEASE: Final = Release(
    issued=AT,
    source="https://git.example/confsec",
    commit="0123456789abcdef0123456789abcdef01234567",
    artifacts=(
        ArtifactDigest("confsec-1.0-py3-none-any.whl", digest("4")),
        ArtifactDigest("confsec-1.0.tar.gz", digest("3")),
    ),
    toolchain={"python": "3.13.5", "uv_build": "0.9.7"},
)
REVOCATION: Final = Revocation(
    issued=AT,
    revoked=(RevokedItem(kind=RevokedKind.KEY, digest=digest("5"), reason="The laptop was stolen.", since=AT - DAY),),
)
STATEMENTS: Final[tuple[tuple[Predicate, Statement], ...]] = (
    (DIRECTORY, DIRECTORY.about("service.example")),
    (FLEET, FLEET.to_statement(Subject("service.example", digest("f")))),
    (CONFIGS, CONFIGS.about("gateway.example")),
    (ISSUER_KEYS, ISSUER_KEYS.about("issuer.example")),
    (IMAGE, IMAGE.to_statement(Subject("confsec-node-2026.11.img", digest("a")))),
    (MODEL, MODEL.about("example-model-7b")),
    (RELEASE, RELEASE.to_statement(*RELEASE.subjects())),
    (REVOCATION, REVOCATION.about("service.example")),
)
