"""`fairlead export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from fairlead.stages.export import ExportReport


def export(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files of rows.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(metavar="TRAINER", help="trl, openai, llama-factory, axolotl or hh.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="OUT.jsonl", help="File to write.", show_default=False)],
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Kind of the rows; by default that of most.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse if a single row cannot be written.")] = False,
    max_quarantined: Annotated[float, typer.Option(min=0, max=1, help="Greatest share of quarantined rows.")] = 0.02,
    as_json: AsJson = False,
) -> None:
    """Write rows as another trainer reads them, and say what its format cannot hold.

    Prints what that trainer's configuration says to read the file. Rows that the format cannot hold are left out, and
    stand in OUT.left_out.jsonl.

    \b
    Example:
      fairlead export pairs.jsonl --to llama-factory --out lf/pairs.jsonl
    """
    from fairlead.stages.export import export as run_stage

    report = run_stage(files, to=to, out=out, kind=kind, strict=strict, max_quarantined=max_quarantined)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: ExportReport) -> None:
    print(
        f"{report.rows_in} rows in = {report.written} written + {report.left_out} left out + "
        f"{report.quarantined} quarantined, as {report.format}: {report.layout}"
    )
    for code, found in report.reasons.items():
        print(f"  {found.rows} left out, {code}: {found.meaning}")
    for field, rows in report.lost.items():
        print(f"  no place for {field} ({rows} rows)")
    if report.left_out_rows:
        print(f"The rows left out: {report.left_out_rows}")
    print(f"Written: {report.out}\n\n{report.snippet.rstrip()}")
