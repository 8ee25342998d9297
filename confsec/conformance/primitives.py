"""Edge cases of primitives in Wycheproof's form: those that confsec uses, and the names of those that it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from confsec.conformance.cases import (
    Case,
    CaseSkippedError,
    Check,
    MismatchError,
    NamedCase,
    Schema,
    check_refused,
    check_same,
    check_stated,
    unhex,
)
from confsec.conformance.signatures import check_ecdsa, check_eddsa, check_jws, check_rsa_pss
from confsec.protocol.groups import X448, X25519, Group
from confsec.protocol.kem import ML_KEM_768, ML_KEM_1024

__all__ = ["SCHEMAS", "check_ml_kem", "check_xdh"]

_GROUPS: Final[dict[object, Group]] = {"curve25519": X25519, "curve448": X448}
_KEMS: Final = {kem.name: kem for kem in (ML_KEM_768, ML_KEM_1024)}
_RESULTS: Final = {"valid", "acceptable", "invalid"}


def check_xdh(case: Case) -> None:
    """Check one Diffie–Hellman on Curve25519 or Curve448.

    "acceptable" is for others to decide. We take every public key of the right size, as RFC 7748, section 5, asks, and
    refuse the all-zero result, as RFC 9180, section 7.1.4, does.
    """
    group = _GROUPS.get(case.get("curve"))
    if group is None:
        raise CaseSkippedError(f"the curve {case.get('curve')} is not implemented")
    private_key, public_key, shared = (unhex(case, name) for name in ("private", "public", "shared"))

    def agree() -> bytes:
        return group.from_private_bytes(private_key).diffie_hellman(public_key)

    result = _result(case)
    if result == "invalid" or (result == "acceptable" and not any(shared)):
        check_refused(agree)
    else:
        check_same("shared", agree(), shared)


def check_ml_kem(case: Case) -> None:
    """Check key generation from a seed, and one decapsulation (FIPS 203)."""
    kem = _KEMS.get(str(case.get("parameterSet")))
    if kem is None:
        raise CaseSkippedError(f"{case.get('parameterSet')} is not implemented")
    seed, ciphertext = unhex(case, "seed"), unhex(case, "c")
    if _result(case) == "invalid":
        check_refused(lambda: kem.from_private_bytes(seed).decapsulate(ciphertext))
        return
    private_key = kem.from_private_bytes(seed)
    check_stated(case, ek=private_key.public_key)
    check_same("K", private_key.decapsulate(ciphertext), unhex(case, "K"))


def _result(case: Case) -> str:
    result = case.get("result")
    if result not in _RESULTS:
        raise MismatchError(f"the result {result!r} is none of Wycheproof's")
    return str(result)


def _list_tests(document: object) -> Iterator[NamedCase]:
    """Find the tests of all groups. What the group says holds for each of them."""
    for group in _groups(document):
        shared = {name: value for name, value in group.items() if name != "tests"}
        tests = group.get("tests")
        for test in tests if isinstance(tests, list) else ():
            if isinstance(test, Mapping):
                yield f"tcId {test.get('tcId')}", {**shared, **test}
            else:
                yield "tcId unknown", test


def _groups(document: object) -> list[Mapping[str, object]]:
    groups = document.get("testGroups") if isinstance(document, Mapping) else None
    return [group for group in groups if isinstance(group, Mapping)] if isinstance(groups, list) else []


def _of_type(group_type: str) -> Callable[[object], bool]:
    return lambda document: any(group.get("type") == group_type for group in _groups(document))


def _schema(name: str, group_type: str, *, check: Check | None = None, missing: str = "") -> Schema:
    reason = f"{missing} not used yet" if missing else ""
    return Schema(
        name=f"wycheproof-{name}",
        recognises=_of_type(group_type),
        check=check,
        missing=reason,
        list_cases=_list_tests,
    )


SCHEMAS: Final = (
    _schema("xdh", "XdhComp", check=check_xdh),
    _schema("mlkem", "MLKEMTest", check=check_ml_kem),
    _schema("ecdsa-p1363", "EcdsaP1363Verify", check=check_ecdsa),
    _schema("eddsa", "EddsaVerify", check=check_eddsa),
    _schema("rsa-pss", "RsassaPssVerify", check=check_rsa_pss),
    _schema("mldsa-verify", "MlDsaVerify", missing="ML-DSA signatures are"),
    _schema("jws", "JsonWebSignature", check=check_jws),
    _schema("jwk", "JsonWebKey", missing="sets of keys, and keys with secrets, are"),
    Schema(
        name="wycheproof",
        recognises=lambda document: bool(_groups(document)),
        check=None,
        missing="this primitive is not used",
        list_cases=_list_tests,
    ),
)
"""One form, with a type in each group; the last one stands for all other types."""
