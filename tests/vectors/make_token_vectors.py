"""Write the vectors of blind RSA and Privacy Pass that are ours: bad keys, messages and tokens, each with one defect.

Run it from the root: `python -m tests.vectors.make_token_vectors`. Keys are those of the tests, in
`tests/protocol/blind_rsa_keys.json`, and random bytes come from seeded streams, so the files stay the same. Each says
what would be good in its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from confsec.protocol.partially_blind_rsa import derive_public_key
from confsec.protocol.privacy_pass import PendingToken
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.protocol.token_batch import BatchTokenRequest, BatchTokenResponse, TypedTokenResponse
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_directory import IssuerDirectory
from confsec.protocol.token_extensions import Extension, Extensions
from confsec.protocol.token_http import AuthChallenge, TokenCredentials, encode_www_authenticate
from confsec.protocol.token_keys import TokenKey
from confsec.protocol.token_messages import TokenResponse
from confsec.protocol.wire import encode_varint_vector
from confsec.testing import EPOCH, seeded_randbytes
from tests.protocol.token_cases import (
    CHALLENGE,
    DAY,
    EXTENSIONS,
    KEYRING,
    METADATA_CHALLENGE,
    METADATA_TOKEN_KEY,
    ORIGIN,
    OTHER_2048,
    RSA_2048,
    SAFE_2048,
    TOKEN_KEY,
    KeyPair,
    draw,
    draw_with_extensions,
    issue,
    scripted,
)

HERE: Final = Path(__file__).parent
SOURCE: Final = (
    "our own, by RFC 9474, 9577 and 9578 and the drafts that extend them; tests/vectors/make_token_vectors.py"
)

PENDING: Final = draw()
METADATA_PENDING: Final = draw_with_extensions()
TOKEN: Final = issue(PENDING)
METADATA_TOKEN: Final = METADATA_PENDING.finalize(
    METADATA_TOKEN_KEY,
    TokenResponse(
        SAFE_2048.sign(METADATA_PENDING.blinded_msg, derive_public_key(SAFE_2048.public_key, EXTENSIONS.encode()))
    ),
)
BLIND_SIG: Final = RSA_2048.sign(PENDING.blinded_msg)
N: Final = RSA_2048.public_key.n
SPKI: Final = TOKEN_KEY.to_spki()
ENC_CHALLENGE: Final = CHALLENGE.encode()
ENC_TOKEN: Final = TOKEN.encode()
ENC_REQUEST: Final = PENDING.request().encode()
REQUESTS: Final = (PENDING.request(), draw("second").request())
BATCH: Final = BatchTokenRequest(REQUESTS).encode()
ANSWER: Final = TypedTokenResponse(2, TokenResponse(BLIND_SIG))
BATCH_RESPONSE: Final = BatchTokenResponse((ANSWER, None)).encode()
FIELD: Final = encode_www_authenticate([AuthChallenge(ENC_CHALLENGE, SPKI, 10)])
CREDENTIALS: Final = TokenCredentials(TOKEN).encode()
DIRECTORY: Final = IssuerDirectory.of("/v1/token-request", KEYRING, now=EPOCH).encode()

NAMED_SIZES: Final = {"nonce": 32, "salt": 48, "blind": 256}

Members = dict[str, object]


def number(value: int, size: int = 256) -> bytes:
    return value.to_bytes(size, "big")


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def swapped(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    return data.replace(old, new)


def raw_spki(n: int, e: int) -> bytes:
    """Encode numbers that no key of ours may have, in the form of the good key."""
    shape = object.__new__(RsaPublicKey)
    object.__setattr__(shape, "n", n)
    object.__setattr__(shape, "e", e)
    return RsaPublicKey.to_spki(shape)


def simple(structure: str, good: bytes, code: str, **defects: bytes) -> dict[str, Members]:
    """Describe inputs that are bad by themselves."""
    name = structure.replace("-", "_")
    return {
        f"{name}_{defect}": {"structure": structure, "input": data.hex(), "code": code, "good": {"input": good.hex()}}
        for defect, data in defects.items()
    }


def keys() -> dict[str, Members]:
    return {
        **simple(
            "rsa-key",
            SPKI,
            "decode",
            modulus_of_2047_bits=raw_spki(N >> 1 | 1, 65537),
            modulus_of_1024_bits=raw_spki(RSA_2048.p | 1, 65537),
            modulus_of_8200_bits=raw_spki((1 << 8199) + 1, 65537),
            modulus_even=raw_spki(N - 1, 65537),
            modulus_square=raw_spki(RSA_2048.p**2, 65537),
            modulus_with_a_small_factor=raw_spki(1999 * ((1 << 2047) // 1999 + 2 | 1), 65537),
            exponent_1=raw_spki(N, 1),
            exponent_even=raw_spki(N, 65536),
            exponent_above_the_modulus=raw_spki(N, N + 2),
            of_another_algorithm=swapped(
                SPKI, bytes.fromhex("2a864886f70d01010a"), bytes.fromhex("2a864886f70d010101")
            ),
            with_another_salt_size=swapped(SPKI, bytes.fromhex("a203020130"), bytes.fromhex("a203020120")),
            with_bytes_after_it=SPKI + b"\x00",
            with_a_longer_length=b"\x30\x83\x00" + SPKI[2:],
            with_unused_bits=swapped(SPKI, bytes.fromhex("0382010f00"), bytes.fromhex("0382010f01")),
            modulus_negative=swapped(SPKI, bytes.fromhex("0282010100"), bytes.fromhex("0282010180")),
        ),
        **simple("rsa-key", SPKI, "truncated", truncated=SPKI[:-1], empty=b""),
        **simple("token-key", SPKI, "decode", of_3072_bits=raw_spki(3 * N, 65537), exponent_3=raw_spki(N, 3)),
    }


def messages_of_blind_rsa() -> dict[str, Members]:
    good = {"input": PENDING.blinded_msg.hex()}
    blinded = {
        "zero": number(0),
        "shares_a_factor_with_the_modulus": number(RSA_2048.p * 3),
        "equal_to_the_modulus": number(N),
        "above_the_modulus": b"\xff" * 256,
        "too_short": PENDING.blinded_msg[1:],
        "too_long": b"\x00" + PENDING.blinded_msg,
    }
    signed: dict[str, tuple[bytes, str]] = {
        "with_one_wrong_bit": (flipped(BLIND_SIG, 100), "token_signature"),
        "by_another_key": (number(pow(3, 65537, N)), "token_signature"),
        "zero": (number(0), "token_signature"),
        "above_the_modulus": (b"\xff" * 256, "decode"),
        "too_short": (BLIND_SIG[1:], "decode"),
    }
    pending = {"pkS": SPKI.hex(), "pending": PENDING.encode().hex()}
    other = draw("other").encode().hex()
    return {
        **{
            f"blinded_msg_{defect}": {
                "structure": "blinded-msg",
                "pkS": SPKI.hex(),
                "input": data.hex(),
                "code": "decode",
                "good": good,
            }
            for defect, data in blinded.items()
        },
        **{
            f"blind_sig_{defect}": {
                "structure": "blind-sig",
                **pending,
                "input": data.hex(),
                "code": code,
                "good": {"input": BLIND_SIG.hex()},
            }
            for defect, (data, code) in signed.items()
        },
        "blind_sig_of_another_message": {
            "structure": "blind-sig",
            "pkS": SPKI.hex(),
            "pending": other,
            "input": BLIND_SIG.hex(),
            "code": "token_signature",
            "good": {"pending": PENDING.encode().hex()},
        },
    }


def challenges() -> dict[str, Members]:
    origin = len(ORIGIN).to_bytes(2, "big") + ORIGIN.encode()
    long_name = (4096).to_bytes(2, "big") + b"a" * 4096
    return {
        **simple(
            "token-challenge",
            ENC_CHALLENGE,
            "decode",
            without_issuer=b"\x00\x02\x00\x00\x00" + origin,
            with_redemption_context_of_31_bytes=swapped(ENC_CHALLENGE, b"\x00" + origin, b"\x1f" + bytes(31) + origin),
            with_redemption_context_of_33_bytes=swapped(ENC_CHALLENGE, b"\x00" + origin, b"\x21" + bytes(33) + origin),
            with_an_empty_origin=swapped(ENC_CHALLENGE, b"router.ex", b"router,,x"),
            with_a_comma_at_the_end=ENC_CHALLENGE[:-1] + b",",
            with_issuer_that_is_no_ascii=swapped(ENC_CHALLENGE, b"issuer", b"iss\xc3\xbcr"),
            with_origin_that_is_not_printable=swapped(ENC_CHALLENGE, b"router", b"rout\x00r"),
            with_bytes_after_it=ENC_CHALLENGE + b"\x00",
        ),
        **simple("token-challenge", ENC_CHALLENGE, "truncated", truncated=ENC_CHALLENGE[:-1], empty=b""),
        **simple("token-challenge", ENC_CHALLENGE, "limit", too_long=b"\x00\x02" + long_name + b"\x00" + long_name),
    }


def tokens() -> dict[str, Members]:
    return {
        **simple("token", ENC_TOKEN, "decode", with_bytes_after_it=ENC_TOKEN + b"\x00"),
        **simple("token", ENC_TOKEN, "truncated", truncated=ENC_TOKEN[:-1]),
        **simple("token", ENC_TOKEN, "token_type", of_unknown_type=b"\x00\x01" + ENC_TOKEN[2:]),
        **simple("token-request", ENC_REQUEST, "decode", with_bytes_after_it=ENC_REQUEST + b"\x00"),
        **simple("token-request", ENC_REQUEST, "truncated", truncated=ENC_REQUEST[:-1]),
        **simple("token-request", ENC_REQUEST, "truncated", without_extensions=b"\xda\x7a" + ENC_REQUEST[2:]),
        **simple("token-request", ENC_REQUEST, "token_type", of_unknown_type=b"\x00\x03" + ENC_REQUEST[2:]),
        **simple("token-response", BLIND_SIG, "decode", too_short=BLIND_SIG[1:], too_long=BLIND_SIG + b"\x00"),
        **simple(
            "extensions",
            EXTENSIONS.encode(),
            "decode",
            in_another_order=b"\x00\x08" + bytes.fromhex("0002000000010000"),
            with_bytes_after_them=EXTENSIONS.encode() + b"\x00",
        ),
        **simple("extensions", EXTENSIONS.encode(), "truncated", cut_in_a_value=bytes.fromhex("000500010002ff")),
        **simple(
            "extensions",
            EXTENSIONS.encode(),
            "limit",
            too_long=bytes.fromhex("03ff000103fb") + bytes(1019),
        ),
    }


def batches() -> dict[str, Members]:
    items = BATCH[2:]
    old_framing = b"".join(len(one.encode()).to_bytes(2, "big") + one.encode() for one in REQUESTS)
    return {
        **simple(
            "batch-request",
            BATCH,
            "decode",
            empty=b"\x00",
            with_length_in_a_longer_form=b"\x80\x00" + len(items).to_bytes(2, "big") + items,
            with_bytes_after_it=BATCH + b"\x00",
        ),
        **simple(
            "batch-request",
            BATCH,
            "truncated",
            truncated=BATCH[:-1],
            with_an_item_cut_short=encode_varint_vector(items[:-1]),
        ),
        **simple(
            "batch-request",
            BATCH,
            "token_type",
            in_the_framing_of_older_drafts=encode_varint_vector(old_framing),
            with_an_unknown_type=encode_varint_vector(b"\x00\x05" + items[2:]),
        ),
        **simple(
            "batch-response",
            BATCH_RESPONSE,
            "decode",
            empty=b"\x00",
            with_presence_2=encode_varint_vector(b"\x02" + BATCH_RESPONSE[3:]),
            with_bytes_after_it=BATCH_RESPONSE + b"\x00",
        ),
        **simple("batch-response", BATCH_RESPONSE, "truncated", truncated=BATCH_RESPONSE[:-1]),
        **simple("batch-response", BATCH_RESPONSE, "limit", too_long=encode_varint_vector(bytes(257))),
        **simple(
            "batch-response",
            BATCH_RESPONSE,
            "token_type",
            of_unknown_type=encode_varint_vector(b"\x01\x00\x01" + BATCH_RESPONSE[5:]),
        ),
    }


def headers() -> dict[str, Members]:
    def field(text: str) -> bytes:
        return text.encode("latin-1")

    def with_time(text: str) -> bytes:
        key = '{"token-type":2,"token-key":"","not-before":' + text + "}"
        return b'{"issuer-request-uri":"/","token-keys":[' + key.encode() + b"]}"

    good, credentials = field(FIELD), field(CREDENTIALS)
    return {
        **simple(
            "www-authenticate",
            good,
            "decode",
            without_challenge=field('PrivateToken token-key="AAAA"'),
            with_challenge_twice=field('PrivateToken challenge="AAAA", challenge="AAAA"'),
            without_padding=field("PrivateToken challenge=AAA"),
            in_another_base64_alphabet=field('PrivateToken challenge="+/+/"'),
            with_a_quote_that_does_not_end=good[:-1],
            with_max_age_that_is_no_number=swapped(good, b'"10"', b'"1e1"'),
            with_max_age_below_zero=swapped(good, b'"10"', b'"-10"'),
            without_comma=field('PrivateToken challenge="AAAA" max-age=1'),
            with_control_character=field('PrivateToken challenge="AAAA", x="\x00"'),
        ),
        **simple(
            "www-authenticate",
            good,
            "limit",
            with_65_challenges=field(", ".join(["Basic"] * 65)),
        ),
        **simple(
            "authorization",
            credentials,
            "decode",
            without_token=field('PrivateToken extensions="AAAA"'),
            with_two_tokens=credentials + b", " + credentials,
            with_extensions_that_its_type_has_not=credentials + b', extensions="AAA="',
            without_padding=field('PrivateToken token="AAA"'),
        ),
        **simple("authorization", credentials, "token_missing", of_another_scheme=field("Bearer abc"), empty=b""),
        **simple(
            "issuer-directory",
            DIRECTORY,
            "decode",
            that_is_no_json=DIRECTORY[:-1],
            that_is_no_utf_8=b"\xff" + DIRECTORY,
            that_is_a_list=b"[]",
            without_uri=swapped(DIRECTORY, b'"issuer-request-uri"', b'"issuer-request-url"'),
            without_keys=swapped(DIRECTORY, b'"token-keys"', b'"token-key"'),
            with_key_that_is_no_object=b'{"issuer-request-uri":"/", "token-keys":[7]}',
            with_type_true=b'{"issuer-request-uri":"/", "token-keys":[{"token-type":true,"token-key":""}]}',
            with_type_65536=b'{"issuer-request-uri":"/", "token-keys":[{"token-type":65536,"token-key":""}]}',
            with_key_that_is_no_base64=b'{"issuer-request-uri":"/", "token-keys":[{"token-type":2,"token-key":"!"}]}',
            with_time_before_1970=with_time("-1"),
            with_time_as_text=with_time('"1"'),
            nested_too_deeply=b"[" * 5_000,
        ),
        **simple(
            "issuer-directory",
            DIRECTORY,
            "limit",
            with_65_keys=json.dumps(
                {"issuer-request-uri": "/", "token-keys": [{"token-type": 2, "token-key": ""}] * 65}
            ).encode(),
        ),
    }


def redemptions() -> dict[str, Members]:
    at = int(EPOCH.timestamp())
    day = int(DAY.total_seconds())
    good: Members = {
        "structure": "redemption",
        "input": ENC_TOKEN.hex(),
        "pkS": SPKI.hex(),
        "token_challenge": ENC_CHALLENGE.hex(),
        "origin": ORIGIN,
        "at": at,
        "not_before": at - day,
        "not_after": at + day,
    }
    metadata: Members = {
        **good,
        "input": METADATA_TOKEN.encode().hex(),
        "pkS": METADATA_TOKEN_KEY.to_spki().hex(),
        "token_challenge": b"\xda\x7a".hex() + ENC_CHALLENGE.hex()[4:],
        "extensions": EXTENSIONS.encode().hex(),
    }
    other_extensions = Extensions((Extension(2, b"other"),)).encode().hex()

    def bad(base: Mapping[str, object], code: str, **changes: object) -> Members:
        return {**base, **changes, "code": code, "good": {name: base[name] for name in changes}}

    another_challenge = swapped(ENC_CHALLENGE, b"issuer", b"Issuer")
    return {
        "token_for_another_origin": bad(good, "token_origin", origin="other.example"),
        "token_of_another_challenge": bad(good, "token_challenge", token_challenge=another_challenge.hex()),
        "token_with_wrong_challenge_digest": bad(good, "token_challenge", input=flipped(ENC_TOKEN, 40).hex()),
        "token_by_another_key": bad(good, "token_key", pkS=OTHER_2048.public_key.to_spki().hex()),
        "token_with_wrong_token_key_id": bad(good, "token_key", input=flipped(ENC_TOKEN, 70).hex()),
        "token_of_an_epoch_that_is_over": bad(good, "token_epoch", not_after=at),
        "token_of_an_epoch_to_come": bad(good, "token_epoch", not_before=at + 1),
        "token_of_another_type_than_its_key": bad({**good, "key_type": 2}, "token_type", key_type=0xDA7A),
        "token_of_another_type_than_its_challenge": bad(good, "token_type", input="da7a" + ENC_TOKEN.hex()[4:]),
        "token_with_wrong_nonce": bad(good, "token_signature", input=flipped(ENC_TOKEN, 2).hex()),
        "token_with_wrong_authenticator": bad(good, "token_signature", input=flipped(ENC_TOKEN, -1).hex()),
        "token_with_other_extensions": bad(metadata, "token_signature", extensions=other_extensions),
    }


def item(label: str, pair: KeyPair, challenge: TokenChallenge, extensions: Extensions | None = None) -> Members:
    """Make a token, with all that it takes to make it again."""
    token_key = TokenKey(challenge.token_type, pair.public_key)
    nonce, salt, blind = (seeded_randbytes(f"{label} {name}")(size) for name, size in NAMED_SIZES.items())
    blind = b"\x01" + blind[1:]
    pending = PendingToken.draw(challenge, token_key, randbytes=scripted(nonce, salt, blind), extensions=extensions)
    public_key = pair.public_key if extensions is None else derive_public_key(pair.public_key, extensions.encode())
    response = TokenResponse(pair.sign(pending.blinded_msg, public_key))
    return {
        "type": f"{challenge.token_type:04x}",
        "skS": pem(pair).hex(),
        "pkS": token_key.to_spki().hex(),
        "token_challenge": challenge.encode().hex(),
        **({} if extensions is None else {"extensions": extensions.encode().hex()}),
        "nonce": nonce.hex(),
        "blind": blind.hex(),
        "salt": salt.hex(),
        "token_request": pending.request().encode().hex(),
        "token_response": response.encode().hex(),
        "token": pending.finalize(token_key, response).encode().hex(),
    }


def batch(*items: Members) -> Members:
    """Put tokens into one request."""
    requests = [bytes.fromhex(str(each.pop("token_request"))) for each in items]
    responses = [b"\x01" + bytes.fromhex(str(each["type"]) + str(each.pop("token_response"))) for each in items]
    return {
        "issuance": list(items),
        "token_request": encode_varint_vector(b"".join(requests)).hex(),
        "token_response": encode_varint_vector(b"".join(responses)).hex(),
    }


def pem(pair: KeyPair) -> bytes:
    numbers = pair.public_key
    d = pow(numbers.e, -1, (pair.p - 1) * (pair.q - 1))
    p, q = pair.p, pair.q
    private = RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), RSAPublicNumbers(numbers.e, numbers.n)
    )
    return private.private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def issuances() -> dict[str, list[Members]]:
    return {
        "privacy_pass_metadata.json": [
            item("metadata", SAFE_2048, METADATA_CHALLENGE, EXTENSIONS),
            item("empty metadata", SAFE_2048, METADATA_CHALLENGE, Extensions(())),
        ],
        "privacy_pass_batches.json": [
            batch(item("one", RSA_2048, CHALLENGE)),
            batch(item("two", RSA_2048, CHALLENGE), item("three", RSA_2048, CHALLENGE)),
            batch(
                item("four", RSA_2048, CHALLENGE),
                item("five", SAFE_2048, METADATA_CHALLENGE, EXTENSIONS),
                item("six", OTHER_2048, CHALLENGE),
            ),
        ],
    }


def write() -> None:
    """Write all files."""
    for name, cases in issuances().items():
        (HERE / name).write_text(json.dumps({"source": SOURCE, "cases": cases}, indent=1) + "\n", encoding="utf-8")
    for folder, defects in {
        "blind_rsa_invalid": {**keys(), **messages_of_blind_rsa()},
        "privacy_pass_invalid": {**challenges(), **tokens(), **batches(), **headers(), **redemptions()},
    }.items():
        (HERE / folder).mkdir(exist_ok=True)
        for name, case in defects.items():
            document = {"source": SOURCE, "cases": [{"defect": name.replace("_", " "), **case}]}
            (HERE / folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
