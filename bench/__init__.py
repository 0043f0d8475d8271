"""Measurements, run from a checkout: speed and memory as ratios, never as assertions of the test suite."""
