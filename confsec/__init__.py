"""AI inference that is provably private."""
