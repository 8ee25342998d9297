"""Our predicates: one JSON form each, and about their subjects."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, UnsupportedError
from confsec.protocol.json_general import JsonItem
from confsec.protocol.predicates import (
    MODEL_SIGNING_TYPE,
    PREDICATES,
    ModelDigests,
    Predicate,
    Release,
    RevokedItem,
    RevokedKind,
    read_predicate,
)
from confsec.protocol.statement import Statement, Subject, encode_canonical
from tests.protocol.statement_cases import (
    AT,
    CONFIG,
    CONFIGS,
    DAY,
    DIRECTORY,
    FLEET,
    IMAGE,
    ISSUER_KEYS,
    MODEL,
    RELEASE,
    REVOCATION,
    STATEMENTS,
    digest,
)
from tests.protocol.test_statement import ITEMS

FILES = [("config.json", "1"), ("weights/a.safetensors", "2"), ("weights/b.safetensors", "3")]

each_statement = pytest.mark.parametrize(
    ("predicate", "statement"), STATEMENTS, ids=[type(predicate).__name__ for predicate, _ in STATEMENTS]
)


def model_signing(files: list[tuple[str, str]] = FILES, **serialization: JsonItem) -> Statement:
    """Make a statement as `model_signing` 1.0 does: see `src/model_signing/_signing/signing.py` in its repository."""
    root = sha256(b"".join(digest(letter) for _, letter in files)).digest()
    resources: list[JsonItem] = [{"name": name, "algorithm": "sha256", "digest": letter * 64} for name, letter in files]
    return Statement(
        (Subject("model", root),),
        MODEL_SIGNING_TYPE,
        {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, **serialization},
            "resources": resources,
        },
    )


# --- All of them


@each_statement
def test_a_predicate_comes_back(predicate: Predicate, statement: Statement) -> None:
    read = read_predicate(Statement.decode(statement.encode()))
    assert read == predicate
    assert read.to_json() == dict(statement.predicate)


def test_every_type_is_tried_and_has_its_uri() -> None:
    assert [type(predicate) for predicate, _ in STATEMENTS] == list(PREDICATES.values())
    for uri in PREDICATES:
        assert re.fullmatch(r"https://confsec\.dev/statement/[a-z-]+/v1", uri)


@each_statement
def test_every_member_is_needed_and_no_other_is_taken(predicate: Predicate, statement: Statement) -> None:
    for name in statement.predicate:
        with pytest.raises(DecodeError):
            type(predicate).from_json({key: value for key, value in statement.predicate.items() if key != name})
    with pytest.raises(DecodeError):
        type(predicate).from_json({**statement.predicate, "more": 1})
    with pytest.raises(DecodeError):
        type(predicate).from_json([])


@each_statement
@given(value=ITEMS, data=st.data())
def test_any_value_gives_a_predicate_of_one_form_or_our_error(
    predicate: Predicate, statement: Statement, value: JsonItem, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(statement.predicate)))
    members = {**statement.predicate, name: value}
    try:
        read = type(predicate).from_json(members)
    except ConfsecError:
        return
    assert encode_canonical(read.to_json()) == encode_canonical(members)


@each_statement
def test_a_predicate_is_about_its_subjects(predicate: Predicate, statement: Statement) -> None:
    with pytest.raises(DecodeError, match="subject"):
        predicate.to_statement(*statement.subjects, Subject("more", digest("0")))
    if predicate.subject_digest() is not None:
        with pytest.raises(DecodeError, match="subject"):
            predicate.to_statement(Subject(statement.subjects[0].name, digest("0")))


@pytest.mark.parametrize("predicate", [FLEET, IMAGE, RELEASE], ids=lambda predicate: type(predicate).__name__)
def test_what_is_elsewhere_has_to_be_named(predicate: Predicate) -> None:
    with pytest.raises(DecodeError):
        predicate.about("name")


@pytest.mark.parametrize("issued", [AT.replace(tzinfo=None), AT.replace(microsecond=1)])
def test_times_are_whole_seconds_somewhere(issued: datetime) -> None:
    with pytest.raises(DecodeError, match="time zone"):
        evolve(MODEL, issued=issued)


def test_what_has_to_end_ends_and_after_it_begins() -> None:
    for predicate in (DIRECTORY, FLEET, CONFIGS, ISSUER_KEYS):
        with pytest.raises(DecodeError, match="has to end"):
            evolve(predicate, valid_until=None)
    for other in (DIRECTORY, MODEL):
        with pytest.raises(DecodeError, match="ends before"):
            evolve(other, valid_until=AT)
    assert evolve(MODEL, valid_until=AT + DAY).to_json()["validUntil"] == "2026-11-29T07:00:00Z"


def test_a_type_that_is_not_ours_is_refused() -> None:
    with pytest.raises(UnsupportedError):
        read_predicate(Statement((Subject("a", digest("a")),), "https://example.com/v1", {}))


# --- Of a service


def test_key_configurations_begin_within_their_time() -> None:
    for valid_from in (AT - timedelta(seconds=1), AT + 2 * DAY):
        with pytest.raises(DecodeError, match="begin"):
            evolve(CONFIGS, valid_from=valid_from)
    assert CONFIGS.configs() == (CONFIG,)
    with pytest.raises(DecodeError):
        type(CONFIGS).from_json({**CONFIGS.to_json(), "keyConfigs": "AAAA"})


def test_a_long_beacon_is_refused() -> None:
    with pytest.raises(DecodeError, match="too long"):
        type(FLEET).from_json({**FLEET.to_json(), "beacon": "AAAA" * 5462})


@pytest.mark.parametrize(
    "members",
    [
        {"tokenType": 1},
        {"notAfter": "2026-11-28T07:00:00Z"},
        {"key": "AAAA"},
        {"more": 1},
    ],
)
def test_issuer_keys_that_cannot_be_used_are_refused(members: dict[str, Any]) -> None:
    body: Any = ISSUER_KEYS.to_json()
    with pytest.raises(DecodeError):
        type(ISSUER_KEYS).from_json({**body, "keys": [{**body["keys"][0], **members}]})


@pytest.mark.parametrize(
    "members", [{"kind": "thing"}, {"kind": 1}, {"digest": "00"}, {"reason": ""}, {"since": "today"}]
)
def test_revoked_items_of_another_form_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        RevokedItem.from_json({**REVOCATION.revoked[0].to_json(), **members})
    with pytest.raises(DecodeError):
        RevokedItem(kind=RevokedKind.KEY, digest=b"", reason="none", since=AT)


def test_nothing_may_be_revoked() -> None:
    nothing = evolve(REVOCATION, revoked=())
    assert read_predicate(nothing.about("service.example")) == nothing


# --- Of artifacts


def test_files_are_in_strict_order() -> None:
    for files in (MODEL.files[::-1], (MODEL.files[0],) * 2):
        body: JsonItem = [file.to_json() for file in files]
        with pytest.raises(DecodeError, match="order"):
            ModelDigests.from_json({**MODEL.to_json(), "files": body})
    with pytest.raises(DecodeError, match="order"):
        ModelDigests.from_json({**MODEL.to_json(), "ignored": ["b", "a"]})


def test_the_files_of_a_model_are_in_the_order_of_its_signer() -> None:
    """`model_signing` sorts paths and not texts: a folder comes before a file whose name goes on after it."""
    names = ["onnx/model.onnx", "onnx-int8.bin", "onnx.json"]
    assert names == sorted(names, key=PurePosixPath) != sorted(names)
    model = ModelDigests.from_model_signing(model_signing([(name, "1") for name in names]), issued=AT)
    assert ModelDigests.from_json(model.to_json()) == model
    with pytest.raises(DecodeError, match="order"):
        ModelDigests.from_model_signing(model_signing([(name, "1") for name in sorted(names)]), issued=AT)
    files: JsonItem = [IMAGE.firmware[0].to_json()] * 2
    with pytest.raises(DecodeError, match="order"):
        type(IMAGE).from_json({**IMAGE.to_json(), "firmware": files})


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a/../b", "a//b", "a/", "./a", "a\\b"])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(DecodeError, match="path"):
        ModelDigests.from_model_signing(model_signing([(path, "1")]), issued=AT)


@pytest.mark.parametrize(
    "members",
    [
        {"measurements": {"tdx": {"mrtd": ""}}},
        {"measurements": {"tdx": {"mrtd": "00" * 65}}},
        {"measurements": {"tdx": []}},
        {"measurements": {"tdx": {f"r{number}": "00" for number in range(65)}}},
        {"verityRoots": ["xx"]},
        {"name": ""},
    ],
)
def test_image_manifests_of_another_form_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        type(IMAGE).from_json({**IMAGE.to_json(), **members})


@pytest.mark.parametrize(
    "members",
    [
        {"source": "http://git.example/confsec"},
        {"source": "https://git.example/a b"},
        {"commit": "main"},
        {"commit": "0" * 39},
        {"commit": "A" * 40},
        {"artifacts": []},
        {"toolchain": {"python": ""}},
        {"toolchain": {"python": 3}},
    ],
)
def test_releases_of_another_form_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        Release.from_json({**RELEASE.to_json(), **members})


def test_a_release_may_be_of_a_repository_with_sha_256() -> None:
    assert Release.from_json({**RELEASE.to_json(), "commit": "0" * 64}).commit == "0" * 64


def test_digests_of_openssf_model_signing_are_taken_over() -> None:
    statement = Statement.decode_foreign(model_signing(ignore_paths=["model.sig", ".git", ".git"]).encode())
    model = ModelDigests.from_model_signing(statement, issued=AT)
    assert [(file.name, file.digest) for file in model.files] == [(name, digest(letter)) for name, letter in FILES]
    assert model.ignored == (".git", "model.sig")
    assert model.about("model").subjects == statement.subjects


@pytest.mark.parametrize(
    "statement",
    [
        model_signing(method="shards", shard_size=1000),
        model_signing(hash_type="blake2b"),
        evolve(model_signing(), predicate_type="https://model_signing/Digests/v0.1"),
        evolve(
            model_signing(),
            predicate={**model_signing().predicate, "resources": [{"name": "a", "algorithm": "blake2b", "digest": ""}]},
        ),
    ],
)
def test_other_ways_of_hashing_a_model_are_not_read(statement: Statement) -> None:
    with pytest.raises(UnsupportedError):
        ModelDigests.from_model_signing(statement, issued=AT)


@pytest.mark.parametrize(
    "statement",
    [
        evolve(model_signing(), subjects=(Subject("model", digest("0")),)),
        evolve(model_signing(), subjects=(*model_signing().subjects, Subject("more", digest("0")))),
        evolve(model_signing(), predicate={}),
        evolve(model_signing(), predicate={**model_signing().predicate, "resources": []}),
        evolve(model_signing(), predicate={**model_signing().predicate, "resources": [7]}),
        model_signing(FILES[::-1]),
        model_signing(ignore_paths="all"),
        model_signing(ignore_paths=[7]),
    ],
)
def test_a_model_signature_that_contradicts_itself_is_refused(statement: Statement) -> None:
    with pytest.raises(DecodeError):
        ModelDigests.from_model_signing(statement, issued=AT)
