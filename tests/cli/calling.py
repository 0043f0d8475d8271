"""The command line, called in this process."""

from __future__ import annotations

import sys

import pytest

from fairlead.cli import main


def call(*arguments: object) -> int:
    """Run `fairlead` with these arguments; gives the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fairlead", *map(str, arguments)])
        try:
            return main()
        except SystemExit as ending:
            return int(ending.code or 0)
