"""Tests of the verifier, attester and policy of SEV-SNP."""
