"""Which levels of firmware AMD's bulletins ask for, as far as a report can show them, as of October 2026.

These are facts of a date, for whoever writes a policy; the verifier knows none of them. Many bulletins ask for more
than a report can show: an update of the host's system, of the BIOS, or a restart. Levels of microcode are the last byte
of the revision, and mean something for one stepping only.

Sources: AMD-SB-3016 (CVE-2023-20585), AMD-SB-3019 (CVE-2024-56161), AMD-SB-3020 (CVE-2025-0033), AMD-SB-3027
(CVE-2025-29943) and AMD-SB-3030 (CVE-2025-61971), at https://www.amd.com/en/resources/product-security.html.
"""

from __future__ import annotations

from typing import Final

from confsec.tee.sev_snp.evidence import Product, Tcb
from confsec.tee.sev_snp.policy import TcbFloor

__all__ = ["AMD_FLOORS_2026_10"]


def _floor(product: Product, cpu: str, advisory: str, *, snp: int = 0, microcode: int = 0) -> TcbFloor:
    tcb = Tcb(bootloader=0, tee=0, snp=snp, microcode=microcode)
    return TcbFloor(product=product, cpu=bytes.fromhex(cpu), advisories=(advisory,), tcb=tcb)


AMD_FLOORS_2026_10: Final = (
    _floor(Product.GENOA, "", "AMD-SB-3016", snp=0x1B),
    _floor(Product.GENOA, "", "AMD-SB-3020", snp=0x1B),
    _floor(Product.GENOA, "191101", "AMD-SB-3019", snp=0x17, microcode=0x54),
    _floor(Product.GENOA, "191101", "AMD-SB-3027", microcode=0x56),
    _floor(Product.GENOA, "191102", "AMD-SB-3019", snp=0x17, microcode=0x4F),
    _floor(Product.GENOA, "191102", "AMD-SB-3027", microcode=0x51),
    _floor(Product.GENOA, "19a002", "AMD-SB-3019", microcode=0x19),
    _floor(Product.MILAN, "", "AMD-SB-3016", snp=0x1B),
    _floor(Product.MILAN, "", "AMD-SB-3030", snp=0x1D),
    _floor(Product.MILAN, "190101", "AMD-SB-3019", microcode=0xDB),
    _floor(Product.MILAN, "190102", "AMD-SB-3019", microcode=0x44),
    _floor(Product.TURIN, "", "AMD-SB-3020", snp=0x04),
    _floor(Product.TURIN, "1a0201", "AMD-SB-3020", microcode=0x50),
    _floor(Product.TURIN, "1a0201", "AMD-SB-3027", microcode=0x51),
)
"""The floors, sorted as a policy has them. Those of Milan do not help against the extraction of its root seed by
software (arXiv 2605.12990): only leaving `Milan` out of `products` does."""
