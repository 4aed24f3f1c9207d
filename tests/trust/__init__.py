"""Tests of `edgeswarm.trust`."""
