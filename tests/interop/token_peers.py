"""The commands about tokens and blind signatures, over a peer that runs.

::

    peer = TokenPeer(start(JS_PRIVACYPASS))
    asked = peer.token_request(challenge, token_key)
    token = peer.token_finalize(asked.exchange, token_response)

Keys go as DER: private ones as PKCS #8, public ones of signatures as a SubjectPublicKeyInfo of rsaEncryption, which all
libraries read, and those of tokens as RFC 9578 has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

from attrs import field, frozen

from tests.interop.peers import GO_CIRCL, JS_PRIVACYPASS, RUST_PRIVACYPASS, Peer, Program

__all__ = ["SIGNERS", "PeerBlinded", "PeerRequest", "TokenPeer"]

SIGNERS: Final[dict[str, Program]] = {
    "Go circl v1.6.5": GO_CIRCL,
    "JS blindrsa-ts 0.4.4": JS_PRIVACYPASS,
    "Rust blind-rsa-signatures 0.18.0": RUST_PRIVACYPASS,
}
"""The libraries for blind signatures, and the program that each is in."""


@frozen
class PeerRequest:
    """A token request that a peer made, and the handle with which to go on."""

    exchange: int
    data: bytes = field(repr=False)


@frozen
class PeerBlinded:
    """What a peer prepared and blinded, and the handle with which to go on."""

    exchange: int
    input_msg: bytes = field(repr=False)
    blinded_msg: bytes = field(repr=False)


@final
class TokenPeer:
    """What a peer can do with tokens. Its methods raise `PeerError` when the peer refuses or cannot."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    # --- Tokens (RFC 9578) --------------------------------------------------------------------------------------------

    def token_request(self, challenge: bytes, token_key: bytes, *, extensions: bytes | None = None) -> PeerRequest:
        """Let a client ask for a token; with extensions, for one of type 0xDA7A."""
        answer = self._call("token_request", challenge=challenge, token_key=token_key, extensions=extensions)
        return PeerRequest(answer["exchange"], bytes.fromhex(answer["token_request"]))

    def token_finalize(self, exchange: int, token_response: bytes) -> bytes:
        """Let the client make its token out of the response."""
        return self._bytes("token", "token_finalize", exchange=exchange, token_response=token_response)

    def token_issue(self, token_type: int, private_key: bytes, token_request: bytes) -> bytes:
        """Let an issuer answer a token request."""
        return self._bytes(
            "token_response",
            "token_issue",
            token_type=token_type,
            private_key=private_key,
            token_request=token_request,
        )

    def token_verify(self, token_type: int, token_key: bytes, token: bytes, *, extensions: bytes | None = None) -> None:
        """Let an origin verify a token."""
        self._call("token_verify", token_type=token_type, token_key=token_key, token=token, extensions=extensions)

    # --- Batches ------------------------------------------------------------------------------------------------------

    def batch_request(self, challenge: bytes, token_key: bytes, *, count: int) -> PeerRequest:
        """Let a client ask for `count` tokens of type 0x0002 at once."""
        answer = self._call("batch_request", challenge=challenge, token_key=token_key, count=count)
        return PeerRequest(answer["exchange"], bytes.fromhex(answer["token_request"]))

    def batch_issue(self, private_key: bytes, token_request: bytes) -> bytes:
        """Let an issuer answer a batch."""
        return self._bytes("token_response", "batch_issue", private_key=private_key, token_request=token_request)

    def batch_finalize(self, exchange: int, token_response: bytes) -> list[bytes | None]:
        """Let the client make its tokens: None where the issuer gave none."""
        answer = self._call("batch_finalize", exchange=exchange, token_response=token_response)
        return [bytes.fromhex(token) if token else None for token in answer["tokens"]]

    # --- Challenges and header fields (RFC 9577) ----------------------------------------------------------------------

    def challenge_encode(
        self, *, token_type: int, issuer_name: str, redemption_context: bytes, origins: Sequence[str]
    ) -> bytes:
        """Let the peer encode a token challenge."""
        return self._bytes(
            "challenge",
            "challenge_encode",
            token_type=token_type,
            issuer_name=issuer_name,
            redemption_context=redemption_context,
            origins=origins,
        )

    def challenge_decode(self, challenge: bytes) -> dict[str, Any]:
        """Let the peer decode a token challenge. The result has the fields of `challenge_encode`."""
        return self._call("challenge_decode", challenge=challenge)

    def www_authenticate_encode(
        self, challenge: bytes, token_key: bytes, *, max_age: int | None = None, quoted: bool = True
    ) -> str:
        """Let the peer write a challenge into a field."""
        answer = self._call(
            "www_authenticate_encode", challenge=challenge, token_key=token_key, max_age=max_age, quoted=quoted
        )
        return str(answer["field"])

    def www_authenticate_decode(self, field: str) -> list[dict[str, Any]]:
        """Let the peer read a field: the `challenge`, `token_key` and `max_age` of each challenge."""
        challenges: list[dict[str, Any]] = self._call("www_authenticate_decode", field=field)["challenges"]
        return challenges

    def authorization_encode(
        self, token_type: int, token: bytes, *, extensions: bytes | None = None, quoted: bool = True
    ) -> str:
        """Let the peer write a token into a field."""
        answer = self._call(
            "authorization_encode", token_type=token_type, token=token, extensions=extensions, quoted=quoted
        )
        return str(answer["field"])

    def authorization_decode(self, token_type: int, field: str) -> list[dict[str, Any]]:
        """Let the peer read a field: the `token` and `extensions` of each of its credentials."""
        found: list[dict[str, Any]] = self._call("authorization_decode", token_type=token_type, field=field)[
            "credentials"
        ]
        return found

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def issuer_serve(self, private_key: bytes) -> str:
        """Start an issuer of type 0x0002 on loopback, with its directory. Return its URL."""
        return str(self._call("issuer_serve", private_key=private_key)["url"])

    def token_fetch(self, url: str, field: str, headers: dict[str, str]) -> bytes:
        """Let the peer's client answer the challenge in a field, with a token from the issuer at `url`."""
        return self._bytes("token", "token_fetch", url=url, field=field, headers=headers)

    # --- Blind RSA (RFC 9474) -----------------------------------------------------------------------------------------

    def brsa_blind(self, variant: str, public_key: bytes, msg: bytes, *, info: bytes | None = None) -> PeerBlinded:
        """Let a client prepare and blind a message, under metadata if there is `info`."""
        answer = self._call("brsa_blind", variant=variant, public_key=public_key, msg=msg, info=info)
        return PeerBlinded(answer["exchange"], bytes.fromhex(answer["input_msg"]), bytes.fromhex(answer["blinded_msg"]))

    def brsa_sign(self, variant: str, private_key: bytes, blinded_msg: bytes, *, info: bytes | None = None) -> bytes:
        """Let a signer sign a blinded message."""
        return self._bytes(
            "blind_sig", "brsa_sign", variant=variant, private_key=private_key, blinded_msg=blinded_msg, info=info
        )

    def brsa_finalize(self, exchange: int, blind_sig: bytes) -> bytes:
        """Let the client take the blinding off."""
        return self._bytes("sig", "brsa_finalize", exchange=exchange, blind_sig=blind_sig)

    def brsa_verify(
        self, variant: str, public_key: bytes, input_msg: bytes, sig: bytes, *, info: bytes | None = None
    ) -> None:
        """Let the peer verify a signature."""
        self._call("brsa_verify", variant=variant, public_key=public_key, input_msg=input_msg, sig=sig, info=info)

    def bench(self, what: str, private_key: bytes, *, iterations: int) -> float:
        """Let the peer do one step of RSABSSA-SHA384-PSS-Deterministic and return the seconds that it took.

        The steps are `blind`, `blind_sign`, `finalize` and `verify`.
        """
        answer = self._peer.call("bench", timeout=600, what=what, private_key=private_key, iterations=iterations)
        return float(answer["seconds"])

    def _call(self, op: str, **fields: object) -> dict[str, Any]:
        given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        return self._peer.call(op, **given)

    def _bytes(self, name: str, op: str, **fields: object) -> bytes:
        return bytes.fromhex(self._call(op, **fields)[name])
