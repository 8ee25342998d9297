"""What is told about a file: how many cases passed, failed and were skipped, and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final, final

from attrs import frozen

from confsec.conformance.cases import CaseResult, Outcome

__all__ = ["FileReport"]

_MAX_FAILURES: Final = 3
_MAX_SKIPS: Final = 8


@final
@frozen
class FileReport:
    """The results of one file."""

    file: str
    """The path, below the one that was asked for."""

    results: tuple[CaseResult, ...]

    folder: Path
    """Where its set of vectors begins: the folder of the manifest, or the one that it is in."""

    note: str = ""
    """What there is to say about the file as a whole."""

    @property
    def passed(self) -> int:
        """How many cases gave what they state."""
        return self._count(Outcome.PASSED)

    @property
    def failed(self) -> int:
        """How many cases did not."""
        return self._count(Outcome.FAILED)

    @property
    def skipped(self) -> int:
        """How many cases were not run."""
        return self._count(Outcome.SKIPPED)

    @property
    def reason(self) -> str:
        """Why not all of them passed, in one line; empty if they did."""
        return "; ".join(part for part in (self._failures(), self.skip_reason, self.note) if part)

    @property
    def skip_reason(self) -> str:
        """Why cases were skipped. The reason alone if it is one for the whole file."""
        counts: Counter[str] = Counter()
        for result in self.results:
            if result.outcome is Outcome.SKIPPED:
                counts[result.reason] += result.cases
        if len(counts) == 1 and not self.passed and not self.failed:
            return next(iter(counts))
        return _shorten([f"{count} skipped: {reason}" for reason, count in counts.most_common()], _MAX_SKIPS)

    def to_json(self) -> dict[str, object]:
        """Return what `--json` prints of a file."""
        return {
            "file": self.file,
            "passed": self.passed,
            "failed": self.failed,
            "skipped": self.skipped,
            "reason": self.reason,
        }

    def _failures(self) -> str:
        failures = [f"{result.name}: {result.reason}" for result in self.results if result.outcome is Outcome.FAILED]
        return _shorten(failures, _MAX_FAILURES)

    def _count(self, outcome: Outcome) -> int:
        return sum(result.cases for result in self.results if result.outcome is outcome)


def _shorten(parts: list[str], limit: int) -> str:
    rest = [f"and {len(parts) - limit} more"] if len(parts) > limit else []
    return "; ".join([*parts[:limit], *rest])
