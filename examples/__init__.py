"""Worked examples, run from a checkout."""
