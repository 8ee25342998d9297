"""TPM 2.0: what it signs, how that is appraised, and how a node makes it."""
