"""The command line: parse, call a stage, print, exit code."""

from fairlead.cli.application import main

__all__ = ["main"]
