"""Bad keys, messages and tokens, each with one defect: schema pp-defect.

A case states what it is by `structure`, the bytes by `input`, and by `good` the members with which it would be taken:
so that the defect, and nothing else, is why it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from confsec.conformance.cases import (
    Case,
    CaseSkippedError,
    MismatchError,
    Schema,
    check_refused,
    has_members,
    list_cases,
    unhex,
)
from confsec.protocol.blind_rsa import check_blinded_msg
from confsec.protocol.privacy_pass import PendingToken, verify_token
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.protocol.token_batch import BatchTokenRequest, BatchTokenResponse
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_directory import IssuerDirectory
from confsec.protocol.token_extensions import Extensions
from confsec.protocol.token_http import TokenCredentials, decode_www_authenticate
from confsec.protocol.token_keys import TokenKey, TokenKeyEpoch, TokenKeyring
from confsec.protocol.token_messages import Token, TokenRequest, TokenResponse

__all__ = ["SCHEMAS", "check_defect"]


def check_defect(case: Case) -> None:
    """Check that a case is refused with its code, and accepted without its defect."""
    read = _READERS.get(str(case.get("structure")))
    if read is None:
        raise CaseSkippedError(f"the structure {case.get('structure')!r} is not known")
    good, code = case.get("good"), case.get("code")
    if not isinstance(good, Mapping) or not isinstance(code, str) or not code:
        raise MismatchError("the case does not say what would be good, or which code it has")
    read({**case, **good})
    check_refused(lambda: read(case), code=code)


def _finalize(case: Case) -> None:
    pending = PendingToken.decode(unhex(case, "pending"))
    token_key = TokenKey.from_spki(pending.token_input.token_type, unhex(case, "pkS"))
    pending.finalize(token_key, TokenResponse.decode(unhex(case, "input")))


def _redeem(case: Case) -> None:
    """Redeem a token at a time: seconds since 1970, as `not_before` and `not_after` of its key, with no grace."""
    token = Token.decode(unhex(case, "input"))
    challenge = TokenChallenge.decode(unhex(case, "token_challenge"))
    token_key = TokenKey.from_spki(case.get("key_type", challenge.token_type), unhex(case, "pkS"))
    begin, end, now = (datetime.fromtimestamp(case[name], UTC) for name in ("not_before", "not_after", "at"))
    verify_token(
        token,
        challenges=[challenge],
        origin=str(case["origin"]),
        keyring=TokenKeyring([TokenKeyEpoch(token_key, begin, end)], grace=timedelta(0)),
        now=now,
        extensions=Extensions.decode(unhex(case, "extensions")) if "extensions" in case else None,
    )


_READERS: Final[dict[str, Callable[[Case], object]]] = {
    "rsa-key": lambda case: RsaPublicKey.from_spki(unhex(case, "input")),
    "token-key": lambda case: TokenKey.from_spki(0x0002, unhex(case, "input")),
    "blinded-msg": lambda case: check_blinded_msg(RsaPublicKey.from_spki(unhex(case, "pkS")), unhex(case, "input")),
    "blind-sig": _finalize,
    "token-challenge": lambda case: TokenChallenge.decode(unhex(case, "input")),
    "token": lambda case: Token.decode(unhex(case, "input")),
    "token-request": lambda case: TokenRequest.decode(unhex(case, "input")),
    "token-response": lambda case: TokenResponse.decode(unhex(case, "input")),
    "batch-request": lambda case: BatchTokenRequest.decode(unhex(case, "input")),
    "batch-response": lambda case: BatchTokenResponse.decode(unhex(case, "input")),
    "extensions": lambda case: Extensions.decode(unhex(case, "input")),
    "www-authenticate": lambda case: decode_www_authenticate(unhex(case, "input").decode("latin-1")),
    "authorization": lambda case: TokenCredentials.decode(unhex(case, "input").decode("latin-1")),
    "issuer-directory": lambda case: IssuerDirectory.decode(unhex(case, "input")),
    "redemption": _redeem,
}

SCHEMAS: Final = (
    Schema(
        name="pp-defect",
        recognises=has_members("input defect structure good"),
        check=check_defect,
        list_cases=list_cases,
    ),
)
"""One form for all of them."""
