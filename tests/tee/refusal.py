"""One thing that a verifier has to refuse, and the one check that refuses it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from confsec.protocol.rats import TeeFindings

__all__ = ["Baseline", "Refusal"]


@frozen
class Refusal:
    """Evidence that exactly one check refuses."""

    check_id: str
    """The check. All others pass, inform, or are skipped because of it."""

    name: str
    """What is wrong, in words."""

    verify: Callable[[], TeeFindings]
    """Has a verifier look at it."""


@frozen
class Baseline:
    """Evidence that every check accepts."""

    name: str
    verify: Callable[[], TeeFindings]
