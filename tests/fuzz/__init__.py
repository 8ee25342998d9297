"""Fuzz targets for all that decodes what a peer, a vendor or a file says about a TEE."""
