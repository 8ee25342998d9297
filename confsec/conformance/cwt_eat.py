"""Vectors of claims: kinds cwt and eat, and the examples of RFC 9711 (schema named-edn-cbor).

Claims-sets have to come back from our CBOR and our JSON. Tokens of PSA and CCA verify with the keys beside them, and
say what is stated; of a CCA token also the binding is checked, which joins its two halves. The names of these profiles
are needed here only: no node of ours has such a TEE.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from confsec.conformance.cases import Case, CaseSkippedError, MismatchError, check_refused, check_same, unhex
from confsec.conformance.cose import check_cose_wg_example
from confsec.conformance.edn import named_edn_cbor
from confsec.conformance.keys import public_key_of
from confsec.conformance.kinds import FileCase, Kind
from confsec.protocol import cbor_general, json_general
from confsec.protocol.cbor_general import Tag
from confsec.protocol.claim_tables import Claims, verify_current
from confsec.protocol.claims import EAT_CLAIMS, DetachedDigest, NestedToken
from confsec.protocol.cose import public_key_from_cose_key
from confsec.protocol.eat_tokens import TAG_CWT, DetachedBundle, decode_cwt, verify_cwt, verify_detached
from confsec.protocol.jose import Jws
from confsec.protocol.wire import decode_base64url

__all__ = ["KINDS", "SCHEMAS", "check_cwt", "check_eat", "check_eat_example"]

_LIMIT: Final = 1 << 20
_COSWID: Final = 0x53574944
_CCA_TOKEN: Final = 399
_CCA_PLATFORM, _CCA_REALM = 44234, 44241

# RFC 9783, section 4, and draft-ffm-rats-cca-token: the claims that RFC 9711 does not have, by the names in the files.
_COMPONENT: Final[Mapping[str, str | int]] = {
    "measurement-type": 1, "measurement-value": 2, "version": 4, "signer-id": 5,
}  # fmt: skip
_NAMES: Final[Mapping[str, str | int]] = {
    "eat-profile": "eat_profile",
    "psa-client-id": 2394,
    "psa-security-lifecycle": 2395,
    "psa-implementation-id": 2396,
    "psa-boot-seed": 2397,
    "psa-software-components": 2399,
    "psa-verification-service-indicator": 2400,
    "psa-instance-id": "ueid",
    "psa-nonce": "eat_nonce",
    "cca-platform-challenge": "eat_nonce",
    "cca-platform-profile": "eat_profile",
    "cca-platform-implementation-id": 2396,
    "cca-platform-instance-id": "ueid",
    "cca-platform-config": 2401,
    "cca-platform-lifecycle": 2395,
    "cca-platform-sw-components": 2399,
    "cca-platform-service-indicator": 2400,
    "cca-platform-hash-algo-id": 2402,
    "cca-realm-challenge": "eat_nonce",
    "cca-realm-personalization-value": 44235,
    "cca-realm-hash-algo-id": 44236,
    "cca-realm-public-key": 44237,
    "cca-realm-initial-measurement": 44238,
    "cca-realm-extensible-measurements": 44239,
    "cca-realm-public-key-hash-algo-id": 44240,
}
_PUBLIC_KEY, _CHALLENGE = 44237, "eat_nonce"


def check_cwt(case: FileCase) -> None:
    """Check a signed CWT of RFC 8392, appendix A, its claims and its times."""
    if case.params.get("structure") != "cose-sign1":
        raise CaseSkippedError("CWT that are encrypted or have a MAC are out of scope: attestation signs")
    payload = check_cose_wg_example(case.json("vector"))
    claims = EAT_CLAIMS.decode_cbor(payload)
    check_same("encoding", EAT_CLAIMS.encode_cbor(claims), payload)
    issued, expires = (datetime.fromtimestamp(claims[name], UTC) for name in ("nbf", "exp"))
    verify_current(claims, now=issued)
    check_refused(lambda: verify_current(claims, now=expires))
    check_refused(lambda: verify_current(claims, now=issued - timedelta(seconds=1)))


def check_eat(case: FileCase) -> None:
    """Check a claims-set or a bundle in JSON, or a token of PSA or CCA."""
    if "token" not in case.files:
        data = case.read("claims")
        _check_bundle(data) if isinstance(case.json("claims"), list) else _check_json_claims(data)
    elif "realm_key" in case.files:
        _check_cca(case)
    else:
        claims = verify_cwt(case.read("token"), public_key_of(case.json("key")))
        if "claims" in case.files:
            _check_stated(claims, case.json("claims"))


def check_eat_example(case: Case) -> None:
    """Check an example of RFC 9711: a claims-set, a signed one, or a CoSWID, which has claims of its own."""
    data = unhex(case, "cbor")
    item = cbor_general.decode(data, what="an example", limit=_LIMIT)
    check_same("what comes back", cbor_general.decode(cbor_general.encode(item), what="ours", limit=_LIMIT), item)
    if isinstance(item, Tag) and item.number == _COSWID:
        return
    if isinstance(item, Tag) and item.number == TAG_CWT:
        payload = decode_cwt(data).payload
        _check_claims(EAT_CLAIMS.decode_cbor(payload or b""))
        return
    _check_claims(EAT_CLAIMS.from_cbor(item))


def _check_claims(claims: Claims) -> None:
    check_same("what CBOR says", EAT_CLAIMS.decode_cbor(EAT_CLAIMS.encode_cbor(claims)), claims)
    check_same("what JSON says", EAT_CLAIMS.decode_json(EAT_CLAIMS.encode_json(claims)), claims)
    for submodule in claims.get("submods", {}).values():
        if isinstance(submodule, NestedToken) and submodule.type == "CBOR":
            _check_claims(EAT_CLAIMS.decode_cbor(decode_cwt(submodule.token).payload or b""))


def _check_json_claims(data: bytes) -> None:
    claims = EAT_CLAIMS.decode_json(data)
    _check_claims(claims)
    ours, stated = (
        json_general.decode(each, what="claims", limit=_LIMIT) for each in (EAT_CLAIMS.encode_json(claims), data)
    )
    check_same("claims", ours, stated)


def _check_bundle(data: bytes) -> None:
    """Check digests. The main token has a MAC under a key that nobody published, so only its claims are read."""
    bundle = DetachedBundle.decode_json(data)
    check_same("type of the main token", bundle.main_token.type, "JWT")
    claims = EAT_CLAIMS.decode_json(decode_base64url(Jws.decode(bundle.main_token.token.decode()).payload))
    digests = [name for name, value in claims["submods"].items() if isinstance(value, DetachedDigest)]
    check_same("submodules", sorted(verify_detached(claims, bundle)), sorted(digests))
    for detached in bundle.claims_sets.values():
        _check_json_claims(detached)


def _check_cca(case: FileCase) -> None:
    """Check both halves of a CCA token, and that the platform vouches for the key of the realm."""
    item = cbor_general.decode(case.read("token"), what="a CCA token", limit=_LIMIT)
    if not isinstance(item, Tag) or item.number != _CCA_TOKEN or not isinstance(item.value, dict):
        raise MismatchError("the token is not one of CCA")
    platform_token, realm_token = item.value.get(_CCA_PLATFORM), item.value.get(_CCA_REALM)
    if not isinstance(platform_token, bytes) or not isinstance(realm_token, bytes):
        raise MismatchError("the token lacks one of its halves")
    realm_key = public_key_of(case.json("realm_key"))
    platform, realm = verify_cwt(platform_token, public_key_of(case.json("key"))), verify_cwt(realm_token, realm_key)
    check_same("key of the realm", public_key_from_cose_key(realm[_PUBLIC_KEY]) == realm_key, want=True)
    check_same("platform challenge", platform[_CHALLENGE], sha256(realm[_PUBLIC_KEY]).digest())
    stated = case.json("claims")
    _check_stated(platform, stated["cca-platform-token"])
    _check_stated(realm, stated["cca-realm-delegated-token"])


def _check_stated(claims: Mapping[str | int, Any], stated: Mapping[str, Any]) -> None:
    for name, value in stated.items():
        if name not in _NAMES:
            raise MismatchError(f"a claim that is not known is stated: {name}")
        check_same(name, _shown(claims.get(_NAMES[name])), _components(value))


def _components(value: Any) -> Any:
    """Return what is stated with the members of software components by their numbers."""
    if isinstance(value, list):
        return [_components(each) for each in value]
    if isinstance(value, Mapping):
        return {_COMPONENT.get(name, name): member for name, member in value.items()}
    return value


def _shown(value: Any) -> Any:
    """Return a claim as the files state it: bytes in base64."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [_shown(each) for each in value]
        case dict():
            return {key: _shown(member) for key, member in value.items()}
        case _:
            return value


SCHEMAS: Final = (named_edn_cbor("cwt-eat", check_eat_example),)
"""The examples of RFC 9711."""

KINDS: Final = (Kind(name="cwt", check=check_cwt), Kind(name="eat", check=check_eat))
"""Tokens, and claims-sets in files."""
