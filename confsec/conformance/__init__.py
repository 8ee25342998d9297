"""Run published vectors and live suites against this or another implementation."""
