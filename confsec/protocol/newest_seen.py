"""What collateral may not do: go back in time. Whoever carries it could else choose one from before an advisory.

Collateral is signed for weeks, and an old one that has not ended verifies as well as the newest. Its issuer counts:
what has been seen with a higher number is not taken with a lower one. Dates are not compared, since honest nodes fetch
at different times. The memory lasts as long as its client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

from confsec.errors import EvidenceError, LimitError

__all__ = ["NewestSeen"]

_MAX_KINDS: Final = 4096


@final
class NewestSeen:
    """The highest number of each kind of collateral that was seen, at most 4096 kinds."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}

    def admit(self, numbers: Mapping[str, int]) -> None:
        """Remember these. Admit only what a verifier has passed: a forged number would shut out what is true.

        Raises `EvidenceError` if one of them is lower than what was admitted before; then nothing is remembered.
        """
        for name, number in numbers.items():
            known = self._newest.get(name, number)
            if number < known:
                raise EvidenceError(
                    f"the collateral goes back in time: {name}",
                    got=number,
                    want=f"at least {known}",
                    section="docs/spec/attestation.md, Evidence",
                )
        if len(self._newest.keys() | numbers.keys()) > _MAX_KINDS:
            raise LimitError("too many kinds of collateral", want=f"at most {_MAX_KINDS}")
        self._newest |= numbers
