"""Measurements: ours, the peers, the raw primitive, and the ratios, all from one run. `python -m benchmarks --help`."""
