"""Fairlead against TRL: the same weights, rows and optimizer, a process each, a step in turn; same loss first."""
