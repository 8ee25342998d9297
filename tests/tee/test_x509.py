"""Certificates and revocation lists: read strictly, kept as they came, and every check alone."""

from __future__ import annotations

import base64
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve
from cryptography import x509 as reference
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, EvidenceError, LimitError, TruncatedError, UnsupportedError
from confsec.tee import der
from confsec.tee.der import encode_tlv, header_size, split_elements
from confsec.tee.simulated.amd_keys import load_key
from confsec.tee.simulated.issue import (
    CERT_SIGN,
    CRL_SIGN,
    Signer,
    basic_constraints,
    crl_distribution_point,
    encode_oid,
    issue_certificate,
    issue_revocation_list,
    key_usage,
    make_name,
    public_key_info,
)
from confsec.tee.x509 import (
    CLOCK_SKEW,
    EXTENDED_KEY_USAGE,
    MAX_CERTIFICATE,
    MAX_CHAIN,
    MAX_CRL,
    SUBJECT_ALTERNATIVE_NAME,
    Certificate,
    Extension,
    Name,
    RevocationList,
    decode_chain,
    encode_chain,
    find_path,
    pem_blocks,
    verify_certificate_signature,
    verify_crl_current,
    verify_crl_extensions,
    verify_crl_issuer,
    verify_crl_signature,
    verify_extensions,
    verify_is_authority,
    verify_issuer_name,
    verify_not_revoked,
    verify_path_length,
    verify_root,
    verify_signs_certificates,
    verify_signs_crls,
    verify_valid_at,
)
from confsec.tee.x509_names import decode_general_names, decode_name
from confsec.tee.x509_signatures import algorithm_name

FROM, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
VALID = (FROM, UNTIL)
AT = datetime(2026, 6, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def name(common_name: str) -> Name:
    return make_name([("2.5.4.6", "DE"), ("2.5.4.10", "Tests, Inc."), ("2.5.4.3", common_name)])


def ec_key(number: int, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, curve or ec.SECP256R1())


ROOT_KEY, LEAF_KEY, OTHER_KEY = ec_key(11), ec_key(12), ec_key(13)
ROOT = Signer(name("Root"), ROOT_KEY)
CA = {**basic_constraints(ca=True), **key_usage(CERT_SIGN, CRL_SIGN)}


def issue(
    subject: str = "Leaf",
    *,
    signer: Signer = ROOT,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = LEAF_KEY,
    serial: int = 5,
    valid: tuple[datetime, datetime] = VALID,
    extensions: Mapping[str, Extension] | None = None,
) -> Certificate:
    return issue_certificate(
        signer,
        subject=name(subject),
        public_key=public_key_info(key),
        serial=serial,
        valid=valid,
        extensions=extensions or {},
    )


ROOT_CERTIFICATE = issue("Root", key=ROOT_KEY, serial=1, extensions=CA)
LEAF = issue()


def pem(certificate: Certificate) -> bytes:
    body = base64.encodebytes(certificate.encoded)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


def with_public_key(info: bytes) -> Certificate:
    return issue_certificate(
        ROOT, subject=name("Odd"), public_key=info, serial=5, valid=VALID, extensions={"1.2.3": Extension(False, b"")}
    )


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_certificate_is_read() -> None:
    found = issue(serial=0, extensions=CA)
    assert found.serial == 0
    assert found.subject.text == "CN=Leaf,O=Tests\\, Inc.,C=DE"
    assert found.issuer.common_name == "Root"
    assert (found.not_before, found.not_after) == VALID
    assert found.tbs in found.encoded
    assert found.basic_constraints == (True, None)
    assert found.key_usage == frozenset({CERT_SIGN, CRL_SIGN})
    assert found.algorithm == "ECDSA SHA256"
    assert Certificate.decode(found.encoded) == found
    assert Certificate.decode_pem(pem(found)) == found
    assert isinstance(found.public_key, ec.EllipticCurvePublicKey)
    assert not found.self_issued
    assert ROOT_CERTIFICATE.self_issued


def test_years_from_2050_on_are_read() -> None:
    assert issue(valid=(FROM, datetime(2051, 2, 3, tzinfo=UTC))).not_after == datetime(2051, 2, 3, tzinfo=UTC)


def test_what_is_missing_is_said_to_be_missing() -> None:
    assert LEAF.basic_constraints == (False, None)
    assert LEAF.key_usage is None
    assert LEAF.extended_key_usage is None
    assert LEAF.subject_alternative_names == ()
    assert LEAF.crl_urls == ()


def test_extensions_are_read() -> None:
    purposes = encode_tlv(0x30, encode_oid("2.23.133.8.1") + encode_oid("1.2.3"))
    names = encode_tlv(0x30, encode_tlv(0x82, b"a.example") + encode_tlv(0xA4, name("Device").encoded))
    found = issue(
        extensions={
            EXTENDED_KEY_USAGE: Extension(False, purposes),
            SUBJECT_ALTERNATIVE_NAME: Extension(True, names),
            **crl_distribution_point("https://crl.example/a"),
        }
    )
    assert found.extended_key_usage == frozenset({"2.23.133.8.1", "1.2.3"})
    assert found.subject_alternative_names == ((2, b"a.example"), (4, name("Device").encoded))
    assert found.crl_urls == ("https://crl.example/a",)


def test_distribution_points_of_other_forms_have_no_url() -> None:
    reasons = encode_tlv(0x30, encode_tlv(0x30, encode_tlv(0x81, b"\x01\x80")))
    relative = encode_tlv(0x30, encode_tlv(0x30, encode_tlv(0xA0, encode_tlv(0xA1, b""))))
    for value in (reasons, relative):
        assert issue(extensions={"2.5.29.31": Extension(False, value)}).crl_urls == ()


@pytest.mark.parametrize(
    "value",
    [b"", b"\x30\x03\x02\x01\x00", b"\x30\x06\x01\x01\xff\x02\x01\xff", b"\x30\x03\x01\x01\x00"],
    ids=["empty", "length without authority", "negative length", "default written out"],
)
def test_basic_constraints_that_mean_nothing_are_refused(value: bytes) -> None:
    with pytest.raises(DecodeError):
        _ = issue(extensions={"2.5.29.19": Extension(True, value)}).basic_constraints


def test_alternative_names_without_kind_are_refused() -> None:
    with pytest.raises(DecodeError):
        decode_general_names(encode_tlv(0x30, encode_tlv(0x0C, b"a.example")))


def test_names_are_made_of_sets() -> None:
    attribute = encode_tlv(0x30, encode_oid("2.5.4.3") + encode_tlv(0x0C, b"x"))
    with pytest.raises(DecodeError):
        decode_name(encode_tlv(0x30, encode_tlv(0x30, attribute)))


@pytest.mark.parametrize(
    "tag, value, text",
    [
        (0x0C, "ä".encode(), "CN=ä"),
        (0x13, b"a,b", "CN=a\\,b"),
        (0x16, b" a ", "CN=\\ a\\ "),
        (0x1E, "x".encode("utf-16-be"), "CN=x"),
        (0x14, b"\xe4", "CN=ä"),
        (0x04, b"\x01", "CN=\\#040101"),
        (0x0C, b"#a\x00", "CN=\\#a\\00"),
    ],
)
def test_names_are_shown_as_rfc_4514_says(tag: int, value: bytes, text: str) -> None:
    attribute = encode_tlv(0x30, encode_oid("2.5.4.3") + encode_tlv(tag, value))
    assert decode_name(encode_tlv(0x30, encode_tlv(0x31, attribute))).text == text


def test_name_of_another_character_set_is_refused() -> None:
    attribute = encode_tlv(0x30, encode_oid("2.5.4.3") + encode_tlv(0x0C, b"\xff"))
    with pytest.raises(DecodeError):
        decode_name(encode_tlv(0x30, encode_tlv(0x31, attribute)))


def test_attribute_that_is_there_twice_has_no_text() -> None:
    assert make_name([("2.5.4.3", "a"), ("2.5.4.3", "b")]).common_name == ""


def test_certificate_of_another_version_is_refused() -> None:
    old = LEAF.encoded.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)
    with pytest.raises(DecodeError, match="version"):
        Certificate.decode(old)


def test_version_of_thousands_of_digits_is_refused_in_a_sentence() -> None:
    """Python writes no number of more than 4300 digits: saying it would be another error, which nobody expects."""
    tbs, *rest = split_elements(body_of(LEAF.encoded), limit=3)
    version = encode_tlv(0xA0, encode_tlv(0x02, b"\x7f" * 3000))
    changed = encode_tlv(0x30, body_of(tbs).replace(b"\xa0\x03\x02\x01\x02", version, 1))
    with pytest.raises(DecodeError, match="version") as caught:
        Certificate.decode(encode_tlv(0x30, changed + b"".join(rest)))
    assert "another version" in str(caught.value)


def body_of(element: bytes) -> bytes:
    return element[header_size(element) :]


def test_certificate_that_names_two_algorithms_is_refused() -> None:
    other = Signer(ROOT.name, ROOT_KEY, digest="SHA384").algorithm
    at = LEAF.encoded.rfind(ROOT.algorithm)
    with pytest.raises(DecodeError, match="two algorithms"):
        Certificate.decode(LEAF.encoded[:at] + other + LEAF.encoded[at + len(other) :])


def test_signature_that_is_no_whole_number_of_bytes_is_refused() -> None:
    signature = encode_tlv(0x03, b"\x01" + b"\x02" * 8)
    with pytest.raises(DecodeError, match="whole number"):
        Certificate.decode(encode_tlv(0x30, LEAF.tbs + LEAF.signature_algorithm + signature))


def test_extension_that_is_there_twice_is_refused() -> None:
    found = issue(extensions={"1.2.3": Extension(False, b""), "1.2.4": Extension(False, b"")})
    twice = found.encoded.replace(encode_oid("1.2.4"), encode_oid("1.2.3"))
    with pytest.raises(DecodeError, match="twice"):
        Certificate.decode(twice)


def test_certificate_that_is_too_long_is_refused() -> None:
    with pytest.raises(LimitError):
        issue(extensions={"1.2.3": Extension(False, bytes(MAX_CERTIFICATE))})


def test_pem_of_two_certificates_is_not_one() -> None:
    with pytest.raises(DecodeError):
        Certificate.decode_pem(pem(LEAF) * 2)


@pytest.mark.parametrize(
    "data",
    [
        b"-----BEGIN CERTIFICATE-----\n",
        b"x" + pem(LEAF),
        pem(LEAF) + b"x",
        pem(LEAF).replace(b"BEGIN CERT", b"BEGIN CURT"),
        pem(LEAF).replace(b"M", b"!"),
    ],
    ids=["no end", "text before", "text behind", "another label", "no base64"],
)
def test_pem_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        pem_blocks(data, "CERTIFICATE", limit=1 << 20)


def test_pem_that_is_too_long_is_refused() -> None:
    with pytest.raises(LimitError):
        pem_blocks(pem(LEAF), "CERTIFICATE", limit=10)


def test_chain_is_read_from_pem_and_der() -> None:
    chain = (LEAF, ROOT_CERTIFICATE)
    assert decode_chain(encode_chain(chain)) == chain
    assert decode_chain(b"\n" + b"\r\n".join(map(pem, chain)) + b" \n") == chain
    assert decode_chain(b"") == ()


@pytest.mark.parametrize("encode", [pem, lambda certificate: certificate.encoded], ids=["pem", "der"])
def test_chain_with_too_many_certificates_is_refused(encode: Callable[[Certificate], bytes]) -> None:
    assert len(decode_chain(encode(LEAF) * MAX_CHAIN)) == MAX_CHAIN
    with pytest.raises(LimitError):
        decode_chain(encode(LEAF) * (MAX_CHAIN + 1))


def test_chain_that_is_too_long_is_refused() -> None:
    with pytest.raises(LimitError):
        decode_chain(pem(LEAF) + b"\n" * (2 * MAX_CHAIN * MAX_CERTIFICATE))


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_chain_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(TruncatedError):
        decode_chain(LEAF.encoded + ROOT_CERTIFICATE.encoded[:cut])


@pytest.mark.parametrize("head", [b"\x30\x80", b"\x30\x84\x00\x00\x00\x01"], ids=["indefinite", "too large"])
def test_chain_of_something_else_is_refused(head: bytes) -> None:
    with pytest.raises(DecodeError, match="not DER"):
        decode_chain(LEAF.encoded + head + bytes(100))


def test_elements_are_split_up_to_a_limit() -> None:
    assert der.split_elements(b"\x30\x00" * 2, limit=2) == (b"\x30\x00",) * 2
    with pytest.raises(LimitError):
        der.split_elements(b"\x30\x00" * 3, limit=2)


# --- Keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signer",
    [
        Signer(ROOT.name, ec_key(7, ec.SECP256R1()), digest="SHA512"),
        Signer(ROOT.name, ec_key(7, ec.SECP384R1()), digest="SHA384"),
        Signer(ROOT.name, ec_key(7, ec.SECP521R1()), digest="SHA512"),
        *(Signer(ROOT.name, load_key("ask"), digest=digest, pss=pss)
          for digest in ("SHA256", "SHA384", "SHA512") for pss in (False, True)),
    ],
    ids=lambda signer: algorithm_name(signer.algorithm),
)  # fmt: skip
def test_signatures_of_each_kind_are_verified(signer: Signer) -> None:
    issuer = issue("Root", key=signer.key, extensions=CA)
    found = issue(signer=signer)
    verify_certificate_signature(found, issuer)
    with pytest.raises(EvidenceError, match="wrong"):
        verify_certificate_signature(Certificate.decode(found.encoded.replace(b"Leaf", b"Lead")), issuer)


def test_key_of_another_kind_than_the_signature_is_refused() -> None:
    with pytest.raises(EvidenceError, match="not accepted"):
        verify_certificate_signature(LEAF, issue("Root", key=load_key("ask")))


def test_algorithm_that_is_not_accepted_is_refused() -> None:
    sha1 = encode_tlv(0x30, encode_oid("1.2.840.10045.4.1"))
    algorithm = sha1[:1] + bytes((len(ROOT.algorithm) - 2,)) + encode_oid("1.2.840.10045.4.1.1")
    assert len(algorithm) == len(ROOT.algorithm)
    signature = encode_tlv(0x03, b"\0" + LEAF.signature)
    tbs = LEAF.tbs.replace(ROOT.algorithm, algorithm)
    found = Certificate.decode(encode_tlv(0x30, tbs + algorithm + signature))
    assert found.algorithm == ""
    with pytest.raises(EvidenceError, match="not accepted"):
        verify_certificate_signature(found, ROOT_CERTIFICATE)


def test_keys_that_we_do_not_use_are_refused() -> None:
    others: list[ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey] = [
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key(),
        ec.derive_private_key(5, ec.SECP256K1()).public_key(),
        rsa.RSAPublicNumbers(3, (1 << 1023) | 1).public_key(),
        rsa.RSAPublicNumbers((1 << 40) + 1, load_key("ask").public_key().public_numbers().n).public_key(),
    ]
    for key in others:
        with pytest.raises(UnsupportedError):
            _ = with_public_key(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).public_key


def test_key_that_is_none_is_refused() -> None:
    with pytest.raises(DecodeError):
        _ = with_public_key(encode_tlv(0x30, b"")).public_key


def test_key_of_unknown_kind_is_refused() -> None:
    info = encode_tlv(0x30, encode_tlv(0x30, encode_oid("1.2.3.4")) + encode_tlv(0x03, b"\0\0"))
    with pytest.raises((UnsupportedError, DecodeError)):
        _ = with_public_key(info).public_key


# --- Checks of certificates -------------------------------------------------------------------------------------------


def test_names_chain() -> None:
    verify_issuer_name(LEAF, ROOT_CERTIFICATE)
    with pytest.raises(EvidenceError, match="another issuer"):
        verify_issuer_name(LEAF, LEAF)


def test_issuer_must_be_an_authority() -> None:
    verify_is_authority(ROOT_CERTIFICATE)
    for issuer in (LEAF, issue(extensions=basic_constraints(ca=False))):
        with pytest.raises(EvidenceError, match="no authority"):
            verify_is_authority(issuer)


def test_path_length_is_counted() -> None:
    verify_path_length(ROOT_CERTIFICATE, authorities_below=9)
    issuer = issue(extensions=basic_constraints(ca=True, path_length=1))
    verify_path_length(issuer, authorities_below=1)
    with pytest.raises(EvidenceError, match="too many"):
        verify_path_length(issuer, authorities_below=2)


def test_keys_must_be_for_their_use() -> None:
    verify_signs_certificates(ROOT_CERTIFICATE)
    verify_signs_crls(ROOT_CERTIFICATE)
    for issuer in (LEAF, issue(extensions=key_usage(0))):
        with pytest.raises(EvidenceError):
            verify_signs_certificates(issuer)
        with pytest.raises(EvidenceError):
            verify_signs_crls(issuer)


def test_validity_has_an_allowance_at_its_beginning_only() -> None:
    for at in (FROM - CLOCK_SKEW, AT, UNTIL):
        verify_valid_at(LEAF, at)
    with pytest.raises(EvidenceError, match="not valid yet"):
        verify_valid_at(LEAF, FROM - CLOCK_SKEW - SECOND)
    with pytest.raises(EvidenceError, match="expired"):
        verify_valid_at(LEAF, UNTIL + SECOND)


def test_validity_may_begin_and_end_with_time_itself() -> None:
    always = evolve(LEAF, not_before=FIRST, not_after=LAST)
    for at in (FIRST, AT, LAST):
        verify_valid_at(always, at)
        verify_crl_current(evolve(crl(), this_update=FIRST, next_update=LAST), at)


def test_unknown_critical_extension_is_refused() -> None:
    found = issue(extensions={"1.2.3": Extension(True, b""), "1.2.4": Extension(False, b"")})
    verify_extensions(found, known=("1.2.3",))
    with pytest.raises(EvidenceError, match=r"1\.2\.3"):
        verify_extensions(found, known=("1.2.4",))


def test_root_must_be_pinned() -> None:
    verify_root(ROOT_CERTIFICATE, {ROOT_CERTIFICATE.fingerprint})
    for anchors in (frozenset[bytes](), {LEAF.fingerprint}):
        with pytest.raises(EvidenceError, match="trust anchors"):
            verify_root(ROOT_CERTIFICATE, anchors)


def test_path_follows_the_issuers() -> None:
    middle = issue("Middle", key=OTHER_KEY, extensions=CA)
    leaf = issue(signer=Signer(name("Middle"), OTHER_KEY))
    assert find_path(leaf, (ROOT_CERTIFICATE, middle)) == (leaf, middle, ROOT_CERTIFICATE)
    assert find_path(leaf, ()) == (leaf,)
    assert find_path(leaf, (leaf, ROOT_CERTIFICATE)) == (leaf,)


def test_path_prefers_the_issuer_who_signed() -> None:
    false_root = issue("Root", key=OTHER_KEY, signer=Signer(name("Root"), OTHER_KEY), extensions=CA)
    broken = issue_certificate(
        ROOT, subject=name("Root"), public_key=encode_tlv(0x30, b""), serial=9, valid=VALID, extensions=CA
    )
    assert find_path(LEAF, (broken, false_root, ROOT_CERTIFICATE)) == (LEAF, ROOT_CERTIFICATE)
    assert find_path(LEAF, (false_root, broken)) == (LEAF, false_root)


def test_path_ends_where_issuers_go_round() -> None:
    one = issue("One", signer=Signer(name("Two"), LEAF_KEY))
    two = issue("Two", signer=Signer(name("One"), LEAF_KEY))
    assert find_path(one, (one, two)) == (one, two)


# --- Revocation lists -------------------------------------------------------------------------------------------------


def crl(*revoked: int, **how: object) -> RevocationList:
    return issue_revocation_list(ROOT, current=VALID, revoked=revoked, **how)  # type: ignore[arg-type]


def test_revocation_list_is_read() -> None:
    found = crl(0, 5, 70000)
    assert found.issuer == ROOT.name
    assert found.revoked_serials == {0, 5, 70000}
    assert RevocationList.decode(found.encoded) == found
    body = base64.encodebytes(found.encoded)
    file = b"-----BEGIN X509 CRL-----\n" + body + b"-----END X509 CRL-----\n"
    assert RevocationList.decode(file) == found
    with pytest.raises(DecodeError):
        RevocationList.decode(file * 2)
    assert crl().revoked_serials == frozenset()


def test_revocation_list_of_another_version_is_refused() -> None:
    found = crl()
    old = encode_tlv(0x30, found.tbs.replace(b"\x02\x01\x01", b"\x02\x01\x00", 1) + ROOT.algorithm + b"\x03\x01\x00")
    with pytest.raises(DecodeError, match="version"):
        RevocationList.decode(old)


def test_revocation_list_that_is_too_long_is_refused() -> None:
    with pytest.raises(LimitError):
        RevocationList.decode(bytes(MAX_CRL + 1))


def test_revocation_list_is_of_its_issuer_and_signed() -> None:
    verify_crl_issuer(crl(), ROOT_CERTIFICATE)
    verify_crl_signature(crl(), ROOT_CERTIFICATE)
    with pytest.raises(EvidenceError, match="another issuer"):
        verify_crl_issuer(crl(), LEAF)
    with pytest.raises(EvidenceError, match="wrong"):
        verify_crl_signature(crl(), LEAF)


def test_revocation_list_must_be_current() -> None:
    for at in (FROM - CLOCK_SKEW, AT, UNTIL):
        verify_crl_current(crl(), at)
    for at in (FROM - CLOCK_SKEW - SECOND, UNTIL + SECOND):
        with pytest.raises(EvidenceError, match="not current"):
            verify_crl_current(crl(), at)


def test_revoked_certificate_is_refused() -> None:
    verify_not_revoked(LEAF, crl(4, 50, 0x0105))
    with pytest.raises(EvidenceError, match="revoked"):
        verify_not_revoked(LEAF, crl(4, 5))
    with pytest.raises(EvidenceError, match="revoked"):
        verify_not_revoked(issue(serial=0), crl(0))


def test_revocation_list_with_critical_extension_is_refused() -> None:
    verify_crl_extensions(crl(extensions={"2.5.29.27": Extension(False, b"\x02\x01\x01")}))
    with pytest.raises(EvidenceError, match="critical"):
        verify_crl_extensions(crl(extensions={"2.5.29.28": Extension(True, b"\x30\x00")}))


def entry(*, critical: bool) -> bytes:
    flag = b"\x01\x01\xff" if critical else b""
    extension = encode_tlv(0x30, encode_oid("2.5.29.21") + flag + encode_tlv(0x04, b"\x0a\x01\x01"))
    return encode_tlv(0x30, b"\x02\x01\x07" + encode_tlv(0x17, b"260101000000Z") + encode_tlv(0x30, extension))


def crl_of(entries: bytes, *, tag: int = 0x30) -> RevocationList:
    """Put entries into a list that was issued with one; its signature is of no use then."""
    found = crl(1)
    old = encode_tlv(0x30, encode_tlv(0x30, b"\x02\x01\x01" + encode_tlv(0x17, b"260101000000Z")))
    content = bytes(der.decode(found.tbs, asn1.TLV, "a list").data)
    assert old in content
    tbs = encode_tlv(0x30, content.replace(old, encode_tlv(tag, entries)))
    return RevocationList.decode(encode_tlv(0x30, tbs + ROOT.algorithm + encode_tlv(0x03, b"\0" + found.signature)))


def test_entry_with_critical_extension_makes_the_list_useless() -> None:
    verify_crl_extensions(crl_of(entry(critical=False)))
    assert crl_of(entry(critical=False)).revoked_serials == {7}
    with pytest.raises(EvidenceError, match="entry"):
        verify_crl_extensions(crl_of(entry(critical=True)))
    with pytest.raises(LimitError):
        verify_crl_extensions(crl_of(entry(critical=True) * 65))


def test_extensions_that_are_longer_than_any_real_one_are_not_taken_apart() -> None:
    with pytest.raises(LimitError, match="extended key usage"):
        _ = issue(extensions={"2.5.29.37": Extension(False, bytes(5000))}).extended_key_usage
    with pytest.raises(LimitError, match="distribution points"):
        _ = issue(extensions={"2.5.29.31": Extension(False, bytes(5000))}).crl_urls


def test_list_whose_entries_are_none_is_refused() -> None:
    with pytest.raises(DecodeError, match="no list of entries"):
        crl_of(entry(critical=False), tag=0x31)


def test_list_with_too_long_extensions_is_refused() -> None:
    with pytest.raises(LimitError, match="too long"):
        crl(extensions={"1.2.3": Extension(False, bytes(20_000))})


def test_longest_revocation_list_is_read() -> None:
    one = encode_tlv(0x30, b"\x02\x01\x05" + encode_tlv(0x17, b"260101000000Z"))
    long = crl_of(one * ((MAX_CRL - 2048) // len(one)))
    found = RevocationList.decode(long.encoded)
    with pytest.raises(EvidenceError):
        verify_crl_signature(found, ROOT_CERTIFICATE)
    verify_not_revoked(ROOT_CERTIFICATE, found)


# --- Published ones ---------------------------------------------------------------------------------------------------


def published(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes().replace(b"\\n", b"\n")
            for body in re.findall(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE", data):
                yield base64.b64decode(body)
            if path.suffix == ".der" and len(data) > 400:
                yield path.read_bytes()


def compare(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the serial number 0
        wanted = reference.load_der_x509_certificate(data)
        serial = wanted.serial_number
    found = Certificate.decode(data)
    assert (found.tbs, found.signature, found.serial) == (wanted.tbs_certificate_bytes, wanted.signature, serial)
    assert (found.not_before, found.not_after) == (wanted.not_valid_before_utc, wanted.not_valid_after_utc)
    assert set(found.extensions) == {each.oid.dotted_string for each in wanted.extensions}


@pytest.mark.vectors
@pytest.mark.parametrize("folder", ["sev-snp", "tdx", "tpm", "nvidia"])
def test_published_certificates_are_read_as_cryptography_reads_them(folder: str, shared_vectors: Path) -> None:
    count = 0
    for data in set(published(shared_vectors / folder)):
        try:
            compare(data)
        except ValueError:
            continue  # a revocation list
        count += 1
    assert count > 5


# --- Any bytes --------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_any_bytes_are_a_certificate_or_an_error(data: bytes) -> None:
    for read in (Certificate.decode, RevocationList.decode, decode_chain, decode_name, decode_general_names):
        try:
            read(data)
        except ConfsecError:
            continue


@given(st.integers(0, len(ROOT_CERTIFICATE.encoded) - 1), st.integers(1, 255))
def test_changed_certificate_is_refused(at: int, change: int) -> None:
    data = bytearray(ROOT_CERTIFICATE.encoded)
    data[at] ^= change
    try:
        found = Certificate.decode(bytes(data))
        verify_certificate_signature(found, ROOT_CERTIFICATE)
    except ConfsecError:
        return
    raise AssertionError(f"byte {at}")
