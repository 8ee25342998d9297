"""Reports of real hardware, with their certificates, from the vectors that others published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from confsec.conformance.kinds import CaseFile, FileCase
from confsec.conformance.sev_snp import _certificates, _policy
from confsec.protocol.checks import Status
from confsec.protocol.rats import TeeFindings, VerificationRequest
from confsec.tee.azure import HclReport
from confsec.tee.sev_snp.evidence import AttestationReport
from confsec.tee.sev_snp.policy import SnpPolicy
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.x509 import encode_chain
from tests.support import SHARED_VECTORS
from tests.tee.sev_snp.cases import AT, request

__all__ = ["NAMES", "Published", "load"]

NAMES: Final = (
    "milan-debug-go-sev-guest",
    "milan-virtee",
    "milan-trustee-good",
    "vlek-trustee",
    "milan-v3-microsoft-vcek-a",
    "turin-microsoft",
    "azure-hcl-report",
    "openpcc-azure-genoa",
)
"""Cases whose report verifies."""


@frozen
class Published:
    """One report with what belongs to it."""

    case: FileCase
    report: bytes
    chain: bytes
    policy: SnpPolicy

    @property
    def decoded(self) -> AttestationReport:
        """The report."""
        return AttestationReport.decode(self.report)

    def ask(self, report: bytes | None = None) -> VerificationRequest:
        """Return what a verifier is asked: about this report, or one that was changed."""
        items = {"sev-snp": self.report if report is None else report}
        return request(items, chain=self.chain, crl=None, at=self.case.at or AT)

    def look(self, report: bytes | None = None) -> TeeFindings:
        """Verify it."""
        return SnpVerifier(self.policy).verify(self.ask(report))

    def refusing(self, report: bytes | None = None) -> set[str]:
        """Return the ids of the checks that refuse, but for the binding: real reports are about something else."""
        bad = {check.id for check in self.look(report).checks if check.status in {Status.FAIL, Status.SKIP}}
        return bad - {"sev-snp.report-data"}


def load(name: str) -> Published:
    """Read a case from the folder of vectors."""
    case = _case(SHARED_VECTORS / "sev-snp", name)
    data = case.read("report")
    if case.kind == "snp-azure-hcl":
        data = HclReport.decode(data).hardware_report
    return Published(case, data, encode_chain(_certificates(case)), _policy(case))


def _case(folder: Path, name: str) -> FileCase:
    manifest: Mapping[str, Any] = json.loads((folder / "cases.json").read_text())
    found = next(case for case in manifest["cases"] if case["id"] == name)
    files = {}
    for role, path in found["files"].items():
        file, _, part = path.partition("#")
        files[role] = CaseFile(folder / file, part)
    return FileCase(
        id=name, kind=found["kind"], files=files, expect=found["expect"], stated_at=found["at"], params=found["params"]
    )
