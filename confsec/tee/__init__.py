"""Trusted execution environments, one folder for each."""
