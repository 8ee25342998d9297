"""The file of a `StatementPolicy`: a TOML file with keys and identities by name, and one rule for each predicate type.

`docs/statements.md` shows one. Every key has to be there and no other may be, so nothing holds because a file does not
mention it. `from_table` and `to_toml` with a prefix let another file hold a policy as a table of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Final

from confsec.errors import ConfigError, ConfsecError
from confsec.protocol import cbor, toml_general
from confsec.protocol.dsse import DsseKey
from confsec.protocol.json_members import digest_of
from confsec.protocol.predicates import PREDICATES, RevokedKind
from confsec.protocol.sigstore import BundleVerifier, SigstoreIdentity
from confsec.protocol.statement import check_name
from confsec.protocol.statement_policy import StatementPolicy, StatementRule, StatementSigner
from confsec.protocol.wire import decode_base64, encode_base64

__all__ = ["ANY", "UNLIMITED", "from_table", "from_toml", "to_toml"]

ANY: Final = "ANY"
"""What `subjects` says where a rule takes statements about anything."""

UNLIMITED: Final = "UNLIMITED"
"""What `maximum_age` says where only `validUntil` ends a statement."""

_VERSION: Final = 1
_RULE: Final = ("predicate_type", "signers", "threshold", "subjects", "maximum_age", "newest_only")
_IDENTITY: Final = ("issuer", "subject")
_REVOKED: Final = ("kind", "digest")
_MAX_KEYS: Final = 512
_MAX_SUBJECTS: Final = 1024
_MAX_REVOKED: Final = 4096
_MAX_SECONDS: Final = 10 * 365 * 86_400
_HINT: Final = "docs/statements.md has all keys"


def from_toml(text: str, *, bundles: BundleVerifier | None = None) -> StatementPolicy:
    """Read a file of rules. `bundles` is for those with identities of Sigstore. Raises `ConfigError` with the key."""
    what = "the statement policy"
    members = toml_general.decode(text, what=what)
    if members.pop("version", None) != _VERSION:
        raise ConfigError(f"{what} is of another version, or names none", want=f"version = {_VERSION}", hint=_HINT)
    return from_table(members, what=what, bundles=bundles)


def from_table(value: object, *, what: str, bundles: BundleVerifier | None = None) -> StatementPolicy:
    """Read rules out of a table that was parsed before. `what` names it in errors. Raises `ConfigError`."""
    try:
        return _from_table(value, what, bundles)
    except ConfsecError as exc:
        raise ConfigError(exc.what, got=exc.got, want=exc.want, section=exc.section, hint=exc.hint or _HINT) from exc


def to_toml(policy: StatementPolicy, *, table: str = "") -> str:
    """Write a policy as a file, or as the table `table` of another file, a bare key.

    Raises `ConfigError` for what no file can say: parts of seconds, and one name for two keys or one key by two names.
    """
    prefix = f"{table}." if table else ""
    parts = [
        "" if table else f"version = {_VERSION}\n",
        *_signers_to_toml(prefix, _signers_of(policy)),
        *(_rule_to_toml(prefix, each, policy.rules[each]) for each in sorted(policy.rules)),
        *(
            f'\n[[{prefix}revoked]]\nkind = "{kind}"\ndigest = "{digest.hex()}"\n'
            for kind, digest in sorted(policy.revoked)
        ),
    ]
    text = "".join(parts)
    _require_same(policy, text, table)
    return text


def _from_table(value: object, what: str, bundles: BundleVerifier | None) -> StatementPolicy:
    members = _members(value, what, ("rule",), optional=("keys", "identities", "revoked"))
    keys = _signers(members, what)
    rules: dict[str, StatementRule] = {}
    items = cbor.as_array(members["rule"], what=f"rule of {what}", limit=len(PREDICATES))
    for number, item in enumerate(items, 1):
        predicate_type, rule = _rule(item, keys, f"{what}, rule {number}")
        if predicate_type in rules:
            raise ConfigError(f"{what} has two rules for one predicate type", got=predicate_type)
        rules[predicate_type] = rule
    if not rules:
        raise ConfigError(f"{what} has no rule: it would believe nobody")
    _require_used(keys, rules, what)
    revoked = cbor.as_array(members.get("revoked", []), what=f"revoked of {what}", limit=_MAX_REVOKED)
    return StatementPolicy(rules, frozenset(_revoked(item, f"{what}, [[revoked]]") for item in revoked), bundles)


def _signers(members: Mapping[str, object], what: str) -> dict[str, StatementSigner]:
    """Return who is named in `keys` and `identities`, of which there is at least one."""
    keys = _keys(members["keys"], f"{what}, [keys]") if "keys" in members or "identities" not in members else {}
    found = members.get("identities", {})
    if not isinstance(found, dict) or len(found) > _MAX_KEYS:
        raise ConfigError(f"{what}, [identities] is no table of identities", want=f"at most {_MAX_KEYS}")
    identities = {name: _identity(name, value, f"{what}, [identities.{name[:64]!a}]") for name, value in found.items()}
    if both := sorted(keys.keys() & identities.keys()):
        raise ConfigError(f"{what} has a key and an identity by one name", got=ascii(both[0]))
    return {**keys, **identities}


def _identity(name: str, value: object, what: str) -> SigstoreIdentity:
    members = _members(value, what, _IDENTITY)
    issuer, subject = (cbor.as_text(members[each], what=f"{each} of {what}") for each in _IDENTITY)
    return SigstoreIdentity(name, issuer, subject)


def _keys(value: object, what: str) -> dict[str, DsseKey]:
    if not isinstance(value, dict) or not 0 < len(value) <= _MAX_KEYS:
        raise ConfigError(f"{what} is no table of keys, or is missing", want=f'name = "…", 1 to {_MAX_KEYS} of them')
    keys = {name: _key(name, text, what) for name, text in value.items()}
    if len({key.spki for key in keys.values()}) != len(keys):
        raise ConfigError(f"{what} has one key by two names")
    return keys


def _key(name: str, value: cbor.CborValue, what: str) -> DsseKey:
    try:
        return DsseKey(name, decode_base64(cbor.as_text(value, what="the key")))
    except ConfsecError as exc:
        raise ConfigError(f"{what}, {name[:64]!a} cannot be used: {exc}") from exc


def _rule(value: object, keys: Mapping[str, StatementSigner], what: str) -> tuple[str, StatementRule]:
    members = _members(value, what, _RULE)
    predicate_type = cbor.as_text(members["predicate_type"], what=f"predicate_type of {what}")
    if predicate_type not in PREDICATES:
        raise ConfigError(
            f"{what} is for an unknown predicate type", got=ascii(predicate_type[:64]), want=", ".join(PREDICATES)
        )
    names = _texts(members["signers"], f"signers of {what}", _MAX_KEYS)
    if unknown := sorted(set(names) - set(keys)):
        raise ConfigError(f"{what} names a signer that has no key", got=ascii(unknown[0]), want=", ".join(keys))
    try:
        return predicate_type, StatementRule(
            signers=tuple(keys[name] for name in names),
            threshold=cbor.as_uint(members["threshold"], what="threshold"),
            subject_names=_subjects(members["subjects"]),
            max_age=_age(members["maximum_age"]),
            newest_only=_boolean(members["newest_only"], "newest_only"),
        )
    except ConfsecError as exc:
        raise ConfigError(f"{what}: {exc.what}", got=exc.got, want=exc.want) from exc


def _subjects(value: object) -> frozenset[str] | None:
    if value == ANY:
        return None
    if not isinstance(value, list) or not value:
        raise ConfigError("subjects is no list of names", want=f'["…"], or "{ANY}"')
    return frozenset(check_name(name, "a subject") for name in _texts(value, "subjects", _MAX_SUBJECTS))


def _age(value: object) -> timedelta | None:
    if value == UNLIMITED:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MAX_SECONDS:
        raise ConfigError("maximum_age is no time", want=f'1 to {_MAX_SECONDS} seconds, or "{UNLIMITED}"')
    return timedelta(seconds=value)


def _boolean(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{what} is neither true nor false")
    return value


def _revoked(value: object, what: str) -> tuple[RevokedKind, bytes]:
    members = _members(value, what, _REVOKED)
    kind = cbor.as_text(members["kind"], what=f"kind of {what}")
    if kind not in set(RevokedKind):
        raise ConfigError(f"{what} is of an unknown kind", got=ascii(kind[:64]), want=", ".join(RevokedKind))
    return RevokedKind(kind), digest_of(cbor.as_text(members["digest"], what=f"digest of {what}"), what)


def _members(
    value: object, what: str, names: Collection[str], *, optional: Collection[str] = ()
) -> dict[str, cbor.CborValue]:
    if not isinstance(value, dict):
        raise ConfigError(f"{what} is not a table", want=", ".join(names))
    if unknown := sorted(set(value) - {*names, *optional}):
        raise ConfigError(
            f"{what} has a key that is unknown", got=ascii(unknown[0][:64]), want=", ".join((*names, *optional))
        )
    if missing := [name for name in names if name not in value]:
        raise ConfigError(f"{what} does not say all", want=", ".join(missing))
    return value


def _texts(value: cbor.CborValue, what: str, limit: int) -> list[str]:
    """Return a list of texts, each once: a name that stands twice was meant to be another."""
    texts = [cbor.as_text(each, what=f"an entry of {what}") for each in cbor.as_array(value, what=what, limit=limit)]
    if len(set(texts)) != len(texts):
        raise ConfigError(f"{what} has one entry twice")
    return texts


def _require_used(keys: Mapping[str, StatementSigner], rules: Mapping[str, StatementRule], what: str) -> None:
    """Refuse a key that no rule names: whoever wrote it down believes that it counts."""
    used = {key.name for rule in rules.values() for key in rule.signers}
    if unused := sorted(set(keys) - used):
        raise ConfigError(
            f"{what} has a key that no rule names", got=ascii(unused[0]), hint="Name it in signers, or leave it out"
        )


def _signers_of(policy: StatementPolicy) -> list[StatementSigner]:
    signers = {signer.name: signer for rule in policy.rules.values() for signer in rule.signers}
    if any(signers[signer.name] != signer for rule in policy.rules.values() for signer in rule.signers):
        raise ConfigError("two signers of a statement policy have one name")
    return [signers[name] for name in sorted(signers)]


def _signers_to_toml(prefix: str, signers: Iterable[StatementSigner]) -> list[str]:
    keys, identities = [], []
    for signer in signers:
        name = toml_general.quote(signer.name)
        if isinstance(signer, DsseKey):
            keys.append(f"{name} = {toml_general.quote(encode_base64(signer.spki))}\n")
        else:
            issuer, subject = toml_general.quote(signer.issuer), toml_general.quote(signer.subject)
            identities.append(f"\n[{prefix}identities.{name}]\nissuer = {issuer}\nsubject = {subject}\n")
    return [*([f"\n[{prefix}keys]\n", *keys] if keys else []), *identities]


def _rule_to_toml(prefix: str, predicate_type: str, rule: StatementRule) -> str:
    subjects = f'"{ANY}"' if rule.subject_names is None else _list_to_toml(sorted(rule.subject_names))
    age = f'"{UNLIMITED}"' if rule.max_age is None else str(int(rule.max_age.total_seconds()))
    return (
        f"\n[[{prefix}rule]]\n"
        f"predicate_type = {toml_general.quote(predicate_type)}\n"
        f"signers = {_list_to_toml(key.name for key in rule.signers)}\n"
        f"threshold = {rule.threshold}\n"
        f"subjects = {subjects}\n"
        f"maximum_age = {age}\n"
        f"newest_only = {'true' if rule.newest_only else 'false'}\n"
    )


def _list_to_toml(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(toml_general.quote, texts))}]"


def _require_same(policy: StatementPolicy, text: str, table: str) -> None:
    """Read what was written: a file that says something else, or nothing that can be read, is not given out."""
    what = "the statement policy"
    members = toml_general.decode(text, what=what)
    verifier = policy.bundles
    back = from_table(members[table], what=what, bundles=verifier) if table else from_toml(text, bundles=verifier)
    if (dict(back.rules), back.revoked) != (dict(policy.rules), policy.revoked):
        raise ConfigError("a statement policy says what no file can say", hint="Ages are whole seconds")
