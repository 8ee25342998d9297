"""Schema named-edn-cbor: examples of drafts in diagnostic notation, with the bytes that were made from them.

The same form holds structures of several protocols, so each protocol has a schema of this name. What a case is shows
only where a manifest says the protocol: a file without one is not recognised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confsec.conformance.cases import Case, CaseSkippedError, Schema, list_cases, or_refused

__all__ = ["NAMED_EDN_CBOR", "named_edn_cbor"]

NAMED_EDN_CBOR: Final = "named-edn-cbor"
"""What manifests call it."""


def named_edn_cbor(protocol: str, check: Callable[[Case], object]) -> Schema:
    """Make the schema of one protocol. `check` gets cases that have `cbor`."""

    def check_if_encoded(case: Case) -> None:
        if case.get("cbor") is None:
            raise CaseSkippedError("nobody made the bytes of this example")
        check(case)

    return Schema(
        name=NAMED_EDN_CBOR,
        protocol=protocol,
        recognises=lambda document: False,
        check=or_refused(check_if_encoded),
        list_cases=list_cases,
    )
