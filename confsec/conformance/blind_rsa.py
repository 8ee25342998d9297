"""Vectors of blind signatures: schemas blind-rsa-rfc9474, partially-blind-rsa and emsa-pss.

The signer's private operation is not part of the core, so it is done here with plain integers, which take a different
time for each key: the keys of vectors are published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from confsec.conformance.algorithms import replay
from confsec.conformance.cases import (
    Case,
    MismatchError,
    NamedCase,
    Schema,
    check_same,
    check_stated,
    has_members,
    list_cases,
    or_refused,
    unhex,
)
from confsec.protocol import blind_rsa, partially_blind_rsa
from confsec.protocol.blind_rsa import BlindRsaVariant
from confsec.protocol.emsa_pss import emsa_pss_encode, emsa_pss_verify
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.protocol.wire import encode_uint

__all__ = ["SCHEMAS", "check_blind_rsa", "check_emsa_pss", "check_partially_blind_rsa", "sign_with_published_key"]

_EMSA_PSS_BITS: Final = 1024
_EMSA_PSS_MEMBERS: Final = frozenset({"msg", "salt", "expected"})


def check_blind_rsa(case: Case) -> None:
    """Check every step of a blind signature, at both ends (RFC 9474, appendix A)."""
    variant = _find_variant(case, blind_rsa.VARIANTS)
    public_key = _check_key(case)
    check_same("sLen", variant.salt_size, _number(case, "sLen"))
    check_same("is_randomized", variant.randomized, bool(_number(case, "is_randomized")))
    prefix, salt, inverse = unhex(case, "msg_prefix"), unhex(case, "salt"), _number(case, "inv")
    input_msg = blind_rsa.prepare(unhex(case, "msg"), variant=variant, randbytes=replay(prefix))
    check_same("input_msg", input_msg, unhex(case, "input_msg"))
    check_same("length of msg_prefix", len(prefix), blind_rsa.PREFIX_SIZE if variant.randomized else 0)
    check_same("length of salt", len(salt), variant.salt_size)
    check_stated(case, encoded_msg=emsa_pss_encode(input_msg, public_key.n.bit_length() - 1, salt=salt))
    r = encode_uint(pow(inverse, -1, public_key.n), public_key.modulus_size)
    blinded = blind_rsa.blind(public_key, input_msg, variant=variant, randbytes=replay(salt + r))
    check_same("inv", blinded.inverse, inverse)
    check_same("blinded_msg", blinded.blinded_msg, unhex(case, "blinded_msg"))
    blind_sig = sign_with_published_key(public_key, blinded.blinded_msg, _number(case, "d"))
    check_same("blind_sig", blind_sig, unhex(case, "blind_sig"))
    sig = blind_rsa.finalize(public_key, input_msg, blind_sig=blind_sig, inverse=blinded.inverse, variant=variant)
    check_same("sig", sig, unhex(case, "sig"))


def check_partially_blind_rsa(case: Case) -> None:
    """Check every step of a signature under public metadata, at both ends, and the derived exponent."""
    name = str(case.get("name", "")).replace("RSABSSA", "RSAPBSSA")
    variant = _find_variant({"name": name}, partially_blind_rsa.VARIANTS)
    public_key = _check_key(case)
    p, q = _number(case, "p"), _number(case, "q")
    partially_blind_rsa.check_safe_primes(p, q)
    info, salt, r = unhex(case, "info"), unhex(case, "salt"), unhex(case, "r")
    prefix = unhex(case, "msg_prefix") if "msg_prefix" in case else b""
    check_same("length of salt", len(salt), variant.salt_size)
    input_msg = partially_blind_rsa.prepare(unhex(case, "msg"), variant=variant, randbytes=replay(prefix))
    check_same("length of msg_prefix", len(prefix), len(input_msg) - len(unhex(case, "msg")))
    derived = partially_blind_rsa.derive_public_key(public_key, info)
    check_same("eprime", derived.e, _number(case, "eprime"))
    blinded = partially_blind_rsa.blind(public_key, input_msg, info, variant=variant, randbytes=replay(salt + r))
    check_same("blind_msg", blinded.blinded_msg, unhex(case, "blind_msg"))
    private_exponent = pow(derived.e, -1, (p - 1) * (q - 1))
    blind_sig = sign_with_published_key(derived, blinded.blinded_msg, private_exponent)
    check_same("blind_sig", blind_sig, unhex(case, "blind_sig"))
    sig = partially_blind_rsa.finalize(
        public_key, input_msg, info, blind_sig=blind_sig, inverse=blinded.inverse, variant=variant
    )
    check_same("sig", sig, unhex(case, "sig"))


def check_emsa_pss(case: Case) -> None:
    """Check an encoding with SHA-1 for a modulus of 1024 bits, which only shows that our encoding is the usual one."""
    message, salt, bits = unhex(case, "msg"), unhex(case, "salt"), _EMSA_PSS_BITS - 1
    encoded = emsa_pss_encode(message, bits, salt=salt, hash_name="sha1")
    check_same("expected", encoded, unhex(case, "expected"))
    emsa_pss_verify(message, encoded, bits, salt_size=len(salt), hash_name="sha1")


def sign_with_published_key(public_key: RsaPublicKey, blinded_msg: bytes, private_exponent: int) -> bytes:
    """Return the blind signature, checked as every signer has to (RFC 9474, section 4.3)."""
    blind_rsa.check_blinded_msg(public_key, blinded_msg)
    number = pow(int.from_bytes(blinded_msg, "big"), private_exponent, public_key.n)
    blind_sig = encode_uint(number, public_key.modulus_size)
    blind_rsa.check_blind_sig(public_key, blinded_msg, blind_sig)
    return blind_sig


def _check_key(case: Case) -> RsaPublicKey:
    """Check that the numbers of a key belong together."""
    n, e, d, p, q = (_number(case, name) for name in ("n", "e", "d", "p", "q"))
    check_same("n", p * q, n)
    check_same("e times d", (e * d % (p - 1), e * d % (q - 1)), (1, 1))
    return RsaPublicKey(n, e)


def _find_variant(case: Case, variants: tuple[BlindRsaVariant, ...]) -> BlindRsaVariant:
    for variant in variants:
        if variant.name == case.get("name"):
            return variant
    raise MismatchError(f"{case.get('name')!r} is no variant")


def _number(case: Case, name: str) -> int:
    """Return a number in hex, with or without 0x before it."""
    value = case.get(name)
    if not isinstance(value, str) or not re.fullmatch(r"(?:0x)?[0-9a-fA-F]+", value):
        raise MismatchError(f"the case has no {name}, or not in hex")
    return int(value, 16)


def _is_emsa_pss(document: object) -> bool:
    return isinstance(document, Mapping) and document.keys() >= _EMSA_PSS_MEMBERS


def _only_case(document: object) -> Iterator[NamedCase]:
    yield "the file", document


SCHEMAS: Final = (
    Schema(
        name="blind-rsa-rfc9474",
        recognises=has_members("blinded_msg input_msg inv"),
        check=or_refused(check_blind_rsa),
        list_cases=list_cases,
    ),
    Schema(
        name="partially-blind-rsa",
        recognises=has_members("blind_msg eprime info"),
        check=or_refused(check_partially_blind_rsa),
        list_cases=list_cases,
    ),
    Schema(name="emsa-pss", recognises=_is_emsa_pss, check=or_refused(check_emsa_pss), list_cases=_only_case),
)
"""Blind signatures, those under public metadata, and the encoding below both."""
