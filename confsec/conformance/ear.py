"""Vectors of attestation results: signed ones, claims-sets, and the parts of a trustworthiness vector.

Where a name of an example says JSON, its bytes are a JSON claims-set that was written in CBOR: they are turned into
JSON text, and read as that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from confsec.conformance.cases import (
    Case,
    MismatchError,
    NamedCase,
    Schema,
    check_refused,
    check_same,
    list_cases,
    or_refused,
    unhex,
)
from confsec.conformance.edn import named_edn_cbor
from confsec.conformance.keys import public_key_of
from confsec.conformance.kinds import FileCase, Kind
from confsec.errors import DecodeError
from confsec.protocol import cbor_general, json_general
from confsec.protocol.ar4si import TRUST_CLAIMS, TrustTier, TrustVector
from confsec.protocol.ear import Ear
from confsec.protocol.json_general import JsonItem

__all__ = [
    "KINDS",
    "SCHEMAS",
    "check_ear_claims",
    "check_ear_example",
    "check_ear_jwt",
    "check_ear_signed",
    "check_trust",
]

_KEY: Final = "key of the file"


def check_ear_jwt(case: Case) -> None:
    """Check a signed result: its signature, its claims, and that they are written again as they were."""
    result = Ear.from_jwt(str(case["token"]), public_key_of(case[_KEY]))
    check_same("what comes back", Ear.from_json(result.to_json()), result)


def check_ear_signed(case: Case) -> None:
    """Check a result in both of its signed forms. Nothing may be wrong in only one of them."""
    if case.get("valid", True) is not True:
        check_refused(lambda: Ear.from_jwt(str(case["jwt"]), public_key_of(case[_KEY])))
        check_refused(lambda: Ear.from_cwt(unhex(case, "cwt"), public_key_of(case[_KEY])))
        return
    result = Ear.from_json(json_general.encode(case["claims"]))
    check_same("cbor", result.to_cbor(), unhex(case, "cbor"))
    check_same("result of the CWT", Ear.from_cwt(unhex(case, "cwt"), public_key_of(case[_KEY])), result)
    check_same("result of the JWT", Ear.from_jwt(str(case["jwt"]), public_key_of(case[_KEY])), result)


def check_ear_claims(case: FileCase) -> None:
    """Check a claims-set in JSON: its profile, and that it is written again as it was."""
    data = case.read("claims")
    result = Ear.from_json(data)
    check_same("profile", result.profile.value, case.params.get("profile", result.profile.value))
    _check_same_json(result.to_json(), data)


def check_ear_example(case: Case) -> None:
    """Check an example of the draft, in the form that its name says."""
    data = unhex(case, "cbor")
    if "json" in str(case.get("name")):
        text = json_general.encode(_to_json(cbor_general.decode(data, what="an example", limit=1 << 20)))
        _check_same_json(Ear.from_json(text).to_json(), text)
        return
    result = Ear.from_cbor(data)
    # Only the order of keys may differ: ours is deterministic.
    ours = cbor_general.decode(result.to_cbor(), what="an example", limit=1 << 20)
    check_same("claims", ours, cbor_general.decode(data, what="an example", limit=1 << 20))


def check_trust(case: Case) -> None:
    """Check a tier by its name, or a vector of claims by their names or numbers."""
    if "tier" in case:
        tier = TrustTier.from_word(case["tier"])
        check_same("value", int(tier), case.get("value"))
        check_same("tier", TrustTier.from_number(int(tier)), tier)
        return
    vector = TrustVector.from_names({aspect: _claim(aspect, claim) for aspect, claim in case["in"].items()})
    for aspect, claim in case.get("expect", {}).items():
        check_same(aspect, vector.claims.get(aspect), claim)


def _claim(aspect: str, claim: object) -> object:
    if not isinstance(claim, str):
        return claim
    known = TRUST_CLAIMS.get(aspect, {})
    if claim not in known:
        raise DecodeError("a trustworthiness claim that is none")
    return known[claim][0]


def _to_json(item: object) -> JsonItem:
    match item:
        case None | bool() | int() | float() | str():
            return item
        case list():
            return [_to_json(each) for each in item]
        case dict() if all(isinstance(key, str) for key in item):
            return {str(key): _to_json(value) for key, value in item.items()}
        case _:
            raise MismatchError("the example is no JSON")


def _check_same_json(ours: bytes, stated: bytes) -> None:
    got, want = (json_general.decode(each, what="claims", limit=1 << 20) for each in (ours, stated))
    check_same("claims", got, want)


def _list_jwts(document: object) -> Iterator[NamedCase]:
    """Yield the tokens, each with the key that is stated once for all."""
    key = document.get("key") if isinstance(document, Mapping) else None
    for name, case in list_cases(document):
        yield name, {**case, _KEY: key} if isinstance(case, Mapping) else case


def _has_tokens(document: object) -> bool:
    cases = [case for _, case in list_cases(document)]
    return isinstance(document, Mapping) and "key" in document and any(_has(case, "token") for case in cases)


def _has_both_forms(document: object) -> bool:
    cases = [case for _, case in list_cases(document)]
    return isinstance(document, Mapping) and "key" in document and any(_has(case, "cwt") for case in cases)


def _has_trust(document: object) -> bool:
    cases = [case for _, case in list_cases(document)]
    return any(_has(case, "tier") for case in cases) and any(_has(case, "in") for case in cases)


def _has(case: object, member: str) -> bool:
    return isinstance(case, Mapping) and member in case


SCHEMAS: Final = (
    Schema(name="ear-jwt", recognises=_has_tokens, check=or_refused(check_ear_jwt), list_cases=_list_jwts),
    Schema(name="ear-signed", recognises=_has_both_forms, check=check_ear_signed, list_cases=_list_jwts),
    Schema(
        name="ear-trust-vector-and-tier",
        recognises=_has_trust,
        check=or_refused(check_trust),
        list_cases=list_cases,
    ),
    named_edn_cbor("ear", check_ear_example),
)
"""Tokens, the parts of a vector, and the examples of the draft."""

KINDS: Final = (Kind(name="ear-claims", check=check_ear_claims),)
"""Claims-sets without a signature."""
