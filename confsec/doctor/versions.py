"""Which versions are here: of Python, of OpenSSL, and of each package, compared with what ours asks for."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from typing import Final

from attrs import frozen

from confsec.backends import system
from confsec.doctor.findings import Finding, info, ok, problem, problem_of, warning
from confsec.errors import ConfsecError
from confsec.protocol.kem import KEMS, Kem

__all__ = ["DISTRIBUTION", "EXTRAS_FOR", "Requirement", "installed_version", "look_at_kems", "look_at_packages"]

DISTRIBUTION: Final = "confsec-protocol"
"""What pip calls us."""

EXTRAS_FOR: Final = {
    "engine": "the embedded engine: `confsec demo`, and `confsec node` without --engine",
    "server": "`confsec demo`, `confsec proxy` and the roles",
    "trio": "roles on trio",
    "openai": "`confsec.openai.OpenAI`",
    "httpx": "SDKs that take an httpx client",
    "postgres": "spent tokens and an issuer's books in PostgreSQL",
    "redis": "spent tokens in Redis or Valkey",
    "objects": "a log's files in S3, Google Cloud Storage or Azure",
    "pkcs11": "an issuer's keys in an HSM",
    "sigstore": "statements that were signed with Sigstore",
    "release": "`confsec release`: building releases again",
    "tpm": "`confsec node --tee tpm`, and whatever else speaks to a TPM",
    "gmpy2": "quicker blinding, and an issuer without OpenSSL 3",
}
"""What each extra is for."""

_BEFORE: Final = {"tpm": "apt-get install libtss2-dev pkg-config gcc python3-dev && "}
"""What has to be typed before an extra can be installed."""

_NOT_FOR_USERS: Final = frozenset({"all", "test"})
_REQUIREMENT: Final = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*(?:[>=]=\s*(?P<minimum>[0-9.]+))?\s*(?:;(?P<marker>.*))?"
)
_EXTRA: Final = re.compile(r"extra == ['\"]([A-Za-z0-9._-]+)['\"]")


@frozen
class Requirement:
    """A package that ours needs."""

    package: str
    minimum: str
    """The least version, or empty if any will do."""
    extra: str
    """The extra that asks for it; empty for the core."""

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read a requirement in the form that `pyproject.toml` uses: a name, `>=` and a version, an extra."""
        match = _REQUIREMENT.fullmatch(text.strip())
        if match is None:
            return cls(text, "", "")
        extra = _EXTRA.search(match["marker"] or "")
        return cls(match["name"], match["minimum"] or "", extra[1] if extra else "")

    def is_met_by(self, version: str) -> bool:
        """Tell whether `version` is new enough."""
        return _release(version) >= _release(self.minimum)


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def look_at_packages(
    requirements: Iterable[str] | None = None, installed: Callable[[str], str | None] = installed_version
) -> Iterator[Finding]:
    """Compare what is installed with `requirements`: those of our own distribution unless others are given."""
    yield ok("versions.python", f"Python {sys.version.split()[0]}, {sys.implementation.name} on {sys.platform}")
    version = installed(DISTRIBUTION)
    if requirements is None and version is None:
        yield warning(
            "versions.confsec",
            "confsec runs from files that pip has not installed, so nobody says which versions it needs",
            "Type: pip install --editable .",
        )
        return
    yield ok("versions.confsec", f"confsec {version}")
    parsed = [Requirement.parse(text) for text in requirements or metadata.requires(DISTRIBUTION) or ()]
    yield from _look_at_core([each for each in parsed if not each.extra], installed)
    for extra in sorted({each.extra for each in parsed} - _NOT_FOR_USERS - {""}):
        yield _look_at_extra(extra, [each for each in parsed if each.extra == extra], installed)


def look_at_kems(kems: Iterable[Kem] = KEMS) -> Iterator[Finding]:
    """See whether the cryptography that is installed can do what we ask of it: each KEM, there and back."""
    from cryptography.hazmat.backends.openssl import backend

    yield ok("versions.openssl", backend.openssl_version_text())
    failures = [each for each in map(_try_kem, kems) if each]
    yield from failures
    if not failures:
        yield ok("versions.kems", f"key exchange works: {', '.join(kem.name for kem in kems)}")


def _look_at_core(requirements: list[Requirement], installed: Callable[[str], str | None]) -> Iterator[Finding]:
    todo = f"Type: pip install --upgrade {DISTRIBUTION}"
    fine: list[str] = []
    for each in requirements:
        version = installed(each.package)
        if version is None:
            yield problem(f"versions.{each.package}", f"the package {each.package} is not installed", todo)
        elif not each.is_met_by(version):
            yield problem(f"versions.{each.package}", _too_old(each, version), todo)
        else:
            fine.append(f"{each.package} {version}")
    yield ok("versions.core", ", ".join(fine) or "none of the packages that are needed")


def _look_at_extra(extra: str, requirements: list[Requirement], installed: Callable[[str], str | None]) -> Finding:
    id_, what_for = f"versions.extra-{extra}", EXTRAS_FOR.get(extra, extra)
    todo = f"Type: pip install --upgrade '{DISTRIBUTION}[{extra}]'"
    versions = [(each, installed(each.package)) for each in requirements]
    missing = [each.package for each, version in versions if version is None]
    if missing:
        what = f"the extra {extra} is not installed (it lacks {', '.join(missing)}). It is for {what_for}"
        command = f"{_BEFORE.get(extra, '')}pip install '{DISTRIBUTION}[{extra}]'"
        return info(id_, what, f"If you want that, type: {command}")
    old = [_too_old(each, version) for each, version in versions if version and not each.is_met_by(version)]
    if old:
        return warning(id_, f"{'; '.join(old)}. It is for {what_for}", todo)
    return ok(id_, f"{extra}: {', '.join(f'{each.package} {version}' for each, version in versions)}")


def _too_old(requirement: Requirement, version: str) -> str:
    return f"{requirement.package} {version} is too old: {requirement.minimum} or newer is needed"


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers at the beginning, without zeros at the end: 1.10 is newer than 1.9, and 3.0 is 3."""
    numbers = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in re.sub(r"(\.0+)*$", "", numbers[0]).split(".")) if numbers else ()


def _try_kem(kem: Kem) -> Finding | None:
    todo = f"Type: pip install --upgrade {DISTRIBUTION}"
    try:
        key = kem.generate(system.randbytes)
        shared_secret, enc = kem.encapsulate(key.public_key, system.randbytes)
        if key.decapsulate(enc) != shared_secret:
            return problem("versions.kems", f"{kem.name}: both sides come to different secrets", todo)
    except ConfsecError as exc:
        return problem_of("versions.kems", exc, todo)
    return None
