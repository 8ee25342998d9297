"""`confsec policy anchors`: the roots of trust that a policy may name, and those that none may."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click
from attrs import frozen

from confsec.cli.output import console, print_json

__all__ = ["Anchor", "anchors_command", "trust_anchors"]

_SIMULATED: Final = "simulated"


@frozen
class Anchor:
    """One root of trust."""

    name: str
    """What a policy file may write instead of the digest; `simulated` where no file may."""

    table: str
    """The table of a policy where it belongs."""

    digest: bytes
    """SHA-256 over the certificate in DER."""


def trust_anchors() -> Iterator[Anchor]:
    """Yield the roots that this version knows by name, then those of its simulators."""
    from confsec.tee.sev_snp.certificates import AMD_ROOTS
    from confsec.tee.simulated.roots import SIMULATED_AMD_ROOTS, SIMULATED_INTEL_ROOTS, SIMULATED_TPM_ROOTS
    from confsec.tee.tdx import policy as tdx
    from confsec.tee.tpm import policy as tpm

    for table, roots in (("sev-snp", AMD_ROOTS), ("tdx", tdx.ROOT_NAMES), ("tpm", tpm.ROOT_NAMES)):
        yield from (Anchor(name, table, digest) for name, digest in roots.items())
    simulated = (("sev-snp", SIMULATED_AMD_ROOTS), ("tdx", SIMULATED_INTEL_ROOTS), ("tpm", SIMULATED_TPM_ROOTS))
    for table, digests in simulated:
        yield from (Anchor(_SIMULATED, table, digest) for digest in sorted(digests))


@click.command(name="anchors")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def anchors_command(*, as_json: bool) -> None:
    """List the roots of trust that a policy can name, with the SHA-256 of each certificate.

    A policy may name any other root by its digest. The private keys of simulated roots are published: no policy that is
    read from a file can name them.

    \b
    confsec policy anchors
    """  # noqa: D301 - click keeps lines as they are after a backspace
    found = list(trust_anchors())
    if as_json:
        print_json({"anchors": [{"name": a.name, "table": a.table, "sha256": a.digest.hex()} for a in found]})
        return
    from rich.text import Text

    out = console()
    for anchor in found:
        style = "yellow" if anchor.name == _SIMULATED else "bold"
        out.print(Text.assemble((anchor.name, style), f"  in [{anchor.table}]", (f"\n  {anchor.digest.hex()}", "dim")))
