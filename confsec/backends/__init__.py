"""The ways out: transports, engines, stores, and the system's clock and randomness."""
