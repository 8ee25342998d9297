"""The core: bytes and values in, bytes and values out. No sockets, files, clock, randomness, threads or logging."""
