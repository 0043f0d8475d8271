"""`fairlead report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import AsJson, print_json


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run directories.", show_default=False)],
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="HTML file to write; for one run, report.html in it by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML file about one or more runs: curves, configuration, data, lineage, samples.

    Of a gate's run it is the page of the release: the verdict, and all that it rests on. The file needs no network and
    no other file.

    \b
    Example:
      fairlead report runs/2026-11-23-dpo-7f3a
    """
    from fairlead.stages.report import report as run_stage

    path = run_stage(runs, to=to)
    if as_json:
        print_json({"report": path})
    else:
        print(f"The report is in {path}.")
