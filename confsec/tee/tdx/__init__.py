"""Intel TDX: quotes of a trust domain, Intel's collateral for them, and what a policy demands of both."""
