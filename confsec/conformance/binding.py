"""The binding value of attestation (docs/spec/attestation.md, section 2)."""

from __future__ import annotations

from typing import Final

from confsec.conformance.cases import Case, Schema, check_same, check_stated, has_members, list_cases, unhex
from confsec.protocol.binding import Binding, Mode, challenge_nonce, epoch_nonce

__all__ = ["SCHEMAS"]


def _check(case: Case) -> None:
    """Compute nonce, report data and qualifying data from what they are made of."""
    mode = Mode(unhex(case, "binding_mode")[0])
    nonce = epoch_nonce(unhex(case, "beacon")) if mode is Mode.EPOCH else challenge_nonce(unhex(case, "challenge"))
    binding = Binding(
        mode=mode,
        nonce=nonce,
        key_config=unhex(case, "key_config"),
        manifest=unhex(case, "manifest"),
        ak=unhex(case, "ak") or None,
    )
    check_same("report_data", binding.value, unhex(case, "report_data"))
    check_stated(case, nonce=nonce, qualifying_data=binding.qualifying_data)


SCHEMAS: Final = (
    Schema(
        name="confsec-binding",
        recognises=has_members("binding_mode key_config manifest report_data"),
        check=_check,
        list_cases=list_cases,
    ),
)
"""What this module runs."""
