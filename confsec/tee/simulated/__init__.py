"""Vendors that anybody can be: their private keys are published here, so what they sign proves nothing of hardware."""
