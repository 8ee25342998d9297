"""Edge cases of signatures in Wycheproof's form: ECDSA with r and s, Ed25519, RSASSA-PSS, and JSON web signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from confsec.conformance.cases import Case, CaseSkippedError, MismatchError, check_refused, unhex
from confsec.protocol.jose import DEFAULT_ALGORITHMS, Jws, public_key_from_jwk, verify_jws
from confsec.protocol.signatures import ALGORITHMS, verify_signature
from confsec.protocol.wire import encode_base64url

__all__ = ["check_ecdsa", "check_eddsa", "check_jws", "check_rsa_pss"]

_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_RESULTS: Final = {"valid": True, "invalid": False}


def check_ecdsa(case: Case) -> None:
    """Check a signature of fixed size by ECDSA."""
    key = _mapping(case, "publicKey")
    curve, point = _CURVES.get(str(key.get("curve"))), unhex(key, "uncompressed")
    if curve is None:
        raise CaseSkippedError(f"the curve {key.get('curve')} is not implemented")
    half = len(point) // 2
    x, y = (encode_base64url(part) for part in (point[1 : half + 1], point[half + 1 :]))
    _check_signature(case, f"ES{_hash(case)}", {"kty": "EC", "crv": curve, "x": x, "y": y})


def check_eddsa(case: Case) -> None:
    """Check a signature by Ed25519."""
    _check_signature(case, "EdDSA", _mapping(case, "publicKeyJwk"))


def check_rsa_pss(case: Case) -> None:
    """Check a signature by RSASSA-PSS, with the parameters that JOSE and COSE fix."""
    stated = (case.get("mgf"), case.get("mgfSha"), case.get("sLen"))
    if stated != ("MGF1", case.get("sha"), int(_hash(case)) // 8):
        raise CaseSkippedError("RSASSA-PSS with parameters that neither JOSE nor COSE has")
    key = _mapping(case, "publicKey")
    n, e = (encode_base64url(unhex(key, name).lstrip(b"\0")) for name in ("modulus", "publicExponent"))
    _check_signature(case, f"PS{_hash(case)}", {"kty": "RSA", "n": n, "e": e})


def check_jws(case: Case) -> None:
    """Check a JSON web signature under a key. If the key names an algorithm, that is the one that is allowed."""
    key, token = case.get("public", case.get("private")), case.get("jws")
    if not isinstance(key, Mapping) or not isinstance(token, str):
        raise MismatchError("the case has no key, or no token")
    allowed = {key["alg"]} if "alg" in key else DEFAULT_ALGORITHMS
    if not allowed <= DEFAULT_ALGORITHMS:
        raise CaseSkippedError(f"{key['alg']} is not implemented")

    def verify() -> None:
        verify_jws(Jws.decode(token), public_key_from_jwk(key), algorithms=allowed)

    if case.get("result") == "valid" and Jws.decode(token).header.get("alg") not in allowed:
        check_refused(verify)
        raise CaseSkippedError(
            "the token is by another algorithm than its key names, and refused (RFC 7517, section 4.4)"
        )
    _check(case, verify)


def _check_signature(case: Case, name: str, jwk: Mapping[str, Any]) -> None:
    row = ALGORITHMS.get(name)
    if row is None:
        raise CaseSkippedError(f"{name} is not implemented")
    key, signature, message = public_key_from_jwk(jwk), unhex(case, "sig"), unhex(case, "msg")
    _check(case, lambda: verify_signature(row, key, signature=signature, message=message))


def _check(case: Case, verify: Callable[[], object]) -> None:
    result = case.get("result")
    if result not in _RESULTS:
        raise MismatchError(f"the result {result!r} is none of Wycheproof's for signatures")
    if _RESULTS[result]:
        verify()
    else:
        check_refused(verify)


def _hash(case: Case) -> str:
    return str(case.get("sha")).removeprefix("SHA-")


def _mapping(case: Case, name: str) -> Mapping[str, Any]:
    value = case.get(name)
    if not isinstance(value, Mapping):
        raise MismatchError(f"the case has no {name}")
    return value
