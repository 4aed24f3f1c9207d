"""Public helpers for tests: one conformance suite per port, and a fleet to test with."""
