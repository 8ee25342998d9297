"""Vectors of COSE_Sign1, in the forms of cose-wg (`input`, `output`) and of gluecose (`sign1::…`): kind cose-sign1.

The other messages of COSE are kinds that we know and do not run: attestation uses none of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import load_der_x509_certificate

from confsec.conformance.cases import MismatchError, check_same, unhex
from confsec.conformance.keys import public_key_of, signing_key_of
from confsec.conformance.kinds import FileCase, Kind
from confsec.protocol import cbor_general
from confsec.protocol.cose import CoseSign1, sign1, verify_sign1

__all__ = ["KINDS", "check_cose_sign1", "check_cose_wg_example"]

_ISSUER, _FEED = "iss", "feed"


def check_cose_sign1(case: FileCase) -> None:
    """Check one message: verify it, or make it again as far as signatures are the same each time."""
    if "message" in case.files:
        _check_message(case)
        return
    document = case.json("vector")
    if "output" in document:
        check_cose_wg_example(document)
    elif "sign1::sign" in document:
        _check_gluecose_sign(document, document["sign1::sign"])
    else:
        _check_gluecose_verify(document, document["sign1::verify"])


def check_cose_wg_example(document: Mapping[str, Any]) -> bytes:
    """Check a message in the form of cose-wg, and return its payload."""
    stated = document["input"]
    signer = stated["sign0"]
    encoded = unhex(document["output"], "cbor")
    external = bytes.fromhex(signer.get("external", ""))
    message = CoseSign1.decode(encoded)
    key = public_key_of(signer["key"])
    payload = verify_sign1(message, key, external_aad=external, algorithm=signer["alg"])
    plaintext = unhex(stated, "plaintext_hex") if "plaintext_hex" in stated else stated["plaintext"].encode()
    check_same("payload", payload, plaintext)
    to_be_signed = message.to_be_signed(external_aad=external)
    check_same("ToBeSign", to_be_signed, unhex(document["intermediates"], "ToBeSign_hex"))
    check_same("encoding", message.encode(), encoded)
    _check_deterministic(message, signer)
    return payload


def _check_deterministic(message: CoseSign1, signer: Mapping[str, Any]) -> None:
    """Make the signature again where there is only one: ECDSA in vectors is random, and EdDSA is not."""
    key = signing_key_of(signer["key"])
    if not isinstance(key, ed25519.Ed25519PrivateKey) or message.payload is None:
        return
    protected, unprotected = message.headers, message.unprotected
    ours = sign1(message.payload, key, algorithm=signer["alg"], protected=protected, unprotected=unprotected)
    check_same("signature", ours.signature, message.signature)


def _check_gluecose_verify(document: Mapping[str, Any], stated: Mapping[str, Any]) -> None:
    message = CoseSign1.decode(unhex(stated["taggedCOSESign1"], "cborHex"))
    external = bytes.fromhex(stated.get("external", ""))
    detached = bytes.fromhex(stated["payload"]) if "payload" in stated else None
    verify_sign1(
        message, public_key_of(document["key"]), external_aad=external, detached_payload=detached,
        algorithm=document["alg"],
    )  # fmt: skip


def _check_gluecose_sign(document: Mapping[str, Any], stated: Mapping[str, Any]) -> None:
    """Check that what we would sign is what is stated, and that our signature is good.

    Only the first bytes of the output are fixed. The signature in it is random, and in one of the files by another key.
    """
    payload, external = unhex(stated, "payload"), bytes.fromhex(stated.get("external", ""))
    expected, detached = unhex(stated["expectedOutput"], "cborHex"), stated["detached"] is True
    message = CoseSign1.decode(expected)
    check_same("protected headers", message.protected, unhex(stated["protectedHeaders"], "cborHex"))
    beside = payload if detached else None
    to_be_signed = message.to_be_signed(external_aad=external, detached_payload=beside)
    check_same("tbs", to_be_signed, unhex(stated["tbsHex"], "cborHex"))
    check_same("payload", message.payload, None if detached else payload)
    unprotected = cbor_general.as_map(
        cbor_general.decode(unhex(stated["unprotectedHeaders"], "cborHex"), what="unprotected headers", limit=4096),
        what="unprotected headers",
    )
    signing_key = signing_key_of(document["key"])
    if signing_key is not None:
        ours = sign1(payload, signing_key, algorithm=document["alg"], protected=message.headers,
                     unprotected=unprotected, external_aad=external, detached=detached)  # fmt: skip
        verify_sign1(ours, public_key_of(document["key"]), external_aad=external, detached_payload=beside)
    else:
        ours = CoseSign1(protected=message.protected, unprotected=unprotected, payload=message.payload,
                         signature=bytes(len(message.signature)))  # fmt: skip
    fixed = stated["fixedOutputLength"]
    check_same("output", ours.encode()[:fixed], expected[:fixed])


def _check_message(case: FileCase) -> None:
    """Read a signed statement whose chain is not verified here; its signature is, with the key that it brings."""
    message = CoseSign1.decode(case.read("message"))
    for name, label in (("issuer", _ISSUER), ("feed", _FEED)):
        if name in case.params:
            check_same(name, message.headers.get(label), case.params[name])
    if not message.x5chain:
        raise MismatchError("the message brings no certificates")
    key = load_der_x509_certificate(message.x5chain[0]).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise MismatchError("the certificate has no key that we verify with")
    payload = verify_sign1(message, key)
    measurement = case.params.get("expected", {}).get("launch_measurement", "")
    if not re.search(re.escape(measurement.encode()), payload):
        raise MismatchError("the payload does not hold the stated launch measurement")


_OUT_OF_SCOPE: Final = "COSE messages other than COSE_Sign1 are out of scope: attestation uses none of them"

KINDS: Final = (
    Kind(name="cose-sign1", check=check_cose_sign1),
    *(
        Kind(name=name, check=None, missing=_OUT_OF_SCOPE)
        for name in ("cose-sign", "cose-mac", "cose-mac0", "cose-encrypt", "cose-encrypt0")
    ),
)
"""One that we run, and five that we do not."""
